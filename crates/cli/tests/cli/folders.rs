//! Folders with everything in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::desk::{Desk, pattern};

/// A desk with a folder `photos` of three files, one of them in a folder.
fn desk() -> Desk {
    let desk = Desk::new(b"a file beside it");
    fs::create_dir_all(desk.path("photos/2026/empty")).unwrap();
    fs::write(desk.path("photos/beach.jpg"), pattern(100_000)).unwrap();
    fs::write(desk.path("photos/2026/snow.jpg"), pattern(5000)).unwrap();
    fs::write(desk.path("photos/2026/none"), "").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("2026/snow.jpg", desk.path("photos/latest")).unwrap();
    desk
}

/// Returns the content of each file and the target of each link in a folder.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if entry.is_symlink() {
            tree.insert(name, fs::read_link(&entry).unwrap().to_str().unwrap().into());
        } else if entry.is_dir() {
            tree.insert(name.clone(), Vec::new());
            tree.extend(self::tree(&entry).into_iter().map(|(path, content)| (format!("{name}/{path}"), content)));
        } else {
            tree.insert(name, fs::read(&entry).unwrap());
        }
    }
    tree
}

#[test]
fn a_folder_comes_back_with_everything_in_it() {
    let desk = desk();
    let ran = desk.succeed(&["encrypt", "-r", "photos/"]);
    assert!(ran.output.is_empty());
    assert!(desk.path("photos.manila/files/2026/snow.jpg.manila").exists());
    fs::rename(desk.path("photos"), desk.path("before")).unwrap();
    desk.succeed(&["decrypt", "--recursive", "photos.manila"]);
    assert_eq!(tree(&desk.path("photos")), tree(&desk.path("before")));

    // Each of its files is a message, and folders go with files, into a folder that is made.
    desk.succeed(&["decrypt", "photos.manila/files/beach.jpg.manila", "-o", "beach.jpg"]);
    assert_eq!(fs::read(desk.path("beach.jpg")).unwrap(), pattern(100_000));
    desk.succeed(&["encrypt", "-r", "--to", "sealed/here", "--jobs", "2", "photos", "plain"]);
    desk.succeed(&["decrypt", "-r", "--to", "opened", "sealed/here/photos.manila", "sealed/here/plain.manila"]);
    assert_eq!(tree(&desk.path("opened/photos")), tree(&desk.path("before")));
    assert_eq!(fs::read(desk.path("opened/plain")).unwrap(), b"a file beside it");
    let mut inside = desk.command(&["encrypt", "-r", ".", "--to", ".."]);
    assert!(
        inside
            .current_dir(desk.path("opened/photos"))
            .env("MANILA_STORE", desk.path("keys"))
            .status()
            .unwrap()
            .success()
    );
    assert!(desk.path("opened/photos.manila/manifest.manila").exists());
}

#[test]
fn a_folder_is_taken_only_if_asked_for() {
    let desk = desk();
    fs::create_dir(desk.path("sealed.manila")).unwrap();
    for args in [["encrypt", "photos"], ["decrypt", "sealed.manila"]] {
        let ran = desk.run(&args);
        assert_eq!(ran.code, 1);
        assert!(ran.errors.contains("is a folder: give -r to take everything in it"), "{}", ran.errors);
    }
    desk.succeed(&["encrypt", "plain"]);
    let ran = desk.run(&["decrypt", "-r", "photos", "-o", "copy"]);
    assert_eq!(ran.code, 1);
    assert!(ran.errors.contains("is not an encrypted one"), "{}", ran.errors);
    assert!(!desk.path("copy").exists());
    let ran = desk.run(&["encrypt", "--hide-names", "photos"]);
    assert_eq!(ran.code, 2, "names are hidden in folders: {}", ran.errors);
}

#[test]
fn the_files_of_an_encrypted_folder_are_inspected() {
    let desk = desk();
    desk.succeed(&["encrypt", "-r", "--context", "tenant=acme", "photos"]);
    let shown = String::from_utf8(desk.succeed(&["inspect", "-r", "photos.manila"]).output).unwrap();
    assert_eq!(shown.matches("\"tenant\" = \"acme\"").count(), 4, "three files and the manifest: {shown}");
    assert!(shown.contains("photos.manila/files/2026/snow.jpg.manila"), "{shown}");
    fs::write(desk.path("photos.manila/files/broken.manila"), "broken").unwrap();
    let ran = desk.run(&["inspect", "-r", "photos.manila", "--json"]);
    assert_eq!((ran.code, ran.errors.lines().count()), (1, 1), "{}", ran.errors);
    assert!(ran.errors.contains("broken.manila"), "{}", ran.errors);
}

