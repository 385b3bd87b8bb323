//! The job: failures, two at once, and going on.

use std::fs;

use serde_json::json;

use crate::counts;
use crate::desk::Desk;
use crate::words;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("d/{number:02}")).collect()
}

fn desk(count: usize) -> (Desk, Vec<String>) {
    let (desk, names) = (Desk::new(b""), names(count));
    desk.encrypt(&names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    (desk, names)
}

#[test]
fn what_fails_is_named_and_the_rest_is_done_and_the_same_command_tries_it_again() {
    for jobs in ["1", "3"] {
        let (desk, names) = desk(20);
        let good = fs::read(desk.path("d/05.manila")).unwrap();
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(desk.path("d/05.manila"), &damaged).unwrap();
        fs::write(desk.path("d/07.manila"), "no message").unwrap();
        let line = format!("reencrypt -r d --journal journal --jobs {jobs} --json");
        let ran = desk.run(&words(&line));
        assert_eq!((ran.code, counts(&ran.json())), (1, [18, 0, 0, 0, 2]));
        let failures = ran.json()["failures"].clone();
        let files: Vec<_> = failures.as_array().unwrap().iter().map(|failure| failure["file"].clone()).collect();
        assert!(files.contains(&json!("d/05.manila")) && files.contains(&json!("d/07.manila")), "{failures}");
        let errors: Vec<_> = ran.errors.lines().collect();
        assert_eq!(errors.len(), 3, "{}", ran.errors);
        assert!(errors.iter().any(|line| line.starts_with("error: \"d/05.manila\": ")), "{}", ran.errors);
        assert_eq!(errors[2], "note: the rest is done: give the same command again to try those that failed");
        assert_eq!(fs::read(desk.path("d/05.manila")).unwrap(), damaged);

        // One is mended: the others are not done again.
        fs::write(desk.path("d/05.manila"), good).unwrap();
        let done = fs::read(desk.path("d/10.manila")).unwrap();
        let ran = desk.run(&words(&line));
        assert_eq!(counts(&ran.json()), [1, 0, 0, 18, 1]);
        assert!(ran.errors.starts_with("note: going on with the job that was begun at "), "{}", ran.errors);
        assert_eq!(fs::read(desk.path("d/10.manila")).unwrap(), done);
        // What was done late counts too. The journal goes when nothing is left.
        assert_eq!(counts(&desk.run(&words(&line)).json()), [0, 0, 0, 19, 1]);
        fs::remove_file(desk.path("d/07.manila")).unwrap();
        assert_eq!(counts(&desk.succeed(&words(&line)).json()), [0, 0, 0, 19, 0]);
        assert!(!desk.path("journal").exists());
        let left: Vec<_> = names.iter().map(String::as_str).filter(|name| *name != "d/07").collect();
        desk.check(&left);
    }
}

#[test]
fn a_journal_is_of_one_job_and_of_one_version_of_its_keys() {
    let (desk, _) = desk(3);
    fs::write(desk.path("d/bad.manila"), "no message").unwrap();
    assert_eq!(counts(&desk.run(&words("reencrypt -r d --journal journal --json")).json()), [3, 0, 0, 0, 1]);
    for other in ["reencrypt -r d --journal journal --sign", "reencrypt d/00.manila --journal journal"] {
        let errors = desk.fails(1, other);
        assert!(errors.contains("\"journal\" is the journal of another job"), "{errors}");
        assert_eq!(errors.lines().count(), 1);
    }
    // After a rotation all is to be done again.
    desk.shows("keys rotate alias/file");
    assert_eq!(counts(&desk.run(&words("reencrypt -r d --journal journal --json")).json()), [3, 0, 0, 0, 1]);
    assert_eq!(counts(&desk.run(&words("reencrypt -r d --journal journal --json")).json()), [0, 0, 0, 3, 1]);
    fs::write(desk.path("journal"), "a list of mine").unwrap();
    assert!(desk.fails(1, "reencrypt -r d --journal journal").contains("is not a journal of this program"));
    assert_eq!(fs::read_to_string(desk.path("journal")).unwrap(), "a list of mine");
    fs::remove_file(desk.path("d/bad.manila")).unwrap();
    // By default it is found by the arguments.
    desk.shows("reencrypt -r d");
}

#[cfg(unix)]
#[test]
fn two_jobs_on_one_folder_are_refused_and_lose_nothing() {
    let (desk, names) = desk(3);
    let before = fs::read(desk.path("d/00.manila")).unwrap();
    let held = fs::File::open(desk.path("d")).unwrap();
    held.lock().unwrap();
    for line in ["reencrypt -r d", "reencrypt d/00.manila"] {
        let errors = desk.fails(1, line);
        let first = errors.lines().next().unwrap();
        assert!(
            first.contains("another job is at work in \"d") && first.ends_with("wait until it has finished"),
            "{errors}"
        );
    }
    assert_eq!(fs::read(desk.path("d/00.manila")).unwrap(), before);
    drop(held);
    // The file of those that encrypt the folder as a whole. The manifest is not there all the time.
    fs::write(desk.path("d/.lock"), "").unwrap();
    let held = fs::File::options().write(true).open(desk.path("d/.lock")).unwrap();
    held.lock().unwrap();
    for sign in ["manifest.manila", "files", "partial"] {
        match sign {
            "manifest.manila" => fs::write(desk.path("d").join(sign), "").unwrap(),
            _ => fs::create_dir(desk.path("d").join(sign)).unwrap(),
        }
        for line in ["reencrypt -r d", "reencrypt d/00.manila"] {
            assert!(desk.fails(1, line).contains("another job is at work in \""), "{line}, {sign}");
        }
        assert_eq!(fs::read(desk.path("d/00.manila")).unwrap(), before);
        fs::rename(desk.path("d").join(sign), desk.path(sign)).unwrap();
    }
    drop(held);
    assert_eq!(counts(&desk.json("reencrypt -r d")), [3, 0, 0, 0, 0]);
    desk.check(&names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn an_encrypted_folder_is_re_encrypted_file_by_file() {
    let desk = Desk::new(b"");
    for name in ["photos/a", "photos/sub/b"] {
        fs::create_dir_all(desk.path(name).parent().unwrap()).unwrap();
        fs::write(desk.path(name), name).unwrap();
    }
    desk.shows("encrypt -r photos");
    desk.shows("keys create --alias alias/new");
    assert_eq!(counts(&desk.json("reencrypt -r photos.manila --key alias/new")), [3, 0, 0, 0, 0]);
    let census = desk.json("reencrypt -r photos.manila --census");
    assert_eq!(census["keys"].as_array().unwrap().len(), 1);
    assert_eq!(census["keys"][0]["key"], desk.arn("alias/new"));
    desk.shows("keys disable alias/file");
    desk.shows("decrypt -r photos.manila --to back");
    assert_eq!(fs::read_to_string(desk.path("back/photos/sub/b")).unwrap(), "photos/sub/b");
}
