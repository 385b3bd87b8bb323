//! The second layer of permissions: policies of principals, roles and their sessions.

use std::time::Duration;

use manila_core::testing::ready;
use manila_local_kms::testing::policies_parsed;
use manila_local_kms::{
    AssumeRole, Clock, CreateGrant, CreateKey, Error, ErrorKind, GrantOperation, Kms, KmsRequest, LocalKms,
    RequestContext, RootKey,
};

use crate::access::{ALICE, BOB, EVERYTHING, OWNER, STRANGER, allow, assert_refused, deny, policy};
use crate::raw_file::records;
use crate::{Folder, TestClock, both, code, context, decrypt, encrypt};

const OTHER_ROOT: &str = "arn:aws:iam::111122223333:root";
const JOB: &str = "arn:aws:iam::000000000000:role/job";

/// A policy of a principal with one statement.
fn identity(effect: &str, actions: &[&str], resource: &str, condition: &str) -> String {
    let actions: Vec<_> = actions.iter().map(|action| format!("\"{action}\"")).collect();
    format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "{effect}", "Action": [{}], "Resource": "{resource}", "Condition": {condition}}}}}"#,
        actions.join(", ")
    )
    .replace(r#", "Condition": {}"#, "")
}

fn allows(actions: &[&str]) -> String {
    identity("Allow", actions, "*", "{}")
}

fn trust(principal: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Principal": {principal}, "Action": "sts:AssumeRole"}}}}"#
    )
}

fn may<T>(done: Result<T, Error>) -> bool {
    done.map_err(|error| assert_refused(&error, "refused")).is_ok()
}

fn may_encrypt(kms: &LocalKms, principal: &str, key: &str) -> bool {
    may(encrypt(&kms.as_principal(principal).unwrap(), key, b"x"))
}

#[test]
fn the_default_policy_leaves_permissions_to_the_policies_of_the_account() {
    for (kms, _, folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let written = kms.create_key(CreateKey::default().policy(kms.key_policy(key.arn()).unwrap())).unwrap();
        let other = if folder.store().exists() { folder.open().unwrap() } else { kms.clone() };
        for arn in [key.arn(), written.arn()] {
            assert!(may_encrypt(&kms, OWNER, arn) && !may_encrypt(&kms, ALICE, arn));
            other.put_identity_policy(ALICE, "keys", &allows(&["kms:Encrypt"])).unwrap();
            assert!(may_encrypt(&kms, ALICE, arn) && !may_encrypt(&kms, BOB, arn) && !may_encrypt(&kms, STRANGER, arn));
            let alice = kms.as_principal(ALICE).unwrap();
            assert!(!may(decrypt(&alice, arn, &encrypt(&kms, arn, b"x").unwrap())));
            other.delete_identity_policy(ALICE, "keys").unwrap();
            assert!(!may_encrypt(&kms, ALICE, arn));
        }
        // A policy of a principal is nothing without the key's.
        kms.put_identity_policy(ALICE, "keys", EVERYTHING).unwrap();
        kms.put_key_policy(key.arn(), &policy(&[allow(BOB, &["*"]), allow(OWNER, &["Put*"])])).unwrap();
        assert!(!may_encrypt(&kms, ALICE, key.arn()) && may_encrypt(&kms, BOB, key.arn()));
        assert!(kms.as_principal(ALICE).unwrap().put_key_policy(key.arn(), EVERYTHING).is_err());
    }
}

/// Each step of the decision with those after it against it.
#[test]
fn the_steps_of_a_decision_come_in_the_order_of_aws() {
    for (kms, _, _) in both() {
        let of = |statements: &[String], own: Option<&str>, granted: bool| {
            let all: Vec<_> = [allow(OWNER, &["PutKeyPolicy"])].iter().chain(statements).cloned().collect();
            let key = kms.create_key(CreateKey::default().policy(policy(&all))).unwrap();
            match own {
                Some(json) => kms.put_identity_policy(ALICE, "p", json).unwrap(),
                None => drop(kms.delete_identity_policy(ALICE, "p")),
            }
            if granted {
                let root = kms.create_key(CreateKey::default()).unwrap();
                let more: Vec<_> = all.iter().cloned().chain([allow(OWNER, &["CreateGrant"])]).collect();
                kms.put_key_policy(key.arn(), &policy(&more)).unwrap();
                kms.create_grant(key.arn(), CreateGrant::to(ALICE).operation(GrantOperation::Encrypt)).unwrap();
                drop(root);
            }
            may_encrypt(&kms, ALICE, key.arn())
        };
        let denies = identity("Deny", &["kms:Enc*"], "*", "{}");
        let (account, own) = (allow("000000000000", &["*"]), allows(&["kms:Encrypt"]));
        // 1. A denial of either policy, whatever else allows it.
        assert!(!of(&[allow(ALICE, &["*"]), account.clone(), deny("*", &["Encrypt"])], Some(&own), true));
        assert!(!of(&[allow(ALICE, &["*"]), account.clone()], Some(&denies), true));
        // 2. A key policy that names the principal, or everyone, alone.
        assert!(of(&[allow(ALICE, &["Encrypt"])], None, false));
        assert!(of(&[allow("*", &["Encrypt"])], None, false));
        // 3. A key policy that names the account, with a policy of the principal.
        assert!(!of(std::slice::from_ref(&account), None, false));
        assert!(of(std::slice::from_ref(&account), Some(&own), false));
        assert!(!of(&[], Some(&own), false));
        // 4. A grant alone.
        assert!(of(&[], None, true));
        // 5. Nothing.
        assert!(!of(&[], None, false));
    }
}

