//! The methods of [`LocalKms`](super::LocalKms), each in the file of its subject.

pub(super) mod alias;
mod audit_log;
mod cipher;
mod grant;
mod import;
pub(super) mod lifecycle;
pub(super) mod maintenance;
mod policy;
mod replica;
pub(super) mod rotation;
mod time;
