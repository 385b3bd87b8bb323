//! Changes that others make to the file of a store, with good or bad intent: they cause an error at most, never a
//! panic.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::raw_file::{database, table};
use crate::{Folder, decrypt, encrypt};
use manila_local_kms::{CreateGrant, CreateKey, ErrorKind, GrantOperation, LocalKms, RootKey};

const ROOT: [u8; 32] = [7; 32];

fn root() -> RootKey {
    RootKey::from_bytes(&ROOT)
}

#[test]
fn a_store_is_opened_to_be_read_and_restored_while_another_handle_writes_it_without_pause() {
    let folder = Folder::new();
    let kms = LocalKms::create(folder.store(), root()).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    for _ in 0..20 {
        kms.create_key(CreateKey::default()).unwrap();
    }
    let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writes = 0_u64;
            while !is_done.load(Ordering::SeqCst) {
                kms.update_key_description(key.arn(), &writes.to_string()).unwrap();
                writes += 1;
            }
            writes
        });
        let opened: Vec<_> = (0..15)
            .map(|number| {
                let reader = LocalKms::open_read_only(folder.store(), root())?;
                let (restored, _) =
                    LocalKms::restore(folder.store(), folder.0.path().join(number.to_string()), root())?;
                Ok((
                    reader.list_keys()?.len(),
                    restored.list_keys()?.len(),
                    decrypt(&restored, key.arn(), &ciphertext)?,
                ))
            })
            .collect();
        is_done.store(true, Ordering::SeqCst);
        assert!(writer.join().unwrap() > 0);
        for opened in opened {
            let opened: Result<_, manila_local_kms::Error> = opened;
            assert_eq!(opened.unwrap(), (21, 21, b"x".to_vec()));
        }
    });
}

#[test]
fn an_id_in_the_file_that_is_not_text_is_damage() {
    for name in ["keys", "deadlines", "manila"] {
        let folder = Folder::new();
        drop(LocalKms::create(folder.store(), root()).unwrap());
        {
            let database = database(&folder.store());
            let writing = database.begin_write().unwrap();
            writing.open_table(table(name)).unwrap().insert(b"\xff".as_slice(), [0; 40].as_slice()).unwrap();
            writing.commit().unwrap();
        }
        for opened in [LocalKms::open(folder.store(), root()), LocalKms::open_read_only(folder.store(), root())] {
            match name {
                // This row is beside the one that is looked up.
                "manila" => drop(opened.unwrap()),
                _ => assert_eq!(opened.unwrap_err().kind(), ErrorKind::Storage),
            }
        }
    }
}

/// A generator that returns the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn flip_bits(store: &Path, numbers: &mut Numbers) {
    let mut file = OpenOptions::new().read(true).write(true).open(store).unwrap();
    let len = file.metadata().unwrap().len();
    for _ in 0..=numbers.below(40) {
        let at = SeekFrom::Start(512 + numbers.below(len - 512));
        let mut byte = [0];
        file.seek(at).unwrap();
        file.read_exact(&mut byte).unwrap();
        byte[0] ^= 1 << numbers.below(8);
        file.seek(at).unwrap();
        file.write_all(&byte).unwrap();
    }
}

/// Only reads: in a write, the database may panic again while it cleans up after a panic, which aborts the program.
#[test]
fn bits_that_flip_in_the_file_of_an_open_store_end_in_errors_and_in_no_wrong_answer() {
    let folder = Folder::new();
    let kms = LocalKms::create(folder.store(), root()).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    for _ in 1..12 {
        kms.create_key(CreateKey::default()).unwrap();
    }
    let ciphertext = encrypt(&kms, key.arn(), b"secret").unwrap();
    drop(kms);
    let whole = fs::read(folder.store()).unwrap();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut failed = 0;
    for _ in 0..100 {
        fs::write(folder.store(), &whole).unwrap();
        let kms = LocalKms::open_read_only(folder.store(), root()).unwrap();
        // So that nothing it holds in memory is of the latest commit.
        let another = LocalKms::open(folder.store(), root()).unwrap();
        another.update_key_description(key.arn(), "x").unwrap();
        drop(another);
        flip_bits(&folder.store(), &mut numbers);
        match decrypt(&kms, key.arn(), &ciphertext) {
            Ok(plaintext) => assert_eq!(plaintext, b"secret"),
            Err(_) => failed += 1,
        }
        match kms.list_keys() {
            Ok(keys) => assert_eq!(keys.len(), 12),
            Err(_) => failed += 1,
        }
        failed += usize::from(kms.reopen().is_err());
    }
    assert!(failed > 60, "the bits did nothing");
}

