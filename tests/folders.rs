//! Folders to folders: everything comes back, and nothing hostile gets out.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use manila::fs::{Files, FolderEvent, Folders};
use manila::keyring::RawAesKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, Error, ErrorKind, ExpectedContext};

/// A client with a test key.
fn client(number: u8) -> Client {
    let keyring = RawAesKeyring::new("example", &format!("test-key-{number}"), &[number; 32]).unwrap();
    Client::builder(keyring).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build().unwrap()
}

fn tenant() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

/// A folder for a test, with a folder `plain` in it.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for folder in ["plain", "plain/a", "plain/a/empty", "plain/b.manila"] {
            fs::create_dir(desk.path(folder)).unwrap();
        }
        for (file, len) in [("a/1", 0), ("a/2", 5), ("b", 4096), ("b.manila/c", 300_000), ("\u{e9}\n\"", 70_000)] {
            fs::write(desk.path("plain").join(file), content(len)).unwrap();
        }
        fs::write(desk.path("plain").join("n".repeat(250)), "long").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::{PermissionsExt, symlink};
            symlink("../b", desk.path("plain/a/link")).unwrap();
            symlink("nowhere", desk.path("plain/dangling")).unwrap();
            fs::set_permissions(desk.path("plain/a/2"), fs::Permissions::from_mode(0o754)).unwrap();
            fs::set_permissions(desk.path("plain/a/empty"), fs::Permissions::from_mode(0o500)).unwrap();
        }
        for path in ["plain/a/2", "plain/a", "plain"] {
            let file = fs::File::open(desk.path(path)).unwrap();
            file.set_times(fs::FileTimes::new().set_modified(long_ago())).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Encrypts `plain` into `sealed`.
    fn encrypt(&self, client: &Client) {
        Folders::new(client).encrypt(self.path("plain"), self.path("sealed"), &tenant()).unwrap();
    }

    /// Decrypts `sealed` into `copy`, and returns the error and the paths that failed.
    fn refusal(&self, client: &Client) -> (Error, Vec<String>) {
        let failed = Mutex::new(Vec::new());
        let folders = Folders::new(client).on_event(|event| {
            if let FolderEvent::Failed { path, .. } = event {
                failed.lock().unwrap().push((*path).to_owned());
            }
        });
        let error = folders.decrypt(self.path("sealed"), self.path("copy"), &tenant()).unwrap_err();
        drop(folders);
        (error, failed.into_inner().unwrap())
    }

    /// Writes a manifest with these lines into `sealed`, as someone with the keys can.
    fn forge(&self, client: &Client, lines: &[&str]) {
        let head = r#"{"manila_folder":1,"attributes":{"mode":null,"modified":[0,0]}}"#;
        let lines = [&[head], lines, &[""]].concat().join("\n");
        let context = EncryptionContext::new([("tenant", "acme"), ("manila-manifest", &"0".repeat(32))]).unwrap();
        fs::write(self.path("sealed/manifest.manila"), client.encrypt(lines.as_bytes(), &context).unwrap()).unwrap();
    }
}

fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789)
}

fn content(len: u32) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// Everything in a folder that is kept: path, kind or permissions, time unless it is that of a link, content.
fn tree(root: &Path) -> Vec<(String, String, Option<SystemTime>, Vec<u8>)> {
    fn add(root: &Path, path: &Path, tree: &mut Vec<(String, String, Option<SystemTime>, Vec<u8>)>) {
        let metadata = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if metadata.is_symlink() {
            let target = fs::read_link(path).unwrap().to_str().unwrap().as_bytes().to_vec();
            return tree.push((name, "link".to_owned(), None, target));
        }
        let content = if metadata.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        tree.push((name, format!("{:?}", metadata.permissions()), metadata.modified().ok(), content));
        if metadata.is_dir() {
            let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            for entry in entries {
                add(root, &entry, tree);
            }
        }
    }
    let mut entries = Vec::new();
    add(root, root, &mut entries);
    entries
}

