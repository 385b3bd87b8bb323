//! [`KmsKeyring`]: data keys wrapped by a KMS, with the same rules for every [`Kms`].
//!
//! Source: the ESDK specification, `framework/aws-kms/aws-kms-keyring.md`, `aws-kms-mrk-keyring.md`,
//! `aws-kms-discovery-keyring.md`, `aws-kms-mrk-discovery-keyring.md`.

pub(crate) mod discovery_filter;
mod form;
pub(crate) mod regional;

use std::borrow::Cow;

use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Error, ErrorKind, KeyArn, KeyFuture, Kms, KmsRequest, Result};

use crate::keyring::Keyring;
use crate::keyring::kms::discovery_filter::DiscoveryFilter;
use crate::keyring::kms::form::Form;
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use crate::message::header::EncryptedDataKey;

/// Wraps and unwraps data keys with keys of a KMS.
///
/// | constructor | encrypts under | asks the KMS to decrypt data keys of |
/// |---|---|---|
/// | [`new`](Self::new) | its key | its key |
/// | [`mrk_aware`](Self::mrk_aware) | its key | its key, and replicas of it if it is a multi-Region key |
/// | [`encrypt_only`](Self::encrypt_only) | its key | nothing |
/// | [`discovery`](Self::discovery) | nothing | every key of the filter's accounts |
/// | [`mrk_discovery`](Self::mrk_discovery) | nothing | the same, in one region, with the replicas there of multi-Region keys |
///
/// Use the first if you know the key, which is nearly always the case. A data key that does not match is skipped
/// without a call to the KMS. One with the provider id of the KMS but without a valid key ARN fails the keyring, as the
/// specification requires; other keyrings of a [`MultiKeyring`](crate::keyring::MultiKeyring) can still decrypt the
/// message.
///
/// An alias or a bare key id is enough to encrypt, since the KMS returns the key's ARN, which the message stores. It is
/// not enough to decrypt, since no message names an alias: the constructors that decrypt insist on ARNs.
///
/// ```
/// # #[cfg(feature = "local-kms")] {
/// use manila::{Client, EncryptionContext};
/// use manila::keyring::{DiscoveryFilter, KmsKeyring};
/// use manila::local_kms::{CreateKey, LocalKms};
///
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let sealed = Client::new(KmsKeyring::encrypt_only(kms.clone(), "alias/app")?).encrypt(b"hello", &context)?;
///
/// let strict = KmsKeyring::new(kms.clone(), key.arn())?;
/// assert_eq!(Client::new(strict).decrypt(&sealed, &context)?.plaintext, b"hello");
///
/// let discovery = KmsKeyring::discovery(kms, DiscoveryFilter::new("aws", ["000000000000"])?);
/// assert_eq!(Client::new(discovery).decrypt(&sealed, &context)?.plaintext, b"hello");
/// # }
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Debug)]
pub struct KmsKeyring<K> {
    kms: K,
    form: Form,
    grant_tokens: Vec<String>,
}

impl<K: Kms> KmsKeyring<K> {
    /// Returns a keyring of one key, named by its ARN.
    ///
    /// The keyring is strict: it decrypts only data keys that were encrypted under exactly this key ARN.
    ///
    /// ```
    /// # #[cfg(feature = "local-kms")] {
    /// use manila::ErrorKind;
    /// use manila::keyring::KmsKeyring;
    /// use manila::local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
    /// // An alias could encrypt messages, but could never decrypt them, so it is refused immediately.
    /// let error = KmsKeyring::new(kms.clone(), "alias/app").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    ///
    /// let keyring = KmsKeyring::new(kms.clone(), kms.describe_key("alias/app")?.arn())?;
    /// # }
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not the ARN of a key. To encrypt under an alias, use
    /// [`encrypt_only`](Self::encrypt_only).
    pub fn new(kms: K, key_arn: impl Into<String>) -> Result<Self> {
        let form = Form::strict(key_arn.into(), kms.provider_id())?;
        Ok(Self { kms, form, grant_tokens: Vec::new() })
    }

    /// Returns a keyring that encrypts under one key, and does not decrypt: `key_id` is the key's ARN, its id, an alias
    /// (`alias/app`) or the ARN of an alias.
    ///
    /// ```
    /// # #[cfg(feature = "local-kms")] {
    /// use manila::keyring::KmsKeyring;
    /// use manila::local_kms::{CreateKey, LocalKms};
    /// use manila::{Client, EncryptionContext};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let writer = Client::new(KmsKeyring::encrypt_only(kms.clone(), "alias/app")?);
    /// let message = writer.encrypt(b"hello", &context)?;
    ///
    /// let reader = Client::new(KmsKeyring::new(kms, key.arn())?);
    /// assert_eq!(reader.decrypt(&message, &context)?.plaintext, b"hello");
    /// # }
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it has none of these forms. The ids of AWS KMS keys are UUIDs, or `mrk-` and
    /// hexadecimal digits; those of a KMS with another [`provider_id`](Kms::provider_id) are not checked.
    pub fn encrypt_only(kms: K, key_id: impl Into<String>) -> Result<Self> {
        let form = Form::encrypt_only(key_id.into(), kms.provider_id())?;
        Ok(Self { kms, form, grant_tokens: Vec::new() })
    }

