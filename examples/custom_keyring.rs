//! A keyring of your own: it wraps each tenant's data keys under a key of theirs, found by the encryption context.
//!
//! ```text
//! decrypted: hello
//! for nobody: the keyring has no key for this tenant: add one
//! ```

use std::collections::HashMap;

use manila::keyring::{Keyring, RawAesKeyring};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::{Client, EncryptionContext, Error, ErrorKind, Result};

#[derive(Debug)]
struct TenantKeyring(HashMap<&'static str, RawAesKeyring>);

impl TenantKeyring {
    fn of(&self, context: &EncryptionContext) -> Option<&RawAesKeyring> {
        self.0.get(context.get("tenant")?)
    }
}

impl Keyring for TenantKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        let missing = || Error::new(ErrorKind::InvalidInput, "the keyring has no key for this tenant: add one");
        let keyring = self.of(materials.encryption_context()).ok_or_else(missing);
        Box::pin(async { keyring?.on_encrypt(materials).await })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        match self.of(request.encryption_context()) {
            Some(keyring) => keyring.on_decrypt(request),
            None => Box::pin(async { Ok(UnwrapOutcome::default()) }), // not this keyring's: no data key, and no cause
        }
    }

    fn is_local(&self) -> bool {
        true
    }
}

fn main() -> Result<()> {
    let keyring = |tenant, key: u8| RawAesKeyring::new("tenants", tenant, &[key; 32]); // random bytes in real life
    let client = Client::new(TenantKeyring([("acme", keyring("acme", 1)?), ("zenith", keyring("zenith", 2)?)].into()));
    let tenant = |name| EncryptionContext::new([("tenant", name)]);
    let message = client.encrypt(b"hello", &tenant("acme")?)?;
    println!("decrypted: {}", String::from_utf8_lossy(&client.decrypt(&message, &tenant("acme")?)?.plaintext));
    println!("for nobody: {}", client.encrypt(b"hello", &tenant("nobody")?).unwrap_err());
    Ok(())
}
