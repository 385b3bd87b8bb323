//! Wildcards: `*` matches any number of characters, including none, and `?` matches exactly one.

use std::collections::BTreeMap;

use manila_core::internal::quoted;

use super::memory_of;

/// The maximum length of a part of a pattern with a `?` between two `*`, in characters: a longer one takes long to
/// find.
const MAX_FLOATING_LEN: usize = 64;
/// The bits of a word of the search for such a part.
const WORD: usize = u64::BITS as usize;

/// A character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    Char(char),
}

/// Returns the tokens of a text with wildcards.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token> {
    text.chars().map(|c| match c {
        '*' => Token::Any,
        '?' => Token::One,
        c => Token::Char(c),
    })
}

/// A text with wildcards.
///
/// Matching takes time in proportion to the lengths of pattern and text, because no part of the text is searched twice
/// for one part of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    first: Part,
    /// The parts after each `*`, the last of which ends the text.
    others: Vec<Part>,
}

/// A part of a pattern without `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Matches itself.
    Text(String),
    /// `None` matches any character.
    Chars(Vec<Option<char>>),
}

impl Pattern {
    /// Accepts a pattern, unless matching it would take long: the error says why.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let pattern = Self::of_tokens(tokens(text));
        let is_long = |part: &Part| matches!(part, Part::Chars(chars) if chars.len() > MAX_FLOATING_LEN);
        let floating = pattern.others.split_last().map_or(&[][..], |(_, floating)| floating);
        if floating.iter().any(is_long) {
            return Err(format!(
                "{} has a ? in a part of over {MAX_FLOATING_LEN} characters between two *, which is not implemented",
                quoted(text)
            ));
        }
        Ok(pattern)
    }

    pub(super) fn of_tokens(tokens: impl IntoIterator<Item = Token>) -> Self {
        let mut parts = Vec::new();
        let mut chars = Vec::new();
        for token in tokens {
            match token {
                Token::Any => parts.push(Part::of(std::mem::take(&mut chars))),
                Token::One => chars.push(None),
                Token::Char(c) => chars.push(Some(c)),
            }
        }
        let mut parts = parts.into_iter().chain([Part::of(chars)]);
        let first = parts.next().unwrap_or(Part::Text(String::new()));
        Self { first, others: parts.collect() }
    }

    /// Returns whether all of `text` matches the pattern.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some(rest) = self.first.without_start(text) else { return false };
        let Some((last, middle)) = self.others.split_last() else { return rest.is_empty() };
        let Some(mut left) = last.without_end(rest) else { return false };
        // The first match is the best one: it leaves the most text for the following parts.
        middle.iter().all(|part| match part.behind_first(left) {
            Some(behind) => {
                left = behind;
                true
            }
            None => false,
        })
    }

    /// Returns the memory that the pattern takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.first.memory().saturating_add(memory_of(&self.others, Part::memory))
    }
}

impl Part {
    fn of(chars: Vec<Option<char>>) -> Self {
        match chars.iter().copied().collect::<Option<String>>() {
            Some(text) => Self::Text(text),
            None => Self::Chars(chars),
        }
    }

    /// Returns the text after this part, if it begins with it.
    fn without_start<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(part) => text.strip_prefix(part.as_str()),
            Self::Chars(part) => {
                let mut text = text.chars();
                part.iter().all(|wanted| text.next().is_some_and(|found| is(*wanted, found))).then_some(text.as_str())
            }
        }
    }

    /// Returns the text before this part, if it ends with it.
    fn without_end<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(part) => text.strip_suffix(part.as_str()),
            Self::Chars(part) => {
                let mut text = text.chars();
                let mut wanted = part.iter().rev();
                let ends = wanted.all(|wanted| text.next_back().is_some_and(|found| is(*wanted, found)));
                ends.then_some(text.as_str())
            }
        }
    }

    /// Returns the text after the first match of this part.
    fn behind_first<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(part) => text.split_once(part.as_str()).map(|(_, behind)| behind),
            Self::Chars(part) => behind_first_of(part, text),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Chars(chars) => chars.capacity().saturating_mul(size_of::<Option<char>>()),
        }
    }
}

fn is(wanted: Option<char>, found: char) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

/// Returns the text after the first match of a part with `?`.
fn behind_first_of<'a>(part: &[Option<char>], text: &'a str) -> Option<&'a str> {
    // One bit for each character of the part: `all` has the positions of `?`, `fitting` those of each character, and
    // `reached` the ends of partial matches.
    let words = part.len().div_ceil(WORD);
    let (mut all, mut fitting) = (vec![0_u64; words], BTreeMap::<char, Vec<u64>>::new());
    let mut last = (0, 0_u64);
    for (number, wanted) in part.iter().enumerate() {
        let bit = 1_u64 << (number % WORD);
        last = (number / WORD, bit);
        let bits = match wanted {
            None => &mut all,
            Some(wanted) => fitting.entry(*wanted).or_insert_with(|| vec![0; words]),
        };
        *bits.get_mut(number / WORD)? |= bit;
    }
    let (mut text, mut reached) = (text.chars(), vec![0_u64; words]);
    while let Some(found) = text.next() {
        let fits = fitting.get(&found);
        // A match can begin at each character.
        let mut carried = 1;
        for (number, word) in reached.iter_mut().enumerate() {
            let shifted = (*word << 1) | carried;
            carried = *word >> (WORD - 1);
            let fits = fits.and_then(|fits| fits.get(number)).copied().unwrap_or(0);
            *word = shifted & (all.get(number)? | fits);
        }
        if reached.get(last.0)? & last.1 != 0 {
            return Some(text.as_str());
        }
    }
    None
}

/// Returns whether `text` contains a wildcard.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
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
            assert!(Pattern::parse(&long).unwrap_err().contains("over 64 characters"));
        }
        for good in [format!("*{}?*", of(63)), format!("?{}*{}?", of(99), of(99)), format!("*{}*", of(99))] {
            assert!(Pattern::parse(&good).is_ok());
        }
        let longest = format!("*{}?*", of(63));
        assert!(matches(&longest, &format!("b{}c", of(63))) && !matches(&longest, &of(63)));
        // A variable in a pattern can make such a part, which is searched for in the same way.
        for len in [63, 64, 65, 127, 128, 200] {
            let text = format!("*{}?b*", of(len));
            let built = Pattern::of_tokens(tokens(&text));
            assert!(
                built.matches(&format!("ab{}cbx", of(len))) && built.matches(&format!("{}b", of(len + 1))),
                "{len}"
            );
            assert!(
                !built.matches(&format!("{}bb", of(len - 1))) && !built.matches(&format!("{}cc", of(len))),
                "{len}"
            );
        }
    }

    #[test]
    fn a_token_that_is_not_a_wildcard_matches_itself_alone() {
        let pattern = Pattern::of_tokens([Token::Char('*'), Token::Any, Token::Char('?'), Token::One]);
        for (text, expected) in [("*?x", true), ("*-?x", true), ("a?x", false), ("*x", false), ("*-xx", false)] {
            assert_eq!(pattern.matches(text), expected, "{text}");
        }
    }
}
