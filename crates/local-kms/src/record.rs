//! The records of the store: keys, aliases, grants, principals, and the state of the audit log.

pub(super) mod algorithm;
pub(super) mod alias;
pub(super) mod audit;
pub(super) mod grant;
pub(super) mod grants;
pub(super) mod identity;
pub(super) mod key;
pub(super) mod kind;
pub(super) mod secret;
pub(super) mod token;
