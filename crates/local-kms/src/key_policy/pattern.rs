//! Wildcards: `*` matches any number of characters, including none, and `?` matches exactly one.

use std::collections::BTreeMap;

use manila_core::internal::quoted;

/// The maximum length of a part of a pattern with a `?` between two `*`, in characters: the search uses one bit for
/// each.
const MAX_FLOATING_LEN: usize = 64;

/// A text with wildcards.
///
/// Matching takes time in proportion to the lengths of pattern and text, because no part of the text is searched twice
/// for one part of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(String);

impl Pattern {
    /// Accepts a pattern, unless matching it would take long: the error says why.
    pub(super) fn parse(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let floating =
            text.split_once('*').and_then(|(_, rest)| rest.rsplit_once('*')).map_or("", |(middle, _)| middle);
        let is_long = |part: &str| part.contains('?') && part.chars().count() > MAX_FLOATING_LEN;
        if floating.split('*').any(is_long) {
            return Err(format!(
                "{} has a ? in a part of over {MAX_FLOATING_LEN} characters between two *, which is not implemented",
                quoted(&text)
            ));
        }
        Ok(Self(text))
    }

    /// Returns whether all of `text` matches the pattern.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return without_start(text, &self.0).is_some_and(str::is_empty);
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(mut left) = without_start(text, first).and_then(|text| without_end(text, last)) else {
            return false;
        };
        // The first match is the best one: it leaves the most text for the following parts.
        middle.split('*').all(|part| match behind_first(left, part) {
            Some(behind) => {
                left = behind;
                true
            }
            None => false,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the memory that the pattern takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity()
    }
}

fn is(wanted: char, found: char) -> bool {
    wanted == '?' || wanted == found
}

/// Returns the text after `part`, if it begins with `part`.
fn without_start<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    let mut text = text.chars();
    part.chars().all(|wanted| text.next().is_some_and(|found| is(wanted, found))).then_some(text.as_str())
}

/// Returns the text before `part`, if it ends with `part`.
fn without_end<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    let mut text = text.chars();
    part.chars().rev().all(|wanted| text.next_back().is_some_and(|found| is(wanted, found))).then_some(text.as_str())
}

/// Returns the text after the first match of `part`.
fn behind_first<'a>(text: &'a str, part: &str) -> Option<&'a str> {
    if !part.contains('?') {
        return text.split_once(part).map(|(_, behind)| behind);
    }
    // One bit for each character of the part: `all` has the positions of `?`, `fitting` those of each character, and
    // `reached` the ends of partial matches.
    let (mut all, mut fitting) = (0_u64, BTreeMap::<char, u64>::new());
    let mut last = 0_u64;
    for (number, wanted) in part.chars().enumerate() {
        last = u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number))?;
        *if wanted == '?' { &mut all } else { fitting.entry(wanted).or_default() } |= last;
    }
    let (mut text, mut reached) = (text.chars(), 0_u64);
    while let Some(found) = text.next() {
        reached = ((reached << 1) | 1) & (all | fitting.get(&found).copied().unwrap_or(0));
        if reached & last != 0 {
            return Some(text.as_str());
        }
    }
    None
}

/// Returns whether `text` contains a wildcard.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Returns whether `text` contains a policy variable, which AWS would replace.
pub(super) fn has_variable(text: &str) -> bool {
    text.contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn wildcards_stand_for_whole_characters() {
        let matching = [
            ("", ""),
            ("*", ""),
            ("**", "a"),
            ("a", "a"),
            ("a*", "a"),
            ("*a", "ba"),
            ("a?c", "abc"),
            ("?", "\u{10000}"),
            ("??", "e\u{301}"),
            ("*ab", "aaab"),
            ("a*b*c", "a-b-b-c"),
            ("*b?d*", "abbcbxde"),
            ("a**?b", "axxb"),
            ("*\u{e4}?", "x\u{e4}\u{fc}"),
        ];
        for (pattern, text) in matching {
            assert!(matches(pattern, text), "{pattern:?} against {text:?}");
        }
        let other = [
            ("", "a"),
            ("a", ""),
            ("a", "A"),
            ("?", ""),
            ("?", "ab"),
            ("a*b", "a"),
            ("a*b", "abc"),
            ("*a?", "a"),
            ("a*b*c", "a-c-b"),
            ("[a]", "a"),
            ("a.c", "abc"),
            ("\\*", "*"),
        ];
        for (pattern, text) in other {
            assert!(!matches(pattern, text), "{pattern:?} against {text:?}");
        }
    }

    #[test]
    fn all_short_patterns_agree_with_a_plain_recursion() {
        fn plain(pattern: &[char], text: &[char]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                (['*', rest @ ..], _) => (0..=text.len()).any(|n| plain(rest, &text[n..])),
                (['?', rest @ ..], [_, text @ ..]) => plain(rest, text),
                ([c, rest @ ..], [found, text @ ..]) => c == found && plain(rest, text),
                _ => false,
            }
        }
        fn words(letters: &[char], longest: usize) -> Vec<String> {
            let mut words = vec![String::new()];
            for n in 0..longest {
                let shorter: Vec<_> = words.iter().filter(|word| word.len() == n).cloned().collect();
                words.extend(shorter.iter().flat_map(|word| letters.iter().map(move |c| format!("{word}{c}"))));
            }
            words
        }
        let texts = words(&['a', 'b'], 6);
        for pattern in words(&['a', 'b', '*', '?'], 5) {
            let chars: Vec<_> = pattern.chars().collect();
            for text in &texts {
                let expected = plain(&chars, &text.chars().collect::<Vec<_>>());
                assert_eq!(matches(&pattern, text), expected, "{pattern:?} against {text:?}");
            }
        }
    }

    /// Each of these would take hours if a part of the pattern were tried at every position of the text.
    #[test]
    fn no_pattern_takes_long() {
        let text = "a".repeat(1 << 20);
        let half = "a".repeat(1 << 19);
        let floating = format!("*{}?b*", "a".repeat(62)).repeat(1 << 13);
        for pattern in [format!("*{half}b*"), format!("*{half}b"), format!("{}b", "*a".repeat(1 << 18)), floating] {
            assert!(!matches(&pattern, &text));
        }
        assert!(matches(&format!("*{half}*a"), &text));
    }

    #[test]
    fn a_long_part_with_a_wildcard_between_two_is_refused() {
        let of = |len: usize| "a".repeat(len);
        for long in [format!("*{}?*", of(64)), format!("x*y*?{}*z", of(64))] {
            assert!(Pattern::parse(long).unwrap_err().contains("over 64 characters"));
        }
        for good in [format!("*{}?*", of(63)), format!("?{}*{}?", of(99), of(99)), format!("*{}*", of(99))] {
            assert!(Pattern::parse(good).is_ok());
        }
        let longest = format!("*{}?*", of(63));
        assert!(matches(&longest, &format!("b{}c", of(63))) && !matches(&longest, &of(63)));
    }
}
