//! The encryption context: public key-value pairs that are authenticated with a message.
//!
//! Source: the ESDK specification, `framework/structures.md` (encryption context).

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::sync::Arc;

use crate::codec::{Cursor, put_u16};
use crate::error::{Error, ErrorKind, Result, quoted};

/// The prefix of keys that the format reserves.
const RESERVED_PREFIX: &str = "aws-crypto-";
/// The key whose value is the public key of a signed message.
#[doc(hidden)]
pub const PUBLIC_KEY: &str = "aws-crypto-public-key";

/// Key-value pairs that a message is bound to: stored in its header in the clear, authenticated, and sent to the KMS,
/// which may base its decision on them and writes them to its audit log. Never put a secret here.
///
/// Pairs are sorted by the UTF-8 bytes of their keys. Serialised, they take at most 65,535 bytes.
///
/// ```
/// use manila_core::EncryptionContext;
///
/// let context = EncryptionContext::new([("tenant", "acme"), ("purpose", "backup")])?;
/// assert_eq!(context.get("tenant"), Some("acme"));
/// assert_eq!(context.iter().next(), Some(("purpose", "backup")));
/// # Ok::<(), manila_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncryptionContext {
    /// Shared, since each message passes its context on several times. `None` without pairs.
    pairs: Option<Arc<Pairs>>,
}

type Pairs = BTreeMap<String, String>;

static NO_PAIRS: Pairs = Pairs::new();

impl EncryptionContext {
    /// Returns a context of these pairs: `new([("tenant", "acme")])`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if a key occurs twice or begins with `aws-crypto-`, which is
    /// reserved; [`ErrorKind::LimitExceeded`] if the pairs do not fit into a header.
    pub fn new<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let mut context = Self::default();
        for (key, value) in pairs {
            let key = key.into();
            check_key(&key)?;
            context.insert(ErrorKind::InvalidInput, key, value.into())?;
        }
        context.to_bytes()?;
        Ok(context)
    }

    /// Returns a context without pairs.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns the value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().get(key).map(String::as_str)
    }

    /// Iterates over the pairs, sorted by the UTF-8 bytes of their keys.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.pairs().iter())
    }

    /// Returns the number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Returns whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_none()
    }

    fn pairs(&self) -> &Pairs {
        self.pairs.as_deref().unwrap_or(&NO_PAIRS)
    }

    /// Returns the pairs for modification.
    fn pairs_mut(&mut self) -> &mut Pairs {
        Arc::make_mut(self.pairs.get_or_insert_default())
    }

    fn insert(&mut self, kind: ErrorKind, key: String, value: String) -> Result<()> {
        match self.pairs_mut().entry(key) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(())
            }
            btree_map::Entry::Occupied(entry) => {
                let detail = format!("encryption context key {} occurs twice", quoted(entry.key()));
                Err(Error::new(kind, detail))
            }
        }
    }

    /// Returns this context with the public key of a signed message.
    #[doc(hidden)]
    #[must_use]
    pub fn with_public_key(&self, encoded: String) -> Self {
        let mut context = self.clone();
        context.pairs_mut().insert(PUBLIC_KEY.to_owned(), encoded);
        context
    }

    /// Returns the pairs of both; where both have a key, the value is that of `other`.
    #[doc(hidden)]
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        if !other.is_empty() {
            merged.pairs_mut().extend(other.pairs().iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        merged
    }

    /// Returns the pairs without reserved keys: the context for a new message, given that of a decrypted one.
    ///
    /// ```
    /// # use manila_core::EncryptionContext;
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// assert_eq!(context.without_reserved(), context);
    /// # Ok::<(), manila_core::Error>(())
    /// ```
    #[must_use]
    pub fn without_reserved(&self) -> Self {
        self.filtered(|key| !key.starts_with(RESERVED_PREFIX))
    }

    /// Fails if there is a pair with a reserved key, as in the context of a decrypted message.
    #[doc(hidden)]
    pub fn check_unreserved(&self) -> Result<()> {
        self.pairs().keys().try_for_each(|key| check_key(key))
    }

    /// Returns the pairs whose keys satisfy `keep`.
    #[doc(hidden)]
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.pairs().keys().all(|key| keep(key)) {
            return self.clone();
        }
        let kept = self.pairs().iter().filter(|(key, _)| keep(key));
        let pairs: Pairs = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { pairs: if pairs.is_empty() { None } else { Some(Arc::new(pairs)) } }
    }

    /// Serialises the pairs as headers, keyrings and tags do: a count and the pairs, each text preceded by its length;
    /// nothing if there are none. Different contexts have different serialisations, so a keyring can bind data keys to
    /// it.
    ///
    /// ```
    /// # use manila_core::EncryptionContext;
    /// let bytes = EncryptionContext::new([("a", "b")])?.to_bytes()?;
    /// assert_eq!(bytes, b"\x00\x01\x00\x01a\x00\x01b");
    /// # Ok::<(), manila_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if the pairs do not fit into a header, which only happens to merged contexts.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let too_large = |_| {
            let detail =
                "the encryption context does not fit: keys, values and all pairs together take at most 65,535 bytes";
            Error::new(ErrorKind::LimitExceeded, detail)
        };
        let mut out = Vec::new();
        if self.is_empty() {
            return Ok(out);
        }
        put_u16(&mut out, self.len()).map_err(too_large)?;
        for (key, value) in self.pairs() {
            for text in [key, value] {
                put_u16(&mut out, text.len()).map_err(too_large)?;
                out.extend_from_slice(text.as_bytes());
            }
        }
        u16::try_from(out.len()).map_err(|_| too_large(crate::codec::DoesNotFit))?;
        Ok(out)
    }

    /// Returns a context of any pairs, including reserved ones, as a KMS receives.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn with_reserved(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut context = Self::default();
        for (key, value) in pairs {
            context.insert(ErrorKind::InvalidInput, key, value)?;
        }
        Ok(context)
    }

    /// Parses the pairs of a header, in any order, as every implementation does, but no key twice.
    #[doc(hidden)]
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut context = Self::default();
        if bytes.is_empty() {
            return Ok(context);
        }
        let malformed = |detail: &'static str| Error::new(ErrorKind::Malformed, detail);
        let cut = |_| malformed("a pair of the encryption context is cut short");
        let mut cursor = Cursor::new(bytes);
        for _ in 0..cursor.u16().map_err(cut)? {
            let mut text = || -> Result<String> {
                let len = cursor.u16().map_err(cut)?;
                let bytes = cursor.take(usize::from(len)).map_err(cut)?;
                let text = str::from_utf8(bytes).map_err(|_| malformed("the encryption context is not UTF-8"))?;
                Ok(text.to_owned())
            };
            let (key, value) = (text()?, text()?);
            context.insert(ErrorKind::Malformed, key, value)?;
        }
        if !cursor.is_empty() {
            return Err(malformed("the encryption context is longer than its pairs"));
        }
        Ok(context)
    }
}

