//! A model of what a store must contain, given what its writer reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use manila_local_kms::{AuditFaultKind, AuditLog, Error, KeyState, LocalKms, LocalKmsBuilder, RootKey};

use crate::{TestClock, decrypt};

/// The limit of on-demand rotations of one key.
const MAX_ROTATIONS: usize = 25;
/// The number of aliases, which are made along with the first keys.
pub const ALIASES: u64 = 3;

/// One call of the writer. Keys, aliases, texts and backups are identified by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Open,
    Create(u64),
    Rotate(u64),
    /// An alias, and the key that it is to name.
    Retarget(u64, u64),
    /// An alias, and the text to encrypt under it.
    Encrypt(u64, u64),
    Checkpoint,
    Schedule(u64),
    Purge,
    Backup(u64),
    ChangeRootKey,
}

impl Step {
    /// Parses the output of `Debug`.
    fn parse(text: &str) -> Self {
        let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let name = words.next().unwrap();
        let numbers: Vec<u64> = words.map(|number| number.parse().unwrap()).collect();
        match (name, numbers.as_slice()) {
            ("Open", []) => Self::Open,
            ("Create", [key]) => Self::Create(*key),
            ("Rotate", [key]) => Self::Rotate(*key),
            ("Retarget", [alias, key]) => Self::Retarget(*alias, *key),
            ("Encrypt", [alias, text]) => Self::Encrypt(*alias, *text),
            ("Checkpoint", []) => Self::Checkpoint,
            ("Schedule", [key]) => Self::Schedule(*key),
            ("Purge", []) => Self::Purge,
            ("Backup", [backup]) => Self::Backup(*backup),
            ("ChangeRootKey", []) => Self::ChangeRootKey,
            _ => panic!("{text:?} is not a valid step"),
        }
    }

    /// Returns true if the audit log gets a line for it.
    fn is_logged(self) -> bool {
        !matches!(self, Self::Open)
    }
}

pub fn alias(number: u64) -> String {
    format!("alias/{number}")
}

pub fn text(number: u64) -> String {
    format!("text {number}")
}

pub fn root_key(number: u8) -> RootKey {
    RootKey::from_bytes(&[number; 32])
}

/// The files of a store and its writers.
#[derive(Clone)]
pub struct Place {
    folder: PathBuf,
    pub clock: TestClock,
}

impl Place {
    pub fn new(folder: &Path, days: u64) -> Self {
        let clock = TestClock::new();
        clock.advance_days(days);
        Self { folder: folder.to_owned(), clock }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("keys.redb")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub fn backup(&self, number: u64) -> PathBuf {
        self.folder.join(format!("backup-{number}"))
    }

    fn settings(&self) -> LocalKmsBuilder {
        LocalKms::builder().clock(self.clock.clone())
    }

    /// Opens the store as writers do, or makes it if it is missing.
    pub fn open_to_write(&self, root: u8) -> LocalKms {
        let settings = self.settings().audit(AuditLog::file(self.log()));
        if self.store().exists() {
            settings.open(self.store(), root_key(root)).unwrap()
        } else {
            settings.create(self.store(), root_key(root)).unwrap()
        }
    }

    pub fn open(&self, root: u8) -> Result<LocalKms, Error> {
        self.settings().open(self.store(), root_key(root))
    }

    /// Returns the contents of a backup, which is used up.
    fn restore(&self, number: u64, root: u8) -> State {
        let new = self.folder.join("restored");
        let (kms, _) = self.settings().restore(self.backup(number), &new, root_key(root)).unwrap();
        let state = State::of(&kms, root).0;
        drop(kms);
        fs::remove_file(new).unwrap();
        fs::remove_file(self.backup(number)).unwrap();
        state
    }

    /// Cuts the last line of the log in half, as a kill while writing it would. Real kills rarely hit that moment.
    /// Returns true if there was a whole line to cut.
    fn tear(&self) -> bool {
        let Ok(log) = fs::read(self.log()) else { return false };
        let Some(line) = log.split_inclusive(|byte| *byte == b'\n').next_back().filter(|line| line.ends_with(b"\n"))
        else {
            return false;
        };
        let half = &line[..line.len() / 2];
        fs::write(self.log(), [log.as_slice(), half].concat()).unwrap();
        true
    }
}

/// The contents of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    root: u8,
    /// The keys that nobody deletes, and how often each was rotated.
    keys: BTreeMap<u64, usize>,
    /// The key that each alias names.
    aliases: BTreeMap<u64, u64>,
}