#[test]
fn everything_in_a_folder_comes_back() {
    for (jobs, hide) in [(1, false), (4, false), (4, true)] {
        let (desk, client) = (Desk::new(), client(1));
        let read = Mutex::new(0);
        let folders = Folders::new(&client).jobs(jobs).hide_names(hide).on_event(|event| match event {
            FolderEvent::Read(count) => *read.lock().unwrap() += count,
            FolderEvent::Failed { error, .. } => panic!("{error}"),
            _ => {}
        });
        let report = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
        assert_eq!((report.files(), report.folders(), report.bytes()), (6, 3, 374_105));
        assert_eq!(report.links(), if cfg!(unix) { 2 } else { 0 });
        assert_eq!(*read.lock().unwrap(), 374_105);
        assert_eq!(Folders::count(desk.path("plain")).unwrap(), report);
        assert!(!desk.path("sealed/partial").exists());
        let names = format!("{:?}", tree(&desk.path("sealed")).iter().map(|entry| &entry.0).collect::<Vec<_>>());
        assert_eq!(names.contains("files/a/2.manila"), !hide, "{names}");
        assert_eq!(names.contains("b.manila/c") || names.contains("nnnn"), !hide, "{names}");

        let back = folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
        assert_eq!(back, report);
        assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
        let mut listed = Vec::new();
        let each = |item: &manila::fs::FolderItem<'_>| listed.push((item.path().to_owned(), item.plaintext_len()));
        assert_eq!(folders.list(desk.path("sealed"), ExpectedContext::any(), each).unwrap(), report);
        assert_eq!(listed[0], ("a".to_owned(), None));
        assert_eq!(listed[1], ("a/1".to_owned(), Some(0)));
        assert!(Folders::is_encrypted(desk.path("sealed")) && !Folders::is_encrypted(desk.path("plain")));
    }
}

#[test]
fn the_context_and_the_keys_must_be_right() {
    let (desk, client_1) = (Desk::new(), client(1));
    desk.encrypt(&client_1);
    let globex = EncryptionContext::new([("tenant", "globex")]).unwrap();
    let decrypt = |client: &Client, expected: ExpectedContext| {
        Folders::new(client).decrypt(desk.path("sealed"), desk.path("copy"), expected).unwrap_err().kind()
    };
    assert_eq!(decrypt(&client_1, ExpectedContext::from(&globex)), ErrorKind::ContextMismatch);
    assert_eq!(decrypt(&client_1, ExpectedContext::exactly(&globex)), ErrorKind::ContextMismatch);
    assert_eq!(decrypt(&client_1, ExpectedContext::from(&EncryptionContext::empty())), ErrorKind::InvalidInput);
    assert_eq!(decrypt(&client(2), ExpectedContext::any()), ErrorKind::NoUsableDataKey);
    assert!(!desk.path("copy").exists());
    let exactly = ExpectedContext::exactly(&tenant());
    Folders::new(&client_1).decrypt(desk.path("sealed"), desk.path("copy"), exactly).unwrap();

    let taken = EncryptionContext::new([("manila-folder", "mine")]).unwrap();
    let error = Folders::new(&client_1).encrypt(desk.path("plain"), desk.path("other"), &taken).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!desk.path("other").exists());
}

#[test]
fn each_file_is_a_message_of_its_own_that_can_be_re_encrypted() {
    let (desk, old, new) = (Desk::new(), client(1), client(2));
    desk.encrypt(&old);
    let files = Files::new(&old).replace(true);
    for file in ["manifest.manila", "files/a/1.manila", "files/a/2.manila", "files/b.manila/c.manila"] {
        let path = desk.path("sealed").join(file);
        files.reencrypt(&path, &path, &tenant(), &new).unwrap();
    }
    let (error, failed) = desk.refusal(&new);
    assert_eq!(error.kind(), ErrorKind::NoUsableDataKey);
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert_eq!(fs::read(desk.path("copy/b.manila/c")).unwrap(), content(300_000));
}

/// Makes a fault in `sealed`, and returns the error of decrypting it and the paths that failed.
fn fault(make: impl FnOnce(&Desk, &Client)) -> (Error, Vec<String>) {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    make(&desk, &client);
    let (error, failed) = desk.refusal(&client);
    if failed.is_empty() {
        assert!(!desk.path("copy").exists(), "{error}");
    } else {
        // The rest is done.
        assert_eq!(fs::read(desk.path("copy/b.manila/c")).unwrap(), content(300_000));
        assert!(!desk.path("copy/.manila-partial").exists());
    }
    (error, failed)
}

