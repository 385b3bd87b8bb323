//! Messages written anew: under other keys, in another suite.

use std::io::{BufRead, BufReader, Read, Write};
use std::pin::pin;

use manila_core::Result;

use crate::client::Client;
use crate::expected_context::ExpectedContext;

impl Client {
    /// Opens a message and seals it anew with the keys and settings of `to`: for the rotation of keys, and for the
    /// move to another suite or another KMS. Gives the sink back.
    ///
    /// The new message has the encryption context of the old one, all pairs that its reader could verify, and nothing
    /// else in common with it: a data key, an id and a signature of its own. Pairs that the old header lacks stay out
    /// of the new one, as with [`RequiredContextCmm`](crate::cmm::RequiredContextCmm): they are authenticated, and whoever
    /// opens the new message gives them as whoever opened the old one did. Plaintext is only in memory, some frames at
    /// a time. The new message is completed only when the old one has verified to its last byte, its signature
    /// included: after an error what `sink` holds never opens as a whole. Where the new message is read as a stream
    /// while it is still being written, its frames can be seen **before the old signature is known**: take signed
    /// messages out of that with [`unsigned_only`](crate::ClientBuilder::unsigned_only), or let nobody read the sink
    /// before the end.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let old = Client::new(RawAesKeyring::new("example", "old", &[0; 32])?);
    /// # let new = Client::new(RawAesKeyring::new("example", "new", &[1; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let sealed = old.encrypt(b"hello", &context)?;
    /// let moved = old.reencrypt(sealed.as_slice(), Vec::new(), ExpectedContext::any(), &new)?;
    /// assert_eq!(new.decrypt(&moved, &context)?.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt) of this client and [`encrypt`](Self::encrypt) of `to`;
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the source or the sink fails;
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the materials manager of `to` would write pairs into the
    /// header that the old one lacks.
    pub fn reencrypt<W: Write>(
        &self,
        message: impl Read,
        sink: W,
        expected: impl Into<ExpectedContext>,
        to: &Client,
    ) -> Result<W> {
        to.check_local()?;
        self.now(pin!(self.reencrypt_async(message, sink, expected.into(), to)))
    }

    /// As [`reencrypt`](Self::reencrypt), for keys that come over a network. The streams are still such that block.
    ///
    /// # Errors
    /// As [`reencrypt`](Self::reencrypt).
    pub async fn reencrypt_async<W: Write>(
        &self,
        message: impl Read,
        sink: W,
        expected: impl Into<ExpectedContext>,
        to: &Client,
    ) -> Result<W> {
        let mut message = BufReader::new(message);
        let header = self.read_header(&mut message)?;
        let decryptor = self.decryptor_async(header, expected.into()).await?;
        let (stored, context) = (decryptor.header().encryption_context(), decryptor.header().authenticated_context());
        let context = context.without_reserved();
        let left_out = context.iter().map(|(key, _)| key).filter(|key| stored.get(key).is_none());
        let left_out = left_out.map(str::to_owned).collect();
        let mut writer = to.encryptor_for(&context, left_out, None).await?.writer(sink);
        let mut reader = decryptor.reader(message);
        loop {
            let plaintext = reader.fill_buf()?;
            if plaintext.is_empty() {
                return writer.finish();
            }
            let count = writer.write(plaintext)?;
            reader.consume(count);
        }
    }
}
