//! The crates that are built before the program first runs, by name: `dependencies.txt` lists them.
//!
//! A new one makes the first command of the README slower for everyone who tries it. If it is worth that, add its line:
//! the name, once for each version of it, and after a colon the systems that it is built on, if not on all.

use std::collections::BTreeMap;
use std::process::Command;

const LIST: &str = include_str!("dependencies.txt");
const MOST: usize = 157;

/// Returns the number of versions of each crate that the build of the program uses, including build scripts.
fn built() -> BTreeMap<String, usize> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--locked", "--package", "manila-cli", "--edges", "normal,build", "--prefix", "none"]);
    let output = cargo.args(["--format", "{p}"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    // A name and a version; after them a folder, a kind, or a mark that the crate was listed before.
    let mut packages: Vec<_> = tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>()).collect();
    packages.sort();
    packages.dedup();
    counted(packages.into_iter().map(|package| package[0]))
}

fn counted<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name.to_owned()).or_default() += 1;
        counts
    })
}

/// Returns the number of versions of each crate that the list has for this system.
fn listed() -> BTreeMap<String, usize> {
    counted(LIST.lines().filter_map(|line| match line.split_once(": ") {
        None => Some(line),
        Some((name, systems)) => systems.split(' ').any(|system| system == std::env::consts::OS).then_some(name),
    }))
}

#[test]
fn every_crate_of_the_build_is_listed() {
    let (built, listed) = (built(), listed());
    let more = |these: &BTreeMap<String, usize>, than: &BTreeMap<String, usize>| {
        let more = these.iter().filter(|(name, count)| *count > than.get(*name).unwrap_or(&0));
        more.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(more(&built, &listed), [""; 0], "new crates: are they worth their time? Then list them");
    assert_eq!(more(&listed, &built), [""; 0], "crates that are built no longer: take them off the list");
}

#[test]
fn the_build_is_small() {
    let built = built();
    let count: usize = built.values().sum();
    assert!(count > 50, "the crates were not found: {built:?}");
    assert!(count <= MOST, "{count} crates are built, {MOST} are allowed");
    for heavy in ["aws-sdk-", "aws-smithy-", "aws-config", "tokio", "hyper", "criterion"] {
        assert!(!built.keys().any(|name| name.starts_with(heavy)), "{heavy} is built for the program");
    }
}

#[test]
fn the_list_is_sorted() {
    assert!(LIST.lines().is_sorted(), "sort dependencies.txt");
}
