//! A folder with a store and its root key: made and changed in an order in which nothing is lost wherever it stops.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manila_local_kms::{AuditLog, CreateKey, ErrorKind, LocalKms, RootKey};

use crate::child::{Process, Random, orders, say};
use crate::{decrypt, encrypt};

const APP: &str = "alias/app";
const KILLS: u64 = 100;
const RACERS: usize = 8;

/// A folder that is not there yet, in one that is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("a/b")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn open(&self) -> Result<LocalKms, manila_local_kms::Error> {
        LocalKms::open_or_create(self.folder())
    }
}

/// Returns the names of the files in a folder, but for what a killed program left unnamed.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with(".manila-")).collect();
    names.sort();
    names
}

/// Returns the id of the key of the alias, which is made if it is not there.
fn app(kms: &LocalKms) -> String {
    kms.find_or_create_key(APP, CreateKey::default()).unwrap().key_id().to_owned()
}

#[test]
fn a_folder_is_made_once_and_opened_from_then_on() {
    let place = Place::new();
    let kms = LocalKms::builder().region("eu-west-1").open_or_create(place.folder()).unwrap();
    assert!(kms.is_new() && kms.clone().is_new() && kms.region("eu-west-2").unwrap().is_new());
    let (id, root_key) = (app(&kms), fs::read(place.file("root.key")).unwrap());
    for kms in [place.open().unwrap(), LocalKms::open_or_create(place.folder()).unwrap()] {
        assert!(!kms.is_new());
        assert_eq!(app(&kms), id);
        assert!(kms.describe_key(&id).unwrap().arn().starts_with("arn:aws:kms:eu-west-1:"), "as it was made");
    }
    assert_eq!(fs::read(place.file("root.key")).unwrap(), root_key);
    assert_eq!(names(&place.folder()), [".lock", "keys.redb", "root.key"]);
    LocalKms::open(place.file(LocalKms::STORE_FILE), RootKey::open_file(place.file(LocalKms::ROOT_KEY_FILE)).unwrap())
        .unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_made_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.open().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.folder()), 0o700);
    for name in names(&place.folder()) {
        assert_eq!(mode(&place.file(&name)), 0o600, "{name}");
    }
}

#[test]
fn a_start_that_stopped_after_any_step_is_gone_on_with() {
    // After the root key was written.
    let place = Place::new();
    fs::create_dir_all(place.folder()).unwrap();
    RootKey::create_file(place.file("root.key.new")).unwrap();
    let root_key = fs::read(place.file("root.key.new")).unwrap();
    assert!(place.open().unwrap().is_new());
    assert_eq!(fs::read(place.file("root.key")).unwrap(), root_key);
    assert_eq!(names(&place.folder()), [".lock", "keys.redb", "root.key"]);

    // After the store was made too.
    let place = Place::new();
    fs::create_dir_all(place.folder()).unwrap();
    let root_key = RootKey::create_file(place.file("root.key.new")).unwrap();
    let id = app(&LocalKms::create(place.file("keys.redb"), root_key).unwrap());
    let kms = place.open().unwrap();
    assert!(!kms.is_new());
    assert_eq!(app(&kms), id);
    assert_eq!(names(&place.folder()), [".lock", "keys.redb", "root.key"]);

    // Where a file gets another name by a link: after the new name was given, and before the old one was taken.
    fs::copy(place.file("root.key"), place.file("root.key.new")).unwrap();
    assert_eq!(app(&place.open().unwrap()), id);
}

#[test]
fn half_a_store_is_refused_and_nothing_is_made() {
    for (lost, other) in [("root.key", "keys.redb"), ("keys.redb", "root.key")] {
        let place = Place::new();
        app(&place.open().unwrap());
        fs::remove_file(place.file(lost)).unwrap();
        let left = names(&place.folder());
        for _ in 0..2 {
            let error = place.open().unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Storage);
            assert!(text.contains(&format!("{lost}\" is missing beside")), "{text}");
            assert!(text.contains(other) && text.contains("restore it from a copy"), "{text}");
            assert_eq!(names(&place.folder()), left);
        }
    }
}

