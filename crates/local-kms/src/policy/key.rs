//! The keys of conditions, which are also the variables of policies.
//!
//! Source: Service Authorization Reference, "Condition keys for AWS Key Management Service"; AWS KMS Developer Guide,
//! "AWS KMS condition keys"; IAM User Guide, "AWS global condition context keys".

use manila_core::internal::quoted;

const CONTEXT_PREFIX: &str = "kms:EncryptionContext:";
/// The measurements of an enclave, which no request here carries.
const ATTESTATION_PREFIX: &str = "kms:RecipientAttestation:";

/// The key of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A member of one of the maps of a request.
    Member {
        map: Map,
        /// With ASCII letters in lower case.
        name: String,
        /// With [folded](fold) case.
        folded: String,
    },
    Named(NamedKey),
    /// Always absent.
    Attestation,
}

/// The maps whose members are keys of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Map {
    EncryptionContext,
    PrincipalTags,
    ResourceTags,
    RequestTags,
}

impl Map {
    /// The prefixes of their keys.
    const ALL: [(&str, Self); 4] = [
        (CONTEXT_PREFIX, Self::EncryptionContext),
        ("aws:PrincipalTag/", Self::PrincipalTags),
        ("aws:ResourceTag/", Self::ResourceTags),
        ("aws:RequestTag/", Self::RequestTags),
    ];
}

macro_rules! names {
    ($($name:ident $text:literal $($alias:literal)? $many:ident,)*) => {
        /// The keys with a name of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum NamedKey { $($name),* }

        impl NamedKey {
            /// Every key, by AWS's name, and whether it can have many values.
            const ALL: &[(&str, Self, bool)] = &[$(
                ($text, Self::$name, names!($many)),
                $(($alias, Self::$name, names!($many)),)?
            )*];
        }
    };
    (One) => { false };
    (Many) => { true };
}

names! {
    CalledVia                       "aws:CalledVia" Many,
    CalledViaFirst                  "aws:CalledViaFirst" One,
    CalledViaLast                   "aws:CalledViaLast" One,
    CurrentTime                     "aws:CurrentTime" One,
    EpochTime                       "aws:EpochTime" One,
    MultiFactorAuthAge              "aws:MultiFactorAuthAge" One,
    MultiFactorAuthPresent          "aws:MultiFactorAuthPresent" One,
    PrincipalAccount                "aws:PrincipalAccount" One,
    PrincipalArn                    "aws:PrincipalArn" One,
    PrincipalIsAwsService           "aws:PrincipalIsAWSService" One,
    PrincipalOrgId                  "aws:PrincipalOrgID" One,
    PrincipalOrgPaths               "aws:PrincipalOrgPaths" Many,
    PrincipalServiceName            "aws:PrincipalServiceName" One,
    PrincipalType                   "aws:PrincipalType" One,
    RequestedRegion                 "aws:RequestedRegion" One,
    ResourceAccount                 "aws:ResourceAccount" One,
    SecureTransport                 "aws:SecureTransport" One,
    SourceAccount                   "aws:SourceAccount" One,
    SourceArn                       "aws:SourceArn" One,
    SourceIp                        "aws:SourceIp" One,
    SourceVpc                       "aws:SourceVpc" One,
    SourceVpce                      "aws:SourceVpce" One,
    TagKeys                         "aws:TagKeys" Many,
    TokenIssueTime                  "aws:TokenIssueTime" One,
    UserAgent                       "aws:UserAgent" One,
    UserId                          "aws:userid" One,
    UserName                        "aws:username" One,
    ViaAwsService                   "aws:ViaAWSService" One,
    VpcSourceIp                     "aws:VpcSourceIp" One,
    BypassPolicyLockoutSafetyCheck  "kms:BypassPolicyLockoutSafetyCheck" One,
    CallerAccount                   "kms:CallerAccount" One,
    DataKeyPairSpec                 "kms:DataKeyPairSpec" One,
    EncryptionAlgorithm             "kms:EncryptionAlgorithm" One,
    EncryptionContextKeys           "kms:EncryptionContextKeys" Many,
    ExpirationModel                 "kms:ExpirationModel" One,
    GrantConstraintSourceArn        "kms:GrantConstraintSourceArn" One,
    GrantConstraintType             "kms:GrantConstraintType" One,
    GranteePrincipal                "kms:GranteePrincipal" One,
    GranteeServicePrincipal         "kms:GranteeServicePrincipal" One,
    GrantIsForAwsResource           "kms:GrantIsForAWSResource" One,
    GrantOperations                 "kms:GrantOperations" Many,
    KeyAgreementAlgorithm           "kms:KeyAgreementAlgorithm" One,
    KeyOrigin                       "kms:KeyOrigin" One,
    KeySpec                         "kms:KeySpec" "kms:CustomerMasterKeySpec" One,
    KeyUsage                        "kms:KeyUsage" "kms:CustomerMasterKeyUsage" One,
    MacAlgorithm                    "kms:MacAlgorithm" One,
    MessageType                     "kms:MessageType" One,
    MultiRegion                     "kms:MultiRegion" One,
    MultiRegionKeyType              "kms:MultiRegionKeyType" One,
    PrimaryRegion                   "kms:PrimaryRegion" One,
    ReEncryptOnSameKey              "kms:ReEncryptOnSameKey" One,
    ReplicaRegion                   "kms:ReplicaRegion" One,
    RequestAlias                    "kms:RequestAlias" One,
    ResourceAliases                 "kms:ResourceAliases" Many,
    RetiringPrincipal               "kms:RetiringPrincipal" One,
    RetiringServicePrincipal        "kms:RetiringServicePrincipal" One,
    RotationPeriodInDays            "kms:RotationPeriodInDays" One,
    PendingWindowInDays             "kms:ScheduleKeyDeletionPendingWindowInDays" One,
    SigningAlgorithm                "kms:SigningAlgorithm" One,
    ValidTo                         "kms:ValidTo" One,
    ViaService                      "kms:ViaService" One,
    WrappingAlgorithm               "kms:WrappingAlgorithm" One,
    WrappingKeySpec                 "kms:WrappingKeySpec" One,
}

