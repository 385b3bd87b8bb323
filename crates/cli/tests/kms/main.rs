//! The commands about keys, the key store and the audit log, from outside: what they print, for people and as JSON,
//! what they change, and how they fail.

mod audit;
#[path = "../desk/mod.rs"]
mod desk;
mod help;
mod keys;
mod operator;
mod store;
mod terminal;

use serde_json::Value;

use desk::{Desk, Ran};

/// Splits a command line at its spaces.
#[must_use]
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

impl Desk {
    /// Runs a command that must succeed, and returns what it printed, without what differs from run to run.
    #[track_caller]
    pub fn shows(&self, line: &str) -> String {
        let text = self.succeed(&words(line)).text();
        text.replace(self.folder.path().canonicalize().unwrap().to_str().unwrap(), "DESK")
    }

    /// Runs a command that must succeed, with --json.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.succeed(&[&words(line)[..], &["--json"]].concat()).json()
    }

    /// Runs a command that must fail with one line, and returns the line.
    #[track_caller]
    pub fn fails(&self, line: &str) -> String {
        let Ran { code, errors, output } = self.run(&words(line));
        assert_eq!((code, errors.lines().count()), (1, 1), "{line}: {errors}");
        assert!(errors.starts_with("error: ") && output.is_empty(), "{line}: {errors}");
        assert!(!errors.contains("LocalKms") && !errors.contains("CreateKey::"), "{line}: {errors}");
        errors
    }

    /// Runs a command that must be refused as a wrong command line.
    #[track_caller]
    pub fn misuses(&self, line: &str) -> String {
        let ran = self.run(&words(line));
        assert_eq!(ran.code, 2, "{line}: {}", ran.errors);
        ran.errors
    }

    /// Makes a key store with a key, and returns the key's id.
    pub fn with_key(alias: &str) -> (Self, String) {
        let desk = Self::new(b"x");
        let id = desk.json(&format!("keys create --alias {alias}"))["key_id"].as_str().unwrap().to_owned();
        (desk, id)
    }
}
