//! Writers that are killed. Calls that they acknowledged took effect; those that they had begun took effect in full or
//! not at all.

mod model;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use manila_local_kms::{CreateKey, LocalKms};

use crate::child::{Process, Random, orders, say};
use crate::{code, encrypt};

use model::{ALIASES, Model, Place, Step, Tally, alias, text};

/// The number of kills before the next store is made.
const KILLS_OF_A_STORE: u64 = 25;
const CALLS_BEFORE_A_KILL: u64 = 15;
/// More days than the shortest waiting period of a deletion.
const DAYS_BETWEEN_WRITERS: u64 = 8;
const DELETION_DAYS: u32 = 7;

/// The kind of work that a writer does. Steps are as frequent as they are listed.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Everyday use by programs.
    Use,
    /// Maintenance of the whole store.
    Upkeep,
}

#[test]
fn what_a_writer_acknowledged_is_there_after_a_kill() {
    let tally = kill_writers(500, Work::Use);
    let each = [tally.created, tally.rotated, tally.retargeted, tally.opened_with_older];
    assert!(each.iter().all(|count| *count > 50), "{tally:?}");
}

#[test]
fn purges_backups_and_root_key_changes_survive_a_kill() {
    let tally = kill_writers(150, Work::Upkeep);
    assert!([tally.purged, tally.backed_up, tally.root_keys].iter().all(|count| *count > 2), "{tally:?}");
}

/// Runs as the writer of the tests above, if told to be one. Otherwise it writes to stores of its own, and is not
/// killed.
#[test]
fn a_writer_that_is_not_killed_does_what_it_says() {
    if let Some((folder, orders)) = orders() {
        let orders = Orders::parse(&orders);
        let mut writer = Writer::new(Place::new(&folder, orders.days), orders);
        writer.open(&mut say);
        loop {
            writer.go_on(&mut say);
        }
    }
    for work in [Work::Use, Work::Upkeep] {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path(), 0);
        let mut model = Model::default();
        let mut writer = Writer::new(place.clone(), Orders { work, seed: 1, root: 0, days: 0, keys: BTreeMap::new() });
        let mut hear = |line: &str| model.hear(line);
        writer.open(&mut hear);
        (0..60).for_each(|_| writer.go_on(&mut hear));
        drop(writer);
        assert_eq!(model.tally.acknowledged, 61);
        assert!(model.check(&place, None).is_some());
    }
}

fn kill_writers(kills: u64, work: Work) -> Tally {
    let mut random = Random::seeded();
    let mut tally = Tally::default();
    for _ in 0..kills / KILLS_OF_A_STORE {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model::new(tally);
        // The checking handle stays open while the writer is killed, or does not.
        let mut kms = None;
        for number in 0..KILLS_OF_A_STORE {
            let (days, longest) = match work {
                Work::Use => (0, 5_000),
                Work::Upkeep => (number * DAYS_BETWEEN_WRITERS, 20_000),
            };
            let place = Place::new(folder.path(), days);
            let orders = Orders::new(work, days, random.next(), model.orders(kms.as_ref()));
            let survivor = kms.take().filter(|_| matches!(work, Work::Use) && random.below(2) == 0);
            let test = "crash::a_writer_that_is_not_killed_does_what_it_says";
            let mut writer = Process::start(test, folder.path(), &orders.to_text());
            model.hear(&writer.hear().expect("the writer reports a step"));
            // The first call opens the store. Each call reports two lines.
            let (lines, begun) = (2 * random.below(CALLS_BEFORE_A_KILL), Instant::now());
            for _ in 0..lines {
                model.hear(&writer.hear().expect("the writer reports a step"));
            }
            // Kills it during some call, even if calls are slow: after up to twice the time that those so far took.
            let longest = longest.max(micros(begun.elapsed()) * 4 / lines.max(1));
            sleep(Duration::from_micros(random.below(longest)));
            writer.kill();
            while let Some(line) = writer.hear() {
                model.hear(&line);
            }
            kms = model.check(&place, survivor);
        }
        tally = model.tally;
    }
    println!("{kills} kills of {work:?}: {tally:?}");
    tally
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// The orders of a writer.
struct Orders {
    work: Work,
    days: u64,
    seed: u64,
    root: u8,
    keys: BTreeMap<u64, String>,
}

impl Orders {
    fn new(work: Work, days: u64, seed: u64, (root, keys): (u8, BTreeMap<u64, String>)) -> Self {
        Self { work, days, seed, root, keys }
    }

    fn to_text(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|(number, id)| format!("{number}={id}")).collect();
        format!("{:?} {} {} {} {}", self.work, self.days, self.seed, self.root, keys.join(","))
    }

    fn parse(text: &str) -> Self {
        let [work, days, seed, root, keys] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let key = |key: &str| key.split_once('=').map(|(number, id)| (number.parse().unwrap(), id.to_owned()));
        Self {
            work: if work == "Upkeep" { Work::Upkeep } else { Work::Use },
            days: days.parse().unwrap(),
            seed: seed.parse().unwrap(),
            root: root.parse().unwrap(),
            keys: keys.split(',').filter_map(key).collect(),
        }
    }
}