impl Key {
    /// Parses a key's name, ignoring case.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        if name.contains("${") {
            return Err(format!("the condition key {} has a policy variable (${{...}})", quoted(name)));
        }
        for (prefix, map) in Map::ALL {
            if let Some(member) = without_prefix(name, prefix) {
                let missing = || format!("the condition key {} lacks the part after {prefix}", quoted(name));
                return if member.is_empty() { Err(missing()) } else { Ok(Self::member(map, member)) };
            }
        }
        if without_prefix(name, ATTESTATION_PREFIX).is_some_and(is_measurement) {
            return Ok(Self::Attestation);
        }
        let mut known = NamedKey::ALL.iter().filter(|(known, ..)| known.eq_ignore_ascii_case(name));
        let found = known.next().map(|(_, name, _)| Self::Named(*name));
        found.ok_or_else(|| format!("the condition key {} is not implemented", quoted(name)))
    }

    fn member(map: Map, name: &str) -> Self {
        Self::Member { map, name: name.to_ascii_lowercase(), folded: fold(name) }
    }

    pub(super) fn is_multivalued(&self) -> bool {
        matches!(self, Self::Named(name) if NamedKey::ALL.iter().any(|(_, other, many)| other == name && *many))
    }

    /// Returns whether the key's value depends on the encryption context.
    pub(super) fn is_of_context(&self) -> bool {
        matches!(self, Self::Member { map: Map::EncryptionContext, .. } | Self::Named(NamedKey::EncryptionContextKeys))
    }

    /// Returns the memory that the key takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Member { name, folded, .. } => name.capacity().saturating_add(folded.capacity()),
            Self::Named(_) | Self::Attestation => 0,
        }
    }
}

fn without_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Returns whether a name is that of a measurement in an attestation document.
fn is_measurement(name: &str) -> bool {
    name.eq_ignore_ascii_case("ImageSha384")
        || without_prefix(name, "PCR").is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number < 32))
}

/// Folds the case of `text` in the widest sense: texts that any case rule treats as equal fold to the same text.
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name_in_any_case() {
        for (text, name, many) in NamedKey::ALL {
            for text in [(*text).to_owned(), text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
                let key = Key::parse(&text).unwrap();
                assert_eq!((&key, key.is_multivalued()), (&Key::Named(*name), *many), "{text}");
            }
        }
        for (prefix, map) in Map::ALL {
            let key = Key::parse(&format!("{}Team", prefix.to_ascii_uppercase())).unwrap();
            let (name, folded) = ("team".to_owned(), "team".to_owned());
            assert_eq!(key, Key::Member { map, name, folded });
            assert!(Key::parse(prefix).unwrap_err().contains(&quoted(prefix)));
        }
        for measurement in ["ImageSha384", "PCR0", "PCR31", "pcr8"] {
            let name = format!("kms:RecipientAttestation:{measurement}");
            assert_eq!(Key::parse(&name), Ok(Key::Attestation), "{name}");
        }
    }

    #[test]
    fn the_list_has_no_key_twice() {
        for (number, (text, ..)) in NamedKey::ALL.iter().enumerate() {
            assert!(!NamedKey::ALL[..number].iter().any(|(other, ..)| other.eq_ignore_ascii_case(text)), "{text}");
        }
    }

    #[test]
    fn other_keys_are_refused_by_name() {
        let keys = [
            "aws:SourceIpAddress",
            "aws:FederatedProvider",
            "kms:TrailingDaysWithoutKeyUsage",
            "kms:EncryptionContext",
            "kms:EncryptionContextKey",
            "kms:RecipientAttestation:PCR32",
            "kms:RecipientAttestation:",
            "EncryptionContext:a",
            "aws:PrincipalTag",
            "s3:prefix",
            "kms:EncryptionContext:${aws:username}",
            "",
        ];
        for key in keys {
            let message = Key::parse(key).unwrap_err();
            assert!(message.contains(&quoted(key)), "{message}");
        }
    }

    #[test]
    fn letters_that_differ_in_nothing_but_case_fold_to_the_same() {
        let alike = [
            ["Key", "kEY", "\u{212a}ey"],
            ["\u{3a3}", "\u{3c3}", "\u{3c2}"],
            ["\u{c4}", "\u{e4}", "\u{c4}"],
            ["s", "\u{17f}", "S"],
            ["\u{df}", "\u{1e9e}", "ss"],
        ];
        for [one, two, three] in alike {
            assert!(fold(one) == fold(two) && fold(two) == fold(three), "{one} {two} {three}");
        }
        assert_ne!(fold("a"), fold("\u{e4}"));
    }
}
