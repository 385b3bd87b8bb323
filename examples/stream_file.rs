//! Encrypts a file as a stream and decrypts it again, in a few frames of memory however long the file is.
//!
//! ```text
//! 3000000 bytes in, 3001674 bytes out
//! decrypted: the same 3000000 bytes
//! cut by one byte: the message ends...
//! ```

use std::fs::{self, File};
use std::io;
use std::path::Path;

use manila::keyring::RawAesKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, Result};
use tempfile::NamedTempFile;

fn main() -> Result<()> {
    let keyring = RawAesKeyring::new("example", "key-1", &[7; 32])?;
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
    let client = Client::builder(keyring).suite(suite).frame_length(65_536).build()?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("plain"), vec![42; 3_000_000])?;

    let mut writer = client.encryptor(&EncryptionContext::new([("tenant", "acme")])?)?.writer(File::create(path("m"))?);
    let read = writer.write_from(File::open(path("plain"))?)?;
    let file = writer.finish()?; // completes the message: without it, nothing decrypts
    println!("{read} bytes in, {} bytes out", file.metadata()?.len());

    let written = decrypt(&client, &path("m"), &path("back"))?;
    assert_eq!(fs::read(path("back"))?, vec![42; 3_000_000]);
    println!("decrypted: the same {written} bytes");

    file.set_len(file.metadata()?.len() - 1)?;
    println!("cut by one byte: {}", decrypt(&client, &path("m"), &path("cut")).unwrap_err());
    Ok(())
}

/// Decrypts one file into another, which appears under its name only once all of it has been verified.
fn decrypt(client: &Client, message: &Path, target: &Path) -> Result<u64> {
    let mut reader = client.open(File::open(message)?, &EncryptionContext::new([("tenant", "acme")])?)?;
    let mut draft = NamedTempFile::new_in(target.parent().unwrap_or(Path::new(".")))?;
    let written = io::copy(&mut reader, &mut draft)?;
    draft.persist(target).map_err(|failed| failed.error)?;
    Ok(written)
}
