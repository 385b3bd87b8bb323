//! Encrypted objects in a store: uploads a stream, and reads a range as a server does, which opens the object for each
//! request; a cache of data keys saves the calls to the KMS.
//!
//! ```text
//! in memory: uploaded 13000000 bytes; line 0876543, and for 100 requests 1 call to the KMS
//! changed meanwhile: ...was changed after it was opened: open it again
//! in a folder: uploaded 13000000 bytes; line 0876543, and for 100 requests 1 call to the KMS
//! changed meanwhile: ...was changed after it was opened: open it again
//! ```

use std::{sync::Arc, time::Duration};

use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};
use manila::local_kms::{CreateKey, LocalKms};
use manila::{AlgorithmSuite, Client, EncryptionContext, keyring::KmsKeyring};
use manila_object_store::Objects;
use manila_object_store::object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory, path::Path};

async fn demonstrate(name: &str, store: Arc<dyn ObjectStore>) -> manila::Result<()> {
    let kms = LocalKms::in_memory()?;
    let keyring = KmsKeyring::new(kms.clone(), kms.create_key(CreateKey::default())?.arn())?;
    let cache = CachingCmm::new(DefaultCmm::new(keyring), CacheSettings::new(1000, Duration::from_secs(300)))?;
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey; // not signed, so that ranges can be read
    let objects = Objects::new(Client::builder_with_cmm(cache.clone()).suite(suite).build()?, store);

    let (location, context) = (Path::from("acme/log"), EncryptionContext::new([("object", "acme/log")])?);
    let lines: Vec<u8> = (0..1_000_000).flat_map(|n| format!("line {n:07}\n").into_bytes()).collect();
    let mut upload = objects.upload(&location, &context).await?; // in parts, and visible when it is finished
    let len = upload.write_from(lines.as_slice()).await?; // or a `tokio::fs::File`
    upload.finish().await?;
    let mut line = [0; 12];
    for _ in 0..100 {
        let message = objects.open(&location, &context).await?; // two requests: the header, and the end
        message.read_at_async(876_543 * 13, &mut line).await?; // one request, of one frame
    }
    let (line, calls) = (String::from_utf8_lossy(&line), cache.stats().misses());
    println!("{name}: uploaded {len} bytes; {line}, and for 100 requests {calls} call to the KMS");

    let message = objects.open(&location, &context).await?;
    objects.put(&location, &lines[13..], &context).await?;
    println!("changed meanwhile: {}", message.read_at_async(500_000, &mut [0; 12]).await.unwrap_err());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    demonstrate("in memory", Arc::new(InMemory::new())).await?;
    let folder = tempfile::tempdir()?;
    Ok(demonstrate("in a folder", Arc::new(LocalFileSystem::new_with_prefix(folder.path())?)).await?)
}
