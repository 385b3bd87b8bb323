//! Client settings and their defaults.

use crate::message::header::HeaderLimits;
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

/// Settings of a client. Each field is set by a method of [`ClientBuilder`](crate::ClientBuilder) with the same or a
/// similar name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) suite: Option<AlgorithmSuite>,
    pub(crate) commitment_policy: CommitmentPolicy,
    pub(crate) frame_length: u32,
    pub(crate) header_limits: HeaderLimits,
    pub(crate) max_frame_length: u32,
    pub(crate) max_non_framed_length: u64,
    pub(crate) unsigned_only: bool,
    /// At least 1.
    pub(crate) threads: usize,
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
            threads: 1,
        }
    }
}