#[test]
fn a_file_that_is_missing_or_another_is_left_out_by_name() {
    let (error, failed) = fault(|desk, _| fs::remove_file(desk.path("sealed/files/a/2.manila")).unwrap());
    assert!(error.to_string().contains("one entry of") && error.to_string().contains("is missing"), "{error}");
    assert_eq!((error.kind(), failed.as_slice()), (ErrorKind::Io, ["a/2".to_owned()].as_slice()));

    let (error, failed) = fault(|desk, _| {
        let [one, other] = ["a/1", "a/2"].map(|name| desk.path(&format!("sealed/files/{name}.manila")));
        fs::rename(&one, desk.path("away")).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(desk.path("away"), &other).unwrap();
    });
    assert_eq!(
        (error.kind(), failed.as_slice()),
        (ErrorKind::ContextMismatch, ["a/1", "a/2"].map(str::to_owned).as_slice())
    );

    let (error, failed) = fault(|desk, _| {
        let path = desk.path("sealed/files/b.manila");
        assert!(path.is_dir(), "the file `b` is elsewhere, because a folder has its name");
        fs::write(path.join("more.manila"), "added").unwrap();
    });
    assert!(error.to_string().contains("is not in the manifest"), "{error}");
    assert!(failed[0].ends_with("more.manila"), "{failed:?}");

    let (error, _) = fault(|desk, _| {
        let path = desk.path("sealed/files/a/2.manila");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);

    let (error, _) = fault(|desk, client| {
        // A message of this folder that was made by someone with the keys.
        let path = desk.path("sealed/files/a/2.manila");
        let context = client.decrypt(&fs::read(&path).unwrap(), &tenant()).unwrap().header.encryption_context().clone();
        fs::write(&path, client.encrypt(b"more than there was", &context).unwrap()).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::ContextMismatch);
}

#[cfg(unix)]
#[test]
fn links_and_devices_in_an_encrypted_folder_are_not_followed() {
    use std::os::unix::fs::symlink;
    for target in ["/dev/zero", "2.moved"] {
        let (error, failed) = fault(|desk, _| {
            let path = desk.path("sealed/files/a/2.manila");
            fs::rename(&path, desk.path("2.moved")).unwrap();
            symlink(if target.starts_with('/') { PathBuf::from(target) } else { desk.path(target) }, path).unwrap();
        });
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
        assert_eq!(failed, ["a/2"]);
    }
}

#[test]
fn a_manifest_that_is_missing_or_another_is_refused_before_anything_is_written() {
    let (error, _) = fault(|desk, _| fs::remove_file(desk.path("sealed/manifest.manila")).unwrap());
    assert!(error.to_string().contains("is missing"), "{error}");
    let (error, _) = fault(|desk, _| {
        let path = desk.path("sealed/manifest.manila");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::Truncated);
    let (error, _) = fault(|desk, _| {
        fs::copy(desk.path("sealed/files/a/2.manila"), desk.path("sealed/manifest.manila")).unwrap();
    });
    assert!(error.to_string().contains("is a message that is not the manifest"), "{error}");

    let (error, failed) = {
        let (desk, client) = (Desk::new(), client(1));
        desk.encrypt(&client);
        Folders::new(&client).encrypt(desk.path("plain"), desk.path("other"), &tenant()).unwrap();
        fs::copy(desk.path("other/manifest.manila"), desk.path("sealed/manifest.manila")).unwrap();
        desk.refusal(&client)
    };
    // All files but the hidden ones, which are missing under their names in the other folder.
    assert_eq!((error.kind(), failed.len()), (ErrorKind::ContextMismatch, 6), "{failed:?}");
}

#[test]
fn a_forged_manifest_writes_nothing() {
    let attributes = r#""attributes":{"mode":493,"modified":[0,0]}"#;
    let digest = "0".repeat(64);
    let file = |path: &str| {
        format!(r#"{{"file":{{"path":"{path}",{attributes},"len":5,"digest":"{digest}","hidden":null}}}}"#)
    };
    let folder = |path: &str| format!(r#"{{"folder":{{"path":"{path}",{attributes}}}}}"#);
    let link = |path: &str, target: &str| format!(r#"{{"link":{{"path":"{path}","target":"{target}"}}}}"#);
    let long = "n".repeat(70_000);
    for lines in [
        vec![file("../out")],
        vec![file("/tmp/manila-out")],
        vec![file("")],
        vec![file("x"), file("x")],
        vec![folder("x"), file("x/y"), file("x")],
        vec![file("X"), file("x")],
        vec![file("e\u{301}"), file("\u{e9}")],
        vec![file(&"n".repeat(256))],
        vec![file(&long)],
        vec![file(".manila-partial/x")],
        vec![link("x", "/etc")],
        vec![link("x", "../x")],
        vec![link("x", ".."), file("x/out")],
        vec![format!(r#"{{"device":{{"path":"x",{attributes}}}}}"#)],
        vec![file("x").replace("null", "\"../../../../../../../../out/of/it\"")],
        vec![file("x").replace("null", "\"..\"")],
        vec![file("x").replace(&digest, "")],
        vec!["not JSON".to_owned()],
    ] {
        let (error, failed) = fault(|desk, client| {
            desk.forge(client, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        });
        assert!(failed.is_empty(), "{failed:?}");
        assert!(matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Malformed), "{error}");
        assert!(error.to_string().contains("manifest.manila"), "{error}");
    }
}

#[test]
fn a_target_that_exists_is_replaced_only_if_asked_for() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    let folders = Folders::new(&client);
    let error = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    for not_ours in ["plain/a", "plain/a/1"] {
        let replacing = folders.clone().replace(true);
        let error = replacing.encrypt(desk.path("sealed"), desk.path(not_ours), &tenant()).unwrap_err();
        assert!(error.to_string().contains("exists and is not"), "{error}");
    }
    fs::create_dir(desk.path("copy")).unwrap();
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    fs::write(desk.path("copy/a/2"), "changed").unwrap();
    fs::write(desk.path("copy/a/mine"), "mine").unwrap();
    let error = folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    assert_eq!(fs::read(desk.path("copy/a/2")).unwrap(), b"changed");
    folders.clone().replace(true).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(fs::read(desk.path("copy/a/2")).unwrap(), content(5));
    assert_eq!(fs::read(desk.path("copy/a/mine")).unwrap(), b"mine");
    let error = folders.encrypt(desk.path("plain"), desk.path("plain/a/sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("lie in each other"), "{error}");
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_links_in_the_target() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    for folder in ["copy", "outside"] {
        fs::create_dir(desk.path(folder)).unwrap();
    }
    std::os::unix::fs::symlink(desk.path("outside"), desk.path("copy/a")).unwrap();
    std::os::unix::fs::symlink(desk.path("victim"), desk.path("copy/b")).unwrap();
    let folders = Folders::new(&client).replace(true);
    let error = folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("6 entries"), "{error}");
    assert_eq!(fs::read_dir(desk.path("outside")).unwrap().count(), 0);
    assert!(!desk.path("victim").exists());
    assert_eq!(fs::read(desk.path("copy/b.manila/c")).unwrap(), content(300_000));

    std::os::unix::fs::symlink(desk.path("outside"), desk.path("link")).unwrap();
    assert!(folders.decrypt(desk.path("sealed"), desk.path("link"), &tenant()).is_err());
    assert!(folders.encrypt(desk.path("plain"), desk.path("link"), &tenant()).is_err());
    assert_eq!(fs::read_dir(desk.path("outside")).unwrap().count(), 0);
}

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

#[test]
fn two_operations_on_one_target_are_refused() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    let lock = fs::File::open(desk.path("sealed/.lock")).unwrap();
    lock.lock().unwrap();
    let folders = Folders::new(&client).replace(true);
    let error = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("another job is at work"), "{error}");
    // Reading is not writing.
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    fs::create_dir_all(desk.path("other/.manila-partial")).unwrap();
    let lock = fs::File::create(desk.path("other/.manila-partial/.lock")).unwrap();
    lock.lock().unwrap();
    let error = folders.decrypt(desk.path("sealed"), desk.path("other"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("another job is at work"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_cannot_be_encrypted_is_left_out_by_name() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let (desk, client) = (Desk::new(), client(1));
    symlink("/etc/passwd", desk.path("plain/a/out")).unwrap();
    fs::write(desk.path("plain/B"), "similar to b").unwrap();
    fs::write(desk.path("plain").join(std::ffi::OsStr::from_bytes(b"\xff")), "not UTF-8").unwrap();
    std::os::unix::net::UnixListener::bind(desk.path("plain/socket")).unwrap();
    let failed = Mutex::new(Vec::new());
    let folders = Folders::new(&client).on_event(|event| {
        if let FolderEvent::Failed { path, .. } = event {
            failed.lock().unwrap().push((*path).to_owned());
        }
    });
    let error = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("4 entries of") && error.to_string().contains("a/out"), "{error}");
    // `B` comes before `b`, which is the second of the two.
    assert_eq!(*failed.lock().unwrap(), ["a/out", "b", "socket", "\u{fffd}"]);
    let report = folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(report.files(), 6);

    let allowing = folders.allow_similar_names(true).allow_outside_links(true).replace(true);
    let error = allowing.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("2 entries of"), "{error}");
    assert!(Folders::new(&client).decrypt(desk.path("sealed"), desk.path("other"), &tenant()).is_err());
    allowing.decrypt(desk.path("sealed"), desk.path("other"), &tenant()).unwrap();
    assert_eq!(fs::read_link(desk.path("other/a/out")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_out() {
    let (desk, client) = (Desk::new(), client(1));
    let growing = desk.path("plain/b.manila/c");
    let folders = Folders::new(&client).on_event(|event| {
        if let FolderEvent::Read(1..) = event
            && fs::metadata(&growing).unwrap().len() < 400_000
        {
            let file = fs::OpenOptions::new().append(true).open(&growing).unwrap();
            std::io::Write::write_all(&mut &file, b"more").unwrap();
        }
    });
    let error = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("was changed while it was being encrypted"), "{error}");
    let report = Folders::new(&client).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(report.files(), 5);
}

#[test]
fn signed_messages_are_verified_whole() {
    let keyring = RawAesKeyring::new("example", "test-key", &[1; 32]).unwrap();
    let (desk, client) = (Desk::new(), Client::new(keyring));
    desk.encrypt(&client);
    Folders::new(&client).decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("plain")));
    let replacing = Folders::new(&client).replace(true);
    assert_eq!(replacing.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap().kept(), 6);
}
