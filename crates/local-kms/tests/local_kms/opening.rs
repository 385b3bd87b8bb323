//! Opening a store to read it, restoring one, and reopening it in place.

use std::fs;
use std::path::Path;

use manila_core::testing::ready;
use manila_local_kms::{AuditLog, CreateKey, ErrorKind, KeyState, Kms, KmsRequest, LocalKms, RootKey};

use crate::{Folder, code, context, decrypt, described, encrypt};

fn root(folder: &Folder) -> RootKey {
    RootKey::open_file(folder.root()).unwrap()
}

/// Runs `work`, and checks that it does not change a byte of the file.
fn unchanged<T>(file: &Path, work: impl FnOnce() -> T) -> T {
    let before = (fs::read(file).unwrap(), fs::metadata(file).unwrap().modified().unwrap());
    let done = work();
    assert!(
        before == (fs::read(file).unwrap(), fs::metadata(file).unwrap().modified().unwrap()),
        "the file was changed"
    );
    done
}

#[test]
fn a_store_that_is_opened_to_read_is_read_whole_and_changed_by_no_byte() {
    let [_, (kms, clock, folder)] = crate::both();
    let log = folder.0.path().join("audit.jsonl");
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    let rotated = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
    let doomed = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion_in(doomed.key_id(), 7).unwrap();
    let ciphertexts = [&key, &rotated].map(|key| encrypt(&kms, key.arn(), b"kept").unwrap());
    drop(kms);
    // Root can write in any case, so the contents are compared as well.
    let mut permissions = fs::metadata(folder.store()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(folder.store(), permissions).unwrap();
    unchanged(&folder.store(), || {
        let settings = LocalKms::builder().clock(clock.clone()).audit(AuditLog::file(&log));
        let kms = settings.open_read_only(folder.store(), root(&folder)).unwrap();
        assert_eq!(kms.list_keys().unwrap().len(), 3);
        assert_eq!(kms.describe_key("alias/a").unwrap(), key);
        encrypt(&kms, rotated.arn(), b"not due").unwrap();
        clock.advance_days(90);
        // Deadlines apply, but nothing is removed.
        assert_eq!(code(&kms.describe_key(doomed.arn()).unwrap_err()), "NotFoundException");
        assert_eq!(kms.list_keys().unwrap().len(), 2);
        for (key, ciphertext) in [&key, &rotated].into_iter().zip(&ciphertexts) {
            assert_eq!(decrypt(&kms, key.arn(), ciphertext).unwrap(), b"kept");
        }
        encrypt(&kms, key.arn(), b"x").unwrap();
        for refused in [
            encrypt(&kms, rotated.arn(), b"due").unwrap_err(),
            kms.create_key(CreateKey::default()).unwrap_err(),
            kms.disable_key(key.arn()).unwrap_err(),
            kms.purge().unwrap_err(),
            kms.checkpoint().unwrap_err(),
            kms.change_root_key(RootKey::from_bytes(&[9; 32])).unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::ReadOnly, "{refused}");
        }
        assert!(kms.verify_audit_log(&log).unwrap().is_intact());
        kms.backup(folder.0.path().join("backup")).unwrap();
        kms.reopen().unwrap();
        assert_eq!(kms.create_key(CreateKey::default()).unwrap_err().kind(), ErrorKind::ReadOnly);
    });
}

#[test]
fn a_reader_sees_what_others_write_and_that_the_root_key_was_changed() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let ciphertext = encrypt(&kms, key.arn(), b"kept").unwrap();
    let reader = LocalKms::open_read_only(folder.store(), root(&folder)).unwrap();
    assert_eq!(decrypt(&reader, key.arn(), &ciphertext).unwrap(), b"kept");
    kms.disable_key(key.arn()).unwrap();
    assert_eq!(code(&decrypt(&reader, key.arn(), &ciphertext).unwrap_err()), "DisabledException");
    kms.enable_key(key.arn()).unwrap();
    let purged = kms.change_root_key(RootKey::from_bytes(&[9; 32])).unwrap().is_purged();
    assert!(purged, "an idle reader does not block others");
    assert_eq!(decrypt(&reader, key.arn(), &ciphertext).unwrap_err().kind(), ErrorKind::RootKeyChanged);
    reader.reopen_with(RootKey::from_bytes(&[9; 32])).unwrap();
    assert_eq!(decrypt(&reader, key.arn(), &ciphertext).unwrap(), b"kept");
    fs::rename(folder.store(), folder.0.path().join("moved")).unwrap();
    let error = (0..20).find_map(|_| reader.list_keys().err()).unwrap();
    assert!(error.to_string().contains("moved, replaced or removed"), "{error}");
}

