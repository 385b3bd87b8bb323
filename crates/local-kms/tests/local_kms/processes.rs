//! Several processes on one store: the changes of each are kept, and each sees those of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use manila_core::testing::ready;
use manila_local_kms::{AuditLog, CreateGrant, CreateKey, GrantOperation, Kms, KmsRequest, LocalKms, RootKey};

use crate::child::{Process, Random, orders, say};
use crate::{Folder, context, decrypt, described, encrypt};

const PROCESSES: u64 = 4;
const TURNS: usize = 5;
/// The calls of a process in a turn: 250 in all.
const CALLS: usize = 50;
/// The number of encryptions of a process in a turn, so few that each can decrypt what all encrypted in the turn
/// before.
const ENCRYPTIONS: usize = 8;
/// The number of tags that a process gives the shared key, which takes 50.
const TAGS: usize = 12;
/// The number of on-demand rotations of the shared key by a process. 25 are allowed in all.
const ROTATIONS: usize = 6;
/// The key that all work on, and the alias that all retarget.
const SHARED: &str = "alias/shared";
const MOVING: &str = "alias/moving";

#[test]
fn four_processes_lose_no_update_and_get_no_wrong_answer() {
    let folder = Folder::new();
    let shared = prepare(&folder);
    let mut random = Random::seeded();
    let mut start = |number| {
        let orders = format!("{number} {} {shared}", random.next());
        Process::start("processes::a_process_by_itself_finds_what_it_did", folder.0.path(), &orders)
    };
    let mut processes: Vec<Process> = (0..PROCESSES).map(&mut start).collect();
    assert!(hear_all(&mut processes).is_empty());
    for _ in 0..TURNS {
        // All begin together.
        tell_all(&mut processes, &["go".to_owned()]);
        // Another handle opens the store, which verifies all of it, and closes it while they write.
        for _ in 0..5 {
            assert_eq!(folder.open().unwrap().describe_key(SHARED).unwrap().key_id(), shared);
        }
        let encrypted = hear_all(&mut processes);
        tell_all(&mut processes, &encrypted);
    }
    tell_all(&mut processes, &["end".to_owned()]);
    let done = hear_all(&mut processes);
    processes.into_iter().for_each(Process::finish);
    check(&folder, &shared, PROCESSES, &done);
}

/// Collects what all processes say before they are done.
fn hear_all(processes: &mut [Process]) -> Vec<String> {
    let mut said = Vec::new();
    for process in processes {
        loop {
            let line = process.hear().expect("the process is still there");
            if line == "done" {
                break;
            }
            said.push(line);
        }
    }
    said
}

fn tell_all(processes: &mut [Process], lines: &[String]) {
    for process in processes {
        for line in lines {
            process.tell(line);
        }
    }
}

/// Runs as a process of the test above, if told to be one. Otherwise it has a store of its own.
#[test]
fn a_process_by_itself_finds_what_it_did() {
    if let Some((folder, orders)) = orders() {
        return follow(&folder, &orders);
    }
    let folder = Folder::new();
    let shared = prepare(&folder);
    let mut worker = Worker::new(folder.0.path(), 0, 1, shared.clone());
    let mut encrypted = Vec::new();
    for turn in 0..TURNS {
        encrypted = worker.turn(encrypted, turn + 1 == TURNS);
    }
    let done = worker.end();
    check(&folder, &shared, 1, &done);
}

fn follow(folder: &Path, orders: &str) {
    let [number, seed, shared] = orders.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let mut worker = Worker::new(folder, number.parse().unwrap(), seed.parse().unwrap(), shared.to_owned());
    say("done");
    let mut turns = 0;
    let mut encrypted = Vec::new();
    for line in std::io::stdin().lock().lines().map(Result::unwrap) {
        match line.as_str() {
            "go" => {
                turns += 1;
                worker.turn(std::mem::take(&mut encrypted), turns == TURNS).iter().for_each(|line| say(line));
                say("done");
            }
            "end" => break,
            _ => encrypted.push(line),
        }
    }
    worker.end().iter().for_each(|line| say(line));
    say("done");
}

fn open(folder: &Path) -> LocalKms {
    let root = RootKey::open_file(folder.join("root.key")).unwrap();
    let log = AuditLog::file(folder.join("audit.log"));
    LocalKms::builder().audit(log).open(folder.join("keys.redb"), root).unwrap()
}

