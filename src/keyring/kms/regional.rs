//! [`RegionalClients`]: a KMS client for each region, and multi-keyrings over them.
//!
//! Source: the ESDK specification, `framework/aws-kms/aws-kms-multi-keyrings.md`, `aws-kms-mrk-multi-keyrings.md`,
//! `aws-kms-mrk-are-unique.md`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manila_core::internal::quoted;
use manila_core::{Error, ErrorKind, KeyArn, Kms, Result};

use crate::keyring::kms::KmsKeyring;
use crate::keyring::kms::discovery_filter::{DiscoveryFilter, check_part};
use crate::keyring::multi::MultiKeyring;

/// A function that makes a client for a region.
type Make<K> = dyn Fn(&str) -> Result<K> + Send + Sync;

/// KMS clients by region, each created when it is first needed and then kept.
///
/// No lock is held while a client is created: a slow one does not delay other regions, and the function may ask for
/// others. If several threads need a new region at the same time, each may create a client; one of these is kept, and
/// every thread gets that one.
///
/// ```
/// # #[cfg(feature = "local-kms")] {
/// use manila::{Client, EncryptionContext};
/// use manila::keyring::{MultiKeyring, RegionalClients};
/// use manila::local_kms::{CreateKey, LocalKms};
///
/// let kms = LocalKms::in_memory()?;
/// let ireland = kms.region("eu-west-1")?.create_key(CreateKey::default())?;
/// let virginia = kms.region("us-east-1")?.create_key(CreateKey::default())?;
///
/// // For AWS: |region| {
/// //     let region = Region::new(region.to_owned());
/// //     Ok(AwsKms::new(aws_sdk_kms::Client::from_conf(config.to_builder().region(region).build())))
/// // }
/// let clients = RegionalClients::new(move |region| kms.region(region));
/// let keyring = MultiKeyring::kms(&clients, ireland.arn(), [virginia.arn()])?;
/// let message = Client::new(keyring).encrypt(b"hello", &EncryptionContext::empty())?;
/// # }
/// # Ok::<(), manila::Error>(())
/// ```
pub struct RegionalClients<K> {
    make: Box<Make<K>>,
    made: Mutex<HashMap<String, Arc<K>>>,
    grant_tokens: Vec<String>,
}

impl<K> RegionalClients<K> {
    /// Returns clients that `make` makes.
    pub fn new(make: impl Fn(&str) -> Result<K> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), made: Mutex::default(), grant_tokens: Vec::new() }
    }

    /// Sends grant tokens with each call of the keyrings that are made with these clients
    /// ([`KmsKeyring::grant_tokens`]).
    #[must_use]
    pub fn grant_tokens<T: Into<String>>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.grant_tokens = tokens.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the client of a region.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not a valid name of a region, and the error of making the client.
    pub fn get(&self, region: &str) -> Result<Arc<K>> {
        check_part("a region", region)?;
        if let Some(client) = self.made().get(region) {
            return Ok(client.clone());
        }
        let client = Arc::new((self.make)(region)?);
        // Shared with the map, so that a client that is not kept is dropped after the lock is released.
        let kept = self.made().entry(region.to_owned()).or_insert_with(|| client.clone()).clone();
        Ok(kept)
    }

    fn made(&self) -> MutexGuard<'_, HashMap<String, Arc<K>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a keyring with the client of a region and the grant tokens.
    fn keyring(
        &self,
        region: &str,
        make: impl FnOnce(Arc<K>) -> Result<KmsKeyring<Arc<K>>>,
    ) -> Result<KmsKeyring<Arc<K>>>
    where
        K: Kms,
    {
        Ok(make(self.get(region)?)?.grant_tokens(self.grant_tokens.iter().cloned()))
    }
}

impl<K> fmt::Debug for RegionalClients<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionalClients").finish_non_exhaustive()
    }
}

