//! The settings of a client, held against each other.

use manila_core::{Error, ErrorKind, Result};

use crate::client::Client;
use crate::cmm::{Cmm, DefaultCmm};
use crate::keyring::Keyring;
use crate::message::frame::{FINAL_OVERHEAD, frame_in_memory};
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

impl Client {
    /// A client over a keyring, with settings of its own.
    pub fn builder(keyring: impl Keyring + 'static) -> ClientBuilder {
        Self::builder_with_cmm(DefaultCmm::new(keyring))
    }

    /// A client over a materials manager, with settings of its own.
    pub fn builder_with_cmm(cmm: impl Cmm + 'static) -> ClientBuilder {
        let client = Self::with_cmm(cmm);
        ClientBuilder { client }
    }
}

/// Settings for a [`Client`].
///
/// ```
/// use manila::{AlgorithmSuite, Client};
/// use manila::keyring::RawAesKeyring;
///
/// let keyring = RawAesKeyring::new("example", "key-1", &[0; 32])?;
/// let client = Client::builder(keyring)
///     .suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey)
///     .frame_length(65_536)
///     .build()?;
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until built"]
pub struct ClientBuilder {
    /// Its settings are not yet known to go together.
    client: Client,
}

impl ClientBuilder {
    /// The suite to write. By default that of the commitment policy.
    pub fn suite(mut self, suite: AlgorithmSuite) -> Self {
        self.client.settings.suite = Some(suite);
        self
    }

    /// Which suites may be written and read. By default those with key commitment alone.
    pub fn commitment_policy(mut self, policy: CommitmentPolicy) -> Self {
        self.client.settings.commitment_policy = policy;
        self
    }

    /// Plaintext bytes in a frame, 4096 by default. Larger frames make large messages faster and need as much more
    /// memory in streams.
    pub fn frame_length(mut self, bytes: u32) -> Self {
        self.client.settings.frame_length = bytes;
        self
    }

    /// The most encrypted data keys to write or read, 64 by default. Each can cost the reader a call to a KMS.
    pub fn max_encrypted_data_keys(mut self, count: u16) -> Self {
        self.client.settings.header_limits.max_encrypted_data_keys = count;
        self
    }

    /// The longest header to write or read in bytes, 1 MiB by default.
    pub fn max_header_length(mut self, bytes: usize) -> Self {
        self.client.settings.header_limits.max_length = bytes;
        self
    }

    /// The longest frame to read in bytes of plaintext, 64 MiB by default. A stream holds one frame in memory.
    pub fn max_frame_length(mut self, bytes: u32) -> Self {
        self.client.settings.max_frame_length = bytes;
        self
    }

    /// The longest non-framed body to read in bytes of plaintext, 64 MiB by default. A stream holds all of it in memory,
    /// sealed and opened. Its length follows the header: of a whole message it is checked before any key is asked for,
    /// of a stream when it has arrived.
    pub fn max_non_framed_length(mut self, bytes: u64) -> Self {
        self.client.settings.max_non_framed_length = bytes;
        self
    }

    /// The most threads that work on one message, the caller's among them; 1 by default.
    ///
    /// Whole messages and batches of a stream are spread over them where there are some megabytes to work on. The bytes
    /// are the same on any number of threads. Threads last for the call that they help, and none is started for small
    /// messages. What they bring ends where memory is no faster: whole messages and writers gain most, readers least,
    /// as all that a reader takes passes through one thread before it can be shared. In signed suites, where hashing
    /// takes nearly all the time and cannot be split, one thread hashes while the others do the rest. A stream's memory
    /// grows with the threads: about 4 MiB for each, or two frames for each if they are longer than 2 MiB, up to 512
    /// MiB for all, or two frames if they are longer than 256 MiB. Where that bound leaves fewer frames than threads,
    /// fewer threads work.
    pub fn threads(mut self, threads: usize) -> Self {
        self.client.settings.threads = threads;
        self
    }

    /// Refuses signed messages before any key is asked for, so that a stream releases nothing that a signature at
    /// its end could still disown; what this client writes is then unsigned by default too. Off by default.
    pub fn unsigned_only(mut self, only: bool) -> Self {
        self.client.settings.unsigned_only = only;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if the policy does not allow the suite, [`ErrorKind::InvalidInput`] if the
    /// frame length is 0, over what this client reads or over what the machine can address, if it would write signed
    /// messages and not read them, or if no data key or no thread is allowed.
    pub fn build(self) -> Result<Client> {
        let mut settings = self.client.settings;
        let invalid = |detail: &'static str| Err(Error::new(ErrorKind::InvalidInput, detail));
        if let Some(suite) = settings.suite {
            settings.commitment_policy.check_encrypt(suite)?;
        }
        if settings.unsigned_only {
            let suite = settings.suite.get_or_insert(settings.commitment_policy.default_unsigned_suite());
            if suite.is_signed() {
                return invalid("the client could not read its own messages: choose a suite that does not sign");
            }
        }
        if settings.frame_length == 0 {
            return invalid("a frame length of 0 cannot hold anything: set frame_length to 1 or more");
        }
        if settings.frame_length > settings.max_frame_length {
            return invalid("the client could not read its own frames: raise max_frame_length to frame_length");
        }
        if frame_in_memory(settings.frame_length.into(), FINAL_OVERHEAD).is_none() {
            return invalid(
                "frames of that length are longer than this machine can hold in memory: lower frame_length",
            );
        }
        if settings.header_limits.max_encrypted_data_keys == 0 {
            return invalid("a message has at least one data key: set max_encrypted_data_keys to 1 or more");
        }
        if settings.threads == 0 {
            return invalid("a message is worked on by one thread at least: set threads to 1 or more");
        }
        Ok(Client { settings, ..self.client })
    }
}
