//! Shows what a message says about itself, without keys: who can decrypt it, what it is bound to, how it is laid out.
//!
//! Give it a file with `cargo run --example inspect FILE`; by default it shows a message of its own.
//!
//! ```text
//! suite      0x0578 ...
//! context    "aws-crypto-public-key" = ...
//! context    "tenant" = "acme"
//! data key   "key-1" of "example"
//! body       10000 bytes of plaintext in 3 frames
//! nothing of it is verified: anyone can write a header
//! ```

use std::io::Cursor;

use manila::keyring::RawAesKeyring;
use manila::{Client, ContentType, EncryptionContext, Result, UnverifiedHeader};

fn main() -> Result<()> {
    let message = match std::env::args_os().nth(1) {
        Some(file) => std::fs::read(file)?,
        None => example()?,
    };
    let mut message = Cursor::new(message);
    let header = UnverifiedHeader::read(&mut message)?;
    println!("suite      {} {}", header.suite(), header.suite().name());
    // Quoted and escaped: a header can hold anything, terminal commands among it.
    for (key, value) in header.encryption_context() {
        println!("context    {key:?} = {value:?}");
    }
    for key in header.encrypted_data_keys() {
        println!("data key   {:?} of {:?}", key.key_name(), key.provider_id);
    }
    let body = header.summarize_body(message)?;
    match header.content_type() {
        ContentType::Framed(_) => {
            println!("body       {} bytes of plaintext in {} frames", body.plaintext_len(), body.frames());
        }
        ContentType::NonFramed => println!("body       {} bytes of plaintext, non-framed", body.plaintext_len()),
    }
    println!("nothing of it is verified: anyone can write a header");
    Ok(())
}

fn example() -> Result<Vec<u8>> {
    let client = Client::new(RawAesKeyring::new("example", "key-1", &[7; 32])?);
    client.encrypt(&[42; 10_000], &EncryptionContext::new([("tenant", "acme")])?)
}
