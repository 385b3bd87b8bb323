//! The configuration file: profiles, each with a key store, keys and an encryption context.

use std::io;
use std::path::{Path, PathBuf};

use toml_span::Value;
use toml_span::value::{Key, Table, ValueInner};

use crate::failure::{Failure, Result};
use crate::key_file::KeyFile;
use crate::regular_file;

/// The variable with the path of the file.
const VARIABLE: &str = "MANILA_CONFIG";
/// The name of the file in the configuration directory.
const NAME: &str = "config.toml";
/// The profile that is used by default, if the file has it.
const DEFAULT: &str = "default";

/// The settings of a profile. Options and variables come before them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The folder of the key store.
    pub store: Option<PathBuf>,
    /// The root key of that store.
    pub root_key_file: Option<PathBuf>,
    /// True if that store is sealed under a passphrase.
    pub passphrase: bool,
    pub keys: Vec<String>,
    pub key_files: Vec<KeyFile>,
    pub aws_keys: Vec<String>,
    pub context: Vec<(String, String)>,
}

impl Profile {
    /// Reads the profile of this name, or the default one, which may be missing.
    pub fn load(name: Option<&str>) -> Result<Self> {
        let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = match (&named, directories::ProjectDirs::from("", "", "manila")) {
            (Some(path), _) => path.clone(),
            (None, Some(folders)) => folders.config_dir().join(NAME),
            (None, None) => return Self::missing(name, None),
        };
        match read(&path) {
            Ok(text) => File { path: &path, text: &text }.profile(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                Self::missing(name, Some(&path))
            }
            Err(error) => Err(Failure::file("cannot read the configuration", &path, error)),
        }
    }

    /// Returns these pairs of an encryption context, and those of the profile with other keys.
    pub fn with_pairs(&self, pairs: &[(String, String)]) -> Vec<(String, String)> {
        let is_other = |of_profile: &&(String, String)| pairs.iter().all(|(key, _)| *key != of_profile.0);
        pairs.iter().chain(self.context.iter().filter(is_other)).cloned().collect()
    }

    /// The default profile where there is no file. No other can be meant then.
    fn missing(name: Option<&str>, path: Option<&Path>) -> Result<Self> {
        match (name, path) {
            (None, _) => Ok(Self::default()),
            (Some(name), Some(path)) => {
                Err(Failure::Work(format!("there is no profile {name:?}: write it into {path:?}")))
            }
            (Some(name), None) => Err(Failure::Work(format!(
                "there is no profile {name:?}, nor a home directory with one: name a file in {VARIABLE}"
            ))),
        }
    }
}

/// Reads the file, which decides under which keys files are encrypted: nobody else may write in it.
fn read(path: &Path) -> io::Result<String> {
    let file = regular_file::open(path)?;
    regular_file::check_writers(&file)?;
    io::read_to_string(file)
}

/// The text of a configuration file, and its path for errors.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn profile(&self, name: Option<&str>) -> Result<Profile> {
        let mut root = toml_span::parse(self.text).map_err(|error| self.wrong(error.span.start, &error))?;
        let mut profiles = self.table(&mut root, "the file")?;
        let mut found = Err(name);
        let mut names: Vec<String> = Vec::new();
        // All of them are read, so that a mistake is not found months later.
        for (key, mut value) in std::mem::take(&mut profiles) {
            let profile = self.read(&key, &mut value)?;
            if key.name == name.unwrap_or(DEFAULT) {
                found = Ok(profile);
            }
            names.push(format!("{:?}", key.name));
        }
        found.or_else(|name| match name {
            None => Ok(Profile::default()),
            Some(name) => {
                let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let path = self.path;
                Err(Failure::Work(format!("there is no profile {name:?} in {path:?}, which has {there}")))
            }
        })
    }

    fn read(&self, name: &Key<'_>, value: &mut Value<'_>) -> Result<Profile> {
        let mut profile = Profile::default();
        if !matches!(value.as_ref(), ValueInner::Table(_)) {
            let text = format!("{:?} is not a profile: begin one with [{DEFAULT}]", name.name);
            return Err(self.wrong(name.span.start, text));
        }
        for (key, mut value) in self.table(value, "a profile")? {
            let at = key.span.start;
            match &*key.name {
                "store" => profile.store = Some(self.path_of(&mut value)?),
                "root_key_file" => profile.root_key_file = Some(self.path_of(&mut value)?),
                "passphrase" => {
                    profile.passphrase =
                        value.as_bool().ok_or_else(|| self.wrong(at, "passphrase is true or false"))?;
                }
                "key" => profile.keys = self.texts(&mut value)?,
                "aws_key" => profile.aws_keys = self.texts(&mut value)?,
                "key_file" => {
                    let file = |text: String| {
                        let file = KeyFile::parse(text.into()).map_err(|error| self.wrong(at, error))?;
                        file.located(|path| self.located(path))
                    };
                    profile.key_files = self.texts(&mut value)?.into_iter().map(file).collect::<Result<_>>()?;
                }
                "context" => {
                    let pairs = self.table(&mut value, "context")?;
                    let pair = |(key, mut value): (Key<'_>, Value<'_>)| {
                        Ok((key.name.clone().into_owned(), self.text_of(&mut value)?))
                    };
                    profile.context = pairs.into_iter().map(pair).collect::<Result<_>>()?;
                }
                other => {
                    let text = format!(
                        "{other:?} is not a setting: there are store, root_key_file, passphrase, key, key_file, \
                         aws_key and context"
                    );
                    return Err(self.wrong(at, text));
                }
            }
        }
        Ok(profile)
    }

    fn table<'v>(&self, value: &mut Value<'v>, what: &str) -> Result<Table<'v>> {
        let at = value.span.start;
        match value.take() {
            ValueInner::Table(table) => Ok(table),
            _ => Err(self.wrong(at, format!("{what} is a table"))),
        }
    }

    fn text_of(&self, value: &mut Value<'_>) -> Result<String> {
        let at = value.span.start;
        match value.take() {
            ValueInner::String(text) => Ok(text.into_owned()),
            _ => Err(self.wrong(at, "this value is not a text: put it in quotes")),
        }
    }

    /// One text, or a list of them.
    fn texts(&self, value: &mut Value<'_>) -> Result<Vec<String>> {
        match value.as_array() {
            None => Ok(vec![self.text_of(value)?]),
            Some(_) => match value.take() {
                ValueInner::Array(values) => values.into_iter().map(|mut value| self.text_of(&mut value)).collect(),
                _ => Ok(Vec::new()),
            },
        }
    }

    fn path_of(&self, value: &mut Value<'_>) -> Result<PathBuf> {
        self.located(Path::new(&self.text_of(value)?))
    }

    /// Returns what a path stands for: it is relative to the folder of the file, or to the home directory if it begins
    /// with `~/`.
    fn located(&self, path: &Path) -> Result<PathBuf> {
        let Ok(rest) = path.strip_prefix("~") else { return Ok(self.folder().join(path)) };
        let none = || Failure::Work(format!("{:?}: there is no home directory for {path:?}", self.path));
        Ok(directories::BaseDirs::new().ok_or_else(none)?.home_dir().join(rest))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// A mistake in the file.
    fn wrong(&self, at: usize, what: impl std::fmt::Display) -> Failure {
        let line = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count().saturating_add(1);
        Failure::Work(format!("{:?}, line {line}: {what}", self.path))
    }
}
