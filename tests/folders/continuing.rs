//! Operations that did not finish, and updates of what did.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use manila::fs::{FolderEvent, Folders};
use manila::{Client, Error, ExpectedContext};

use crate::{Desk, client, content, tenant, tree};

/// Panics at the event of this number about a file that is done, as a crash would end the operation there.
fn crash_at(number: usize) -> impl Fn(&FolderEvent<'_>) + Send + Sync {
    let done = Mutex::new(0);
    move |event| {
        if let FolderEvent::Done { .. } = event {
            let mut done = done.lock().unwrap();
            *done += 1;
            assert!(*done < number, "a crash");
        }
    }
}

#[test]
fn an_encryption_that_did_not_finish_is_continued() {
    let (desk, client) = (Desk::new(), client(1));
    // Enough entries to fill some frames of the journal.
    for n in 0..200 {
        fs::write(desk.path("plain/a").join(format!("file {n:03}")), format!("content {n}")).unwrap();
    }
    let before = tree(&desk.path("plain"));
    for number in [150, 50] {
        let crashing = Folders::new(&client).on_event(crash_at(number));
        let run = || crashing.encrypt(desk.path("plain"), desk.path("sealed"), &tenant());
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert!(!desk.path("sealed/manifest.manila").exists());
    }
    fs::write(desk.path("sealed/partial/.manila-stale"), "a temporary file of a process that was killed").unwrap();
    // This one has changed since, and this one is gone.
    fs::write(desk.path("plain/a/file 003"), "other content").unwrap();
    fs::remove_file(desk.path("plain/a/file 004")).unwrap();
    let report = Folders::new(&client).encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    assert!((100..200).contains(&report.kept()), "{report:?}");
    assert_eq!(report.files(), 205);
    assert!(!desk.path("sealed/partial").exists());
    assert!(!desk.path("sealed/files/a/file 004.manila").exists());
    Folders::new(&client).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(fs::read(desk.path("copy/a/file 003")).unwrap(), b"other content");
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
    assert_ne!(tree(&desk.path("copy")), before);
}

#[test]
fn an_encrypted_folder_is_brought_up_to_date() {
    for hide in [false, true] {
        let (desk, client) = (Desk::new(), client(1));
        let folders = Folders::new(&client).hide_names(hide).replace(true);
        folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
        fs::write(desk.path("plain/a/1"), "changed").unwrap();
        fs::write(desk.path("plain/new"), "new").unwrap();
        fs::remove_dir_all(desk.path("plain/b.manila")).unwrap();
        let report = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
        assert_eq!((report.files(), report.kept()), (6, 4));
        assert!(!desk.path("sealed/files/b.manila").exists());
        folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
        assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
    }
}

/// Brings `sealed` up to date with `plain`, in which something fails, and then decrypts it.
#[cfg(unix)]
fn update_with_failures(desk: &Desk, client: &Client) -> Error {
    let error = Folders::new(client).replace(true).encrypt(desk.path("plain"), desk.path("sealed"), &tenant());
    let error = error.unwrap_err();
    let _ = fs::remove_dir_all(desk.path("copy"));
    Folders::new(client).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    error
}