#[test]
fn a_file_that_was_not_closed_is_restored_and_not_read_in_place() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    // A copy of an open file, as in a snapshot of the disk.
    let copy = folder.0.path().join("copy");
    fs::copy(folder.store(), &copy).unwrap();
    unchanged(&copy, || {
        let error = LocalKms::open_read_only(&copy, root(&folder)).unwrap_err();
        assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("restore it"), "{error}");
        let new = folder.0.path().join("new");
        let (restored, _) = LocalKms::restore(&copy, &new, root(&folder)).unwrap();
        assert_eq!(described(&restored), [key]);
    });
}

#[test]
fn a_restore_changes_no_byte_of_the_backup() {
    for root_key in [RootKey::from_bytes(&[3; 32]), RootKey::from_passphrase("correct horse")] {
        let folder = Folder::new();
        let kms = LocalKms::create(folder.store(), root_key.clone()).unwrap();
        (0..5).for_each(|_| drop(kms.create_key(CreateKey::default()).unwrap()));
        let backup = folder.0.path().join("backup");
        kms.backup(&backup).unwrap();
        unchanged(&backup, || {
            let restored = folder.0.path().join("restored");
            let wrong = LocalKms::restore(&backup, &restored, RootKey::from_bytes(&[4; 32])).unwrap_err();
            assert_eq!(wrong.kind(), ErrorKind::Storage);
            assert!(!restored.exists());
            let (copy, dropped) = LocalKms::restore(&backup, &restored, root_key).unwrap();
            assert_eq!((copy.list_keys().unwrap().len(), dropped), (5, 0));
            copy.create_key(CreateKey::default()).unwrap();
        });
    }
}

/// However a file is changed, reading it in place returns an error or what was written.
#[test]
fn a_damaged_file_is_refused_or_read_as_it_was_and_not_touched() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let ciphertext = encrypt(&kms, key.arn(), b"kept").unwrap();
    let whole = folder.0.path().join("whole");
    kms.backup(&whole).unwrap();
    let whole = fs::read(whole).unwrap();
    let damaged = folder.0.path().join("damaged");
    let mut refused = 0;
    for at in (0..512).step_by(8).chain((512..whole.len()).step_by(whole.len() / 60)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        fs::write(&damaged, &bytes).unwrap();
        unchanged(&damaged, || match LocalKms::open_read_only(&damaged, root(&folder)) {
            Ok(kms) => assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"kept", "byte {at}"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::RootKeyChanged), "byte {at}: {error}");
                refused += 1;
            }
        });
    }
    assert!(refused > 20, "{refused}");
    for bytes in [&[][..], b"hello", &vec![0; 1 << 16], &whole[..512], &whole[..4097], &whole[..whole.len() - 1]] {
        fs::write(&damaged, bytes).unwrap();
        unchanged(&damaged, || LocalKms::open_read_only(&damaged, root(&folder)).unwrap_err());
        unchanged(&damaged, || LocalKms::restore(&damaged, folder.0.path().join("x"), root(&folder)).unwrap_err());
    }
    assert!(!folder.0.path().join("x").exists());
}

#[test]
fn handles_of_a_changed_root_key_are_given_the_new_one_in_place() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let other = folder.open().unwrap();
    let views = [other.clone(), other.as_principal("arn:aws:iam::000000000000:root").unwrap()];
    let ciphertext = encrypt(&other, key.arn(), b"kept").unwrap();
    kms.change_root_key(RootKey::from_passphrase("another")).unwrap();

    assert_eq!(decrypt(&other, key.arn(), &ciphertext).unwrap_err().kind(), ErrorKind::RootKeyChanged);
    assert_eq!(other.reopen().unwrap_err().kind(), ErrorKind::RootKeyChanged);
    for wrong in [RootKey::from_passphrase("wrong"), RootKey::from_bytes(&[1; 32])] {
        assert_eq!(other.reopen_with(wrong).unwrap_err().kind(), ErrorKind::Storage);
    }
    assert_eq!(views[0].list_keys().unwrap_err().kind(), ErrorKind::RootKeyChanged, "nothing was changed by that");
    views[1].reopen_with(RootKey::from_passphrase("another")).unwrap();
    assert_eq!(decrypt(&other, key.arn(), &ciphertext).unwrap(), b"kept");
    assert!(views.iter().all(|view| view.list_keys().unwrap().len() == 1));
    other.create_key(CreateKey::default()).unwrap();
    other.reopen().unwrap();
    assert_eq!(other.list_keys().unwrap().len(), 2);
}

