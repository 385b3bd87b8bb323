//! Caches data keys: a thousand messages of two tenants take two calls to the KMS, and two more to decrypt them.
//!
//! ```text
//! 1000 messages: 4 calls to the KMS, 1996 answers from the cache
//! as another tenant: ...encryption context... "tenant"
//! with the key disabled: true
//! ```

use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};
use manila::keyring::KmsKeyring;
use manila::local_kms::{CreateKey, LocalKms};
use manila::{AlgorithmSuite, Client, EncryptionContext, Result};

fn main() -> Result<()> {
    // With AWS KMS, `AwsKms` takes its place, and the calls below are their `_async` twins.
    let kms = LocalKms::in_memory()?;
    let key = kms.create_key(CreateKey::default())?;

    // A data key lives for five minutes, for ten thousand messages or for a gibibyte, whatever comes first. In its last
    // minute one caller renews it, while the others go on with the old one.
    let limits = CacheSettings::new(1000, Duration::from_secs(300))
        .max_messages(10_000)
        .max_bytes(1 << 30)
        .renew_before(Duration::from_secs(60));
    let cmm = CachingCmm::new(DefaultCmm::new(KmsKeyring::new(kms.clone(), key.arn())?), limits)?;
    // The clone shares the entries, and so counts for the client.
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
    let client = Client::builder_with_cmm(cmm.clone()).suite(suite).build()?;

    // Messages with the same context share a data key; each has a key of its own derived from it.
    let tenants = [EncryptionContext::new([("tenant", "acme")])?, EncryptionContext::new([("tenant", "zenith")])?];
    for tenant in tenants.iter().cycle().take(1000) {
        let message = client.encrypt(b"hello", tenant)?;
        assert_eq!(client.decrypt(&message, tenant)?.plaintext, b"hello");
    }
    let stats = cmm.stats();
    println!("1000 messages: {} calls to the KMS, {} answers from the cache", stats.misses(), stats.hits());

    // The cache opens nothing for a reader who expects another context.
    let message = client.encrypt(b"hello", &tenants[0])?;
    println!("as another tenant: {}", client.decrypt(&message, &tenants[1]).unwrap_err());

    // The price of caching: a key that is disabled serves on until the entries expire.
    kms.disable_key(key.arn())?;
    println!("with the key disabled: {}", client.decrypt(&message, &tenants[0]).is_ok());
    Ok(())
}
