//! `manila audit`.

use std::fs;
use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::words;

/// Returns the operations of the lines that a command shows.
#[track_caller]
fn operations(desk: &Desk, line: &str) -> Vec<String> {
    let shown = desk.succeed(&[&words(line)[..], &["--json"]].concat());
    let lines = String::from_utf8(shown.output).unwrap();
    let operation = |line: &str| serde_json::from_str::<Value>(line).unwrap()["operation"].as_str().unwrap().to_owned();
    lines.lines().map(operation).collect()
}

#[test]
fn what_was_done_is_shown_by_key_principal_operation_time_and_risk() {
    let (desk, id) = Desk::with_key("alias/a");
    desk.shows("keys create --alias alias/b");
    desk.shows("keys disable alias/a");
    desk.fails("keys show nothing");
    let count = |line: &str| operations(&desk, line).len();
    let all = count("audit show");
    assert_eq!(count("audit show keys/audit.jsonl"), all);
    for key in [&id, &format!("arn:aws:kms:local:000000000000:key/{id}")] {
        let of_key = operations(&desk, &format!("audit show --key {key}"));
        assert!(of_key.contains(&"DisableKey".to_owned()) && of_key.len() < all, "{of_key:?}");
    }
    // By its alias too, which opens the key store.
    assert!(operations(&desk, "audit show --key alias/a").contains(&"DisableKey".to_owned()));
    assert!(!operations(&desk, "audit show --key alias/b").contains(&"DisableKey".to_owned()));
    assert_eq!(operations(&desk, "audit show --key nothing"), ["GetKeyRotationStatus"], "refused by that name");
    assert_eq!(operations(&desk, "audit show --operation CreateKey --operation DisableKey").len(), 3);
    let risky = operations(&desk, "audit show --risky");
    assert_eq!(risky, ["DisableKey", "GetKeyRotationStatus"], "and what was refused");
    let all = count("audit show");
    assert_eq!((count("audit show --principal nobody"), count("audit show --principal root")), (0, all));
    assert_eq!((count("audit show --since 1h"), count("audit show --since 2100-01-01")), (all, 0));
    desk.misuses("audit show --since yesterday");

    let text = desk.shows("audit show --operation DisableKey");
    assert_eq!(
        text,
        "TIME  DisableKey           ok    arn:aws:kms:local:000000000000:key/ID  arn:aws:iam::000000000000:root\n"
    );
}

#[test]
fn lines_are_shown_without_the_root_key() {
    let (desk, id) = Desk::with_key("alias/a");
    fs::rename(desk.path("keys/root.key"), desk.path("root.key")).unwrap();
    let before = fs::read(desk.path("keys/audit.jsonl")).unwrap();
    assert!(desk.shows(&format!("audit show --key {id}")).contains("CreateKey"));
    assert_eq!(fs::read(desk.path("keys/audit.jsonl")).unwrap(), before);
    assert!(desk.fails("audit show --store nowhere").contains("there is no audit log"));
}

#[test]
fn lines_steer_no_terminal_and_others_are_told_of() {
    let (desk, _) = Desk::with_key("alias/a");
    desk.run(&["keys", "show", "a\u{1b}[2J\u{9b}"]);
    fs::write(desk.path("log"), "not a line\n{\"operation\": \"a\u{9b}\"}\n").unwrap();
    for args in [&["audit", "show"][..], &["audit", "show", "--json"], &["audit", "show", "log"]] {
        let shown = desk.succeed(args);
        assert!(shown.output.iter().all(|byte| *byte == b'\n' || (b' '..=b'~').contains(byte)), "{args:?}");
        let notes = usize::from(args.contains(&"log"));
        assert_eq!(shown.errors.matches("not one of an audit log").count(), notes, "{args:?}");
    }
}

