//! The cache of data keys: no stampedes, and exact limits.

#![cfg(feature = "cache")]

mod age;
mod bypass;
mod fake;
mod flight;
mod forged;
#[path = "../support/heard.rs"]
mod heard;
#[path = "../support/junk.rs"]
mod junk;
mod limits;
#[cfg(feature = "metrics")]
mod metrics;
mod partitions;
#[cfg(feature = "local-kms")]
mod ranges;
mod readers;
mod renewal;
mod room;
mod runtimes;
mod stats;

use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm};
use manila::testing::{policy_for, ready};
use manila::{AlgorithmSuite, Client, EncryptionContext, Error, UnverifiedHeader};

use fake::{Fake, TestClock};

/// The committing, unsigned suite that most tests write.
pub(crate) const SUITE: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
pub(crate) const SIGNED: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384;

/// A fake manager behind a cache.
pub(crate) struct Cached {
    pub(crate) fake: Fake,
    pub(crate) cmm: CachingCmm,
    pub(crate) clock: TestClock,
}

impl Cached {
    /// Makes a cache whose entries live 100 seconds, unless the settings are changed.
    pub(crate) fn new(fake: Fake, change: impl FnOnce(CacheSettings) -> CacheSettings) -> Self {
        let clock = TestClock::default();
        let settings = CacheSettings::new(1000, Duration::from_secs(100)).clock(clock.clone());
        let cmm = CachingCmm::new(fake.clone(), change(settings)).unwrap();
        Self { fake, cmm, clock }
    }

    pub(crate) fn local() -> Self {
        Self::new(Fake::local(), |settings| settings)
    }

    pub(crate) fn remote() -> Self {
        Self::new(Fake::remote(), |settings| settings)
    }

    pub(crate) fn client(&self) -> Client {
        client(&self.cmm, SUITE)
    }

    /// Writes a message, and returns its wrapped data key.
    pub(crate) fn seal(&self, id: &str) -> Result<Vec<u8>, Error> {
        ready(self.client().encrypt_async(b"x", &context(&[("id", id)]))).map(|message| data_key(&message))
    }
}

/// Makes a client that may read and write messages of `suite`.
pub(crate) fn client(cmm: &CachingCmm, suite: AlgorithmSuite) -> Client {
    Client::builder_with_cmm(cmm.clone()).suite(suite).commitment_policy(policy_for(suite)).build().unwrap()
}

pub(crate) fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

/// Returns the wrapped data key of a message. Different data keys never have the same one.
pub(crate) fn data_key(message: &[u8]) -> Vec<u8> {
    let header = UnverifiedHeader::parse(message).unwrap();
    let [key] = header.encrypted_data_keys() else { panic!("one data key") };
    key.ciphertext.clone()
}
