//! Imported key material: its expiry, its deletion, and that only the same material can be imported again.

use std::time::{Duration, SystemTime};

use manila_local_kms::{Clock, CreateKey, ErrorKind, KeyMetadata, KeyOrigin, KeySpec, KeyState, LocalKms, RootKey};

use crate::lifecycle::{Asked, open_at, rows};
use crate::raw_file::records;
use crate::{Folder, TestClock, both, code, decrypt, encrypt};

const MATERIAL: [u8; 32] = [7; 32];

fn in_days(clock: &TestClock, days: u64) -> SystemTime {
    clock.now() + Duration::from_secs(days * 86_400)
}

fn state(kms: &LocalKms, key: &KeyMetadata) -> KeyState {
    kms.describe_key(key.arn()).unwrap().state()
}

fn imported(kms: &LocalKms, expiry: Option<SystemTime>) -> KeyMetadata {
    let key = kms.create_key(CreateKey::default().imported()).unwrap();
    kms.import_key_material(key.arn(), &MATERIAL, expiry).unwrap();
    key
}

#[test]
fn a_key_waits_for_its_material_and_then_works() {
    for (kms, _, folder) in both() {
        let key = kms.create_key(CreateKey::default().imported()).unwrap();
        assert_eq!((key.state(), key.origin()), (KeyState::PendingImport, KeyOrigin::External));
        let error = encrypt(&kms, key.arn(), b"x").unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "KMSInvalidStateException"));
        kms.import_key_material(key.arn(), &MATERIAL, None).unwrap();
        let described = kms.describe_key(key.arn()).unwrap();
        assert_eq!((described.state(), described.material_expiry()), (KeyState::Enabled, None));
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
        if let Ok(other) = folder.open() {
            assert_eq!(decrypt(&other, key.arn(), &ciphertext).unwrap(), b"x");
        }
    }
}

#[test]
fn material_has_the_length_that_the_key_needs() {
    let lengths = [
        (KeySpec::SymmetricDefault, 32),
        (KeySpec::Hmac224, 28),
        (KeySpec::Hmac256, 32),
        (KeySpec::Hmac384, 48),
        (KeySpec::Hmac512, 64),
    ];
    for (kms, _, _folder) in both() {
        for (spec, right) in lengths {
            let key = kms.create_key(CreateKey::default().spec(spec).imported()).unwrap();
            for wrong in [0, 1, right - 1, right + 1, 4096] {
                let error = kms.import_key_material(key.arn(), &vec![1; wrong], None).unwrap_err();
                assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{wrong}");
                assert_eq!(state(&kms, &key), KeyState::PendingImport);
            }
            kms.import_key_material(key.arn(), &vec![1; right], None).unwrap();
            assert_eq!(state(&kms, &key), KeyState::Enabled);
        }
    }
}

#[test]
fn deleted_material_comes_back_only_as_it_was() {
    for (kms, _, _folder) in both() {
        let key = imported(&kms, None);
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        for _ in 0..2 {
            // Deleting succeeds even if the key has no material.
            kms.delete_imported_key_material(key.arn()).unwrap();
            assert_eq!(state(&kms, &key), KeyState::PendingImport);
        }
        assert_eq!(code(&decrypt(&kms, key.arn(), &ciphertext).unwrap_err()), "KMSInvalidStateException");
        let error = kms.import_key_material(key.arn(), &[8; 32], None).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "IncorrectKeyMaterialException"));
        assert_eq!(state(&kms, &key), KeyState::PendingImport);
        kms.import_key_material(key.arn(), &MATERIAL, None).unwrap();
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
        // Nor can the material be replaced while it is there.
        let error = kms.import_key_material(key.arn(), &[8; 32], None).unwrap_err();
        assert_eq!(code(&error), "IncorrectKeyMaterialException");
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
        // Another key with the same material is a different key.
        let other = imported(&kms, None);
        assert_eq!(code(&decrypt(&kms, other.arn(), &ciphertext).unwrap_err()), "IncorrectKeyException");
    }
}

