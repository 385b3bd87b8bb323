//! `manila store`.

use std::fs;

use serde_json::json;

use crate::desk::Desk;
use crate::words;

#[test]
fn a_store_is_made_once() {
    let desk = Desk::new(b"x");
    let made = desk.succeed(&words("store init --region eu-west-1 --account 111122223333"));
    assert!(made.errors.starts_with("made a key store in") && made.errors.contains("root.key"), "{}", made.errors);
    let shown = desk.json("store init");
    assert_eq!(
        (&shown["made"], &shown["region"], &shown["account"]),
        (&json!(false), &json!("eu-west-1"), &json!("111122223333"))
    );
    let key = desk.json("keys create");
    assert!(key["arn"].as_str().unwrap().starts_with("arn:aws:kms:eu-west-1:111122223333:key/"));
    let names = fs::read_dir(desk.path("keys")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, [".lock", "audit.jsonl", "keys.redb", "root.key"]);
    assert!(desk.fails("store init --store other --account 1").contains("12 digits"));
    assert!(!desk.path("other").exists());
}

#[test]
fn status_tells_what_there_is() {
    let (desk, _) = Desk::with_key("alias/a");
    desk.shows("keys create --imported");
    desk.shows("keys disable alias/a");
    let gone = desk.json("keys create")["key_id"].as_str().unwrap().to_owned();
    desk.shows(&format!("keys delete {gone} --yes"));
    let status = desk.json("store status");
    for (member, count) in
        [("keys", 3), ("enabled", 0), ("disabled", 1), ("pending_import", 1), ("pending_deletion", 1), ("aliases", 1)]
    {
        assert_eq!(status[member], count, "{member}");
    }
    assert!(status["next_deletion"].is_string() && status["audit_log_bytes"].as_u64().unwrap() > 1000);
    let text = desk.shows("store status");
    assert!(text.contains("root key          DESK/keys/root.key\n"), "{text}");
    assert!(text.contains("pending deletion  1\nnext deletion     TIME\n"), "{text}");
}

#[test]
fn a_backup_is_verified_and_restored() {
    let desk = Desk::new(b"kept");
    desk.succeed(&["encrypt", "plain"]);
    let written = desk.json("store backup saved");
    assert_eq!((&written["backup"], written["bytes"].as_u64().unwrap() > 0), (&json!("saved"), true));
    assert!(desk.fails("store backup saved").contains("exists"));
    assert_eq!(desk.json("store verify saved"), json!({"backup": "saved", "keys": 1, "intact": true}));
    desk.shows("keys create");
    assert!(desk.fails("store restore saved").contains("move"));

    // Back to what was, with the log that knows of more.
    fs::rename(desk.path("keys/keys.redb"), desk.path("gone")).unwrap();
    let restored = desk.json("store restore saved");
    assert_eq!((&restored["keys"], &restored["left_out"]), (&json!(1), &json!(0)));
    desk.succeed(&["decrypt", "plain.manila", "-o", "back"]);
    assert_eq!(desk.json("store verify")["intact"], true);

    // Into a new folder.
    assert!(desk.fails("store restore saved --store new").contains("root.key\" is missing"));
    let elsewhere = "--store new --root-key-file keys/root.key";
    desk.shows(&format!("store restore saved {elsewhere}"));
    desk.succeed(&words(&format!("decrypt plain.manila -o again {elsewhere}")));
    assert_eq!(fs::read(desk.path("again")).unwrap(), b"kept");

    let bytes = fs::read(desk.path("saved")).unwrap();
    fs::write(desk.path("cut"), &bytes[..bytes.len() / 2]).unwrap();
    desk.fails("store verify cut");
    desk.fails("store restore cut --store third --root-key-file keys/root.key");
    assert!(!desk.path("third/keys.redb").exists());
}

#[test]
fn purging_counts_what_was_removed() {
    let (desk, _) = Desk::with_key("alias/a");
    assert_eq!(desk.shows("store purge"), "purged        yes\nkeys removed  0\n");
}

