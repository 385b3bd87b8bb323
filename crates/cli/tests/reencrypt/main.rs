//! `manila reencrypt` and the census from outside: what they print, what they change, and what is left when they end
//! early.

mod apart;
mod census;
#[cfg(unix)]
mod crash;
#[path = "../desk/mod.rs"]
mod desk;
mod going_on;
mod job;
mod options;

use std::fs;
use std::path::{Path, PathBuf};

use manila::UnverifiedHeader;
use serde_json::Value;

use desk::{Desk, Ran};

/// Splits a command line at its spaces.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

impl Desk {
    /// Encrypts a file for each name, with its name as its content and nothing else left.
    fn encrypt(&self, names: &[&str], options: &str) {
        for name in names {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), name).unwrap();
        }
        self.succeed(&[&["encrypt"], names, &words(options)].concat());
        for name in names {
            fs::remove_file(self.path(name)).unwrap();
        }
    }

    /// Fails unless each file decrypts to its name.
    #[track_caller]
    fn check(&self, names: &[&str]) {
        for name in names {
            let opened = self.succeed(&["decrypt", &format!("{name}.manila"), "-o", "-"]);
            assert_eq!(String::from_utf8(opened.output).unwrap(), *name);
        }
    }

    fn shows(&self, line: &str) -> Ran {
        self.succeed(&words(line))
    }

    fn json(&self, line: &str) -> Value {
        self.shows(&format!("{line} --json")).json()
    }

    /// Runs a command that must end with this code, and returns its lines on stderr.
    #[track_caller]
    fn fails(&self, code: i32, line: &str) -> String {
        let ran = self.run(&words(line));
        assert_eq!(ran.code, code, "{line}: {}", ran.errors);
        ran.errors
    }

    fn header(&self, name: &str) -> UnverifiedHeader {
        UnverifiedHeader::parse(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn suite(&self, name: &str) -> String {
        self.header(name).suite().to_string()
    }

    /// The ARN of a key.
    fn arn(&self, alias: &str) -> String {
        self.json(&format!("keys show {alias}"))["arn"].as_str().unwrap().to_owned()
    }
}

/// Returns the paths of all files in a folder and those in it, sorted.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_in(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Returns the counts of a report, without its time.
fn counts(report: &Value) -> [u64; 5] {
    assert!(report["seconds"].is_f64());
    ["done", "skipped", "skipped_unknown", "done_before", "failed"].map(|name| report[name].as_u64().unwrap())
}
