//! A KMS of your own: a vault that keeps what it is given and returns tickets for it, as a service of yours might.
//!
//! ```text
//! decrypted: hello
//! ```

use std::{collections::HashMap, sync::Mutex};

use manila::kms::{
    GeneratedDataKey, Kms, KmsCiphertext, KmsPlaintext, KmsRequest, SecretBytes, generate_by_encrypting,
};
use manila::{Client, EncryptionContext, Error, ErrorKind, Result, keyring::KmsKeyring, materials::KeyFuture};

#[derive(Debug, Default)]
struct Vault(Mutex<HashMap<Name, SecretBytes>>);
type Name = (String, EncryptionContext, Vec<u8>); // the key, the encryption context, the ticket

impl Kms for Vault {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        Box::pin(generate_by_encrypting(self, request, length))
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        let mut kept = self.0.lock().unwrap();
        let (key_arn, ticket) = (request.key_id.to_owned(), kept.len().to_be_bytes().to_vec());
        kept.insert((key_arn.clone(), request.encryption_context.clone(), ticket.clone()), SecretBytes::new(plaintext));
        Box::pin(async { Ok(KmsCiphertext { ciphertext: ticket, key_arn }) })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        let name = (request.key_id.to_owned(), request.encryption_context.clone(), ciphertext.to_vec());
        let refused = || Error::new(ErrorKind::KeyRefused, "the vault has no such ticket for this key and context");
        let kept = self.0.lock().unwrap().get(&name).cloned().ok_or_else(refused);
        Box::pin(async { Ok(KmsPlaintext { plaintext: kept?, key_arn: name.0 }) })
    }

    fn provider_id(&self) -> &'static str {
        "vault" // under AWS's, which is the default, other programs would ask AWS KMS
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::new(KmsKeyring::new(Vault::default(), "arn:vault:kms:eu-1:team-a:key/app")?);
    let context = EncryptionContext::new([("tenant", "acme")])?;
    let message = client.encrypt_async(b"hello", &context).await?;
    let decrypted = client.decrypt_async(&message, &context).await?;
    println!("decrypted: {}", String::from_utf8_lossy(&decrypted.plaintext));
    Ok(())
}
