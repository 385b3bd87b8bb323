//! A thousand messages for one call to the KMS.
//!
//! `cargo run --example cached`

use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};
use manila::keyring::KmsKeyring;
use manila::local_kms::{CreateKey, LocalKms};
use manila::{AlgorithmSuite, Client, EncryptionContext};

fn main() -> manila::Result<()> {
    // For AWS KMS, with the feature `aws-kms`: `let kms = AwsKms::new(aws_sdk_kms::Client::new(&config));`, the ARN of its key, and
    // the `_async` twins of the calls below in a tokio runtime.
    let kms = LocalKms::in_memory()?;
    let key = kms.create_key(CreateKey::default())?;
    let cmm = DefaultCmm::new(KmsKeyring::new(kms.clone(), key.arn())?);

    // A data key lives for five minutes, or for ten thousand messages, or for a gibibyte. In its last minute one caller
    // renews it while the others go on.
    let limits = CacheSettings::new(1000, Duration::from_secs(300))
        .max_messages(10_000)
        .max_bytes(1 << 30)
        .renew_before(Duration::from_secs(60));
    let cmm = CachingCmm::new(cmm, limits)?;
    // The clone shares the entries, so that it tells what they did for the client.
    let client = Client::builder_with_cmm(cmm.clone()).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build()?;

    // Messages of one context share a data key; each has a key of its own derived from it.
    let tenants = [EncryptionContext::new([("tenant", "acme")])?, EncryptionContext::new([("tenant", "zenith")])?];
    for (n, tenant) in tenants.iter().cycle().take(1000).enumerate() {
        let plaintext = format!("message {n}");
        let message = client.encrypt(plaintext.as_bytes(), tenant)?;
        assert_eq!(client.decrypt(&message, tenant)?.plaintext, plaintext.as_bytes());
    }
    let stats = cmm.stats();
    println!(
        "a thousand messages, sealed and opened: {} calls to the KMS, {} answers from the cache",
        stats.misses, stats.hits
    );

    // What an entry opens for one reader it does not open for another who expects something else.
    let [acme, zenith] = &tenants;
    let message = client.encrypt(b"for acme", acme)?;
    println!("as zenith: {}", client.decrypt(&message, zenith).unwrap_err());

    // What caching gives up: a key that is disabled still serves, until the entries expire.
    kms.disable_key(key.arn())?;
    assert!(client.decrypt(&message, acme).is_ok());
    println!("{:#?}", cmm.stats());
    Ok(())
}
