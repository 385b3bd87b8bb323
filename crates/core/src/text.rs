//! Escaping of untrusted text for terminals and log lines.

use std::fmt::{self, Write as _};

/// Displays text with the characters that [steer](steers) a terminal escaped: `\n`, `\u{202e}`. Existing escapes are
/// not escaped again.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(steers) {
            match piece.char_indices().next_back() {
                Some((at, last)) if steers(last) => {
                    f.write_str(piece.get(..at).unwrap_or_default())?;
                    last.escape_debug().try_for_each(|c| f.write_char(c))?;
                }
                _ => f.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// Returns whether a character controls how text is displayed rather than being visible itself: control characters,
/// line breaks, marks that change the direction of the text, and characters without width.
///
/// Source: the Unicode Character Database, general categories Cc, Zl and Zp, and of Cf all but the signs of single
/// scripts.
#[must_use]
pub fn steers(c: char) -> bool {
    // Most text is, and audit lines are held against this character by character.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    let invisible = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}');
    invisible || c.is_control()
}

/// Returns the first `longest` characters of `text`, [escaped](Escaped).
#[must_use]
pub fn escaped_up_to(text: &str, longest: usize) -> String {
    Escaped(first_chars(text, longest)).to_string()
}

/// Returns `text` in quotes, cut to a length that fits an error message, with characters that [steer](steers) or cannot
/// be printed escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 120;
    let shown = first_chars(text, LONGEST);
    // The standard library escapes quotes as well, and more characters than `steers` names.
    if shown.len() < text.len() { format!("{shown:?}...") } else { format!("{shown:?}") }
}

fn first_chars(text: &str, count: usize) -> &str {
    let end = text.char_indices().nth(count).map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_is_shown() {
        let all = (char::MIN..=char::MAX).filter(|c| steers(*c));
        let text: String = all.flat_map(|c| ['a', c]).collect();
        for shown in [Escaped(&text).to_string(), text.chars().map(|c| quoted(&c.to_string())).collect()] {
            assert!(!shown.contains(steers), "{shown:?}");
        }
        // Some of each kind: escape, C1, right-to-left override, isolates, line separator, zero width, tags.
        for c in ['\x1b', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{2028}', '\u{200b}', '\u{feff}', '\u{e0041}']
        {
            assert!(steers(c), "{c:?}");
        }
        assert_eq!(Escaped("a\x1b[31m\u{202e}\n").to_string(), "a\\u{1b}[31m\\u{202e}\\n");
    }

    #[test]
    fn what_is_to_be_read_stays_as_it_is() {
        for text in
            ["", "it's a \"quote\" in C:\\path", "Schlüssel, ключ, 鍵, चाबी, مفتاح", "e\u{301}", "🔑", "\\u{1b}"]
        {
            assert_eq!(Escaped(text).to_string(), text);
        }
    }

    #[test]
    fn quoted_text_has_a_bound() {
        assert_eq!(quoted("a\x1b[31m\u{202e}\"\n"), "\"a\\u{1b}[31m\\u{202e}\\\"\\n\"");
        assert_eq!(quoted(&"x".repeat(120)).len(), 122);
        assert_eq!(quoted(&"鍵".repeat(10_000)), format!("\"{}\"...", "鍵".repeat(120)));
    }
}
