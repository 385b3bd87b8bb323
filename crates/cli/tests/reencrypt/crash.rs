//! A job that is killed or interrupted at any moment: every file is an old one or a new one, and the job goes on.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use manila::keyring::KmsKeyring;
use manila::local_kms::LocalKms;
use manila::{Client, ExpectedContext};

use crate::desk::{Desk, Ran, pattern};
use crate::{files_in, words};

const FILES: usize = 40;
/// Kills in the test; `MANILA_KILLS` sets another number.
const KILLS: u64 = 30;

fn content(number: usize) -> Vec<u8> {
    // Some take a while, and most do not.
    pattern(if number % 8 == 3 { 900_000 } else { number * 50 })
}

/// A folder with encrypted files, and two keys.
fn desk() -> Desk {
    let desk = Desk::new(b"");
    let names: Vec<_> = (0..FILES).map(|number| format!("d/{}/{number:02}", number % 3)).collect();
    for (number, name) in names.iter().enumerate() {
        fs::create_dir_all(desk.path(name).parent().unwrap()).unwrap();
        fs::write(desk.path(name), content(number)).unwrap();
    }
    desk.shows("keys create --alias alias/0");
    desk.shows("keys create --alias alias/1");
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    desk.succeed(&[&["encrypt", "--key", "alias/0"], &names[..]].concat());
    for name in names {
        fs::remove_file(desk.path(name)).unwrap();
    }
    desk
}

/// A client with all keys of the desk.
fn client(desk: &Desk) -> Client {
    Client::new(KmsKeyring::discovery_any_account(LocalKms::open_or_create(desk.path("keys")).unwrap()))
}

/// Fails unless each file decrypts to its content. Returns how many are under a key.
#[track_caller]
fn check(folder: &Path, client: &Client, arn: &str) -> usize {
    let files: Vec<_> = files_in(folder).into_iter().filter(|file| !is_temporary(file)).collect();
    assert_eq!(files.len(), FILES);
    let is_new = |file: &&std::path::PathBuf| {
        let message = fs::read(file).unwrap();
        let opened = client.decrypt(&message, ExpectedContext::any()).unwrap();
        let number: usize = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert!(opened.plaintext == content(number), "{file:?}");
        opened.header.encrypted_data_keys()[0].key_name() == arn
    };
    files.iter().filter(is_new).count()
}

fn is_temporary(file: &Path) -> bool {
    file.file_name().unwrap().to_str().unwrap().starts_with(".manila-")
}

fn temporaries(folder: &Path) -> usize {
    files_in(folder).iter().filter(|file| is_temporary(file)).count()
}

fn start(desk: &Desk, line: &str) -> Child {
    desk.command(&words(line)).spawn().unwrap()
}

#[test]
fn a_job_that_is_killed_at_any_moment_loses_nothing_and_goes_on() {
    let kills = std::env::var("MANILA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let desk = desk();
    let (folder, client) = (desk.path("d"), client(&desk));
    let arns = ["alias/0", "alias/1"].map(|alias| desk.arn(alias));
    let line = |to: usize| format!("reencrypt -r d --key alias/{to} --journal journal --jobs 3");
    let began = Instant::now();
    desk.shows(&line(1));
    let mut whole = began.elapsed();
    let (mut all, mut was_cut, mut left_temporaries, mut went_on) = (0, 0, 0, 0);
    // A sequence that has no period, so that the moments are spread over the run whatever its length.
    let mut moment = 0.5_f64;
    for job in 0_u32.. {
        let to = usize::try_from(job % 2).unwrap();
        // Sometimes the run that goes on is killed too.
        for _ in 0..=job % 3 {
            all += 1;
            let mut child = start(&desk, &line(to));
            moment = (moment + 0.618_033_988_749_895).fract();
            thread::sleep(whole.mul_f64(moment));
            child.kill().unwrap();
            child.wait().unwrap();
            let new = check(&folder, &client, &arns[to]);
            was_cut += u32::from((1..FILES).contains(&new));
            // However busy the machine is, most moments come before the end.
            whole = whole.mul_f64(if new == FILES { 0.8 } else { 1.1 });
            left_temporaries += u32::from(temporaries(&folder) > 0);
        }
        let report = desk.run(&words(&format!("{} --json", line(to))));
        assert_eq!(report.code, 0, "{}", report.errors);
        went_on += u32::from(report.json()["done_before"] != 0);
        assert_eq!(check(&folder, &client, &arns[to]), FILES);
        assert_eq!((temporaries(&folder), desk.path("journal").exists()), (0, false));
        if all >= kills {
            break;
        }
    }
    // Seen with --nocapture.
    println!("{all} kills: {was_cut} in the middle, {left_temporaries} left temporary files, {went_on} jobs went on");
}

#[test]
fn a_job_into_another_folder_goes_on_too() {
    let desk = desk();
    let client = client(&desk);
    let arn = desk.arn("alias/1");
    let line = "reencrypt -r d --key alias/1 --journal journal --jobs 3 --to out";
    let before: Vec<_> = files_in(&desk.path("d")).into_iter().map(|file| fs::read(file).unwrap()).collect();
    for files in [1, 10, 20, 30, FILES] {
        let mut child = start(&desk, line);
        let is_far = || files_in(&desk.path("out")).iter().filter(|file| !is_temporary(file)).count() >= files;
        while !is_far() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        // It may have come to its end before: to begin it anew finds the outputs of another job.
        if child.wait().unwrap().success() {
            break;
        }
    }
    if desk.path("journal").exists() {
        let ran = desk.run(&words(line));
        assert_eq!(ran.code, 0, "{}", ran.errors);
    }
    assert_eq!(check(&desk.path("out/d"), &client, &arn), FILES);
    assert_eq!((temporaries(&desk.path("out")), desk.path("journal").exists()), (0, false));
    let after: Vec<_> = files_in(&desk.path("d")).into_iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(after == before);
}

#[test]
fn temporary_files_of_others_stay() {
    let desk = desk();
    fs::write(desk.path("d/0/.manila-abc123"), "of somebody else").unwrap();
    let mut child = start(&desk, "reencrypt -r d --key alias/1 --journal journal");
    while temporaries(&desk.path("d")) < 2 && child.try_wait().unwrap().is_none() {}
    child.kill().unwrap();
    child.wait().unwrap();
    desk.shows("reencrypt -r d --key alias/1 --journal journal");
    assert_eq!(temporaries(&desk.path("d")), 1);
    assert_eq!(fs::read_to_string(desk.path("d/0/.manila-abc123")).unwrap(), "of somebody else");
}

#[test]
fn an_interrupted_job_leaves_nothing_half_and_says_how_to_go_on() {
    let desk = desk();
    let (folder, client, arn) = (desk.path("d"), client(&desk), desk.arn("alias/1"));
    let line = "reencrypt -r d --key alias/1 --journal journal --jobs 3";
    // Sooner or later it is found at work.
    for _ in 0..50 {
        let mut child = start(&desk, line);
        while temporaries(&folder) == 0 && child.try_wait().unwrap().is_none() {}
        let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(temporaries(&folder), 0);
        let new = check(&folder, &client, &arn);
        if status.is_ok_and(|status| status.success()) && ran.code == 1 && new < FILES {
            let says = "files were re-encrypted: give the same command again to continue";
            assert!(ran.errors.contains("error: interrupted: ") && ran.errors.contains(says), "{}", ran.errors);
            desk.shows(line);
            assert_eq!(check(&folder, &client, &arn), FILES);
            return;
        }
        desk.shows("reencrypt -r d --key alias/0");
    }
    panic!("it was never found at work");
}
