//! The program from outside: it writes whole files or nothing, returns the right exit codes, and refuses damaged input.

mod aws;
mod batch;
mod config;
#[path = "../desk/mod.rs"]
mod desk;
mod folders;
mod keys;
mod trouble;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use desk::{Desk, Ran, pattern};

#[test]
fn a_file_goes_there_and_back() {
    for (len, options) in [(0, &[][..]), (300_000, &[]), (300_000, &["--sign"]), (1000, &["--frame-length", "1"])] {
        let desk = Desk::new(&pattern(len));
        desk.succeed(&[&["encrypt", "plain"], options].concat());
        desk.succeed(&["decrypt", "plain.manila", "-o", "back"]);
        assert_eq!(fs::read(desk.path("back")).unwrap(), pattern(len));
        fs::remove_file(desk.path("plain")).unwrap();
        desk.succeed(&["decrypt", "plain.manila"]);
        assert_eq!(fs::read(desk.path("plain")).unwrap(), pattern(len));
        assert_eq!(desk.names(), ["back", "keys", "plain", "plain.manila"]);
    }
}

#[test]
fn the_key_store_is_made_once_and_said() {
    let desk = Desk::new(b"x");
    let first = desk.succeed(&["encrypt", "plain", "-o", "one"]);
    assert!(first.errors.contains("made a key store in") && first.errors.lines().count() == 1, "{}", first.errors);
    let second = desk.succeed(&["encrypt", "plain", "-o", "two"]);
    assert_eq!(second.errors, "");
    assert!(desk.path("keys/keys.redb").exists());
    desk.succeed(&["encrypt", "plain", "-o", "three", "--store", "elsewhere/keys"]);
    assert!(desk.path("elsewhere/keys/root.key").exists());
    desk.succeed(&["decrypt", "three", "-o", "back", "--store", "elsewhere/keys"]);
    let wrong = desk.run(&["decrypt", "three", "-o", "again"]);
    assert_eq!(wrong.code, 1);
    assert!(!desk.path("again").exists());
    let none = desk.run(&["decrypt", "three", "-o", "again", "--store", "nowhere"]);
    assert!(none.code == 1 && none.errors.contains("no key store"), "{}", none.errors);
    assert!(!desk.path("nowhere").exists(), "decrypting makes no key store");
}

#[cfg(unix)]
#[test]
fn the_key_store_is_in_the_data_directory_by_default() {
    let desk = Desk::new(b"x");
    let by_default = |args: &[&str]| {
        let mut command = desk.command(args);
        command.env_remove("MANILA_STORE").env_remove("XDG_DATA_HOME").env("HOME", desk.path("home"));
        Ran::from(command.output().unwrap())
    };
    assert_eq!(by_default(&["encrypt", "plain"]).code, 0);
    assert_eq!(by_default(&["decrypt", "plain.manila", "-o", "back"]).code, 0);
    let data = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
    assert!(desk.path("home").join(data).join("manila/root.key").exists());
}