#[test]
fn another_account_needs_its_own_policy_unless_it_has_a_grant() {
    for (kms, _, _) in both() {
        let named =
            kms.create_key(CreateKey::default().policy(policy(&[allow(OWNER, &["*"]), allow(STRANGER, &["*"])])));
        let whole = policy(&[allow(OWNER, &["*"]), allow("111122223333", &["*"])]);
        let (named, whole) = (named.unwrap(), kms.create_key(CreateKey::default().policy(whole)).unwrap());
        let open = policy(&[allow(OWNER, &["*"]), allow("*", &["*"])]);
        let open = kms.create_key(CreateKey::default().policy(open)).unwrap();
        let closed = kms.create_key(CreateKey::default()).unwrap();
        let all = [&named, &whole, &open, &closed];
        let who = |principal: &str| all.map(|key| may_encrypt(&kms, principal, key.arn()));
        assert_eq!(who(STRANGER), [false; 4]);
        assert_eq!(who(OTHER_ROOT), [false, true, true, false], "its root needs no policy");
        kms.put_identity_policy(STRANGER, "keys", &allows(&["kms:Encrypt", "kms:ScheduleKeyDeletion"])).unwrap();
        assert_eq!(who(STRANGER), [true, true, true, false]);
        // What AWS reserves for the key's account stays reserved.
        let stranger = kms.as_principal(STRANGER).unwrap();
        assert_refused(&stranger.schedule_key_deletion(named.arn()).unwrap_err(), "across accounts");
        assert_refused(&stranger.generate_random(8).unwrap_err(), "the account");
        kms.put_identity_policy(STRANGER, "keys", &identity("Deny", &["kms:Encrypt"], "*", "{}")).unwrap();
        assert_eq!(who(STRANGER), [false; 4]);
        // AWS KMS Developer Guide, "Allowing users in other accounts to use a KMS key", step 2: they need IAM policies
        // "or use grants".
        kms.delete_identity_policy(STRANGER, "keys").unwrap();
        kms.create_grant(closed.arn(), CreateGrant::to(STRANGER).operation(GrantOperation::Encrypt)).unwrap();
        assert_eq!(who(STRANGER), [false, false, false, true]);
    }
}

/// A call, which tells whether it was allowed.
type Call = fn(&LocalKms) -> bool;

/// Calls that are not about a single key: AWS calls their policy type "IAM policy".
#[test]
fn calls_about_the_account_are_decided_by_policies_of_principals() {
    for (kms, _, _) in both() {
        let alice = kms.as_principal(ALICE).unwrap();
        let calls: [(&str, Call); 4] = [
            ("kms:CreateKey", |kms| may(kms.create_key(CreateKey::default()))),
            ("kms:ListKeys", |kms| may(kms.list_keys())),
            ("kms:ListAliases", |kms| may(kms.list_aliases())),
            ("kms:GenerateRandom", |kms| may(kms.generate_random(8))),
        ];
        for (action, call) in calls {
            assert!(call(&kms) && !call(&alice), "{action}");
            let rows = [
                (identity("Allow", &[action], "*", "{}"), true),
                (identity("Allow", &["kms:*"], "arn:aws:kms:local:000000000000:*", "{}"), true),
                (identity("Allow", &["kms:*"], "arn:aws:kms:eu-west-1:000000000000:*", "{}"), false),
                (identity("Allow", &["kms:Decrypt"], "*", "{}"), false),
                (identity("Deny", &["*"], "*", "{}"), false),
            ];
            for (json, expected) in rows {
                kms.put_identity_policy(ALICE, "p", &json).unwrap();
                assert_eq!(call(&alice), expected, "{action} {json}");
                assert!(call(&kms) && !call(&kms.as_principal(BOB).unwrap()), "{action}");
            }
            kms.delete_user(ALICE).unwrap();
        }
        let everything = ["kms:CreateKey", "kms:TagResource", "kms:CreateAlias"];
        let tagged = || CreateKey::default().tag("team", "a").alias("alias/new");
        for missing in 0..everything.len() {
            let some: Vec<_> = everything.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, a)| *a).collect();
            kms.put_identity_policy(ALICE, "p", &allows(&some)).unwrap();
            assert!(!may(alice.create_key(tagged())), "without {}", everything[missing]);
        }
        // Conditions see the properties and the tags of the new key.
        let condition = r#"{"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "aws:RequestTag/team": "a"},
            "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}"#;
        kms.put_identity_policy(ALICE, "p", &identity("Allow", &everything, "*", condition)).unwrap();
        assert!(!may(alice.create_key(CreateKey::default())) && !may(alice.create_key(tagged().tag("x", "y"))));
        assert!(may(alice.create_key(CreateKey::default().tag("team", "a"))));
    }
}

