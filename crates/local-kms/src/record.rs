//! What is stored: keys, aliases, grants, and what is remembered of the audit log.

pub(super) mod alias;
pub(super) mod audit;
pub(super) mod grant;
pub(super) mod key;