impl MultiKeyring {
    /// Returns a keyring of several KMS keys, each named by its ARN (or, only for encryption, that of an alias), with
    /// the client of its region. `generator` generates the data key, the others wrap it as well. Any of the keys
    /// decrypts; an alias does not.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if one of them is not a valid ARN, and the error of making a client.
    pub fn kms<K: Kms + 'static, I: Into<String>>(
        clients: &RegionalClients<K>,
        generator: impl Into<String>,
        others: impl IntoIterator<Item = I>,
    ) -> Result<Self> {
        let keyring = |arn: String| clients.keyring(&region_of(&arn)?, |kms| of_key(KmsKeyring::new, kms, arn));
        of_keys(keyring, generator.into(), others.into_iter().map(Into::into))
    }

    /// Returns a keyring as [`kms`](Self::kms) does, of multi-Region aware keyrings ([`KmsKeyring::mrk_aware`]).
    ///
    /// # Errors
    /// The same as [`kms`](Self::kms), and [`ErrorKind::InvalidInput`] if some of them are replicas of one key: each
    /// would decrypt what the other does, and the caller must choose the region.
    pub fn kms_mrk_aware<K: Kms + 'static, I: Into<String>>(
        clients: &RegionalClients<K>,
        generator: impl Into<String>,
        others: impl IntoIterator<Item = I>,
    ) -> Result<Self> {
        let (generator, others) = (generator.into(), others.into_iter().map(Into::into).collect::<Vec<String>>());
        check_unique([&generator].into_iter().chain(&others))?;
        let keyring = |arn: String| clients.keyring(&region_of(&arn)?, |kms| of_key(KmsKeyring::mrk_aware, kms, arn));
        of_keys(keyring, generator, others)
    }

    /// Returns a keyring that decrypts with whichever key the message names, if the filter allows it, and asks the
    /// regions in this order ([`KmsKeyring::discovery`]). It cannot encrypt.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no region or one is not a valid region, and the error of making a
    /// client.
    pub fn kms_discovery<K: Kms + 'static, R: AsRef<str>>(
        clients: &RegionalClients<K>,
        regions: impl IntoIterator<Item = R>,
        filter: &DiscoveryFilter,
    ) -> Result<Self> {
        let keyring =
            |region: R| clients.keyring(region.as_ref(), |kms| Ok(KmsKeyring::discovery(kms, filter.clone())));
        of_regions(regions.into_iter().map(keyring))
    }

    /// Returns a keyring as [`kms_discovery`](Self::kms_discovery) does, multi-Region aware
    /// ([`KmsKeyring::mrk_discovery`]).
    ///
    /// # Errors
    /// The same as [`kms_discovery`](Self::kms_discovery).
    pub fn kms_mrk_discovery<K: Kms + 'static, R: AsRef<str>>(
        clients: &RegionalClients<K>,
        regions: impl IntoIterator<Item = R>,
        filter: &DiscoveryFilter,
    ) -> Result<Self> {
        let keyring = |region: R| {
            let region = region.as_ref();
            clients.keyring(region, |kms| KmsKeyring::mrk_discovery(kms, region, filter.clone()))
        };
        of_regions(regions.into_iter().map(keyring))
    }
}

/// Makes the keyring of a key, or one that only encrypts if the ARN is that of an alias.
fn of_key<K: Kms>(
    make: impl FnOnce(Arc<K>, String) -> Result<KmsKeyring<Arc<K>>>,
    kms: Arc<K>,
    arn: String,
) -> Result<KmsKeyring<Arc<K>>> {
    match KeyArn::parse(&arn) {
        Ok(_) => make(kms, arn),
        Err(_) => KmsKeyring::encrypt_only(kms, arn),
    }
}

/// Makes the keyrings, the generator last: if several fail, the error is that of the first child.
fn of_keys<K: Kms + 'static>(
    keyring: impl Fn(String) -> Result<KmsKeyring<K>>,
    generator: String,
    others: impl IntoIterator<Item = String>,
) -> Result<MultiKeyring> {
    let others = others.into_iter().map(&keyring).collect::<Result<Vec<_>>>()?;
    Ok(others.into_iter().fold(MultiKeyring::new(keyring(generator)?), MultiKeyring::child))
}

fn of_regions<K: Kms + 'static>(mut keyrings: impl Iterator<Item = Result<KmsKeyring<K>>>) -> Result<MultiKeyring> {
    let none = || {
        Error::new(
            ErrorKind::InvalidInput,
            "a discovery keyring without regions cannot decrypt anything: name at least one",
        )
    };
    let first = MultiKeyring::without_generator(keyrings.next().ok_or_else(none)??);
    keyrings.try_fold(first, |all, keyring| Ok(all.child(keyring?)))
}

fn region_of(arn: &str) -> Result<String> {
    Ok(KeyArn::parse_any(arn)?.0.region.to_owned())
}

/// Fails if some ARNs name the same multi-Region key, and lists them all.
fn check_unique<'a>(arns: impl IntoIterator<Item = &'a String>) -> Result<()> {
    // Aliases may name replicas of one key as well; only the KMS knows.
    let keys = arns.into_iter().filter_map(|arn| Some((arn, KeyArn::parse(arn).ok()?)));
    let replicas: Vec<_> = keys.filter(|(_, key)| key.is_multi_region()).collect();
    let again = |id| replicas.iter().filter(|(_, other)| other.key_id == id).count() > 1;
    let repeated: Vec<_> = replicas.iter().filter(|(_, key)| again(key.key_id)).map(|(arn, _)| quoted(arn)).collect();
    if repeated.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "several ARNs name replicas of one multi-Region key, of which a keyring takes one: {}",
        repeated.join(", ")
    );
    Err(Error::new(ErrorKind::InvalidInput, detail))
}
