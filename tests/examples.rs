//! The examples: each is short, and prints what its first comment says it prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The maximum length of an example in lines, including comments.
const LONGEST: usize = 50;
/// The example that needs AWS KMS, and so is only compiled here.
const WANTS_AWS: &str = "aws_kms";
/// The examples that are run here.
const RUN: [&str; 7] = ["cached", "custom_keyring", "custom_kms", "inspect", "local_kms", "seek", "stream_file"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Runs an example built by cargo, from the folder next to the one of this test.
fn run(name: &str) -> Output {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    let program = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        program.exists(),
        "{program:?} is missing: build the examples too, as `cargo test` without `--test` does, or \
         `cargo build --examples` with the same features and profile"
    );
    Command::new(&program).output().unwrap()
}

/// Returns the lines of the block `text` in the first comment of an example: its expected output. `...` matches any
/// text.
fn shown(name: &str) -> Vec<String> {
    let source = fs::read_to_string(folder().join(name).with_extension("rs")).unwrap();
    let comment = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim_start);
    let block = comment.skip_while(|line| *line != "```text").skip(1);
    let shown: Vec<_> = block.take_while(|line| *line != "```").map(str::to_owned).collect();
    assert!(!shown.is_empty(), "{name} does not show what it prints, in a block ```text of its first comment");
    shown
}

/// Returns true if a line matches the shown one, in which `...` matches any text.
fn matches(line: &str, shown: &str) -> bool {
    let Some((before, behind)) = shown.split_once("...") else { return line == shown };
    let rest = line.strip_prefix(before);
    rest.is_some_and(|rest| rest.char_indices().any(|(at, _)| matches(&rest[at..], behind)) || matches("", behind))
}

#[track_caller]
fn prints_what_it_shows(name: &str) {
    assert!(RUN.contains(&name));
    let output = run(name);
    let (printed, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {errors}");
    let (printed, shown): (Vec<_>, _) = (printed.lines().collect(), shown(name));
    assert_eq!(printed.len(), shown.len(), "{name} prints {printed:#?} and shows {shown:#?}");
    for (line, shown) in printed.into_iter().zip(shown) {
        assert!(matches(line, &shown), "{name} prints\n  {line}\nand shows\n  {shown}");
    }
}

#[test]
#[cfg(all(feature = "cache", feature = "local-kms"))]
fn cached() {
    prints_what_it_shows("cached");
}

#[test]
fn custom_keyring() {
    prints_what_it_shows("custom_keyring");
}

#[test]
fn custom_kms() {
    prints_what_it_shows("custom_kms");
}

#[test]
fn inspect() {
    prints_what_it_shows("inspect");
}

#[test]
#[cfg(feature = "local-kms")]
fn local_kms() {
    prints_what_it_shows("local_kms");
}

#[test]
fn seek() {
    prints_what_it_shows("seek");
}

#[test]
fn stream_file() {
    prints_what_it_shows("stream_file");
}

#[test]
#[cfg(feature = "aws-kms")]
fn aws_kms_says_how_it_is_called() {
    let output = run(WANTS_AWS);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("usage: aws_kms KEY_ARN"), "{errors}");
}

#[test]
fn each_is_short_says_what_it_shows_and_is_run() {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{name} has {lines} lines, at most {LONGEST} are allowed");
        shown(&name);
        names.push(name);
    }
    let mut expected = [&RUN[..], &[WANTS_AWS]].concat();
    names.sort();
    expected.sort_unstable();
    assert_eq!(names, expected, "add a test for each example that needs no network");
}

#[test]
fn dots_stand_for_anything() {
    for (line, shown) in
        [("a", "a"), ("", "..."), ("abc", "a..."), ("abc", "...c"), ("abcd", "a...c..."), ("ab", "a...b")]
    {
        assert!(matches(line, shown), "{line} is {shown}");
    }
    for (line, shown) in [("ab", "a"), ("b", "a..."), ("abc", "...b"), ("abc", "...d..."), ("a", "a...a")] {
        assert!(!matches(line, shown), "{line} is not {shown}");
    }
}
