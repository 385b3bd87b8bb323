//! [`RequiredContextCmm`]: pairs of the context that must be given on both sides and are not stored in the message.
//!
//! Source: the ESDK specification, `framework/required-encryption-context-cmm.md`.

use std::collections::BTreeSet;

use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Error, ErrorKind, KeyFuture, Result};

use crate::cmm::{Cmm, DefaultCmm};
use crate::keyring::Keyring;
use crate::materials::EncryptionRequest;
use crate::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials};

/// Requires certain keys in the encryption context, and does not store their pairs in the message.
///
/// The pairs are still authenticated, so the reader must know them and give them as part of the expected context. Use
/// it if a value should not be readable in the message, or if each reader must state whose data they decrypt.
///
/// ```
/// use manila::{Client, EncryptionContext, ExpectedContext};
/// use manila::cmm::RequiredContextCmm;
/// use manila::keyring::RawAesKeyring;
///
/// let keyring = RawAesKeyring::new("example", "key-1", &[0; 32])?;
/// let client = Client::with_cmm(RequiredContextCmm::new(keyring, ["tenant"])?);
///
/// let context = EncryptionContext::new([("tenant", "acme"), ("kind", "invoice")])?;
/// let sealed = client.encrypt(b"hello", &context)?;
/// let opened = client.decrypt(&sealed, &EncryptionContext::new([("tenant", "acme")])?)?;
/// assert_eq!(opened.header.encryption_context().get("tenant"), None);
/// assert!(client.decrypt(&sealed, ExpectedContext::any()).is_err());
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Debug)]
pub struct RequiredContextCmm<C> {
    inner: C,
    keys: BTreeSet<String>,
}

impl<K: Keyring> RequiredContextCmm<DefaultCmm<K>> {
    /// Returns a manager over a keyring.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no key, or a reserved one.
    pub fn new(keyring: K, keys: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        Self::over(DefaultCmm::new(keyring), keys)
    }
}

impl<C: Cmm> RequiredContextCmm<C> {
    /// Returns a manager over another one.
    ///
    /// # Errors
    /// The same as [`new`](Self::new).
    pub fn over(inner: C, keys: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let keys: BTreeSet<String> = keys.into_iter().map(Into::into).collect();
        if keys.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "there is no required key: name at least one that the context must have",
            ));
        }
        // Any valid key of a context can be required.
        EncryptionContext::new(keys.iter().map(|key| (key, "")))?;
        Ok(Self { inner, keys })
    }

    fn check(&self, context: &EncryptionContext) -> Result<()> {
        match self.keys.iter().find(|key| context.get(key).is_none()) {
            None => Ok(()),
            Some(missing) => {
                let detail = format!("the encryption context lacks the required key {}", quoted(missing));
                Err(Error::new(ErrorKind::ContextMismatch, detail))
            }
        }
    }

    async fn encrypt(&self, request: &EncryptionRequest) -> Result<EncryptionMaterials> {
        self.check(&request.encryption_context)?;
        let random = request.random.share();
        let mut request = EncryptionRequest { random, ..request.clone() };
        request.required_context_keys.extend(self.keys.iter().cloned());
        let materials = self.inner.encryption_materials(&request).await?;
        if !materials.required_context_keys().is_superset(&self.keys) {
            let detail = "the inner materials manager dropped required encryption context keys";
            return Err(Error::new(ErrorKind::Internal, detail));
        }
        Ok(materials)
    }

    async fn decrypt(&self, request: &DecryptionRequest) -> Result<DecryptionMaterials> {
        self.check(request.expected_context().pairs())?;
        self.inner.decryption_materials(request).await
    }
}

impl<C: Cmm> Cmm for RequiredContextCmm<C> {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        Box::pin(self.encrypt(request))
    }

    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        Box::pin(self.decrypt(request))
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn has_data_keys_at_hand(&self) -> bool {
        self.inner.has_data_keys_at_hand()
    }
}