    /// Returns a keyring of a multi-Region key: it also decrypts data keys of the key's replicas in other regions, with
    /// its own key.
    ///
    /// The id of such a key begins with `mrk-`, and the ARNs of its replicas differ only in the region. With any other
    /// key the keyring is strict, as with [`new`](Self::new).
    ///
    /// ```
    /// use manila::keyring::{Keyring, KmsKeyring};
    /// use manila::kms::Kms;
    ///
    /// /// Decrypts in Ireland what was encrypted in Ireland or Virginia.
    /// fn keyring(ireland: impl Kms) -> manila::Result<impl Keyring> {
    ///     let key = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
    ///     KmsKeyring::mrk_aware(ireland, key)
    /// }
    /// ```
    ///
    /// # Errors
    /// The same as [`new`](Self::new).
    pub fn mrk_aware(kms: K, key_arn: impl Into<String>) -> Result<Self> {
        let form = Form::mrk_aware(key_arn.into(), kms.provider_id())?;
        Ok(Self { kms, form, grant_tokens: Vec::new() })
    }

    /// Returns a keyring that decrypts with whichever key the message names, if the filter allows it. It cannot
    /// encrypt.
    ///
    /// Messages it decrypts may come from anyone who may encrypt under any key of these accounts: if you know the key,
    /// use [`new`](Self::new) instead.
    pub const fn discovery(kms: K, filter: DiscoveryFilter) -> Self {
        Self { kms, form: Form::Discovery { filter: Some(filter) }, grant_tokens: Vec::new() }
    }

    /// Returns a discovery keyring for keys of any account.
    ///
    /// It gives no assurance of who encrypted a message. Anyone can create a key of their own, allow you to decrypt
    /// with it, and encrypt a message that this keyring decrypts. They also choose which keys your KMS is asked for,
    /// with your permissions and at your expense. Use it only where the KMS has no keys but those you trust, for
    /// instance a [`LocalKms`](crate::local_kms::LocalKms) of your own.
    ///
    /// ```
    /// # #[cfg(feature = "local-kms")] {
    /// use manila::keyring::{Keyring, KmsKeyring};
    /// use manila::local_kms::LocalKms;
    ///
    /// fn keyring(kms: LocalKms) -> impl Keyring {
    ///     KmsKeyring::discovery_any_account(kms)
    /// }
    /// # }
    /// ```
    pub const fn discovery_any_account(kms: K) -> Self {
        Self { kms, form: Form::Discovery { filter: None }, grant_tokens: Vec::new() }
    }

    /// Returns a discovery keyring for a KMS in `region`: data keys of multi-Region keys are decrypted with the replica
    /// there, whichever region they were encrypted in; those of other keys only if their key is there.
    ///
    /// `region` must be the region of `kms`. If [`Kms::region`] returns `None` this is not checked, and with another
    /// region the KMS refuses.
    ///
    /// ```
    /// use manila::keyring::{DiscoveryFilter, Keyring, KmsKeyring};
    /// use manila::kms::Kms;
    ///
    /// fn keyring(ireland: impl Kms) -> manila::Result<impl Keyring> {
    ///     KmsKeyring::mrk_discovery(ireland, "eu-west-1", DiscoveryFilter::new("aws", ["111122223333"])?)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the region is empty or has other characters than `a` to `z`, `0` to `9` and `-`,
    /// or differs from the region of the KMS.
    pub fn mrk_discovery(kms: K, region: impl Into<String>, filter: DiscoveryFilter) -> Result<Self> {
        Self::in_region(kms, region.into(), Some(filter))
    }

    /// Returns a keyring as [`mrk_discovery`](Self::mrk_discovery) does, for keys of any account: see
    /// [`discovery_any_account`](Self::discovery_any_account) for what that gives up.
    ///
    /// # Errors
    /// The same as [`mrk_discovery`](Self::mrk_discovery).
    pub fn mrk_discovery_any_account(kms: K, region: impl Into<String>) -> Result<Self> {
        Self::in_region(kms, region.into(), None)
    }

    fn in_region(kms: K, region: String, filter: Option<DiscoveryFilter>) -> Result<Self> {
        if let Some(own) = kms.region().filter(|own| *own != region) {
            let detail =
                format!("the KMS is in {}, not in {}: give the region that it is in", quoted(own), quoted(&region));
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        Ok(Self { kms, form: Form::mrk_discovery(region, filter)?, grant_tokens: Vec::new() })
    }

    /// Sends grant tokens with each call, which AWS KMS needs in the first minutes of a grant's life.
    #[must_use]
    pub fn grant_tokens<T: Into<String>>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.grant_tokens = tokens.into_iter().map(Into::into).collect();
        self
    }

