//! Wrong clocks: writes that they do not make, and how the owner puts things right.

use std::fs;
use std::time::{Duration, SystemTime};

use manila_local_kms::{Clock, CreateKey, Error, ErrorKind, KeyMetadata, KeyRotation, KeyState, LocalKms, RootKey};

use crate::{Folder, TestClock, both, code, decrypt, described, encrypt};

const YEAR: u64 = 365;

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

fn in_file(clock: &TestClock) -> (LocalKms, Folder) {
    let folder = Folder::new();
    let root = RootKey::create_file(folder.root()).unwrap();
    (LocalKms::builder().clock(clock.clone()).create(folder.store(), root).unwrap(), folder)
}

fn open(folder: &Folder, clock: &TestClock) -> LocalKms {
    LocalKms::builder().clock(clock.clone()).open(folder.store(), RootKey::open_file(folder.root()).unwrap()).unwrap()
}

/// Makes a write that changes nothing of importance.
fn write(kms: &LocalKms, key: &KeyMetadata) -> Result<(), Error> {
    kms.update_key_description(key.arn(), "written")
}

#[test]
fn nothing_is_written_and_nothing_removed_by_a_clock_that_leaps_and_everything_is_read() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        let doomed = kms.create_key(CreateKey::default()).unwrap();
        let ciphertext = encrypt(&kms, key.arn(), b"kept").unwrap();
        kms.schedule_key_deletion_in(doomed.arn(), 7).unwrap();
        clock.leap_hours(24 * 74 * YEAR);
        for _ in 0..2 {
            for error in [
                write(&kms, &key).unwrap_err(),
                kms.create_key(CreateKey::default()).unwrap_err(),
                kms.purge().unwrap_err(),
                kms.change_root_key_and_rotate(RootKey::from_bytes(&[9; 32])).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::ClockUnconfirmed, "{error}");
                assert!(error.to_string().contains("confirm_clock"), "{error}");
            }
            assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"kept");
            encrypt(&kms, key.arn(), b"under the material that there is").unwrap();
            assert!(kms.list_key_rotations(key.arn()).unwrap().is_empty());
            // By that clock the key's deadline has passed, but the key has not been removed.
            assert_eq!(code(&kms.describe_key(doomed.arn()).unwrap_err()), "NotFoundException");
        }
        clock.set_back_days(74 * YEAR);
        assert_eq!(kms.describe_key(doomed.arn()).unwrap().state(), KeyState::PendingDeletion);
        let in_time = clock.now() + days(7);
        assert_eq!(kms.schedule_key_deletion_in(key.arn(), 7).unwrap(), in_time, "no call left a trace of that time");
    }
}

#[test]
fn a_leap_of_a_day_is_taken_and_more_is_not() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        clock.leap_hours(24);
        write(&kms, &key).unwrap();
        clock.leap_hours(24);
        assert!(kms.describe_key(key.arn()).is_ok());
        // Reads do not confirm a time: more than a day in all has passed since the last write.
        clock.leap_hours(1);
        assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
        clock.advance_days(400);
        assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed, "time passing does not help");
        kms.confirm_clock().unwrap();
        write(&kms, &key).unwrap();
        // Neither time that passes nor a clock that is set back is a leap.
        clock.advance_days(400);
        write(&kms, &key).unwrap();
        clock.set_back_days(100);
        write(&kms, &key).unwrap();
    }
}

