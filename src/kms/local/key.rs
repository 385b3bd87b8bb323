//! Keys of the embedded KMS, and what is stored of them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Builder;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto;
use crate::error::{Result, quoted};
use crate::kms::local::invalid;

/// What the names of aliases begin with.
pub(super) const ALIAS_PREFIX: &str = "alias/";
/// Reserved for AWS's own keys.
const AWS_ALIAS_PREFIX: &str = "alias/aws/";
const MAX_ALIAS_LEN: usize = 256;
const MAX_DESCRIPTION_CHARS: usize = 8192;

/// What a new key is to be like.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CreateKey {
    pub(super) alias: Option<String>,
    pub(super) description: String,
}

impl CreateKey {
    /// Also makes an alias for the key, such as `alias/app`.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// What the key is for, in at most 8192 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }
}

/// What is known of a key. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    key_id: String,
    arn: String,
    description: String,
    created: SystemTime,
}

impl KeyMetadata {
    pub(super) fn new(record: &KeyRecord, arn: String) -> Self {
        Self {
            key_id: record.id.clone(),
            arn,
            description: record.description.clone(),
            created: UNIX_EPOCH.checked_add(Duration::from_secs(record.created)).unwrap_or(UNIX_EPOCH),
        }
    }

    /// The key's id, a UUID.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key's ARN: what keyrings and messages name it by.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// What the key is for.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// When the key was made, to the second.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }
}

/// A key as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) id: String,
    pub(super) description: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// Oldest first. The last one encrypts, all of them decrypt. Never empty.
    pub(super) materials: Vec<KeyMaterial>,
}

/// One secret of a key.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(super) struct KeyMaterial {
    #[zeroize(skip)]
    pub(super) id: u32,
    #[serde(with = "serde_bytes")]
    pub(super) secret: Vec<u8>,
}

impl KeyRecord {
    pub(super) fn generate(request: &CreateKey, now: SystemTime) -> Result<Self> {
        if request.description.chars().count() > MAX_DESCRIPTION_CHARS {
            let message = format!("a description has at most {MAX_DESCRIPTION_CHARS} characters");
            return Err(invalid("ValidationException", message));
        }
        let mut material = KeyMaterial { id: 1, secret: vec![0; 32] };
        crypto::random(&mut material.secret)?;
        Ok(Self {
            id: Builder::from_random_bytes(crypto::random_array()?).into_uuid().to_string(),
            description: request.description.clone(),
            created: now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            materials: vec![material],
        })
    }
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An alias as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AliasRecord {
    pub(super) key_id: String,
}

/// AWS's rules for the names of aliases.
pub(super) fn check_alias(alias: &str) -> Result<()> {
    let name = alias.strip_prefix(ALIAS_PREFIX).unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    let valid = !name.is_empty()
        && name.chars().all(allowed)
        && alias.len() <= MAX_ALIAS_LEN
        && !alias.starts_with(AWS_ALIAS_PREFIX);
    if valid {
        return Ok(());
    }
    let message = format!(
        "{} is no name for an alias: it begins with alias/, not with alias/aws/, and goes on with letters, digits, \
         / _ and -, {MAX_ALIAS_LEN} characters at most",
        quoted(alias)
    );
    Err(invalid("InvalidAliasNameException", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_names_follow_the_rules_of_aws() {
        for good in ["alias/a", "alias/App_1/x-y"] {
            assert!(check_alias(good).is_ok(), "{good}");
        }
        let long = format!("alias/{}", "a".repeat(251));
        for bad in ["", "alias/", "app", "alias/a b", "alias/é", "alias/aws/s3", &long] {
            assert!(check_alias(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_key_material() {
        let record = KeyRecord::generate(&CreateKey::default(), SystemTime::now()).unwrap();
        let shown = format!("{record:?}");
        let secret = format!("{:?}", record.materials.first().unwrap().secret);
        assert!(!shown.contains(secret.trim_matches(['[', ']'])));
        assert!(shown.contains(&record.id));
    }
}
