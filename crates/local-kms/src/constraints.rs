//! The constraints of requests, which AWS checks before anything else, and its words for them.

use std::fmt::Write;
use std::ops::RangeInclusive;

use manila_core::Result;

use crate::error::invalid;

/// The maximum number of grant tokens of a request, and their length in bytes.
const MAX_GRANT_TOKENS: usize = 10;
const GRANT_TOKEN_LEN: RangeInclusive<usize> = 1..=8192;

/// The constraints that a request violates.
#[derive(Default)]
pub(crate) struct Constraints(Vec<String>);

impl Constraints {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Checks the length of a member, under AWS's name for it. The value is not repeated, since it may be secret.
    pub(crate) fn len(mut self, member: &str, len: usize, allowed: RangeInclusive<usize>) -> Self {
        let rule = if len < *allowed.start() {
            format!("greater than or equal to {}", allowed.start())
        } else if len > *allowed.end() {
            format!("less than or equal to {}", allowed.end())
        } else {
            return self;
        };
        self.0.push(format!("Value at '{member}' failed to satisfy constraint: Member must have length {rule}"));
        self
    }

    /// Checks a number, under AWS's name for it.
    pub(crate) fn number(mut self, member: &str, value: usize, allowed: RangeInclusive<usize>) -> Self {
        let rule = if value < *allowed.start() {
            format!("greater than or equal to {}", allowed.start())
        } else if value > *allowed.end() {
            format!("less than or equal to {}", allowed.end())
        } else {
            return self;
        };
        self.0
            .push(format!("Value '{value}' at '{member}' failed to satisfy constraint: Member must have value {rule}"));
        self
    }

    /// Checks that a member is among the names that AWS has for it.
    pub(crate) fn one_of(mut self, member: &str, value: &str, names: &[&str]) -> Self {
        if !names.contains(&value) {
            let names = names.join(", ");
            let rule = format!("Member must satisfy enum value set: [{names}]");
            self.0.push(format!("Value '{value}' at '{member}' failed to satisfy constraint: {rule}"));
        }
        self
    }

    pub(crate) fn grant_tokens(self, tokens: &[String]) -> Self {
        let mut checked = self.len("grantTokens", tokens.len(), 0..=MAX_GRANT_TOKENS);
        for (token, place) in tokens.iter().take(MAX_GRANT_TOKENS).zip(1..) {
            checked = checked.len(&format!("grantTokens.{place}.member"), token.len(), GRANT_TOKEN_LEN);
        }
        checked
    }

    /// Fails with AWS's error if a constraint is violated.
    pub(crate) fn check(self) -> Result<()> {
        let count = self.0.len();
        if count == 0 {
            return Ok(());
        }
        let mut message = format!("{count} validation error{} detected: ", if count == 1 { "" } else { "s" });
        let _ = write!(message, "{}", self.0.join("; "));
        Err(invalid("ValidationException", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(constraints: Constraints) -> Option<String> {
        let error = constraints.check().err()?;
        Some(error.kms_error()?.message().to_owned())
    }

    #[test]
    fn violations_are_told_in_the_words_of_aws() {
        let len = |len| Constraints::new().len("plaintext", len, 1..=4096);
        assert_eq!([message(len(1)), message(len(4096))], [None, None]);
        let expected = "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: \
                        Member must have length less than or equal to 4096";
        assert_eq!(message(len(4097)).as_deref(), Some(expected));
        let expected = "2 validation errors detected: Value at 'plaintext' failed to satisfy constraint: \
                        Member must have length greater than or equal to 1; \
                        Value 'c' at 'letter' failed to satisfy constraint: \
                        Member must satisfy enum value set: [a, b]";
        assert_eq!(message(len(0).one_of("letter", "c", &["a", "b"])).as_deref(), Some(expected));
    }

    #[test]
    fn a_request_has_at_most_ten_grant_tokens_none_of_them_empty() {
        let of = |tokens: &[String]| message(Constraints::new().grant_tokens(tokens));
        let token = |len| "t".repeat(len);
        assert_eq!([of(&[]), of(&vec![token(8192); 10])], [None, None]);
        assert!(of(&vec![token(1); 11]).unwrap().contains("'grantTokens'"));
        assert!(of(&[token(1), token(0)]).unwrap().contains("'grantTokens.2.member'"));
        assert!(of(&[token(8193)]).unwrap().contains("less than or equal to 8192"));
    }
}
