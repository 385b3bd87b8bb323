//! Changing the root key: what is refused, and what the file contains afterwards.

use manila_local_kms::{AssumeRole, AuditLog, CreateGrant, CreateKey, ErrorKind, GrantOperation, LocalKms, RootKey};

use crate::Folder;
use crate::raw_file::{TABLES, records, set_record};

fn root(number: u8) -> RootKey {
    RootKey::from_bytes(&[number; 32])
}

#[test]
fn a_change_of_the_root_key_takes_no_record_for_granted_that_is_missing() {
    let folder = Folder::new();
    let log = AuditLog::file(folder.0.path().join("audit.jsonl"));
    let kms = LocalKms::builder().audit(log).create(folder.store(), root(1)).unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    let doomed = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion(doomed.key_id()).unwrap();
    let grant = CreateGrant::to("arn:aws:iam::000000000000:role/app").operation(GrantOperation::Decrypt);
    let grant = grant.retiring_principal("arn:aws:iam::000000000000:user/bob");
    kms.create_grant(key.key_id(), grant).unwrap();
    let trust = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}}"#;
    kms.put_role("job", trust).unwrap();
    kms.assume_role(AssumeRole::new("job", "j-1")).unwrap();
    kms.checkpoint().unwrap();

    let intact = records(&folder.store());
    assert!(TABLES.iter().all(|name| intact.iter().any(|(table, ..)| table == name)), "a record of each table");
    // Another handle of the owner, without a log.
    let kms = LocalKms::open(folder.store(), root(1)).unwrap();
    for (table, id, record) in &intact {
        set_record(&folder.store(), table, id, None);
        for change in [kms.change_root_key(root(2)), kms.change_root_key_and_rotate(root(2))] {
            let error = change.expect_err(table);
            assert_eq!(error.kind(), ErrorKind::Storage, "{table} {id}: {error}");
            assert!(error.to_string().contains("tampered"), "{table} {id}: {error}");
        }
        set_record(&folder.store(), table, id, Some(record));
    }
    assert!(records(&folder.store()) == intact, "refused whole");
    kms.change_root_key(root(2)).unwrap();
    assert_eq!(LocalKms::open(folder.store(), root(2)).unwrap().list_keys().unwrap().len(), 2);
}
