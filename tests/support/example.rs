//! Examples of a package: each is short, and prints what its first comment says it prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The maximum length of an example in lines, including comments.
const LONGEST: usize = 50;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Runs an example built by cargo, from the folder next to the one of this test.
pub fn run(name: &str) -> Output {
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

/// Runs an example, and checks that it prints what its first comment shows.
#[track_caller]
pub fn prints_what_it_shows(name: &str) {
    let output = run(name);
    let (printed, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {errors}");
    let (printed, shown): (Vec<_>, _) = (printed.lines().collect(), shown(name));
    assert_eq!(printed.len(), shown.len(), "{name} prints {printed:#?} and shows {shown:#?}");
    for (line, shown) in printed.into_iter().zip(shown) {
        assert!(matches(line, &shown), "{name} prints\n  {line}\nand shows\n  {shown}");
    }
}

/// Checks that the package has these examples and no others, and that each is short and shows what it prints.
pub fn are_short_and_show_what_they_print(expected: &[&str]) {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LONGEST, "{name} has {lines} lines, at most {LONGEST} are allowed");
        shown(&name);
        names.push(name);
    }
    let mut expected = expected.to_vec();
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