#[test]
fn names_are_hidden_on_request() {
    let desk = desk();
    desk.succeed(&["encrypt", "-r", "--hide-names", "photos"]);
    let names = tree(&desk.path("photos.manila")).into_keys().collect::<Vec<_>>().join(" ");
    assert!(!names.contains("beach") && !names.contains("2026"), "{names}");
    desk.succeed(&["decrypt", "-r", "photos.manila", "-o", "copy"]);
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("photos")));
}

#[test]
fn a_folder_is_brought_up_to_date_by_force() {
    let desk = desk();
    desk.succeed(&["encrypt", "-r", "photos"]);
    let ran = desk.run(&["encrypt", "-r", "photos"]);
    assert_eq!(ran.code, 1);
    assert!(ran.errors.contains("exists") && ran.errors.contains("--force"), "{}", ran.errors);
    fs::write(desk.path("photos/beach.jpg"), "another").unwrap();
    fs::remove_file(desk.path("photos/2026/none")).unwrap();
    let ran = desk.succeed(&["encrypt", "-r", "--force", "photos"]);
    assert_eq!(ran.errors, "note: 1 of 2 files were done before and are kept\n");
    desk.succeed(&["decrypt", "-r", "photos.manila", "-o", "copy"]);
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("photos")));
}

#[test]
fn what_would_be_done_is_shown_without_a_key() {
    let desk = desk();
    let ran = desk.succeed(&["encrypt", "-r", "--dry-run", "photos", "plain"]);
    let output = String::from_utf8(ran.output).unwrap();
    assert!(output.contains("photos") && output.contains("105000") && output.contains("plain.manila"), "{output}");
    assert!(!desk.path("photos.manila").exists() && !desk.path("keys").exists());
    desk.succeed(&["encrypt", "-r", "photos"]);
    desk.succeed(&["decrypt", "-r", "--dry-run", "photos.manila", "-o", "copy"]);
    assert_eq!(desk.run(&["decrypt", "-r", "--dry-run", "photos.manila"]).code, 1, "the target exists");
    assert!(!desk.path("copy").exists());
}

#[test]
fn each_file_of_a_folder_has_a_line_of_json() {
    let desk = desk();
    let lines = |args: &[&str]| {
        let ran = desk.run(args);
        let lines = String::from_utf8(ran.output).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let encrypted = lines(&["encrypt", "-r", "--json", "photos"]);
    assert_eq!(encrypted.len(), 3);
    assert_eq!(encrypted[1]["input"], "photos/2026/snow.jpg");
    assert_eq!(encrypted[1]["output"], "photos.manila");
    assert_eq!(encrypted[1]["plaintext_bytes"], 5000);
    fs::remove_file(desk.path("photos.manila/files/2026/snow.jpg.manila")).unwrap();
    let decrypted = lines(&["decrypt", "-r", "--json", "photos.manila", "-o", "copy"]);
    assert_eq!(decrypted.len(), 3);
    assert_eq!(decrypted[1]["output"], "copy/2026/snow.jpg");
    assert!(decrypted[1]["error"].as_str().unwrap().contains("is missing"), "{decrypted:?}");
    assert!(decrypted[2]["error"].is_null());
}

#[test]
fn what_fails_is_named_and_the_rest_is_done() {
    let desk = desk();
    desk.succeed(&["encrypt", "-r", "photos"]);
    let message = desk.path("photos.manila/files/2026/snow.jpg.manila");
    let mut damaged = fs::read(&message).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&message, damaged).unwrap();
    fs::write(desk.path("photos.manila/files/added.manila"), "added").unwrap();
    let ran = desk.run(&["decrypt", "-r", "photos.manila", "-o", "copy"]);
    assert_eq!(ran.code, 1);
    let lines: Vec<_> = ran.errors.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("snow.jpg"), "{lines:?}");
    assert!(lines[1].contains("added.manila\" is not in the manifest"), "{lines:?}");
    assert!(lines[2].starts_with("error: 2 entries of") && lines[2].contains("the rest is done"), "{lines:?}");
    assert_eq!(fs::read(desk.path("copy/beach.jpg")).unwrap(), pattern(100_000));
    assert!(!desk.path("copy/2026/snow.jpg").exists());
}