/// Makes the store, without a line in the log. Returns the id of the shared key.
fn prepare(folder: &Folder) -> String {
    let kms = folder.create();
    kms.create_key(CreateKey::default().alias(MOVING)).unwrap();
    kms.create_key(CreateKey::default().alias(SHARED)).unwrap().key_id().to_owned()
}

/// Checks that the store holds exactly what the processes say they did, and that the log records each call once.
fn check(folder: &Folder, shared: &str, processes: u64, done: &[String]) {
    let kms = folder.open().unwrap();
    let all = |kind: &str| -> Vec<String> {
        done.iter().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')).map(str::to_owned).collect()
    };
    let sorted = |kind: &str| all(kind).into_iter().collect::<BTreeSet<_>>();
    let tags: BTreeSet<_> = kms.list_key_tags(shared).unwrap().into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, sorted("tag"));
    let grants: BTreeSet<_> = kms.list_grants(shared).unwrap().iter().map(|grant| grant.id().to_owned()).collect();
    assert_eq!(grants, sorted("grant"));
    let rotations = all("rotations").iter().map(|count| count.parse::<usize>().unwrap()).sum::<usize>();
    assert_eq!(kms.list_key_rotations(shared).unwrap().len(), rotations);
    let keys = described(&kms);
    let own: BTreeSet<_> =
        keys.iter().filter(|key| !key.description().is_empty()).map(manila_local_kms::KeyMetadata::key_id).collect();
    let expected = sorted("key");
    assert_eq!(own, expected.iter().map(String::as_str).chain([shared]).collect());
    let aliases = kms.list_aliases().unwrap();
    assert_eq!((keys.len(), aliases.len()), (expected.len() + 2, expected.len() + 2));
    for key in &expected {
        let key = kms.describe_key(key).unwrap();
        assert_eq!(kms.describe_key(&format!("alias/{}", key.description())).unwrap(), key);
    }
    // Of the values that every process sets, the last one of some process stands.
    assert!(all("moved").iter().any(|key| kms.describe_key(MOVING).unwrap().key_id() == key));
    assert!(all("described").iter().any(|text| kms.describe_key(SHARED).unwrap().description() == text));
    // Something of each kind was done.
    assert!([tags.len(), grants.len(), rotations, expected.len()].iter().all(|count| *count > 1), "{done:?}");

    let report = kms.verify_audit_log(folder.0.path().join("audit.log")).unwrap();
    assert!(report.is_intact(), "{:?}", report.faults());
    // Each process also opened the store and closed it.
    assert_eq!(report.events(), processes * ((TURNS * CALLS) as u64 + 2));
}

/// The state of one process.
struct Worker {
    kms: LocalKms,
    random: Random,
    number: u64,
    shared: String,
    /// Numbers the names that it gives.
    names: usize,
    tags: BTreeSet<String>,
    tags_given: usize,
    untagged: BTreeSet<String>,
    grants: BTreeSet<String>,
    revoked: BTreeSet<String>,
    /// Its own keys, and their descriptions.
    keys: BTreeMap<String, String>,
    rotations: usize,
    /// The most rotations that it has seen.
    rotations_seen: usize,
    moved: String,
    described: String,
}

impl Worker {
    fn new(folder: &Path, number: u64, seed: u64, shared: String) -> Self {
        Self {
            kms: open(folder),
            random: Random(seed),
            number,
            shared,
            names: 0,
            tags: BTreeSet::new(),
            tags_given: 0,
            untagged: BTreeSet::new(),
            grants: BTreeSet::new(),
            revoked: BTreeSet::new(),
            keys: BTreeMap::new(),
            rotations: 0,
            rotations_seen: 0,
            moved: String::new(),
            described: String::new(),
        }
    }

