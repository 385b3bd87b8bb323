//! The trait [`Kms`]: the three operations of a key management service that envelope encryption needs.
//!
//! [`LocalKms`](crate::local_kms::LocalKms) and [`AwsKms`](crate::aws::AwsKms) implement it.
#![cfg_attr(not(all(feature = "aws-kms", feature = "local-kms")), allow(rustdoc::broken_intra_doc_links))]

pub use manila_core::{
    GeneratedDataKey, KeyArn, KeyFuture, Kms, KmsCiphertext, KmsError, KmsPlaintext, KmsRequest, SecretBytes,
    generate_by_encrypting,
};
