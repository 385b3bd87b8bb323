//! The store: the tampering that it detects, and what its file is protected with.

use std::fs;
use std::path::Path;

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use manila_core::testing::ready;
use manila_local_kms::{AuditLog, CreateKey, ErrorKind, Kms, KmsRequest, LocalKms, RootKey};

use crate::raw_file::{TABLES, database, records, set_record, table};
use crate::{Folder, TestClock, both, code, context, decrypt, described, encrypt};

/// All rows of the store's records and of its manifest, read with redb itself.
#[derive(Clone, PartialEq)]
struct Rows {
    records: Vec<(&'static str, String, Vec<u8>)>,
    manifest: Vec<(u16, Vec<u8>)>,
}

const MANIFEST: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("manifest");
/// The row of the manifest's root.
const ROOT: u16 = 512;

fn rows(store: &Path) -> Rows {
    let records = records(store);
    let database = redb::Database::open(store).unwrap();
    let reading = database.begin_read().unwrap();
    let manifest = reading.open_table(MANIFEST).unwrap();
    let manifest = manifest.iter().unwrap().map(|row| row.unwrap());
    let manifest = manifest.map(|(id, row)| (id.value(), row.value().to_vec())).collect();
    Rows { records, manifest }
}

fn set_manifest(store: &Path, id: u16, row: Option<&[u8]>) {
    let database = redb::Database::open(store).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut table = writing.open_table(MANIFEST).unwrap();
        match row {
            Some(row) => drop(table.insert(id, row).unwrap()),
            None => drop(table.remove(id).unwrap()),
        }
    }
    writing.commit().unwrap();
}

fn assert_damaged(folder: &Folder, what: &str) {
    let error = folder.open().expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Storage, "{what}: {error}");
    assert!(error.to_string().contains("tampered"), "{what}: {error}");
}

/// Makes a store with two keys, an alias, a grant and a deadline.
fn furnished() -> Folder {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    let doomed = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion(doomed.key_id()).unwrap();
    let grant = manila_local_kms::CreateGrant::to("arn:aws:iam::000000000000:role/app");
    kms.create_grant(key.key_id(), grant.operation(manila_local_kms::GrantOperation::Decrypt)).unwrap();
    folder
}

#[test]
fn the_file_does_not_tell_which_key_an_alias_names_nor_how_long_names_and_logs_are() {
    let folder = Folder::new();
    let log = folder.0.path().join("audit.jsonl");
    let root = RootKey::create_file(folder.root()).unwrap();
    let kms = LocalKms::builder().audit(AuditLog::file(&log)).create(folder.store(), root).unwrap();
    let names = ["alias/a".to_owned(), "alias/payments".to_owned(), format!("alias/{}", "long".repeat(62))];
    let keys = names.each_ref().map(|name| {
        let key = kms.create_key(CreateKey::default().alias(name.as_str()).description(name.as_str())).unwrap();
        let grant = manila_local_kms::CreateGrant::to(format!("arn:aws:iam::000000000000:user/{}", &name[6..].len()));
        kms.create_grant(key.key_id(), grant.operation(manila_local_kms::GrantOperation::Decrypt)).unwrap();
        key
    });
    kms.create_alias("alias/second", keys[0].key_id()).unwrap();
    kms.rotate_audit_log(folder.0.path().join("old.jsonl")).unwrap();
    drop(kms);
    let rows = rows(&folder.store()).records;
    let of = |table: &str| rows.iter().filter(|row| row.0 == table).collect::<Vec<_>>();
    for (table, count) in
        [("keys", 3), ("materials", 3), ("aliases", 4), ("key-aliases", 4), ("grants", 3), ("audit", 2)]
    {
        let found = of(table);
        assert_eq!(found.len(), count, "{table}");
        assert!(found.iter().all(|row| row.2.len() == found[0].2.len()), "{table}");
    }
    for (table, id, _) in &rows {
        let tells = *table == "key-aliases" && keys.iter().any(|key| id.contains(key.key_id()));
        assert!(!tells, "{table} {id}");
        // The ends of logs are stored under a digest, which does not contain the number of their lines.
        assert!(*table != "audit" || id == "log" || id.len() == "end/".len() + 32, "{id}");
    }
    assert_eq!(folder.open().unwrap().list_aliases().unwrap().len(), 4);
}

