//! [`ExpectedContext`]: the encryption context that a reader expects.

use manila_core::internal::{PUBLIC_KEY, quoted};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

/// The encryption context that a reader expects of a message.
///
/// A `&EncryptionContext` converts into the usual expectation: these pairs must be there, and others may be. If a pair
/// has another value in the header, decryption fails before any key is requested. A pair that is not in the header is
/// authenticated all the same (the specification calls it the reproduced encryption context): the message decrypts if
/// it was encrypted with that pair but without storing it, and otherwise fails.
///
/// To expect nothing has to be said with [`any`](Self::any): a context without pairs, such as that of a request whose
/// tenant is missing, is refused as an expectation, because it would accept every message.
///
/// ```
/// use manila::{Client, EncryptionContext, ErrorKind, ExpectedContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
///
/// let context = EncryptionContext::new([("tenant", "acme"), ("kind", "invoice")])?;
/// let message = client.encrypt(b"hello", &context)?;
///
/// let tenant = EncryptionContext::new([("tenant", "acme")])?;
/// assert!(client.decrypt(&message, &tenant).is_ok());
/// assert!(client.decrypt(&message, ExpectedContext::exactly(&tenant)).is_err());
/// assert!(client.decrypt(&message, ExpectedContext::exactly(&context)).is_ok());
/// assert!(client.decrypt(&message, ExpectedContext::any()).is_ok());
///
/// let error = client.decrypt(&message, &EncryptionContext::empty()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExpectedContext {
    pairs: EncryptionContext,
    rule: Rule,
}

/// The rule for pairs of a message that are not among those expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    /// The caller said that nothing is expected.
    Any,
    /// Others may be there. There must be an expected one.
    Includes,
    /// Others must not be there.
    Exactly,
}

impl ExpectedContext {
    /// Expects nothing. The caller checks the context of the decrypted message.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?)?;
    /// let decrypted = client.decrypt(&message, ExpectedContext::any())?;
    /// let tenant = decrypted.header.encryption_context().get("tenant");
    /// assert!(tenant.is_some_and(|tenant| ["acme", "globex"].contains(&tenant)));
    /// # Ok::<(), manila::Error>(())
    /// ```
    #[must_use]
    pub fn any() -> Self {
        Self { pairs: EncryptionContext::empty(), rule: Rule::Any }
    }

    /// Expects these pairs and no others, except those that the format adds. Without pairs, the message must have none
    /// either.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ErrorKind, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme"), ("draft", "yes")])?)?;
    /// let expected = ExpectedContext::exactly(&EncryptionContext::new([("tenant", "acme")])?);
    /// assert_eq!(client.decrypt(&message, expected).unwrap_err().kind(), ErrorKind::ContextMismatch);
    /// # Ok::<(), manila::Error>(())
    /// ```
    #[must_use]
    pub fn exactly(pairs: &EncryptionContext) -> Self {
        Self { pairs: pairs.clone(), rule: Rule::Exactly }
    }

    /// Returns the pairs that must be there.
    #[must_use]
    pub fn pairs(&self) -> &EncryptionContext {
        &self.pairs
    }

    /// Returns whether other pairs are not allowed.
    #[cfg(feature = "cache")]
    pub(crate) fn is_exact(&self) -> bool {
        self.rule == Rule::Exactly
    }

    /// Expects the pairs of a context that was written, of which there may be none.
    #[cfg(feature = "fs")]
    pub(crate) fn of_written(pairs: &EncryptionContext) -> Self {
        if pairs.is_empty() { Self::any() } else { pairs.into() }
    }

    /// Expects another pair too.
    #[cfg(feature = "fs")]
    pub(crate) fn including(&self, key: &str, value: &str) -> Result<Self> {
        self.clone().stated()?;
        let pairs = EncryptionContext::new(self.pairs.iter().chain([(key, value)]))?;
        let rule = if self.rule == Rule::Exactly { Rule::Exactly } else { Rule::Includes };
        Ok(Self { pairs, rule })
    }

    /// Refuses a context without pairs that was passed as an expectation.
    pub(crate) fn stated(self) -> Result<StatedExpectation> {
        if self.rule == Rule::Includes && self.pairs.is_empty() {
            let detail = "an empty encryption context as the expected one would accept every message: give the pairs \
                          that the message must have, or ExpectedContext::any() to accept every context";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        Ok(StatedExpectation(self))
    }

    /// Compares the context of a header with this expectation.
    ///
    /// Returns the expected pairs that the header does not have, which must be authenticated with it.
    pub(crate) fn check(&self, header: &EncryptionContext) -> Result<EncryptionContext> {
        let mismatch = |key: &str, what: &str| {
            let detail = format!("the message's encryption context {what} {}", quoted(key));
            Err(Error::new(ErrorKind::ContextMismatch, detail))
        };
        for (key, value) in &self.pairs {
            if header.get(key).is_some_and(|found| found != value) {
                return mismatch(key, "has an unexpected value for the key");
            }
        }
        if self.rule == Rule::Exactly {
            let surplus = header.iter().find(|(key, _)| *key != PUBLIC_KEY && self.pairs.get(key).is_none());
            if let Some((key, _)) = surplus {
                return mismatch(key, "has the unexpected key");
            }
        }
        Ok(self.pairs.filtered(|key| header.get(key).is_none()))
    }
}

/// An expectation that the caller stated: a message is decrypted with no other, so that no way to decrypt can forget to
/// ask.
#[derive(Debug)]
pub(crate) struct StatedExpectation(ExpectedContext);

impl StatedExpectation {
    pub(crate) fn into_inner(self) -> ExpectedContext {
        self.0
    }
}

impl From<&EncryptionContext> for ExpectedContext {
    fn from(pairs: &EncryptionContext) -> Self {
        Self { pairs: pairs.clone(), rule: Rule::Includes }
    }
}

impl From<EncryptionContext> for ExpectedContext {
    fn from(pairs: EncryptionContext) -> Self {
        Self { pairs, rule: Rule::Includes }
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