impl State {
    fn after(&self, step: Step) -> Self {
        let mut next = self.clone();
        match step {
            Step::Create(key) => {
                next.keys.insert(key, 0);
                if key < ALIASES {
                    next.aliases.insert(key, key);
                }
            }
            Step::Rotate(key) => *next.keys.get_mut(&key).unwrap() = MAX_ROTATIONS.min(self.keys[&key] + 1),
            Step::Retarget(alias, key) => drop(next.aliases.insert(alias, key)),
            Step::Schedule(key) => drop(next.keys.remove(&key)),
            Step::ChangeRootKey => next.root += 1,
            Step::Open | Step::Encrypt(..) | Step::Checkpoint | Step::Purge | Step::Backup(_) => {}
        }
        next
    }

    /// Reads the contents of a store, and the ids of its keys.
    fn of(kms: &LocalKms, root: u8) -> (Self, BTreeMap<u64, String>) {
        let (mut keys, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for key in crate::described(kms) {
            if key.state() == KeyState::PendingDeletion {
                continue;
            }
            let number = key.description().parse().unwrap();
            assert_eq!(keys.insert(number, kms.list_key_rotations(key.key_id()).unwrap().len()), None);
            ids.insert(number, key.key_id().to_owned());
        }
        let number_of = |arn: &str| *ids.iter().find(|(_, id)| arn.ends_with(id.as_str())).unwrap().0;
        let aliases =
            kms.list_aliases().unwrap().into_iter().map(|alias| {
                (alias.name().strip_prefix("alias/").unwrap().parse().unwrap(), number_of(alias.key_arn()))
            });
        let aliases = aliases.collect();
        (Self { root, keys, aliases }, ids)
    }
}

struct Encrypted {
    key: u64,
    /// The number of rotations of the key before.
    rotations: usize,
    text: u64,
    ciphertext: Vec<u8>,
}

/// The reports of one store's writers, and the contents that follow from them.
#[derive(Default)]
pub struct Model {
    state: State,
    /// The step that was begun and not acknowledged.
    in_flight: Option<Step>,
    encrypted: Vec<Encrypted>,
    /// The backups, and their expected contents.
    backups: Vec<(u64, State)>,
    /// The number of lines expected in the audit log.
    lines: u64,
    /// The most further lines that the log may have: those of keys deleted when due.
    deletions: u64,
    /// The number of torn lines put into the log.
    torn: usize,
    kills: usize,
    pub tally: Tally,
}

/// Counts of what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub acknowledged: usize,
    pub created: usize,
    pub rotated: usize,
    pub retargeted: usize,
    pub purged: usize,
    pub backed_up: usize,
    pub root_keys: usize,
    /// The number of ciphertexts that older material of a key decrypts, counted at each check.
    pub opened_with_older: usize,
    /// The number of calls that were cut off but had been made, and of those that had not.
    pub cut_off_done: usize,
    pub cut_off_undone: usize,
}

impl Model {
    pub fn new(tally: Tally) -> Self {
        Self { tally, ..Self::default() }
    }

    /// Returns what the next writer has to know: the root key, and the ids of the keys.
    pub fn orders(&self, kms: Option<&LocalKms>) -> (u8, BTreeMap<u64, String>) {
        (self.state.root, kms.map(|kms| State::of(kms, self.state.root).1).unwrap_or_default())
    }

    /// Records a line of the writer.
    pub fn hear(&mut self, line: &str) {
        let (what, rest) = line.split_once(' ').unwrap();
        let (step, answer) = rest.split_once('/').unwrap_or((rest, ""));
        let step = Step::parse(step);
        if what == "try" {
            assert_eq!(self.in_flight.replace(step), None);
            self.deletions += u64::from(matches!(step, Step::Schedule(_)));
            return;
        }
        assert_eq!((what, self.in_flight.take()), ("ack", Some(step)));
        self.state = self.state.after(step);
        self.lines += u64::from(step.is_logged());
        let tally = &mut self.tally;
        tally.acknowledged += 1;
        match step {
            Step::Create(_) => tally.created += 1,
            Step::Rotate(_) => tally.rotated += 1,
            Step::Retarget(..) => tally.retargeted += 1,
            Step::Purge => tally.purged += 1,
            Step::ChangeRootKey => tally.root_keys += 1,
            Step::Encrypt(alias, text) => {
                let key = self.state.aliases[&alias];
                let (rotations, ciphertext) = (self.state.keys[&key], STANDARD.decode(answer).unwrap());
                self.encrypted.push(Encrypted { key, rotations, text, ciphertext });
            }
            Step::Backup(number) => {
                tally.backed_up += 1;
                self.backups.push((number, self.state.clone()));
            }
            Step::Open | Step::Checkpoint | Step::Schedule(_) => {}
        }
    }