#[test]
fn no_record_can_be_removed_changed_or_moved() {
    let folder = furnished();
    let intact = rows(&folder.store());
    let what = "two keys, two materials, an alias and a grant, each twice, the count and its sign, a deadline";
    assert_eq!(intact.records.len(), 11, "{what}");
    for (table, id, record) in &intact.records {
        set_record(&folder.store(), table, id, None);
        assert_damaged(&folder, &format!("{table} {id} removed"));
        let mut changed = record.clone();
        changed[40] ^= 1;
        set_record(&folder.store(), table, id, Some(&changed));
        assert_damaged(&folder, &format!("{table} {id} changed"));
        set_record(&folder.store(), table, id, Some(record));
        set_record(&folder.store(), table, "local/other", Some(record));
        assert_damaged(&folder, &format!("{table} {id} copied to another place"));
        set_record(&folder.store(), table, "local/other", None);
        for (_, other, moved) in intact.records.iter().filter(|row| row.0 == *table && row.1 != *id) {
            set_record(&folder.store(), table, id, Some(moved));
            set_record(&folder.store(), table, other, Some(record));
            assert_damaged(&folder, &format!("{table} {id} swapped"));
            set_record(&folder.store(), table, id, Some(record));
            set_record(&folder.store(), table, other, Some(moved));
        }
        folder.open().unwrap();
    }
}

#[test]
fn no_row_of_the_manifest_can_be_removed_or_changed() {
    let folder = furnished();
    for (id, row) in rows(&folder.store()).manifest {
        set_manifest(&folder.store(), id, None);
        assert_damaged(&folder, &format!("row {id} removed"));
        for at in [0, row.len() / 2, row.len() - 1] {
            let mut changed = row.clone();
            changed[at] ^= 1;
            set_manifest(&folder.store(), id, Some(&changed));
            let kind = folder.open().unwrap_err().kind();
            // The first bytes of the root hold the number of the root key.
            assert!(matches!(kind, ErrorKind::Storage | ErrorKind::RootKeyChanged), "row {id}, byte {at}");
        }
        set_manifest(&folder.store(), id, Some(&row));
        folder.open().unwrap();
    }
    set_manifest(&folder.store(), 3, Some(&[0; 32]));
    assert_damaged(&folder, "a bucket where there was none");
}

#[test]
fn no_record_can_be_set_back_by_itself() {
    // A key is disabled, and another one made; then the stored rows of the first are put back.
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    let before = rows(&folder.store());
    let kms = folder.open().unwrap();
    kms.disable_key(key.key_id()).unwrap();
    drop(kms);
    let disabled = rows(&folder.store());

    for (table, id, record) in &before.records {
        set_record(&folder.store(), table, id, Some(record));
    }
    assert_damaged(&folder, "the records alone");
    for (id, bucket) in before.manifest.iter().filter(|(id, _)| *id != ROOT) {
        set_manifest(&folder.store(), *id, Some(bucket));
    }
    assert_damaged(&folder, "the records and their part of the manifest");
    put(&folder.store(), &disabled);

    let kms = folder.open().unwrap();
    kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    let after = rows(&folder.store());
    put(&folder.store(), &before);
    assert_damaged(&folder, "the records and all of the manifest, but not the other records");
    put(&folder.store(), &after);
    folder.open().unwrap();
}

/// Puts rows back, replacing those of the same ids.
fn put(store: &Path, rows: &Rows) {
    for (table, id, record) in &rows.records {
        set_record(store, table, id, Some(record));
    }
    for (id, row) in &rows.manifest {
        set_manifest(store, *id, Some(row));
    }
}

