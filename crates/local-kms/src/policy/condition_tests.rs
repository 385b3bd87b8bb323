//! Truth tables of the operators and keys of conditions, and of variables.
//!
//! The expected results follow the IAM User Guide and, for the keys of KMS, the AWS KMS Developer Guide.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::asked::Asked;
use super::condition::Condition;
use super::json::Json;
use super::principal::{Effect, Identity};
use super::tests::Scene;
use super::{AccessRequest, KeyFacts, Policy, PolicyKind, Who};
use crate::audit::Details;
use crate::request_context::RequestContext;
use manila_core::EncryptionContext;

const T: bool = true;
const F: bool = false;
const USER: &str = "arn:aws:iam::111122223333:user/team/alice";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/app/i-1";

fn parse(operator: &str, key: &str, values: &[&str]) -> Condition {
    let values: Vec<_> = values.iter().map(|value| Json::Text((*value).to_owned())).collect();
    Condition::parse(operator, key, &values, true).unwrap()
}

fn holds(condition: &Condition, request: &AccessRequest<'_>) -> bool {
    let of = |effect| condition.holds(effect, &Asked::new(Identity::parse(request.principal).unwrap(), request));
    let [allow, deny] = [Effect::Allow, Effect::Deny].map(of);
    assert_eq!(allow, deny, "{condition:?} {request:?}");
    allow
}

/// An operator, the policy's values, and the result for each of some values of the request.
type Row<'a, const N: usize> = (&'a str, &'a [&'a str], [bool; N]);

