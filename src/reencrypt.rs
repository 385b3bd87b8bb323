//! [`Client::reencrypt`]: encrypts a message again, under other keys or in another suite.
//!
//! ```text
//! reencrypt  one message
//! many       many of them, several at once
//! ```

mod many;

use std::io::{BufRead, Read, Write};
use std::pin::pin;

use manila_core::{EncryptionContext, Result};

use crate::client::Client;
use crate::expected_context::ExpectedContext;

impl Client {
    /// Decrypts a message and encrypts it again with the keys and settings of `to`. Returns the sink.
    ///
    /// Use it to rotate keys, and to move messages to another suite or another KMS. For many messages, see
    /// [`reencrypt_all`](Self::reencrypt_all).
    ///
    /// The new message has the encryption context of the old one, including every pair that the reader verified, and
    /// otherwise shares nothing with it: it has its own data key, message id and signature. Pairs that the old header
    /// omits are omitted from the new one too, as with [`RequiredContextCmm`](crate::cmm::RequiredContextCmm): they are
    /// authenticated, and readers of the new message must supply them as readers of the old one did.
    ///
    /// Plaintext is only ever in memory, a few frames at a time. The new message is completed only when the old one has
    /// been verified to its last byte, including its signature: after an error, `sink` holds bytes that never decrypt
    /// as a complete message. If the new message is read as a stream while it is still being written, its frames can be
    /// seen **before the old signature is verified**. To prevent that, refuse signed messages with
    /// [`unsigned_only`](crate::ClientBuilder::unsigned_only), or do not let anyone read the sink before this method
    /// has returned.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let old = Client::new(RawAesKeyring::new("example", "old-test-key", &[0; 32])?);
    /// # let new = Client::new(RawAesKeyring::new("example", "new-test-key", &[1; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let message = old.encrypt(b"hello", &context)?;
    /// let message = old.reencrypt(message.as_slice(), Vec::new(), ExpectedContext::any(), &new)?;
    /// assert_eq!(new.decrypt(&message, &context)?.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// To make signed messages readable at any offset, re-encrypt them with a client that writes another suite. It
    /// reads both, so it can stand in for the old client before all messages have moved:
    ///
    /// ```
    /// # use manila::{AlgorithmSuite, Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = || RawAesKeyring::new("example", "test-key", &[0; 32]);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// # let signed = Client::new(keyring()?).encrypt(b"hello", &context)?;
    /// let client = Client::builder(keyring()?).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build()?;
    /// let unsigned = client.reencrypt(signed.as_slice(), Vec::new(), &context, &client)?; // verifies the signature
    /// let seekable = client.open_seekable(unsigned, &context)?;
    /// # assert_eq!(seekable.plaintext_len(), 5);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`decrypt`](Self::decrypt) on this client and of [`encrypt`](Self::encrypt) on `to`;
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the source or the sink fails;
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the materials manager of `to` would write pairs into the
    /// header that the old header omits.
    pub fn reencrypt<W: Write>(
        &self,
        message: impl Read,
        sink: W,
        expected: impl Into<ExpectedContext>,
        to: &Client,
    ) -> Result<W> {
        to.check_local()?;
        self.poll_local(pin!(self.reencrypt_async(message, sink, expected.into(), to)))
    }

    /// The async version of [`reencrypt`](Self::reencrypt), for keys that are accessed over a network. The streams are
    /// still blocking ones.
    ///
    /// # Errors
    /// The same as [`reencrypt`](Self::reencrypt), except [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync).
    pub async fn reencrypt_async<W: Write>(
        &self,
        message: impl Read,
        sink: W,
        expected: impl Into<ExpectedContext>,
        to: &Client,
    ) -> Result<W> {
        Ok(self.reencrypt_observed(message, sink, expected.into(), to, false, |_| {}).await?.0)
    }

    /// Re-encrypts a message, in its own format if asked for, and shows its plaintext to `observe`. Also returns the
    /// context of the new message.
    pub(crate) async fn reencrypt_observed<W: Write>(
        &self,
        message: impl Read,
        sink: W,
        expected: ExpectedContext,
        to: &Client,
        keep_format: bool,
        mut observe: impl FnMut(&[u8]),
    ) -> Result<(W, EncryptionContext)> {
        let mut reader = self.open_blocking(message, expected).await?;
        let (stored, context) = (reader.header().encryption_context(), reader.header().authenticated_context());
        let context = context.without_reserved();
        let omitted = context.iter().map(|(key, _)| key).filter(|key| stored.get(key).is_none());
        let omitted = omitted.map(str::to_owned).collect();
        let settings = to.settings.clone();
        let settings = if keep_format { settings.in_format_of(reader.header()) } else { settings };
        let mut writer = to.encryptor_with(&settings, &context, omitted, None).await?.writer(sink);
        loop {
            let plaintext = reader.fill_buf()?;
            if plaintext.is_empty() {
                return Ok((writer.finish()?, context));
            }
            observe(plaintext);
            let count = plaintext.len();
            writer.write_all(plaintext)?;
            reader.consume(count);
        }
    }
}