#[test]
fn records_of_another_store_are_refused() {
    // Two stores under one root key: a record copied from one to the other must not be accepted.
    let folders = [Folder::new(), Folder::new()];
    let root = || RootKey::from_bytes(&[7; 32]);
    let [a, b] = folders.each_ref().map(|folder| LocalKms::create(folder.store(), root()).unwrap());
    let key = a.create_key(CreateKey::default()).unwrap();
    drop((a, b));
    let of_a = rows(&folders[0].store());
    for (table, id, record) in &of_a.records {
        set_record(&folders[1].store(), table, id, Some(record));
    }
    for (id, row) in &of_a.manifest {
        set_manifest(&folders[1].store(), *id, Some(row));
    }
    let error = LocalKms::open(folders[1].store(), root()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(LocalKms::open(folders[0].store(), root()).unwrap().describe_key(key.arn()).is_ok());
}

#[test]
fn tampering_with_an_open_store_is_noticed_and_is_no_wrong_key() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
    set_record(&folder.store(), "materials", key.key_id(), Some(&[0; 200]));
    let error = decrypt(&kms, key.arn(), &ciphertext).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
}

#[test]
fn a_store_is_not_set_back_while_it_is_open() {
    let folder = Folder::new();
    let kms = folder.create();
    kms.create_key(CreateKey::default()).unwrap();
    let copy = folder.0.path().join("copy");
    kms.backup(&copy).unwrap();
    kms.create_key(CreateKey::default()).unwrap();
    // Someone with write access to the file replaces the current rows by the copy's.
    let old = rows(&copy);
    let database = database(&folder.store());
    let writing = database.begin_write().unwrap();
    for name in TABLES {
        writing.delete_table(table(name)).unwrap();
    }
    writing.delete_table(MANIFEST).unwrap();
    for (name, id, record) in &old.records {
        let mut rows = writing.open_table(table(name)).unwrap();
        rows.insert(id.as_bytes(), record.as_slice()).unwrap();
    }
    {
        let mut manifest = writing.open_table(MANIFEST).unwrap();
        for (id, row) in &old.manifest {
            manifest.insert(*id, row.as_slice()).unwrap();
        }
    }
    writing.commit().unwrap();
    drop(database);
    let error = kms.list_keys().unwrap_err();
    assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("set back"), "{error}");
    let error = kms.create_key(CreateKey::default()).unwrap_err();
    assert!(error.to_string().contains("set back"), "{error}");
}

#[test]
fn a_changed_root_key_shuts_out_the_old_one() {
    let folder = Folder::new();
    let kms = folder.create();
    let other_handle = folder.open().unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    let ciphertext = encrypt(&kms, "alias/a", b"kept").unwrap();
    let clone = kms.clone();
    kms.change_root_key(RootKey::from_passphrase("another")).unwrap();

    assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"kept");
    assert_eq!(decrypt(&clone, key.arn(), &ciphertext).unwrap(), b"kept", "clones of the handle still work");
    kms.create_key(CreateKey::default()).unwrap();
    for refused in [
        other_handle.describe_key(key.arn()).unwrap_err(),
        other_handle.create_key(CreateKey::default()).unwrap_err(),
        other_handle.checkpoint().map_or_else(|_| other_handle.list_keys().unwrap_err(), |()| unreachable!()),
    ] {
        assert_eq!(refused.kind(), ErrorKind::RootKeyChanged, "{refused}");
    }
    drop((kms, clone, other_handle));
    assert_eq!(folder.open().unwrap_err().kind(), ErrorKind::Storage, "the old key");
    let kms = LocalKms::open(folder.store(), RootKey::from_passphrase("another")).unwrap();
    assert_eq!(decrypt(&kms, "alias/a", &ciphertext).unwrap(), b"kept");
    assert_eq!(kms.list_keys().unwrap().len(), 2);
    kms.change_root_key(RootKey::open_file(folder.root()).unwrap()).unwrap();
    drop(kms);
    assert_eq!(decrypt(&folder.open().unwrap(), "alias/a", &ciphertext).unwrap(), b"kept");
}

