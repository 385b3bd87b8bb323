//! The five forms of a KMS keyring, which determine the data keys that match and the key that the KMS is asked for.
//!
//! Source: the ESDK specification, `framework/aws-kms`, the pages on the four keyrings, `aws-kms-key-arn.md` and
//! `aws-kms-mrk-match-for-decrypt.md`.

use manila_core::internal::{AWS_PROVIDER_ID, MULTI_REGION_PREFIX, is_arn_part, is_key_id, quoted};
use manila_core::{Error, ErrorKind, KeyArn, Result};

use crate::keyring::kms::discovery_filter::{DiscoveryFilter, check_part};

/// The keys that a keyring uses.
#[derive(Debug)]
pub(super) enum Form {
    /// One key, by its ARN.
    Strict { key_arn: String },
    /// One key, by its ARN, which also decrypts data keys of its replicas in other regions.
    MrkAware { key_arn: String },
    /// One key by any of its names, to encrypt under.
    EncryptOnly { key_id: String },
    /// Every key that the message names and the filter allows.
    Discovery { filter: Option<DiscoveryFilter> },
    /// The same, in one region, with the replicas there of multi-Region keys.
    MrkDiscovery { region: String, filter: Option<DiscoveryFilter> },
}

impl Form {
    pub(super) fn strict(key_arn: String, provider_id: &str) -> Result<Self> {
        check_opens(&key_arn, provider_id)?;
        Ok(Self::Strict { key_arn })
    }

    pub(super) fn mrk_aware(key_arn: String, provider_id: &str) -> Result<Self> {
        check_opens(&key_arn, provider_id)?;
        Ok(Self::MrkAware { key_arn })
    }

    pub(super) fn encrypt_only(key_id: String, provider_id: &str) -> Result<Self> {
        check_key_id(&key_id, provider_id)?;
        Ok(Self::EncryptOnly { key_id })
    }

    pub(super) fn mrk_discovery(region: String, filter: Option<DiscoveryFilter>) -> Result<Self> {
        check_part("a region", &region)?;
        Ok(Self::MrkDiscovery { region, filter })
    }

    /// Returns the id of the key to encrypt under.
    pub(super) fn key_to_seal(&self) -> Result<&str> {
        match self {
            Self::Strict { key_arn: key_id } | Self::MrkAware { key_arn: key_id } | Self::EncryptOnly { key_id } => {
                Ok(key_id)
            }
            Self::Discovery { .. } | Self::MrkDiscovery { .. } => {
                let detail = "a discovery keyring opens but cannot seal, since it knows no key: seal with \
                              KmsKeyring::new and the ARN of a key";
                Err(Error::new(ErrorKind::InvalidInput, detail))
            }
        }
    }

    /// Fails if no data key of any message can match.
    pub(super) fn check_opens(&self) -> Result<()> {
        match self {
            Self::EncryptOnly { key_id } => {
                let detail = format!(
                    "the KMS keyring for {} was made to encrypt only: to decrypt, make one with KmsKeyring::new and the \
                     ARN of the key",
                    quoted(key_id)
                );
                Err(Error::new(ErrorKind::InvalidInput, detail))
            }
            _ => Ok(()),
        }
    }

    /// Returns the id of the key to decrypt a data key with that was encrypted under `wrapped_under`; `None` if it does
    /// not match.
    pub(super) fn key_to_open(&self, wrapped_under: &KeyArn<'_>) -> Option<String> {
        match self {
            Self::Strict { key_arn } => (KeyArn::parse(key_arn).ok()? == *wrapped_under).then(|| key_arn.clone()),
            Self::MrkAware { key_arn } => {
                let own = KeyArn::parse(key_arn).ok()?;
                (own == *wrapped_under || are_replicas(&own, wrapped_under)).then(|| key_arn.clone())
            }
            Self::EncryptOnly { .. } => None,
            Self::Discovery { filter } => admits(filter.as_ref(), wrapped_under).then(|| wrapped_under.to_string()),
            Self::MrkDiscovery { region, filter } => {
                let in_region = KeyArn { region, ..wrapped_under.clone() };
                let is_there = in_region == *wrapped_under || wrapped_under.is_multi_region();
                (is_there && admits(filter.as_ref(), wrapped_under)).then(|| in_region.to_string())
            }
        }
    }
}

