//! Files to files: whole and verified or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use manila::fs::{Files, NewFile, Unfinished};
use manila::keyring::{Keyring, RawAesKeyring};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::{
    AlgorithmSuite, Client, CommitmentPolicy, ContentType, EncryptionContext, ErrorKind, ExpectedContext,
    UnverifiedHeader,
};

/// A client with a test key.
fn client(number: u8) -> Client {
    let keyring = RawAesKeyring::new("example", &format!("test-key-{number}"), &[number; 32]).unwrap();
    Client::builder(keyring).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build().unwrap()
}

fn tenant() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

/// A folder with a plaintext file of 300,000 bytes.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::write(desk.path("plain"), content()).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|n| (n % 251) as u8).collect()
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_comes_back_and_progress_counts_its_bytes() {
    let (desk, client) = (Desk::new(), client(1));
    let read = Mutex::new(0);
    let files = Files::new(&client).on_progress(|count| *read.lock().unwrap() += count);
    assert_eq!(files.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap(), 300_000);
    assert_eq!(*read.lock().unwrap(), 300_000);
    let header = files.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
    assert_eq!(header.encryption_context().get("tenant"), Some("acme"));
    assert_eq!(*read.lock().unwrap(), 300_000 + desk.path("sealed").metadata().unwrap().len());
    assert_eq!(fs::read(desk.path("copy")).unwrap(), content());
    assert_eq!(desk.names(), ["copy", "plain", "sealed"]);
}