    /// Checks a store whose writer is dead, and adopts its contents. `survivor` had it open throughout.
    pub fn check(&mut self, place: &Place, survivor: Option<LocalKms>) -> Option<LocalKms> {
        self.kills += 1;
        let cut_off = self.in_flight.take();
        if !place.store().exists() {
            assert_eq!((cut_off, self.lines), (Some(Step::Open), 0), "the store is gone");
            return None;
        }
        let next = cut_off.map(|step| self.state.after(step));
        let tagged = survivor.and_then(|kms| {
            let (state, ids) = State::of(&kms, self.state.root);
            self.check_state(&state, next.as_ref());
            // The handle can still write.
            let (id, tag) = (ids.into_values().next()?, ("kills".to_owned(), self.kills.to_string()));
            kms.tag_key(&id, [tag.clone()]).unwrap();
            Some((id, vec![tag]))
        });
        let (kms, root) = match place.open(self.state.root) {
            Ok(kms) => (kms, self.state.root),
            Err(_) if cut_off == Some(Step::ChangeRootKey) => {
                (place.open(self.state.root + 1).unwrap(), self.state.root + 1)
            }
            Err(error) => panic!("the store does not open after {cut_off:?}: {error}"),
        };
        let (state, ids) = State::of(&kms, root);
        self.check_state(&state, next.as_ref());
        if let Some((id, tags)) = tagged {
            assert_eq!(kms.list_key_tags(&id).unwrap(), tags);
        }
        let was_done = state != self.state;
        if next.is_some_and(|next| next != self.state) {
            self.tally.cut_off_done += usize::from(was_done);
            self.tally.cut_off_undone += usize::from(!was_done);
        }
        match cut_off {
            Some(Step::Backup(number)) if place.backup(number).exists() => self.backups.push((number, state.clone())),
            _ => {}
        }
        self.state = state;
        self.check_ciphertexts(&kms, &ids);
        self.check_log(place, &kms, cut_off, was_done);
        for (number, state) in std::mem::take(&mut self.backups) {
            assert_eq!(place.restore(number, state.root), state, "backup {number}");
        }
        Some(kms)
    }

    fn check_state(&self, found: &State, next: Option<&State>) {
        assert!(
            *found == self.state || Some(found) == next,
            "found {found:?}\nafter {:?}\nor possibly {next:?}",
            self.state
        );
    }

    fn check_ciphertexts(&mut self, kms: &LocalKms, ids: &BTreeMap<u64, String>) {
        for Encrypted { key, rotations, text: number, ciphertext } in &self.encrypted {
            assert_eq!(decrypt(kms, &ids[key], ciphertext).unwrap(), text(*number).as_bytes());
            self.tally.opened_with_older += usize::from(*rotations < self.state.keys[key]);
        }
    }

    /// Checks that all expected lines are there, including that of a call that was cut off but had been made. The only
    /// faults allowed are lines that were begun and not finished, and lines of changes that were not made.
    fn check_log(&mut self, place: &Place, kms: &LocalKms, cut_off: Option<Step>, was_done: bool) {
        if !place.log().exists() {
            assert_eq!((cut_off, self.lines), (Some(Step::Open), 0), "the log is gone");
            return;
        }
        let report = kms.verify_audit_log(place.log()).unwrap();
        let torn = report.faults().iter().filter(|fault| fault.kind() == AuditFaultKind::Torn).count();
        let not_done = report.faults().iter().filter(|fault| fault.kind() == AuditFaultKind::NotDone).count();
        assert_eq!(torn + not_done, report.faults().len(), "{:?}", report.faults());
        assert!((self.torn..=self.torn + self.kills).contains(&torn), "{} torn: {:?}", self.torn, report.faults());
        let most = self.lines + self.deletions + u64::from(cut_off.is_some_and(Step::is_logged));
        let least = self.lines + u64::from(was_done);
        let calls = report.events() - handles(&place.log());
        assert!((least..=most).contains(&calls), "{least} to {most}: {calls}");
        self.lines = calls;
        if self.kills.is_multiple_of(10) && place.tear() {
            self.torn += 1;
            let named = kms.verify_audit_log(place.log()).unwrap();
            assert_eq!((named.events(), named.faults().len()), (report.events(), report.faults().len() + 1));
            let last = named.faults().last().unwrap();
            let lines = fs::read(place.log()).unwrap().split(|byte| *byte == b'\n').count();
            assert_eq!((last.kind(), last.line()), (AuditFaultKind::Torn, lines as u64));
        }
    }
}

/// Returns the number of whole lines that record the opening or closing of a handle.
fn handles(log: &Path) -> u64 {
    let text = fs::read(log).unwrap();
    let whole = text.split(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\"}"));
    let of_a_handle = |line: &&[u8]| {
        let line = String::from_utf8_lossy(line);
        line.contains(r#""operation":"OpenStore""#) || line.contains(r#""operation":"CloseStore""#)
    };
    whole.filter(of_a_handle).count() as u64
}
