//! `find_or_create_key`: one key for an alias, whoever asks and however many at once.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Barrier;

use manila_local_kms::{AuditLog, CreateKey, ErrorKind, KeySpec, KeyState, LocalKms, RootKey};

use crate::{Folder, both, code};

const APP: &str = "alias/app";

fn find(kms: &LocalKms) -> manila_local_kms::KeyMetadata {
    kms.find_or_create_key(APP, CreateKey::default()).unwrap()
}

#[test]
fn a_key_is_made_as_requested_and_found_as_it_is() {
    for (kms, clock, _folder) in both() {
        let request = CreateKey::default().spec(KeySpec::Hmac256).description("codes").alias("alias/another");
        let made = kms.find_or_create_key(APP, request).unwrap();
        assert_eq!((made.spec(), made.description()), (KeySpec::Hmac256, "codes"));
        assert_eq!(kms.list_aliases().unwrap().len(), 1, "one alias takes the place of the other");
        assert_eq!(find(&kms), made);
        kms.disable_key(made.key_id()).unwrap();
        assert_eq!(find(&kms).state(), KeyState::Disabled);
        kms.schedule_key_deletion_in(made.key_id(), 7).unwrap();
        assert_eq!(find(&kms).state(), KeyState::PendingDeletion);
        clock.advance_days(7);
        let next = find(&kms);
        assert_ne!(next.key_id(), made.key_id(), "the alias went with its key");
        assert_eq!((kms.list_keys().unwrap().len(), find(&kms)), (1, next));
    }
}

#[test]
fn only_an_alias_names_a_key_to_make() {
    let kms = LocalKms::in_memory().unwrap();
    let key = find(&kms);
    let alias_arn = key.arn().replace(&format!("key/{}", key.key_id()), APP);
    assert_eq!(kms.describe_key(&alias_arn).unwrap(), key);
    for name in [key.key_id(), key.arn(), &alias_arn, "app", "", "alias/", "alias/aws/s3"] {
        let error = kms.find_or_create_key(name, CreateKey::default()).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "InvalidAliasNameException"), "{name}");
    }
    let error = kms.find_or_create_key("alias/b", CreateKey::default().rotate_every_days(1)).unwrap_err();
    assert_eq!(code(&error), "ValidationException");
    assert_eq!(kms.list_keys().unwrap().len(), 1);
}

#[test]
fn who_finds_may_describe_and_who_makes_is_the_owner() {
    let kms = LocalKms::in_memory().unwrap();
    let [reader, stranger] = ["reader", "stranger"].map(|role| format!("arn:aws:iam::000000000000:role/{role}"));
    let refused = |principal: &str| {
        let error = kms.as_principal(principal).unwrap().find_or_create_key(APP, CreateKey::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyRefused);
        assert_eq!(code(&error), "AccessDeniedException", "{principal}");
    };
    let foreign = "arn:aws:iam::111111111111:role/reader";
    [&reader, &stranger, foreign].into_iter().for_each(refused);
    assert!(kms.list_keys().unwrap().is_empty());
    let policy = format!(
        r#"{{"Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "arn:aws:iam::000000000000:root"}}, "Action": "kms:*",
             "Resource": "*"}}, {{"Effect": "Allow", "Principal": {{"AWS": "{reader}"}}, "Action": "kms:DescribeKey",
             "Resource": "*"}}]}}"#
    );
    let key = kms.find_or_create_key(APP, CreateKey::default().policy(policy)).unwrap();
    let found = kms.as_principal(&reader).unwrap().find_or_create_key(APP, CreateKey::default()).unwrap();
    assert_eq!(found, key);
    [&stranger, foreign].into_iter().for_each(refused);
}

#[test]
fn the_log_tells_what_was_done() {
    let folder = Folder::new();
    let log = folder.0.path().join("audit.jsonl");
    let root_key = RootKey::create_file(folder.root()).unwrap();
    let kms = LocalKms::builder().audit(AuditLog::file(&log)).create(folder.store(), root_key).unwrap();
    let key = find(&kms);
    find(&kms);
    let lines: Vec<serde_json::Value> =
        fs::read_to_string(&log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines.iter().map(|line| (line["operation"].as_str(), line["outcome"].as_str())).collect();
    assert_eq!(
        told[1..],
        [
            (Some("DescribeKey"), Some("NotFoundException")),
            (Some("CreateKey"), Some("ok")),
            (Some("DescribeKey"), Some("ok")),
        ]
    );
    assert_eq!(lines[1]["request"]["keyId"], APP);
    assert_eq!([&lines[2]["key"], &lines[3]["key"]], [key.arn(); 2]);
    // Where nothing is to be made, nothing is written.
    let kms = LocalKms::open_read_only(folder.store(), RootKey::open_file(folder.root()).unwrap()).unwrap();
    assert_eq!(find(&kms), key);
    let error = kms.find_or_create_key("alias/b", CreateKey::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
}

#[test]
fn many_that_ask_at_once_get_one_key() {
    for (kms, _, folder) in both() {
        for round in 0..20 {
            let alias = format!("alias/{round}");
            let barrier = Barrier::new(8);
            let ids: BTreeSet<String> = std::thread::scope(|scope| {
                let ask = |kms: LocalKms| {
                    barrier.wait();
                    kms.find_or_create_key(&alias, CreateKey::default()).unwrap().key_id().to_owned()
                };
                // Some with a handle of their own.
                let handle =
                    |number: usize| folder.open().ok().filter(|_| number.is_multiple_of(2)).unwrap_or(kms.clone());
                let asking: Vec<_> = (0..8).map(handle).map(|kms| scope.spawn(move || ask(kms))).collect();
                asking.into_iter().map(|asked| asked.join().unwrap()).collect()
            });
            assert_eq!(ids.len(), 1);
            assert_eq!(kms.list_keys().unwrap().len(), round + 1);
        }
    }
}
