//! Simulated calls: the decision, and what decided.

use manila_local_kms::{
    AssumeRole, CreateGrant, CreateKey, Decision, DecisionReason, ErrorKind, GrantOperation, LocalKms, PolicySource,
    RequestContext, SimulatedCall,
};

use crate::access::{ALICE, BOB, OWNER, STRANGER, allow, deny, policy};
use crate::{code, context, encrypt};

fn none() -> SimulatedCall {
    SimulatedCall::default()
}

/// The statements of a decision: the name of an identity policy or `key`, and the index.
fn at(decision: &Decision) -> Vec<(String, usize)> {
    let name = |source: &PolicySource| match source {
        PolicySource::Identity { name, .. } => name.clone(),
        _ => "key".to_owned(),
    };
    decision.statements().iter().map(|statement| (name(statement.policy()), statement.index())).collect()
}

#[test]
fn a_decision_tells_what_decided() {
    use DecisionReason::{
        ExplicitDeny, Grant, IdentityPolicy, KeyAndIdentityPolicy, KeyPolicy, NoIdentityPolicy, NotAcrossAccounts,
        NothingAllows, OnlyOwner, Owner,
    };
    let kms = LocalKms::in_memory().unwrap();
    let statements = [
        allow(OWNER, &["*"]),
        allow(ALICE, &["Encrypt"]).replacen('{', r#"{"Sid": "Alice", "#, 1),
        allow(STRANGER, &["Encrypt", "DisableKey"]),
        deny("*", &["ReEncrypt*"]),
    ];
    let key = kms.create_key(CreateKey::default().alias("alias/a").policy(policy(&statements))).unwrap();
    let json = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:ListKeys", "kms:CreateAlias"], "Resource": "*"},
        {"Sid": "No macs", "Effect": "Deny", "Action": ["kms:*Mac", "kms:GenerateRandom"], "Resource": "*"}]}"#;
    for principal in [ALICE, STRANGER] {
        kms.put_identity_policy(principal, "p", json).unwrap();
    }
    let id = kms.create_grant(key.arn(), CreateGrant::to(BOB).operation(GrantOperation::Decrypt)).unwrap().into_id();
    let own = |index| ("p".to_owned(), index);
    let of_key = |index| ("key".to_owned(), index);
    let rows = [
        (ALICE, "Encrypt", true, KeyPolicy, vec![of_key(1)]),
        (ALICE, "Decrypt", true, KeyAndIdentityPolicy, vec![of_key(0), own(1)]),
        (ALICE, "DescribeKey", false, NoIdentityPolicy, vec![of_key(0)]),
        (ALICE, "ReEncryptFrom", false, ExplicitDeny, vec![of_key(3)]),
        (ALICE, "GenerateMac", false, ExplicitDeny, vec![own(2)]),
        (ALICE, "ListKeys", true, IdentityPolicy, vec![own(1)]),
        (ALICE, "GenerateRandom", false, ExplicitDeny, vec![own(2)]),
        (ALICE, "CreateKey", false, NoIdentityPolicy, vec![]),
        (ALICE, "Purge", false, OnlyOwner, vec![]),
        (ALICE, "kms:CreateAlias", true, KeyAndIdentityPolicy, vec![of_key(0), own(1), own(1)]),
        (ALICE, "UpdateAlias", false, NoIdentityPolicy, vec![of_key(0)]),
        (BOB, "Encrypt", false, NoIdentityPolicy, vec![of_key(0)]),
        (BOB, "Decrypt", true, Grant, vec![]),
        (STRANGER, "Encrypt", false, NoIdentityPolicy, vec![of_key(2)]),
        (STRANGER, "Decrypt", false, NothingAllows, vec![]),
        (STRANGER, "DisableKey", false, NotAcrossAccounts, vec![]),
        (STRANGER, "ListKeys", false, NotAcrossAccounts, vec![]),
        ("s3.amazonaws.com", "Encrypt", false, NothingAllows, vec![]),
        (OWNER, "Decrypt", true, KeyPolicy, vec![of_key(0)]),
        (OWNER, "ReEncryptTo", false, ExplicitDeny, vec![of_key(3)]),
        (OWNER, "CreateKey", true, Owner, vec![]),
        (OWNER, "Purge", true, Owner, vec![]),
    ];
    for (principal, operation, allowed, reason, statements) in rows {
        let decision = kms.simulate(principal, operation, Some(key.arn()), &none()).unwrap();
        let found = (decision.is_allowed(), decision.reason(), at(&decision));
        assert_eq!(found, (allowed, reason, statements), "{principal} {operation}");
        assert_eq!(decision.grant_id(), (reason == Grant).then_some(id.as_str()));
    }
    let decision = kms.simulate(ALICE, "Encrypt", Some("alias/a"), &none()).unwrap();
    assert_eq!(decision.statements()[0].sid(), Some("Alice"));
    assert_eq!(decision.statements()[0].policy(), &PolicySource::Key { key_arn: key.arn().to_owned() });
    let decision = kms.simulate(ALICE, "GenerateMac", Some("alias/a"), &none()).unwrap();
    let of_alice = PolicySource::Identity { principal: ALICE.to_owned(), name: "p".to_owned() };
    assert_eq!((decision.statements()[0].sid(), decision.statements()[0].policy()), (Some("No macs"), &of_alice));
}

