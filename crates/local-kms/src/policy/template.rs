//! Texts with policy variables, such as `${aws:username}`.
//!
//! A variable has the value of a key of conditions in the request, or a default: `${aws:PrincipalTag/team, 'none'}`.
//! Wildcards in that value are not wildcards of the policy. `${*}`, `${?}` and `${$}` are the characters themselves.
//!
//! Source: IAM User Guide, "IAM policy elements: Variables and tags".

use manila_core::internal::quoted;

use super::asked::Asked;
use super::key::{Key, Map};
use super::memory_of;
use super::pattern::{Token, tokens};

/// A text with at least one variable or escaped character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// May have wildcards.
    Text(String),
    Char(char),
    Variable {
        key: Key,
        default: Option<String>,
    },
}

impl Template {
    /// Parses a text; `None` if there is no `${` in it.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let unclosed = || format!("in {}, a policy variable does not end: close it with }}", quoted(text));
            let (variable, after) = after.split_once('}').ok_or_else(unclosed)?;
            pieces.push(Piece::parse(variable).map_err(|why| format!("in {}, {why}", quoted(text)))?);
            rest = after;
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Some(Self(pieces)))
    }

    /// Returns the text with its wildcards for a request, unless a variable in it has no value.
    pub(super) fn tokens(&self, asked: &Asked<'_>) -> Option<Vec<Token>> {
        let mut all = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => all.extend(tokens(text)),
                Piece::Char(c) => all.push(Token::Char(*c)),
                Piece::Variable { key, default } => {
                    let value = asked.variable(key);
                    let value = value.as_deref().filter(|value| !value.is_empty()).or(default.as_deref())?;
                    all.extend(value.chars().map(Token::Char));
                }
            }
        }
        Some(all)
    }

    /// Returns the text for a request, in which no character is a wildcard, unless a variable in it has no value.
    pub(super) fn text(&self, asked: &Asked<'_>) -> Option<String> {
        let char = |token| match token {
            Token::Any => '*',
            Token::One => '?',
            Token::Char(c) => c,
        };
        self.tokens(asked).map(|tokens| tokens.into_iter().map(char).collect())
    }

    /// Returns the memory that the template takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        memory_of(&self.0, |piece| match piece {
            Piece::Text(text) => text.capacity(),
            Piece::Char(_) => 0,
            Piece::Variable { key, default } => {
                key.memory().saturating_add(default.as_ref().map_or(0, String::capacity))
            }
        })
    }
}

impl Piece {
    fn parse(variable: &str) -> Result<Self, String> {
        if let "*" | "?" | "$" = variable {
            return Ok(Self::Char(variable.chars().next().unwrap_or_default()));
        }
        let (name, default) = match variable.split_once(',') {
            None => (variable.trim(), None),
            Some((name, default)) => {
                let inner = default.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let default = inner.ok_or("a default value is not in single quotes")?;
                (name.trim(), Some(default.to_owned()))
            }
        };
        let key = Key::parse(name)?;
        if key.is_multivalued() {
            return Err(format!("{} has many values, so it cannot be a variable", quoted(name)));
        }
        // Keys of the context that differ in case would make it ambiguous.
        if matches!(key, Key::Member { map: Map::EncryptionContext, .. }) {
            return Err(format!("{} is not implemented as a variable", quoted(name)));
        }
        Ok(Self::Variable { key, default })
    }
}