#[test]
fn aliases_take_a_permission_for_each_key_and_one_for_the_alias() {
    for (kms, _, _) in both() {
        let key_of = |actions: &[&str]| {
            let json = policy(&[allow(OWNER, &["*"]), allow(ALICE, actions)]);
            kms.create_key(CreateKey::default().policy(json)).unwrap()
        };
        let (one, two, foreign) = (key_of(&["*"]), key_of(&["*"]), key_of(&["DescribeKey"]));
        let alice = kms.as_principal(ALICE).unwrap();
        assert!(!may(alice.create_alias("alias/a", one.arn())), "no permission for the alias");
        let mine = "arn:aws:kms:local:000000000000:alias/a*";
        let actions = ["kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"];
        kms.put_identity_policy(ALICE, "p", &identity("Allow", &actions, mine, "{}")).unwrap();
        assert!(!may(alice.create_alias("alias/b", one.arn())), "another alias");
        assert!(!may(alice.create_alias("alias/a", foreign.arn())), "another's key");
        assert!(may(alice.create_alias("alias/a", one.arn())));
        assert!(!may(alice.update_alias("alias/a", foreign.arn())), "another's key");
        assert!(may(alice.update_alias("alias/a", two.arn())));
        kms.create_alias("alias/a-foreign", foreign.arn()).unwrap();
        kms.create_alias("alias/b", one.arn()).unwrap();
        assert!(!may(alice.update_alias("alias/a-foreign", one.arn())), "from another's key");
        assert!(!may(alice.delete_alias("alias/a-foreign")) && !may(alice.delete_alias("alias/b")));
        assert!(may(alice.delete_alias("alias/a")));
        let denies = identity("Deny", &["kms:CreateAlias"], mine, "{}");
        kms.put_identity_policy(ALICE, "q", &denies).unwrap();
        assert!(!may(alice.create_alias("alias/a", one.arn())), "a denial for the alias");
    }
}

#[test]
fn a_replica_takes_the_permission_to_create_keys_in_its_region() {
    for (kms, _, _) in both() {
        let json = policy(&[allow(OWNER, &["*"]), allow(ALICE, &["ReplicateKey"])]);
        let key = kms.create_key(CreateKey::default().multi_region().policy(json)).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        for (region, resource, condition, expected) in [
            ("eu-west-1", "arn:aws:kms:local:000000000000:*", "{}", false),
            (
                "eu-west-1",
                "arn:aws:kms:eu-west-1:000000000000:*",
                r#"{"StringEquals": {"aws:RequestedRegion": "local"}}"#,
                false,
            ),
            (
                "eu-west-1",
                "arn:aws:kms:eu-west-1:000000000000:*",
                r#"{"StringEquals": {"kms:ReplicaRegion": "eu-west-1"}}"#,
                true,
            ),
            ("eu-west-2", "arn:aws:kms:eu-west-1:000000000000:*", "{}", false),
            (
                "eu-west-2",
                "*",
                r#"{"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "aws:RequestedRegion": "eu-west-2"}}"#,
                true,
            ),
        ] {
            kms.put_identity_policy(ALICE, "p", &identity("Allow", &["kms:CreateKey"], resource, condition)).unwrap();
            assert_eq!(may(alice.replicate_key(key.arn(), region)), expected, "{region} {resource} {condition}");
        }
    }
}

