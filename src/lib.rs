//! Envelope encryption in the AWS Encryption SDK message format. Each message is encrypted under its own data key; the
//! data key is encrypted under a KMS key and stored in the message header, with an authenticated encryption context.
//!
//! Messages are those of the AWS Encryption SDK, versions 1 and 2, byte for byte: the official SDKs read what this
//! crate writes, and the other way round. Keys come from an embedded KMS ([`local_kms`]), from AWS KMS ([`aws`]), from
//! any other KMS through one trait ([`kms::Kms`]), or from the application itself ([`keyring::RawAesKeyring`]).
//!
//! ```
//! # #[cfg(feature = "local-kms")] {
//! use manila::keyring::KmsKeyring;
//! use manila::local_kms::{CreateKey, LocalKms};
//! use manila::{Client, EncryptionContext};
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
//! # Which call to use
//!
//! | you have | to encrypt | to decrypt |
//! |---|---|---|
//! | a slice | [`Client::encrypt`] | [`Client::decrypt`] |
//! | a stream | [`Client::encryptor`], then [`Encryptor::writer`] | [`Client::open`] |
//! | a buffer to reuse | [`Client::encrypt_into`] | [`Client::decrypt_into`], [`Client::decrypt_in_place`] |
//! | a file to read at any offset | | [`Client::open_seekable`] |
//! | an object to read at any offset over a network | | `Client::open_seekable_async` (feature `tokio`), or [`Decryptor::range_decryptor`] for what you fetch yourself |
//! | a message whose header is looked at first | | [`Client::read_header`], [`Client::decryptor`], then [`Decryptor::reader`] or [`Decryptor::seekable`] |
//! | many small messages | [`Client::encrypt_batch`], [`Client::encrypt_batch_into`] | [`Client::decrypt_batch`], [`Client::decrypt_batch_expecting`], [`Client::decrypt_batch_into`] |
//! | a message to encrypt again under other keys, or many | [`Client::reencrypt`], [`Client::reencrypt_all`] | |
//! | keys behind a network | the same methods with `_async` | the same methods with `_async` |
//! | no key | | [`UnverifiedHeader::parse`], to inspect a message |
//! | a process that starts cold and signs | [`warm_up()`], on a thread at its start | |
//!
//! # Guarantees
//!
//! - No plaintext is released before its tag has been verified, and the last of it only once the entire message has
//!   been. In signed suites, streams release earlier frames **before the signature at the end is known**: see
//!   [`Decryptor::reader`], and [`ClientBuilder::unsigned_only`] to refuse such messages. Reads at any offset do not
//!   verify the signature, so they refuse signed messages by default.
//! - No length is trusted before it has been checked against a limit, and memory use grows with the bytes that arrive.
//! - No input makes this crate panic: every bad message ends in an [`Error`], whose [`ErrorKind`] says in which way it
//!   is bad.
//! - Keys are zeroized on drop and never shown by `Debug`. The interface has no nonces.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `aws-lc` | yes | AES-GCM, SHA-2 of signed messages and ECDSA from AWS-LC, several times as fast as the pure Rust crates that replace it otherwise; raw RSA keyrings |
//! | `local-kms` | yes | [`local_kms`], the embedded KMS |
//! | `batch` | | the keys of sixteen messages at a time in [`Client::encrypt_batch`] and its kin, on processors with AVX-512 |
//! | `cache` | yes | [`cmm::CachingCmm`]: one data key for many messages, within limits |
//! | `aws-kms` | | [`aws`]: AWS KMS, called from a tokio runtime; Rust 1.94.1 or later |
//! | `tokio` | | [`EncryptWriter`] and [`DecryptReader`] over tokio's `AsyncWrite` and `AsyncRead`, [`SeekableMessage`] over `AsyncReadAt`; of tokio's own features only `io-util`, and no runtime |
//! | `fs` | | [`fs`]: files to files, complete and verified or not at all |
//! | `metrics` | | the cache's counters through the `metrics` facade; enables `cache` |
//! | `testing` | | [`testing`]: contract checks for keyrings and KMSs, and a keyring with a fixed key |
//!
//! Features add and never change a result. With none of them the crate still encrypts and decrypts, with raw keys or a
//! KMS of your own.
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | [`keyring`] | where data keys come from: KMS keys, raw keys, several at once |
//! | [`cmm`] | cryptographic materials managers: the cache, required context keys |
//! | [`materials`] | what keyrings and materials managers hand to the client; for their authors |
//! | [`kms`] | the trait that a key management service implements |
//! | [`local_kms`] | AWS KMS in a file |
//! | [`aws`] | AWS KMS through the AWS SDK |
//! | [`fs`] | encrypts files to files |
//! | [`testing`] | contract checks and known keys, for tests |
// Some links above lead nowhere in documentation that is built without their features.
#![cfg_attr(
    not(all(feature = "aws-kms", feature = "cache", feature = "fs", feature = "local-kms", feature = "testing")),
    allow(rustdoc::broken_intra_doc_links)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod buffer;
mod client;
pub mod cmm;
mod decrypt;
mod encrypt;
mod expected_context;
#[cfg(feature = "fs")]
pub mod fs;
pub mod keyring;
pub mod kms;
pub mod materials;
mod message;
mod message_key;
mod policy;
mod reencrypt;
mod settings;
mod stream;
mod suite;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;
mod warm_up;

#[cfg(feature = "aws-kms")]
pub use manila_aws as aws;
pub use manila_core::{Clock, EncryptionContext, EncryptionContextIter, Error, ErrorKind, Result, SystemClock};
#[cfg(feature = "local-kms")]
pub use manila_local_kms as local_kms;

pub use client::Client;
pub use client::batch::DecryptedRange;
pub use client::builder::ClientBuilder;
pub use client::decryption::Decrypted;
pub use decrypt::Decryptor;
pub use encrypt::Encryptor;
pub use expected_context::ExpectedContext;
pub use message::frame_map::{FrameMap, FrameSpan};
pub use message::header::{ContentType, EncryptedDataKey, Header, HeaderFields, HeaderLimits, UnverifiedHeader};
pub use message::summary::BodySummary;
pub use policy::CommitmentPolicy;
#[cfg(feature = "tokio")]
pub use stream::async_source::AsyncReadAt;
pub use stream::ranges::RangeDecryptor;
pub use stream::read::DecryptReader;
pub use stream::seek::{MessageCursor, SeekableMessage};
pub use stream::source::ReadAt;
pub use stream::write::EncryptWriter;
pub use suite::AlgorithmSuite;
pub use threads::ThreadPool;
pub use warm_up::warm_up;

/// The README's example, compiled and run with the other documentation tests.
#[cfg(all(doctest, feature = "cache", feature = "local-kms"))]
#[doc = include_str!("../README.md")]
struct Readme;