#[test]
fn material_expires_in_the_future_and_within_365_days() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default().imported()).unwrap();
        let second = Duration::from_secs(1);
        let wrong = [SystemTime::UNIX_EPOCH, clock.now() - second, clock.now(), in_days(&clock, 365) + second];
        for expiry in wrong {
            let error = kms.import_key_material(key.arn(), &MATERIAL, Some(expiry)).unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{expiry:?}");
        }
        for expiry in [clock.now() + second, in_days(&clock, 365)] {
            kms.import_key_material(key.arn(), &MATERIAL, Some(expiry)).unwrap();
            assert_eq!(kms.describe_key(key.arn()).unwrap().material_expiry(), Some(expiry));
        }
    }
}

#[test]
fn expired_material_is_gone_until_it_is_imported_again() {
    for (kms, clock, _folder) in both() {
        let key = imported(&kms, Some(in_days(&clock, 10)));
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        clock.advance_secs(10 * 24 * 60 * 60 - 1);
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
        clock.advance_secs(1);
        let error = decrypt(&kms, key.arn(), &ciphertext).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "KMSInvalidStateException"));
        let described = kms.describe_key(key.arn()).unwrap();
        assert_eq!((described.state(), described.material_expiry()), (KeyState::PendingImport, None));
        let error = kms.import_key_material(key.arn(), &[8; 32], None).unwrap_err();
        assert_eq!(code(&error), "IncorrectKeyMaterialException");
        kms.import_key_material(key.arn(), &MATERIAL, None).unwrap();
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
        clock.advance_days(1000);
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x", "without an expiry it stays");
    }
}

#[test]
fn an_import_replaces_the_expiry_before_it() {
    for (kms, clock, _folder) in both() {
        let [kept, longer, shorter] = [10, 10, 100].map(|days| imported(&kms, Some(in_days(&clock, days))));
        kms.import_key_material(kept.arn(), &MATERIAL, None).unwrap();
        kms.import_key_material(longer.arn(), &MATERIAL, Some(in_days(&clock, 20))).unwrap();
        kms.import_key_material(shorter.arn(), &MATERIAL, Some(in_days(&clock, 5))).unwrap();
        let states = || [&kept, &longer, &shorter].map(|key| state(&kms, key));
        let after = |days| {
            clock.advance_days(days);
            // The state must survive the next write.
            kms.create_key(CreateKey::default()).unwrap();
            states()
        };
        assert_eq!(after(5), [KeyState::Enabled, KeyState::Enabled, KeyState::PendingImport]);
        assert_eq!(after(5), [KeyState::Enabled, KeyState::Enabled, KeyState::PendingImport]);
        assert_eq!(after(10), [KeyState::Enabled, KeyState::PendingImport, KeyState::PendingImport]);
        assert_eq!(after(1000), [KeyState::Enabled, KeyState::PendingImport, KeyState::PendingImport]);
    }
}

/// The call that may be the only one made while the material was expired.
const WITNESSES: [Asked; 4] = [
    |kms, key| encrypt(kms, key, b"x").map(drop),
    |kms, key| kms.describe_key(key).map(drop),
    |kms, _| kms.list_keys().map(drop),
    |kms, _| kms.create_key(CreateKey::default()).map(drop),
];

#[test]
fn a_clock_set_back_never_revives_expired_material() {
    for witness in WITNESSES {
        for (kms, clock, folder) in both() {
            let key = imported(&kms, Some(in_days(&clock, 10)));
            clock.advance_days(10);
            let _ = witness(&kms, key.arn());
            clock.set_back_days(10);
            let mut handles = vec![kms];
            handles.extend(open_at(&folder, &clock));
            for kms in handles {
                assert_eq!(state(&kms, &key), KeyState::PendingImport);
                assert_eq!(code(&encrypt(&kms, key.arn(), b"x").unwrap_err()), "KMSInvalidStateException");
            }
        }
    }
}

