//! `reencrypt --census` and `keys delete --census`: which keys files are under, and what a deletion would cost.

use std::fs;

use serde_json::json;

use crate::desk::Desk;
use crate::words;

/// Files under two versions of a key, another key, both, and a key in a file.
fn desk() -> Desk {
    let desk = Desk::new(b"");
    desk.encrypt(&["d/a", "d/b"], "");
    desk.shows("keys rotate alias/file");
    desk.encrypt(&["d/sub/c"], "");
    desk.shows("keys create --alias alias/other");
    desk.encrypt(&["d/signed"], "--sign --key alias/other");
    desk.encrypt(&["d/both"], "--key alias/file --key alias/other");
    fs::write(desk.path("aes"), [7; 32]).unwrap();
    #[cfg(unix)]
    fs::set_permissions(desk.path("aes"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    desk.encrypt(&["d/raw"], "--key-file team/photos=aes");
    desk
}

fn len(desk: &Desk, names: &[&str]) -> u64 {
    names.iter().map(|name| desk.path(&format!("d/{name}.manila")).metadata().unwrap().len()).sum()
}

#[test]
fn files_are_counted_by_key_version_and_suite_without_a_key() {
    let desk = desk();
    let [file, other] = ["alias/file", "alias/other"].map(|alias| desk.arn(alias));
    // Nothing of the key store is needed.
    fs::rename(desk.path("keys"), desk.path("away")).unwrap();
    let census = desk.json("reencrypt -r d --census");
    assert_eq!(census["verified"], false);
    assert_eq!((&census["files"], &census["unreadable_files"]), (&json!(6), &json!(0)));
    assert_eq!(census["bytes"], len(&desk, &["a", "b", "sub/c", "signed", "both", "raw"]));
    let group = |key: &str, version: Option<u32>, suite: &str, names: &[&str]| json!({ "key": key, "key_version": version, "suite": suite, "files": names.len(), "bytes": len(&desk, names) });
    let mut expected = vec![
        group(&file, Some(1), "0x0478", &["a", "b"]),
        group(&file, Some(2), "0x0478", &["sub/c", "both"]),
        group(&other, Some(1), "0x0478", &["both"]),
        group(&other, Some(1), "0x0578", &["signed"]),
        group("team/photos", None, "0x0478", &["raw"]),
    ];
    expected.sort_by_key(|group| (group["key"].to_string(), group["key_version"].as_u64(), group["suite"].to_string()));
    assert_eq!(census["keys"].as_array().unwrap(), &expected);

    let ran = desk.shows("reencrypt -r d --census");
    assert_eq!(ran.errors, "note: nothing is verified: anyone can write a header\n");
    let text = ran.text();
    assert!(text.lines().next().unwrap().starts_with("KEY "), "{text}");
    assert!(text.lines().any(|line| line.starts_with("team/photos ") && line.contains("0x0478")), "{text}");
    let rows = format!(
        "verified          no\nfiles             6\nbytes             {}\nunreadable files  0\n",
        census["bytes"]
    );
    assert!(text.ends_with(&rows), "{text}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let desk = desk();
    fs::write(desk.path("d/bad.manila"), "no message").unwrap();
    let ran = desk.run(&words("reencrypt -r d --census --json"));
    assert_eq!(ran.code, 1);
    assert!(ran.errors.starts_with("error: \"d/bad.manila\": ") && ran.errors.lines().count() == 1, "{}", ran.errors);
    let census = ran.json();
    assert_eq!((&census["files"], &census["unreadable_files"]), (&json!(6), &json!(1)));
    assert_eq!(census["unreadable"][0]["file"], "d/bad.manila");
    assert!(desk.fails(2, "reencrypt d --census").contains("give -r"));
    assert!(desk.fails(2, "reencrypt -r d --census --sign").contains("cannot be used with"));
}

#[test]
fn a_deletion_says_first_what_would_be_lost() {
    let desk = desk();
    fs::write(desk.path("d/bad.manila"), "no message").unwrap();
    let sentence = format!(
        "note: without this key 3 files of {} bytes could no longer be decrypted; 1 are under another key too, and 2 \
         under other keys alone; 1 could not be read, and may be lost too",
        len(&desk, &["a", "b", "sub/c"])
    );
    // Before it asks, and whether it is answered or not.
    let ran = desk.run(&words("keys delete alias/file --census d"));
    assert!(ran.code == 2 && ran.errors.contains(&sentence) && ran.errors.contains("--yes"), "{}", ran.errors);
    assert_eq!(desk.json("keys show alias/file")["state"], "Enabled");
    let ran = desk.run(&words("keys delete alias/file --days 7 --yes --json --census d"));
    assert!(ran.code == 0 && ran.errors.lines().any(|line| line == sentence), "{}", ran.errors);
    assert_eq!(ran.json()["state"], "PendingDeletion");
    assert_eq!(
        ran.json()["census"],
        json!({
            "lost_files": 3, "lost_bytes": len(&desk, &["a", "b", "sub/c"]), "files_with_another_key": 1,
            "files_under_other_keys": 2, "unreadable_files": 1,
        })
    );
    // Without the option nothing is said.
    let ran = desk.shows("keys delete alias/other --days 7 --yes --json");
    assert!(ran.errors.is_empty() && ran.json().get("census").is_none(), "{}", ran.errors);
    assert!(desk.fails(1, "keys delete alias/other --yes --census nowhere").contains("cannot read \"nowhere\""));
}
