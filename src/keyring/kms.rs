//! Data keys wrapped by a KMS: the same rules for every [`Kms`].
//!
//! Source: the ESDK specification, `framework/aws-kms/aws-kms-keyring.md`.

use std::borrow::Cow;

use crate::context::EncryptionContext;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::keyring::Keyring;
use crate::kms::{KeyArn, Kms, KmsRequest, PROVIDER_ID};
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, KeyFuture, Unwrapped, Wrapped};
use crate::message::header::EncryptedDataKey;

/// Wraps and opens data keys with one key of a KMS.
///
/// Strict: it opens only data keys that were wrapped under the very key ARN it was given. Given an alias or a bare
/// key id it seals, since the KMS tells the key's ARN and that goes into the message; but no message names an
/// alias, so it cannot open.
#[derive(Debug)]
pub struct KmsKeyring<K> {
    kms: K,
    key_id: String,
}

impl<K: Kms> KmsKeyring<K> {
    /// A keyring of the key `key_id` names: its ARN, or to seal only its id, an alias (`alias/app`) or alias ARN.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it has none of these forms.
    pub fn new(kms: K, key_id: impl Into<String>) -> Result<Self> {
        let key_id = key_id.into();
        if key_id.starts_with("arn:") {
            KeyArn::parse_any(&key_id)?;
        } else if key_id.is_empty() || key_id.contains(':') {
            let detail = format!("{} is no KMS key: give a key ARN, a key id or an alias", quoted(&key_id));
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        Ok(Self { kms, key_id })
    }

    fn request<'a>(&'a self, context: &'a EncryptionContext) -> KmsRequest<'a> {
        KmsRequest::new(&self.key_id, context)
    }

    async fn wrap(&self, materials: &EncryptionMaterials) -> Result<Wrapped> {
        let request = self.request(materials.encryption_context());
        let (data_key, ciphertext, key_arn) = match materials.data_key() {
            None => {
                let made = self.kms.generate_data_key(request, materials.suite().data_key_len()).await?;
                if made.plaintext.len() != materials.suite().data_key_len() {
                    return Err(broken_reply("the KMS made a data key of another length than was asked for"));
                }
                (Some(made.plaintext), made.ciphertext, made.key_arn)
            }
            Some(data_key) => {
                let encrypted = self.kms.encrypt(request, data_key.expose_secret()).await?;
                (None, encrypted.ciphertext, encrypted.key_arn)
            }
        };
        KeyArn::parse(&key_arn).map_err(|error| broken_reply(format!("the KMS answered with no ARN: {error}")))?;
        let encrypted =
            EncryptedDataKey { provider_id: PROVIDER_ID.to_owned(), provider_info: key_arn.into_bytes(), ciphertext };
        Ok(Wrapped { data_key, encrypted_data_keys: vec![encrypted] })
    }

    async fn unwrap(&self, request: &DecryptionRequest) -> Result<Unwrapped> {
        let mut unwrapped = Unwrapped::default();
        let mut of_kms = Vec::new();
        for key in request.encrypted_data_keys().iter().filter(|key| key.provider_id == PROVIDER_ID) {
            let arn = String::from_utf8_lossy(&key.provider_info);
            if KeyArn::parse(&arn).is_err() {
                // The specification lets one malformed ARN fail the keyring, wherever it stands.
                let detail = format!("the message names {} as a KMS key, which is no key ARN", quoted(&arn));
                unwrapped.causes.push(Error::new(ErrorKind::Malformed, detail));
                return Ok(unwrapped);
            }
            of_kms.push(key);
        }
        if !of_kms.is_empty() && KeyArn::parse(&self.key_id).is_err() {
            unwrapped.causes.push(self.cannot_match());
            return Ok(unwrapped);
        }
        for key in of_kms.into_iter().filter(|key| key.provider_info == self.key_id.as_bytes()) {
            match self.unwrap_one(request, key).await {
                Ok(data_key) => {
                    unwrapped.data_key = Some(data_key);
                    break;
                }
                Err(cause) => {
                    let detail = format!("KMS key {}: {cause}", quoted(&self.key_id));
                    unwrapped.causes.push(Error::other(cause.kind(), detail, cause));
                }
            }
        }
        Ok(unwrapped)
    }

    async fn unwrap_one(&self, request: &DecryptionRequest, key: &EncryptedDataKey) -> Result<DataKey> {
        let opened = self.kms.decrypt(self.request(request.encryption_context()), &key.ciphertext).await?;
        if opened.key_arn != self.key_id {
            return Err(broken_reply("the KMS opened a data key with another key than was asked for"));
        }
        opened.plaintext.check_len(request.suite())?;
        Ok(opened.plaintext)
    }

    fn cannot_match(&self) -> Error {
        let detail = format!(
            "a KMS keyring for {} seals but cannot open, since messages name keys by ARN: give it the key's ARN \
             to open",
            quoted(&self.key_id)
        );
        Error::new(ErrorKind::InvalidInput, detail)
    }
}

fn broken_reply(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Internal, detail)
}

impl<K: Kms> Keyring for KmsKeyring<K> {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, Wrapped> {
        Box::pin(self.wrap(materials))
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, Unwrapped> {
        Box::pin(self.unwrap(request))
    }

    fn is_local(&self) -> bool {
        self.kms.is_local()
    }
}