#[test]
fn the_next_call_removes_expired_material_from_the_file() {
    for witness in WITNESSES {
        let (folder, clock) = (Folder::new(), TestClock::new());
        let kms = folder.create_at(&clock);
        let key = imported(&kms, Some(in_days(&clock, 10)));
        let sealed = |secs: u64| {
            clock.advance_secs(secs);
            let _ = witness(&kms, key.arn());
            rows(&folder, key.key_id())
        };
        let before = sealed(10 * 24 * 60 * 60 - 1);
        let after = sealed(1);
        assert_eq!((before.len(), after.len()), (3, 2), "the deadline has been handled");
        let same = after.iter().filter(|record| before.contains(record)).count();
        assert!(same < 2, "the record of the material is another one");
    }
}

#[test]
fn a_restored_file_holds_nothing_of_material_that_has_expired_meanwhile() {
    let [_, (kms, clock, folder)] = both();
    let keys: Vec<_> = (0..5).map(|_| imported(&kms, Some(in_days(&clock, 1)))).collect();
    let [backup, restored] = ["backup", "restored"].map(|name| folder.0.path().join(name));
    kms.backup(&backup).unwrap();
    let sealed = records(&backup).into_iter().filter(|(table, ..)| *table == "materials").map(|(.., record)| record);
    let sealed: Vec<_> = sealed.collect();
    assert_eq!(sealed.len(), keys.len());
    let pieces: Vec<_> = sealed.iter().flat_map(|record| record.chunks_exact(16)).collect();
    let left = |path| {
        let file = std::fs::read(path).unwrap();
        pieces.iter().filter(|piece| file.windows(16).any(|window| window == **piece)).count()
    };
    assert_eq!(left(&backup), pieces.len(), "the test looks for what is there");
    clock.advance_days(2);
    let root = RootKey::open_file(folder.root()).unwrap();
    let (copy, dropped) = LocalKms::builder().clock(clock).restore(&backup, &restored, root).unwrap();
    assert_eq!((dropped, state(&copy, &keys[0])), (0, KeyState::PendingImport));
    assert_eq!(left(&restored), 0);
}

#[test]
fn only_keys_for_imported_material_take_or_lose_it() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        for error in [
            kms.import_key_material(key.arn(), &MATERIAL, None).unwrap_err(),
            kms.delete_imported_key_material(key.arn()).unwrap_err(),
        ] {
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "UnsupportedOperationException"));
        }
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
    }
}

#[test]
fn an_import_does_not_enable_a_key_that_was_disabled() {
    for (kms, _, _folder) in both() {
        let key = imported(&kms, None);
        kms.disable_key(key.arn()).unwrap();
        kms.delete_imported_key_material(key.arn()).unwrap();
        assert_eq!(state(&kms, &key), KeyState::PendingImport);
        kms.import_key_material(key.arn(), &MATERIAL, None).unwrap();
        assert_eq!(state(&kms, &key), KeyState::Disabled);
    }
}

#[test]
fn deletion_and_expiry_do_not_meet() {
    for (kms, clock, _folder) in both() {
        let (deleted, cancelled) =
            (imported(&kms, Some(in_days(&clock, 20))), imported(&kms, Some(in_days(&clock, 5))));
        // Deleted before the material expires, so nothing is left to expire.
        kms.schedule_key_deletion_in(deleted.arn(), 7).unwrap();
        // The material expires while the deletion is pending, and stays expired when the deletion is cancelled.
        kms.schedule_key_deletion_in(cancelled.arn(), 30).unwrap();
        clock.advance_days(10);
        assert_eq!(state(&kms, &cancelled), KeyState::PendingDeletion);
        kms.cancel_key_deletion(cancelled.arn()).unwrap();
        assert_eq!(state(&kms, &cancelled), KeyState::PendingImport);
        clock.advance_days(20);
        kms.create_key(CreateKey::default()).unwrap();
        assert_eq!(code(&kms.describe_key(deleted.arn()).unwrap_err()), "NotFoundException");
    }
}
