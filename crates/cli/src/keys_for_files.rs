//! The keys of files: the options that select them, and keyrings of those that were selected.
//!
//! ```text
//! keys_for_files   the options, what they select, and keyrings of it
//! aws              keys in AWS KMS (feature aws-kms)
//! ```

mod aws;

use clap::{Args, ValueHint};
use manila::keyring::{Keyring, KmsKeyring, MultiKeyring};

use crate::config::Profile;
use crate::failure::{Failure, Result};
use crate::key_file::KeyFile;
use crate::key_store::{ALIAS, OnDemand};

/// The heading of these options in the help.
const HEADING: &str = "Keys";

/// The options of commands that encrypt.
#[derive(Args)]
#[allow(clippy::doc_markdown, reason = "it is printed as it stands")]
pub struct EncryptionKeys {
    /// Encrypt under this key of the key store: its id, ARN or alias. By default alias/file, which is made on first
    /// use. Repeatable.
    ///
    /// Each of the keys of a file, here and in the options below, can decrypt it alone. Without any of them, the
    /// variable MANILA_KEY or the profile names the key.
    #[arg(long = "key", value_name = "KEY", help_heading = HEADING)]
    keys: Vec<String>,
    /// Encrypt under the AES or RSA key in this file. Repeatable.
    ///
    /// 16, 24 or 32 random bytes or base64 of them, for AES; or an RSA key in PEM, whose padding is OAEP with SHA-256.
    /// The public key is enough to encrypt. A secret key that other users can read is refused, unless nobody can write
    /// it, as secrets that are mounted into containers (modes 0440 and 0444).
    ///
    /// Encrypted files name the key by a namespace and a name, unencrypted: by default manila/aes and manila/rsa.
    /// Other programs of the AWS Encryption SDK ask for both. Begin a path that has a = with ./ or /.
    ///
    /// Without --key no key store is used.
    #[arg(long = "key-file", value_name = "[NAMESPACE/NAME=]FILE", value_parser = KeyFile::parser())]
    #[arg(value_hint = ValueHint::FilePath, help_heading = HEADING)]
    key_files: Vec<KeyFile>,
    /// Encrypt under this key of AWS KMS. Repeatable.
    ///
    /// The ARN of an alias is enough to encrypt. Credentials are found as the AWS CLI finds them. Needs a program that
    /// was built with the feature aws-kms. Without --key no key store is used.
    #[arg(long = "aws-key", value_name = "ARN", help_heading = HEADING)]
    aws_keys: Vec<String>,
}

impl EncryptionKeys {
    /// Returns a keyring that encrypts under the keys, and decrypts with those that can.
    pub fn keyring(&self, store: &OnDemand<'_>) -> Result<MultiKeyring> {
        self.selection(store.profile()?).keyring_to_encrypt(store)
    }

    /// Checks what can be checked of the keys without opening a key store or asking AWS.
    pub fn check(&self, store: &OnDemand<'_>) -> Result<()> {
        self.selection(store.profile()?).check(store, aws::Use::Encrypt)
    }

    /// Returns what was selected.
    pub fn selection(&self, profile: &Profile) -> Selection {
        match Selection::of(&self.keys, &self.key_files, &self.aws_keys) {
            nothing if nothing.is_default() => Selection::to_encrypt_by_default(profile),
            selection => selection,
        }
    }
}

/// The options of commands that decrypt.
#[derive(Args)]
pub struct DecryptionKeys {
    /// Decrypt with this key of the key store alone: its id, ARN or alias. By default with any that the file names.
    /// Repeatable.
    #[arg(long = "key", value_name = "KEY", help_heading = HEADING)]
    keys: Vec<String>,
    /// Decrypt with the AES or RSA key in this file. Repeatable.
    ///
    /// 16, 24 or 32 bytes or base64 of them, for AES; or a private RSA key in PEM (OAEP with SHA-256). Namespace and
    /// name must be those that were given on encryption: by default manila/aes and manila/rsa. Begin a path that has
    /// a = with ./ or /.
    ///
    /// Without --key no key store is used.
    #[arg(long = "key-file", value_name = "[NAMESPACE/NAME=]FILE", value_parser = KeyFile::parser())]
    #[arg(value_hint = ValueHint::FilePath, help_heading = HEADING)]
    key_files: Vec<KeyFile>,
    /// Decrypt with this key of AWS KMS, and with replicas of it if it is a multi-Region key. Repeatable.
    ///
    /// No other key is ever asked for, whatever a file says. Credentials are found as the AWS CLI finds them. Needs a
    /// program that was built with the feature aws-kms. Without --key no key store is used.
    #[arg(long = "aws-key", value_name = "ARN", help_heading = HEADING)]
    aws_keys: Vec<String>,
}

impl DecryptionKeys {
    /// Returns a keyring that decrypts with the keys.
    pub fn keyring(&self, store: &OnDemand<'_>) -> Result<MultiKeyring> {
        self.selection(store.profile()?).keyring_to_decrypt(store)
    }

    /// Checks what can be checked of the keys without opening a key store or asking AWS.
    pub fn check(&self, store: &OnDemand<'_>) -> Result<()> {
        self.selection(store.profile()?).check(store, aws::Use::Decrypt)
    }

    /// Returns what was selected.
    pub fn selection(&self, profile: &Profile) -> Selection {
        match Selection::of(&self.keys, &self.key_files, &self.aws_keys) {
            nothing if nothing.is_default() => Selection::to_decrypt_by_default(profile),
            selection => selection,
        }
    }
}

