//! What a reader expects of a message's encryption context.

use manila_core::internal::{PUBLIC_KEY, quoted};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

/// What a reader expects of a message's encryption context.
///
/// A `&EncryptionContext` converts into the usual expectation: these pairs must be there, others may be.
/// A pair whose value differs fails before any key is asked for. A pair that the header lacks is authenticated
/// all the same (the specification's reproduced encryption context), so the message opens if it was sealed with
/// that pair left out of the header, and fails otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExpectedContext {
    pairs: EncryptionContext,
    exactly: bool,
}

impl ExpectedContext {
    /// Whatever the message holds. The caller looks at the context of the opened message itself.
    #[must_use]
    pub fn any() -> Self {
        Self { pairs: EncryptionContext::empty(), exactly: false }
    }

    /// These pairs, and no others but those that the format adds.
    #[must_use]
    pub fn exactly(pairs: &EncryptionContext) -> Self {
        Self { pairs: pairs.clone(), exactly: true }
    }

    /// The pairs that must be there.
    #[must_use]
    pub fn pairs(&self) -> &EncryptionContext {
        &self.pairs
    }

    /// Tells whether a header may have no other pairs.
    #[cfg(feature = "cache")]
    pub(crate) fn is_exact(&self) -> bool {
        self.exactly
    }

    /// Holds the context of a header against what is expected.
    ///
    /// Returns the pairs that the header lacks: they are to be authenticated with it.
    pub(crate) fn check(&self, header: &EncryptionContext) -> Result<EncryptionContext> {
        let mismatch = |key: &str, what: &str| {
            let detail = format!("the message's encryption context {what} {}", quoted(key));
            Err(Error::new(ErrorKind::ContextMismatch, detail))
        };
        for (key, value) in &self.pairs {
            if header.get(key).is_some_and(|found| found != value) {
                return mismatch(key, "has another value than expected for the key");
            }
        }
        if self.exactly {
            let surplus = header.iter().find(|(key, _)| *key != PUBLIC_KEY && self.pairs.get(key).is_none());
            if let Some((key, _)) = surplus {
                return mismatch(key, "has a key that is not among the expected ones:");
            }
        }
        Ok(self.pairs.filtered(|key| header.get(key).is_none()))
    }
}

impl From<&EncryptionContext> for ExpectedContext {
    fn from(pairs: &EncryptionContext) -> Self {
        Self { pairs: pairs.clone(), exactly: false }
    }
}

impl From<EncryptionContext> for ExpectedContext {
    fn from(pairs: EncryptionContext) -> Self {
        Self { pairs, exactly: false }
    }
}

impl From<&Self> for ExpectedContext {
    fn from(expected: &Self) -> Self {
        expected.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_tells_what_is_missing_and_what_differs() {
        let header = EncryptionContext::new([("a", "1"), ("b", "2")]).unwrap();
        let ask = |pairs: &[(&str, &str)]| EncryptionContext::new(pairs.iter().copied()).unwrap();
        let usual = |pairs: &[(&str, &str)]| ExpectedContext::from(&ask(pairs)).check(&header);
        assert!(usual(&[("a", "1")]).unwrap().is_empty());
        assert_eq!(usual(&[("a", "2")]).unwrap_err().kind(), ErrorKind::ContextMismatch);
        assert_eq!(usual(&[("c", "3")]).unwrap(), ask(&[("c", "3")]));
        let exactly = |pairs: &[(&str, &str)]| ExpectedContext::exactly(&ask(pairs)).check(&header);
        assert_eq!(exactly(&[("a", "1")]).unwrap_err().kind(), ErrorKind::ContextMismatch);
        assert!(exactly(&[("a", "1"), ("b", "2")]).unwrap().is_empty());
        assert!(ExpectedContext::any().check(&header).unwrap().is_empty());
    }
}
