//! [`Client`]: encrypts and decrypts messages with the keys of a materials manager.
//!
//! ```text
//! builder     settings
//! encryption  decryption  opening    whole messages, and the start of streams
//! batch                              many whole messages
//! ```

pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod decryption;
mod encryption;
mod opening;

use std::pin::Pin;
use std::sync::Arc;

use manila_core::internal::poll_once;
use manila_core::{Error, ErrorKind, Result};

use crate::cmm::{Cmm, DefaultCmm};
use crate::keyring::Keyring;
use crate::settings::Settings;

/// Encrypts and decrypts messages with the keys of a keyring. Cheap to clone, and safe to share between threads.
///
/// Every operation comes as a plain call and as an `_async` version with the same arguments. The plain call works
/// wherever keys are available without waiting, as with `LocalKms` and raw keys, both inside and outside async
/// runtimes. If keys are accessed over a network, it fails with [`ErrorKind::NeedsAsync`] before doing anything. The
/// async versions do not need a particular executor.
///
/// ```
/// use manila::keyring::RawAesKeyring;
/// use manila::{Client, EncryptionContext};
///
/// // A key for tests. A real one is 16, 24 or 32 random bytes that only your application knows.
/// let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
///
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let message = client.encrypt(b"hello", &context)?;
/// assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello");
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    cmm: Arc<dyn Cmm>,
    cmm_type: &'static str,
    pub(crate) settings: Settings,
}

impl Client {
    /// Creates a client that uses a keyring, with the default settings. For other settings, see
    /// [`builder`](Self::builder).
    ///
    /// It writes the default suite of every Encryption SDK, 0x0578, which commits to the key and signs each message
    /// with ECDSA on P-384: readers then know that someone who may encrypt wrote the message, and not someone who may
    /// only decrypt. The signature has its price. All of the message is hashed, which takes several times as long as
    /// encrypting it and cannot be divided among threads; a stream releases plaintext before the signature at its end
    /// is known; and the message cannot be read at offsets. Where all readers are trusted to write as well, use
    /// [`AlgorithmSuite::Aes256GcmHkdfSha512CommitKey`](crate::AlgorithmSuite::Aes256GcmHkdfSha512CommitKey), which has
    /// the key commitment alone:
    ///
    /// ```
    /// # use manila::{AlgorithmSuite, Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = || RawAesKeyring::new("example", "test-key", &[0; 32]);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let signing = Client::new(keyring()?);
    /// let unsigned = Client::builder(keyring()?).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build()?;
    ///
    /// // Each reads the messages of the other.
    /// let message = unsigned.encrypt(b"hello", &context)?;
    /// assert_eq!(signing.decrypt(&message, &context)?.plaintext, b"hello");
    /// assert!(signing.open_seekable(message, &context).is_ok());
    /// # assert!(unsigned.open_seekable(signing.encrypt(b"hello", &context)?, &context).is_err());
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn new(keyring: impl Keyring + 'static) -> Self {
        Self::with_cmm(DefaultCmm::new(keyring))
    }

    /// Creates a client that uses a materials manager, with the default settings.
    ///
    /// ```
    /// use manila::cmm::RequiredContextCmm;
    /// use manila::keyring::RawAesKeyring;
    /// use manila::{Client, EncryptionContext, ErrorKind};
    ///
    /// // This manager insists on an encryption context with the key `tenant`.
    /// let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let client = Client::with_cmm(RequiredContextCmm::new(keyring, ["tenant"])?);
    /// let error = client.encrypt(b"hello", &EncryptionContext::empty()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ContextMismatch);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn with_cmm(cmm: impl Cmm + 'static) -> Self {
        Self { cmm_type: std::any::type_name_of_val(&cmm), cmm: Arc::new(cmm), settings: Settings::default() }
    }

    /// Fails unless keys are available without waiting.
    pub(crate) fn check_local(&self) -> Result<()> {
        if self.cmm.is_local() {
            return Ok(());
        }
        let detail = "keys are accessed over a network, or their keyring does not declare itself local (is_local): \
                      call the _async version of this method and await it";
        Err(Error::new(ErrorKind::NeedsAsync, detail))
    }

    /// Polls a future once, which completes it if everything is local.
    ///
    /// The future is passed pinned because moving it takes a noticeable part of the time for a small message.
    pub(crate) fn poll_local<T>(&self, future: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
        self.check_local()?;
        poll_once(future).unwrap_or_else(|| {
            let detail = format!("a keyring declares itself local, but its future is pending: {}", self.cmm_type);
            Err(Error::new(ErrorKind::Internal, detail))
        })
    }
}
