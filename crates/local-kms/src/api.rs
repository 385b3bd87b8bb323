//! The operations of [`LocalKms`](super::LocalKms), grouped into files by subject.
//!
//! ```text
//! lifecycle  import  rotation  replica    keys, from creation to deletion, and their material
//! alias  grant  policy  identity          names and permissions
//! simulation                              who may do what, and why
//! cipher  data_key  mac                   the trait Kms, data keys, MACs, random bytes
//! encryption  re_encryption               plaintexts and ciphertexts, with a choice of algorithm
//! sign  public_key  data_key_pair         asymmetric keys: signatures and key pairs
//! agreement  encapsulation                asymmetric keys: shared secrets
//! audit_log  maintenance  time            the owner's work on log, store and clock
//! ```

pub(super) mod agreement;
pub(super) mod alias;
mod audit_log;
mod cipher;
pub(super) mod data_key;
pub(super) mod data_key_pair;
pub(super) mod encapsulation;
pub(super) mod encryption;
mod folder;
mod grant;
pub(super) mod identity;
mod import;
pub(super) mod lifecycle;
pub(super) mod mac;
pub(super) mod maintenance;
mod policy;
pub(super) mod public_key;
pub(super) mod re_encryption;
mod replica;
pub(super) mod rotation;
pub(super) mod sign;
pub(super) mod simulation;
mod time;