#[test]
fn a_changed_line_is_found() {
    let (desk, _) = Desk::with_key("alias/a");
    let verified = desk.json("audit verify");
    assert_eq!(
        (&verified[0]["intact"], &verified[0]["faults"], &verified[0]["first"]),
        (&json!(true), &json!([]), &json!(1))
    );
    assert!(desk.shows("audit verify").starts_with("FILE"));
    let log = desk.path("keys/audit.jsonl");
    let lines = fs::read_to_string(&log).unwrap();
    fs::write(&log, lines.replacen("CreateKey", "DeleteKey", 1)).unwrap();
    let found = desk.run(&["audit", "verify", "--json"]);
    assert_eq!(found.code, 1);
    assert!(found.errors.contains("is not intact") && found.errors.lines().count() == 1, "{}", found.errors);
    let faults = found.json()[0]["faults"].clone();
    assert!(faults[0].as_str().unwrap().contains("changed, or not written by this KMS"), "{faults}");
    assert_eq!(desk.run(&["store", "verify"]).code, 1);
}

#[test]
fn a_rotated_log_is_one_chain_with_the_new_one() {
    let (desk, _) = Desk::with_key("alias/a");
    let rotated = desk.json("audit rotate");
    let old = rotated["old"].as_str().unwrap();
    assert!(old.contains("keys/audit-2") && fs::exists(old).unwrap(), "{old}");
    desk.shows("keys disable alias/a");
    let verified = desk.json("audit verify");
    assert_eq!(verified.as_array().unwrap().len(), 2);
    assert_eq!(verified[1]["first"].as_u64().unwrap(), verified[0]["last"].as_u64().unwrap() + 1);
    assert!(verified.as_array().unwrap().iter().all(|file| file["intact"] == true));
    // Both are shown, or one.
    let shown = operations(&desk, "audit show");
    assert!(shown.contains(&"CreateKey".to_owned()) && shown.contains(&"DisableKey".to_owned()));
    assert!(!operations(&desk, "audit show keys/audit.jsonl").contains(&"CreateKey".to_owned()));
    assert_eq!(desk.json(&format!("audit verify {old}"))[0]["intact"], true);

    desk.shows("audit rotate --to keys/kept.jsonl");
    assert!(desk.path("keys/kept.jsonl").exists());
    assert_eq!(desk.json(&format!("audit verify {old} keys/kept.jsonl keys/audit.jsonl"))[2]["intact"], true);
    fs::write(desk.path("taken"), "by another file").unwrap();
    assert!(desk.fails("audit rotate --to taken").contains("choose another file"));
    assert_eq!(fs::read(desk.path("taken")).unwrap(), b"by another file");
}

#[test]
fn a_lost_log_keeps_nobody_from_their_files_and_is_begun_anew() {
    let desk = Desk::new(b"kept");
    desk.succeed(&["encrypt", "plain"]);
    desk.shows("store status");
    fs::remove_file(desk.path("keys/audit.jsonl")).unwrap();
    desk.succeed(&["decrypt", "plain.manila", "-o", "back"]);
    assert_eq!(desk.run(&["audit", "verify"]).code, 1, "the loss shows");
    fs::remove_file(desk.path("keys/audit.jsonl")).unwrap();
    fs::create_dir(desk.path("keys/audit.jsonl")).unwrap();
    assert!(desk.fails("audit rotate").contains("audit.jsonl"));
    fs::remove_dir(desk.path("keys/audit.jsonl")).unwrap();
    assert_eq!(desk.shows("audit rotate --lost"), "log  DESK/keys/audit.jsonl\n");
    assert!(operations(&desk, "audit show").contains(&"ReplaceLostAuditLog".to_owned()));
    assert_eq!(desk.json("audit verify")[0]["intact"], true);
    desk.misuses("audit rotate --lost --to x");
}

#[test]
fn new_lines_are_followed_into_the_next_file() {
    let (desk, _) = Desk::with_key("alias/a");
    let follow =
        words("audit follow --json --since 1h --operation CreateKey --operation DisableKey --operation EnableKey");
    let mut child = desk.command(&follow).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["operation"].clone();
    assert_eq!(next(), "CreateKey", "what was before");
    desk.shows("keys disable alias/a");
    assert_eq!(next(), "DisableKey");
    desk.shows("audit rotate");
    desk.shows("keys enable alias/a");
    assert_eq!(next(), "EnableKey");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(desk.fails("audit follow --store nowhere").contains("there is no audit log"));
}

#[cfg(unix)]
#[test]
fn following_ends_well_when_it_is_interrupted() {
    let (desk, _) = Desk::with_key("alias/a");
    let mut child = desk.command(&words("audit follow --json --since 1h")).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let kill = std::process::Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
