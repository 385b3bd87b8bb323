//! The records of the store: keys, aliases, grants, and the state of the audit log.

pub(super) mod alias;
pub(super) mod audit;
pub(super) mod grant;
pub(super) mod key;
pub(super) mod kind;
