//! The operations of [`LocalKms`](super::LocalKms), grouped into files by subject.

pub(super) mod alias;
mod audit_log;
mod cipher;
mod folder;
mod grant;
mod import;
pub(super) mod lifecycle;
pub(super) mod maintenance;
mod policy;
mod replica;
pub(super) mod rotation;
mod time;
