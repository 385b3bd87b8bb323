//! [`ClientBuilder`]: client settings and their validation.

use std::sync::Arc;

use manila_core::{Error, ErrorKind, Result};

use crate::client::Client;
use crate::cmm::{Cmm, DefaultCmm};
use crate::keyring::Keyring;
use crate::message::frame::{FINAL_OVERHEAD, addressable_frame_len};
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;
use crate::threads::ThreadPool;

impl Client {
    /// Starts building a client that uses a keyring, with settings other than the default ones.
    ///
    /// ```
    /// use manila::keyring::RawAesKeyring;
    /// use manila::{Client, EncryptionContext, ExpectedContext};
    ///
    /// let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let client = Client::builder(keyring).frame_length(1024).build()?;
    /// let message = client.encrypt(&[7; 3000], &EncryptionContext::empty())?;
    /// # assert_eq!(client.decrypt(&message, ExpectedContext::any())?.plaintext, [7; 3000]);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn builder(keyring: impl Keyring + 'static) -> ClientBuilder {
        Self::builder_with_cmm(DefaultCmm::new(keyring))
    }

    /// Starts building a client that uses a materials manager, with settings other than the default ones.
    ///
    /// ```
    /// use manila::Client;
    /// use manila::cmm::RequiredContextCmm;
    /// use manila::keyring::RawAesKeyring;
    ///
    /// let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let cmm = RequiredContextCmm::new(keyring, ["tenant"])?;
    /// let client = Client::builder_with_cmm(cmm).unsigned_only(true).build()?;
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn builder_with_cmm(cmm: impl Cmm + 'static) -> ClientBuilder {
        let client = Self::with_cmm(cmm);
        ClientBuilder { client }
    }
}

/// Builds a [`Client`] with settings other than the default ones.
///
/// ```
/// use manila::{AlgorithmSuite, Client};
/// use manila::keyring::RawAesKeyring;
///
/// let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
/// let client = Client::builder(keyring)
///     .suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey)
///     .frame_length(65_536)
///     .build()?;
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder {
    /// A client whose settings have not been validated.
    client: Client,
}

