//! Encryption contexts and times in lines, and JSON without terminal control characters.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manila_core::EncryptionContext;
use manila_core::internal::text::steers;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

/// An encryption context as JSON: an object of its pairs, or a list of its keys.
pub(super) struct ContextJson<'a> {
    pub(super) context: &'a EncryptionContext,
    pub(super) keys_only: bool,
}

impl Serialize for ContextJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.keys_only {
            false => serializer.collect_map(self.context),
            true => serializer.collect_seq(self.context.iter().map(|(key, _)| key)),
        }
    }
}

pub(super) fn context_json(context: &EncryptionContext, keys_only: bool) -> Option<String> {
    plain_json(&ContextJson { context, keys_only })
}

/// Returns a value as JSON, with terminal control characters escaped.
pub(super) fn plain_json(value: &impl Serialize) -> Option<String> {
    let mut json = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Plain)).ok()?;
    String::from_utf8(json).ok()
}

/// Formats a time in UTC, to the millisecond. A wrong clock may show a time that RFC 3339 cannot express; the nearest
/// that it can is used.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_millis(253_402_300_799_999);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    humantime::format_rfc3339_millis(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)).to_string()
}

/// A JSON formatter that escapes every character that could control a terminal or an editor.
pub(super) struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // Most fragments are, and this looks at many bytes at a time.
        let is_plain = fragment.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if is_plain || !fragment.contains(steers) {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            let mut buffer = [0; 2];
            match steers(c) {
                true => c.encode_utf16(&mut buffer).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
                false => write!(writer, "{c}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_clock_can_be_written() {
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(1 << 40)), "9999-12-31T23:59:59.999Z");
    }
}
