//! Encryption of whole messages, and the start of encrypting streams.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;

use manila_core::internal::crypto::RandomBytes;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::buffer::WipeGuard;
use crate::client::Client;
use crate::encrypt::{Encryptor, NewMessage, NewMessageId};
use crate::materials::EncryptionRequest;
use crate::settings::Settings;

impl Client {
    /// Encrypts `plaintext` into a complete message, with `context` authenticated as part of it.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme"), ("kind", "invoice")])?;
    /// let message = client.encrypt(b"hello", &context)?;
    /// # assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of the keyring; [`ErrorKind::PolicyViolation`] or [`ErrorKind::LimitExceeded`] if the settings do not
    /// allow the message; [`ErrorKind::NeedsAsync`] if keys are accessed over a network.
    pub fn encrypt(&self, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        self.poll_local(pin!(self.encrypt_async(plaintext, context)))
    }

    /// The async version of [`encrypt`](Self::encrypt), for keys that are accessed over a network.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let message = client.encrypt_async(b"hello", &context).await?;
    /// let decrypted = client.decrypt_async(&message, &context).await?;
    /// assert_eq!(decrypted.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt), except [`ErrorKind::NeedsAsync`].
    pub async fn encrypt_async(&self, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.encrypt_into_async(plaintext, context, &mut message).await?;
        Ok(message)
    }

    /// Encrypts like [`encrypt`](Self::encrypt), and replaces the contents of `message` with the new message.
    ///
    /// Reusing a buffer avoids page faults, which take most of the time for a large message.
    ///
    /// After any error, including [`ErrorKind::NeedsAsync`], `message` is empty and its memory wiped. If `message` has
    /// to grow, its old memory goes back to the allocator without being wiped.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut message = Vec::new();
    /// for plaintext in [b"one", b"two"] {
    ///     client.encrypt_into(plaintext, &context, &mut message)?;
    ///     // Send `message`.
    ///     # assert_eq!(client.decrypt(&message, &context)?.plaintext, plaintext);
    /// }
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt).
    pub fn encrypt_into(&self, plaintext: &[u8], context: &EncryptionContext, message: &mut Vec<u8>) -> Result<()> {
        self.poll_local(pin!(self.encrypt_into_async(plaintext, context, message)))
    }

    /// The async version of [`encrypt_into`](Self::encrypt_into). If the future is dropped before it completes,
    /// `message` is empty and wiped, as after an error.
    ///
    /// # Errors
    /// The same as [`encrypt_async`](Self::encrypt_async).
    pub fn encrypt_into_async(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        message: &mut Vec<u8>,
    ) -> impl Future<Output = Result<()>> {
        // Outside the async block, so that the guard is in place even if the future is never polled.
        let mut message = WipeGuard::new(message);
        async move {
            let encryptor = self.encryptor_up_to_async(context, plaintext.len() as u64).await?;
            encryptor.encrypt_all(plaintext, message.buffer())?;
            message.keep();
            Ok(())
        }
    }

    /// Starts a message that is written as a stream, with [`Encryptor::writer`].
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut writer = client.encryptor(&context)?.writer(Vec::new()); // or a `File`
    /// writer.write_all(b"hello, ")?;
    /// writer.write_all(b"world")?;
    /// let message = writer.finish()?;
    /// # assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello, world");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt).
    pub fn encryptor(&self, context: &EncryptionContext) -> Result<Encryptor> {
        self.poll_local(pin!(self.encryptor_async(context)))
    }

    /// The async version of [`encryptor`](Self::encryptor), for keys that are accessed over a network.
    ///
    /// # Errors
    /// The same as [`encrypt_async`](Self::encrypt_async).
    pub async fn encryptor_async(&self, context: &EncryptionContext) -> Result<Encryptor> {
        self.encryptor_for(context, BTreeSet::new(), None).await
    }

    /// Starts a stream like [`encryptor`](Self::encryptor), for a plaintext of at most `max_plaintext_len` bytes.
    /// Writing more fails.
    ///
    /// The bound lets materials managers that count bytes, such as caches, serve a stream.
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext, Error, ErrorKind};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let mut writer = client.encryptor_up_to(&EncryptionContext::empty(), 5)?.writer(Vec::new());
    /// writer.write_all(b"hello")?;
    /// let error = Error::from(writer.write_all(b"!").unwrap_err());
    /// assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt). The writer fails with [`ErrorKind::LimitExceeded`] when the plaintext
    /// is longer than the bound.
    pub fn encryptor_up_to(&self, context: &EncryptionContext, max_plaintext_len: u64) -> Result<Encryptor> {
        self.poll_local(pin!(self.encryptor_up_to_async(context, max_plaintext_len)))
    }

    /// The async version of [`encryptor_up_to`](Self::encryptor_up_to), for keys that are accessed over a network.
    ///
    /// # Errors
    /// The same as [`encryptor_up_to`](Self::encryptor_up_to), except [`ErrorKind::NeedsAsync`].
    pub async fn encryptor_up_to_async(
        &self,
        context: &EncryptionContext,
        max_plaintext_len: u64,
    ) -> Result<Encryptor> {
        self.encryptor_for(context, BTreeSet::new(), Some(max_plaintext_len)).await
    }

    /// Starts a message whose header omits the pairs with the keys `omitted`.
    pub(crate) async fn encryptor_for(
        &self,
        context: &EncryptionContext,
        omitted: BTreeSet<String>,
        max_plaintext_len: Option<u64>,
    ) -> Result<Encryptor> {
        self.encryptor_with(&self.settings, context, omitted, max_plaintext_len).await
    }

    /// Starts a message like [`encryptor_for`](Self::encryptor_for), with other settings than those of the client.
    pub(crate) async fn encryptor_with(
        &self,
        settings: &Settings,
        context: &EncryptionContext,
        omitted: BTreeSet<String>,
        max_plaintext_len: Option<u64>,
    ) -> Result<Encryptor> {
        let random = if self.cmm.has_data_keys_at_hand() { RandomBytes::none() } else { RandomBytes::draw()? };
        let message = self.new_message(settings, context, omitted, max_plaintext_len, random).await?;
        Encryptor::new(message, settings)
    }

    /// Obtains the materials of a message, and draws its id from `random`.
    pub(crate) async fn new_message(
        &self,
        settings: &Settings,
        context: &EncryptionContext,
        omitted: BTreeSet<String>,
        max_plaintext_len: Option<u64>,
        random: RandomBytes,
    ) -> Result<NewMessage> {
        // Taken before the manager is asked, which never gets it: it is of this message alone.
        let message_id = NewMessageId::take(&random)?;
        let request = EncryptionRequest {
            encryption_context: context.clone(),
            suite: settings.suite,
            commitment_policy: settings.commitment_policy,
            required_context_keys: omitted,
            max_plaintext_len,
            random,
        };
        let materials = self.cmm.encryption_materials(&request).await?;
        if !materials.required_context_keys().is_superset(&request.required_context_keys) {
            let detail = format!(
                "the materials manager {} did not return all required_context_keys of its request: it would write \
                 pairs into the header that must be omitted",
                self.cmm_type
            );
            return Err(Error::new(ErrorKind::Internal, detail));
        }
        NewMessage::new(materials, message_id, max_plaintext_len, settings)
    }
}