impl ClientBuilder {
    /// Sets the algorithm suite of the messages the client writes. Defaults to the one of the commitment policy,
    /// [`CommitmentPolicy::default_suite`], which is signed.
    ///
    /// To write messages that can be read at any offset, choose [`AlgorithmSuite::Aes256GcmHkdfSha512CommitKey`]. The
    /// client still reads signed messages; to refuse those as well, use [`unsigned_only`](Self::unsigned_only) instead.
    ///
    /// ```
    /// # use manila::{AlgorithmSuite, Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let client = Client::builder(keyring).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build()?;
    /// let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
    /// assert_eq!(message[1..3], [0x04, 0x78]);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn suite(mut self, suite: AlgorithmSuite) -> Self {
        self.client.settings.suite = Some(suite);
        self
    }

    /// Sets which suites the client may write and read. By default only those with key commitment.
    ///
    /// ```
    /// use manila::{Client, CommitmentPolicy, EncryptionContext, ErrorKind, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = || RawAesKeyring::new("example", "test-key", &[0; 32]);
    ///
    /// let old = Client::builder(keyring()?)
    ///     .commitment_policy(CommitmentPolicy::ForbidEncryptAllowDecrypt)
    ///     .build()?;
    /// let message = old.encrypt(b"hello", &EncryptionContext::empty())?; // in a suite without key commitment
    ///
    /// let strict = Client::new(keyring()?);
    /// let error = strict.decrypt(&message, ExpectedContext::any()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PolicyViolation);
    ///
    /// let moving = Client::builder(keyring()?)
    ///     .commitment_policy(CommitmentPolicy::RequireEncryptAllowDecrypt)
    ///     .build()?;
    /// assert_eq!(moving.decrypt(&message, ExpectedContext::any())?.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn commitment_policy(mut self, policy: CommitmentPolicy) -> Self {
        self.client.settings.commitment_policy = policy;
        self
    }

    /// Sets the number of plaintext bytes in a frame, 4096 by default. Larger frames make large messages faster, and
    /// make streams use correspondingly more memory.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let client = Client::builder(keyring).frame_length(65_536).build()?;
    /// let map = client.encryptor(&EncryptionContext::empty())?.frame_map(1_000_000)?;
    /// assert_eq!(map.frames(), 16);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn frame_length(mut self, bytes: u32) -> Self {
        self.client.settings.frame_length = bytes;
        self
    }

    /// Sets the maximum number of encrypted data keys in a message to write or read, 64 by default. Each can cost the
    /// reader a call to a KMS.
    ///
    /// ```
    /// use manila::keyring::{MultiKeyring, RawAesKeyring};
    /// # use manila::{Client, EncryptionContext, ErrorKind};
    ///
    /// let keyring = MultiKeyring::new(RawAesKeyring::new("example", "test-key-1", &[1; 32])?)
    ///     .child(RawAesKeyring::new("example", "test-key-2", &[2; 32])?);
    /// let client = Client::builder(keyring).max_encrypted_data_keys(1).build()?;
    /// let error = client.encrypt(b"hello", &EncryptionContext::empty()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn max_encrypted_data_keys(mut self, count: u16) -> Self {
        self.client.settings.header_limits.max_encrypted_data_keys = count;
        self
    }

    /// Sets the maximum length in bytes of a header to write or read, 1 MiB by default.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ErrorKind};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let client = Client::builder(keyring).max_header_length(4096).build()?;
    /// let context = EncryptionContext::new([("note", "x".repeat(5000))])?;
    /// let error = client.encrypt(b"hello", &context).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn max_header_length(mut self, bytes: usize) -> Self {
        self.client.settings.header_limits.max_length = bytes;
        self
    }

    /// Sets the maximum length of a frame to read, in bytes of plaintext; 64 MiB by default. A stream holds one frame
    /// in memory.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ErrorKind, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = || RawAesKeyring::new("example", "test-key", &[0; 32]);
    /// let writer = Client::builder(keyring()?).frame_length(1 << 20).build()?;
    /// let message = writer.encrypt(b"hello", &EncryptionContext::empty())?;
    ///
    /// let small = Client::builder(keyring()?).max_frame_length(65_536).build()?;
    /// let error = small.decrypt(&message, ExpectedContext::any()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn max_frame_length(mut self, bytes: u32) -> Self {
        self.client.settings.max_frame_length = bytes;
        self
    }

    /// Sets the maximum length of a non-framed body to read, in bytes of plaintext; 64 MiB by default.
    ///
    /// A stream holds all of such a body in memory, both encrypted and decrypted. Its length follows the header: in a
    /// complete message it is checked before any key is requested, in a stream when it has arrived.
    pub fn max_non_framed_length(mut self, bytes: u64) -> Self {
        self.client.settings.max_non_framed_length = bytes;
        self
    }

    /// Sets the maximum number of threads that work on one message, including the caller's; 1 by default.
    ///
    /// Complete messages and batches of a stream are divided among them when there are several megabytes to process,
    /// and so are the messages of a large [batch](Client::encrypt_batch), each of which then has one. The bytes are the
    /// same for any number of threads. Threads live only as long as the call they serve, and none is started for a
    /// small message.
    ///
    /// The gain is limited by memory bandwidth. Complete messages and writers gain most. Readers gain least, because
    /// all their input passes through one thread before it can be shared. In signed suites, where hashing takes nearly
    /// all the time and cannot be divided, one thread hashes while the others do the rest.
    ///
    /// A stream's memory grows with the threads: about 4 MiB for each, or two frames for each if frames are longer than
    /// 2 MiB, up to 512 MiB for all, or two frames if frames are longer than 256 MiB. If that bound leaves fewer frames
    /// than threads, fewer threads work.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let plaintext = vec![7; 3 << 20];
    /// let client = Client::builder(keyring).frame_length(65_536).threads(4).build()?;
    /// let message = client.encrypt(&plaintext, &EncryptionContext::empty())?;
    /// # assert_eq!(client.decrypt(&message, ExpectedContext::any())?.plaintext, plaintext);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn threads(mut self, threads: usize) -> Self {
        self.client.settings.workers.threads = threads;
        self
    }

    /// Sets the pool of which the [threads](Self::threads) are taken. By default they are started for each call, which
    /// takes some fifty microseconds; a server that works on many messages at once has threads already.
    ///
    /// [`Client::reencrypt_all`] and the work on files start threads of their own, because their sources and sinks may
    /// block.
    pub fn thread_pool(mut self, pool: impl ThreadPool + 'static) -> Self {
        self.client.settings.workers.pool = Some(Arc::new(pool));
        self
    }

    /// Sets whether to refuse signed messages before any key is requested. Off by default.
    ///
    /// A stream then never releases plaintext that a signature at its end could still invalidate. The messages this
    /// client writes are unsigned by default too. It is a setting for reading as much as for writing: a client that
    /// writes unsigned messages and may have signed ones to read takes [`suite`](Self::suite) instead.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ErrorKind, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = || RawAesKeyring::new("example", "test-key", &[0; 32]);
    /// let signed = Client::new(keyring()?).encrypt(b"hello", &EncryptionContext::empty())?;
    ///
    /// let client = Client::builder(keyring()?).unsigned_only(true).build()?;
    /// let error = client.decrypt(&signed, ExpectedContext::any()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PolicyViolation);
    ///
    /// let unsigned = client.encrypt(b"hello", &EncryptionContext::empty())?;
    /// assert_eq!(client.decrypt(&unsigned, ExpectedContext::any())?.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn unsigned_only(mut self, only: bool) -> Self {
        self.client.settings.unsigned_only = only;
        self
    }

    /// Builds the client.
    ///
    /// ```
    /// # use manila::{AlgorithmSuite, Client, ErrorKind};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// // The default policy does not allow a suite without key commitment.
    /// let error = Client::builder(keyring).suite(AlgorithmSuite::Aes256GcmHkdfSha256).build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PolicyViolation);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if the commitment policy does not allow the suite. [`ErrorKind::InvalidInput`] if
    /// the frame length is 0, longer than this client reads, or longer than the machine can address; if the client
    /// would write signed messages but not read them; or if no data key or no thread is allowed.
    pub fn build(self) -> Result<Client> {
        let mut settings = self.client.settings.clone();
        let invalid = |detail: &'static str| Err(Error::new(ErrorKind::InvalidInput, detail));
        if let Some(suite) = settings.suite {
            settings.commitment_policy.check_encrypt(suite)?;
        }
        if settings.unsigned_only {
            let suite = settings.suite.get_or_insert(settings.commitment_policy.default_unsigned_suite());
            if suite.is_signed() {
                return invalid("unsigned_only is set, but the suite is signed: choose a suite that is not signed");
            }
        }
        if settings.frame_length == 0 {
            return invalid("the frame length is 0: set frame_length to 1 or more");
        }
        if settings.frame_length > settings.max_frame_length {
            return invalid("the client could not read its own frames: raise max_frame_length to frame_length or more");
        }
        if addressable_frame_len(settings.frame_length.into(), FINAL_OVERHEAD).is_none() {
            return invalid("the frame length is more than this machine can address: lower frame_length");
        }
        if settings.header_limits.max_encrypted_data_keys == 0 {
            return invalid("every message has at least one data key: set max_encrypted_data_keys to 1 or more");
        }
        if settings.workers.threads == 0 {
            return invalid("the number of threads is 0: set threads to 1 or more");
        }
        Ok(Client { settings, ..self.client })
    }
}
