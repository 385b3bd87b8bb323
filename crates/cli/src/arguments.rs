//! Arguments that several commands take, and what follows from them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::{Args, ValueHint};
use manila::EncryptionContext;

use crate::config::Profile;
use crate::failure::{Failure, Result};

/// The heading of these options in the help.
const HEADING: &str = "Key store";

/// The place of the key store, and how it is opened.
#[derive(Args)]
#[allow(clippy::doc_markdown, reason = "it is printed as it stands")]
pub struct KeyStore {
    /// The folder with the key store. By default one in your data directory.
    #[arg(long, value_name = "DIR", env = "MANILA_STORE", hide_env_values = true, global = true)]
    #[arg(value_hint = ValueHint::DirPath, help_heading = HEADING)]
    pub store: Option<PathBuf>,
    /// The file with the root key. By default root.key in the folder of the key store.
    #[arg(long, value_name = "FILE", env = "MANILA_ROOT_KEY_FILE", hide_env_values = true, global = true)]
    #[arg(value_hint = ValueHint::FilePath, help_heading = HEADING)]
    pub root_key_file: Option<PathBuf>,
    /// Ask for the passphrase that the key store is sealed under, instead of reading a root key.
    #[arg(long, global = true, help_heading = HEADING)]
    pub passphrase: bool,
    /// The profile of the configuration file to use, instead of the one named default.
    ///
    /// Options and variables come before what it sets. The file is config.toml in your configuration directory, or the
    /// one that the variable MANILA_CONFIG names.
    #[arg(long = "profile", value_name = "NAME", env = "MANILA_PROFILE", hide_env_values = true, global = true)]
    #[arg(help_heading = HEADING)]
    profile_name: Option<String>,
    #[arg(skip)]
    profile: OnceLock<Profile>,
}

impl KeyStore {
    /// Returns the profile, which is read once.
    pub fn profile(&self) -> Result<&Profile> {
        if let Some(profile) = self.profile.get() {
            return Ok(profile);
        }
        let profile = Profile::load(self.profile_name.as_deref())?;
        Ok(self.profile.get_or_init(|| profile))
    }
}

/// Arguments of all commands about keys, the key store and the audit log.
#[derive(Args)]
pub struct Common {
    #[command(flatten)]
    pub key_store: KeyStore,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Returns whether the path stands for stdin or stdout.
pub fn is_stdio(path: &Path) -> bool {
    path == Path::new("-")
}

/// Parses one pair of an encryption context.
pub fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("give it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Returns the encryption context of these pairs.
pub fn context(pairs: &[(String, String)]) -> Result<EncryptionContext> {
    let pairs = pairs.iter().map(|(key, value)| (key, value));
    EncryptionContext::new(pairs).map_err(|error| Failure::Usage(error.to_string()))
}
