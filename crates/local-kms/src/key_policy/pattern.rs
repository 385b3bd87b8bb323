//! Wildcards: `*` stands for any characters, also none, `?` for exactly one.

/// Whether all of `text` matches `pattern`.
///
/// Only the last `*` is ever tried again, so this takes at most as many steps as the product of both lengths.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // What follows the last `*`, and the text that it has not swallowed yet.
    let mut retry = None;
    loop {
        let (mut pattern_rest, mut text_rest) = (pattern.clone(), text.clone());
        match (pattern_rest.next(), text_rest.next()) {
            (Some('*'), _) => {
                retry = Some((pattern_rest.clone(), text.clone()));
                pattern = pattern_rest;
            }
            (None, None) => return true,
            (Some(_), None) => return false,
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, text) = (pattern_rest, text_rest);
            }
            (_, Some(_)) => {
                let Some((after, swallowed)) = &mut retry else {
                    return false;
                };
                swallowed.next();
                (pattern, text) = (after.clone(), swallowed.clone());
            }
        }
    }
}

/// Whether there is a wildcard in `text`.
pub(super) fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether AWS would put something in the place of a part of `text`.
pub(super) fn has_variable(text: &str) -> bool {
    text.contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_pattern_full_of_stars_does_not_blow_up() {
        let pattern = format!("{}b", "*a".repeat(1000));
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }
}
