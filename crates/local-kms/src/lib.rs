//! AWS KMS in a file: an embedded key management service with AWS's behaviour, for tests, at the edge and on premises.
//!
//! ```
//! use manila_local_kms::{CreateKey, LocalKms};
//!
//! let kms = LocalKms::in_memory()?; // or `LocalKms::open_or_create("kms")?`, a folder: the same at each start
//! let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
//! assert_eq!(kms.describe_key("alias/app")?.arn(), key.arn());
//! # Ok::<(), manila_local_kms::Error>(())
//! ```
//!
//! [`manila`](https://docs.rs/manila) re-exports this crate as its module `local_kms`.
//!
//! # Structure
//!
//! Each operation is a method of [`LocalKms`] in `api`, in the file of its subject. All of them go through `call`,
//! which checks the caller's permission and the key's state, performs overdue changes, and writes the line of the audit
//! log. `operation` is the table of their rules; `store` keeps the records.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod access;
mod api;
mod audit;
mod blob;
mod builder;
mod call;
mod call_options;
mod caller;
mod clock;
mod constraints;
mod deadlines;
mod decision;
mod disk;
mod error;
mod file_lock;
mod folder;
mod key_pairs;
mod local_kms;
mod location;
mod lookup;
mod operation;
mod policy;
mod record;
mod recorder;
mod request_context;
mod root_key;
mod secret_box;
mod secret_file;
mod session;
mod settling;
mod shared;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(no_inline)]
pub use manila_core::{
    Clock, EncryptionContext, Error, ErrorKind, KeyArn, Kms, KmsRequest, Result, SecretBytes, SystemClock,
};

pub use api::agreement::{DeriveSharedSecretRequest, DerivedSecret};
pub use api::alias::Alias;
pub use api::data_key::DataKeyRequest;
pub use api::data_key_pair::{DataKeyPair, DataKeyPairRequest};
pub use api::encapsulation::{DecapsulateRequest, Decapsulation, EncapsulateRequest, Encapsulation};
pub use api::encryption::{DecryptRequest, EncryptRequest};
pub use api::identity::{AssumeRole, Identity, RoleSession};
pub use api::lifecycle::KeyListEntry;
pub use api::mac::{Mac, MacRequest, VerifiedMac, VerifyMacRequest};
pub use api::maintenance::RootKeyChange;
pub use api::public_key::{PublicKey, PublicKeyRequest};
pub use api::re_encryption::{ReEncryptRequest, ReEncrypted};
pub use api::rotation::{KeyRotation, RotationStatus};
pub use api::sign::{MessageType, SignRequest, Signature, Verified, VerifyRequest};
pub use api::simulation::SimulatedCall;
pub use audit::{AuditFault, AuditFaultKind, AuditLog, AuditReport};
pub use blob::CiphertextOrigin;
pub use builder::LocalKmsBuilder;
pub use decision::{DecidingStatement, Decision, DecisionReason, PolicySource};
pub use local_kms::LocalKms;
pub use operation::KeyState;
pub use record::algorithm::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, MacAlgorithm, SigningAlgorithm,
};
pub use record::grant::{CreateGrant, CreatedGrant, Grant, GrantConstraint, GrantOperation};
pub use record::key::{CreateKey, KeyMetadata};
pub use record::kind::{KeyOrigin, KeySpec, KeyUsage, RotationType};
pub use request_context::RequestContext;
pub use root_key::RootKey;
pub use secret_file::check_secret_file;