#[test]
fn only_a_later_state_of_the_same_store_is_opened_again() {
    let folder = Folder::new();
    let kms = folder.create();
    kms.create_key(CreateKey::default()).unwrap();
    let earlier = folder.0.path().join("earlier");
    kms.backup(&earlier).unwrap();
    kms.create_key(CreateKey::default()).unwrap();
    let later = folder.0.path().join("later");
    kms.backup(&later).unwrap();
    let another = folder.0.path().join("another");
    drop(LocalKms::create(&another, root(&folder)).unwrap());
    for (path, why) in [(&another, "another key store"), (&earlier, "set back")] {
        fs::rename(path, folder.store()).unwrap();
        let error = kms.reopen().unwrap_err();
        assert!(error.kind() == ErrorKind::Storage && error.to_string().contains(why), "{error}");
        assert!(kms.create_key(CreateKey::default()).is_err());
    }
    fs::rename(&later, folder.store()).unwrap();
    kms.reopen().unwrap();
    kms.create_key(CreateKey::default()).unwrap();
    assert_eq!(folder.open().unwrap().list_keys().unwrap().len(), 3);
    fs::remove_file(folder.store()).unwrap();
    assert_eq!(kms.reopen().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(LocalKms::in_memory().unwrap().reopen().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_handle_is_opened_again_while_it_is_in_use() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = 0_u32;
            while !is_done.load(std::sync::atomic::Ordering::SeqCst) {
                kms.update_key_description(key.arn(), &written.to_string()).unwrap();
                written += 1;
            }
            written
        });
        for _ in 0..20 {
            let opened = kms.reopen();
            is_done.store(opened.is_err(), std::sync::atomic::Ordering::SeqCst);
            opened.unwrap();
        }
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        let written = writing.join().unwrap();
        assert!(written > 0 && kms.describe_key(key.arn()).unwrap().description() == (written - 1).to_string());
    });
}

/// A file size limit stands in for a full disk. A shell sets it, and then runs this test again.
#[cfg(unix)]
#[test]
fn a_handle_goes_on_after_a_write_that_failed_once_it_is_opened_again() {
    const FOLDER: &str = "MANILA_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let kms = LocalKms::open(Path::new(&folder).join("keys.redb"), RootKey::from_bytes(&[3; 32])).unwrap();
        let view = kms.as_principal("arn:aws:iam::000000000000:root").unwrap();
        let key = kms.list_keys().unwrap().remove(0).arn().to_owned();
        let sealed = encrypt(&kms, &key, b"kept").unwrap();
        let request = || CreateKey::default().description("d".repeat(8000));
        let acknowledged = std::iter::repeat_with(|| kms.create_key(request())).take_while(Result::is_ok).count();
        assert!(acknowledged > 0);
        assert_eq!(decrypt(&view, &key, &sealed).unwrap_err().kind(), ErrorKind::Storage, "until then it refuses all");
        kms.reopen().unwrap();
        assert_eq!(decrypt(&view, &key, &sealed).unwrap(), b"kept");
        assert_eq!(view.list_keys().unwrap().len(), 1 + acknowledged);
        // There is room again for a moment, and a write succeeds.
        view.disable_key(&key).unwrap();
        assert_eq!(kms.describe_key(&key).unwrap().state(), KeyState::Disabled);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kms = LocalKms::create(folder.path().join("keys.redb"), RootKey::from_bytes(&[3; 32])).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    ready(kms.encrypt(KmsRequest::new(key.arn(), &context(&[])), b"x")).unwrap();
    drop(kms);
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg("opening::a_handle_goes_on_after_a_write_that_failed_once_it_is_opened_again")
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(status.status.success() && String::from_utf8_lossy(&status.stdout).contains("1 passed"), "{status:?}");
}