/// Keys that were selected.
pub struct Selection {
    pub of_store: OfStore,
    pub key_files: Vec<KeyFile>,
    pub aws_keys: Vec<String>,
}

/// The keys of the key store among those that were selected.
#[derive(Debug, PartialEq, Eq)]
pub enum OfStore {
    /// None: no key store is opened or made.
    None,
    /// The one that encrypts by default, and all to decrypt.
    Default,
    /// These ids, ARNs and aliases.
    Named(Vec<String>),
}

impl Selection {
    /// Returns what options select: the key store is used if one of its keys is named, or no other key.
    pub fn of(keys: &[String], key_files: &[KeyFile], aws_keys: &[String]) -> Self {
        let of_store = match keys {
            [] if key_files.is_empty() && aws_keys.is_empty() => OfStore::Default,
            [] => OfStore::None,
            keys => OfStore::Named(keys.to_vec()),
        };
        Self { of_store, key_files: key_files.to_vec(), aws_keys: aws_keys.to_vec() }
    }

    /// Returns the keys that encrypt if no option selects any: that of the variable, those of the profile, or the one
    /// of the key store.
    pub fn to_encrypt_by_default(profile: &Profile) -> Self {
        match key_of_variable() {
            Some(key) => Self::of(&[key], &[], &[]),
            None => Self::of(&profile.keys, &profile.key_files, &profile.aws_keys),
        }
    }

    /// Returns the keys that decrypt if no option selects any: those of the profile, and of the key store all.
    pub fn to_decrypt_by_default(profile: &Profile) -> Self {
        let mut selection = Self::of(&profile.keys, &profile.key_files, &profile.aws_keys);
        if !profile.keys.is_empty() || key_of_variable().is_some() {
            selection.of_store = OfStore::Default;
        }
        selection
    }

    fn is_default(&self) -> bool {
        self.of_store == OfStore::Default
    }

    /// Returns a keyring whose first key generates the data key, which the others wrap too. It decrypts with those keys
    /// that can.
    pub fn keyring_to_encrypt(&self, store: &OnDemand<'_>) -> Result<MultiKeyring> {
        let mut keyrings = match &self.of_store {
            OfStore::None => Vec::new(),
            OfStore::Default => {
                let key = store.default_key()?;
                vec![boxed(KmsKeyring::new(store.open()?, key.arn())?)]
            }
            OfStore::Named(names) => of_store(store, names)?,
        };
        for file in &self.key_files {
            keyrings.push(file.keyring_to_encrypt()?);
        }
        keyrings.extend(aws::keyrings(&self.aws_keys, aws::Use::Encrypt)?);
        let mut keyrings = keyrings.into_iter();
        let generator = keyrings.next().ok_or_else(no_key)?;
        Ok(keyrings.fold(MultiKeyring::new(generator), MultiKeyring::child))
    }

    fn check(&self, store: &OnDemand<'_>, usage: aws::Use) -> Result<()> {
        match (&self.of_store, usage) {
            (OfStore::None, _) => {}
            (OfStore::Default, aws::Use::Encrypt) => store.check(true)?,
            (OfStore::Named(names), aws::Use::Encrypt) => store.check(names.iter().any(|name| name == ALIAS))?,
            (OfStore::Default | OfStore::Named(_), aws::Use::Decrypt) => store.check(false)?,
        }
        for file in &self.key_files {
            file.keyring_to_encrypt()?;
        }
        aws::keyrings(&self.aws_keys, usage).map(drop)
    }

    /// Returns a keyring that decrypts with the keys.
    pub fn keyring_to_decrypt(&self, store: &OnDemand<'_>) -> Result<MultiKeyring> {
        let mut keyrings = match &self.of_store {
            OfStore::None => Vec::new(),
            // Whichever key a file names, it is one of the user's own, on this machine.
            OfStore::Default => vec![boxed(KmsKeyring::discovery_any_account(store.open()?))],
            OfStore::Named(names) => of_store(store, names)?,
        };
        for file in &self.key_files {
            keyrings.extend(file.keyring_to_decrypt()?);
        }
        keyrings.extend(aws::keyrings(&self.aws_keys, aws::Use::Decrypt)?);
        let mut keyrings = keyrings.into_iter();
        let first = keyrings.next().ok_or_else(only_public)?;
        Ok(keyrings.fold(MultiKeyring::without_generator(first), MultiKeyring::child))
    }
}

fn of_store(store: &OnDemand<'_>, names: &[String]) -> Result<Vec<Box<dyn Keyring>>> {
    let keyring = |name: &String| {
        let arn = store.key(name)?.arn().to_owned();
        Ok(boxed(KmsKeyring::new(store.open()?, arn)?))
    };
    names.iter().map(keyring).collect()
}

fn boxed(keyring: impl Keyring + 'static) -> Box<dyn Keyring> {
    Box::new(keyring)
}

/// Returns the key that encrypts by the variable `MANILA_KEY`.
fn key_of_variable() -> Option<String> {
    std::env::var("MANILA_KEY").ok().filter(|key| !key.is_empty())
}

fn only_public() -> Failure {
    Failure::Work("public keys only encrypt: give the private key".to_owned())
}

fn no_key() -> Failure {
    Failure::Usage("no key is selected: give --key, --key-file or --aws-key".to_owned())
}