#[test]
fn the_root_key_is_changed_in_its_folder_and_the_old_one_kept() {
    let desk = Desk::new(b"kept");
    desk.succeed(&["encrypt", "plain"]);
    desk.shows("store backup saved");
    let old = fs::read(desk.path("keys/root.key")).unwrap();
    assert!(desk.misuses("store change-root-key").contains("--yes"));
    assert_eq!(fs::read(desk.path("keys/root.key")).unwrap(), old);
    let changed = desk.shows("store change-root-key --yes");
    assert_eq!(changed, "root key      DESK/keys/root.key\nold root key  DESK/keys/root.key.1\npurged        yes\n");
    assert_ne!(fs::read(desk.path("keys/root.key")).unwrap(), old);
    assert_eq!(fs::read(desk.path("keys/root.key.1")).unwrap(), old);
    desk.succeed(&["decrypt", "plain.manila", "-o", "back"]);
    // The backup is the old root key's.
    assert!(desk.fails("store verify saved").contains("root key"));
    desk.shows("store verify saved --root-key-file keys/root.key.1");
    let rotated = desk.json("store change-root-key --yes --rotate");
    assert_eq!(rotated["rotated"].as_array().unwrap().len(), 1);
    assert_eq!(desk.json("keys show alias/file")["rotations"][0]["type"], "ROOT_KEY_CHANGE");
    assert_eq!(desk.json("store verify")["intact"], true);
}

#[test]
fn the_root_key_may_lie_elsewhere() {
    let desk = Desk::new(b"kept");
    let made = desk.succeed(&words("store init --root-key-file my.key"));
    assert!(made.errors.contains("my.key"), "{}", made.errors);
    assert!(desk.path("my.key").exists() && !desk.path("keys/root.key").exists());
    // By the variable, as by the option.
    let with_key = |args: &[&str]| {
        let output = desk.command(args).env("MANILA_ROOT_KEY_FILE", "my.key").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    with_key(&["encrypt", "plain"]);
    with_key(&["decrypt", "plain.manila", "-o", "back"]);
    assert!(desk.fails("decrypt plain.manila -o no").contains("root.key\" is missing beside"));
    // Nothing is made by the way where a root key is named.
    let error = desk.fails("encrypt plain -o no --store other --root-key-file my.key");
    assert!(error.contains("manila store init"), "{error}");
    assert!(!desk.path("other").exists());

    let elsewhere = "--root-key-file my.key";
    assert!(desk.misuses(&format!("store change-root-key --yes {elsewhere}")).contains("--new-root-key-file"));
    let changed = desk.json(&format!("store change-root-key --yes {elsewhere} --new-root-key-file new.key"));
    assert_eq!((&changed["root_key"], &changed["old_root_key"]), (&json!("new.key"), &json!("my.key")));
    assert!(desk.fails(&format!("decrypt plain.manila -o no {elsewhere}")).contains("root key"));
    desk.succeed(&words("decrypt plain.manila -o again --root-key-file new.key"));
    assert_eq!(fs::read(desk.path("again")).unwrap(), b"kept");
}

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_alone() {
    let desk = Desk::new(b"x");
    for line in ["store init --passphrase", "store change-root-key --yes --new-passphrase"] {
        desk.succeed(&["store", "init", "--store", "other"]);
        assert!(
            desk.misuses(&format!("{line} --store {}", if line.contains("init") { "keys" } else { "other" }))
                .contains("no terminal")
        );
    }
    assert!(!desk.path("keys").exists());
    desk.shows("store status --store other");
}

#[test]
fn the_clock_is_confirmed_and_the_time_set_back() {
    let (desk, _) = Desk::with_key("alias/a");
    desk.misuses("store confirm-clock");
    assert_eq!(desk.shows("store confirm-clock --yes"), "time  TIME\n");
    assert!(desk.fails("store set-time-back --yes").contains("nothing to set back"));
    assert!(desk.fails("keys replicate alias/a eu-west-1").contains("make one with manila keys create --multi-region"));
}

#[test]
fn a_damaged_store_is_found() {
    let (desk, _) = Desk::with_key("alias/a");
    assert_eq!(
        desk.shows("store verify").lines().take(3).collect::<Vec<_>>(),
        ["store      DESK/keys/keys.redb", "keys       1", "intact     yes"]
    );
    let mut bytes = fs::read(desk.path("keys/keys.redb")).unwrap();
    bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x55);
    fs::write(desk.path("keys/keys.redb"), bytes).unwrap();
    assert!(desk.fails("store verify").contains("restore"));
}
