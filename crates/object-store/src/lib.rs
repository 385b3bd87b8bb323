//! Encrypted objects in Amazon S3, Google Cloud Storage, Azure Blob Storage, a folder or memory, through the crate
//! [`object_store`]: messages of [`manila`](https://docs.rs/manila), which are those of the AWS Encryption SDK.
//!
//! [`Objects`] connects a client to a store. It uploads streams in parts, downloads them frame by frame, and reads
//! ranges of an object without fetching the rest:
//!
//! ```
//! use std::sync::Arc;
//!
//! use manila::keyring::RawAesKeyring;
//! use manila::{AlgorithmSuite, Client, EncryptionContext};
//! use manila_object_store::Objects;
//! use manila_object_store::object_store::{memory::InMemory, path::Path};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
//! let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey; // not signed, so that ranges can be read
//! let client = Client::builder(keyring).suite(suite).build()?;
//! let objects = Objects::new(client, Arc::new(InMemory::new())); // or an `AmazonS3`
//!
//! let (location, context) = (Path::from("acme/log"), EncryptionContext::new([("object", "acme/log")])?);
//! let mut upload = objects.upload(&location, &context).await?;
//! upload.write_from(&[7; 100_000][..]).await?; // any `AsyncRead`
//! upload.finish().await?; // only now is there an object
//!
//! let message = objects.open(&location, &context).await?; // fetches the header and the end
//! let mut buf = [0; 10];
//! message.read_at_async(50_000, &mut buf).await?; // fetches one frame
//! assert_eq!(buf, [7; 10]);
//! # Ok::<(), manila::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which object it is
//!
//! A store may return any object for any location: put what an object is into its encryption context, such as its
//! location, and expect that when it is read. Otherwise whoever can write to the store can exchange two objects of the
//! same context.
//!
//! # Cost
//!
//! | | requests | calls to the KMS |
//! |---|---|---|
//! | [`Objects::open`] | 2; 1 for objects up to 16 KiB | 1 |
//! | each range of an open message | 1; none in the first 16 KiB | none |
//! | [`Objects::download`], [`Objects::get`] | 1 | 1 |
//! | [`Objects::put`], uploads of less than one part | 1 | 1 |
//! | other uploads | 2, and 1 for each part | 1 |
//!
//! Keep a message open for as long as its ranges are wanted. A server that opens objects anew for each request gives
//! its client a `manila::cmm::CachingCmm`: opening an object again then calls no KMS until the data key's entry
//! expires. `Objects::upload` has a plaintext of unknown length, for which the cache is not used: see
//! [`Objects::upload_sized`].
//!
//! # Errors
//!
//! What a store reports is an error of the kind [`ErrorKind::Io`](manila::ErrorKind::Io), of which [`store_error`]
//! returns the store's own.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod download;
mod error;
mod objects;
mod part_size;
mod parts;
mod source;
mod upload;

pub use object_store;

pub use download::Download;
pub use error::store_error;
pub use objects::Objects;
pub use source::ObjectSource;
pub use upload::Upload;
