//! [`RawRsaKeyring`]: data keys wrapped under an RSA key that the application holds (feature `aws-lc`).
//!
//! Source: the ESDK specification, `framework/raw-rsa-keyring.md`.

use manila_core::internal::crypto::{self, Refused};
use manila_core::internal::quoted;
use manila_core::{Error, ErrorKind, KeyFuture, Result};
use zeroize::Zeroizing;

use crate::keyring::{Keyring, raw};
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use crate::message::header::EncryptedDataKey;
use manila_core::internal::crypto::rsa::{RsaPadding, RsaPrivateKey, RsaPublicKey};

/// Wraps data keys with RSA: holders of the public key can encrypt, holders of the private key can decrypt.
///
/// Namespace and name are stored in each message in the clear; they tell the reader which key to use. RSA does not bind
/// the data key to the encryption context; the message's own tags do.
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
    /// Returns a keyring that encrypts and cannot decrypt.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the namespace begins with `aws-kms`, which is reserved for AWS KMS, or if
    /// namespace or name do not fit into a header.
    pub fn public(
        namespace: impl Into<String>,
        name: impl Into<String>,
        padding: RsaPadding,
        public_key: RsaPublicKey,
    ) -> Result<Self> {
        Self::new(namespace.into(), name.into(), padding, Some(public_key), None)
    }

    /// Returns a keyring that decrypts and cannot encrypt: the public key is not derived from the private one.
    ///
    /// # Errors
    /// The same as [`public`](Self::public).
    pub fn private(
        namespace: impl Into<String>,
        name: impl Into<String>,
        padding: RsaPadding,
        private_key: RsaPrivateKey,
    ) -> Result<Self> {
        Self::new(namespace.into(), name.into(), padding, None, Some(private_key))
    }

    /// Returns a keyring that encrypts and decrypts.
    ///
    /// ```
    /// use manila::keyring::{Keyring, RawRsaKeyring, RsaPadding, RsaPrivateKey};
    ///
    /// fn keyring(private_key_pem: &str) -> manila::Result<impl Keyring> {
    ///     let private_key = RsaPrivateKey::from_pem(private_key_pem)?;
    ///     let public_key = private_key.public_key();
    ///     RawRsaKeyring::pair("example", "key-1", RsaPadding::OaepSha256, public_key, private_key)
    /// }
    /// ```
    ///
    /// # Errors
    /// The same as [`public`](Self::public).
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

    /// Allows [`RsaPadding::Pkcs1`] to decrypt data keys, which is refused by default.
    ///
    /// An attacker who can send messages and learn whether their padding was right can decrypt any data key of this RSA
    /// key with some thousands to millions of tries (Bleichenbacher's attack). With this setting, a data key with wrong
    /// padding or a wrong length is therefore replaced by a random one, and every data key, replaced or not, is tried
    /// on the header of the message: the first that opens the header is used, and all others leave the same cause.
    /// Neither results, nor error texts, nor the requests that other keyrings get depend on the padding, and a good
    /// data key behind a bad one still works.
    ///
    /// The time may still depend on it: AWS-LC's decryption takes some nanoseconds more or less if the padding is
    /// wrong. Each data key with this key's name costs an RSA decryption and a pass over the header;
    /// [`max_encrypted_data_keys`](crate::ClientBuilder::max_encrypted_data_keys) limits their number. Use OAEP for new
    /// messages.
    #[must_use]
    pub fn allow_pkcs1_decrypt(mut self) -> Self {
        self.pkcs1_decrypt = true;
        self
    }

    fn wrap(&self, materials: &EncryptionMaterials) -> Result<WrappedKeys> {
        let public_key = self.public_key.as_ref().ok_or_else(|| {
            let detail =
                format!("raw RSA keyring {} has no public key to encrypt with: give it one", quoted(&self.name));
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

    async fn unwrap(&self, request: &DecryptionRequest) -> UnwrapOutcome {
        let mine =
            |key: &&EncryptedDataKey| key.provider_id == self.namespace && key.provider_info == self.name.as_bytes();
        let mine = request.encrypted_data_keys().iter().filter(mine);
        let candidates: Vec<_> = mine.map(|key| async { self.unwrap_one(request, &key.ciphertext) }).collect();
        UnwrapOutcome::first_that_opens(candidates).await
    }

    fn unwrap_one(&self, request: &DecryptionRequest, ciphertext: &[u8]) -> Result<DataKey> {
        let Some(private_key) = &self.private_key else {
            return Err(self.refused("cannot decrypt: the keyring has no private key"));
        };
        match self.padding {
            RsaPadding::Pkcs1 if self.pkcs1_decrypt => self.unwrap_pkcs1(request, private_key, ciphertext),
            RsaPadding::Pkcs1 => Err(self.refused("does not decrypt PKCS #1 v1.5 data keys: see allow_pkcs1_decrypt")),
            _ => self.unwrap_oaep(request, private_key, ciphertext),
        }
    }

    fn unwrap_oaep(
        &self,
        request: &DecryptionRequest,
        private_key: &RsaPrivateKey,
        ciphertext: &[u8],
    ) -> Result<DataKey> {
        let opened = private_key.decrypt_oaep(self.padding, ciphertext).map_err(|Refused| {
            self.refused("cannot decrypt its data key: it is another key of that name, or another padding")
        })?;
        let data_key = DataKey::new(&opened);
        request.suite().check_data_key(&data_key).map_err(|error| self.refused(&format!("decrypts {error}")))?;
        Ok(data_key)
    }

    /// Accepts a data key only if it opens the header. Any other, with wrong padding, of another length or of another
    /// message, takes the same work and leaves the same cause.
    fn unwrap_pkcs1(
        &self,
        request: &DecryptionRequest,
        private_key: &RsaPrivateKey,
        ciphertext: &[u8],
    ) -> Result<DataKey> {
        let mut decoy = Zeroizing::new(vec![0; request.suite().data_key_len()]);
        crypto::random(&mut decoy)?;
        let candidate = DataKey::new(&private_key.decrypt_pkcs1_or(ciphertext, decoy));
        if request.is_opened_by(&candidate) {
            return Ok(candidate);
        }
        Err(self
            .refused("does not open the message's header: it is another key of that name, or the message was changed"))
    }

    fn refused(&self, why: &str) -> Error {
        raw::refused("RSA", &self.namespace, &self.name, why)
    }
}

impl Keyring for RawRsaKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async { self.wrap(materials) })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async { Ok(self.unwrap(request).await) })
    }

    fn is_local(&self) -> bool {
        true
    }
}