#[test]
fn a_simulation_sees_what_the_call_would_show_and_does_nothing() {
    let kms = LocalKms::in_memory().unwrap();
    let condition = r#"{"StringEquals": {"kms:EncryptionContext:tenant": "acme", "kms:RequestAlias": "alias/a"},
        "Bool": {"aws:SecureTransport": "true"}}"#;
    let window = r#"{"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}}"#;
    let grants = r#"{"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt", "Decrypt"]}}"#;
    let tags = r#"{"StringEquals": {"aws:RequestTag/team": "a"}}"#;
    let statements = [
        allow(OWNER, &["*"]),
        crate::access::statement("Allow", ALICE, &["Encrypt"], condition),
        crate::access::statement("Deny", "*", &["ScheduleKeyDeletion"], window),
        crate::access::statement("Allow", ALICE, &["CreateGrant"], grants),
        crate::access::statement("Allow", ALICE, &["TagResource"], tags),
    ];
    let key = kms.create_key(CreateKey::default().alias("alias/a").policy(policy(&statements))).unwrap();
    let of = |principal: &str, operation: &str, name: &str, call: SimulatedCall| {
        kms.simulate(principal, operation, Some(name), &call).unwrap().is_allowed()
    };
    let full = || {
        let secure = RequestContext::default().secure_transport(true);
        none().context(secure).encryption_context(context(&[("tenant", "acme")]))
    };
    assert!(of(ALICE, "Encrypt", "alias/a", full()));
    assert!(!of(ALICE, "Encrypt", key.arn(), full()) && !of(ALICE, "Encrypt", "alias/a", none()));
    for (days, expected) in [("7", false), ("30", true)] {
        let call = none().parameter("pendingWindowInDays", days);
        assert_eq!(of(OWNER, "ScheduleKeyDeletion", key.arn(), call), expected, "{days}");
    }
    let operations = |all: &[&str]| none().parameters("operations", all.iter().copied());
    assert!(of(ALICE, "CreateGrant", key.arn(), operations(&["Encrypt", "Decrypt"])));
    assert!(!of(ALICE, "CreateGrant", key.arn(), operations(&["Encrypt", "GenerateMac"])));
    assert!(of(ALICE, "TagResource", key.arn(), none().tag("team", "a")));
    assert!(!of(ALICE, "TagResource", key.arn(), none().tag("team", "b")));
    kms.disable_key(key.arn()).unwrap();
    assert!(of(ALICE, "Encrypt", "alias/a", full()), "the state does not matter");
    kms.enable_key(key.arn()).unwrap();
    assert!(encrypt(&kms, key.arn(), b"x").is_ok());
}

#[test]
fn a_simulation_that_makes_no_sense_is_refused() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let rows = [
        ("alice", "Encrypt", Some(key.arn()), none(), "InvalidArnException"),
        (ALICE, "Encipher", Some(key.arn()), none(), "ValidationException"),
        (ALICE, "Encrypt", None, none(), "ValidationException"),
        (ALICE, "Encrypt", Some("alias/none"), none(), "NotFoundException"),
        (ALICE, "Encrypt", Some(key.arn()), none().parameter("colour", "red"), "ValidationException"),
    ];
    for (principal, operation, key, call, expected) in rows {
        assert_eq!(code(&kms.simulate(principal, operation, key, &call).unwrap_err()), expected, "{operation} {key:?}");
    }
    kms.put_role("job", r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*"}}"#).unwrap();
    let session = kms.assume_role(AssumeRole::new("job", "j-1")).unwrap();
    let of = |session: &str| kms.simulate(session, "ListKeys", None, &none());
    assert_eq!(of(session.arn()).unwrap().reason(), DecisionReason::NoIdentityPolicy);
    let error = of(&session.arn().replace("j-1", "j-2")).unwrap_err();
    assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "ExpiredTokenException"));
}
