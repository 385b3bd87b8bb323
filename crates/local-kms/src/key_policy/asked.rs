//! A request as the statements of a policy see it: values that many of them need are computed once.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::AccessRequest;
use super::principal::Identity;

/// A request, and the values that conditions compare.
pub(super) struct Asked<'a> {
    pub(super) caller: Identity,
    /// In lower case.
    pub(super) action: String,
    pub(super) key_arn: &'a str,
    request: &'a AccessRequest<'a>,
    principal_arn: OnceCell<String>,
    keys: OnceCell<Vec<&'a str>>,
    /// The pairs of the encryption context, by their keys in [folded](fold) letters.
    pairs: OnceCell<BTreeMap<String, Vec<(&'a str, &'a str)>>>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(caller: Identity, request: &'a AccessRequest<'a>) -> Self {
        Self {
            caller,
            action: request.action.to_ascii_lowercase(),
            key_arn: request.key_arn,
            request,
            principal_arn: OnceCell::new(),
            keys: OnceCell::new(),
            pairs: OnceCell::new(),
        }
    }

    /// Returns the value of `aws:PrincipalArn`.
    pub(super) fn principal_arn(&self) -> &str {
        self.principal_arn.get_or_init(|| self.caller.principal_arn())
    }

    /// Returns the keys of the encryption context.
    pub(super) fn keys(&self) -> &[&'a str] {
        self.keys.get_or_init(|| self.context().map(|(key, _)| key).collect())
    }

    /// Returns the pairs of the encryption context whose folded keys are equal to `folded`.
    pub(super) fn pairs(&self, folded: &str) -> &[(&'a str, &'a str)] {
        let pairs = self.pairs.get_or_init(|| {
            let mut pairs = BTreeMap::<_, Vec<_>>::new();
            self.context().for_each(|(key, value)| pairs.entry(fold(key)).or_default().push((key, value)));
            pairs
        });
        pairs.get(folded).map_or(&[], Vec::as_slice)
    }

    fn context(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.request.encryption_context.into_iter().flatten()
    }
}

/// Folds the case of `text` in the widest sense: texts that any case rule treats as equal fold to the same text.
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_in_nothing_but_case_fold_to_the_same() {
        let alike = [
            ["Key", "kEY", "\u{212a}ey"],
            ["\u{3a3}", "\u{3c3}", "\u{3c2}"],
            ["\u{c4}", "\u{e4}", "\u{c4}"],
            ["s", "\u{17f}", "S"],
            ["\u{df}", "\u{1e9e}", "ss"],
        ];
        for [one, two, three] in alike {
            assert!(fold(one) == fold(two) && fold(two) == fold(three), "{one} {two} {three}");
        }
        assert_ne!(fold("a"), fold("\u{e4}"));
    }
}
