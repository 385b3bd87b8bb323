//! Actions: the operations that a policy allows or denies.

use manila_core::internal::quoted;

use super::pattern::{Pattern, has_wildcard};

/// The prefix of every action, in lower case.
const SERVICE: &str = "kms";

/// The actions of AWS KMS, as the Service Authorization Reference had them in spring 2026.
const ACTIONS: [&str; 56] = [
    "CancelKeyDeletion",
    "ConnectCustomKeyStore",
    "CreateAlias",
    "CreateCustomKeyStore",
    "CreateGrant",
    "CreateKey",
    "Decrypt",
    "DeleteAlias",
    "DeleteCustomKeyStore",
    "DeleteImportedKeyMaterial",
    "DeriveSharedSecret",
    "DescribeCustomKeyStores",
    "DescribeKey",
    "DisableKey",
    "DisableKeyRotation",
    "DisconnectCustomKeyStore",
    "EnableKey",
    "EnableKeyRotation",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GenerateRandom",
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "GetParametersForImport",
    "GetPublicKey",
    "ImportKeyMaterial",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListKeys",
    "ListResourceTags",
    "ListRetirableGrants",
    "PutKeyPolicy",
    "ReEncryptFrom",
    "ReEncryptTo",
    "ReplicateKey",
    "RetireGrant",
    "RevokeGrant",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
    "Sign",
    "SynchronizeMultiRegionKey",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateCustomKeyStore",
    "UpdateKeyDescription",
    "UpdatePrimaryRegion",
    "Verify",
    "VerifyMac",
];

/// Parses an action, `kms:` and a name with or without wildcards, or `*`, into a pattern in lower case.
///
/// A pattern that matches no action is treated as a mistake.
pub(super) fn parse(action: &str) -> Result<Pattern, String> {
    let lower = action.to_ascii_lowercase();
    if lower == "*" {
        return Pattern::parse(lower);
    }
    let (service, name) = lower
        .split_once(':')
        .ok_or_else(|| format!("the action {} has no service prefix: write kms: before its name", quoted(action)))?;
    if service != SERVICE {
        return Err(format!("the action {} is of another service: use kms: actions", quoted(action)));
    }
    if !exists(name)? {
        return Err(format!("the action {} does not exist in AWS KMS", quoted(action)));
    }
    Pattern::parse(lower)
}

/// Returns whether a name in lower case, possibly with wildcards, matches an action. Most names have no wildcards and
/// are looked up directly, since policies are long.
fn exists(name: &str) -> Result<bool, String> {
    if !has_wildcard(name) {
        return Ok(ACTIONS.iter().any(|known| known.eq_ignore_ascii_case(name)));
    }
    let pattern = Pattern::parse(name)?;
    Ok(ACTIONS.iter().any(|known| pattern.matches(&known.to_ascii_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_without_repetition() {
        assert!(ACTIONS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn actions_match_without_regard_to_case() {
        let table: [(&str, &[&str]); 9] = [
            ("kms:Decrypt", &["Decrypt"]),
            ("KMS:dEcRyPt", &["Decrypt"]),
            ("kms:GenerateDataKey", &["GenerateDataKey"]),
            ("kms:ReEncrypt*", &["ReEncryptFrom", "ReEncryptTo"]),
            ("kms:*MAC", &["GenerateMac", "VerifyMac"]),
            ("kms:??gn", &["Sign"]),
            (
                "kms:GenerateDataKey*",
                &[
                    "GenerateDataKey",
                    "GenerateDataKeyPair",
                    "GenerateDataKeyPairWithoutPlaintext",
                    "GenerateDataKeyWithoutPlaintext",
                ],
            ),
            ("kms:*", &ACTIONS),
            ("*", &ACTIONS),
        ];
        for (action, expected) in table {
            let wanted = parse(action).unwrap();
            let meant = |name: &&&str| wanted.matches(&format!("kms:{name}").to_ascii_lowercase());
            let meant: Vec<_> = ACTIONS.iter().filter(meant).copied().collect();
            assert_eq!(meant, expected, "{action}");
        }
    }

    #[test]
    fn what_is_no_action_of_kms_is_refused_by_name() {
        let wrong = [
            "",
            "Decrypt",
            "kms",
            "kms:",
            "kms:Decryp",
            "kms:Decrypt ",
            "kms:ReEncrypt",
            "kms:Decrypt?",
            "kms:Foo*",
            "kms:kms:Decrypt",
            "s3:GetObject",
            "s3:*",
            "k*:Decrypt",
            "*:*",
            "**",
        ];
        for action in wrong {
            let message = parse(action).unwrap_err();
            assert!(message.contains(&quoted(action)), "{message}");
        }
    }
}
