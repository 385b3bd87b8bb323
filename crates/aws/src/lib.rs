//! AWS KMS for [`manila`](https://docs.rs/manila), through the AWS SDK for Rust.
//!
//! [`AwsKms`] is a [`Kms`](manila_core::Kms): give it to a keyring. `manila` has this crate as its module `aws`
//! (feature `aws-kms`).
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod kms;

pub use kms::AwsKms;
