//! [`MultiKeyring`]: several keyrings, any of which can decrypt the message.
//!
//! Source: the ESDK specification, `framework/multi-keyring.md`.

use futures_util::future::try_join_all;
use manila_core::{Error, ErrorKind, KeyFuture, Result};

use crate::keyring::Keyring;
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use crate::message::header::EncryptedDataKey;

/// Combines several keyrings: a generator generates the data key, and children wrap it as well, concurrently. Their
/// data keys appear in the message in the order of the keyrings.
///
/// The holder of any one of the keys can decrypt the message, so it is as strong as the weakest. Encryption fails if
/// any of the keyrings fails or wraps nothing; otherwise a missing recipient would be noticed only on decryption. On
/// decryption the generator is asked first, then the children in order, until one decrypts a data key.
///
/// ```
/// use manila::keyring::{MultiKeyring, RawAesKeyring};
/// use manila::{Client, EncryptionContext};
///
/// let key = |name: &str, bytes: [u8; 32]| RawAesKeyring::new("example", name, &bytes);
/// let both = MultiKeyring::new(key("primary", [1; 32])?).child(key("recovery", [2; 32])?); // test keys
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let message = Client::new(both).encrypt(b"hello", &context)?;
///
/// let recovery = Client::new(key("recovery", [2; 32])?);
/// assert_eq!(recovery.decrypt(&message, &context)?.plaintext, b"hello");
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Debug)]
pub struct MultiKeyring {
    generator: Option<Member>,
    children: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    keyring: Box<dyn Keyring>,
    /// Its type, for error messages.
    type_name: &'static str,
}

impl Member {
    fn new<K: Keyring + 'static>(keyring: K) -> Self {
        Self { keyring: Box::new(keyring), type_name: std::any::type_name::<K>() }
    }
}

impl MultiKeyring {
    /// Returns a keyring whose `generator` generates the data key.
    pub fn new(generator: impl Keyring + 'static) -> Self {
        Self { generator: Some(Member::new(generator)), children: Vec::new() }
    }

    /// Returns a keyring that only decrypts; to encrypt it must be a child of one with a generator.
    pub fn without_generator(child: impl Keyring + 'static) -> Self {
        Self { generator: None, children: vec![Member::new(child)] }
    }

    /// Adds a child.
    #[must_use]
    pub fn child(mut self, child: impl Keyring + 'static) -> Self {
        self.children.push(Member::new(child));
        self
    }

    fn members(&self) -> impl Iterator<Item = &dyn Keyring> {
        self.generator.iter().chain(&self.children).map(|member| member.keyring.as_ref())
    }

    async fn wrap(&self, materials: &EncryptionMaterials) -> Result<WrappedKeys> {
        let generated = match (&self.generator, materials.data_key()) {
            (Some(_), Some(_)) => {
                let detail = "a multi-keyring with a generator was given a data key: make it the generator, \
                              or a child without generator";
                return Err(Error::new(ErrorKind::InvalidInput, detail));
            }
            (None, None) => {
                let detail =
                    "a multi-keyring without a generator cannot generate a data key: give it a generator to encrypt";
                return Err(Error::new(ErrorKind::InvalidInput, detail));
            }
            (None, Some(_)) => None,
            (Some(generator), None) => Some(generate(generator, materials).await?),
        };
        let Some((data_key, mut encrypted_data_keys)) = generated else {
            let encrypted_data_keys = self.wrap_under_children(materials).await?;
            return Ok(WrappedKeys { data_key: None, encrypted_data_keys });
        };
        let for_children = materials.with_data_key(data_key.clone())?;
        encrypted_data_keys.extend(self.wrap_under_children(&for_children).await?);
        Ok(WrappedKeys { data_key: Some(data_key), encrypted_data_keys })
    }

    async fn wrap_under_children(&self, materials: &EncryptionMaterials) -> Result<Vec<EncryptedDataKey>> {
        let wrapped = self.children.iter().map(|child| child.keyring.on_encrypt(materials));
        let wrapped = try_join_all(wrapped).await?;
        let mut encrypted_data_keys = Vec::new();
        for (number, (child, wrapped)) in (1_usize..).zip(self.children.iter().zip(wrapped)) {
            let broken = |what: &str| {
                let detail = format!("child {number} of a multi-keyring, {}, {what}", child.type_name);
                Err(Error::new(ErrorKind::Internal, detail))
            };
            if wrapped.data_key.is_some() {
                return broken("replaced the data key");
            }
            if wrapped.encrypted_data_keys.is_empty() {
                return broken(WRAPPED_NOTHING);
            }
            encrypted_data_keys.extend(wrapped.encrypted_data_keys);
        }
        Ok(encrypted_data_keys)
    }

    async fn unwrap(&self, request: &DecryptionRequest) -> Result<UnwrapOutcome> {
        let mut all = UnwrapOutcome::default();
        for member in self.members() {
            match member.on_decrypt(request).await {
                Ok(unwrapped) => {
                    all.causes.extend(unwrapped.causes);
                    all.data_key = unwrapped.data_key;
                }
                Err(cause) => all.causes.push(cause),
            }
            if all.data_key.is_some() {
                break;
            }
        }
        Ok(all)
    }
}

const WRAPPED_NOTHING: &str = "wrapped no data key: nobody could decrypt the message with it";

/// Returns the data key that a generator generates, and the wrapped one.
async fn generate(generator: &Member, materials: &EncryptionMaterials) -> Result<(DataKey, Vec<EncryptedDataKey>)> {
    let broken = |what: &str| {
        let detail = format!("the generator of a multi-keyring, {}, {what}", generator.type_name);
        Err(Error::new(ErrorKind::Internal, detail))
    };
    let WrappedKeys { data_key, encrypted_data_keys } = generator.keyring.on_encrypt(materials).await?;
    match data_key {
        None => broken("generated no data key"),
        Some(_) if encrypted_data_keys.is_empty() => broken(WRAPPED_NOTHING),
        Some(data_key) => Ok((data_key, encrypted_data_keys)),
    }
}

impl Keyring for MultiKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(self.wrap(materials))
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(self.unwrap(request))
    }

    fn is_local(&self) -> bool {
        self.members().all(Keyring::is_local)
    }
}