    /// Makes its calls, and decrypts what was encrypted in the turn before. Returns what it encrypted itself: the key's
    /// ARN, the plaintext and the ciphertext.
    fn turn(&mut self, encrypted: Vec<String>, is_last: bool) -> Vec<String> {
        let (mut to_decrypt, mut own) = (encrypted, Vec::new());
        for left in (1..=CALLS).rev() {
            if !to_decrypt.is_empty() && (left == to_decrypt.len() || self.random.below(2) == 0) {
                self.decrypt(&to_decrypt.pop().unwrap());
            } else if !is_last && own.len() < ENCRYPTIONS && self.random.below(3) == 0 {
                own.push(self.encrypt());
            } else if self.random.below(2) == 0 {
                self.write();
            } else {
                self.read();
            }
        }
        assert!(to_decrypt.is_empty());
        own
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}-{}", self.number, self.names)
    }

    fn encrypt(&mut self) -> String {
        let (text, name) = (self.name(), self.random.pick(&[SHARED, MOVING]));
        let context = context(&[("a", "b")]);
        let answer = ready(self.kms.encrypt(KmsRequest::new(name, &context), text.as_bytes())).unwrap();
        format!("{} {text} {}", answer.key_arn, STANDARD.encode(answer.ciphertext))
    }

    fn decrypt(&mut self, line: &str) {
        let [key, text, ciphertext] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let plaintext = decrypt(&self.kms, key, &STANDARD.decode(ciphertext).unwrap()).unwrap();
        assert_eq!(plaintext, text.as_bytes());
    }

    fn write(&mut self) {
        let name = self.name();
        match self.random.below(8) {
            0 if self.tags_given < TAGS => {
                self.kms.tag_key(&self.shared, [(name.as_str(), "")]).unwrap();
                self.tags_given += 1;
                self.tags.insert(name);
            }
            1 if self.tags.len() > 3 => {
                let tag = self.tags.pop_first().unwrap();
                self.kms.untag_key(&self.shared, [tag.as_str()]).unwrap();
                self.untagged.insert(tag);
            }
            2 if self.rotations < ROTATIONS => {
                self.kms.rotate_key_on_demand(&self.shared).unwrap();
                self.rotations += 1;
            }
            3 if self.grants.len() > 3 => {
                let grant = self.grants.pop_first().unwrap();
                self.kms.revoke_grant(&self.shared, &grant).unwrap();
                self.revoked.insert(grant);
            }
            3 | 4 => {
                let grant = CreateGrant::to("arn:aws:iam::000000000000:role/app").operation(GrantOperation::Decrypt);
                self.grants.insert(self.kms.create_grant(&self.shared, grant).unwrap().into_id());
            }
            5 if !self.keys.is_empty() => {
                self.moved = self.keys.keys().next().unwrap().clone();
                self.kms.update_alias(MOVING, &self.moved).unwrap();
            }
            6 => {
                self.kms.update_key_description(&self.shared, &name).unwrap();
                self.described = name;
            }
            _ => {
                let key = CreateKey::default().alias(format!("alias/{name}")).description(&name);
                self.keys.insert(self.kms.create_key(key).unwrap().key_id().to_owned(), name);
            }
        }
    }

    /// Checks that what it did is there and what it undid is not, whatever the others do.
    fn read(&mut self) {
        let key = self.keys.iter().next();
        match (self.random.below(6), key) {
            (0, _) => {
                let tags: BTreeSet<_> =
                    self.kms.list_key_tags(&self.shared).unwrap().into_iter().map(|(tag, _)| tag).collect();
                assert!(tags.is_superset(&self.tags) && tags.is_disjoint(&self.untagged), "{tags:?}");
            }
            (1, _) => {
                let grants: BTreeSet<_> =
                    self.kms.list_grants(&self.shared).unwrap().iter().map(|grant| grant.id().to_owned()).collect();
                assert!(grants.is_superset(&self.grants) && grants.is_disjoint(&self.revoked), "{grants:?}");
            }
            (2, _) => {
                let seen = self.kms.list_key_rotations(&self.shared).unwrap().len();
                assert!(seen >= self.rotations_seen.max(self.rotations), "{seen} of {}", self.rotations_seen);
                self.rotations_seen = seen;
            }
            (3, Some((id, name))) => {
                assert_eq!(self.kms.describe_key(&format!("alias/{name}")).unwrap().key_id(), id);
            }
            (4, Some((id, _))) => {
                encrypt(&self.kms, id, b"x").unwrap();
            }
            _ => {
                let keys: BTreeSet<_> =
                    self.kms.list_keys().unwrap().iter().map(|key| key.key_id().to_owned()).collect();
                assert!(self.keys.keys().all(|key| keys.contains(key)), "{keys:?}");
            }
        }
    }

    /// Returns what the store must contain of its work.
    fn end(self) -> Vec<String> {
        let mut done = vec![
            format!("rotations {}", self.rotations),
            format!("moved {}", self.moved),
            format!("described {}", self.described),
        ];
        done.extend(self.tags.iter().map(|tag| format!("tag {tag}")));
        done.extend(self.grants.iter().map(|grant| format!("grant {grant}")));
        done.extend(self.keys.keys().map(|key| format!("key {key}")));
        done
    }
}
