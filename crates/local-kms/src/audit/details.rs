//! The parameters and the result of a call, for its line in the log.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use manila_core::EncryptionContext;
use manila_core::internal::crypto::hex;
use manila_core::internal::crypto::sha256;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::audit::json::{ContextJson, plain_json, rfc3339};

/// The maximum length of a text that a line contains in full, in bytes. It is longer than any valid name, and keeps
/// callers from making a line too long with names that do not exist.
const MAX_TEXT_LEN: usize = 4096;
/// The maximum number of members of a list, and the maximum length of each: more than any valid request has.
const MAX_LIST: usize = 64;
const MAX_LISTED_LEN: usize = 512;

/// Members of a JSON object for the parameters of a call, under the names that `CloudTrail` uses.
///
/// No method accepts bytes, so secrets, plaintexts, ciphertexts and messages cannot be added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details<'a>(Vec<(&'static str, Detail<'a>)>);

#[derive(Clone, Debug)]
enum Detail<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Flag(bool),
    List(Vec<Cow<'a, str>>),
    Tags(&'a BTreeMap<String, String>),
    Context(&'a EncryptionContext),
}

impl<'a> Details<'a> {
    /// Returns an empty list of members.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn text(self, name: &'static str, text: &'a str) -> Self {
        self.with(name, Detail::Text(cut(text.into(), MAX_TEXT_LEN)))
    }

    pub(crate) fn owned_text(self, name: &'static str, text: String) -> Self {
        self.with(name, Detail::Text(cut(text.into(), MAX_TEXT_LEN)))
    }

    pub(crate) fn path(self, name: &'static str, path: &'a Path) -> Self {
        self.with(name, Detail::Text(cut(path.to_string_lossy(), MAX_TEXT_LEN)))
    }

    pub(crate) fn number(self, name: &'static str, number: impl Into<u64>) -> Self {
        self.with(name, Detail::Number(number.into()))
    }

    pub(crate) fn len(self, name: &'static str, len: usize) -> Self {
        self.number(name, u64::try_from(len).unwrap_or(u64::MAX))
    }

    pub(crate) fn flag(self, name: &'static str, flag: bool) -> Self {
        self.with(name, Detail::Flag(flag))
    }

    pub(crate) fn time(self, name: &'static str, time: SystemTime) -> Self {
        self.owned_text(name, rfc3339(time))
    }

    pub(crate) fn list(self, name: &'static str, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let list = texts.into_iter().take(MAX_LIST).map(|text| cut(text.into(), MAX_LISTED_LEN));
        self.with(name, Detail::List(list.collect()))
    }

    /// Adds the keys of tags. Their values are kept for conditions of policies, and are not written.
    pub(crate) fn tag_keys(self, name: &'static str, tags: &'a BTreeMap<String, String>) -> Self {
        self.with(name, Detail::Tags(tags))
    }

    /// Adds an encryption context, which is written without its values if the log is kept without them.
    pub(crate) fn context(self, name: &'static str, context: &'a EncryptionContext) -> Self {
        self.with(name, Detail::Context(context))
    }

    /// Adds the SHA-256 of a text that is too long for a line or confidential.
    pub(crate) fn digest(self, name: &'static str, text: &str) -> Self {
        self.owned_text(name, hex(&sha256(text.as_bytes())))
    }

    /// Adds a member if there is a value.
    pub(crate) fn maybe<T>(self, value: Option<T>, add: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => add(self, value),
            None => self,
        }
    }

    /// Returns the values of a member, for conditions of policies.
    pub(crate) fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match self.0.iter().find(|(other, _)| *other == name) {
            Some((_, Detail::Text(text))) => vec![Cow::Borrowed(&**text)],
            Some((_, Detail::Number(number))) => vec![Cow::Owned(number.to_string())],
            Some((_, Detail::Flag(flag))) => vec![Cow::Borrowed(if *flag { "true" } else { "false" })],
            Some((_, Detail::List(list))) => list.iter().map(|text| Cow::Borrowed(&**text)).collect(),
            Some((_, Detail::Tags(tags))) => tags.keys().map(|key| Cow::Borrowed(key.as_str())).collect(),
            Some((_, Detail::Context(_))) | None => Vec::new(),
        }
    }

    /// Returns the tags that the call gives to a key.
    pub(crate) fn tags(&self) -> Option<&'a BTreeMap<String, String>> {
        self.0.iter().find_map(|(_, detail)| match detail {
            Detail::Tags(tags) => Some(*tags),
            _ => None,
        })
    }

    /// Returns the kind of a new grant's constraint, under AWS's name.
    pub(crate) fn grant_constraint_type(&self) -> Option<&'static str> {
        let is = |wanted: &str| self.0.iter().any(|(name, _)| *name == wanted);
        let kinds = [
            ("encryptionContextEquals", "EncryptionContextEquals"),
            ("encryptionContextSubset", "EncryptionContextSubset"),
        ];
        kinds.into_iter().find(|(name, _)| is(name)).map(|(_, kind)| kind)
    }

    fn with(mut self, name: &'static str, detail: Detail<'a>) -> Self {
        self.0.push((name, detail));
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn cut(text: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text;
    }
    let kept = (0..=most).rev().find_map(|end| text.get(..end)).unwrap_or_default();
    Cow::Owned(format!("{kept}... ({} bytes)", text.len()))
}

/// Serialises details as a JSON object.
pub(super) struct DetailsJson<'a> {
    pub(super) details: &'a Details<'a>,
    pub(super) keys_only: bool,
}

impl Serialize for DetailsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = &self.details.0;
        let mut map = serializer.serialize_map(Some(members.len()))?;
        for (name, detail) in members {
            match detail {
                Detail::Text(text) => map.serialize_entry(name, text)?,
                Detail::Number(number) => map.serialize_entry(name, number)?,
                Detail::Flag(flag) => map.serialize_entry(name, flag)?,
                Detail::List(list) => map.serialize_entry(name, list)?,
                Detail::Tags(tags) => {
                    let keys = tags.keys().take(MAX_LIST).map(|key| cut(key.as_str().into(), MAX_LISTED_LEN));
                    map.serialize_entry(name, &keys.collect::<Vec<_>>())?;
                }
                Detail::Context(context) => {
                    map.serialize_entry(name, &ContextJson { context, keys_only: self.keys_only })?;
                }
            }
        }
        map.end()
    }
}

/// Returns details as JSON, unless there are none.
pub(super) fn details_json(details: &Details<'_>, keys_only: bool) -> Option<String> {
    shown(details, keys_only).and_then(|details| plain_json(&details))
}

pub(super) fn shown<'a>(details: &'a Details<'_>, keys_only: bool) -> Option<DetailsJson<'a>> {
    (!details.is_empty()).then_some(DetailsJson { details, keys_only })
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("\u{e9}b".into(), 3), "\u{e9}b");
        assert_eq!(cut("a\u{e9}b".into(), 3), "a\u{e9}... (4 bytes)");
        assert_eq!(cut("a\u{e9}b".into(), 2), "a... (4 bytes)");
        assert_eq!(cut("\u{e9}b".into(), 0), "... (3 bytes)");
    }
}
