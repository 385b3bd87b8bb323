//! Jobs that go on: nothing counts as done but the files that they have written, as long as those are there.

use std::fs;

use crate::desk::Desk;
use crate::{counts, words};

const NAMES: [&str; 3] = ["d/a", "d/b", "d/c"];

/// Files under the key `old`, and one that no job can do.
fn desk() -> Desk {
    let desk = Desk::new(b"");
    for (number, name) in (1..).zip(["old", "new", "newer"]) {
        fs::write(desk.path(name), [number; 32]).unwrap();
        #[cfg(unix)]
        fs::set_permissions(desk.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    desk.encrypt(&NAMES, "--key-file old");
    fs::write(desk.path("d/z.manila"), "no message").unwrap();
    desk
}

impl Desk {
    /// Runs a job that cannot do one file, and returns the counts of its report.
    #[track_caller]
    fn cut(&self, line: &str) -> [u64; 5] {
        let ran = self.run(&words(&format!("{line} --json")));
        assert_eq!(ran.code, 1, "{}", ran.errors);
        counts(&ran.json())
    }

    #[track_caller]
    fn opens(&self, names: &[&str], key: &str) {
        for name in names {
            let ran = self.succeed(&["decrypt", name, "-o", "-", "--key-file", key]);
            assert!(name.contains(str::from_utf8(&ran.output).unwrap()), "{name}");
        }
    }
}

#[test]
fn outputs_that_are_gone_or_others_are_written_again() {
    let desk = desk();
    let line = "reencrypt -r d --to out --key-file new --old-key-file old --journal journal";
    assert_eq!(desk.cut(line), [3, 0, 0, 0, 1]);
    assert_eq!(desk.cut(line), [0, 0, 0, 3, 1]);
    fs::remove_file(desk.path("out/d/b.manila")).unwrap();
    assert_eq!(desk.cut(line), [1, 0, 0, 2, 1]);
    fs::remove_dir_all(desk.path("out")).unwrap();
    fs::remove_file(desk.path("d/z.manila")).unwrap();
    assert_eq!(counts(&desk.json(line)), [3, 0, 0, 0, 0]);
    desk.opens(&["out/d/a.manila", "out/d/b.manila", "out/d/c.manila"], "new");

    fs::write(desk.path("d/z.manila"), "no message").unwrap();
    let line = format!("{line} --force");
    assert_eq!(desk.cut(&line), [3, 0, 0, 0, 1]);
    fs::copy(desk.path("d/a.manila"), desk.path("out/d/a.manila")).unwrap();
    assert_eq!(desk.cut(&line), [1, 0, 0, 2, 1]);
    desk.opens(&["out/d/a.manila"], "new");
    // A file that was changed since is not what was done.
    desk.encrypt(&["d/b"], "--key-file old --force");
    assert_eq!(desk.cut(&line), [1, 0, 0, 2, 1]);
}

#[test]
fn a_file_that_came_back_from_a_copy_is_done_again() {
    // The second key has the name of the first: no header tells them apart.
    for new in ["t/new=new", "new"] {
        let desk = desk();
        let line = format!("reencrypt -r d --key-file {new} --old-key-file old --journal journal");
        let before = fs::read(desk.path("d/b.manila")).unwrap();
        assert_eq!(desk.cut(&line), [3, 0, 0, 0, 1]);
        for _ in 0..2 {
            fs::write(desk.path("d/b.manila"), &before).unwrap();
            assert_eq!(desk.cut(&line), [1, 0, 0, 2, 1], "{new}");
        }
        desk.opens(&["d/a.manila", "d/b.manila", "d/c.manila"], new);
    }
}

#[test]
fn a_version_that_came_back_from_a_copy_is_done_again() {
    let desk = Desk::new(b"");
    desk.encrypt(&NAMES, "");
    fs::write(desk.path("d/z.manila"), "no message").unwrap();
    let before = fs::read(desk.path("d/b.manila")).unwrap();
    desk.shows("keys rotate alias/file");
    let line = "reencrypt -r d --journal journal";
    assert_eq!(desk.cut(line), [3, 0, 0, 0, 1]);
    fs::write(desk.path("d/b.manila"), &before).unwrap();
    fs::remove_file(desk.path("d/z.manila")).unwrap();
    assert_eq!(counts(&desk.json(line)), [1, 0, 0, 2, 0]);
    assert_eq!(desk.json("reencrypt -r d --census")["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_of_the_same_name_makes_another_job() {
    let desk = desk();
    let line =
        |new: &str| format!("reencrypt -r d --key-file {new} --old-key-file old --old-key-file new --journal journal");
    assert_eq!(desk.cut(&line("new")), [3, 0, 0, 0, 1]);
    assert_eq!(desk.cut(&line("newer")), [3, 0, 0, 0, 1]);
    desk.opens(&["d/a.manila", "d/b.manila", "d/c.manila"], "newer");
    // The same key, written in another way, goes on.
    fs::write(desk.path("newer"), "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n").unwrap();
    assert_eq!(desk.cut(&line("newer")), [0, 0, 0, 3, 1]);
    let journal = fs::read_to_string(desk.path("journal")).unwrap();
    assert!(!journal.contains("0303030303030303") && !journal.contains("AwMDAwMD"), "{journal}");
}

#[cfg(unix)]
#[test]
fn a_journal_that_others_can_write_is_refused() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    let desk = desk();
    let line = "reencrypt -r d --key-file new --old-key-file old --journal journal";
    assert_eq!(desk.cut(line), [3, 0, 0, 0, 1]);
    let journal = desk.path("journal");
    let metadata = journal.metadata().unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let text = fs::read_to_string(&journal).unwrap();
    let refused = |says: &str| {
        let errors = desk.fails(1, line);
        assert!(errors.contains(says) && errors.lines().count() == 1, "{errors}");
        assert_eq!(fs::read_to_string(&journal).unwrap(), text);
    };
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&journal, fs::Permissions::from_mode(mode)).unwrap();
        refused("others can write in it");
    }
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o644)).unwrap();
    // Only root can give files away.
    if metadata.uid() == 0 {
        chown(&journal, Some(1000), None).unwrap();
        refused("belongs to another user");
    }
    fs::remove_file(&journal).unwrap();
    symlink("elsewhere", &journal).unwrap();
    assert!(desk.fails(1, line).contains("\"journal\" is a symbolic link"));
    assert!(!desk.path("elsewhere").exists());
    fs::remove_file(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    assert!(desk.fails(1, line).contains("\"journal\": Is a directory"));
}
