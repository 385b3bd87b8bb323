//! Folders to folders: everything comes back, and nothing hostile gets out.

mod continuing;
mod hostile;

use std::fs;
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
            FolderEvent::Read { bytes, .. } => *read.lock().unwrap() += bytes,
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
        if let FolderEvent::Read { bytes: 1.., .. } = event
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
