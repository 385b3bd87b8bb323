//! `docs/conformance.md` names what exists.

use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_row_names_a_test_that_exists_and_code_that_exists() {
    let document = read("docs/conformance.md");
    let vectors = read("tests/vectors/manifest.json");
    let mut rows = 0;
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (last, before) = cells.split_last().unwrap();
        if *last == "shown by" {
            continue;
        }
        rows += 1;
        for file in before.iter().flat_map(|cell| quoted(cell)).filter(|quoted| quoted.starts_with("src/")) {
            assert!(!read(file).is_empty(), "{line}");
        }
        if *last == "compile time" {
            continue;
        }
        assert!(quoted(last).count() > 0, "nothing shows: {line}");
        for shown_by in quoted(last) {
            match shown_by.split_once('#') {
                Some(("vectors", category)) => {
                    assert!(vectors.contains(&format!("\"category\":\"{category}\"")), "no category {category}");
                }
                Some((file, test)) => {
                    assert!(read(file).contains(&format!("fn {test}(")), "{file} has no test {test}");
                }
                None => assert!(["live", "official"].contains(&shown_by), "{line}"),
            }
        }
    }
    assert!(rows > 150, "{rows} rows");
}
