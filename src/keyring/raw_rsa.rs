//! Data keys wrapped under an RSA key that the application holds itself (feature `aws-lc`).
//!
//! Source: the ESDK specification, `framework/raw-rsa-keyring.md`.

use crate::crypto::Refused;
use crate::crypto::rsa::{RsaPadding, RsaPrivateKey, RsaPublicKey};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::keyring::{Keyring, raw};
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, KeyFuture, Unwrapped, Wrapped};
use crate::message::header::EncryptedDataKey;

/// Wraps data keys with RSA: who has the public key seals, who has the private key opens.
///
/// Namespace and name are stored in each message in the clear; they tell the reader which key to take. RSA does not
/// bind the data key to the encryption context; the message's own tags do.
#[derive(Debug)]
pub struct RawRsaKeyring {
    namespace: String,
    name: String,
    padding: RsaPadding,
    public_key: Option<RsaPublicKey>,
    private_key: Option<RsaPrivateKey>,
    pkcs1_decrypt: bool,
}

impl RawRsaKeyring {
    /// A keyring that seals and cannot open.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the namespace begins with `aws-kms`, which belongs to AWS KMS, or if namespace
    /// or name do not fit into a header.
    pub fn public(
        namespace: impl Into<String>,
        name: impl Into<String>,
        padding: RsaPadding,
        public_key: RsaPublicKey,
    ) -> Result<Self> {
        Self::new(namespace.into(), name.into(), padding, Some(public_key), None)
    }

    /// A keyring that opens and cannot seal: no public key is derived from the private one.
    ///
    /// # Errors
    /// As [`public`](Self::public).
    pub fn private(
        namespace: impl Into<String>,
        name: impl Into<String>,
        padding: RsaPadding,
        private_key: RsaPrivateKey,
    ) -> Result<Self> {
        Self::new(namespace.into(), name.into(), padding, None, Some(private_key))
    }

    /// A keyring that seals and opens.
    ///
    /// # Errors
    /// As [`public`](Self::public).
    pub fn pair(
        namespace: impl Into<String>,
        name: impl Into<String>,
        padding: RsaPadding,
        public_key: RsaPublicKey,
        private_key: RsaPrivateKey,
    ) -> Result<Self> {
        Self::new(namespace.into(), name.into(), padding, Some(public_key), Some(private_key))
    }

    fn new(
        namespace: String,
        name: String,
        padding: RsaPadding,
        public_key: Option<RsaPublicKey>,
        private_key: Option<RsaPrivateKey>,
    ) -> Result<Self> {
        raw::check_names(&namespace, &name, 0)?;
        Ok(Self { namespace, name, padding, public_key, private_key, pkcs1_decrypt: false })
    }

    /// Lets [`RsaPadding::Pkcs1`] open data keys, which it otherwise refuses.
    ///
    /// Whoever can send messages and learn whether their padding was right can open any data key of this RSA key
    /// with some thousands to millions of tries (Bleichenbacher's attack). With this setting a data key whose padding
    /// is wrong is therefore replaced by a random one, so that the message fails as one with a wrong key does: later,
    /// for the same kind of reason, with the same text. Timing may still tell. Take OAEP for anything new.
    #[must_use]
    pub fn allow_pkcs1_decrypt(mut self) -> Self {
        self.pkcs1_decrypt = true;
        self
    }

    fn wrap(&self, materials: &EncryptionMaterials) -> Result<Wrapped> {
        let public_key = self.public_key.as_ref().ok_or_else(|| {
            let detail = format!("raw RSA keyring {} has no public key to seal with: give it one", quoted(&self.name));
            Error::new(ErrorKind::InvalidInput, detail)
        })?;
        raw::wrap(materials, |data_key| {
            Ok(EncryptedDataKey {
                provider_id: self.namespace.clone(),
                provider_info: self.name.clone().into_bytes(),
                ciphertext: public_key.encrypt(self.padding, data_key)?,
            })
        })
    }

    fn unwrap(&self, request: &DecryptionRequest) -> Unwrapped {
        let mut unwrapped = Unwrapped::default();
        let mine =
            |key: &&EncryptedDataKey| key.provider_id == self.namespace && key.provider_info == self.name.as_bytes();
        for key in request.encrypted_data_keys().iter().filter(mine) {
            match self.unwrap_one(request, key) {
                Ok(Opened::DataKey(data_key)) => {
                    unwrapped.data_key = Some(data_key);
                    break;
                }
                Ok(Opened::Decoy(decoy)) => unwrapped.decoy = unwrapped.decoy.or(Some(decoy)),
                Err(cause) => unwrapped.causes.push(cause),
            }
        }
        unwrapped
    }

    fn unwrap_one(&self, request: &DecryptionRequest, key: &EncryptedDataKey) -> Result<Opened> {
        let refused = |why: &str| raw::refused("RSA", &self.namespace, &self.name, why);
        let Some(private_key) = &self.private_key else {
            return Err(refused("cannot open: the keyring has no private key"));
        };
        let suite = request.suite();
        if self.padding != RsaPadding::Pkcs1 {
            let opened = private_key.decrypt(self.padding, &key.ciphertext).map_err(|Refused| {
                refused("does not open its data key: another key of that name, or another padding")
            })?;
            let data_key = DataKey::new(&opened);
            data_key.check_len(suite).map_err(|error| refused(&format!("opens {error}")))?;
            return Ok(Opened::DataKey(data_key));
        }
        if !self.pkcs1_decrypt {
            return Err(refused("does not open PKCS #1 v1.5 data keys: see allow_pkcs1_decrypt"));
        }
        // Made in any case, so that making it tells nothing.
        let decoy = DataKey::generate(suite.data_key_len())?;
        match private_key.decrypt(RsaPadding::Pkcs1, &key.ciphertext) {
            Ok(opened) if opened.len() == suite.data_key_len() => Ok(Opened::DataKey(DataKey::new(&opened))),
            Ok(_) | Err(Refused) => Ok(Opened::Decoy(decoy)),
        }
    }
}

enum Opened {
    DataKey(DataKey),
    /// PKCS #1 v1.5 padding was wrong, or the length was.
    Decoy(DataKey),
}

impl Keyring for RawRsaKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, Wrapped> {
        Box::pin(async { self.wrap(materials) })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, Unwrapped> {
        Box::pin(async { Ok(self.unwrap(request)) })
    }

    fn is_local(&self) -> bool {
        true
    }
}
