//! Encrypts and decrypts a message under a key of AWS KMS.
//!
//! `cargo run --features aws-kms --example aws_kms -- KEY_ARN [ENDPOINT_URL]`
//!
//! Credentials and region come from the SDK's default chain: the environment, a profile, the machine's role. An alias
//! in place of `KEY_ARN` will do: the message names the key's ARN. The endpoint is a VPC endpoint's or a stand-in's.
//!
//! ```text
//! ... bytes, encrypted under arn:aws:kms:...
//! decrypted: hello
//! ```

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use manila::aws::AwsKms;
use manila::keyring::KmsKeyring;
use manila::kms::KeyArn;
use manila::{Client, EncryptionContext, UnverifiedHeader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let key = arguments.next().ok_or("usage: aws_kms KEY_ARN [ENDPOINT_URL]")?;

    // Timeouts and retries are the SDK's: set them as the program needs them.
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(5)).build();
    let mut config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
    if let Ok(arn) = KeyArn::parse(&key) {
        config = config.region(Region::new(arn.region.to_owned()));
    }
    if let Some(endpoint) = arguments.next() {
        config = config.endpoint_url(endpoint);
    }
    let kms = AwsKms::new(aws_sdk_kms::Client::new(&config.load().await));

    // The context is bound to the message, seen by KMS, and written to CloudTrail.
    let context = EncryptionContext::new([("tenant", "acme"), ("purpose", "example")])?;
    let client = Client::new(KmsKeyring::encrypt_only(kms.clone(), key)?);
    let message = client.encrypt_async(b"hello", &context).await?;

    let header = UnverifiedHeader::parse(&message)?;
    let arn = String::from_utf8(header.encrypted_data_keys()[0].provider_info.clone())?;
    println!("{} bytes, encrypted under {arn}", message.len());

    let client = Client::new(KmsKeyring::new(kms, arn)?);
    let decrypted = client.decrypt_async(&message, &context).await?;
    println!("decrypted: {}", String::from_utf8(decrypted.plaintext)?);
    Ok(())
}
