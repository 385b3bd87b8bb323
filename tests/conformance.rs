//! Checks that `docs/conformance.md` names tests that exist, and does not rest only on tests that need a setup.

use std::fs;
use std::path::Path;

/// The kinds of vectors that run only after a setup.
const SET_UP: [&str; 2] = ["live", "official"];
/// The test programs that run only after a setup.
const SET_UP_PROGRAMS: [&str; 2] = ["tests/interop", "tests/moto"];
/// The keyrings whose vectors `tests/vectors.rs` counts as not run.
const NOT_RUN: [&str; 2] = ["raw-ecdh", "hierarchical"];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the rows of the tables: all cells but the last, and the last.
fn rows(document: &str) -> Vec<(Vec<&str>, &str)> {
    let rows = document.lines().filter(|line| line.starts_with("| ")).map(|line| {
        let mut cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let last = cells.pop().unwrap();
        (cells, last)
    });
    rows.filter(|(_, last)| *last != "shown by").collect()
}

/// Returns true if a file has a test of that name that `cargo test` runs.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let before = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let attributes: Vec<_> = before.filter(|line| line.starts_with("#[")).collect();
        let is_marked = attributes.iter().any(|line| **line == "#[test]" || line.starts_with("#[tokio::test"));
        let is_named = ["fn ", "async fn "].iter().any(|head| line.starts_with(&format!("{head}{name}(")));
        is_named && is_marked && !attributes.iter().any(|line| line.contains("ignore"))
    })
}

/// Returns true if the reference of a row runs on a fresh clone. Panics if it does not exist.
fn runs_everywhere(shown_by: &str, vectors: &str) -> bool {
    match shown_by.split_once('#') {
        Some(("vectors", set)) => {
            let named = ["category", "produced_by"].map(|field| format!("\"{field}\":\"{set}\""));
            assert!(named.iter().any(|named| vectors.contains(named)), "no category or maker {set}");
            !NOT_RUN.contains(&set)
        }
        Some((file, test)) => {
            assert!(is_test(&read(file), test), "{file} has no test {test}");
            !SET_UP_PROGRAMS.iter().any(|program| file.starts_with(program))
        }
        None => {
            assert!(SET_UP.contains(&shown_by), "{shown_by}");
            false
        }
    }
}

#[test]
fn every_row_names_code_that_exists_and_a_test_that_runs_everywhere() {
    let document = read("docs/conformance.md");
    let vectors = read("tests/vectors/manifest.json");
    let rows = rows(&document);
    for (before, last) in &rows {
        for file in before.iter().flat_map(|cell| quoted(cell)).filter(|quoted| quoted.starts_with("src/")) {
            assert!(!read(file).is_empty(), "{before:?}");
        }
        if *last == "compile time" {
            continue;
        }
        let runs: Vec<_> = quoted(last).map(|shown_by| runs_everywhere(shown_by, &vectors)).collect();
        assert!(runs.contains(&true), "only tests that need a setup show it: {before:?}");
    }
    assert!(rows.len() > 250, "{} rows", rows.len());
}

#[test]
fn a_function_that_is_not_run_as_a_test_is_not_one() {
    let source = "#[test]\n/// Text.\nfn one() {}\n\n#[tokio::test]\nasync fn two() {}\n\nfn helper() {}\n\
                  #[test]\n#[ignore = \"slow\"]\nfn three() {}\n";
    let found = ["one", "two", "helper", "three", "on"].map(|name| is_test(source, name));
    assert_eq!(found, [true, true, false, false, false]);
}