#[test]
fn the_owner_confirms_a_clock_for_all_programs() {
    let clock = TestClock::new();
    let (kms, folder) = in_file(&clock);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let doomed = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion_in(doomed.arn(), 7).unwrap();
    let others = clock.another();
    let other = open(&folder, &others);
    clock.leap_hours(24 * 30);
    others.leap_hours(24 * 30);
    for kms in [&kms, &other] {
        assert_eq!(write(kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
    }
    let stranger = kms.as_principal("arn:aws:iam::000000000000:user/alice").unwrap();
    assert_eq!(code(&stranger.confirm_clock().unwrap_err()), "AccessDeniedException");
    kms.confirm_clock().unwrap();
    write(&other, &key).unwrap();
    write(&kms, &key).unwrap();
    assert_eq!(kms.list_keys().unwrap().len(), 1, "what is past its deadline is removed then");
}

#[test]
fn a_store_that_lay_idle_opens_and_is_read_and_is_written_once_the_clock_is_confirmed() {
    let clock = TestClock::new();
    let (kms, folder) = in_file(&clock);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let ciphertext = encrypt(&kms, key.arn(), b"kept").unwrap();
    let backup = folder.0.path().join("backup");
    kms.backup(&backup).unwrap();
    drop(kms);
    clock.advance_days(9 * YEAR);
    write(&open(&folder, &clock.another()), &key).unwrap();
    clock.advance_days(11 * YEAR);
    let kms = open(&folder, &clock.another());
    assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"kept");
    encrypt(&kms, key.arn(), b"x").unwrap();
    assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);

    let root = || RootKey::open_file(folder.root()).unwrap();
    let patient = LocalKms::builder().clock(clock.another()).longest_pause(days(30 * YEAR));
    let hasty = LocalKms::builder().clock(clock.another()).longest_pause(days(1));
    let restored = folder.0.path().join("restored");
    for refused in [LocalKms::builder().clock(clock.another()), hasty.clone()] {
        let error = refused.restore(&backup, &restored, root()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ClockUnconfirmed);
        assert!(!restored.exists(), "nothing is made");
    }
    patient.clone().restore(&backup, &restored, root()).unwrap();
    kms.confirm_clock().unwrap();
    write(&kms, &key).unwrap();
    clock.advance_days(2);
    let hasty = hasty.clock(clock.another()).open(folder.store(), root()).unwrap();
    assert_eq!(write(&hasty, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
}

/// Returns a store that was written, then opened and written again under a clock that starts in 1970.
fn opened_in_1970(clock: &TestClock) -> (LocalKms, Folder, KeyMetadata) {
    let (kms, folder) = in_file(clock);
    let key = kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    clock.set_back_days(50 * YEAR);
    let kms = open(&folder, clock);
    write(&kms, &key).unwrap();
    (kms, folder, key)
}

#[test]
fn a_clock_that_begins_in_1970_and_comes_right_is_not_held_up_on_the_day_of_the_last_write() {
    let clock = TestClock::new();
    let (kms, _folder, key) = opened_in_1970(&clock);
    clock.leap_hours(24 * (50 * YEAR + 1));
    write(&kms, &key).unwrap();
    clock.leap_hours(25);
    assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed, "the time counts from then on");
}

#[test]
fn a_clock_that_begins_in_1970_and_comes_right_later_is_confirmed_or_there_when_the_store_is_opened() {
    let clock = TestClock::new();
    let (kms, folder, key) = opened_in_1970(&clock);
    clock.leap_hours(24 * (50 * YEAR + 90));
    assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
    assert!(encrypt(&kms, key.arn(), b"x").is_ok());
    write(&open(&folder, &clock), &key).unwrap();
    // That program's clock was right from the beginning, and the store confirms it.
    write(&kms, &key).unwrap();
    clock.set_back_days(50 * YEAR);
    assert!(encrypt(&kms, key.arn(), b"x").is_ok());
    clock.leap_hours(24 * (50 * YEAR + 90));
    assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
    kms.confirm_clock().unwrap();
    write(&kms, &key).unwrap();
}

#[test]
fn a_clock_that_was_behind_for_a_while_does_not_leap_unnoticed() {
    for (hours_behind, wrote) in [(1, false), (25, false), (25, true), (24 * 300, false)] {
        for (kms, clock, _folder) in both() {
            let key = kms.create_key(CreateKey::default()).unwrap();
            let doomed = kms.create_key(CreateKey::default()).unwrap();
            kms.schedule_key_deletion_in(doomed.arn(), 30).unwrap();
            clock.set_back_hours(hours_behind);
            kms.describe_key(doomed.arn()).unwrap();
            if wrote {
                write(&kms, &key).unwrap();
            }
            clock.leap_hours(hours_behind + 24 * 9 * YEAR);
            assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
            clock.set_back_days(9 * YEAR);
            assert_eq!(kms.describe_key(doomed.arn()).unwrap().state(), KeyState::PendingDeletion);
        }
    }
}

#[test]
fn a_program_that_saw_the_clock_ahead_notices_when_it_leaps_there_again() {
    let clock = TestClock::new();
    let (kms, folder) = in_file(&clock);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let doomed = kms.create_key(CreateKey::default()).unwrap();
    clock.leap_hours(24 * 5 * YEAR);
    let other = open(&folder, &clock);
    other.list_keys().unwrap();
    clock.set_back_days(5 * YEAR);
    // The time it read then no longer counts.
    assert_eq!(other.schedule_key_deletion_in(doomed.arn(), 30).unwrap(), clock.now() + days(30));
    clock.advance_days(20);
    other.list_keys().unwrap();
    clock.leap_hours(24 * 5 * YEAR);
    for kms in [&kms, &other] {
        assert_eq!(write(kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
    }
    clock.set_back_days(5 * YEAR);
    assert_eq!(other.describe_key(doomed.arn()).unwrap().state(), KeyState::PendingDeletion);
}

#[test]
fn what_is_refused_says_nothing_of_the_clock() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let stranger = kms.as_principal("arn:aws:iam::000000000000:user/alice").unwrap();
        clock.leap_hours(23);
        assert_eq!(code(&stranger.disable_key(key.arn()).unwrap_err()), "AccessDeniedException");
        clock.leap_hours(23);
        assert_eq!(write(&kms, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
        clock.set_back_hours(23);
        write(&kms, &key).unwrap();
        // The time of a write does.
        clock.leap_hours(23);
        write(&kms, &key).unwrap();
    }
}

/// Returns a store that was written under a clock five years ahead, its keys, and the clock, now corrected.
fn written_ahead(work: impl FnOnce(&LocalKms, &TestClock)) -> (LocalKms, TestClock, Folder) {
    let clock = TestClock::new();
    let (kms, folder) = in_file(&clock);
    kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    clock.leap_hours(24 * 5 * YEAR);
    let kms = open(&folder, &clock);
    work(&kms, &clock);
    clock.set_back_days(5 * YEAR);
    (kms, clock, folder)
}

#[test]
fn the_time_of_a_store_is_set_back_and_what_was_dated_ahead_with_it() {
    let mut keys = Vec::new();
    let (kms, clock, folder) = written_ahead(|kms, clock| {
        keys.push(kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap());
        let gone = kms.create_key(CreateKey::default()).unwrap();
        kms.schedule_key_deletion_in(gone.arn(), 7).unwrap();
        keys.push(gone);
        let imported = kms.create_key(CreateKey::default().imported()).unwrap();
        kms.import_key_material(imported.arn(), &[7; 32], Some(clock.now() + days(20))).unwrap();
        keys.push(imported);
    });
    let [rotating, gone, imported] = keys.as_slice() else { unreachable!() };
    let others = clock.another();
    let other = open(&folder, &others);
    assert!(kms.create_key(CreateKey::default()).unwrap().created() > clock.now(), "the time stands still");
    assert!(other.schedule_key_deletion_in(imported.arn(), 7).unwrap() > clock.now() + days(5 * YEAR));
    other.cancel_key_deletion(imported.arn()).unwrap();
    other.enable_key(imported.arn()).unwrap();

    let stranger = kms.as_principal("arn:aws:iam::000000000000:user/alice").unwrap();
    assert_eq!(code(&stranger.set_time_back().unwrap_err()), "AccessDeniedException");
    kms.set_time_back().unwrap();
    assert_eq!(code(&kms.set_time_back().unwrap_err()), "ValidationException", "it is right now");

    for kms in [&kms, &other, &open(&folder, &clock.another())] {
        assert_eq!(kms.create_key(CreateKey::default()).unwrap().created(), clock.now());
        assert_eq!(kms.describe_key(gone.arn()).unwrap().deletion_date(), Some(clock.now() + days(7)));
        assert_eq!(kms.describe_key(imported.arn()).unwrap().material_expiry(), Some(clock.now() + days(20)));
        assert!(described(kms).iter().all(|key| key.created() <= clock.now()));
    }
    clock.advance_days(8);
    encrypt(&kms, imported.arn(), b"x").unwrap();
    assert_eq!(code(&kms.describe_key(gone.arn()).unwrap_err()), "NotFoundException");
    clock.advance_days(12);
    assert_eq!(kms.describe_key(imported.arn()).unwrap().state(), KeyState::PendingImport);
    clock.advance_days(70);
    encrypt(&kms, rotating.arn(), b"x").unwrap();
    let rotations: Vec<SystemTime> =
        kms.list_key_rotations(rotating.arn()).unwrap().iter().map(KeyRotation::date).collect();
    assert_eq!(rotations, [clock.now()], "it rotates 90 days after the time was set back");
}

#[test]
fn what_was_to_come_before_the_clock_ran_ahead_comes_at_its_time() {
    let clock = TestClock::new();
    let (kms, folder) = in_file(&clock);
    let doomed = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion_in(doomed.arn(), 30).unwrap();
    let imported = kms.create_key(CreateKey::default().imported()).unwrap();
    kms.import_key_material(imported.arn(), &[7; 32], Some(clock.now() + days(300))).unwrap();
    let (deletion, expiry) = (clock.now() + days(30), clock.now() + days(300));
    drop(kms);
    clock.advance_days(5);
    clock.leap_hours(24 * 20);
    let kms = open(&folder, &clock);
    let later = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion_in(later.arn(), 10).unwrap();
    clock.set_back_days(20);
    kms.set_time_back().unwrap();
    assert_eq!(kms.describe_key(doomed.arn()).unwrap().deletion_date(), Some(deletion));
    assert_eq!(kms.describe_key(imported.arn()).unwrap().material_expiry(), Some(expiry));
    assert_eq!(kms.describe_key(later.arn()).unwrap().deletion_date(), Some(clock.now() + days(10)));
}

#[test]
fn the_time_is_not_set_back_to_before_the_store_was_made() {
    // A clock that starts in 1970, and one that starts when its system was built.
    for before in [50 * YEAR, 2 * YEAR] {
        let clock = TestClock::new();
        clock.advance_days(3 * YEAR);
        let (kms, folder) = in_file(&clock);
        let doomed = kms.create_key(CreateKey::default()).unwrap();
        kms.schedule_key_deletion_in(doomed.arn(), 30).unwrap();
        let imported = kms.create_key(CreateKey::default().imported()).unwrap();
        kms.import_key_material(imported.arn(), &[7; 32], Some(clock.now() + days(300))).unwrap();
        drop(kms);
        clock.set_back_days(before);
        let kms = open(&folder, &clock);
        let error = kms.set_time_back().unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"));
        assert!(error.to_string().contains("before the store was created"), "{error}");
        clock.leap_hours(24 * before + 1);
        write(&kms, &imported).unwrap();
        kms.confirm_clock().unwrap();
        assert_eq!(kms.describe_key(doomed.arn()).unwrap().state(), KeyState::PendingDeletion);
        encrypt(&kms, imported.arn(), b"x").unwrap();
    }
    // Nor can a store that such a clock made be set back to 1970.
    let clock = TestClock::new();
    clock.set_back_days(50 * YEAR);
    let (kms, _folder) = in_file(&clock);
    kms.create_key(CreateKey::default()).unwrap();
    clock.leap_hours(24 * 50 * YEAR);
    kms.confirm_clock().unwrap();
    clock.set_back_days(50 * YEAR - 1);
    assert!(kms.set_time_back().unwrap_err().to_string().contains("before the store was created"));
}

#[test]
fn a_program_follows_however_long_it_did_not_look() {
    let clock = TestClock::new();
    let (kms, folder) = in_file(&clock);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let other = open(&folder, &clock);
    clock.leap_hours(24 * 5 * YEAR);
    kms.confirm_clock().unwrap();
    write(&other, &key).unwrap();
    clock.set_back_days(5 * YEAR);
    kms.set_time_back().unwrap();
    // Time that has passed since is not a leap; more than that is.
    clock.advance_days(40);
    other.list_keys().unwrap();
    clock.leap_hours(24 * 5 * YEAR);
    assert_eq!(write(&other, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed);
    clock.set_back_days(5 * YEAR);
    write(&other, &key).unwrap();

    clock.leap_hours(24 * 5 * YEAR);
    kms.confirm_clock().unwrap();
    write(&other, &key).unwrap();
    clock.set_back_days(5 * YEAR);
    kms.set_time_back().unwrap();
    clock.leap_hours(24 * 5 * YEAR);
    assert_eq!(write(&other, &key).unwrap_err().kind(), ErrorKind::ClockUnconfirmed, "nor when it first looks");
}

#[test]
fn the_time_is_not_set_back_over_what_is_lost() {
    let removals: [fn(&LocalKms, &TestClock); 2] = [
        |kms, clock| {
            let key = kms.list_keys().unwrap().remove(0);
            kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
            clock.advance_days(7);
            kms.create_key(CreateKey::default()).unwrap();
            assert_eq!(kms.list_keys().unwrap().len(), 1);
        },
        |kms, clock| {
            let key = kms.create_key(CreateKey::default().imported()).unwrap();
            kms.import_key_material(key.arn(), &[7; 32], Some(clock.now() + days(1))).unwrap();
            clock.advance_days(1);
            kms.create_key(CreateKey::default()).unwrap();
        },
    ];
    for remove in removals {
        let (kms, clock, _folder) = written_ahead(remove);
        let error = kms.set_time_back().unwrap_err();
        assert_eq!(code(&error), "KMSInvalidStateException");
        assert!(error.to_string().contains("restore a backup"), "{error}");
        // By now it would have been removed anyway.
        clock.leap_hours(24 * (5 * YEAR - 1));
        kms.set_time_back().unwrap_or_else(|error| assert_eq!(code(&error), "KMSInvalidStateException"));
    }
    // Neither removals that were on time nor requested ones are an obstacle.
    let clock = TestClock::new();
    let (kms, folder) = in_file(&clock);
    let gone = kms.create_key(CreateKey::default()).unwrap();
    let imported = kms.create_key(CreateKey::default().imported()).unwrap();
    kms.import_key_material(imported.arn(), &[7; 32], None).unwrap();
    kms.schedule_key_deletion_in(gone.arn(), 7).unwrap();
    clock.advance_days(7);
    drop(kms);
    let ahead = clock.another();
    ahead.leap_hours(24 * 5 * YEAR);
    let kms = open(&folder, &ahead);
    kms.create_key(CreateKey::default()).unwrap();
    kms.delete_imported_key_material(imported.arn()).unwrap();
    assert_eq!(kms.list_keys().unwrap().len(), 2);
    ahead.set_back_days(5 * YEAR);
    kms.set_time_back().unwrap();
    assert_eq!(kms.create_key(CreateKey::default()).unwrap().created(), clock.now());
    assert!(fs::metadata(folder.store()).is_ok());
}
