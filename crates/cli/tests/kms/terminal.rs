//! Questions and progress bars on a terminal, which is a pseudoterminal here.
#![cfg(unix)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::desk::Desk;
use crate::words;

/// A command that runs on a terminal, and the person at it.
struct Seat {
    child: Child,
    keyboard: File,
    terminal: File,
    screen: Receiver<Vec<u8>>,
    reader: JoinHandle<()>,
    seen: String,
}

impl Seat {
    fn start(desk: &Desk, line: &str) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let path = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let no_control = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let terminal = OpenOptions::new().read(true).write(true).custom_flags(no_control).open(path).unwrap();
        let keyboard = File::from(keyboard);
        tcsetwinsize(&keyboard, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let mut command = desk.command(&words(line));
        let end = || terminal.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).env("NO_COLOR", "1").spawn().unwrap();
        let (send, screen) = channel();
        let mut output = keyboard.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            // Fails once nobody has the terminal open any more.
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, terminal, screen, reader, seen: String::new() }
    }

    fn settings(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    fn echoes(&self) -> bool {
        self.settings().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for a question.
    fn read_until(&mut self, question: &str) {
        while !self.seen.ends_with(question) {
            let more = self.screen.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// Reads what appears in a moment.
    fn read_for(&mut self, moment: Duration) {
        while let Ok(more) = self.screen.recv_timeout(moment) {
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    /// Types an answer to a question.
    fn answer(&mut self, question: &str, answer: &str) {
        self.read_until(question);
        writeln!(self.keyboard, "{answer}").unwrap();
    }

    /// Waits for a question whose answer is not shown.
    fn wait_for_secret(&mut self, question: &str) {
        self.read_until(question);
        // What is typed before the terminal is told not to show it is thrown away.
        while self.echoes() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn answer_secretly(&mut self, question: &str, answer: &str) {
        self.wait_for_secret(question);
        writeln!(self.keyboard, "{answer}").unwrap();
    }

    /// Waits for the end. Returns the exit code and all that was on the screen.
    fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        assert!(self.echoes(), "the terminal is as it was");
        drop(self.terminal);
        while let Ok(more) = self.screen.recv() {
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
        self.reader.join().unwrap();
        (code, self.seen.replace('\r', ""))
    }
}

#[test]
fn a_key_is_deleted_once_that_is_confirmed() {
    for (answer, code, state) in [("n", 1, "Enabled"), ("", 1, "Enabled"), ("y", 0, "PendingDeletion")] {
        let (desk, _) = Desk::with_key("alias/a");
        let mut seat = Seat::start(&desk, "keys delete alias/a");
        seat.answer("[y/N] ", answer);
        let (ended, screen) = seat.end();
        assert_eq!(ended, code, "{screen}");
        assert!(screen.starts_with("Delete the key arn:aws:kms:local:000000000000:key/"), "{screen}");
        assert!(screen.contains("(alias/a) in 30 days? From then on nobody can decrypt"), "{screen}");
        assert_eq!(screen.contains("nothing was done"), code == 1, "{screen}");
        assert_eq!(desk.json("keys show alias/a")["state"], state);
    }
}

#[test]
fn the_root_key_is_changed_once_that_is_confirmed() {
    let (desk, _) = Desk::with_key("alias/a");
    let before = fs::read(desk.path("keys/root.key")).unwrap();
    for (answer, is_changed) in [("no", false), ("yes", true)] {
        let mut seat = Seat::start(&desk, "store change-root-key");
        seat.answer("under another root key? [y/N] ", answer);
        assert_eq!(seat.end().0 == 0, is_changed);
        assert_eq!(fs::read(desk.path("keys/root.key")).unwrap() != before, is_changed);
    }
}

#[test]
fn a_passphrase_opens_what_it_sealed_and_is_never_shown() {
    let desk = Desk::new(b"kept");
    let ask = |line: &str, secrets: &[&str]| {
        let mut seat = Seat::start(&desk, line);
        let questions = match line.starts_with("store init") {
            true => ["New passphrase of the key store: ", "The same again: "],
            false => ["Passphrase of the key store: "; 2],
        };
        for (question, secret) in questions.iter().zip(secrets) {
            seat.answer_secretly(question, secret);
        }
        let (code, screen) = seat.end();
        assert!(secrets.iter().all(|secret| secret.is_empty() || !screen.contains(secret)), "{screen}");
        (code, screen)
    };
    let (code, screen) = ask("store init --passphrase", &["correct horse", "incorrect horse"]);
    assert!(code == 1 && screen.contains("differ"), "{screen}");
    let (code, screen) = ask("store init --passphrase", &[""]);
    assert!(code == 1 && screen.contains("empty"), "{screen}");
    assert!(!desk.path("keys").exists());
    let (code, screen) = ask("store init --passphrase", &["correct horse", "correct horse"]);
    assert!(code == 0 && screen.contains("do not forget the passphrase"), "{screen}");
    assert!(!desk.path("keys/root.key").exists());
    assert_eq!(ask("encrypt plain --passphrase", &["correct horse"]).0, 0);
    let (code, screen) = ask("decrypt plain.manila -o back --passphrase", &["battery staple"]);
    assert!(code == 1 && screen.contains("passphrase is not the one"), "{screen}");
    assert_eq!(ask("decrypt plain.manila -o back --passphrase", &["correct horse"]).0, 0);
    assert_eq!(fs::read(desk.path("back")).unwrap(), b"kept");
    // Once for all files and folders of a command.
    fs::create_dir(desk.path("folder")).unwrap();
    fs::write(desk.path("folder/file"), "x").unwrap();
    let (code, screen) = ask("encrypt plain folder -r --to sealed --passphrase", &["correct horse"]);
    assert!(code == 0 && screen.matches("Passphrase").count() == 1, "{screen}");
    assert!(desk.fails("decrypt plain.manila -o no").contains("root.key\" is missing"));
}

#[test]
fn an_interruption_leaves_the_terminal_as_it_was() {
    let desk = Desk::new(b"x");
    let mut seat = Seat::start(&desk, "store init --passphrase");
    seat.wait_for_secret("New passphrase of the key store: ");
    let kill = std::process::Command::new("sh").arg("-c").arg(format!("kill -TERM {}", seat.child.id())).status();
    assert!(kill.unwrap().success());
    let (code, screen) = seat.end();
    assert!(code == 1 && screen.contains("interrupted: nothing was done"), "{screen}");
}

/// Makes files without content in the blocks of the disk.
fn sparse(desk: &Desk, name: &str, len: u64) {
    File::create(desk.path(name)).unwrap().set_len(len).unwrap();
}

/// Returns the lines of a screen that are not bars that were taken away again.
fn left_on(screen: &str) -> String {
    let after_clearing = screen.rsplit("\u{1b}[2K").next().unwrap_or_default();
    after_clearing.replace("\u{1b}[1A", "").replace("\u{1b}[?25h", "").trim().to_owned()
}

#[test]
fn bars_show_each_file_that_takes_a_while_and_all_of_them() {
    let (desk, _) = Desk::with_key("alias/file");
    sparse(&desk, "long", 64 << 20);
    assert!(std::process::Command::new("mkfifo").arg(desk.path("slow")).status().unwrap().success());
    let mut seat = Seat::start(&desk, "encrypt long plain slow --jobs 1");
    // Opening waits for the program, which is done with the other files then.
    let mut slow = OpenOptions::new().write(true).open(desk.path("slow")).unwrap();
    for _ in 0..1000 {
        if seat.seen.contains("slow ") {
            break;
        }
        slow.write_all(&[0; 10_000]).unwrap();
        seat.read_for(Duration::from_millis(20));
    }
    drop(slow);
    let (code, screen) = seat.end();
    assert_eq!(code, 0, "{screen}");
    for part in ["long  ", "/64.00 MiB", "0/3 files", "2/3 files", "B/s"] {
        assert!(screen.contains(part), "{part} in {screen:?}");
    }
    assert!(!screen.contains("plain"), "a short file has no bar of its own: {screen:?}");
    assert_eq!(left_on(&screen), "", "{screen:?}");
}

#[test]
fn the_bar_of_a_single_file_is_of_its_bytes() {
    let (desk, _) = Desk::with_key("alias/file");
    sparse(&desk, "long", 64 << 20);
    for line in ["encrypt long", "decrypt long.manila -o back"] {
        let (code, screen) = Seat::start(&desk, line).end();
        assert!(code == 0 && screen.contains("/64.") && screen.contains("MiB/s"), "{screen:?}");
        assert!(!screen.contains("files") && left_on(&screen).is_empty(), "{screen:?}");
    }
}

#[test]
fn errors_stand_above_the_bars() {
    let (desk, _) = Desk::with_key("alias/file");
    sparse(&desk, "long-one", 64 << 20);
    let (code, screen) = Seat::start(&desk, "encrypt long-one missing").end();
    assert_eq!(code, 1);
    let line = screen.lines().find(|line| line.contains("error: cannot read \"missing\": No such file"));
    assert!(line.is_some_and(|line| !line.contains("MiB")), "{screen:?}");
}

#[test]
fn there_are_no_bars_for_what_is_short_or_nobody_sees() {
    let (desk, _) = Desk::with_key("alias/file");
    for line in ["encrypt plain", "decrypt plain.manila --to back", "encrypt plain --to sealed"] {
        assert_eq!(Seat::start(&desk, line).end(), (0, String::new()), "{line}");
    }
    for name in ["long-one", "long-two"] {
        sparse(&desk, name, 64 << 20);
    }
    assert_eq!(desk.succeed(&words("encrypt long-one long-two")).errors, "");
}
