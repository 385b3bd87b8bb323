//! ARNs of KMS keys.
//!
//! Source: the ESDK specification, `framework/aws-kms/aws-kms-key-arn.md`.

use std::fmt;

use crate::error::{Error, ErrorKind, Result, quoted};

/// The prefix of the ids of multi-Region keys.
#[doc(hidden)]
pub const MULTI_REGION_PREFIX: &str = "mrk-";

/// The Amazon Resource Name of a KMS key: `arn:aws:kms:eu-west-1:111122223333:key/1234abcd-...`.
///
/// ```
/// use manila_core::KeyArn;
///
/// let arn = KeyArn::parse("arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab")?;
/// assert_eq!((arn.region, arn.account), ("eu-west-1", "111122223333"));
/// assert!(arn.is_multi_region());
/// # Ok::<(), manila_core::Error>(())
/// ```
///
/// Source: the ESDK specification, `framework/aws-kms/aws-kms-key-arn.md`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyArn<'a> {
    /// The partition, such as `aws`.
    pub partition: &'a str,
    /// The region, such as `eu-west-1`.
    pub region: &'a str,
    /// The account that owns the key.
    pub account: &'a str,
    /// The id of the key.
    pub key_id: &'a str,
}

impl<'a> KeyArn<'a> {
    /// Parses the ARN of a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if `arn` is not a valid key ARN; the ARN of an alias is not one.
    pub fn parse(arn: &'a str) -> Result<Self> {
        match Self::split(arn) {
            Some((parts, "key")) => Ok(parts),
            _ => Err(not_an_arn(arn)),
        }
    }

    /// Parses the ARN of a key or an alias, and returns which of the two it is: `key` or `alias`.
    #[doc(hidden)]
    pub fn parse_any(arn: &'a str) -> Result<(Self, &'a str)> {
        Self::split(arn).ok_or_else(|| not_an_arn(arn))
    }

    /// Returns whether the key is a multi-Region key.
    #[must_use]
    pub fn is_multi_region(&self) -> bool {
        // The name of an alias may begin like that as well; this type holds keys only.
        self.key_id.starts_with(MULTI_REGION_PREFIX)
    }

    fn split(arn: &'a str) -> Option<(Self, &'a str)> {
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        let ["arn", partition, "kms", region, account, resource] = *parts.as_slice() else {
            return None;
        };
        let (kind @ ("key" | "alias"), key_id) = resource.split_once('/')? else {
            return None;
        };
        let parts = Self { partition, region, account, key_id };
        let whole = [partition, region, account, key_id].iter().all(|part| !part.is_empty());
        whole.then_some((parts, kind))
    }
}

impl fmt::Display for KeyArn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, region, account, key_id } = self;
        write!(f, "arn:{partition}:kms:{region}:{account}:key/{key_id}")
    }
}

/// Returns whether `text` can be a partition, a region or an account. ARNs come from messages that have not been
/// verified yet, and a KMS client may build a host name from a region.
#[doc(hidden)]
#[must_use]
pub fn is_arn_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(plain)
}

/// Returns whether `text` can be the id of a key that a message names. AWS's ids consist of letters, digits and `-`; a
/// KMS client may put an id into a path or a header line of an HTTP request.
#[doc(hidden)]
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(plain)
}

fn not_an_arn(text: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{} is not a valid KMS key ARN", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_has_six_parts_and_none_is_empty() {
        let arn = KeyArn::parse("arn:aws:kms:eu-west-1:111122223333:key/mrk-1/2").unwrap();
        assert_eq!(
            (arn.partition, arn.region, arn.account, arn.key_id),
            ("aws", "eu-west-1", "111122223333", "mrk-1/2")
        );
        let wrong = [
            "",
            "arn:aws:kms:eu-west-1:111122223333:alias/a",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:key",
            "arn::kms:eu-west-1:111122223333:key/1",
            "arn:aws:kms::111122223333:key/1",
            "arn:aws:kms:eu-west-1::key/1",
            "arn:aws:s3:eu-west-1:111122223333:key/1",
            "ARN:aws:kms:eu-west-1:111122223333:key/1",
        ];
        for text in wrong {
            assert!(KeyArn::parse(text).is_err(), "{text}");
        }
        assert!(KeyArn::parse_any("arn:aws:kms:eu-west-1:111122223333:alias/a").is_ok());
    }
}