#[test]
fn nothing_sealed_before_a_change_of_root_key_counts_after_it() {
    let folder = Folder::new();
    let kms = folder.create();
    kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    let before = rows(&folder.store());
    let kms = folder.open().unwrap();
    kms.change_root_key(RootKey::from_bytes(&[9; 32])).unwrap();
    drop(kms);
    let (table, id, record) = before.records.first().unwrap();
    set_record(&folder.store(), table, id, Some(record));
    assert!(LocalKms::open(folder.store(), RootKey::from_bytes(&[9; 32])).is_err());
    let sealed_again = rows(&folder.store());
    assert!(sealed_again.manifest.iter().all(|row| !before.manifest.contains(row)));
}

#[test]
fn a_backup_is_the_store_at_one_moment() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    let ciphertext = encrypt(&kms, "alias/a", b"kept").unwrap();
    let backup = folder.0.path().join("backup");
    kms.backup(&backup).unwrap();
    assert_eq!(kms.backup(&backup).unwrap_err().kind(), ErrorKind::Io, "nothing is overwritten");
    kms.disable_key(key.key_id()).unwrap();
    kms.create_key(CreateKey::default()).unwrap();

    let restored = folder.0.path().join("restored.redb");
    let root = || RootKey::open_file(folder.root()).unwrap();
    let (copy, dropped) = LocalKms::restore(&backup, &restored, root()).unwrap();
    assert_eq!(dropped, 0);
    assert_eq!(described(&copy), [key]);
    assert_eq!(decrypt(&copy, "alias/a", &ciphertext).unwrap(), b"kept");
    assert_eq!(LocalKms::restore(&backup, &restored, root()).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(
        LocalKms::restore(&backup, folder.0.path().join("x"), RootKey::from_bytes(&[0; 32])).unwrap_err().kind(),
        ErrorKind::Storage
    );
}

#[test]
fn restoring_drops_keys_past_their_deadline_and_says_how_many() {
    let [_, (kms, clock, folder)] = both();
    let keys: Vec<_> = (0..3).map(|_| kms.create_key(CreateKey::default()).unwrap()).collect();
    kms.schedule_key_deletion_in(keys[0].key_id(), 7).unwrap();
    kms.schedule_key_deletion_in(keys[1].key_id(), 7).unwrap();
    let backup = folder.0.path().join("backup");
    kms.backup(&backup).unwrap();
    clock.advance_days(8);
    let root = RootKey::open_file(folder.root()).unwrap();
    let restored = folder.0.path().join("restored");
    let (copy, dropped) = LocalKms::builder().clock(clock).restore(&backup, &restored, root).unwrap();
    assert_eq!(dropped, 2);
    let left: Vec<_> = copy.list_keys().unwrap().iter().map(|key| key.key_id().to_owned()).collect();
    assert_eq!(left, [keys[2].key_id()]);
    drop(copy);
    assert_eq!(rows(&restored).records.len(), 2, "one key and its material");
}

#[test]
fn after_a_purge_no_sealed_byte_of_a_deleted_key_is_left() {
    let [_, (kms, clock, folder)] = both();
    let mut doomed = Vec::new();
    for n in 0..40 {
        let key = kms.create_key(CreateKey::default().alias(format!("alias/{n}"))).unwrap();
        if n % 3 == 0 {
            doomed.push(key.key_id().to_owned());
        }
    }
    // Sealed again several times, so that the file holds older copies too.
    for id in &doomed {
        kms.rotate_key_on_demand(id).unwrap();
        kms.update_key_description(id, "soon gone").unwrap();
    }
    drop(kms);
    let root = || RootKey::open_file(folder.root()).unwrap();
    let sealed: Vec<_> = rows(&folder.store())
        .records
        .into_iter()
        .filter(|(_, id, _)| doomed.iter().any(|key| id.ends_with(key)))
        .collect();
    assert_eq!(sealed.len(), 2 * doomed.len());
    let kms = LocalKms::builder().clock(clock.clone()).open(folder.store(), root()).unwrap();
    for id in &doomed {
        kms.schedule_key_deletion(id).unwrap();
    }
    clock.advance_days(31);
    let before = fs::read(folder.store()).unwrap();
    assert!(sealed.iter().any(|(_, _, record)| holds(&before, record)), "the test looks for what was there");
    let with_doomed_ids = |file: &[u8]| doomed.iter().any(|id| holds(file, id.as_bytes()));
    assert!(with_doomed_ids(&before));

    assert_eq!(kms.purge().unwrap(), 14);
    let after = fs::read(folder.store()).unwrap();
    assert!(!with_doomed_ids(&after), "not even their ids");
    for (table, id, record) in &sealed {
        for piece in record.chunks_exact(32) {
            assert!(!holds(&after, piece), "{table} {id}");
        }
    }
    assert!(after.len() <= before.len());
    assert_eq!(kms.list_keys().unwrap().len(), 26);
    drop(kms);
    assert_eq!(folder.open().unwrap().list_aliases().unwrap().len(), 26);
}

