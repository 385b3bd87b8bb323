//! A cache of parsed key policies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use manila_core::Result;

use super::{Policy, PolicyKind};

/// The maximum memory of the cache, in bytes. A parsed policy takes four to twenty times as much memory as its text,
/// depending on its form, so the actual memory is counted.
const MAX_BYTES: usize = 8 << 20;

/// A cache of the parsed policies that were used most recently, each under the name of whose it is.
///
/// An entry is used only for exactly the text that it was parsed from, and each call reads that text from the store. So
/// an outdated policy is never used, whichever process changed the record, and even if the store was restored or sealed
/// under another root key.
pub(crate) struct PolicyCache(Mutex<Kept>);

struct Kept {
    by_name: LruCache<String, Parsed>,
    /// The memory of all entries, in bytes.
    bytes: usize,
    /// The number of times that a policy had to be parsed.
    #[cfg(any(test, feature = "testing"))]
    parsed: u64,
}

#[derive(Clone)]
struct Parsed {
    json: Arc<str>,
    policy: Arc<Policy>,
    /// The memory of both, in bytes.
    bytes: usize,
}

impl Default for PolicyCache {
    fn default() -> Self {
        Self(Mutex::new(Kept {
            by_name: LruCache::unbounded(),
            bytes: 0,
            #[cfg(any(test, feature = "testing"))]
            parsed: 0,
        }))
    }
}

impl PolicyCache {
    /// Returns a policy from the cache, if it was parsed from this JSON.
    pub(crate) fn kept(&self, name: &str, json: &str) -> Option<Arc<Policy>> {
        let kept = self.lock().by_name.get(name).cloned();
        kept.filter(|kept| *kept.json == *json).map(|kept| kept.policy)
    }

    /// Returns a policy from the cache, or parses its JSON and keeps it.
    pub(crate) fn parse(&self, name: &str, json: &str, kind: PolicyKind) -> Result<Arc<Policy>> {
        if let Some(kept) = self.kept(name, json) {
            return Ok(kept);
        }
        let policy = Policy::parse(json, kind)?;
        let bytes = policy.memory().saturating_add(json.len());
        let parsed = Parsed { json: json.into(), policy: Arc::new(policy), bytes };
        let policy = Arc::clone(&parsed.policy);
        self.lock().keep(name, parsed);
        Ok(policy)
    }

    /// The number of times that a policy had to be parsed.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn parsed(&self) -> u64 {
        self.lock().parsed
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, name: &str, parsed: Parsed) {
        #[cfg(any(test, feature = "testing"))]
        {
            self.parsed = self.parsed.saturating_add(1);
        }
        self.bytes = self.bytes.saturating_add(parsed.bytes);
        if let Some(old) = self.by_name.put(name.to_owned(), parsed) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
        while self.bytes > MAX_BYTES
            && let Some((_, old)) = self.by_name.pop_lru()
        {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(action: &str, len: usize) -> String {
        let principal = r#"{"AWS": "arn:aws:iam::111122223333:root"}"#;
        let statement =
            format!(r#"{{"Effect": "Allow", "Principal": {principal}, "Action": "{action}", "Resource": "*"}}"#);
        format!("{:len$}", format!(r#"{{"Statement": {statement}}}"#))
    }

    #[test]
    fn a_policy_is_parsed_once_and_again_when_its_text_is_another() {
        let cache = PolicyCache::default();
        let (one, two) = (policy("kms:Encrypt", 0), policy("kms:Decrypt", 0));
        for (json, expected) in [(&one, 1), (&one, 1), (&two, 2), (&two, 2), (&one, 3)] {
            let policy = cache.parse("key", json, PolicyKind::Key).unwrap();
            assert_eq!(
                policy.statements[0].actions.patterns,
                Policy::parse(json, PolicyKind::Key).unwrap().statements[0].actions.patterns
            );
            assert_eq!(cache.parsed(), expected);
        }
        // An invalid policy is not cached, and evicts nothing.
        assert!(cache.parse("key", "{}", PolicyKind::Key).is_err());
        cache.parse("key", &one, PolicyKind::Key).unwrap();
        assert_eq!(cache.parsed(), 3);
    }

    #[test]
    fn the_policies_of_the_keys_used_last_are_kept_within_bounds() {
        let cache = PolicyCache::default();
        let json = policy("kms:Encrypt", 32 << 10);
        let each = json.len() + Policy::parse(&json, PolicyKind::Key).unwrap().memory();
        let fit = MAX_BYTES / each;
        for n in 0..2 * fit {
            cache.parse("used", &json, PolicyKind::Key).unwrap();
            cache.parse(&n.to_string(), &json, PolicyKind::Key).unwrap();
            let kept = cache.lock();
            assert_eq!(kept.bytes, kept.by_name.len() * each);
            assert!(kept.bytes <= MAX_BYTES);
        }
        let kept = cache.lock();
        assert_eq!((kept.by_name.len(), kept.parsed), (fit, 1 + 2 * fit as u64));
    }

    #[test]
    fn what_a_policy_takes_is_counted_and_not_its_text_alone() {
        let list = vec![r#""*""#; 8_000].join(",");
        let json = policy("kms:Encrypt", 0).replace(r#""arn:aws:iam::111122223333:root""#, &format!("[{list}]"));
        let parsed = Policy::parse(&json, PolicyKind::Key).unwrap();
        assert!(
            parsed.memory()
                >= parsed.statements[0].principals.all.len() * size_of::<super::super::principal::Principal>()
        );
        let cache = PolicyCache::default();
        for n in 0..64 {
            cache.parse(&n.to_string(), &json, PolicyKind::Key).unwrap();
        }
        let kept = cache.lock();
        assert!(kept.by_name.len() * parsed.memory() <= MAX_BYTES, "{} are kept", kept.by_name.len());
        assert!(kept.by_name.len() > 5, "{} are kept", kept.by_name.len());
    }
}