/// Fails unless `key_id` is the ARN of a key, which is how messages name the keys of every KMS.
fn check_opens(key_id: &str, provider_id: &str) -> Result<()> {
    if KeyArn::parse(key_id).is_ok() {
        return Ok(());
    }
    check_key_id(key_id, provider_id)?;
    let detail = format!(
        "a KMS keyring for {} could encrypt but not decrypt, since messages name keys by ARN: give the ARN of the key, \
         or make a keyring that only encrypts with KmsKeyring::encrypt_only",
        quoted(key_id)
    );
    Err(Error::new(ErrorKind::InvalidInput, detail))
}

/// Fails unless `key_id` is the ARN of a key or an alias, the id of a key, or an alias.
fn check_key_id(key_id: &str, provider_id: &str) -> Result<()> {
    if key_id.starts_with("arn:") {
        return KeyArn::parse_any(key_id).map(drop);
    }
    let is_name = match provider_id {
        AWS_PROVIDER_ID => is_aws_key_id(key_id) || key_id.strip_prefix("alias/").is_some_and(is_alias_name),
        // The ids of another KMS are its own affair.
        _ => !key_id.is_empty() && !key_id.contains(':'),
    };
    if is_name {
        return Ok(());
    }
    let detail = format!(
        "{} is not a valid name of a KMS key: give the ARN of the key, its id (such as \
         1234abcd-12ab-34cd-56ef-1234567890ab) or an alias (alias/NAME)",
        quoted(key_id)
    );
    Err(Error::new(ErrorKind::InvalidInput, detail))
}

/// Returns whether `text` can be the id of an AWS KMS key: a UUID, or `mrk-` and hexadecimal digits.
///
/// Source: the AWS KMS developer guide, "Key identifiers".
fn is_aws_key_id(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.strip_prefix(MULTI_REGION_PREFIX) {
        Some(digits) => !digits.is_empty() && is_hex(digits),
        None => text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex),
    }
}

/// Returns whether `text` can be the name of an alias.
///
/// Source: the AWS KMS API reference, `CreateAlias`, `AliasName`.
fn is_alias_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-'))
}

/// Returns whether a discovery keyring may ask for a key. Parts that no filter could name are refused even without a
/// filter.
fn admits(filter: Option<&DiscoveryFilter>, arn: &KeyArn<'_>) -> bool {
    let well_formed = [arn.partition, arn.region, arn.account].into_iter().all(is_arn_part) && is_key_id(arn.key_id);
    well_formed && filter.is_none_or(|filter| filter.admits(arn))
}

/// Returns whether two ARNs name the same multi-Region key, in the same or different regions.
fn are_replicas(one: &KeyArn<'_>, other: &KeyArn<'_>) -> bool {
    one.is_multi_region() && KeyArn { region: one.region, ..other.clone() } == *one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_differ_in_the_region_alone() {
        let own = "arn:aws:kms:us-east-1:111122223333:key/mrk-1";
        let are = |one, other| are_replicas(&KeyArn::parse(one).unwrap(), &KeyArn::parse(other).unwrap());
        assert!(are(own, own));
        assert!(are(own, "arn:aws:kms:eu-west-1:111122223333:key/mrk-1"));
        assert!(!are(own, "arn:aws-cn:kms:us-east-1:111122223333:key/mrk-1"));
        assert!(!are(own, "arn:aws:kms:us-east-1:444455556666:key/mrk-1"));
        assert!(!are(own, "arn:aws:kms:us-east-1:111122223333:key/mrk-2"));
        assert!(!are(own, "arn:aws:kms:us-east-1:111122223333:key/1"));
        assert!(!are("arn:aws:kms:us-east-1:1:key/1", "arn:aws:kms:eu-west-1:1:key/1"));
        assert!(!are("arn:aws:kms:us-east-1:1:key/MRK-1", "arn:aws:kms:eu-west-1:1:key/MRK-1"));
    }

    #[test]
    fn an_arn_is_written_as_it_was_read() {
        for arn in ["arn:aws:kms:us-east-1:111122223333:key/mrk-1", "arn:vault:kms:eu-1:team-a:key/a/b:c"] {
            assert_eq!(KeyArn::parse(arn).unwrap().to_string(), arn);
        }
    }
}