fn holds(file: &[u8], part: &[u8]) -> bool {
    file.windows(part.len()).any(|window| window == part)
}

#[test]
fn the_next_write_removes_the_material_of_a_deleted_key() {
    let [_, (kms, clock, folder)] = both();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    kms.schedule_key_deletion(key.key_id()).unwrap();
    clock.advance_days(31);
    let other = kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    let left = rows(&folder.store()).records;
    assert_eq!(left.len(), 2, "{:?}", left.iter().map(|row| (row.0, &row.1)).collect::<Vec<_>>());
    assert!(left.iter().all(|(_, id, _)| id.ends_with(other.key_id())));
}

#[test]
fn a_purge_waits_for_nobody() {
    let folder = Folder::new();
    let (kms, other) = (folder.create(), folder.open().unwrap());
    kms.create_key(CreateKey::default()).unwrap();
    kms.purge().unwrap();
    other.purge().unwrap();
    assert_eq!(other.list_keys().unwrap().len(), 1);
    let memory = LocalKms::in_memory().unwrap();
    memory.create_key(CreateKey::default()).unwrap();
    assert_eq!(memory.purge().unwrap(), 0);
    assert_eq!(memory.list_keys().unwrap().len(), 1);
}

#[test]
fn a_purge_gets_through_beside_others_that_read_without_a_pause() {
    let folder = Folder::new();
    let kms = folder.create();
    (0..100).for_each(|_| drop(kms.create_key(CreateKey::default()).unwrap()));
    let readers = [folder.open().unwrap(), folder.open().unwrap(), folder.open().unwrap()];
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in &readers {
            scope.spawn(|| {
                while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
                    assert_eq!(reader.list_keys().unwrap().len(), 100);
                }
            });
        }
        let purged: Vec<_> = (0..5).map(|_| kms.purge()).collect();
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(purged.iter().all(Result::is_ok), "{purged:?}");
    });
}

#[test]
fn a_store_of_another_format_is_refused_by_name() {
    let folder = Folder::new();
    drop(folder.create());
    let header = TableDefinition::<&[u8], &[u8]>::new("manila");
    let database = redb::Database::open(folder.store()).unwrap();
    let stored = {
        let reading = database.begin_read().unwrap();
        reading.open_table(header).unwrap().get(b"store".as_slice()).unwrap().unwrap().value().to_vec()
    };
    // In the CBOR of the header, "format" is followed by the number.
    let at = stored.windows(6).position(|window| window == b"format").unwrap() + 6;
    drop(database);
    let current = stored[at];
    for other in [current - 1, current + 1] {
        let mut changed = stored.clone();
        changed[at] = other;
        let database = redb::Database::open(folder.store()).unwrap();
        let writing = database.begin_write().unwrap();
        writing.open_table(header).unwrap().insert(b"store".as_slice(), changed.as_slice()).unwrap();
        writing.commit().unwrap();
        drop(database);
        let error = folder.open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.to_string().contains(&format!("format {other}")), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_root_key_file_that_is_not_its_owners_alone_or_another_users_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    RootKey::create_file(folder.root()).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o610] {
        fs::set_permissions(folder.root(), fs::Permissions::from_mode(mode)).unwrap();
        let error = RootKey::open_file(folder.root()).unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains("chmod 600"), "{mode:o}: {error}");
    }
    // The modes with which secrets are mounted into containers.
    for mode in [0o400, 0o440, 0o444] {
        fs::set_permissions(folder.root(), fs::Permissions::from_mode(mode)).unwrap();
        RootKey::open_file(folder.root()).unwrap();
    }
    // Only root may give a file away.
    if std::os::unix::fs::chown(folder.root(), Some(12_345), None).is_ok() {
        for mode in [0o400, 0o600, 0o444] {
            fs::set_permissions(folder.root(), fs::Permissions::from_mode(mode)).unwrap();
            let error = RootKey::open_file(folder.root()).unwrap_err();
            assert!(error.to_string().contains("another user"), "{error}");
        }
    }
    assert_eq!(RootKey::open_file(folder.0.path().join("none")).unwrap_err().kind(), ErrorKind::Io);
    assert!(!folder.0.path().join("none").exists(), "opening never makes one");
}