/// Checks every row against values of a key of the request; `None` is an absent one.
fn check<const N: usize>(values: [Option<&str>; N], rows: &[Row<'_, N>]) {
    let scene = Scene::default();
    for (operator, wanted, expected) in rows {
        let condition = parse(operator, "kms:EncryptionContext:x", wanted);
        let found = values.map(|value| {
            let context = EncryptionContext::new(value.map(|value| ("x", value))).unwrap();
            holds(&condition, &AccessRequest { encryption_context: Some(&context), ..scene.request() })
        });
        assert_eq!(found, *expected, "{operator} {wanted:?}");
    }
}

#[test]
#[rustfmt::skip]
fn strings_without_regard_to_case() {
    check([None, Some(""), Some("it"), Some("IT"), Some("\u{c4}"), Some("\u{e4}"), Some("hr")], &[
        ("StringEqualsIgnoreCase",                   &["It"],       [F, F, T, T, F, F, F]),
        ("StringEqualsIgnoreCase",                   &["\u{e4}"],   [F, F, F, F, T, T, F]),
        ("StringEqualsIgnoreCase",                   &["I*"],       [F, F, F, F, F, F, F]),
        ("StringNotEqualsIgnoreCase",                &["It"],       [T, T, F, F, T, T, T]),
        ("StringNotEqualsIgnoreCase",                &["It", "HR"], [T, T, F, F, T, T, F]),
        ("ForAllValues:StringEqualsIgnoreCase",      &["It"],       [T, T, T, T, F, F, F]),
        ("ForAnyValue:StringNotEqualsIgnoreCase",    &["It"],       [F, F, F, F, T, T, T]),
        ("ForAnyValue:StringEqualsIgnoreCaseIfExists", &["It"],     [T, F, T, T, F, F, F]),
    ]);
}

#[test]
#[rustfmt::skip]
fn every_operator_with_if_exists_is_true_of_an_absent_key() {
    check([None, Some("5"), Some("x")], &[
        ("StringEqualsIfExists",             &["5"],            [T, T, F]),
        ("StringNotEqualsIfExists",          &["5"],            [T, F, T]),
        ("StringEqualsIgnoreCaseIfExists",   &["5"],            [T, T, F]),
        ("StringNotEqualsIgnoreCaseIfExists", &["5"],           [T, F, T]),
        ("StringLikeIfExists",               &["5*"],           [T, T, F]),
        ("StringNotLikeIfExists",            &["5*"],           [T, F, T]),
        ("NumericEqualsIfExists",            &["5"],            [T, T, F]),
        ("NumericNotEqualsIfExists",         &["5"],            [T, F, T]),
        ("NumericLessThanIfExists",          &["6"],            [T, T, F]),
        ("NumericLessThanEqualsIfExists",    &["5"],            [T, T, F]),
        ("NumericGreaterThanIfExists",       &["4"],            [T, T, F]),
        ("NumericGreaterThanEqualsIfExists", &["5"],            [T, T, F]),
        ("DateEqualsIfExists",               &["5"],            [T, T, F]),
        ("DateNotEqualsIfExists",            &["5"],            [T, F, T]),
        ("DateLessThanIfExists",             &["6"],            [T, T, F]),
        ("DateLessThanEqualsIfExists",       &["5"],            [T, T, F]),
        ("DateGreaterThanIfExists",          &["4"],            [T, T, F]),
        ("DateGreaterThanEqualsIfExists",    &["5"],            [T, T, F]),
        ("BoolIfExists",                     &["true"],         [T, F, F]),
        ("BinaryEqualsIfExists",             &["NQ=="],         [T, T, F]),
        ("IpAddressIfExists",                &["0.0.0.0/0"],    [T, F, F]),
        ("NotIpAddressIfExists",             &["0.0.0.0/0"],    [T, T, T]),
        ("ArnEqualsIfExists",                &["*:*:*:*:*:*"],  [T, F, F]),
        ("ArnLikeIfExists",                  &["*:*:*:*:*:*"],  [T, F, F]),
        ("ArnNotEqualsIfExists",             &["*:*:*:*:*:*"],  [T, T, T]),
        ("ArnNotLikeIfExists",               &["*:*:*:*:*:*"],  [T, T, T]),
        ("ForAllValues:StringEqualsIfExists", &["5"],           [T, T, F]),
        ("ForAnyValue:StringEqualsIfExists", &["5"],            [T, T, F]),
        ("ForAnyValue:StringNotEqualsIfExists", &["5"],         [T, F, T]),
    ]);
}

#[test]
#[rustfmt::skip]
fn numbers() {
    check([None, Some(""), Some("6"), Some("7"), Some("7.0"), Some("30"), Some("-7"), Some("seven")], &[
        ("NumericEquals",            &["7"],         [F, F, F, T, T, F, F, F]),
        ("NumericEquals",            &["7", "-7"],   [F, F, F, T, T, F, T, F]),
        ("NumericNotEquals",         &["7"],         [T, T, T, F, F, T, T, T]),
        ("NumericNotEquals",         &["7", "30"],   [T, T, T, F, F, F, T, T]),
        ("NumericLessThan",          &["7"],         [F, F, T, F, F, F, T, F]),
        ("NumericLessThanEquals",    &["7"],         [F, F, T, T, T, F, T, F]),
        ("NumericGreaterThan",       &["7"],         [F, F, F, F, F, T, F, F]),
        ("NumericGreaterThanEquals", &["7"],         [F, F, F, T, T, T, F, F]),
        ("ForAnyValue:NumericGreaterThan", &["6.5"], [F, F, F, T, T, T, F, F]),
        ("ForAllValues:NumericLessThan",   &["6.5"], [T, T, T, F, F, F, T, F]),
    ]);
}

#[test]
#[rustfmt::skip]
fn dates() {
    let day = "2026-11-29T00:00:00Z";
    check([None, Some("2026-11-28"), Some("2026-11-29"), Some("2026-11-29T01:00:00+01:00"), Some("1795996800"), Some("now")], &[
        ("DateEquals",            &[day],                [F, F, T, T, F, F]),
        ("DateEquals",            &["2026-11-30", day],  [F, F, T, T, T, F]),
        ("DateNotEquals",         &[day],                [T, T, F, F, T, T]),
        ("DateLessThan",          &[day],                [F, T, F, F, F, F]),
        ("DateLessThanEquals",    &[day],                [F, T, T, T, F, F]),
        ("DateGreaterThan",       &[day],                [F, F, F, F, T, F]),
        ("DateGreaterThanEquals", &["1795910400"],       [F, F, T, T, T, F]),
        ("ForAnyValue:DateLessThan", &[day],             [F, T, F, F, F, F]),
    ]);
}

#[test]
#[rustfmt::skip]
fn bytes() {
    check([None, Some(""), Some("ABC"), Some("QUJD"), Some("abc")], &[
        ("BinaryEquals",             &["QUJD"],        [F, F, T, F, F]),
        ("BinaryEquals",             &["QUJD", ""],    [F, T, T, F, F]),
        ("ForAllValues:BinaryEquals", &["QUJD"],       [T, T, T, F, F]),
    ]);
}

#[test]
#[rustfmt::skip]
fn addresses() {
    check([None, Some("203.0.113.9"), Some("203.0.114.9"), Some("2001:db8::1"), Some("::ffff:203.0.113.9"), Some("here")], &[
        ("IpAddress",    &["203.0.113.0/24"],                       [F, T, F, F, F, F]),
        ("IpAddress",    &["203.0.113.9"],                          [F, T, F, F, F, F]),
        ("IpAddress",    &["203.0.113.0/24", "2001:DB8::/32"],      [F, T, F, T, F, F]),
        ("IpAddress",    &["0.0.0.0/0"],                            [F, T, T, F, F, F]),
        ("NotIpAddress", &["203.0.113.0/24"],                       [T, F, T, T, T, T]),
        ("NotIpAddress", &["203.0.113.0/24", "2001:db8::/32"],      [T, F, T, F, T, T]),
        ("ForAnyValue:IpAddress", &["::/0"],                        [F, F, F, T, T, F]),
    ]);
}

#[test]
#[rustfmt::skip]
fn arns() {
    // The pattern and the second value are the guide's example of what matches as a string and not as an ARN.
    let values = [None, Some("arn:aws:x:us-east-2:111122223333:finance/a"),
                  Some("arn:aws:x:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"),
                  Some("arn:aws:x::111122223333:finance/a:b/c"), Some("finance/a"), Some("")];
    for (like, not_like) in [("ArnLike", "ArnNotLike"), ("ArnEquals", "ArnNotEquals")] {
        check(values, &[
            (like,     &["arn:aws:x:*:111122223333:finance/*"],     [F, T, F, T, F, F]),
            (like,     &["arn:aws:x:us-*-?:*:*"],                   [F, T, T, F, F, F]),
            (like,     &["arn:aws:x:*:*:finance/a"],                [F, T, F, F, F, F]),
            (like,     &["ARN:aws:x:*:*:*"],                        [F, F, F, F, F, F]),
            (like,     &["*:*:*:*:*:*"],                            [F, T, T, T, F, F]),
            (like,     &["arn:aws:x:*:1*:*", "arn:aws:x:*:9*:*"],   [F, T, T, T, F, F]),
            (not_like, &["arn:aws:x:*:111122223333:finance/*"],     [T, F, T, F, T, T]),
            (not_like, &["arn:aws:x:*:1*:*", "arn:aws:x:*:9*:*"],   [T, F, F, F, T, T]),
        ]);
    }
    check(values, &[("StringLike", &["arn:aws:x:*:111122223333:finance/*"], [F, T, T, T, F, F])]);
}

/// A key, a value that it has in [`full`], and one that it has not.
const KEYS: [(&str, &str, &str); 61] = [
    ("aws:CurrentTime", "2026-09-21T13:46:40.000Z", "2026-09-21T13:46:41.000Z"),
    ("aws:EpochTime", "1789998400", "1789998401"),
    ("aws:CalledViaFirst", "cloudformation.amazonaws.com", "dynamodb.amazonaws.com"),
    ("aws:CalledViaLast", "dynamodb.amazonaws.com", "cloudformation.amazonaws.com"),
    ("aws:MultiFactorAuthAge", "90", "91"),
    ("aws:MultiFactorAuthPresent", "true", "false"),
    ("aws:PrincipalAccount", "111122223333", "444455556666"),
    ("aws:PrincipalArn", "arn:aws:iam::111122223333:role/service/app", "arn:aws:iam::111122223333:role/app"),
    ("aws:PrincipalIsAWSService", "false", "true"),
    ("aws:PrincipalOrgID", "o-a1b2c3d4e5", "o-other"),
    ("aws:PrincipalTag/team", "billing", "audit"),
    ("aws:PrincipalTag/STAGE", "prod", "test"),
    ("aws:PrincipalType", "AssumedRole", "User"),
    ("aws:RequestTag/purpose", "orders", "bills"),
    ("aws:RequestedRegion", "eu-west-1", "eu-west-2"),
    ("aws:ResourceAccount", "111122223333", "444455556666"),
    ("aws:ResourceTag/Tenant", "acme", "initech"),
    ("aws:SecureTransport", "true", "false"),
    ("aws:SourceAccount", "444455556666", "111122223333"),
    ("aws:SourceArn", "arn:aws:s3:::bucket", "arn:aws:s3:::other"),
    ("aws:SourceIp", "203.0.113.9", "203.0.113.8"),
    ("aws:SourceVpc", "vpc-1", "vpc-2"),
    ("aws:SourceVpce", "vpce-1", "vpce-2"),
    ("aws:TokenIssueTime", "2026-09-21T12:00:00.000Z", "2026-09-21T12:00:01.000Z"),
    ("aws:UserAgent", "aws-cli/2", "aws-cli/1"),
    ("aws:userid", "AROAEXAMPLE:i-1", "AROAEXAMPLE:i-2"),
    ("aws:ViaAWSService", "true", "false"),
    ("aws:VpcSourceIp", "10.0.0.9", "10.0.0.8"),
    ("kms:BypassPolicyLockoutSafetyCheck", "true", "false"),
    ("kms:CallerAccount", "111122223333", "444455556666"),
    ("kms:CustomerMasterKeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
    ("kms:CustomerMasterKeyUsage", "ENCRYPT_DECRYPT", "SIGN_VERIFY"),
    ("kms:DataKeyPairSpec", "RSA_2048", "RSA_4096"),
    ("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256"),
    ("kms:EncryptionContext:TENANT", "acme", "initech"),
    ("kms:ExpirationModel", "KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"),
    ("kms:GrantConstraintSourceArn", "arn:aws:s3:::bucket", "arn:aws:s3:::other"),
    ("kms:GrantConstraintType", "EncryptionContextSubset", "EncryptionContextEquals"),
    ("kms:GranteePrincipal", USER, SESSION),
    ("kms:GranteeServicePrincipal", "s3.amazonaws.com", "ec2.amazonaws.com"),
    ("kms:GrantIsForAWSResource", "true", "false"),
    ("kms:KeyAgreementAlgorithm", "ECDH", "DH"),
    ("kms:KeyOrigin", "EXTERNAL", "AWS_KMS"),
    ("kms:KeySpec", "SYMMETRIC_DEFAULT", "RSA_2048"),
    ("kms:KeyUsage", "ENCRYPT_DECRYPT", "SIGN_VERIFY"),
    ("kms:MacAlgorithm", "HMAC_SHA_256", "HMAC_SHA_512"),
    ("kms:MessageType", "DIGEST", "RAW"),
    ("kms:MultiRegion", "true", "false"),
    ("kms:MultiRegionKeyType", "REPLICA", "PRIMARY"),
    ("kms:PrimaryRegion", "eu-west-2", "eu-west-1"),
    ("kms:ReEncryptOnSameKey", "true", "false"),
    ("kms:ReplicaRegion", "eu-west-3", "eu-west-1"),
    ("kms:RequestAlias", "alias/app", "alias/other"),
    ("kms:RetiringPrincipal", SESSION, USER),
    ("kms:RetiringServicePrincipal", "ec2.amazonaws.com", "s3.amazonaws.com"),
    ("kms:RotationPeriodInDays", "90", "91"),
    ("kms:ScheduleKeyDeletionPendingWindowInDays", "7", "30"),
    ("kms:SigningAlgorithm", "ECDSA_SHA_256", "ECDSA_SHA_384"),
    ("kms:ViaService", "dynamodb.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"),
    ("kms:WrappingAlgorithm", "RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"),
    ("kms:WrappingKeySpec", "RSA_4096", "RSA_2048"),
];

/// Keys of many values: a list of all that they have in [`full`].
const LISTS: [(&str, &[&str]); 6] = [
    ("aws:CalledVia", &["cloudformation.amazonaws.com", "dynamodb.amazonaws.com"]),
    ("aws:PrincipalOrgPaths", &["o-a1b2c3d4e5/r-ab12/ou-ab12-1/"]),
    ("aws:TagKeys", &["owner", "purpose"]),
    ("kms:EncryptionContextKeys", &["stage", "tenant"]),
    ("kms:GrantOperations", &["Decrypt", "Encrypt"]),
    ("kms:ResourceAliases", &["alias/app", "alias/main"]),
];

/// Calls `work` with a request that has a value for every key.
fn full<T>(work: impl FnOnce(&AccessRequest<'_>) -> T) -> T {
    let tags = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let pairs = EncryptionContext::new([("tenant", "acme"), ("stage", "test")]).unwrap();
    let request_tags = tags(&[("purpose", "orders"), ("owner", "bob")]);
    let parameters = Details::new()
        .flag("bypassPolicyLockoutSafetyCheck", true)
        .text("keyPairSpec", "RSA_2048")
        .text("expirationModel", "KEY_MATERIAL_EXPIRES")
        .text("sourceArn", "arn:aws:s3:::bucket")
        .context("encryptionContextSubset", &pairs)
        .text("granteePrincipal", USER)
        .text("granteeServicePrincipal", "s3.amazonaws.com")
        .list("operations", ["Decrypt", "Encrypt"])
        .text("keyAgreementAlgorithm", "ECDH")
        .text("messageType", "DIGEST")
        .text("primaryRegion", "eu-west-2")
        .text("replicaRegion", "eu-west-3")
        .text("retiringPrincipal", SESSION)
        .text("retiringServicePrincipal", "ec2.amazonaws.com")
        .number("rotationPeriodInDays", 90_u32)
        .number("pendingWindowInDays", 7_u32)
        .text("signingAlgorithm", "ECDSA_SHA_256")
        .text("wrappingAlgorithm", "RSAES_OAEP_SHA_256")
        .text("wrappingKeySpec", "RSA_4096")
        .tag_keys("tagKeys", &request_tags);
    let context = RequestContext::default()
        .source_ip("203.0.113.9".parse::<IpAddr>().unwrap())
        .vpc_source_ip("10.0.0.9".parse::<IpAddr>().unwrap())
        .source_vpc("vpc-1")
        .source_vpce("vpce-1")
        .secure_transport(true)
        .multi_factor(true)
        .multi_factor_age(Duration::from_secs(90))
        .user_agent("aws-cli/2")
        .via_service("dynamodb.eu-west-1.amazonaws.com")
        .called_via(["cloudformation.amazonaws.com", "dynamodb.amazonaws.com"])
        .principal_org_id("o-a1b2c3d4e5")
        .principal_org_paths(["o-a1b2c3d4e5/r-ab12/ou-ab12-1/"])
        .principal_tag("Stage", "prod")
        .user_id("AROAEXAMPLE:i-1")
        .source_account("444455556666")
        .source_arn("arn:aws:s3:::bucket");
    let key = KeyFacts {
        spec: "SYMMETRIC_DEFAULT",
        usage: "ENCRYPT_DECRYPT",
        origin: "EXTERNAL",
        mac_algorithm: Some("HMAC_SHA_256"),
        multi_region_type: Some("REPLICA"),
        tags: Cow::Owned(tags(&[("tenant", "acme")])),
        aliases: vec!["alias/app".to_owned(), "alias/main".to_owned()],
    };
    let who = Who {
        role_arn: Some("arn:aws:iam::111122223333:role/service/app".to_owned()),
        tags: tags(&[("team", "billing"), ("stage", "test")]),
        issued: Some(1_789_992_000_000),
    };
    work(&AccessRequest {
        principal: SESSION,
        who: &who,
        action: "kms:CreateGrant",
        resource: "arn:aws:kms:eu-west-1:111122223333:key/1",
        region: "eu-west-1",
        account: "111122223333",
        now: 1_789_998_400_000,
        encryption_context: Some(&pairs),
        encrypts: true,
        parameters: &parameters,
        alias: Some("alias/app"),
        on_same_key: Some(true),
        key: Some(&key),
        context: &context,
    })
}

#[test]
fn every_key_has_the_value_of_the_request_and_no_other() {
    full(|request| {
        for (key, value, other) in KEYS {
            let rows = [
                ("StringEquals", value, T),
                ("StringEquals", other, F),
                ("StringNotEquals", value, F),
                ("StringNotEquals", other, T),
                ("Null", "true", F),
                ("Null", "false", T),
            ];
            for (operator, wanted, expected) in rows {
                assert_eq!(holds(&parse(operator, key, &[wanted]), request), expected, "{operator} {key} {wanted}");
            }
        }
        for (key, values) in LISTS {
            let rows: [(&str, &[&str], bool); 6] = [
                ("ForAllValues:StringEquals", values, T),
                ("ForAllValues:StringEquals", &values[1..], F),
                ("ForAnyValue:StringEquals", &values[..1], T),
                ("ForAnyValue:StringEquals", &["none"], F),
                ("ForAnyValue:StringNotEquals", values, F),
                ("Null", &["true"], F),
            ];
            for (operator, wanted, expected) in rows {
                if !wanted.is_empty() {
                    assert_eq!(holds(&parse(operator, key, wanted), request), expected, "{operator} {key} {wanted:?}");
                }
            }
        }
        assert!(holds(&parse("StringEquals", "kms:MultiRegionKeyType", &["REPLICA"]), request));
        assert!(holds(&parse("DateGreaterThan", "kms:ValidTo", &["2026-01-01"]), request) == F, "it is not there");
    });
}

#[test]
fn keys_of_what_the_request_does_not_have_are_absent() {
    let empty = EncryptionContext::empty();
    let (scene, always) = (
        Scene::default(),
        [
            "aws:CurrentTime",
            "aws:EpochTime",
            "aws:PrincipalAccount",
            "aws:PrincipalArn",
            "aws:PrincipalIsAWSService",
            "aws:PrincipalType",
            "aws:RequestedRegion",
            "aws:ResourceAccount",
            "aws:ViaAWSService",
            "kms:CallerAccount",
            "kms:MultiRegion",
        ],
    );
    let request = AccessRequest { principal: USER, encryption_context: Some(&empty), ..scene.request() };
    let lists = LISTS.iter().map(|(key, _)| *key);
    let others = ["kms:ValidTo", "kms:RecipientAttestation:PCR0", "kms:RecipientAttestation:ImageSha384"];
    for key in KEYS.iter().map(|(key, ..)| *key).chain(lists).chain(others) {
        assert_eq!(holds(&parse("Null", key, &["true"]), &request), !always.contains(&key), "{key}");
    }
    assert!(holds(&parse("StringEquals", "aws:username", &["alice"]), &request), "without its path");
    full(|request| {
        assert!(holds(&parse("Null", "aws:username", &["true"]), request), "a session has none");
        let service = AccessRequest { principal: "s3.amazonaws.com", ..*request };
        for key in ["kms:CallerAccount", "aws:PrincipalAccount", "aws:PrincipalType", "aws:username"] {
            assert!(holds(&parse("Null", key, &["true"]), &service), "{key}");
        }
        for (key, value) in [("aws:PrincipalServiceName", "s3.amazonaws.com"), ("aws:PrincipalIsAWSService", "true")] {
            assert!(holds(&parse("StringEquals", key, &[value]), &service), "{key}");
        }
        // Only calls for grants are for resources of services.
        let other = AccessRequest { action: "kms:Decrypt", ..*request };
        assert!(holds(&parse("Null", "kms:GrantIsForAWSResource", &["true"]), &other));
    });
}

#[test]
fn the_keys_of_a_new_key_are_those_of_the_request() {
    let parameters =
        Details::new().text("keySpec", "HMAC_256").text("keyUsage", "GENERATE_VERIFY_MAC").flag("multiRegion", true);
    let scene = Scene { parameters: parameters.text("origin", "EXTERNAL"), ..Scene::default() };
    let request = AccessRequest { key: None, ..scene.request() };
    for (key, value) in [
        ("kms:KeySpec", "HMAC_256"),
        ("kms:KeyUsage", "GENERATE_VERIFY_MAC"),
        ("kms:KeyOrigin", "EXTERNAL"),
        ("kms:MultiRegion", "true"),
        ("kms:MultiRegionKeyType", "PRIMARY"),
    ] {
        assert!(holds(&parse("StringEquals", key, &[value]), &request), "{key}");
    }
}

#[test]
#[rustfmt::skip]
fn variables() {
    let rows: [(&str, &str, &[&str], bool); 19] = [
        ("StringEquals",     "aws:ResourceTag/tenant",       &["${kms:KeySpec}"],                           F),
        ("StringEquals",     "kms:EncryptionContext:tenant", &["${aws:ResourceTag/tenant}"],                T),
        ("StringEquals",     "kms:EncryptionContext:stage",  &["${aws:PrincipalTag/none, 'test'}"],         T),
        ("StringEquals",     "kms:EncryptionContext:stage",  &["${aws:PrincipalTag/team, 'test'}"],         F),
        ("StringEquals",     "kms:EncryptionContext:stage",  &["${aws:PrincipalTag/none}"],                 F),
        ("StringNotEquals",  "kms:EncryptionContext:stage",  &["${aws:PrincipalTag/none}"],                 T),
        ("StringNotLike",    "kms:EncryptionContext:stage",  &["${aws:PrincipalTag/none}*"],                T),
        ("StringEqualsIgnoreCase", "aws:PrincipalTag/stage", &["P${aws:PrincipalTag/none,'ro'}D"],          T),
        ("StringLike",       "kms:RequestAlias",             &["alias/${aws:PrincipalTag/none, 'a'}*"],     T),
        ("StringLike",       "kms:RequestAlias",             &["alias/${*}*"],                              F),
        ("StringLike",       "kms:RequestAlias",             &["alias/${?}pp"],                             F),
        ("StringLike",       "kms:RequestAlias",             &["alias/?pp"],                                T),
        ("StringEquals",     "kms:RequestAlias",             &["alias/${$}app"],                            F),
        ("ArnLike",          "aws:PrincipalArn",             &["arn:aws:iam::${aws:PrincipalAccount}:role/*"], T),
        ("ArnLike",          "aws:PrincipalArn",             &["arn:aws:iam::${aws:SourceAccount}:role/*"], F),
        ("ArnEquals",        "kms:GrantConstraintSourceArn", &["${aws:SourceArn}"],                         T),
        ("Bool",             "aws:SecureTransport",          &["${aws:MultiFactorAuthPresent}"],            T),
        ("Bool",             "aws:PrincipalIsAWSService",    &["${aws:MultiFactorAuthPresent}"],            F),
        ("ForAllValues:StringLike", "kms:ResourceAliases",   &["alias/m${aws:PrincipalTag/none, 'ai'}n", "${kms:RequestAlias}"], T),
    ];
    full(|request| {
        for (operator, key, wanted, expected) in rows {
            assert_eq!(holds(&parse(operator, key, wanted), request), expected, "{operator} {key} {wanted:?}");
        }
    });
}

#[test]
fn a_wildcard_in_the_value_of_a_variable_is_not_one_of_the_policy() {
    let scene =
        Scene { context: RequestContext::default().principal_tag("team", "a*").user_agent("?"), ..Scene::default() };
    let context = |value: &str| EncryptionContext::new([("x", value)]).unwrap();
    for (wanted, value, expected) in [
        ("${aws:PrincipalTag/team}", "abc", F),
        ("${aws:PrincipalTag/team}", "a*", T),
        ("${aws:PrincipalTag/team}*", "a*bc", T),
        ("${aws:PrincipalTag/team}*", "abc", F),
        ("a${aws:UserAgent}c", "abc", F),
        ("a${aws:UserAgent}c", "a?c", T),
    ] {
        let context = context(value);
        let request = AccessRequest { encryption_context: Some(&context), ..scene.request() };
        let found = holds(&parse("StringLike", "kms:EncryptionContext:x", &[wanted]), &request);
        assert_eq!(found, expected, "{wanted} {value}");
    }
}

/// Returns whether a statement with these elements in place of the usual ones applies to a request.
fn applies(version: &str, elements: &[(&str, &str)], request: &AccessRequest<'_>) -> bool {
    let usual = [("Principal", r#""*""#), ("Action", r#""kms:*""#), ("Resource", r#""*""#)];
    let is_replaced = |name: &str| elements.iter().any(|(other, _)| other.trim_start_matches("Not") == name);
    let all = usual.iter().filter(|(name, _)| !is_replaced(name)).chain(elements);
    let all: Vec<_> = all.map(|(name, json)| format!("{name:?}: {json}")).collect();
    let json = format!(r#"{{"Version": "{version}", "Statement": {{"Effect": "Allow", {}}}}}"#, all.join(", "));
    Policy::parse(&json, PolicyKind::Key).unwrap().decide(request).allowed.is_some()
}

#[test]
fn the_not_forms_of_elements_and_variables_in_resources() {
    let scene = Scene { context: RequestContext::default().principal_tag("key", "1234"), ..Scene::default() };
    let request = AccessRequest { resource: "arn:aws:kms:eu-west-1:111122223333:key/1234", ..scene.request() };
    let rows: [(&str, &str, bool); 17] = [
        ("NotAction", r#""kms:Decrypt""#, F),
        ("NotAction", r#""kms:Encrypt""#, T),
        ("NotAction", r#"["kms:Encrypt", "kms:De*"]"#, F),
        ("NotResource", r#""arn:aws:kms:*:*:key/1234""#, F),
        ("NotResource", r#""arn:aws:kms:*:*:key/5678""#, T),
        ("NotResource", r#"["arn:aws:kms:*:*:key/5678", "*"]"#, F),
        ("Resource", r#""arn:aws:kms:*:*:key/${aws:PrincipalTag/key}""#, T),
        ("Resource", r#""arn:aws:kms:*:*:key/${aws:PrincipalTag/key}*""#, T),
        ("Resource", r#""arn:aws:kms:*:*:key/${aws:PrincipalTag/none}""#, F),
        ("Resource", r#""arn:aws:kms:*:*:key/${aws:PrincipalTag/none, '1234'}""#, T),
        ("NotResource", r#""arn:aws:kms:*:*:key/${aws:PrincipalTag/none}""#, T),
        ("NotPrincipal", r#"{"AWS": "arn:aws:iam::111122223333:user/alice"}"#, F),
        ("NotPrincipal", r#"{"AWS": "111122223333"}"#, F),
        ("NotPrincipal", r#"{"AWS": "arn:aws:iam::111122223333:user/bob"}"#, T),
        ("NotPrincipal", r#"{"Service": "s3.amazonaws.com"}"#, T),
        ("Principal", r#"{"Service": "s3.amazonaws.com", "AWS": "arn:aws:iam::111122223333:user/alice"}"#, T),
        ("Principal", r#"{"Service": ["s3.amazonaws.com", "ec2.amazonaws.com"]}"#, F),
    ];
    for (name, json, expected) in rows {
        assert_eq!(applies("2012-10-17", &[(name, json)], &request), expected, "{name} {json}");
    }
    // In the older version of the language `${` is nothing special.
    let variable = [("Condition", r#"{"StringEquals": {"aws:PrincipalTag/key": "${aws:PrincipalTag/key}"}}"#)];
    assert!(applies("2012-10-17", &variable, &request) && !applies("2008-10-17", &variable, &request));
    let literal = RequestContext::default().principal_tag("key", "${aws:PrincipalTag/key}");
    assert!(applies("2008-10-17", &variable, &AccessRequest { context: &literal, ..request }));
}

#[test]
fn the_tags_of_a_call_take_the_place_of_stored_ones_and_their_case_does_not_count() {
    let who = Who { tags: [("Team".to_owned(), "billing".to_owned())].into(), ..Who::default() };
    let scene = Scene { who, ..Scene::default() };
    let is = |context: &RequestContext, value: &str| {
        let request = AccessRequest { context, ..scene.request() };
        holds(&parse("StringEquals", "aws:principaltag/TEAM", &[value]), &request)
    };
    let (none, given) = (RequestContext::default(), RequestContext::default().principal_tag("team", "audit"));
    assert!(is(&none, "billing") && !is(&none, "audit") && is(&given, "audit") && !is(&given, "billing"));
}
