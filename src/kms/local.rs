//! `LocalKms`: the embedded KMS, in memory or in one file.
//!
//! Each operation is a method of [`LocalKms`] in `api`, in the file of its subject. All go through `call`, which is
//! where a caller's permission, a key's state and what is overdue are seen to, and where the audit log gets its line.
//! `operation` is the table that all of them ask; `store` keeps the records.

mod access;
mod api;
mod audit;
mod blob;
mod builder;
mod call;
mod caller;
mod clock;
mod deadlines;
mod disk;
mod error;
mod key_policy;
mod local_kms;
mod location;
mod lookup;
mod operation;
#[cfg(feature = "testing")]
pub(crate) mod probe;
mod record;
mod recorder;
mod root_key;
mod secret_box;
mod session;
mod settling;
mod shared;
mod store;

pub use api::alias::Alias;
pub use api::maintenance::RootKeyChange;
pub use api::rotation::{KeyRotation, RotationStatus};
pub use audit::{AuditFault, AuditFaultKind, AuditLog, AuditReport};
pub use builder::LocalKmsBuilder;
pub use local_kms::LocalKms;
pub use operation::KeyState;
pub use record::grant::{CreateGrant, Grant, GrantConstraint, GrantOperation};
pub use record::key::{CreateKey, KeyMetadata, KeyOrigin, KeySpec};
pub use root_key::RootKey;