#[cfg(unix)]
#[test]
fn what_fails_in_an_update_is_kept_as_it_was() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    // A file that turned into something that cannot be encrypted.
    fs::remove_file(desk.path("plain/a/2")).unwrap();
    std::os::unix::net::UnixListener::bind(desk.path("plain/a/2")).unwrap();
    fs::write(desk.path("plain/a/1"), "changed").unwrap();
    let error = update_with_failures(&desk, &client);
    assert!(error.to_string().contains("one entry of"), "{error}");
    assert_eq!(fs::read(desk.path("copy/a/2")).unwrap(), content(5));
    assert_eq!(fs::read(desk.path("copy/a/1")).unwrap(), b"changed");

    // A file that changes while it is read.
    let growing = desk.path("plain/b.manila/c");
    fs::write(&growing, content(300_001)).unwrap();
    let folders = Folders::new(&client).replace(true).on_event(|event| {
        if let FolderEvent::Read { bytes: 1.., .. } = event
            && fs::metadata(&growing).unwrap().len() < 400_000
        {
            let file = fs::OpenOptions::new().append(true).open(&growing).unwrap();
            std::io::Write::write_all(&mut &file, b"more").unwrap();
        }
    });
    assert!(folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).is_err());
    fs::remove_dir_all(desk.path("copy")).unwrap();
    Folders::new(&client).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(fs::read(desk.path("copy/b.manila/c")).unwrap(), content(300_000));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_in_an_update_is_kept_as_it_was() {
    use std::os::unix::fs::PermissionsExt;
    let (desk, client) = (Desk::new(), client(1));
    fs::create_dir(desk.path("plain/a/deep")).unwrap();
    fs::write(desk.path("plain/a/deep/file"), "deep").unwrap();
    desk.encrypt(&client);
    let set_mode = |mode| fs::set_permissions(desk.path("plain/a"), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    if fs::read_dir(desk.path("plain/a")).is_ok() {
        // Whoever runs this reads everything: the folder is gone instead, and a file that nobody can encrypt is there.
        set_mode(0o755);
        fs::rename(desk.path("plain/a"), desk.path("away")).unwrap();
        std::os::unix::net::UnixListener::bind(desk.path("plain/a")).unwrap();
    }
    let error = update_with_failures(&desk, &client);
    assert!(error.to_string().contains("one entry of"), "{error}");
    // Its permissions came back too.
    fs::set_permissions(desk.path("copy/a"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fs::read(desk.path("copy/a/2")).unwrap(), content(5));
    assert_eq!(fs::read(desk.path("copy/a/deep/file")).unwrap(), b"deep");
    assert_eq!(fs::read_link(desk.path("copy/a/link")).unwrap(), Path::new("../b"));
    let _ = fs::set_permissions(desk.path("plain/a"), fs::Permissions::from_mode(0o755));
}

#[test]
fn a_message_is_not_removed_because_its_file_is_refused() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    fs::write(desk.path("plain/A"), "similar to the folder").unwrap();
    let folders = Folders::new(&client).replace(true);
    folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(desk.path("sealed/files/a/2.manila").exists());
}

#[test]
fn an_update_that_did_not_finish_leaves_the_manifest_in_its_place() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    for n in 0..100 {
        fs::write(desk.path("plain/a").join(format!("file {n:03}")), "new").unwrap();
    }
    let crashing = Folders::new(&client).replace(true).on_event(crash_at(50));
    let run = || crashing.encrypt(desk.path("plain"), desk.path("sealed"), &tenant());
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert!(desk.path("sealed/partial").exists());
    assert!(Folders::is_unfinished(desk.path("sealed")));
    let folders = Folders::new(&client);
    let report = folders.list(desk.path("sealed"), ExpectedContext::any(), |_| {}).unwrap();
    assert_eq!(report.files(), 6);
    // It is complete, so nothing replaces it unasked.
    let other = desk.path("plain/b.manila");
    let error = folders.encrypt(other, desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    let report = folders.clone().replace(true).encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    assert_eq!(report.files(), 106);
    assert!(report.kept() >= 6, "{report:?}");
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
}

#[test]
fn a_message_that_is_damaged_is_not_kept() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    let path = desk.path("sealed/files/b.manila/c.manila");
    let mut message = fs::read(&path).unwrap();
    message[150_000] ^= 1;
    fs::write(&path, message).unwrap();
    let [one, other] = ["a/1", "a/2"].map(|name| desk.path(&format!("sealed/files/{name}.manila")));
    fs::copy(&other, &one).unwrap();
    let folders = Folders::new(&client).replace(true);
    let report = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    assert_eq!((report.files(), report.kept()), (6, 4));
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
}

#[test]
fn a_folder_may_get_the_name_that_a_file_had_when_it_was_encrypted() {
    let (desk, client) = (Desk::new(), client(1));
    fs::remove_dir_all(desk.path("plain/b.manila")).unwrap();
    desk.encrypt(&client);
    fs::create_dir(desk.path("plain/b.manila")).unwrap();
    fs::write(desk.path("plain/b.manila/new"), "new").unwrap();
    let folders = Folders::new(&client).replace(true);
    folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
}

#[test]
fn two_folders_are_not_mixed_and_what_is_kept_is_what_was_encrypted() {
    let (desk, other, client) = (Desk::new(), Desk::new(), client(1));
    for (desk, text) in [(&desk, "one"), (&other, "two")] {
        for n in 0..200 {
            fs::write(desk.path("plain/a").join(format!("file {n:03}")), text).unwrap();
        }
        desk.encrypt(&client);
    }
    let crashing = Folders::new(&client).on_event(crash_at(100));
    let run = || crashing.decrypt(desk.path("sealed"), desk.path("copy"), &tenant());
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    let folders = Folders::new(&client);
    let error = folders.decrypt(other.path("sealed"), desk.path("copy"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("a part of another encrypted folder"), "{error}");

    // Another content, of the same length and time.
    let changed = desk.path("copy/a/file 003");
    let modified = fs::metadata(&changed).unwrap().modified().unwrap();
    fs::write(&changed, "two").unwrap();
    fs::File::open(&changed).unwrap().set_times(fs::FileTimes::new().set_modified(modified)).unwrap();
    let error = folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("file 003") && error.to_string().contains("exists"), "{error}");
    folders.replace(true).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
}

#[test]
fn what_is_kept_must_be_there() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    fs::remove_file(desk.path("sealed/files/a/1.manila")).unwrap();
    fs::copy(desk.path("sealed/files/b.manila/c.manila"), desk.path("sealed/files/a/2.manila")).unwrap();
    let folders = Folders::new(&client).replace(true);
    let report = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    assert_eq!((report.files(), report.kept()), (6, 4));
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
}

#[test]
fn a_decryption_that_did_not_finish_is_continued() {
    let (desk, client) = (Desk::new(), client(1));
    for n in 0..200 {
        fs::write(desk.path("plain/a").join(format!("file {n:03}")), format!("content {n}")).unwrap();
    }
    desk.encrypt(&client);
    let crashing = Folders::new(&client).on_event(crash_at(100));
    let run = || crashing.decrypt(desk.path("sealed"), desk.path("copy"), &tenant());
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    assert!(desk.path("copy/.manila-partial").exists());
    fs::write(desk.path("copy/.manila-partial/.manila-stale"), "a temporary file").unwrap();
    let report = Folders::new(&client).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(report.files(), 206);
    assert!((99..206).contains(&report.kept()), "{report:?}");
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
}