/// Fails for a key that the format reserves.
#[doc(hidden)]
pub fn check_key(key: &str) -> Result<()> {
    if !key.starts_with(RESERVED_PREFIX) {
        return Ok(());
    }
    let detail = format!(
        "encryption context key {} begins with {RESERVED_PREFIX}, which is reserved: choose another, or use \
         without_reserved() on the context of a decrypted message",
        quoted(key)
    );
    Err(Error::new(ErrorKind::InvalidInput, detail))
}

impl<'a> IntoIterator for &'a EncryptionContext {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// An iterator over the pairs of an [`EncryptionContext`], in order.
#[derive(Clone, Debug)]
pub struct Iter<'a>(btree_map::Iter<'a, String, String>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_by_bytes_not_by_utf16() {
        // U+10000 is f0 90 80 80 in UTF-8 and d800 dc00 in UTF-16; U+FF61 is ef bd a1 and ff61.
        let context = EncryptionContext::new([("\u{10000}", "2"), ("\u{ff61}", "1")]).unwrap();
        let keys: Vec<_> = context.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["\u{ff61}", "\u{10000}"]);
        let bytes = b"\x00\x02\x00\x03\xef\xbd\xa1\x00\x011\x00\x04\xf0\x90\x80\x80\x00\x012";
        assert_eq!(context.to_bytes().unwrap(), bytes);
        assert_eq!(EncryptionContext::from_bytes(bytes).unwrap(), context);
    }

    #[test]
    fn the_largest_context_fits_and_one_byte_more_does_not() {
        let of = |len: usize| EncryptionContext::new([("k", "v".repeat(len))]);
        assert_eq!(of(65_528).unwrap().to_bytes().unwrap().len(), 65_535);
        assert_eq!(of(65_529).unwrap_err().kind(), ErrorKind::LimitExceeded);
        let long_key = EncryptionContext::new([("k".repeat(65_536), "")]);
        assert_eq!(long_key.unwrap_err().kind(), ErrorKind::LimitExceeded);
    }

    #[test]
    fn reserved_and_repeated_keys_are_refused() {
        let reserved = EncryptionContext::new([("aws-crypto-mine", "x")]).unwrap_err();
        assert_eq!(reserved.kind(), ErrorKind::InvalidInput);
        let twice = EncryptionContext::new([("a", "1"), ("a", "1")]).unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::InvalidInput);
    }
}
