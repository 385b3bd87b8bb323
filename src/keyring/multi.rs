//! Several keyrings as one: any of them opens the message.
//!
//! Source: the ESDK specification, `framework/multi-keyring.md`.

use futures_util::future::try_join_all;
use manila_core::{Error, ErrorKind, KeyFuture, Result};

use crate::keyring::Keyring;
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use crate::message::header::EncryptedDataKey;

/// A generator that makes the data key, and children that wrap it too, all at once; the order of their data keys in the
/// message is theirs here.
///
/// Whoever holds one of them opens the message: as strong as the weakest. Sealing fails if one of them fails or wraps
/// nothing, since a recipient who cannot open would be found out when they are needed. On decryption the generator is
/// asked first, then the children in order, until one opens a data key.
#[derive(Debug)]
pub struct MultiKeyring {
    generator: Option<Member>,
    children: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    keyring: Box<dyn Keyring>,
    /// Its type, to name it in errors.
    type_name: &'static str,
}

impl Member {
    fn new<K: Keyring + 'static>(keyring: K) -> Self {
        Self { keyring: Box::new(keyring), type_name: std::any::type_name::<K>() }
    }
}

impl MultiKeyring {
    /// A keyring that seals: `generator` makes the data key.
    pub fn new(generator: impl Keyring + 'static) -> Self {
        Self { generator: Some(Member::new(generator)), children: Vec::new() }
    }

    /// A keyring that opens messages; to seal it needs to be a child of one with a generator.
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
                let detail = "a multi-keyring without a generator cannot make a data key: give it one to seal with";
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
                return broken("made a data key where there is one");
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

const WRAPPED_NOTHING: &str = "wrapped no data key: nobody could open the message with it";

/// The data key that a generator makes, and that data key wrapped.
async fn generate(generator: &Member, materials: &EncryptionMaterials) -> Result<(DataKey, Vec<EncryptedDataKey>)> {
    let broken = |what: &str| {
        let detail = format!("the generator of a multi-keyring, {}, {what}", generator.type_name);
        Err(Error::new(ErrorKind::Internal, detail))
    };
    let WrappedKeys { data_key, encrypted_data_keys } = generator.keyring.on_encrypt(materials).await?;
    match data_key {
        None => broken("made no data key"),
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