#[test]
fn nothing_appears_and_nothing_is_lost_after_a_failure() {
    let (desk, client) = (Desk::new(), client(1));
    let files = Files::new(&client).replace(true);
    files.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    let mut damaged = fs::read(desk.path("sealed")).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(desk.path("damaged"), damaged).unwrap();
    fs::write(desk.path("kept"), b"old").unwrap();
    for target in ["kept", "new"] {
        let error = files.decrypt(desk.path("damaged"), desk.path(target), &tenant()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
        let error = files.reencrypt(desk.path("damaged"), desk.path(target), &tenant(), &client).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    }
    assert_eq!(fs::read(desk.path("kept")).unwrap(), b"old");
    assert_eq!(desk.names(), ["damaged", "kept", "plain", "sealed"]);
}

#[test]
fn what_exists_is_replaced_only_if_asked_for_and_only_if_it_is_a_file() {
    let (desk, client) = (Desk::new(), client(1));
    fs::write(desk.path("taken"), b"old").unwrap();
    let error = Files::new(&client).encrypt(desk.path("plain"), desk.path("taken"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    assert_eq!(fs::read(desk.path("taken")).unwrap(), b"old");
    let replacing = Files::new(&client).replace(true);
    replacing.encrypt(desk.path("plain"), desk.path("taken"), &tenant()).unwrap();
    assert_ne!(fs::read(desk.path("taken")).unwrap(), b"old");

    fs::create_dir(desk.path("folder")).unwrap();
    let error = replacing.encrypt(desk.path("plain"), desk.path("folder"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let error = replacing.encrypt(desk.path("folder"), desk.path("new"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("is a folder"), "{error}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(desk.path("plain"), desk.path("link")).unwrap();
        let error = replacing.encrypt(desk.path("plain"), desk.path("link"), &tenant()).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        assert_eq!(fs::read(desk.path("plain")).unwrap(), content());
    }
}

#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    let desk = Desk::new();
    let file = NewFile::create(desk.path("new")).unwrap();
    fs::write(desk.path("new"), b"of another").unwrap();
    assert_eq!(file.put_in_place().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(fs::read(desk.path("new")).unwrap(), b"of another");
    assert_eq!(desk.names(), ["new", "plain"]);
}

#[cfg(unix)]
#[test]
fn attributes_are_private_unless_they_are_kept() {
    let (desk, client) = (Desk::new(), client(1));
    set_mode(&desk.path("plain"), 0o4751);
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_007);
    fs::File::open(desk.path("plain")).unwrap().set_modified(long_ago).unwrap();
    Files::new(&client).encrypt(desk.path("plain"), desk.path("private"), &tenant()).unwrap();
    assert_eq!(mode(&desk.path("private")), 0o600);
    assert_ne!(desk.path("private").metadata().unwrap().modified().unwrap(), long_ago);

    let keeping = Files::new(&client).keep_attributes(true);
    keeping.encrypt(desk.path("plain"), desk.path("kept"), &tenant()).unwrap();
    keeping.decrypt(desk.path("kept"), desk.path("copy"), &tenant()).unwrap();
    for name in ["kept", "copy"] {
        // A file never becomes one that runs as its owner.
        assert_eq!(mode(&desk.path(name)), 0o751, "{name}");
        assert_eq!(desk.path(name).metadata().unwrap().modified().unwrap(), long_ago, "{name}");
    }
}

#[test]
fn a_file_is_re_encrypted_in_its_place() {
    let (desk, old, new) = (Desk::new(), client(1), client(2));
    let sealed = desk.path("sealed");
    Files::new(&old).encrypt(desk.path("plain"), &sealed, &tenant()).unwrap();
    let files = Files::new(&old).replace(true);
    files.reencrypt(&sealed, &sealed, &tenant(), &new).unwrap();
    let message = fs::read(&sealed).unwrap();
    assert_eq!(new.decrypt(&message, ExpectedContext::exactly(&tenant())).unwrap().plaintext, content());
    assert_eq!(old.decrypt(&message, &tenant()).unwrap_err().kind(), ErrorKind::NoUsableDataKey);
    assert_eq!(desk.names(), ["plain", "sealed"]);
}

/// Encrypts with a key that it cannot decrypt with, as one who has only a public key.
#[derive(Debug)]
struct EncryptOnly(RawAesKeyring);

impl Keyring for EncryptOnly {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        self.0.on_encrypt(materials)
    }

    fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(std::future::ready(Ok(UnwrapOutcome::default())))
    }

    fn is_local(&self) -> bool {
        true
    }
}

#[test]
fn a_file_that_the_new_keys_cannot_decrypt_is_not_replaced() {
    let (desk, old) = (Desk::new(), client(1));
    let new = Client::new(EncryptOnly(RawAesKeyring::new("example", "test-key", &[3; 32]).unwrap()));
    let sealed = desk.path("sealed");
    Files::new(&old).encrypt(desk.path("plain"), &sealed, &tenant()).unwrap();
    let before = fs::read(&sealed).unwrap();
    let error = Files::new(&old).replace(true).reencrypt(&sealed, &sealed, &tenant(), &new).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableDataKey);
    assert_eq!(fs::read(&sealed).unwrap(), before);
    assert_eq!(desk.names(), ["plain", "sealed"]);
}

#[test]
fn a_file_that_changes_while_it_is_re_encrypted_is_not_replaced() {
    let (desk, old, new) = (Desk::new(), client(1), client(2));
    let sealed = desk.path("sealed");
    Files::new(&old).encrypt(desk.path("plain"), &sealed, &tenant()).unwrap();
    Files::new(&old).encrypt(desk.path("plain"), desk.path("newer"), &tenant()).unwrap();
    let newer = fs::read(desk.path("newer")).unwrap();
    let (renamed, path) = (Mutex::new(false), sealed.clone());
    let swap = |_| {
        if !std::mem::replace(&mut *renamed.lock().unwrap(), true) {
            fs::rename(desk.path("newer"), &path).unwrap();
        }
    };
    let error =
        Files::new(&old).replace(true).on_progress(swap).reencrypt(&sealed, &sealed, &tenant(), &new).unwrap_err();
    assert!(error.to_string().contains("was changed"), "{error}");
    assert_eq!(fs::read(&sealed).unwrap(), newer);
    assert_eq!(desk.names(), ["plain", "sealed"]);
}

#[test]
fn a_file_that_changes_while_it_is_encrypted_leaves_nothing() {
    let desk = Desk::new();
    let client = client(1);
    let once = std::sync::Once::new();
    let append = |_| {
        once.call_once(|| {
            let mut file = fs::OpenOptions::new().append(true).open(desk.path("plain")).unwrap();
            std::io::Write::write_all(&mut file, b"more").unwrap();
        });
    };
    let files = Files::new(&client).on_progress(append);
    let error = files.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("changed while it was being encrypted"));
    assert_eq!(desk.names(), ["plain"]);
}

#[test]
fn what_was_interrupted_is_removed_and_stays_so() {
    let desk = Desk::new();
    let client = client(1);
    let unfinished = Unfinished::new();
    unfinished.create(desk.path("done")).unwrap().put_in_place().unwrap();
    drop(unfinished.create(desk.path("given up")).unwrap());
    let once = std::sync::Once::new();
    let stop = |_| {
        once.call_once(|| {
            assert_eq!(desk.names().len(), 3, "{:?}", desk.names());
            assert_eq!(unfinished.stop(), 1);
            assert_eq!(desk.names(), ["done", "plain"]);
        });
    };
    let files = Files::new(&client).list_in(&unfinished).on_progress(stop);
    let error = files.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    assert!(unfinished.create(desk.path("late")).is_err());
    assert_eq!(desk.names(), ["done", "plain"]);
}

#[test]
fn only_temporary_files_of_a_listed_folder_are_removed() {
    let desk = Desk::new();
    let unfinished = Unfinished::new();
    unfinished.list_folder(desk.path(""));
    let half = NewFile::create(desk.path("half")).unwrap();
    assert_eq!(desk.names().len(), 2);
    unfinished.stop();
    assert_eq!(desk.names(), ["plain"]);
    assert!(half.put_in_place().is_err());
}

#[test]
fn a_file_keeps_its_format_if_asked_for_and_allowed() {
    use AlgorithmSuite as Suite;
    let (signed, unsigned) = (Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384, Suite::Aes256GcmHkdfSha512CommitKey);
    let keyring = |number: u8| RawAesKeyring::new("example", &format!("key-{number}"), &[number; 32]).unwrap();
    let new = Client::builder(keyring(2)).frame_length(4096);
    let [both, refusing] =
        [new.suite(unsigned).build().unwrap(), Client::builder(keyring(2)).unsigned_only(true).build().unwrap()];
    for (of_file, kept, refused) in [
        (Suite::Aes128GcmNoKdf, unsigned, unsigned),
        (Suite::Aes256GcmHkdfSha384EcdsaP384, signed, unsigned),
        (unsigned, unsigned, unsigned),
        (signed, signed, unsigned),
    ] {
        let desk = Desk::new();
        let old = Client::builder(keyring(1)).suite(of_file).frame_length(1000);
        let policy = match of_file.is_committing() {
            true => CommitmentPolicy::RequireEncryptAllowDecrypt,
            false => CommitmentPolicy::ForbidEncryptAllowDecrypt,
        };
        let old = old.commitment_policy(policy).build().unwrap();
        Files::new(&old).encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
        let written = |keep: bool, new: &Client| {
            let files = Files::new(&old).replace(true).keep_format(keep);
            files.reencrypt(desk.path("sealed"), desk.path("moved"), &tenant(), new).unwrap();
            let header = UnverifiedHeader::parse(&fs::read(desk.path("moved")).unwrap()).unwrap();
            (header.suite(), header.content_type())
        };
        assert_eq!(written(true, &both), (kept, ContentType::Framed(1000)));
        assert_eq!(written(true, &refusing), (refused, ContentType::Framed(1000)));
        assert_eq!(written(false, &both), (unsigned, ContentType::Framed(4096)));
    }
}

#[test]
fn temporary_files_are_announced_before_they_exist() {
    let (desk, client) = (Desk::new(), client(1));
    let announced = Mutex::new(Vec::new());
    let files = Files::new(&client).on_temporary(|temporary, target| {
        assert!(!temporary.exists());
        announced.lock().unwrap().push((temporary.to_owned(), target.to_owned()));
    });
    let seen = Mutex::new(0);
    let files = files.on_progress(|_| {
        let (temporary, _) = announced.lock().unwrap().last().unwrap().clone();
        *seen.lock().unwrap() += u32::from(temporary.exists());
    });
    files.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    let found = announced.lock().unwrap().clone();
    let [(temporary, target)] = &found[..] else { panic!("one file was written: {found:?}") };
    assert_eq!((target, temporary.parent()), (&desk.path("sealed"), Some(desk.0.path())));
    assert!(temporary.file_name().unwrap().to_str().unwrap().starts_with(".manila-"));
    assert!(*seen.lock().unwrap() > 0);
    // An output that is refused needs none.
    assert!(files.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).is_err());
    assert_eq!(announced.lock().unwrap().len(), 1);
}

