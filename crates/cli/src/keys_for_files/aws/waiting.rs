//! AWS KMS as a KMS whose calls wait for the answer, since the program has threads and no async.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata};
use manila::aws::AwsKms;
use manila::kms::{GeneratedDataKey, KeyFuture, Kms, KmsCiphertext, KmsPlaintext, KmsRequest};
use tokio::runtime::{Builder, Runtime};

use crate::failure::{Failure, Result};
use crate::report::plain;

/// The settings and credentials of the SDK, and the thread that talks to AWS.
pub struct Aws {
    config: SdkConfig,
    runtime: Arc<Runtime>,
}

impl Aws {
    /// Finds settings and credentials. With a region, no machine of AWS is asked in which region it is.
    pub fn connect(region: &str) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Work(format!("cannot start a thread for AWS: {error}")))?;
        let config = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.to_owned()));
        let config = runtime.block_on(config.load());
        Ok(Self { config, runtime: Arc::new(runtime) })
    }

    /// Returns the KMS of a region.
    pub fn kms(&self, region: String) -> WaitingKms {
        let config = aws_sdk_kms::config::Builder::from(&self.config).region(Region::new(region)).build();
        let kms = AwsKms::new(aws_sdk_kms::Client::from_conf(config));
        WaitingKms { kms, runtime: self.runtime.clone() }
    }
}

/// AWS KMS in one region. Each call waits for its answer, so that its futures are ready at once.
#[derive(Clone, Debug)]
pub struct WaitingKms {
    kms: AwsKms,
    runtime: Arc<Runtime>,
}

impl WaitingKms {
    /// Returns the ARN of the key of an alias.
    pub fn key_of(&self, alias: &str) -> Result<String> {
        let described = self.runtime.block_on(self.kms.as_client().describe_key().key_id(alias).send());
        let failed = |why: String| {
            let why = plain(&why);
            Failure::Work(format!("cannot find the key of {alias:?}, give the ARN of the key: {why}"))
        };
        let described = described.map_err(|error| match (error.code(), error.message()) {
            (Some(code), Some(message)) => failed(format!("{code}: {message}")),
            _ => failed(DisplayErrorContext(&error).to_string()),
        })?;
        let arn = described.key_metadata.and_then(|metadata| metadata.arn);
        arn.ok_or_else(|| failed("AWS KMS did not return one".to_owned()))
    }
}

impl Kms for WaitingKms {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        Box::pin(async move { self.runtime.block_on(self.kms.generate_data_key(request, length)) })
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        Box::pin(async move { self.runtime.block_on(self.kms.encrypt(request, plaintext)) })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        Box::pin(async move { self.runtime.block_on(self.kms.decrypt(request, ciphertext)) })
    }

    fn is_local(&self) -> bool {
        true
    }

    fn region(&self) -> Option<&str> {
        self.kms.region()
    }

    fn provider_id(&self) -> &str {
        self.kms.provider_id()
    }
}
