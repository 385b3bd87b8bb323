//! The options of `manila reencrypt`: which files, to which keys and suites, and where to.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::desk::{Desk, Ran, pattern};
use crate::{counts, files_in, words};

const NAMES: [&str; 4] = ["d/a", "d/b", "d/sub/c", "d/sub/deep/e"];

fn desk() -> Desk {
    let desk = Desk::new(b"");
    desk.encrypt(&NAMES, "--context tenant=acme");
    desk
}

#[test]
fn files_are_replaced_in_their_places_and_the_report_counts_them() {
    let desk = desk();
    desk.encrypt(&["other"], "");
    fs::write(desk.path("d/note.txt"), "a note").unwrap();
    let before = NAMES.map(|name| fs::read(desk.path(&format!("{name}.manila"))).unwrap());
    let bytes: usize = before.iter().map(Vec::len).sum();
    let report = desk.json("reencrypt -r d other.manila");
    assert_eq!(counts(&report), [5, 0, 0, 0, 0]);
    assert_eq!(report["failures"], json!([]));
    assert!(report["bytes"].as_u64().unwrap() > bytes as u64);
    for (name, before) in NAMES.iter().zip(before) {
        let after = fs::read(desk.path(&format!("{name}.manila"))).unwrap();
        assert!(after != before && after.len() == before.len());
        assert_eq!(desk.header(&format!("{name}.manila")).encryption_context().get("tenant"), Some("acme"));
    }
    desk.check(&NAMES);
    assert!(files_in(&desk.path("state")).is_empty(), "the journal is removed");
    // For people, without what is nothing.
    let ran = desk.shows("reencrypt d/a.manila");
    let text = String::from_utf8(ran.output).unwrap();
    let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!((lines, ran.errors.as_str()), (vec!["done", "bytes", "seconds"], ""));
    assert!(text.starts_with("done     1\n"), "{text}");
}

#[cfg(unix)]
#[test]
fn attributes_are_kept_and_links_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let desk = desk();
    let file = desk.path("d/a.manila");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_007);
    fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    desk.encrypt(&["outside/x"], "");
    let outside = fs::read(desk.path("outside/x.manila")).unwrap();
    symlink("../outside", desk.path("d/folder")).unwrap();
    symlink("../outside/x.manila", desk.path("d/link.manila")).unwrap();
    assert_eq!(counts(&desk.json("reencrypt -r d")), [4, 0, 0, 0, 0]);
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.modified().unwrap()), (0o640, long_ago));
    assert_eq!(fs::read(desk.path("outside/x.manila")).unwrap(), outside);
    assert!(desk.fails(1, "reencrypt d/link.manila").contains("is a symbolic link: give what it leads to"));
}

