//! Envelope encryption: every message under a data key of its own, that key encrypted under one that a KMS guards,
//! both framed into one message with an authenticated context.
//!
//! Messages are those of the AWS Encryption SDK, versions 1 and 2, byte for byte: what the official SDKs write opens
//! here, and the other way round. Keys come from an embedded KMS ([`LocalKms`]), from AWS KMS, from any other KMS through
//! one trait ([`Kms`]), or from the application itself ([`RawAesKeyring`]).
//!
//! ```
//! # #[cfg(feature = "local-kms")] {
//! use manila::{Client, CreateKey, EncryptionContext, KmsKeyring, LocalKms};
//!
//! let kms = LocalKms::in_memory()?; // or `LocalKms::create("keys.redb", RootKey::create_file("root.key")?)?`
//! let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
//! let client = Client::new(KmsKeyring::new(kms, key.arn())?);
//!
//! let context = EncryptionContext::new([("tenant", "acme")])?;
//! let sealed = client.encrypt(b"hello", &context)?;
//! assert_eq!(client.decrypt(&sealed, &context)?.plaintext, b"hello");
//! # }
//! # Ok::<(), manila::Error>(())
//! ```
//!
//! # Which call for what
//!
//! | you have | seal | open |
//! |---|---|---|
//! | a slice | [`Client::encrypt`] | [`Client::decrypt`] |
//! | a stream | [`Client::encryptor`], then [`Encryptor::writer`] | [`UnverifiedHeader::read`], [`Client::decryptor`], then [`Decryptor::reader`] |
//! | memory to use again | [`Client::encrypt_into`] | [`Client::decrypt_into`], [`Client::decrypt_in_place`] |
//! | a file, to read here and there | | [`Decryptor::seekable`] |
//! | a message for other keys | [`Client::reencrypt`] | |
//! | keys over a network | the same calls with `_async` | the same calls with `_async` |
//! | no key | | [`UnverifiedHeader::parse`], for inspection |
//!
//! # What is promised
//!
//! - No plaintext leaves before its tag has verified, the last of it not before all has. In signed suites, streams
//!   release earlier frames **before the signature at the end is known**: see [`Decryptor::reader`], and
//!   [`ClientBuilder::unsigned_only`] to refuse such messages.
//!   Reads at any place give the signature up, so they refuse signed messages unless told otherwise.
//! - No length is believed before it is bounded, and memory grows with bytes that arrive.
//! - No input panics: every bad message ends in an [`Error`] whose [`ErrorKind`] says which way it is bad.
//! - Keys are zeroized on drop and never shown by `Debug`. No nonce is in the interface.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `aws-lc` | yes | AES-GCM, SHA-2 of signed messages and ECDSA from AWS-LC, several times as fast as the pure Rust crates that stand in without it; raw RSA keyrings |
//! | `local-kms` | yes | [`LocalKms`], the embedded KMS |
//! | `cache` | yes | [`CachingCmm`]: one data key for many messages, within limits |
//! | `aws-kms` | | [`Kms`] for `aws_sdk_kms::Client`: AWS KMS, to be called from a tokio runtime |
//! | `tokio` | | [`EncryptWriter`] and [`DecryptReader`] over tokio's `AsyncWrite` and `AsyncRead`; none of tokio's own features |
//! | `metrics` | | the cache's counters through the `metrics` facade; brings `cache` along |
//! | `testing` | | the module `testing`: contracts for keyrings and KMSs, a keyring of a fixed key |
//!
//! Features add and never change a result. With none of them the crate still seals and opens, with raw keys or a
//! [`Kms`] of one's own.
//!
//! # The rooms
//!
//! Two streets lead through the crate. **Keys**: `client` asks a materials manager (`cmm`), that a `keyring`, that a
//! `kms`; it is the only street with futures. **Bytes**: `client` hands them to a `stream` or straight to `encrypt` and
//! `decrypt`, which lay them out with `message` and share long ones between `threads`; it is the only street that sees
//! plaintext. They meet in `encrypt` and `decrypt` alone, and both end in `crypto`. `reencrypt` leads from one client to
//! another. `error`, `text`, `suite`, `policy` and `context` are for everyone.
// The links to `LocalKms` and `CachingCmm` above lead nowhere in documentation made without them.
#![cfg_attr(not(all(feature = "cache", feature = "local-kms")), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod buffer;
mod client;
#[cfg(any(feature = "cache", feature = "local-kms"))]
mod clock;
mod cmm;
mod codec;
mod context;
mod crypto;
mod decrypt;
mod encrypt;
mod error;
mod expected_context;
mod key_arn;
mod keyring;
mod kms;
mod materials;
mod message;
mod message_key;
mod policy;
mod poll;
mod reencrypt;
mod secret;
mod settings;
mod stream;
mod suite;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod threads;

pub use client::builder::ClientBuilder;
pub use client::{Client, Decrypted};
#[cfg(any(feature = "cache", feature = "local-kms"))]
pub use clock::{Clock, SystemClock};
#[cfg(feature = "cache")]
pub use cmm::caching::{CacheSettings, CacheStats, CachingCmm, DataKeyCache};
pub use cmm::required_context::RequiredContextCmm;
pub use cmm::{Cmm, DefaultCmm, EncryptionRequest};
pub use context::{EncryptionContext, Iter as EncryptionContextIter};
#[cfg(feature = "aws-lc")]
pub use crypto::rsa::{RsaPadding, RsaPrivateKey, RsaPublicKey};
pub use decrypt::Decryptor;
pub use encrypt::Encryptor;
pub use error::{Error, ErrorKind, KmsError, Result};
pub use expected_context::ExpectedContext;
pub use key_arn::KeyArn;
pub use keyring::Keyring;
pub use keyring::kms::KmsKeyring;
pub use keyring::kms::discovery_filter::DiscoveryFilter;
pub use keyring::kms::regional::RegionalClients;
pub use keyring::multi::MultiKeyring;
pub use keyring::raw_aes::RawAesKeyring;
#[cfg(feature = "aws-lc")]
pub use keyring::raw_rsa::RawRsaKeyring;
#[cfg(feature = "aws-kms")]
pub use kms::aws::AwsKms;
#[cfg(feature = "local-kms")]
pub use kms::local::{
    Alias, AuditFault, AuditFaultKind, AuditLog, AuditReport, CreateGrant, CreateKey, Grant, GrantConstraint,
    GrantOperation, KeyMetadata, KeyOrigin, KeyRotation, KeySpec, KeyState, LocalKms, LocalKmsBuilder, RootKey,
    RootKeyChange, RotationStatus,
};
pub use kms::{GeneratedDataKey, Kms, KmsCiphertext, KmsPlaintext, KmsRequest, generate_by_encrypting};
pub use materials::{DataKey, DecryptionMaterials, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
pub use message::frame_map::FrameMap;
pub use message::header::{ContentType, EncryptedDataKey, Header, HeaderFields, HeaderLimits, UnverifiedHeader};
pub use message::summary::BodySummary;
pub use policy::CommitmentPolicy;
pub use poll::KeyFuture;
pub use secret::SecretBytes;
pub use stream::read::DecryptReader;
pub use stream::seek::{MessageCursor, SeekableMessage};
pub use stream::source::ReadAt;
pub use stream::write::EncryptWriter;
pub use suite::AlgorithmSuite;

/// The README's example, compiled and run with the other documentation tests.
#[cfg(all(doctest, feature = "cache", feature = "local-kms"))]
#[doc = include_str!("../README.md")]
struct Readme;
