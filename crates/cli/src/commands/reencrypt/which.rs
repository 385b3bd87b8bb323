//! The choice of the files that are re-encrypted, by what their headers tell.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use manila::local_kms::{KeyRotation, LocalKms};
use manila::{AlgorithmSuite, Client, EncryptedDataKey, EncryptionContext, UnverifiedHeader};

use crate::census::{KMS, key_of, version_of};
use crate::failure::{Failure, Result};
use crate::key_store::OnDemand;
use crate::keys_for_files::{OfStore, Selection};
use crate::time;

/// The rotation that key material is to be older than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderThan {
    Last,
    /// The one that made this version.
    Version(u32),
    /// The first one at this time or later.
    Time(SystemTime),
}

impl OlderThan {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "last" {
            return Ok(Self::Last);
        }
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        time::past(text)
            .map(Self::Time)
            .map_err(|hint| format!("give last, a version as keys show prints it, or {hint}"))
    }

    /// Returns the version that the rotation made, if there was one. All those before it are older.
    fn version_among(self, rotations: &[KeyRotation]) -> Option<u32> {
        let found = match self {
            Self::Last => rotations.last(),
            Self::Version(version) => rotations.iter().find(|rotation| rotation.key_version() == version),
            // Printed times have whole seconds, so that a rotation is at its own printed time or later.
            Self::Time(time) => rotations.iter().find(|rotation| rotation.date() >= time),
        };
        found.map(KeyRotation::key_version)
    }
}

impl fmt::Display for OlderThan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Version(version) => write!(f, "{version}"),
            Self::Time(time) => f.write_str(&time::shown(*time)),
        }
    }
}

/// A key that new files are encrypted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As the census calls it.
    pub key: String,
    /// The version that encrypts, of a key in the key store.
    pub version: Option<u32>,
    /// The mark that tells a key in a file from others of its name.
    fingerprint: Option<String>,
}

impl Target {
    /// Returns whether a data key is encrypted under it, as far as a header tells.
    fn is_of(&self, data_key: &EncryptedDataKey) -> bool {
        key_of(data_key) == self.key && version_of(data_key) == self.version
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.version, &self.fingerprint) {
            (Some(version), _) => write!(f, "{} {version}", self.key),
            (None, Some(fingerprint)) => write!(f, "{} {fingerprint}", self.key),
            (None, None) => f.write_str(&self.key),
        }
    }
}

/// Returns whether a message is under these keys and no other, as far as its header tells.
pub fn is_under(targets: &[Target], header: &UnverifiedHeader) -> bool {
    let found = header.encrypted_data_keys();
    let is_found = |target: &Target| found.iter().any(|key| target.is_of(key));
    found.len() == targets.len() && targets.iter().all(is_found)
}

/// Returns the keys that new files are encrypted under. Uses none of them but those in files.
pub fn targets(new: &Selection, store: &OnDemand<'_>) -> Result<Vec<Target>> {
    let of_store = match &new.of_store {
        OfStore::None => Vec::new(),
        OfStore::Default => vec![store.default_key()?],
        OfStore::Named(names) => names.iter().map(|name| store.key(name)).collect::<Result<_>>()?,
    };
    let mut targets = Vec::new();
    for key in of_store {
        let rotations = store.open()?.list_key_rotations(key.arn())?;
        let version = rotations.last().map_or(1, KeyRotation::key_version);
        targets.push(Target { key: key.arn().to_owned(), version: Some(version), fingerprint: None });
    }
    for file in &new.key_files {
        // The names that a message calls it by are those in a message.
        let message = Client::new(file.keyring_to_encrypt()?).encrypt(b"", &EncryptionContext::empty())?;
        let header = UnverifiedHeader::parse(&message)?;
        let fingerprint = file.fingerprint()?;
        let key = |key| Target { key: key_of(key), version: None, fingerprint: Some(fingerprint.clone()) };
        targets.extend(header.encrypted_data_keys().iter().map(key));
    }
    targets.extend(new.aws_keys.iter().map(|arn| Target { key: arn.clone(), version: None, fingerprint: None }));
    Ok(targets)
}

/// The outcome for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Reencrypt,
    /// It is as it should be.
    Current,
    /// It has no key whose version is known.
    Unknown,
}

/// The condition on which a file is re-encrypted.
pub enum Condition {
    Always,
    OlderThan {
        rotation: OlderThan,
        kms: LocalKms,
        /// The version that the rotation made, by the ARN of a key.
        made: HashMap<String, Option<u32>>,
    },
    NotUnder {
        keys: Vec<Target>,
        suite: Option<AlgorithmSuite>,
    },
}

impl Condition {
    /// Material from before a rotation. Fails if no key that encrypts was ever rotated so: it would be waited for in
    /// vain.
    pub fn older_than(rotation: OlderThan, targets: &[Target], kms: LocalKms) -> Result<Self> {
        let mut condition = Self::OlderThan { rotation, kms, made: HashMap::new() };
        let mut of_store = targets.iter().filter(|target| target.version.is_some()).peekable();
        if of_store.peek().is_some() && of_store.all(|target| condition.made_of(&target.key).is_none()) {
            let text = format!(
                "no key that encrypts has a rotation {rotation}: manila keys show lists those there are, and \
                 manila keys rotate makes one"
            );
            return Err(Failure::Work(text));
        }
        Ok(condition)
    }

    /// Returns the version that the rotation made of a key, if it did and the key store has the key.
    fn made_of(&mut self, arn: &str) -> Option<u32> {
        let Self::OlderThan { rotation, kms, made } = self else { return None };
        if let Some(version) = made.get(arn) {
            return *version;
        }
        let rotations = kms.list_key_rotations(arn).ok()?;
        let version = rotation.version_among(&rotations);
        made.insert(arn.to_owned(), version);
        version
    }

    /// Judges a file by its header.
    pub fn judge(&mut self, header: &UnverifiedHeader) -> Verdict {
        match self {
            Self::Always => Verdict::Reencrypt,
            Self::OlderThan { .. } => {
                let mut verdict = Verdict::Unknown;
                for data_key in header.encrypted_data_keys().iter().filter(|key| key.provider_id == KMS) {
                    let Some(version) = version_of(data_key) else { continue };
                    match self.made_of(&data_key.key_name()) {
                        Some(made) if version < made => return Verdict::Reencrypt,
                        _ => verdict = Verdict::Current,
                    }
                }
                verdict
            }
            Self::NotUnder { keys, suite } => {
                let of_file = header.suite();
                let has_suite = suite.map_or(of_file.is_committing(), |suite| suite == of_file);
                match has_suite && is_under(keys, header) {
                    true => Verdict::Current,
                    false => Verdict::Reencrypt,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_named_by_its_order_its_version_or_its_time() {
        assert_eq!(OlderThan::parse("last"), Ok(OlderThan::Last));
        assert_eq!(OlderThan::parse("2"), Ok(OlderThan::Version(2)));
        let at = time::past("2026-11-22T04:36:41Z").unwrap();
        assert_eq!(OlderThan::parse("2026-11-22 04:36:41"), Ok(OlderThan::Time(at)));
        assert!(OlderThan::parse("first").unwrap_err().contains("last, a version"));
        for text in ["last", "7", "2026-11-22T04:36:41Z"] {
            assert_eq!(OlderThan::parse(text).unwrap().to_string(), text);
        }
    }
}