#[test]
fn many_files_are_re_encrypted_at_once_and_one_that_fails_fails_alone() {
    let (desk, old, new) = (Desk::new(), client(1), client(2));
    let path = |number: usize| desk.path(&format!("sealed-{number:03}"));
    for number in 0..100 {
        fs::write(path(number), old.encrypt(number.to_string().as_bytes(), &tenant()).unwrap()).unwrap();
    }
    fs::write(path(20), b"no message").unwrap();
    let files = Files::new(&old).replace(true);
    let mut done = Vec::new();
    let in_place = (0..100).map(|number| (number, path(number), path(number)));
    files
        .reencrypt_all(
            in_place,
            |number| match number {
                30 => Ok(EncryptionContext::new([("tenant", "other")])?.into()),
                _ => Ok(tenant().into()),
            },
            &new,
            3,
            |number, result| {
                done.push((number, result.map_err(|error| error.kind())));
                Ok(())
            },
        )
        .unwrap();
    assert!(done.iter().map(|(number, _)| *number).eq(0..100));
    done.retain(|(_, result)| result.is_err());
    assert_eq!(done, [(20, Err(ErrorKind::Malformed)), (30, Err(ErrorKind::ContextMismatch))]);
    for number in (0..100).filter(|number| ![20, 30].contains(number)) {
        let opened = new.decrypt(&fs::read(path(number)).unwrap(), &tenant()).unwrap();
        assert_eq!(opened.plaintext, number.to_string().as_bytes());
    }

    // The same files, by the asynchronous version.
    let again = (0..3).map(|number| (number, path(number), desk.path(&format!("copy-{number}"))));
    let files = Files::new(&new);
    let all = files.reencrypt_all_async(again, |_| Ok(tenant().into()), &old, 2, |_, done| done);
    manila::testing::ready(all).unwrap();
    assert!(
        (0..3).all(|number| old.decrypt(&fs::read(desk.path(&format!("copy-{number}"))).unwrap(), &tenant()).is_ok())
    );
}