#[test]
fn a_file_that_is_longer_than_any_store_is_refused_before_memory_is_taken_for_it() {
    let folder = Folder::new();
    drop(LocalKms::create(folder.store(), root()).unwrap());
    let file = OpenOptions::new().write(true).open(folder.store()).unwrap();
    file.set_len((64 << 30) + 1).unwrap();
    for opened in [
        LocalKms::open(folder.store(), root()),
        LocalKms::open_read_only(folder.store(), root()),
        LocalKms::restore(folder.store(), folder.0.path().join("restored"), root()).map(|(kms, _)| kms),
    ] {
        let error = opened.unwrap_err();
        assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("68719476737 bytes"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_store_is_not_waited_for() {
    let folder = Folder::new();
    drop(LocalKms::create(folder.store(), root()).unwrap());
    let handles =
        [LocalKms::open(folder.store(), root()).unwrap(), LocalKms::open_read_only(folder.store(), root()).unwrap()];
    fs::remove_file(folder.store()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(folder.store()).status().unwrap().success());
    for kms in &handles {
        assert_eq!(kms.reopen().unwrap_err().kind(), ErrorKind::Storage);
    }
    for opened in [
        LocalKms::open(folder.store(), root()),
        LocalKms::open_read_only(folder.store(), root()),
        LocalKms::restore(folder.store(), folder.0.path().join("restored"), root()).map(|(kms, _)| kms),
    ] {
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Storage);
    }
}

/// Removes and returns all rows of a table, as stored in the file of an open store.
fn take_rows(store: &Path, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let database = database(store);
    let writing = database.begin_write().unwrap();
    let rows = {
        let mut table = writing.open_table(table(name)).unwrap();
        let rows = table.extract_if(|_, _| true).unwrap();
        rows.map(|row| row.map(|(id, row)| (id.value().to_vec(), row.value().to_vec())).unwrap()).collect()
    };
    writing.commit().unwrap();
    rows
}

fn put_rows(store: &Path, name: &str, rows: &[(Vec<u8>, Vec<u8>)]) {
    let database = database(store);
    let writing = database.begin_write().unwrap();
    {
        let mut table = writing.open_table(table(name)).unwrap();
        for (id, row) in rows {
            table.insert(id.as_slice(), row.as_slice()).unwrap();
        }
    }
    writing.commit().unwrap();
}

#[test]
fn an_open_handle_lists_no_less_than_there_is_and_backs_up_and_purges_nothing_that_is_damaged() {
    let (folder, clock) = (Folder::new(), crate::TestClock::new());
    let kms = LocalKms::builder().clock(clock.clone()).create(folder.store(), root()).unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/one")).unwrap();
    let grant = CreateGrant::to("arn:aws:iam::000000000000:role/app").operation(GrantOperation::Decrypt);
    kms.create_grant(key.arn(), grant).unwrap();
    for _ in 0..2 {
        let doomed = kms.create_key(CreateKey::default()).unwrap();
        kms.schedule_key_deletion_in(doomed.arn(), 7).unwrap();
    }
    let lists = |kms: &LocalKms, table: &str| match table {
        "keys" => kms.list_keys().map(|keys| keys.len()),
        "aliases" => kms.list_aliases().map(|aliases| aliases.len()),
        "grants" => kms.list_grants(key.arn()).map(|grants| grants.len()),
        _ => kms.purge(),
    };
    for (table, count) in [("keys", 3), ("aliases", 1), ("grants", 1), ("deadlines", 0)] {
        let rows = take_rows(&folder.store(), table);
        // All but one row removed, and all of them.
        for kept in [rows.len() - 1, 0] {
            put_rows(&folder.store(), table, &rows[..kept]);
            let backup = folder.0.path().join("backup");
            for failed in [lists(&kms, table).map(drop), kms.backup(&backup), kms.purge().map(drop)] {
                assert_eq!(failed.expect_err(table).kind(), ErrorKind::Storage, "{table}");
            }
            assert!(!backup.exists());
            take_rows(&folder.store(), table);
        }
        put_rows(&folder.store(), table, &rows);
        assert_eq!(lists(&kms, table).unwrap(), count, "{table}");
    }
    clock.advance_days(7);
    assert_eq!(kms.purge().unwrap(), 2);
}