#[test]
fn policies_of_principals_tell_keys_by_arn_alias_and_tag() {
    for (kms, _, _) in both() {
        let make = |alias: &str, tenant: &str| {
            let key = kms.create_key(CreateKey::default().tag("tenant", tenant).alias(alias)).unwrap();
            key.arn().to_owned()
        };
        let (one, two) = (make("alias/app-one", "acme"), make("alias/two", "initech"));
        kms.create_alias("alias/also", &two).unwrap();
        let aliases = |pattern| format!(r#"{{"ForAnyValue:StringLike": {{"kms:ResourceAliases": "{pattern}"}}}}"#);
        let asked = |pattern| format!(r#"{{"StringLike": {{"kms:RequestAlias": "{pattern}"}}}}"#);
        let tag = |value| format!(r#"{{"StringEquals": {{"aws:ResourceTag/tenant": "{value}"}}}}"#);
        let rows = [
            (one.as_str(), "{}".to_owned(), [true, true, false, false]),
            ("arn:aws:kms:*:*:key/*", "{}".to_owned(), [true; 4]),
            ("arn:aws:kms:local:111122223333:key/*", "{}".to_owned(), [false; 4]),
            ("arn:aws:kms:local:000000000000:alias/two", "{}".to_owned(), [false; 4]),
            ("*", aliases("alias/app*"), [true, true, false, false]),
            ("*", aliases("alias/also"), [false, false, true, true]),
            ("*", asked("alias/app*"), [false, true, false, false]),
            ("*", asked("alias/*"), [false, true, false, true]),
            ("*", tag("acme"), [true, true, false, false]),
            ("*", tag("${aws:PrincipalTag/tenant}"), [false, false, true, true]),
        ];
        kms.set_principal_tags(ALICE, [("tenant", "initech")]).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        for (resource, condition, expected) in rows {
            kms.put_identity_policy(ALICE, "p", &identity("Allow", &["kms:Encrypt"], resource, &condition)).unwrap();
            let names = [&one, "arn:aws:kms:local:000000000000:alias/app-one", &two, "alias/two"];
            let found = names.map(|name| may(encrypt(&alice, name, b"x")));
            assert_eq!(found, expected, "{resource} {condition}");
        }
        // A change of aliases counts from the next call on.
        kms.put_identity_policy(ALICE, "p", &identity("Allow", &["kms:*"], "*", &aliases("alias/new"))).unwrap();
        assert!(!may_encrypt(&kms, ALICE, &one));
        kms.create_alias("alias/new", &one).unwrap();
        assert!(may_encrypt(&kms, ALICE, &one));
    }
}

#[test]
fn a_role_is_assumed_by_those_whom_it_trusts_until_the_session_ends() {
    for (kms, clock, folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        kms.put_role("job", &trust(&format!(r#"{{"AWS": "{ALICE}"}}"#))).unwrap();
        kms.put_identity_policy(JOB, "keys", &allows(&["kms:Encrypt"])).unwrap();
        let request = || AssumeRole::new("job", "j-1").duration(Duration::from_secs(900));
        let assume = |principal: &str| kms.as_principal(principal).unwrap().assume_role(request());
        for principal in [BOB, STRANGER, JOB, "ec2.amazonaws.com"] {
            assert_refused(&assume(principal).unwrap_err(), principal);
        }
        let session = assume(ALICE).unwrap();
        assert_eq!(session.arn(), "arn:aws:sts::000000000000:assumed-role/job/j-1");
        assert_eq!(session.expiry(), clock.now() + Duration::from_secs(900));
        let reader = if folder.store().exists() { folder.open().unwrap() } else { kms.clone() };
        let view = |kms: &LocalKms, arn: &str| encrypt(&kms.as_principal(arn).unwrap(), key.arn(), b"x");
        if folder.store().exists() {
            // This handle has another clock.
            assert!(reader.describe_principal(JOB).is_ok());
        } else {
            view(&reader, session.arn()).unwrap();
        }
        // Another session of the role was never begun.
        let expired = |done: Result<Vec<u8>, Error>| code(&done.unwrap_err()) == "ExpiredTokenException";
        assert!(expired(view(&kms, &session.arn().replace("j-1", "j-2"))));
        clock.advance_secs(899);
        view(&kms, session.arn()).unwrap();
        // It is continued under its name, and ends.
        assume(ALICE).unwrap();
        clock.advance_secs(899);
        view(&kms, session.arn()).unwrap();
        clock.advance_secs(1);
        assert!(expired(view(&kms, session.arn())));
        kms.update_key_description(key.arn(), "a write").unwrap();
        assert!(expired(view(&kms, session.arn())));
        // A session ends with its role, and a new role of the same name does not continue it.
        assume(ALICE).unwrap();
        kms.delete_role("job").unwrap();
        assert!(expired(view(&kms, session.arn())));
        assert_refused(&assume(ALICE).unwrap_err(), "no role");
    }
}

#[test]
fn trust_policies_name_accounts_services_and_sessions() {
    let kms = LocalKms::in_memory().unwrap();
    let assume = |principal: &str, own: bool| {
        kms.delete_identity_policy(ALICE, "p").ok();
        kms.delete_identity_policy(STRANGER, "p").ok();
        if own {
            let json = identity("Allow", &["sts:AssumeRole"], JOB, "{}");
            kms.put_identity_policy(principal, "p", &json).unwrap();
        }
        may(kms.as_principal(principal).unwrap().assume_role(AssumeRole::new(JOB, "j-1")))
    };
    let rows: [(String, [bool; 5]); 5] = [
        // Alice, and with a policy; another account's user, and with a policy; a service.
        (format!(r#"{{"AWS": "{ALICE}"}}"#), [true, true, false, false, false]),
        (r#"{"AWS": "000000000000"}"#.to_owned(), [false, true, false, false, false]),
        (r#"{"AWS": "111122223333"}"#.to_owned(), [false, false, false, true, false]),
        (format!(r#"{{"AWS": "{STRANGER}"}}"#), [false, false, false, true, false]),
        (r#"{"Service": "ec2.amazonaws.com"}"#.to_owned(), [false, false, false, false, true]),
    ];
    for (principal, expected) in rows {
        kms.put_role("job", &trust(&principal)).unwrap();
        let found = [
            assume(ALICE, false),
            assume(ALICE, true),
            assume(STRANGER, false),
            assume(STRANGER, true),
            assume("ec2.amazonaws.com", false),
        ];
        assert_eq!(found, expected, "{principal}");
        assert!(kms.assume_role(AssumeRole::new("job", "j-1")).is_ok(), "the owner may");
    }
}

#[test]
fn a_session_has_the_tags_the_path_and_the_grants_of_its_role() {
    for (kms, _, _) in both() {
        kms.put_role("service/app", &trust(r#"{"AWS": "*"}"#)).unwrap();
        let role = "arn:aws:iam::000000000000:role/service/app";
        kms.set_principal_tags(role, [("team", "a"), ("stage", "prod")]).unwrap();
        let session = kms.assume_role(AssumeRole::new(role, "i-1").tag("stage", "test")).unwrap();
        let with = |condition: &str| {
            kms.put_identity_policy(role, "p", &identity("Allow", &["kms:GenerateRandom"], "*", condition)).unwrap();
            may(kms.as_principal(session.arn()).unwrap().generate_random(1))
        };
        assert!(with(r#"{"StringEquals": {"aws:PrincipalTag/team": "a", "aws:PrincipalTag/stage": "test"}}"#));
        assert!(with(r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/service/*"}}"#));
        assert!(!with(r#"{"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::000000000000:role/app"}}"#));
        assert!(with(
            r#"{"Null": {"aws:TokenIssueTime": "false"}, "StringEquals": {"aws:PrincipalType": "AssumedRole"}}"#
        ));
        let key = kms.create_key(CreateKey::default()).unwrap();
        kms.create_grant(key.arn(), CreateGrant::to(role).operation(GrantOperation::Encrypt)).unwrap();
        assert!(may_encrypt(&kms, session.arn(), key.arn()));
    }
}

#[test]
fn what_is_put_is_listed_and_deleted() {
    for (kms, clock, _) in both() {
        let created = clock.now();
        kms.put_user("team/dave").unwrap();
        kms.put_role("job", &trust(r#"{"AWS": "*"}"#)).unwrap();
        let dave = "arn:aws:iam::000000000000:user/team/dave";
        kms.put_identity_policy(dave, "b", EVERYTHING).unwrap();
        kms.put_identity_policy(dave, "a", &allows(&["kms:Decrypt"])).unwrap();
        kms.set_principal_tags(dave, [("team", "a")]).unwrap();
        assert_eq!(kms.list_identity_policies(dave).unwrap(), ["a", "b"]);
        assert_eq!(kms.identity_policy(dave, "b").unwrap(), EVERYTHING);
        clock.advance_secs(60);
        kms.put_user("team/dave").unwrap();
        let [user] = kms.list_users().unwrap().try_into().unwrap();
        assert_eq!(
            (user.arn(), user.policies(), user.trust_policy(), user.created()),
            (dave, &["a".to_owned(), "b".to_owned()][..], None, created)
        );
        assert_eq!(user.tags()["team"], "a");
        assert_eq!(kms.describe_principal(dave).unwrap(), user);
        let [role] = kms.list_roles().unwrap().try_into().unwrap();
        assert_eq!((role.arn(), role.trust_policy()), (JOB, Some(trust(r#"{"AWS": "*"}"#).as_str())));
        kms.delete_identity_policy(dave, "b").unwrap();
        kms.delete_user("team/dave").unwrap();
        kms.delete_role(JOB).unwrap();
        assert!(kms.list_users().unwrap().is_empty() && kms.list_roles().unwrap().is_empty());
        for error in [
            kms.identity_policy(dave, "a").unwrap_err(),
            kms.list_identity_policies(dave).unwrap_err(),
            kms.delete_identity_policy(dave, "a").unwrap_err(),
            kms.describe_principal(dave).unwrap_err(),
            kms.delete_user("team/dave").unwrap_err(),
            kms.delete_role("job").unwrap_err(),
        ] {
            assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "NoSuchEntity"), "{error}");
        }
    }
}

#[test]
fn what_is_not_valid_is_refused_and_nothing_is_kept() {
    let kms = LocalKms::in_memory().unwrap();
    let long =
        format!(r#"{{"Statement": {{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}}{}}}"#, " ".repeat(10_240));
    let rows: [(&str, Result<(), Error>, &str); 14] = [
        (
            "its principal",
            kms.put_identity_policy(ALICE, "p", &policy(&[allow(ALICE, &["*"])])),
            "MalformedPolicyDocumentException",
        ),
        (
            "no action",
            kms.put_identity_policy(ALICE, "p", &allows(&["kms:Decrpt"])),
            "MalformedPolicyDocumentException",
        ),
        (
            "no ARN",
            kms.put_identity_policy(ALICE, "p", &identity("Allow", &["kms:*"], "key/1", "{}")),
            "MalformedPolicyDocumentException",
        ),
        ("too long", kms.put_identity_policy(ALICE, "p", &long), "MalformedPolicyDocumentException"),
        ("too deep", kms.put_identity_policy(ALICE, "p", &"[".repeat(10_000)), "MalformedPolicyDocumentException"),
        (
            "an unknown key",
            kms.put_identity_policy(ALICE, "p", &identity("Allow", &["kms:*"], "*", r#"{"Null": {"x:y": "true"}}"#)),
            "MalformedPolicyDocumentException",
        ),
        ("its name", kms.put_identity_policy(ALICE, "a b", EVERYTHING), "ValidationException"),
        ("no name", kms.put_identity_policy(ALICE, "", EVERYTHING), "ValidationException"),
        ("the root", kms.put_identity_policy(OWNER, "p", EVERYTHING), "InvalidArnException"),
        (
            "a session",
            kms.put_identity_policy("arn:aws:sts::000000000000:assumed-role/job/j-1", "p", EVERYTHING),
            "InvalidArnException",
        ),
        ("a service", kms.put_identity_policy("s3.amazonaws.com", "p", EVERYTHING), "InvalidArnException"),
        ("a name", kms.put_user("a b"), "InvalidArnException"),
        ("a resource", kms.put_role("job", EVERYTHING), "MalformedPolicyDocumentException"),
        (
            "an action",
            kms.put_role("job", &trust(r#""*""#).replace("sts:AssumeRole", "kms:Decrypt")),
            "MalformedPolicyDocumentException",
        ),
    ];
    for (what, done, expected) in rows {
        let error = done.unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, expected), "{what}: {error}");
    }
    assert!(kms.list_users().unwrap().is_empty() && kms.list_roles().unwrap().is_empty());
    // Conditions of other services' actions are not read.
    let s3 = identity("Allow", &["s3:GetObject"], "arn:aws:s3:::bucket/*", r#"{"StringLike": {"s3:prefix": "a"}}"#);
    kms.put_identity_policy(ALICE, "s3", &s3).unwrap();
    for n in 0..19 {
        kms.put_identity_policy(ALICE, &n.to_string(), EVERYTHING).unwrap();
    }
    kms.put_identity_policy(ALICE, "0", &s3).unwrap();
    let error = kms.put_identity_policy(ALICE, "one more", EVERYTHING).unwrap_err();
    assert_eq!(code(&error), "ValidationException", "a name with spaces");
    assert_eq!(code(&kms.put_identity_policy(ALICE, "more", EVERYTHING).unwrap_err()), "LimitExceededException");
    assert_eq!(kms.list_identity_policies(ALICE).unwrap().len(), 20);
    kms.put_role("job", &trust(r#""*""#)).unwrap();
    for (session, secs, tags) in [("j", 900, 1), ("j 1", 900, 1), ("j-1", 899, 1), ("j-1", 43_201, 1), ("j-1", 900, 51)]
    {
        let request = AssumeRole::new("job", session).duration(Duration::from_secs(secs));
        let request = (0..tags).fold(request, |request, n| request.tag(n.to_string(), "x"));
        let error = kms.assume_role(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{session} {secs} {tags}");
    }
}

#[test]
fn a_policy_of_a_principal_is_parsed_once() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    for name in ["a", "b", "c", "d", "e", "f"] {
        kms.put_identity_policy(ALICE, name, &allows(&["kms:Decrypt", &format!("{name}:x")])).unwrap();
    }
    kms.put_identity_policy(ALICE, "g", &allows(&["kms:Encrypt"])).unwrap();
    let parsed = || {
        let before = policies_parsed(&kms);
        assert!(may_encrypt(&kms, ALICE, key.arn()));
        policies_parsed(&kms) - before
    };
    assert_eq!([parsed(), parsed(), parsed()], [7, 0, 0]);
    kms.put_identity_policy(ALICE, "g", &allows(&["kms:Enc*"])).unwrap();
    assert_eq!([parsed(), parsed()], [1, 0]);
}

#[test]
fn a_caller_may_not_lock_themselves_out_by_either_layer() {
    for (kms, _, _) in both() {
        let by_account = policy(&[allow("000000000000", &["*"])]);
        kms.put_identity_policy(ALICE, "p", &allows(&["kms:PutKeyPolicy"])).unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        alice.put_key_policy(key.arn(), &by_account).unwrap();
        let error = alice.put_key_policy(key.arn(), &policy(&[allow(BOB, &["*"])])).unwrap_err();
        assert_eq!(code(&error), "MalformedPolicyDocumentException");
        kms.put_identity_policy(ALICE, "q", &identity("Deny", &["kms:GetKeyPolicy"], "*", "{}")).unwrap();
        alice.put_key_policy(key.arn(), &by_account).unwrap();
        assert!(!may(alice.key_policy(key.arn())));
    }
}

#[test]
fn a_grant_is_retired_by_its_account_with_a_policy() {
    for (kms, _, _) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let grant = || CreateGrant::to(BOB).operation(GrantOperation::Encrypt);
        let retire = |principal: &str, id: &str| may(kms.as_principal(principal).unwrap().retire_grant(key.arn(), id));
        for principal in [ALICE, STRANGER] {
            kms.put_identity_policy(principal, "p", &allows(&["kms:RetireGrant"])).unwrap();
        }
        let own = kms.create_grant(key.arn(), grant()).unwrap().into_id();
        assert!(!retire(STRANGER, &own) && !retire(BOB, &own) && retire(ALICE, &own));
        let theirs = kms.create_grant(key.arn(), grant().retiring_principal(OTHER_ROOT)).unwrap().into_id();
        assert!(retire(STRANGER, &theirs));
        let theirs = kms.create_grant(key.arn(), grant().retiring_principal(STRANGER)).unwrap().into_id();
        kms.put_identity_policy(STRANGER, "p", &identity("Deny", &["kms:RetireGrant"], "*", "{}")).unwrap();
        assert!(!retire(STRANGER, &theirs), "a denial");
        kms.delete_user(STRANGER).unwrap();
        assert!(retire(STRANGER, &theirs));
    }
}

#[test]
fn principals_and_sessions_survive_a_change_of_root_key_and_are_hidden_in_the_file() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let kms = folder.create_at(&clock);
    let key = kms.create_key(CreateKey::default()).unwrap();
    kms.put_identity_policy(ALICE, "keys", EVERYTHING).unwrap();
    kms.put_role("service/job", &trust(r#"{"AWS": "*"}"#)).unwrap();
    kms.put_identity_policy("arn:aws:iam::000000000000:role/service/job", "keys", EVERYTHING).unwrap();
    let session = kms.assume_role(AssumeRole::new("job", "j-1")).unwrap();
    let check = |kms: &LocalKms| {
        assert!(may_encrypt(kms, ALICE, key.arn()) && may_encrypt(kms, session.arn(), key.arn()));
        assert!(!may_encrypt(kms, BOB, key.arn()));
    };
    let count = |name: &str| records(&folder.store()).iter().filter(|(table, ..)| *table == name).count();
    check(&kms);
    assert_eq!((count("identities"), count("sessions")), (2, 2), "a session and its end");
    kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap();
    check(&kms);
    assert_eq!((count("identities"), count("sessions")), (2, 2));
    kms.purge().unwrap();
    check(&kms);
    let file = std::fs::read(folder.store()).unwrap();
    for part in ["alice", "job", "service", "j-1"] {
        assert!(!file.windows(part.len()).any(|window| window == part.as_bytes()), "{part}");
    }
    // The next session removes those that have ended.
    clock.advance_secs(3600);
    kms.assume_role(AssumeRole::new("job", "j-2")).unwrap();
    assert_eq!(count("sessions"), 2);
    drop(kms);
    let kms = LocalKms::builder().clock(clock.another()).open(folder.store(), RootKey::from_bytes(&[7; 32])).unwrap();
    assert!(may_encrypt(&kms, ALICE, key.arn()));
    assert_eq!(kms.list_roles().unwrap().len(), 1);
}

/// The advice of every guide to AWS KMS.
mod advice {
    use super::*;

    const ADMIN: &str = "arn:aws:iam::000000000000:role/admin";
    const USER: &str = "arn:aws:iam::000000000000:role/user";

    fn with_policy(kms: &LocalKms, statements: &[&str]) -> String {
        let all = format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(", "));
        kms.create_key(CreateKey::default().policy(all)).unwrap().arn().to_owned()
    }

    const ROOT_STATEMENT: &str = r#"{"Sid": "Enable IAM User Permissions", "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*"}"#;

    /// The policy that AWS's console writes.
    #[test]
    fn administrators_are_apart_from_users_in_the_policy_of_the_console() {
        let kms = LocalKms::in_memory().unwrap();
        let console = format!(
            r#"{{"Version": "2012-10-17", "Id": "key-consolepolicy-3", "Statement": [{ROOT_STATEMENT},
            {{"Sid": "Allow access for Key Administrators", "Effect": "Allow", "Principal": {{"AWS": "{ADMIN}"}},
              "Action": ["kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*",
                "kms:Revoke*", "kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource",
                "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion", "kms:RotateKeyOnDemand"], "Resource": "*"}},
            {{"Sid": "Allow use of the key", "Effect": "Allow",
              "Principal": {{"AWS": ["{USER}", "arn:aws:iam::444455556666:root"]}},
              "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
              "Resource": "*"}},
            {{"Sid": "Allow attachment of persistent resources", "Effect": "Allow",
              "Principal": {{"AWS": ["{USER}", "arn:aws:iam::444455556666:root"]}},
              "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"], "Resource": "*",
              "Condition": {{"Bool": {{"kms:GrantIsForAWSResource": "true"}}}}}}]}}"#
        );
        let key = kms.create_key(CreateKey::default().policy(console)).unwrap();
        let [admin, user] = [ADMIN, USER].map(|principal| kms.as_principal(principal).unwrap());
        let ciphertext = encrypt(&user, key.arn(), b"x").unwrap();
        assert!(may(decrypt(&user, key.arn(), &ciphertext)) && !may(decrypt(&admin, key.arn(), &ciphertext)));
        assert!(
            !may(user.disable_key(key.arn())) && may(admin.disable_key(key.arn())) && may(admin.enable_key(key.arn()))
        );
        let grant = || CreateGrant::to(BOB).operation(GrantOperation::Decrypt);
        assert!(!may(user.create_grant(key.arn(), grant())), "not for a resource of a service");
        let via = user.with_context(RequestContext::default().via_service("ec2.eu-west-1.amazonaws.com"));
        assert!(may(via.create_grant(key.arn(), grant())) && may(via.list_grants(key.arn())));
    }

    #[test]
    fn no_deletion_without_several_factors() {
        let kms = LocalKms::in_memory().unwrap();
        let key = with_policy(
            &kms,
            &[
                ROOT_STATEMENT,
                r#"{"Effect": "Deny", "Principal": "*",
            "Action": "kms:ScheduleKeyDeletion", "Resource": "*",
            "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}"#,
            ],
        );
        let with = |context: RequestContext| kms.with_context(context);
        assert!(!may(kms.schedule_key_deletion(&key)), "it is absent for long-term credentials");
        assert!(!may(with(RequestContext::default().multi_factor(false)).schedule_key_deletion(&key)));
        assert!(may(with(RequestContext::default().multi_factor(true)).schedule_key_deletion(&key)));
        // And not before 30 days, nor with an old authentication.
        let key = with_policy(
            &kms,
            &[
                ROOT_STATEMENT,
                r#"{"Effect": "Deny", "Principal": "*",
            "Action": "kms:ScheduleKeyDeletion", "Resource": "*",
            "Condition": {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}}}"#,
                r#"{"Effect": "Deny", "Principal": "*", "Action": "kms:DisableKey", "Resource": "*",
            "Condition": {"NumericGreaterThanIfExists": {"aws:MultiFactorAuthAge": 3600}}}"#,
            ],
        );
        assert!(!may(kms.schedule_key_deletion_in(&key, 29)));
        let aged = |secs| with(RequestContext::default().multi_factor_age(Duration::from_secs(secs)));
        assert!(!may(aged(3601).disable_key(&key)) && !may(kms.disable_key(&key)) && may(aged(3600).disable_key(&key)));
        assert!(may(kms.schedule_key_deletion_in(&key, 30)));
    }

    #[test]
    fn a_tenant_decrypts_with_its_own_context_alone() {
        let kms = LocalKms::in_memory().unwrap();
        let key = with_policy(&kms, &[ROOT_STATEMENT]);
        let condition = r#"{"StringEquals": {"kms:EncryptionContext:tenant": "${aws:PrincipalTag/tenant}"},
            "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["tenant"]}}"#;
        kms.put_identity_policy(ALICE, "own", &identity("Allow", &["kms:Decrypt"], &key, condition)).unwrap();
        let seal = |tenant: &str| {
            let pairs = context(&[("tenant", tenant)]);
            ready(kms.encrypt(KmsRequest::new(&key, &pairs), b"x")).unwrap().ciphertext
        };
        let open = |tenant: &str| {
            let (pairs, alice) = (context(&[("tenant", tenant)]), kms.as_principal(ALICE).unwrap());
            may(ready(alice.decrypt(KmsRequest::new(&key, &pairs), &seal(tenant))))
        };
        assert!(!open("acme"), "no tag");
        kms.set_principal_tags(ALICE, [("tenant", "acme")]).unwrap();
        assert!(open("acme") && !open("initech"));
    }

    #[test]
    fn only_via_a_service_only_from_an_account_only_from_an_organisation_only_from_a_network() {
        let kms = LocalKms::in_memory().unwrap();
        let of = |principal: &str, condition: &str| {
            let statement = format!(
                r#"{{"Effect": "Allow", "Principal": {principal}, "Action": ["kms:Encrypt"], "Resource": "*", "Condition": {condition}}}"#
            );
            with_policy(&kms, &[ROOT_STATEMENT, &statement])
        };
        let may_in = |key: &str, principal: &str, context: RequestContext| {
            may(encrypt(&kms.as_principal(principal).unwrap().with_context(context), key, b"x"))
        };
        let none = RequestContext::default;
        let via = of(
            r#"{"AWS": "*"}"#,
            r#"{"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com",
            "kms:CallerAccount": "000000000000"}}"#,
        );
        assert!(!may_in(&via, ALICE, none()));
        assert!(!may_in(&via, ALICE, none().via_service("ec2.eu-west-1.amazonaws.com")));
        assert!(may_in(&via, ALICE, none().via_service("s3.eu-west-1.amazonaws.com")));
        kms.put_identity_policy(STRANGER, "p", EVERYTHING).unwrap();
        assert!(!may_in(&via, STRANGER, none().via_service("s3.eu-west-1.amazonaws.com")), "another account");

        let organisation = of(r#""*""#, r#"{"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}"#);
        assert!(!may_in(&organisation, STRANGER, none()));
        assert!(!may_in(&organisation, STRANGER, none().principal_org_id("o-other")));
        assert!(may_in(&organisation, STRANGER, none().principal_org_id("o-a1b2c3d4e5")));
        let unit = of(r#""*""#, r#"{"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-a1b2c3d4e5/*/ou-1/*"}}"#);
        assert!(!may_in(&unit, ALICE, none().principal_org_paths(["o-a1b2c3d4e5/r-1/ou-2/"])));
        assert!(may_in(&unit, ALICE, none().principal_org_paths(["o-a1b2c3d4e5/r-1/ou-1/"])));

        let network = of(r#""*""#, r#"{"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32"]}}"#);
        let from = |address: &str| none().source_ip(address.parse::<std::net::IpAddr>().unwrap());
        assert!(!may_in(&network, ALICE, none()) && !may_in(&network, ALICE, from("198.51.100.1")));
        assert!(may_in(&network, ALICE, from("203.0.113.7")) && may_in(&network, ALICE, from("2001:db8::7")));
        let endpoint =
            of(r#""*""#, r#"{"StringEquals": {"aws:SourceVpce": "vpce-1"}, "Bool": {"aws:SecureTransport": "true"}}"#);
        assert!(!may_in(&endpoint, ALICE, none().source_vpce("vpce-1").secure_transport(false)));
        assert!(may_in(&endpoint, ALICE, none().source_vpce("vpce-1").secure_transport(true)));

        // A service for a resource of one account.
        let service = of(
            r#"{"Service": "s3.amazonaws.com"}"#,
            r#"{"StringEquals": {"aws:SourceAccount": "000000000000"},
            "ArnLike": {"aws:SourceArn": "arn:aws:s3:::log-*"}}"#,
        );
        let for_bucket = |arn: &str| none().source_account("000000000000").source_arn(arn);
        assert!(may_in(&service, "s3.amazonaws.com", for_bucket("arn:aws:s3:::log-1")));
        assert!(!may_in(&service, "s3.amazonaws.com", for_bucket("arn:aws:s3:::other")));
        assert!(!may_in(&service, "ec2.amazonaws.com", for_bucket("arn:aws:s3:::log-1")));
        assert!(!may_in(&service, ALICE, for_bucket("arn:aws:s3:::log-1")));
    }

    /// The perimeter of data that AWS's guides draw, and an end in time.
    #[test]
    fn everyone_but_the_organisation_and_services_is_denied_and_from_a_day_on_everyone() {
        let (kms, clock, _folder) = both().into_iter().next().unwrap();
        let key = with_policy(
            &kms,
            &[
                ROOT_STATEMENT,
                r#"{"Effect": "Allow", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}"#,
                r#"{"Effect": "Deny", "NotPrincipal": {"AWS": ["arn:aws:iam::000000000000:root"]}, "Action": "kms:Encrypt",
              "Resource": "*", "Condition": {"StringNotEqualsIfExists": {"aws:PrincipalOrgID": "o-1"},
              "BoolIfExists": {"aws:PrincipalIsAWSService": "false", "aws:ViaAWSService": "false"}}}"#,
                r#"{"Effect": "Deny", "Principal": "*", "NotAction": ["kms:PutKeyPolicy", "kms:Describe*"], "Resource": "*",
              "Condition": {"DateGreaterThanEquals": {"aws:CurrentTime": "2026-01-02T00:00:00Z"}}}"#,
            ],
        );
        let try_in = |principal: &str, context: RequestContext| {
            may(encrypt(&kms.as_principal(principal).unwrap().with_context(context), &key, b"x"))
        };
        let none = RequestContext::default;
        assert!(try_in(OWNER, none()) && try_in("s3.amazonaws.com", none()));
        assert!(!try_in(ALICE, none()) && !try_in(ALICE, none().principal_org_id("o-2")));
        assert!(try_in(ALICE, none().principal_org_id("o-1")));
        assert!(try_in(ALICE, none().via_service("s3.eu-west-1.amazonaws.com")));
        clock.advance_secs(24 * 60 * 60 - 1);
        assert!(try_in(OWNER, none()));
        clock.advance_secs(1);
        assert!(!try_in(OWNER, none()) && may(kms.describe_key(&key)));
    }

    #[test]
    fn a_key_takes_part_in_re_encryption_under_itself_alone() {
        let kms = LocalKms::in_memory().unwrap();
        let statement = format!(
            r#"{{"Effect": "Allow", "Principal": {{"AWS": "{ALICE}"}}, "Action": "kms:ReEncrypt*",
            "Resource": "*", "Condition": {{"Bool": {{"kms:ReEncryptOnSameKey": "true"}}}}}}"#
        );
        let [one, two] = [(); 2].map(|()| with_policy(&kms, &[ROOT_STATEMENT, &statement]));
        kms.create_alias("alias/one", &one).unwrap();
        let pairs = context(&[("a", "b")]);
        let sealed = encrypt(&kms, &one, b"x").unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        let to =
            |name: &str| may(alice.re_encrypt(&sealed, KmsRequest::new(&one, &pairs), KmsRequest::new(name, &pairs)));
        assert!(to(&one) && to("alias/one") && !to(&two));
    }
}