#[test]
fn a_root_key_of_another_store_gets_no_name() {
    let place = Place::new();
    place.open().unwrap();
    fs::remove_file(place.file("root.key")).unwrap();
    RootKey::create_file(place.file("root.key.new")).unwrap();
    let error = place.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("root.key\" is missing beside"), "{error}");
    assert_eq!(names(&place.folder()), [".lock", "keys.redb", "root.key.new"]);
    // Nor is it taken for the store's where that has another.
    let place = Place::new();
    place.open().unwrap();
    fs::write(place.file("root.key"), [1; 32]).unwrap();
    let error = place.open().unwrap_err();
    assert!(error.to_string().contains("is not the one of this key store"), "{error}");
    RootKey::create_file(place.file("root.key.new")).unwrap();
    let error = place.open().unwrap_err();
    assert!(error.to_string().contains("is not the one of this key store"), "{error}");
    assert_eq!(fs::read(place.file("root.key")).unwrap(), [1; 32]);
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_half_a_store() {
    let place = Place::new();
    fs::create_dir_all(place.folder()).unwrap();
    std::os::unix::fs::symlink(place.0.path().join("unmounted"), place.file("root.key")).unwrap();
    let error = place.open().unwrap_err();
    assert!(error.to_string().contains("keys.redb\" is missing"), "{error}");
    let store = place.0.path().join("elsewhere");
    std::os::unix::fs::symlink(&store, place.file("keys.redb")).unwrap();
    assert_eq!(place.open().unwrap_err().kind(), ErrorKind::Io);
    assert!(!store.exists() && !place.0.path().join("unmounted").exists());
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let place = Place::new();
    let error = LocalKms::builder().account("1").open_or_create(place.folder()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(names(place.0.path()).is_empty());
    fs::write(place.0.path().join("a"), "a file").unwrap();
    assert_eq!(place.open().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(LocalKms::open_or_create("").unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_start_that_is_killed_at_any_moment_is_gone_on_with() {
    let place = Place::new();
    let mut random = Random::seeded();
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let folder = place.0.path().join(kill.to_string());
        let mut child = Process::start("folder::a_starter_that_is_not_killed_makes_one_store", &folder, "");
        let (lines, begun) = (random.below(8), Instant::now());
        let mut ids = Vec::new();
        let mut hear = |child: &mut Process| {
            let line = child.hear();
            ids.extend(line.as_deref().and_then(|line| line.strip_prefix("ack ")).map(str::to_owned));
            line.is_some()
        };
        hear(&mut child);
        for _ in 0..lines {
            hear(&mut child);
        }
        let longest = u64::try_from(begun.elapsed().as_micros()).unwrap() / (lines + 1);
        std::thread::sleep(Duration::from_micros(random.below(longest.max(2_000))));
        child.kill();
        while hear(&mut child) {}
        // The child goes on to the next folder with each line.
        let tried = u64::try_from(ids.len()).unwrap();
        for (number, id) in (0..=tried).map(|number| (number, ids.get(usize::try_from(number).unwrap()))) {
            let kms = LocalKms::open_or_create(folder.join(number.to_string())).unwrap();
            let found = app(&kms);
            assert!(id.is_none_or(|id| *id == found), "the key that was acknowledged is there");
            assert_eq!(kms.list_keys().unwrap().len(), 1);
            assert_eq!(names(&folder.join(number.to_string())), [".lock", "keys.redb", "root.key"]);
        }
        acknowledged += tried;
    }
    assert!(acknowledged > 0, "no child came to anything");
}

/// Runs as a child of the test above, if told to be one.
#[test]
fn a_starter_that_is_not_killed_makes_one_store() {
    let make = |folder: &Path| app(&LocalKms::open_or_create(folder).unwrap());
    if let Some((folder, _)) = orders() {
        for number in 0.. {
            say("try");
            let id = make(&folder.join(number.to_string()));
            say(&format!("ack {id}"));
        }
    }
    let place = Place::new();
    assert_eq!(make(&place.folder()), make(&place.folder()));
}

#[test]
fn eight_processes_that_start_at_once_get_one_store() {
    for _ in 0..5 {
        let place = Place::new();
        let start = |_| Process::start("folder::a_racer_by_itself_wins", &place.folder(), "");
        let mut racers: Vec<_> = (0..RACERS).map(start).collect();
        for racer in &mut racers {
            assert_eq!(racer.hear().as_deref(), Some("ready"));
        }
        for racer in &mut racers {
            racer.tell("go");
        }
        let said: Vec<_> = racers.iter_mut().map(|racer| racer.hear().unwrap()).collect();
        racers.into_iter().for_each(Process::finish);
        let (new, ids): (Vec<_>, Vec<_>) = said.iter().map(|said| said.split_once(' ').unwrap()).unzip();
        assert_eq!(new.iter().filter(|new| **new == "true").count(), 1, "{said:?}");
        assert!(ids.iter().all(|id| *id == ids[0]), "{said:?}");
        let kms = place.open().unwrap();
        assert_eq!((app(&kms).as_str(), kms.list_keys().unwrap().len()), (ids[0], 1));
        assert_eq!(names(&place.folder()), [".lock", "audit.jsonl", "keys.redb", "root.key"]);
        assert!(kms.verify_audit_log(place.file("audit.jsonl")).unwrap().is_intact());
    }
}

/// Runs as a child of the test above, if told to be one.
#[test]
fn a_racer_by_itself_wins() {
    let race = |folder: &Path| {
        let log = AuditLog::file(folder.join("audit.jsonl"));
        let kms = LocalKms::builder().audit(log).open_or_create(folder).unwrap();
        (kms.is_new(), app(&kms))
    };
    if let Some((folder, _)) = orders() {
        say("ready");
        std::io::stdin().lock().lines().next().unwrap().unwrap();
        let (is_new, id) = race(&folder);
        say(&format!("{is_new} {id}"));
        return;
    }
    assert!(race(&Place::new().folder()).0);
}

#[test]
fn a_change_of_the_root_key_keeps_the_old_one_under_a_number() {
    let place = Place::new();
    let kms = place.open().unwrap();
    let (id, first) = (app(&kms), fs::read(place.file("root.key")).unwrap());
    let ciphertext = encrypt(&kms, &id, b"kept").unwrap();
    let backup = place.file("backup");
    kms.backup(&backup).unwrap();
    let change = kms.change_root_key_in(place.folder()).unwrap();
    assert_eq!(change.old_root_key(), Some(place.file("root.key.1").as_path()));
    assert!(change.is_purged() && change.rotated().is_empty());
    let second = fs::read(place.file("root.key")).unwrap();
    assert_ne!(first, second);
    let change = kms.change_root_key_in_and_rotate(place.folder()).unwrap();
    assert_eq!(change.old_root_key(), Some(place.file("root.key.2").as_path()));
    assert_eq!(change.rotated().len(), 1);
    assert_eq!(
        [fs::read(place.file("root.key.1")).unwrap(), fs::read(place.file("root.key.2")).unwrap()],
        [first, second]
    );
    let names = names(&place.folder());
    assert_eq!(names, [".lock", "backup", "keys.redb", "root.key", "root.key.1", "root.key.2"]);
    for kms in [kms, place.open().unwrap()] {
        assert_eq!(decrypt(&kms, &id, &ciphertext).unwrap(), b"kept");
    }
    // A backup from before needs the old root key.
    let old = RootKey::open_file(place.file("root.key.1")).unwrap();
    LocalKms::restore(&backup, place.file("restored"), old).unwrap();
}

#[test]
fn a_change_of_the_root_key_that_stopped_after_any_step_is_finished() {
    // After the new root key was written: the old one is the store's.
    let place = Place::new();
    let id = app(&place.open().unwrap());
    let old = fs::read(place.file("root.key")).unwrap();
    RootKey::create_file(place.file("root.key.new")).unwrap();
    assert_eq!(app(&place.open().unwrap()), id);
    assert_eq!(fs::read(place.file("root.key")).unwrap(), old);
    // It is of use to nobody, and not in the way of the next change.
    place.open().unwrap().change_root_key_in(place.folder()).unwrap();
    assert_eq!(names(&place.folder()), [".lock", "keys.redb", "root.key", "root.key.1"]);

    // After the store was sealed under it.
    let change = |place: &Place| {
        let root_key = RootKey::create_file(place.file("root.key.new")).unwrap();
        place.open().unwrap().change_root_key(root_key).unwrap();
        fs::read(place.file("root.key.new")).unwrap()
    };
    let new = change(&place);
    assert_eq!(app(&place.open().unwrap()), id);
    assert_eq!(fs::read(place.file("root.key")).unwrap(), new);
    assert_eq!(names(&place.folder()), [".lock", "keys.redb", "root.key", "root.key.1", "root.key.2"]);
    assert_eq!(fs::read(place.file("root.key.1")).unwrap(), old);

    // After the old one was moved out of the way.
    let new = change(&place);
    fs::rename(place.file("root.key"), place.file("root.key.3")).unwrap();
    assert_eq!(app(&place.open().unwrap()), id);
    assert_eq!(fs::read(place.file("root.key")).unwrap(), new);

    // A program that goes on with another change does not lose it.
    let new = change(&place);
    let kms = LocalKms::open(place.file("keys.redb"), RootKey::open_file(place.file("root.key.new")).unwrap()).unwrap();
    kms.change_root_key_in(place.folder()).unwrap();
    assert_eq!(app(&place.open().unwrap()), id);
    assert_eq!(fs::read(place.file("root.key.5")).unwrap(), new);
}

#[test]
fn a_change_of_the_root_key_that_is_refused_leaves_the_folder_as_it_was() {
    let place = Place::new();
    let kms = place.open().unwrap();
    let before = names(&place.folder());
    let other = kms.as_principal("arn:aws:iam::000000000000:role/app").unwrap();
    assert_eq!(other.change_root_key_in(place.folder()).unwrap_err().kind(), ErrorKind::KeyRefused);
    assert_eq!(names(&place.folder()), before);
    // Nor is another folder's root key touched.
    let another = Place::new();
    another.open().unwrap();
    assert_eq!(kms.change_root_key_in(another.folder()).unwrap_err().kind(), ErrorKind::InvalidInput);
    let memory = LocalKms::in_memory().unwrap();
    assert_eq!(memory.change_root_key_in(another.folder()).unwrap_err().kind(), ErrorKind::InvalidInput);
    another.open().unwrap();
    place.open().unwrap();
}