#[cfg(unix)]
#[test]
fn keys_and_output_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new(b"x");
    desk.succeed(&["encrypt", "plain"]);
    desk.succeed(&["decrypt", "plain.manila", "-o", "back"]);
    for name in ["keys/root.key", "keys/keys.redb", "plain.manila", "back"] {
        let mode = fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[test]
fn the_context_must_match() {
    let desk = Desk::new(b"x");
    desk.succeed(&["encrypt", "plain", "--context", "tenant=acme", "--context", "note=a=b"]);
    desk.succeed(&["decrypt", "plain.manila", "-o", "back", "--context", "note=a=b"]);
    for context in ["tenant=emca", "tenant=", "other=acme"] {
        let ran = desk.run(&["decrypt", "plain.manila", "-o", "no", "--context", context]);
        assert!(ran.code == 1 && ran.errors.starts_with("error: "), "{context}: {}", ran.errors);
        assert!(!desk.path("no").exists());
    }
}

#[test]
fn nothing_is_overwritten_without_force() {
    let desk = Desk::new(b"new");
    fs::write(desk.path("kept"), b"old").unwrap();
    let refused = desk.run(&["encrypt", "plain", "-o", "kept"]);
    assert!(refused.code == 1 && refused.errors.contains("--force"), "{}", refused.errors);
    assert_eq!(fs::read(desk.path("kept")).unwrap(), b"old");
    desk.succeed(&["encrypt", "plain", "-o", "kept", "--force"]);
    desk.succeed(&["decrypt", "kept", "-o", "back"]);
    assert_eq!(fs::read(desk.path("back")).unwrap(), b"new");
    fs::create_dir(desk.path("folder")).unwrap();
    assert_eq!(desk.run(&["encrypt", "plain", "-o", "folder", "--force"]).code, 1);
}

#[test]
fn seven_kinds_of_damage_leave_no_output() {
    let desk = Desk::new(&pattern(200_000));
    desk.succeed(&["encrypt", "plain"]);
    let sealed = fs::read(desk.path("plain.manila")).unwrap();
    let flipped = |at: usize| {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        damaged
    };
    let frame = 4 + 12 + 65_536 + 16;
    let body = sealed.len() - (200_000 % 65_536 + 40) - 3 * frame;
    let swapped =
        [&sealed[..body], &sealed[body + frame..][..frame], &sealed[body..][..frame], &sealed[body + 2 * frame..]];
    let damages: [(&str, Vec<u8>, &str); 7] = [
        ("a flipped bit in the header", flipped(5), "commits to"),
        ("a flipped bit in a frame", flipped(sealed.len() / 2), "authenticate"),
        ("a flipped bit in the last tag", flipped(sealed.len() - 1), "authenticate"),
        ("a truncated file", sealed[..sealed.len() - 1].to_vec(), "ends before"),
        ("more bytes after it", [&sealed[..], b"x"].concat(), "more bytes"),
        ("swapped frames", swapped.concat(), "moved, repeated or lost"),
        ("no message at all", b"hello, this is a text".to_vec(), "not a message"),
    ];
    for (damage, bytes, says) in damages {
        fs::write(desk.path("damaged"), bytes).unwrap();
        let ran = desk.run(&["decrypt", "damaged", "-o", "out"]);
        assert_eq!(ran.code, 1, "{damage}");
        assert!(ran.errors.contains(says) && ran.errors.lines().count() == 1, "{damage}: {}", ran.errors);
        assert_eq!(desk.names(), ["damaged", "keys", "plain", "plain.manila"], "{damage}");
        // Nor is anything written to stdout.
        let ran = desk.run(&["decrypt", "damaged", "-o", "-"]);
        assert!(ran.code == 1 && ran.output.is_empty(), "{damage}");
    }
}

#[test]
fn a_file_that_exists_survives_a_failure_even_with_force() {
    let desk = Desk::new(&pattern(200_000));
    desk.succeed(&["encrypt", "plain"]);
    let sealed = fs::read(desk.path("plain.manila")).unwrap();
    fs::write(desk.path("damaged"), &sealed[..sealed.len() - 1]).unwrap();
    fs::write(desk.path("kept"), b"old").unwrap();
    assert_eq!(desk.run(&["decrypt", "damaged", "-o", "kept", "--force"]).code, 1);
    assert_eq!(fs::read(desk.path("kept")).unwrap(), b"old");
}

#[test]
fn stdin_and_stdout() {
    let desk = Desk::new(&pattern(300_000));
    let pipe = |args: &[&str], input: &[u8]| {
        let mut child = desk.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let ran = Ran::from(child.wait_with_output().unwrap());
        writer.join().unwrap();
        ran
    };
    let sealed = pipe(&["encrypt", "-"], &pattern(300_000));
    assert_eq!(sealed.code, 0, "{}", sealed.errors);
    assert_eq!(pipe(&["decrypt", "-"], &sealed.output).output, pattern(300_000));
    let streamed = pipe(&["decrypt", "-", "--stream"], &sealed.output);
    assert_eq!((streamed.code, streamed.output), (0, pattern(300_000)));
    assert!(streamed.errors.contains("discard"), "{}", streamed.errors);
    // Streaming prints the whole frames before the cut, and the exit code reports the failure.
    let cut = pipe(&["decrypt", "-", "--stream"], &sealed.output[..sealed.output.len() - 1]);
    assert_eq!((cut.code, cut.output), (1, pattern(300_000)[..4 * 65_536].to_vec()));
    assert_eq!(desk.names(), ["keys", "plain"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let desk = Desk::new(b"x");
    for args in [
        &[][..],
        &["seal", "plain"],
        &["encrypt"],
        &["encrypt", "plain", "--context", "no-value"],
        &["encrypt", "plain", "--context", "a=1", "--context", "a=2"],
        &["encrypt", "plain", "--context", "aws-crypto-x=1"],
        &["encrypt", "plain", "--frame-length", "0"],
        &["decrypt", "plain"],
        &["decrypt", "plain", "-o", "out", "--stream"],
    ] {
        assert_eq!(desk.run(args).code, 2, "{args:?}");
    }
    assert_eq!(desk.names(), ["plain"]);
    let shown = desk.run(&["decrypt", "plain"]).errors;
    assert!(shown.contains("give -o OUTPUT") && shown.contains("Usage: manila decrypt"), "{shown}");
    let missing = desk.run(&["encrypt", "no such file"]);
    assert!(missing.code == 1 && missing.errors.contains("no such file"), "{}", missing.errors);
}

#[test]
fn inspect_needs_no_key_and_escapes_what_it_shows() {
    let desk = Desk::new(&pattern(100_000));
    let nasty = "k\u{1b}[2J\u{9b}\u{202e}=v\u{7f}\r";
    desk.succeed(&["encrypt", "plain", "--sign", "--context", nasty]);
    fs::remove_dir_all(desk.path("keys")).unwrap();
    let text = String::from_utf8(desk.succeed(&["inspect", "plain.manila"]).output).unwrap();
    for part in ["0x0578", "\"k\\u{1b}[2J", "of \"aws-kms\"", "65536 bytes", "in 2 frames", "100000 bytes", "105 bytes"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = String::from_utf8(desk.succeed(&["inspect", "--json", "plain.manila"]).output).unwrap();
    for shown in [&text, &json] {
        assert!(shown.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{shown:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["encryption_context"]["k\u{1b}[2J\u{9b}\u{202e}"], "v\u{7f}\r");
    assert_eq!(json["plaintext_bytes"], 100_000);
    assert_eq!(json["encrypted_data_keys"][0]["provider_id"], "aws-kms");
    assert_eq!(desk.run(&["inspect", "plain"]).code, 1);
    // A truncated file still shows its header.
    let sealed = fs::read(desk.path("plain.manila")).unwrap();
    fs::write(desk.path("cut"), &sealed[..sealed.len() / 2]).unwrap();
    let cut = desk.run(&["inspect", "cut"]);
    assert!(cut.code == 1 && cut.errors.contains("ends before"), "{}", cut.errors);
    assert!(String::from_utf8(cut.output).unwrap().contains("0x0578"));
}

#[test]
fn a_key_store_that_lost_half_of_it_is_not_replaced() {
    for lost in ["root.key", "keys.redb"] {
        let desk = Desk::new(b"x");
        desk.succeed(&["encrypt", "plain"]);
        fs::remove_file(desk.path("keys").join(lost)).unwrap();
        for args in [["encrypt", "plain", "-o"], ["decrypt", "plain.manila", "-o"]] {
            let ran = desk.run(&[&args[..], &["out"]].concat());
            assert!(ran.code == 1 && ran.errors.contains(lost) && ran.errors.contains("restore"), "{}", ran.errors);
        }
        assert!(!desk.path("keys").join(lost).exists());
    }
}

#[test]
fn first_runs_at_the_same_time_agree_on_one_key_store() {
    let desk = Desk::new(b"x");
    let names: Vec<_> = (0..8).map(|n| format!("out{n}")).collect();
    let running: Vec<_> =
        names.iter().map(|name| desk.command(&["encrypt", "plain", "-o", name]).spawn().unwrap()).collect();
    let made = running.into_iter().map(|child| Ran::from(child.wait_with_output().unwrap()));
    let made =
        made.inspect(|ran| assert_eq!(ran.code, 0, "{}", ran.errors)).filter(|ran| !ran.errors.is_empty()).count();
    assert_eq!(made, 1, "one of them made it and said so");
    for name in &names {
        desk.succeed(&["decrypt", name, "-o", "back", "--force"]);
    }
    let mut all = [&names[..], &["back".to_owned(), "keys".to_owned(), "plain".to_owned()]].concat();
    all.sort();
    assert_eq!(desk.names(), all, "nothing else is left");
}

#[cfg(unix)]
#[test]
fn nobody_listening_is_no_reason_to_fail_otherwise() {
    let desk = Desk::new(&pattern(1000));
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let code = |command: &mut Command| command.status().unwrap().code();
    assert_eq!(code(desk.command(&["encrypt", "plain"]).stderr(closed())), Some(0));
    assert_eq!(code(desk.command(&["decrypt", "plain"]).stderr(closed())), Some(2));
    assert_eq!(code(desk.command(&["decrypt", "plain", "-o", "x"]).stderr(closed())), Some(1));
    assert_eq!(code(desk.command(&["decrypt", "plain.manila", "-o", "-"]).stdout(closed())), Some(1));
}

#[test]
fn a_stream_is_printed_frame_by_frame() {
    let desk = Desk::new(&pattern(50_000));
    desk.succeed(&["encrypt", "plain", "--frame-length", "1000"]);
    let sealed = fs::read(desk.path("plain.manila")).unwrap();
    let mut child = desk.command(&["decrypt", "-", "--stream"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&sealed[..sealed.len() / 2]).unwrap();
    // The input stays open: verified plaintext must be written all the same.
    let mut printed = vec![0; 20_000];
    child.stdout.as_mut().unwrap().read_exact(&mut printed).unwrap();
    assert_eq!(printed, pattern(50_000)[..20_000]);
    stdin.write_all(&sealed[sealed.len() / 2..]).unwrap();
    drop(stdin);
    assert!(child.wait_with_output().unwrap().status.success());
}

#[cfg(unix)]
#[test]
fn signals_leave_nothing_behind() {
    // A shell that runs these tests in the background makes them, and the programs they start, ignore INT.
    for signal in if ignores_interrupts() { &["TERM"][..] } else { &["INT", "TERM"] } {
        let desk = Desk::new(b"");
        fs::write(desk.path("kept"), b"old").unwrap();
        let mut child = desk.command(&["encrypt", "-", "-o", "kept", "--force"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&pattern(1_000_000)).unwrap();
        wait_for(|| desk.names().iter().any(|name| name.starts_with(".manila-")));
        let kill = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", child.id())).status().unwrap();
        assert!(kill.success());
        assert_eq!(child.wait().unwrap().code(), Some(1), "{signal}");
        drop(stdin);
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(errors.contains("interrupted"), "{errors}");
        assert_eq!(desk.names(), ["kept", "keys", "plain"], "{signal}");
        assert_eq!(fs::read(desk.path("kept")).unwrap(), b"old");
    }
}

#[cfg(unix)]
fn ignores_interrupts() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0)
}

/// Waits until the condition holds, and fails if it hangs.
#[cfg(unix)]
fn wait_for(condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "waited in vain");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
