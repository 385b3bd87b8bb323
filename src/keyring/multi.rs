//! Several keyrings as one: any of them opens the message.
//!
//! Source: the ESDK specification, `framework/multi-keyring.md`.

use futures_util::future::try_join_all;

use crate::error::{Error, ErrorKind, Result};
use crate::keyring::Keyring;
use crate::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, Unwrapped, Wrapped};
use crate::message::header::EncryptedDataKey;

/// A generator that makes the data key, and children that wrap it too, all at once; the order of their data keys in the
/// message is theirs here.
///
/// Whoever holds one of them opens the message: as strong as the weakest. On decryption the generator is asked
/// first, then the children in order, until one opens a data key.
#[derive(Debug)]
pub struct MultiKeyring {
    generator: Option<Box<dyn Keyring>>,
    children: Vec<Box<dyn Keyring>>,
}

impl MultiKeyring {
    /// A keyring that seals: `generator` makes the data key.
    pub fn new(generator: impl Keyring + 'static) -> Self {
        Self { generator: Some(Box::new(generator)), children: Vec::new() }
    }

    /// A keyring that opens messages; to seal it needs to be a child of one with a generator.
    pub fn without_generator(child: impl Keyring + 'static) -> Self {
        Self { generator: None, children: vec![Box::new(child)] }
    }

    /// Adds a child.
    #[must_use]
    pub fn child(mut self, child: impl Keyring + 'static) -> Self {
        self.children.push(Box::new(child));
        self
    }

    fn members(&self) -> impl Iterator<Item = &dyn Keyring> {
        self.generator.iter().chain(&self.children).map(AsRef::as_ref)
    }

    async fn wrap(&self, materials: &EncryptionMaterials) -> Result<Wrapped> {
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
            (Some(generator), None) => Some(generator.on_encrypt(materials).await?),
        };
        let Some(mut generated) = generated else {
            let encrypted_data_keys = self.wrap_under_children(materials).await?;
            return Ok(Wrapped { data_key: None, encrypted_data_keys });
        };
        let Some(data_key) = generated.data_key.take() else {
            return Err(Error::new(ErrorKind::Internal, "the generator of a multi-keyring made no data key"));
        };
        let for_children = materials.with_data_key(data_key)?;
        generated.encrypted_data_keys.extend(self.wrap_under_children(&for_children).await?);
        generated.data_key = for_children.into_data_key();
        Ok(generated)
    }

    async fn wrap_under_children(&self, materials: &EncryptionMaterials) -> Result<Vec<EncryptedDataKey>> {
        let wrapped = try_join_all(self.children.iter().map(|child| child.on_encrypt(materials))).await?;
        if wrapped.iter().any(|wrapped| wrapped.data_key.is_some()) {
            return Err(Error::new(ErrorKind::Internal, "a keyring made a data key where there is one"));
        }
        Ok(wrapped.into_iter().flat_map(|wrapped| wrapped.encrypted_data_keys).collect())
    }

    async fn unwrap(&self, request: &DecryptionRequest) -> Result<Unwrapped> {
        let mut all = Unwrapped::default();
        for member in self.members() {
            match member.on_decrypt(request).await {
                Ok(unwrapped) => {
                    all.causes.extend(unwrapped.causes);
                    all.decoy = all.decoy.or(unwrapped.decoy);
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

impl Keyring for MultiKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, Wrapped> {
        Box::pin(self.wrap(materials))
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, Unwrapped> {
        Box::pin(self.unwrap(request))
    }

    fn is_local(&self) -> bool {
        self.members().all(Keyring::is_local)
    }
}