#[test]
fn another_context_or_a_disabled_key_decrypts_nothing() {
    let desk = desk();
    desk.succeed(&["encrypt", "-r", "--context", "tenant=acme", "photos"]);
    let ran = desk.run(&["decrypt", "-r", "--context", "tenant=globex", "photos.manila", "-o", "copy"]);
    assert_eq!((ran.code, ran.errors.lines().count()), (1, 1), "{}", ran.errors);
    desk.succeed(&["keys", "disable", "alias/file"]);
    let ran = desk.run(&["decrypt", "-r", "photos.manila", "-o", "copy"]);
    assert_eq!((ran.code, ran.errors.lines().count()), (1, 1), "{}", ran.errors);
    let ran = desk.run(&["encrypt", "-r", "photos", "-o", "other"]);
    assert_eq!((ran.code, ran.errors.lines().count()), (1, 1), "{}", ran.errors);
    assert!(!desk.path("copy").exists() && !desk.path("other").exists());
}

/// A folder whose encryption takes a while.
fn many_files(desk: &Desk) {
    for n in 0..300 {
        let folder = desk.path(&format!("many/{}", n % 7));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{n}")), pattern(if n % 50 == 0 { 400_000 } else { 1000 + n })).unwrap();
    }
}

/// Runs the program and kills it, as `kill -9` does, at some moment that differs each time. Returns whether it had
/// finished before.
fn killed(desk: &Desk, args: &[&str], moment: u64) -> bool {
    let mut child = desk.command(args).spawn().unwrap();
    thread::sleep(Duration::from_micros(moment));
    let finished = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    finished
}

/// The number of times that a job is killed in each direction. `MANILA_KILLS` asks for another.
fn kills() -> u64 {
    std::env::var("MANILA_KILLS").map_or(15, |kills| kills.parse().unwrap())
}

#[test]
fn a_job_that_is_killed_leaves_whole_files_and_is_continued() {
    let desk = desk();
    many_files(&desk);
    desk.succeed(&["encrypt", "plain"]);
    let (mut unfinished, mut moment) = (0, 3000);
    for _ in 0..kills() {
        moment = (moment * 7919 + 17) % 90_001;
        if killed(&desk, &["encrypt", "-r", "many"], moment) {
            fs::remove_dir_all(desk.path("many.manila")).unwrap();
            continue;
        }
        unfinished += 1;
        let files = desk.path("many.manila/files");
        let messages = if files.exists() { tree(&files) } else { BTreeMap::new() };
        let paths: Vec<_> = messages.keys().filter(|path| path.ends_with(".manila")).collect();
        let paths: Vec<_> = paths.iter().map(|path| format!("many.manila/files/{path}")).collect();
        if !paths.is_empty() {
            let args: Vec<_> = ["inspect"].into_iter().chain(paths.iter().map(String::as_str)).collect();
            desk.succeed(&args);
        }
    }
    assert!(unfinished > 0, "no moment was early enough");
    if !desk.path("many.manila/manifest.manila").exists() {
        desk.succeed(&["encrypt", "-r", "many"]);
    }
    assert!(!desk.path("many.manila/partial").exists());

    let plain = tree(&desk.path("many"));
    for _ in 0..kills() {
        moment = (moment * 7919 + 17) % 90_001;
        if killed(&desk, &["decrypt", "-r", "many.manila", "-o", "copy"], moment) {
            fs::remove_dir_all(desk.path("copy")).unwrap();
            continue;
        }
        let copied = if desk.path("copy").exists() { tree(&desk.path("copy")) } else { BTreeMap::new() };
        for (path, content) in copied.iter().filter(|(path, _)| !path.starts_with(".manila-partial")) {
            assert_eq!(content, &plain[path], "{path}");
        }
    }
    if !desk.path("copy").exists() || desk.path("copy/.manila-partial").exists() {
        desk.succeed(&["decrypt", "-r", "many.manila", "-o", "copy"]);
    }
    assert_eq!(tree(&desk.path("copy")), plain);
}

#[cfg(unix)]
#[test]
fn a_signal_tells_how_to_continue() {
    let desk = desk();
    many_files(&desk);
    fs::write(desk.path("many/large"), pattern(60_000_000)).unwrap();
    let mut child = desk.command(&["encrypt", "-r", "many"]).spawn().unwrap();
    while !desk.path("many.manila/files/0").exists() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    // It fails if the program has ended already.
    let _ = std::process::Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).output();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return assert!(desk.path("many.manila/manifest.manila").exists());
    }
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("give the same command again to continue"), "{errors}");
    let partial = tree(&desk.path("many.manila/partial"));
    assert!(partial.keys().all(|name| name.starts_with("journal.")), "{:?}", partial.keys());
    desk.succeed(&["encrypt", "-r", "many"]);
    desk.succeed(&["decrypt", "-r", "many.manila", "-o", "copy"]);
    assert_eq!(tree(&desk.path("copy")), tree(&desk.path("many")));
}