#[test]
fn regions_and_accounts_have_forms() {
    for (region, account) in
        [("EU", "000000000000"), ("a:b", "000000000000"), ("", "000000000000"), ("eu", "12"), ("eu", "a")]
    {
        let error = LocalKms::builder().region(region).account(account).in_memory().unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"));
    }
    let kms = LocalKms::builder().region("eu-west-1").account("111122223333").in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    assert!(key.arn().starts_with("arn:aws:kms:eu-west-1:111122223333:key/"), "{}", key.arn());
    assert_eq!(kms.region("A").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_store_keeps_its_region_and_account() {
    let folder = Folder::new();
    let root = RootKey::create_file(folder.root()).unwrap();
    let kms = LocalKms::builder().region("eu-west-1").account("111122223333").create(folder.store(), root).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    assert_eq!(folder.open().unwrap().describe_key(key.arn()).unwrap(), key);
}

#[test]
fn an_audit_log_survives_a_change_of_root_key() {
    let folder = Folder::new();
    let log = folder.0.path().join("audit.jsonl");
    let root = RootKey::create_file(folder.root()).unwrap();
    let kms = LocalKms::builder().audit(AuditLog::file(&log)).create(folder.store(), root).unwrap();
    kms.create_key(CreateKey::default()).unwrap();
    kms.change_root_key(RootKey::from_bytes(&[9; 32])).unwrap();
    kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    let kms = LocalKms::open(folder.store(), RootKey::from_bytes(&[9; 32])).unwrap();
    let report = kms.verify_audit_log(&log).unwrap();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.events(), 5, "with opening and closing");
}

#[test]
fn async_calls_are_ready_at_once() {
    let kms = LocalKms::builder().clock(TestClock::new()).in_memory().unwrap();
    assert!(kms.is_local());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let context = context(&[]);
    ready(kms.generate_data_key(KmsRequest::new(key.arn(), &context), 32)).unwrap();
}

#[test]
fn what_was_sealed_in_one_copy_of_a_store_counts_in_no_other() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let backup = folder.0.path().join("backup");
    kms.backup(&backup).unwrap();
    let other = folder.0.path().join("other");
    let root = || RootKey::open_file(folder.root()).unwrap();
    let (copy, _) = LocalKms::restore(&backup, &other, root()).unwrap();
    // Both copies continue separately, with as many commits: restoring was one.
    (0..3).for_each(|_| kms.update_key_description(key.key_id(), "in use").unwrap());
    copy.update_key_description(key.key_id(), "compromised").unwrap();
    copy.disable_key(key.key_id()).unwrap();
    drop((kms, copy));
    for (table, id, record) in rows(&folder.store()).records {
        let whole = rows(&other);
        set_record(&other, table, &id, Some(&record));
        let opened = LocalKms::open(&other, root());
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Storage, "{table} {id} of the other copy");
        put(&other, &whole);
    }
}

#[test]
fn what_is_dropped_while_restoring_is_not_in_the_new_file() {
    let [_, (kms, clock, folder)] = both();
    for _ in 0..40 {
        let key = kms.create_key(CreateKey::default()).unwrap();
        kms.schedule_key_deletion(key.key_id()).unwrap();
    }
    let backup = folder.0.path().join("backup");
    kms.backup(&backup).unwrap();
    clock.advance_days(31);
    let sealed = rows(&backup).records;
    let restored = folder.0.path().join("restored");
    let root = RootKey::open_file(folder.root()).unwrap();
    let (_, dropped) = LocalKms::builder().clock(clock).restore(&backup, &restored, root).unwrap();
    assert_eq!((dropped, sealed.len()), (40, 120));
    let file = fs::read(&restored).unwrap();
    for (table, id, record) in sealed {
        assert!(record.chunks_exact(32).all(|piece| !holds(&file, piece)), "{table} {id}");
    }
}

