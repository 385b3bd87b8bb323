//! A folder to work in, and runs of the program there.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder with a file to encrypt, and a key store in `keys` once one is made.
pub struct Desk {
    pub folder: tempfile::TempDir,
}

impl Desk {
    pub fn new(plaintext: &[u8]) -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(desk.path("plain"), plaintext).unwrap();
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manila"));
        command.current_dir(self.folder.path()).env("MANILA_STORE", "keys").args(args);
        for variable in ["MANILA_ROOT_KEY_FILE", "MANILA_KEY", "MANILA_PROFILE", "MANILA_CONFIG"] {
            command.env_remove(variable);
        }
        // No configuration of whoever runs the tests.
        command.env("XDG_CONFIG_HOME", self.path("configuration")).env("HOME", self.path("home"));
        command.env("XDG_STATE_HOME", self.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    #[track_caller]
    pub fn succeed(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.errors);
        ran
    }

    /// Returns the names of all files, including hidden ones.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub struct Ran {
    pub code: i32,
    pub output: Vec<u8>,
    pub errors: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("panicked"), "{errors}");
        Self { code: output.status.code().unwrap_or(-1), output: output.stdout, errors }
    }
}

impl Ran {
    /// Returns what was printed, with TIME for each time and ID for each id.
    pub fn text(&self) -> String {
        let text = String::from_utf8(self.output.clone()).unwrap();
        let (mut masked, mut rest) = (String::new(), text.as_str());
        while !rest.is_empty() {
            let found = FORMS.iter().find(|(form, _)| has_form(rest, form));
            let (len, put) =
                found.map_or((rest.chars().next().unwrap().len_utf8(), None), |(form, name)| (form.len(), Some(name)));
            masked.push_str(put.unwrap_or(&&rest[..len]));
            rest = &rest[len..];
        }
        masked
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.output).unwrap_or_else(|error| panic!("{error}: {:?}", self.output))
    }
}

/// The forms of what differs from run to run: `0` stands for a digit of a number, `x` for one of an id.
const FORMS: [(&str, &str); 4] = [
    ("0000-00-00T00:00:00.000Z", "TIME"),
    ("0000-00-00T00:00:00Z", "TIME"),
    ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "ID"),
    ("mrk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "ID"),
];

fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        form => byte == form,
    };
    text.len() >= form.len() && text.bytes().zip(form.bytes()).all(fits)
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}
