//! `--to`: no output in the place of another, or of a file that is read.

use std::fs;

use crate::counts;
use crate::desk::Desk;

#[test]
fn folders_of_one_name_are_refused() {
    let desk = Desk::new(b"");
    desk.encrypt(&["a/d/x", "b/d/x", "c/x"], "");
    for line in ["reencrypt -r a/d b/d --to out --force", "reencrypt a/d/x.manila c/x.manila --to out --dry-run"] {
        let errors = desk.fails(2, line);
        assert!(errors.contains("would both be written to \"out/"), "{errors}");
    }
    // One without a name would fill the folders of the others.
    let mut command = desk.command(&["reencrypt", "-r", ".", "../b/d", "--to", "../out"]);
    let ran = command.current_dir(desk.path("a")).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(!desk.path("out").exists());
    assert_eq!(counts(&desk.json("reencrypt -r a/d c --to out")), [2, 0, 0, 0, 0]);
}

#[test]
fn no_output_is_an_input() {
    let desk = Desk::new(b"");
    desk.encrypt(&["a/d/x", "a/d/sub/y", "b/a/z"], "");
    let before = ["a/d/x.manila", "a/d/sub/y.manila"].map(|name| fs::read(desk.path(name)).unwrap());
    for line in [
        "reencrypt -r a/d --to a --force",
        "reencrypt a/d/x.manila --to a/d --force",
        "reencrypt a/d/x.manila --to b/../a/d --force --dry-run",
        "reencrypt -r a/d b/a --to . --force",
    ] {
        let errors = desk.fails(2, line);
        assert!(errors.contains("is read: give another --to"), "{errors}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        fs::create_dir_all(desk.path("out/d")).unwrap();
        symlink("../../a/d/sub", desk.path("out/d/sub")).unwrap();
        let errors = desk.fails(1, "reencrypt -r a/d --to out --force");
        assert!(errors.contains("\"out/d/sub\" leads to "), "{errors}");
        fs::remove_dir_all(desk.path("out/d")).unwrap();
        symlink("../a/d", desk.path("out/d")).unwrap();
        assert!(desk.fails(2, "reencrypt -r a/d --to out --force").contains("is read: give another --to"));
    }
    let after = ["a/d/x.manila", "a/d/sub/y.manila"].map(|name| fs::read(desk.path(name)).unwrap());
    assert_eq!(after, before);
}