/// Returns the bytes that are in no row of the file: what an earlier row left there.
fn pieces_of(old: &Rows, header: &[u8]) -> std::collections::HashSet<Vec<u8>> {
    let records = old.records.iter().map(|(_, _, record)| record.as_slice());
    let tags = old.manifest.iter().map(|(_, row)| &row[row.len() - 32..]);
    // Of the header, only the salt and the check value: the rest is unchanged.
    let secret = header.windows(4).position(|window| window == b"salt").map(|at| &header[at + 5..at + 21]);
    let check = &header[header.len() - 48..];
    let all = records.chain(tags).chain(secret).chain([check]);
    all.flat_map(|row| row.chunks_exact(16)).map(<[u8]>::to_vec).collect()
}

fn header_of(store: &Path) -> Vec<u8> {
    let database = redb::Database::open(store).unwrap();
    let reading = database.begin_read().unwrap();
    let table = reading.open_table(TableDefinition::<&[u8], &[u8]>::new("manila")).unwrap();
    table.get(b"store".as_slice()).unwrap().unwrap().value().to_vec()
}

fn count(file: &[u8], pieces: &std::collections::HashSet<Vec<u8>>) -> usize {
    file.windows(16).filter(|piece| pieces.contains(*piece)).count()
}

#[test]
fn a_changed_root_key_leaves_nothing_in_the_file_that_was_sealed_under_the_old_one() {
    for keys in [1, 20, 100] {
        let folder = Folder::new();
        let kms = LocalKms::create(folder.store(), RootKey::from_passphrase("hunter2")).unwrap();
        (0..keys).for_each(|_| drop(kms.create_key(CreateKey::default()).unwrap()));
        drop(kms);
        let old = pieces_of(&rows(&folder.store()), &header_of(&folder.store()));
        assert!(count(&fs::read(folder.store()).unwrap(), &old) >= old.len(), "the test looks for what is there");
        let kms = LocalKms::open(folder.store(), RootKey::from_passphrase("hunter2")).unwrap();
        assert!(kms.change_root_key(RootKey::from_passphrase("correct horse")).unwrap().is_purged());
        assert_eq!(count(&fs::read(folder.store()).unwrap(), &old), 0, "{keys} keys, while the store is open");
        kms.create_key(CreateKey::default()).unwrap();
        drop(kms);
        assert_eq!(count(&fs::read(folder.store()).unwrap(), &old), 0, "{keys} keys, after it was closed");
    }
}

#[test]
fn a_changed_root_key_rotates_every_key_that_rotates_if_that_is_asked_for() {
    let folder = Folder::new();
    let log = folder.0.path().join("audit.jsonl");
    let root = RootKey::create_file(folder.root()).unwrap();
    let kms = LocalKms::builder().audit(AuditLog::file(&log)).create(folder.store(), root).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let disabled = kms.create_key(CreateKey::default()).unwrap();
    kms.disable_key(disabled.key_id()).unwrap();
    let hmac = kms.create_key(CreateKey::default().spec(manila_local_kms::KeySpec::Hmac256)).unwrap();
    let imported = kms.create_key(CreateKey::default().imported()).unwrap();
    let before = encrypt(&kms, key.arn(), b"before").unwrap();

    let plain = kms.change_root_key(RootKey::from_bytes(&[8; 32])).unwrap();
    assert!(plain.rotated().is_empty() && plain.not_rotated().is_empty());
    assert_eq!(kms.list_key_rotations(key.arn()).unwrap().len(), 0);

    let change = kms.change_root_key_and_rotate(RootKey::from_bytes(&[9; 32])).unwrap();
    let sorted = |mut arns: Vec<String>| {
        arns.sort_unstable();
        arns
    };
    let of = |keys: [&manila_local_kms::KeyMetadata; 2]| sorted(keys.iter().map(|key| key.arn().to_owned()).collect());
    assert!(change.is_purged());
    assert_eq!(sorted(change.rotated().to_vec()), of([&key, &disabled]));
    assert_eq!(sorted(change.not_rotated().to_vec()), of([&hmac, &imported]));
    assert!([&key, &disabled].iter().all(|key| kms.list_key_rotations(key.arn()).unwrap().len() == 1));
    assert_eq!(decrypt(&kms, key.arn(), &before).unwrap(), b"before");
    assert!(kms.verify_audit_log(&log).unwrap().is_intact());
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines.matches("\"RotateKey\"").count(), 2);
    drop(kms);
    LocalKms::open(folder.store(), RootKey::from_bytes(&[9; 32])).unwrap();
}