/// Only root can give files away, and keep those of others as theirs.
#[cfg(target_os = "linux")]
#[test]
fn a_file_keeps_its_owner_or_stays_as_it_is() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let desk = desk();
    let [file, other] = ["d/a.manila", "d/b.manila"].map(|name| desk.path(name));
    if file.metadata().unwrap().uid() != 0 {
        return;
    }
    chown(&file, Some(1000), Some(1001)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let owner = || file.metadata().map(|found| (found.uid(), found.gid(), found.mode() & 0o777)).unwrap();
    desk.shows("reencrypt -r d");
    assert_eq!((owner(), other.metadata().unwrap().uid()), ((1000, 1001, 0o640), 0));
    // Elsewhere the new file belongs to whoever makes it.
    desk.shows("reencrypt d/a.manila --to out");
    assert_eq!(desk.path("out/a.manila").metadata().unwrap().uid(), 0);

    // Somebody else may read it and write in its folder: they cannot give it back to its owner.
    fs::write(desk.path("aes"), [7; 32]).unwrap();
    fs::set_permissions(desk.path("aes"), fs::Permissions::from_mode(0o600)).unwrap();
    desk.encrypt(&["shared/x"], "--key-file aes");
    for name in ["aes", "shared"] {
        chown(desk.path(name), Some(1002), Some(1002)).unwrap();
    }
    fs::set_permissions(desk.path("shared/x.manila"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(desk.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let before = fs::read(desk.path("shared/x.manila")).unwrap();
    let mut command = desk.command(&words("reencrypt -r shared --key-file aes --journal shared/journal"));
    let ran = Ran::from(command.uid(1002).gid(1002).output().unwrap());
    assert!(ran.code == 1 && ran.errors.contains("cannot keep the owner and the group"), "{}", ran.errors);
    assert_eq!(fs::read(desk.path("shared/x.manila")).unwrap(), before);
    assert!(files_in(&desk.path("shared")).len() == 2, "the file and the journal");
}

#[test]
fn files_move_to_other_keys() {
    let desk = desk();
    desk.shows("keys create --alias alias/new");
    fs::write(desk.path("aes"), [7; 32]).unwrap();
    #[cfg(unix)]
    fs::set_permissions(desk.path("aes"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    desk.shows("reencrypt -r d --key alias/new --key-file aes");
    let header = desk.header("d/a.manila");
    let keys: Vec<_> = header.encrypted_data_keys().iter().map(|key| key.key_name().into_owned()).collect();
    assert_eq!(keys, [desk.arn("alias/new"), "aes".to_owned()]);
    // The old key is of no use any more, and the new ones each are.
    desk.shows("keys disable alias/file");
    desk.check(&NAMES);
    desk.shows("keys disable alias/new");
    assert_eq!(desk.fails(1, "reencrypt -r d --key-file aes --store nowhere --key alias/file").lines().count(), 1);
    desk.shows("reencrypt -r d --key-file aes --store nowhere");
    assert!(!desk.path("nowhere").exists(), "no key store is made");
    assert!(desk.fails(1, "decrypt d/a.manila -o back").contains("error: "));
    desk.shows("decrypt d/a.manila -o back --key-file aes");
    // Back, with the old key named.
    desk.shows("keys enable alias/file");
    assert!(desk.fails(1, "reencrypt d/a.manila").contains("\"d/a.manila\": "));
    desk.shows("reencrypt -r d --old-key-file aes");
    desk.check(&NAMES);
}

#[test]
fn keys_that_cannot_decrypt_replace_nothing() {
    let desk = desk();
    fs::write(desk.path("public"), include_bytes!("../cli/rsa-public.pem")).unwrap();
    let before = fs::read(desk.path("d/a.manila")).unwrap();
    for line in ["reencrypt -r d --key-file public", "reencrypt -r d --key-file public --dry-run"] {
        assert!(desk.fails(2, line).contains("public keys and aliases in AWS only encrypt"), "{line}");
    }
    assert_eq!(fs::read(desk.path("d/a.manila")).unwrap(), before);
    // Beside one that can, it is one more key of each file.
    assert_eq!(counts(&desk.json("reencrypt -r d --key alias/file --key-file public")), [4, 0, 0, 0, 0]);
    assert_eq!(desk.header("d/a.manila").encrypted_data_keys().len(), 2);
    desk.check(&NAMES);
}

#[test]
fn a_file_keeps_its_suite_unless_another_is_asked_for() {
    let desk = Desk::new(b"");
    desk.encrypt(&["signed"], "--sign --frame-length 1000");
    desk.encrypt(&["unsigned"], "--frame-length 1000");
    let names = ["signed.manila", "unsigned.manila"];
    let suites = |line: &str| {
        desk.shows(line);
        desk.check(&["signed", "unsigned"]);
        names.map(|name| desk.suite(name))
    };
    assert_eq!(suites("reencrypt signed.manila unsigned.manila"), ["0x0578", "0x0478"]);
    let frames = names.map(|name| desk.json(&format!("inspect {name}"))["frame_length"].clone());
    assert_eq!(frames, [1000, 1000]);
    assert_eq!(suites("reencrypt signed.manila unsigned.manila --sign"), ["0x0578", "0x0578"]);
    assert_eq!(suites("reencrypt signed.manila unsigned.manila --unsigned"), ["0x0478", "0x0478"]);
    assert!(desk.fails(2, "reencrypt signed.manila --sign --unsigned").contains("cannot be used with"));
}

#[test]
fn messages_without_a_commitment_get_one() {
    use manila::keyring::RawAesKeyring;
    use manila::{AlgorithmSuite, Client, CommitmentPolicy, EncryptionContext};
    let desk = Desk::new(b"");
    fs::write(desk.path("aes"), [7; 32]).unwrap();
    #[cfg(unix)]
    fs::set_permissions(desk.path("aes"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (name, suite, after) in [
        ("plain", AlgorithmSuite::Aes256GcmHkdfSha256, "0x0478"),
        ("signed", AlgorithmSuite::Aes256GcmHkdfSha384EcdsaP384, "0x0578"),
    ] {
        let keyring = RawAesKeyring::new("manila", "aes", &[7; 32]).unwrap();
        let old = Client::builder(keyring).suite(suite).commitment_policy(CommitmentPolicy::ForbidEncryptAllowDecrypt);
        let message = old.build().unwrap().encrypt(b"old", &EncryptionContext::empty()).unwrap();
        fs::write(desk.path("old.manila"), message).unwrap();
        desk.shows("reencrypt old.manila --key-file aes");
        assert_eq!(desk.suite("old.manila"), after, "{name}");
        assert_eq!(desk.shows("decrypt old.manila -o - --key-file aes").output, b"old");
    }
}

#[test]
fn only_files_from_before_a_rotation() {
    let desk = desk();
    let version_of = |name: &str| desk.json(&format!("reencrypt {name} --census"))["keys"][0]["key_version"].clone();
    // There is none yet.
    let error = desk.fails(1, "reencrypt -r d --older-than last");
    assert!(error.contains("no key that encrypts has a rotation last") && error.lines().count() == 1, "{error}");
    desk.shows("keys rotate alias/file");
    desk.encrypt(&["d/newer"], "");
    let shown = desk.json("keys show alias/file")["rotations"][0].clone();
    assert_eq!(shown["version"], 2);
    let at = shown["date"].as_str().unwrap();
    // Each way to name the rotation finds the same files, and again none.
    for rotation in ["last", "2", at] {
        let line = format!("reencrypt -r d --older-than {rotation}");
        let plan = desk.run(&words(&format!("{line} --dry-run --json")));
        assert_eq!(last_line(&plan)["done"], 4, "{rotation}");
    }
    assert!(desk.fails(1, "reencrypt -r d --older-than 3").contains("has a rotation 3"));
    assert!(desk.fails(2, "reencrypt -r d --older-than soon").contains("give last, a version"));
    assert_eq!(counts(&desk.json("reencrypt d/a.manila --older-than 2")), [1, 0, 0, 0, 0]);
    assert_eq!(counts(&desk.json("reencrypt -r d --older-than last")), [3, 2, 0, 0, 0]);
    assert_eq!(counts(&desk.json("reencrypt -r d --older-than last")), [0, 5, 0, 0, 0]);
    assert_eq!(["d/a.manila", "d/newer.manila"].map(version_of), [2, 2]);
    desk.check(&NAMES);
    // The next rotation begins it again; older ones can still be named.
    desk.shows("keys rotate alias/file");
    assert_eq!(counts(&desk.json("reencrypt -r d --older-than 2")), [0, 5, 0, 0, 0]);
    assert_eq!(counts(&desk.json("reencrypt -r d --older-than 3")), [5, 0, 0, 0, 0]);
}

#[test]
fn files_whose_version_nobody_knows_are_counted_apart() {
    let desk = desk();
    fs::write(desk.path("aes"), [7; 32]).unwrap();
    #[cfg(unix)]
    fs::set_permissions(desk.path("aes"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    desk.encrypt(&["d/raw"], "--key-file aes");
    desk.shows("keys rotate alias/file");
    assert_eq!(counts(&desk.json("reencrypt -r d --older-than last")), [4, 0, 1, 0, 0]);
}

#[test]
fn only_files_that_are_not_as_they_should_be() {
    let desk = desk();
    let all = "reencrypt -r d --if-needed";
    assert_eq!(counts(&desk.json(all)), [0, 4, 0, 0, 0]);
    // Another key, another version, another suite, one key more.
    desk.shows("keys create --alias alias/new");
    assert_eq!(counts(&desk.json("reencrypt d/a.manila --if-needed --key alias/new")), [1, 0, 0, 0, 0]);
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/new"))), [3, 1, 0, 0, 0]);
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/new"))), [0, 4, 0, 0, 0]);
    desk.shows("keys rotate alias/new");
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/new"))), [4, 0, 0, 0, 0]);
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/new --sign"))), [4, 0, 0, 0, 0]);
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/new"))), [0, 4, 0, 0, 0]);
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/new --unsigned"))), [4, 0, 0, 0, 0]);
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/new --key alias/file"))), [4, 0, 0, 0, 0]);
    assert_eq!(counts(&desk.json(&format!("{all} --key alias/file --key alias/new"))), [0, 4, 0, 0, 0]);
    desk.check(&NAMES);
    assert!(desk.fails(2, "reencrypt -r d --if-needed --older-than last").contains("cannot be used with"));
}

fn last_line(ran: &Ran) -> Value {
    serde_json::from_str(String::from_utf8(ran.output.clone()).unwrap().lines().last().unwrap()).unwrap()
}

#[test]
fn a_dry_run_shows_what_would_be_done_and_uses_no_key() {
    let desk = desk();
    desk.shows("keys rotate alias/file");
    desk.encrypt(&["d/newer"], "");
    fs::write(desk.path("d/bad.manila"), "no message").unwrap();
    let before: Vec<_> = files_in(&desk.path("d")).into_iter().map(|file| fs::read(file).unwrap()).collect();
    let calls = |desk: &Desk| {
        let calls = desk.json_lines("audit show --json");
        let is_use =
            |call: &&Value| ["Decrypt", "GenerateDataKey", "Encrypt"].iter().any(|name| call["operation"] == *name);
        calls.iter().filter(is_use).count()
    };
    let used = calls(&desk);
    assert!(used > 0);
    let ran = desk.run(&words("reencrypt -r d --older-than last --dry-run"));
    assert_eq!(ran.code, 1);
    assert!(ran.errors.starts_with("error: \"d/bad.manila\": ") && ran.errors.lines().count() == 1, "{}", ran.errors);
    assert_eq!(
        String::from_utf8(ran.output).unwrap(),
        format!(
            "re-encrypt  d/a.manila\nre-encrypt  d/b.manila\nskip        d/newer.manila: it is as it should be\n\
             re-encrypt  d/sub/c.manila\nre-encrypt  d/sub/deep/e.manila\n\
             done     4\nskipped  1\nfailed   1\nbytes    {}\n",
            NAMES.map(|name| desk.path(&format!("{name}.manila")).metadata().unwrap().len()).iter().sum::<u64>()
        )
    );
    let ran = desk.run(&words("reencrypt -r d --to out --dry-run --json"));
    let lines: Vec<Value> = String::from_utf8(ran.output.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = json!({ "file": "d/a.manila", "output": "out/d/a.manila", "reencrypt": true, "reason": null });
    assert_eq!((&lines[0], lines.len()), (&first, 6));
    assert_eq!((&lines[5]["dry_run"], &lines[5]["done"], &lines[5]["failed"]), (&json!(true), &json!(5), &json!(1)));
    assert_eq!(lines[5]["failures"][0]["file"], "d/bad.manila");
    let after: Vec<_> = files_in(&desk.path("d")).into_iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!((after, calls(&desk)), (before, used));
    assert!(!desk.path("out").exists() && !desk.path("state").exists());
}

impl Desk {
    fn json_lines(&self, line: &str) -> Vec<Value> {
        let text = String::from_utf8(self.shows(line).output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn new_files_go_to_another_folder() {
    let desk = desk();
    desk.encrypt(&["other"], "");
    let before = fs::read(desk.path("d/a.manila")).unwrap();
    assert_eq!(counts(&desk.json("reencrypt -r d other.manila --to out")), [5, 0, 0, 0, 0]);
    assert_eq!(fs::read(desk.path("d/a.manila")).unwrap(), before);
    let written: Vec<_> = files_in(&desk.path("out"))
        .iter()
        .map(|file| file.strip_prefix(desk.path("out")).unwrap().to_owned())
        .collect();
    let expected = ["d/a.manila", "d/b.manila", "d/sub/c.manila", "d/sub/deep/e.manila", "other.manila"];
    assert_eq!(written, expected.map(std::path::PathBuf::from));
    desk.shows("decrypt out/d/sub/deep/e.manila -o back");
    assert_eq!(fs::read_to_string(desk.path("back")).unwrap(), "d/sub/deep/e");
    // What is there is another's, whenever one asks.
    for _ in 0..2 {
        let errors = desk.fails(1, "reencrypt other.manila --to out");
        assert!(
            errors.contains("\"out/other.manila\" exists: replace it with --force, or give another --to"),
            "{errors}"
        );
    }
    let there = fs::read(desk.path("out/other.manila")).unwrap();
    assert_eq!(counts(&desk.json("reencrypt other.manila --to out --force")), [1, 0, 0, 0, 0]);
    assert_ne!(fs::read(desk.path("out/other.manila")).unwrap(), there);
    for inside in ["d", "d/sub/new", "./d/../d/x"] {
        assert!(desk.fails(2, &format!("reencrypt -r d --to {inside}")).contains("of --to is in"), "{inside}");
    }
    assert!(desk.fails(2, "reencrypt d/a.manila --force").contains("--to"));
}

#[test]
fn the_context_must_match() {
    let desk = desk();
    desk.encrypt(&["d/other"], "--context tenant=globex");
    let before = fs::read(desk.path("d/other.manila")).unwrap();
    let ran = desk.run(&words("reencrypt -r d --context tenant=acme --json"));
    assert_eq!((ran.code, counts(&ran.json())), (1, [4, 0, 0, 0, 1]));
    assert_eq!(ran.json()["failures"][0]["file"], "d/other.manila");
    assert!(ran.errors.contains("\"tenant\""), "{}", ran.errors);
    assert_eq!(fs::read(desk.path("d/other.manila")).unwrap(), before);
}

#[test]
fn a_message_goes_through_a_pipe() {
    let desk = Desk::new(b"");
    fs::write(desk.path("long"), pattern(200_000)).unwrap();
    desk.shows("keys create --alias alias/new");
    for (options, suite) in [("", "0x0478"), ("--sign", "0x0578")] {
        desk.succeed(&[&["encrypt", "long", "--force"], &words(options)[..]].concat());
        let from = fs::File::open(desk.path("long.manila")).unwrap();
        let to = fs::File::create(desk.path("moved.manila")).unwrap();
        let mut command = desk.command(&words("reencrypt - --key alias/new"));
        assert!(command.stdin(from).stdout(to).stderr(Stdio::inherit()).status().unwrap().success());
        assert_eq!(desk.suite("moved.manila"), suite);
        assert_eq!(desk.header("moved.manila").encrypted_data_keys()[0].key_name(), desk.arn("alias/new"));
        assert_eq!(desk.shows("decrypt moved.manila -o -").output, pattern(200_000));
    }
    for line in ["reencrypt - -", "reencrypt - --census", "reencrypt - --to out", "reencrypt - --json"] {
        assert!(desk.fails(2, line).contains("- stands for one message"), "{line}");
    }
}
