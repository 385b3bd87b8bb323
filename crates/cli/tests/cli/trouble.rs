//! Trouble on the way: full disks, files that change or appear meanwhile, signals. Each ends in one line and exit code
//! 1, and nothing is lost or left half.
#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use crate::desk::{Desk, Ran, pattern};
use crate::{ignores_interrupts, wait_for};

/// Returns the names of temporary files in a folder of the desk.
fn temporaries(desk: &Desk, folder: &str) -> usize {
    let entries = fs::read_dir(desk.path(folder)).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".manila-")).count()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status().unwrap();
    assert!(status.success());
}

#[track_caller]
fn assert_failed(ran: &Ran, says: &str) {
    assert!(ran.code == 1 && ran.errors.contains(says), "{} {}", ran.code, ran.errors);
    assert_eq!(ran.errors.lines().count(), 1, "{}", ran.errors);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_said() {
    let desk = Desk::new(&pattern(300_000));
    desk.succeed(&["encrypt", "plain"]);
    for args in [["encrypt", "plain", "-o", "-"], ["decrypt", "plain.manila", "-o", "-"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = Ran::from(desk.command(&args).stdout(full).output().unwrap());
        assert_failed(&ran, "No space left on device");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn work_goes_on_if_its_report_cannot_be_printed() {
    let desk = Desk::new(b"");
    let names = ["a", "b", "c", "d", "e", "f"];
    fs::create_dir(desk.path("folder")).unwrap();
    for name in names {
        fs::write(desk.path(name), name).unwrap();
        fs::write(desk.path("folder").join(name), name).unwrap();
    }
    desk.succeed(&["encrypt", "plain"]);
    let encrypted = names.map(|name| format!("{name}.manila"));
    let run = |args: &[&str]| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = Ran::from(desk.command(args).arg("--json").stdout(full).output().unwrap());
        assert_failed(&ran, "the report cannot be printed to its end");
    };
    run(&[&["encrypt"], &names[..]].concat());
    run(&[&["decrypt", "--to", "back"], &encrypted.each_ref().map(String::as_str)[..]].concat());
    run(&["encrypt", "-r", "folder"]);
    run(&["decrypt", "-r", "folder.manila", "--to", "back"]);
    for name in names {
        assert_eq!(fs::read_to_string(desk.path("back").join(name)).unwrap(), name);
        assert_eq!(fs::read_to_string(desk.path("back/folder").join(name)).unwrap(), name);
    }
}

#[test]
fn a_file_that_cannot_grow_leaves_nothing() {
    let desk = Desk::new(&pattern(300_000));
    desk.succeed(&["encrypt", "plain"]);
    fs::write(desk.path("kept"), b"old").unwrap();
    let before = desk.names();
    for args in ["encrypt plain -o kept --force", "decrypt plain.manila -o kept --force", "decrypt plain.manila -o new"]
    {
        // As a full disk: no file may be longer than 100 blocks of at most 1024 bytes.
        let limited = format!("trap '' XFSZ; ulimit -f 100; exec {} {args}", env!("CARGO_BIN_EXE_manila"));
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(limited).current_dir(desk.folder.path()).env("MANILA_STORE", "keys");
        let ran = Ran::from(shell.output().unwrap());
        assert_failed(&ran, "too large");
        assert_eq!(desk.names(), before);
        assert_eq!(fs::read(desk.path("kept")).unwrap(), b"old");
    }
}

#[test]
fn a_target_that_appears_meanwhile_is_kept() {
    let desk = Desk::new(b"");
    let mut child = desk.command(&["encrypt", "-", "-o", "out"]).stdin(Stdio::piped()).spawn().unwrap();
    wait_for(|| temporaries(&desk, "") == 1);
    fs::write(desk.path("out"), b"another's").unwrap();
    drop(child.stdin.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert!(ran.errors.contains("\"out\" exists: replace it with --force, or give another -o"), "{}", ran.errors);
    assert_eq!(ran.code, 1);
    assert_eq!(fs::read(desk.path("out")).unwrap(), b"another's");
    assert_eq!(desk.names(), ["keys", "out", "plain"]);
}

#[test]
fn an_input_that_changes_meanwhile_is_not_encrypted() {
    let desk = Desk::new(b"");
    desk.succeed(&["encrypt", "plain"]);
    // Long enough to be found in the middle, sooner or later.
    for _ in 0..50 {
        fs::File::create(desk.path("long")).unwrap().set_len(64 << 20).unwrap();
        let mut child = desk.command(&["encrypt", "long", "-o", "out", "--force", "--threads", "1"]).spawn().unwrap();
        let is_over = |child: &mut Child| child.try_wait().unwrap().is_some();
        while temporaries(&desk, "") == 0 && !is_over(&mut child) {}
        if !is_over(&mut child) {
            signal(&child, "STOP");
        }
        let was_at_work = temporaries(&desk, "") == 1;
        fs::OpenOptions::new().append(true).open(desk.path("long")).unwrap().write_all(b"more").unwrap();
        let _ = Command::new("sh").arg("-c").arg(format!("kill -CONT {}", child.id())).stderr(Stdio::null()).status();
        let ran = Ran::from(child.wait_with_output().unwrap());
        if was_at_work && ran.code != 0 {
            assert_failed(&ran, "\"long\" was changed while it was being encrypted: try again");
            assert_eq!(temporaries(&desk, ""), 0);
            return;
        }
    }
    panic!("it was never found in the middle");
}

#[test]
fn an_interrupted_batch_keeps_what_is_whole_and_nothing_else() {
    for signal_name in if ignores_interrupts() { &["TERM"][..] } else { &["INT", "TERM"] } {
        let desk = Desk::new(b"whole");
        fs::create_dir(desk.path("out")).unwrap();
        fs::write(desk.path("out/slow.manila"), b"old").unwrap();
        for name in ["slow", "slower"] {
            assert!(Command::new("mkfifo").arg(desk.path(name)).status().unwrap().success());
        }
        let args = ["encrypt", "plain", "slow", "slower", "--to", "out", "--force", "--jobs", "3"];
        let child = desk.command(&args).spawn().unwrap();
        // Opening waits for the program to read.
        let mut pipes =
            ["slow", "slower"].map(|name| fs::OpenOptions::new().write(true).open(desk.path(name)).unwrap());
        for pipe in &mut pipes {
            pipe.write_all(&pattern(50_000)).unwrap();
        }
        wait_for(|| desk.path("out/plain.manila").exists() && temporaries(&desk, "out") == 2);
        signal(&child, signal_name);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 1);
        let says = "interrupted: 1 of 3 files were written, and nothing of the others";
        assert!(ran.errors.contains(says), "{}", ran.errors);
        assert_eq!(temporaries(&desk, "out"), 0);
        assert_eq!(fs::read(desk.path("out/slow.manila")).unwrap(), b"old");
        desk.succeed(&["decrypt", "out/plain.manila", "-o", "back"]);
        assert_eq!(fs::read(desk.path("back")).unwrap(), b"whole");
        assert!(!desk.path("out/slower.manila").exists());
    }
}

#[test]
fn a_pipe_that_ends_early_leaves_nothing() {
    let desk = Desk::new(&pattern(300_000));
    desk.succeed(&["encrypt", "plain"]);
    let sealed = fs::read(desk.path("plain.manila")).unwrap();
    let before = desk.names();
    for len in [0, 10, 1000, 200_000, sealed.len() - 1] {
        let mut child = desk.command(&["decrypt", "-", "-o", "out"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&sealed[..len]).unwrap();
        drop(stdin);
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(errors.starts_with("error: the message ends") && errors.lines().count() == 1, "{len}: {errors}");
        assert_eq!(desk.names(), before);
    }
}