    fn request<'a>(&'a self, key_id: &'a str, context: &'a EncryptionContext) -> KmsRequest<'a> {
        KmsRequest::new(key_id, context).with_grant_tokens(&self.grant_tokens)
    }

    async fn wrap(&self, materials: &EncryptionMaterials) -> Result<WrappedKeys> {
        let key_id = self.form.key_to_seal()?;
        let request = self.request(key_id, materials.encryption_context());
        let (data_key, ciphertext, key_arn) = match materials.data_key() {
            None => {
                let made = self.kms.generate_data_key(request, materials.suite().data_key_len()).await?;
                if made.plaintext.len() != materials.suite().data_key_len() {
                    return Err(broken_reply("the KMS returned a data key of another length than requested"));
                }
                (Some(made.plaintext), made.ciphertext, made.key_arn)
            }
            Some(data_key) => {
                let encrypted = self.kms.encrypt(request, data_key.expose_secret()).await?;
                (None, encrypted.ciphertext, encrypted.key_arn)
            }
        };
        KeyArn::parse(&key_arn)
            .map_err(|error| broken_reply(format!("the KMS did not return a valid key ARN: {error}")))?;
        if KeyArn::parse(key_id).is_ok() && key_arn != key_id {
            return Err(broken_reply("the KMS encrypted a data key under another key than requested"));
        }
        let encrypted = EncryptedDataKey {
            provider_id: self.kms.provider_id().to_owned(),
            provider_info: key_arn.into_bytes(),
            ciphertext,
        };
        Ok(WrappedKeys { data_key, encrypted_data_keys: vec![encrypted] })
    }

    async fn unwrap<'a>(&'a self, request: &'a DecryptionRequest) -> UnwrapOutcome {
        let matching = match self.matching(request) {
            Ok(matching) => matching,
            Err(cause) => return UnwrapOutcome { data_key: None, causes: vec![cause] },
        };
        let unwrap = |(key_id, ciphertext): (String, &'a [u8])| async move {
            self.unwrap_one(request, &key_id, ciphertext).await.map_err(|cause| {
                let detail = format!("KMS key {}: {cause}", quoted(&key_id));
                Error::other(cause.kind(), detail, cause)
            })
        };
        let candidates: Vec<_> = matching.into_iter().map(unwrap).collect();
        UnwrapOutcome::first_that_opens(candidates).await
    }

    /// Returns the data keys that match, each with the id of the key to ask for: those of the KMS's own region first,
    /// otherwise in the order of the message.
    fn matching<'a>(&self, request: &'a DecryptionRequest) -> Result<Vec<(String, &'a [u8])>> {
        let of_kms = request.encrypted_data_keys().iter().filter(|key| key.provider_id == self.kms.provider_id());
        // By the specification, a malformed ARN fails the keyring, whatever its position.
        let of_kms = of_kms.map(|key| Ok((arn_of(key)?, key.ciphertext.as_slice()))).collect::<Result<Vec<_>>>()?;
        if !of_kms.is_empty() {
            self.form.check_opens()?;
        }
        let (near, far): (Vec<_>, Vec<_>) =
            of_kms.into_iter().partition(|(arn, _)| self.kms.region().is_some_and(|region| arn.region == region));
        let matching = |(arn, ciphertext)| Some((self.form.key_to_open(&arn)?, ciphertext));
        Ok(near.into_iter().chain(far).filter_map(matching).collect())
    }

    async fn unwrap_one(&self, request: &DecryptionRequest, key_id: &str, ciphertext: &[u8]) -> Result<DataKey> {
        let opened = self.kms.decrypt(self.request(key_id, request.encryption_context()), ciphertext).await?;
        if opened.key_arn != key_id {
            return Err(broken_reply("the KMS decrypted a data key with another key than requested"));
        }
        request.suite().check_data_key(&opened.plaintext)?;
        Ok(opened.plaintext)
    }
}

/// Returns the ARN of the key that a data key claims to be encrypted under.
fn arn_of(key: &EncryptedDataKey) -> Result<KeyArn<'_>> {
    let arn = str::from_utf8(&key.provider_info).ok().and_then(|arn| KeyArn::parse(arn).ok());
    arn.ok_or_else(|| {
        let named = String::from_utf8_lossy(&key.provider_info);
        let detail = format!("the message names {} as a KMS key, which is not a valid key ARN", quoted(&named));
        Error::new(ErrorKind::Malformed, detail)
    })
}

fn broken_reply(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Internal, detail)
}

impl<K: Kms> Keyring for KmsKeyring<K> {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(self.wrap(materials))
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async { Ok(self.unwrap(request).await) })
    }

    fn is_local(&self) -> bool {
        self.kms.is_local()
    }
}
