//! The records: keys, aliases, grants, and the memory of the audit log.

pub(super) mod alias;
pub(super) mod audit;
pub(super) mod grant;
pub(super) mod key;