#[test]
fn a_root_key_cannot_be_changed_by_another_than_the_owner() {
    let kms = LocalKms::in_memory().unwrap().as_principal("arn:aws:iam::000000000000:user/alice").unwrap();
    let refused = [
        kms.change_root_key(RootKey::from_bytes(&[1; 32])).unwrap_err(),
        kms.change_root_key_and_rotate(RootKey::from_bytes(&[1; 32])).unwrap_err(),
    ];
    assert!(refused.iter().all(|error| code(error) == "AccessDeniedException"));
}

/// Reads until the handle has looked at its file, and returns the error.
fn soon(kms: &LocalKms) -> manila_local_kms::Error {
    (0..20).find_map(|_| kms.list_keys().err()).expect("a handle looks at its file every sixteenth read")
}

#[test]
fn a_store_that_is_moved_replaced_or_removed_while_it_is_open_is_not_gone_on_with() {
    let moved = |folder: &Folder| fs::rename(folder.store(), folder.0.path().join("moved")).unwrap();
    let replaced = |folder: &Folder| {
        let copy = folder.0.path().join("copy");
        fs::copy(folder.store(), &copy).unwrap();
        fs::rename(copy, folder.store()).unwrap();
    };
    let removed = |folder: &Folder| fs::remove_file(folder.store()).unwrap();
    for (what, change) in [("moved", &moved as &dyn Fn(&Folder)), ("replaced", &replaced), ("removed", &removed)] {
        let folder = Folder::new();
        let kms = folder.create();
        let key = kms.create_key(CreateKey::default()).unwrap();
        let other = folder.open().unwrap();
        change(&folder);
        for error in [
            kms.create_key(CreateKey::default()).unwrap_err(),
            kms.disable_key(key.key_id()).unwrap_err(),
            kms.purge().unwrap_err(),
            kms.change_root_key(RootKey::from_bytes(&[9; 32])).unwrap_err(),
            soon(&other),
            other.create_key(CreateKey::default()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Storage, "{what}: {error}");
            assert!(error.to_string().contains("moved, replaced or removed"), "{what}: {error}");
        }
        assert!(what != "removed" || !folder.store().exists());
    }
}

#[test]
fn a_verification_of_the_log_holds_nothing_that_others_wait_for() {
    let folder = Folder::new();
    let log = folder.0.path().join("audit.jsonl");
    let root = RootKey::create_file(folder.root()).unwrap();
    let kms = LocalKms::builder().audit(AuditLog::file(&log)).create(folder.store(), root).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    // The copy is locked, and the verification waits for the lock, however long that takes.
    let copy = folder.0.path().join("copy.jsonl");
    fs::copy(&log, &copy).unwrap();
    let lock = fs::File::options().append(true).open(&copy).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let verifying = scope.spawn(|| kms.verify_audit_log(&copy).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        kms.purge().unwrap();
        kms.change_root_key(RootKey::from_bytes(&[9; 32])).unwrap();
        encrypt(&kms, key.arn(), b"x").unwrap();
        assert!(!verifying.is_finished());
        lock.unlock().unwrap();
        let report = verifying.join().unwrap();
        assert!(report.events() > 0 && report.is_intact(), "{report:?}");
    });
}
