//! Actions: the operations that a policy allows or denies.

use manila_core::internal::quoted;

use super::PolicyKind;
use super::pattern::{Pattern, has_wildcard};

/// The prefix of the KMS's actions, in lower case.
const SERVICE: &str = "kms";
/// The prefix of the actions of the service that makes sessions, in lower case.
const SESSIONS: &str = "sts";

/// The actions of AWS KMS, as the Service Authorization Reference had them in spring 2026, and those of ML-KEM.
const ACTIONS: [&str; 58] = [
    "CancelKeyDeletion",
    "ConnectCustomKeyStore",
    "CreateAlias",
    "CreateCustomKeyStore",
    "CreateGrant",
    "CreateKey",
    "Decapsulate",
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
    "Encapsulate",
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

/// Returns whether an action may be one that is decided here.
pub(super) fn is_ours(action: &str) -> bool {
    let service = action.split_once(':').map_or(action, |(service, _)| service);
    service == "*" || service.eq_ignore_ascii_case(SERVICE) || service.eq_ignore_ascii_case(SESSIONS)
}

/// Parses an action, `kms:` and a name with or without wildcards, or `*`, into a pattern in lower case. Identity
/// policies may also name actions of other services, and trust policies only those of STS.
///
/// A pattern that matches no action of the KMS is treated as a mistake.
pub(super) fn parse(action: &str, kind: PolicyKind) -> Result<Pattern, String> {
    let lower = action.to_ascii_lowercase();
    if lower == "*" {
        return Pattern::parse(&lower);
    }
    let (service, name) = lower
        .split_once(':')
        .ok_or_else(|| format!("the action {} has no service prefix: write kms: before its name", quoted(action)))?;
    let is_expected = match kind {
        PolicyKind::Key => service == SERVICE,
        PolicyKind::Trust => service == SESSIONS,
        PolicyKind::Identity => is_service(service),
    };
    if !is_expected {
        let expected = if kind == PolicyKind::Trust { SESSIONS } else { SERVICE };
        return Err(format!("the action {} is of another service: use {expected}: actions", quoted(action)));
    }
    let does_exist = if service == SERVICE { exists(name)? } else { is_name(name) };
    if does_exist {
        return Pattern::parse(&lower);
    }
    Err(format!("the action {} does not exist in AWS {}", quoted(action), service.to_ascii_uppercase()))
}

/// Returns whether a text in lower case has the form of a service's prefix.
fn is_service(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Returns whether a text has the form of the name of an action, possibly with wildcards.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '?' | '-' | '_'))
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
            let wanted = parse(action, PolicyKind::Key).unwrap();
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
            let message = parse(action, PolicyKind::Key).unwrap_err();
            assert!(message.contains(&quoted(action)), "{message}");
        }
    }

    #[test]
    fn identity_policies_name_actions_of_any_service_and_trust_policies_those_of_sessions() {
        use PolicyKind::{Identity, Key, Trust};
        let rows = [
            ("kms:Decrypt", [true, true, false]),
            ("s3:GetObject", [false, true, false]),
            ("secretsmanager:*", [false, true, false]),
            ("sts:AssumeRole", [false, true, true]),
            ("*", [true, true, true]),
            ("kms:Decrpt", [false, false, false]),
            ("s*:Get", [false, false, false]),
            ("s3:", [false, false, false]),
            ("s3:a b", [false, false, false]),
            ("GetObject", [false, false, false]),
        ];
        for (action, expected) in rows {
            assert_eq!([Key, Identity, Trust].map(|kind| parse(action, kind).is_ok()), expected, "{action}");
        }
        for (action, ours) in [("KMS:x", true), ("sts:x", true), ("*", true), ("s3:x", false), ("kmsx:y", false)] {
            assert_eq!(is_ours(action), ours, "{action}");
        }
    }
}