/// Calls a KMS, and reports each call before it is tried and after it is done.
struct Writer {
    place: Place,
    orders: Orders,
    random: Random,
    kms: Option<LocalKms>,
    calls: u64,
}

impl Writer {
    fn new(place: Place, orders: Orders) -> Self {
        Self { place, random: Random(orders.seed), orders, kms: None, calls: 0 }
    }

    fn open(&mut self, say: &mut impl FnMut(&str)) {
        say(&format!("try {:?}", Step::Open));
        self.kms = Some(self.place.open_to_write(self.orders.root));
        say(&format!("ack {:?}", Step::Open));
    }

    fn go_on(&mut self, say: &mut impl FnMut(&str)) {
        let step = self.choose();
        say(&format!("try {step:?}"));
        let answer = self.take(step);
        say(&format!("ack {step:?}/{answer}"));
    }

    fn choose(&mut self) -> Step {
        self.calls += 1;
        let numbers: Vec<u64> = self.orders.keys.keys().copied().collect();
        let next = numbers.last().map_or(0, |last| last + 1);
        if next < ALIASES {
            return Step::Create(next);
        }
        let random = &mut self.random;
        let (key, named) = (random.pick(&numbers), random.below(ALIASES));
        // It does no harm if two writers use the same number.
        let number = self.orders.seed % 1_000_000 * 1_000 + self.calls;
        match self.orders.work {
            Work::Use => match random.below(13) {
                0..3 => Step::Create(next),
                3..6 => Step::Rotate(key),
                6..9 => Step::Retarget(named, key),
                9..12 => Step::Encrypt(named, number),
                _ => Step::Checkpoint,
            },
            Work::Upkeep => match random.below(10) {
                0..2 => Step::Create(next),
                2 => Step::Rotate(key),
                3..5 => Step::Encrypt(named, number),
                5 if key >= ALIASES => Step::Schedule(key),
                6 => Step::Backup(number),
                7 => Step::ChangeRootKey,
                _ => Step::Purge,
            },
        }
    }

    /// Makes the call of a step. Returns its answer, if that matters later.
    fn take(&mut self, step: Step) -> String {
        let (kms, keys) = (self.kms.as_ref().unwrap(), &mut self.orders.keys);
        match step {
            Step::Open => unreachable!("that is done"),
            Step::Create(number) => {
                let request = CreateKey::default().description(number.to_string());
                let request = if number < ALIASES { request.alias(alias(number)) } else { request };
                keys.insert(number, kms.create_key(request).unwrap().key_id().to_owned());
            }
            Step::Rotate(key) => {
                if let Err(error) = kms.rotate_key_on_demand(&keys[&key]) {
                    assert_eq!(code(&error), "LimitExceededException");
                }
            }
            Step::Retarget(named, key) => kms.update_alias(&alias(named), &keys[&key]).unwrap(),
            Step::Encrypt(named, number) => {
                return STANDARD.encode(encrypt(kms, &alias(named), text(number).as_bytes()).unwrap());
            }
            Step::Checkpoint => kms.checkpoint().unwrap(),
            Step::Schedule(key) => {
                kms.schedule_key_deletion_in(&keys.remove(&key).unwrap(), DELETION_DAYS).unwrap();
            }
            Step::Purge => drop(kms.purge().unwrap()),
            Step::Backup(number) => kms.backup(self.place.backup(number)).unwrap(),
            Step::ChangeRootKey => {
                self.orders.root += 1;
                kms.change_root_key(model::root_key(self.orders.root)).unwrap();
            }
        }
        String::new()
    }
}
