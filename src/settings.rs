//! Client settings and their defaults.

use crate::message::header::{ContentType, Header, HeaderLimits};
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;
use crate::threads::Workers;

/// Settings of a client. Each field is set by a method of [`ClientBuilder`](crate::ClientBuilder) with the same or a
/// similar name.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) suite: Option<AlgorithmSuite>,
    pub(crate) commitment_policy: CommitmentPolicy,
    pub(crate) frame_length: u32,
    pub(crate) header_limits: HeaderLimits,
    pub(crate) max_frame_length: u32,
    pub(crate) max_non_framed_length: u64,
    pub(crate) unsigned_only: bool,
    pub(crate) workers: Workers,
}

impl Settings {
    /// The same settings, with the frame length of a message and, as far as they allow it, its suite. If they do not, a
    /// signed message stays a signed one.
    pub(crate) fn in_format_of(mut self, header: &Header) -> Self {
        let (suite, policy) = (header.suite(), self.commitment_policy);
        let signs = suite.is_signed() && !self.unsigned_only;
        self.suite = Some(match signs {
            _ if signs == suite.is_signed() && policy.check_encrypt(suite).is_ok() => suite,
            true => policy.default_suite(),
            false => policy.default_unsigned_suite(),
        });
        if let ContentType::Framed(length) = header.content_type() {
            self.frame_length = length;
        }
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        const MIB_64: u32 = 64 << 20;
        Self {
            suite: None,
            commitment_policy: CommitmentPolicy::default(),
            frame_length: 4096,
            header_limits: HeaderLimits::default(),
            max_frame_length: MIB_64,
            max_non_framed_length: u64::from(MIB_64),
            unsigned_only: false,
            workers: Workers::one(),
        }
    }
}
