//! The operations of [`LocalKms`](super::LocalKms), grouped into files by subject.
//!
//! ```text
//! lifecycle  import  rotation  replica    keys, from creation to deletion, and their material
//! alias  grant  policy  identity          names and permissions
//! simulation                              who may do what, and why
//! cipher                                  data keys, plaintexts, MACs, random bytes
//! audit_log  maintenance  time            the owner's work on log, store and clock
//! ```

pub(super) mod alias;
mod audit_log;
mod cipher;
mod folder;
mod grant;
pub(super) mod identity;
mod import;
pub(super) mod lifecycle;
pub(super) mod maintenance;
mod policy;
mod replica;
pub(super) mod rotation;
pub(super) mod simulation;
mod time;
