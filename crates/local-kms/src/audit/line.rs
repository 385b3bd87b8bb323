//! A line of an audit log: its form, and the MAC that authenticates it.
//!
//! A line is a JSON object with fields in a fixed order: numbers first, and last the MAC of the line before it and its
//! own MAC, so everything that is needed to follow a log is found without parsing JSON. The MAC covers the store's
//! anchor and the exact bytes of the line before `,"mac":`.

use std::io::{self, BufRead, Read};

use manila_core::internal::crypto::{MacHash, equal, hex, mac};
use manila_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::audit::commits::{CommitFields, Commits, split_member, split_number};
use crate::audit::details::{DetailsJson, shown};
use crate::audit::json::{ContextJson, Plain, rfc3339};
use crate::audit::proof::Proof;
use crate::audit::{AuditFaultKind, Event, Head, LineKey, MAC_LEN};

/// The maximum length of a line, in bytes. The largest encryption context takes 384 KiB if each of its bytes is
/// escaped.
pub(super) const MAX_LEN: usize = 1 << 20;

const START: &[u8] = b"{\"seq\":";
const EPOCH: &[u8] = b",\"epoch\":";
const AT: &[u8] = b",\"at\":";
const AFTER: &[u8] = b",\"after\":";
const SINCE: &[u8] = b",\"since\":";
const PREV: &[u8] = b",\"prev\":\"";
const MAC: &[u8] = b",\"mac\":\"";
const HEX_LEN: usize = 2 * MAC_LEN;

const ANCHOR_PURPOSE: &[u8] = b"manila local-kms audit log 2";

/// The fields of a line except its MAC, in order.
#[derive(Serialize)]
struct Fields<'a> {
    seq: u64,
    epoch: u64,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    #[serde(flatten)]
    commits: CommitFields,
    time: String,
    principal: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<ContextJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<DetailsJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<DetailsJson<'a>>,
    outcome: &'a str,
    prev: String,
}

/// A position in a log: the last line before it, and the root key under which that line was written.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) head: Head,
    pub(super) epoch: u64,
}

/// The keys and the anchor for the MACs of one store's lines.
pub(super) struct Macs<'a> {
    keys: &'a [LineKey],
    /// The anchor of the store, which is the MAC before the first line and part of the input of each MAC.
    anchor: [u8; MAC_LEN],
}

impl<'a> Macs<'a> {
    pub(super) fn new(keys: &'a [LineKey], store_id: &[u8]) -> Result<Self> {
        Ok(Self { keys, anchor: hmac(store_id, &[ANCHOR_PURPOSE])? })
    }

    /// Returns the key for new lines.
    pub(super) fn newest(&self) -> Result<&'a LineKey> {
        let none = || Error::new(ErrorKind::Internal, "there is no key for the audit log");
        self.keys.iter().max_by_key(|key| key.epoch).ok_or_else(none)
    }

    /// Returns the position in a log without lines.
    pub(super) fn start(&self) -> Position {
        Position { head: Head { lines: 0, mac: self.anchor }, epoch: 0 }
    }

    fn of(&self, key: &LineKey, authenticated: &[u8]) -> Result<[u8; MAC_LEN]> {
        hmac(key.secret.as_slice(), &[&self.anchor, authenticated])
    }

    /// Returns the position after a line, if its MAC is valid.
    pub(super) fn genuine(&self, line: &Line<'_>) -> Result<Option<Position>> {
        let Some(key) = self.keys.iter().find(|key| key.epoch == line.epoch) else { return Ok(None) };
        let mac = self.of(key, line.authenticated)?;
        let place = Position { head: Head { lines: line.seq, mac }, epoch: line.epoch };
        Ok(equal(hex(&mac).as_bytes(), line.mac).then_some(place))
    }
}

/// The place of a new line.
pub(super) struct Slot<'a> {
    /// The line before.
    pub(super) last: &'a Position,
    /// The offset of the line in its file, in bytes.
    pub(super) at: u64,
    /// The proof that the log gives before the line.
    pub(super) proof: Proof,
    /// In the first line of a file that continues another: the number of lines before that other file.
    pub(super) begins: Option<u64>,
}

/// Returns the line of an event, with its newline, and the position of the log after it.
///
/// Each line contains the proof that the log gave before it, under its MAC, so the last line of a log contains all that
/// the log proves. It also contains its own offset, so a line that was repeated after the end is recognised without the
/// others.
pub(super) fn write(
    event: &Event<'_>,
    keys_only: bool,
    slot: &Slot<'_>,
    macs: &Macs<'_>,
) -> Result<(Vec<u8>, Position)> {
    let failed = |detail: &'static str| Error::new(ErrorKind::AuditFailed, detail);
    let key = macs.newest()?;
    let before = &slot.last.head;
    let seq = before.lines.checked_add(1).ok_or_else(|| failed("the audit log has run out of line numbers"))?;
    let fields = Fields {
        seq,
        epoch: key.epoch,
        at: slot.at,
        after: slot.begins.map(|_| before.lines),
        since: slot.begins,
        commits: CommitFields::new(&event.commits, &slot.proof),
        time: rfc3339(event.time),
        principal: &event.principal,
        operation: &event.operation,
        key: event.key_arn.as_deref(),
        source: event.source_arn.as_deref(),
        context: event.encryption_context.map(|context| ContextJson { context, keys_only }),
        request: event.request.as_deref().and_then(|request| shown(request, keys_only)),
        response: shown(&event.response, keys_only),
        outcome: &event.outcome,
        prev: hex(&before.mac),
    };
    let mut line = Vec::new();
    let written = fields.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Plain));
    written.map_err(|_| failed("an audit event cannot be written as JSON"))?;
    line.pop(); // the brace: one field is to come
    let mac = macs.of(key, &line)?;
    line.extend([MAC, hex(&mac).as_bytes(), b"\"}"].concat());
    if line.len() > MAX_LEN {
        return Err(failed("an audit event is too long for a line"));
    }
    line.push(b'\n');
    Ok((line, Position { head: Head { lines: seq, mac }, epoch: key.epoch }))
}

/// A line as read, which must not be trusted before [`Macs::genuine`] has verified it.
pub(super) struct Line<'a> {
    pub(super) seq: u64,
    pub(super) epoch: u64,
    /// The offset at which the line was written in its file, in bytes.
    pub(super) at: u64,
    /// The number of lines in earlier files, if this line begins a file.
    pub(super) after: Option<u64>,
    /// Likewise, the number of lines before the file that this one continues.
    pub(super) since: Option<u64>,
    pub(super) commits: Commits,
    /// The proof that the log gave before this line.
    pub(super) before: Proof,
    pub(super) prev: &'a [u8],
    authenticated: &'a [u8],
    mac: &'a [u8],
}

impl<'a> Line<'a> {
    /// Splits a line into its parts, or returns its fault.
    ///
    /// Quotes in JSON strings are escaped, so the patterns of start and end cannot occur inside a string.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, AuditFaultKind> {
        if bytes.len() > MAX_LEN {
            return Err(AuditFaultKind::Malformed);
        }
        match (parse_start(bytes), parse_end(bytes)) {
            (Some(Numbers { seq, epoch, at, after, since, commits, before }), Some((authenticated, prev, mac))) => {
                Ok(Self { seq, epoch, at, after, since, commits, before, prev, authenticated, mac })
            }
            (None, Some(_)) => Err(AuditFaultKind::Changed),
            // A crash leaves part of a line, which is never empty.
            _ if bytes.is_empty() => Err(AuditFaultKind::Malformed),
            (_, None) if bytes.starts_with(START) || START.starts_with(bytes) => Err(AuditFaultKind::Torn),
            (_, None) => Err(AuditFaultKind::Malformed),
        }
    }

    /// Returns the MAC of the line before.
    pub(super) fn prev_mac(&self) -> Option<[u8; MAC_LEN]> {
        let mut mac = [0; MAC_LEN];
        for (byte, digits) in mac.iter_mut().zip(self.prev.as_chunks::<2>().0) {
            *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(mac)
    }

    /// Returns whether this is the line of this end of a log.
    pub(super) fn is(&self, head: &Head) -> bool {
        self.seq == head.lines && self.mac == hex(&head.mac).as_bytes()
    }

    /// Returns whether the MAC of the previous line, as this line contains it, is that of `last`.
    pub(super) fn follows(&self, last: &Head) -> bool {
        self.prev == hex(&last.mac).as_bytes()
    }
}

/// The numbers at the beginning of a line.
struct Numbers {
    seq: u64,
    epoch: u64,
    at: u64,
    after: Option<u64>,
    since: Option<u64>,
    commits: Commits,
    before: Proof,
}

fn parse_start(bytes: &[u8]) -> Option<Numbers> {
    let (seq, rest) = split_number(bytes.strip_prefix(START)?)?;
    let (epoch, rest) = split_number(rest.strip_prefix(EPOCH)?)?;
    let (at, rest) = split_number(rest.strip_prefix(AT)?)?;
    let (after, rest) = split_member(rest, AFTER)?;
    let (since, rest) = split_member(rest, SINCE)?;
    let (commits, before) = CommitFields::parse(rest)?.0.read();
    Some(Numbers { seq, epoch, at, after, since, commits, before })
}

/// Returns the bytes that the MAC covers, the MAC of the line before, and the MAC.
fn parse_end(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (rest, mac) = bytes.strip_suffix(b"\"}")?.split_last_chunk::<HEX_LEN>()?;
    let authenticated = rest.strip_suffix(MAC)?;
    let (rest, prev) = authenticated.strip_suffix(b"\"")?.split_last_chunk::<HEX_LEN>()?;
    rest.strip_suffix(PREV)?;
    Some((authenticated, prev, mac))
}

/// A reader of lines that takes bounded memory for any file.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    /// The number of lines that have been read.
    pub(super) number: u64,
    /// The offset of the next line from the beginning of reading, in bytes.
    pub(super) next: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), number: 0, next: 0 }
    }

    /// Returns the next line without its newline. If it is too long, returns only enough to show this.
    pub(super) fn read(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let mut bounded = self.reader.by_ref().take(MAX_LEN as u64 + 1);
        let mut len = bounded.read_until(b'\n', &mut self.line)?;
        if len == 0 {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        if self.line.pop_if(|byte| *byte == b'\n').is_none() && self.line.len() > MAX_LEN {
            len = len.saturating_add(self.reader.skip_until(b'\n')?);
        }
        self.next = self.next.saturating_add(len as u64);
        Ok(Some(&self.line))
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; MAC_LEN]> {
    let wrong = |_| Error::new(ErrorKind::Internal, "HMAC-SHA-256 has another length");
    mac(MacHash::Sha256, key, parts)?.try_into().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::{STORE, event, keys, tenant};
    use manila_core::EncryptionContext;
    use manila_core::internal::text::steers;

    fn first(event: &Event<'_>, keys_only: bool) -> Result<Vec<u8>> {
        let keys = keys([1]);
        let macs = Macs::new(&keys, STORE).unwrap();
        write(event, keys_only, &Slot { last: &macs.start(), at: 0, proof: Proof::default(), begins: None }, &macs)
            .map(|(line, _)| line)
    }

    #[test]
    fn a_line_is_what_another_implementation_makes_of_it() {
        // Both MACs were computed with Python's hmac module.
        let expected = concat!(
            r#"{"seq":1,"epoch":1,"at":0,"time":"2026-11-22T04:36:41.123Z","principal":"arn:aws:iam::000000000000:root","#,
            r#""operation":"GenerateDataKey","key":"arn:aws:kms:local:000000000000:key/1","#,
            r#""context":{"tenant":"acme"},"outcome":"ok","#,
            r#""prev":"8843deeaa88613b65593579fea894f31012a28142fcb4514418e606114c9f11c","#,
            r#""mac":"a8b524416c0f7ad84142b2b972462b57c25cd561573e3f764f4e141e715b23e7"}"#,
            "\n"
        );
        let line = first(&event("GenerateDataKey", &tenant()), false).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn text_of_any_kind_stays_in_its_field_and_on_its_line() {
        let hostile = "a\n\r\u{0}\u{1b}[31m\u{7f}\u{9b}2J\u{85}\"},\"seq\":9,\"prev\":\"\\ \u{202e}\u{2066}\u{2028}\u{e0041}\u{10ffff} \u{e9}";
        let context = EncryptionContext::new([(hostile, hostile), ("\u{1f511}", "")]).unwrap();
        let event = Event { principal: hostile.into(), outcome: hostile.to_owned(), ..event(hostile, &context) };
        let line = first(&event, false).unwrap();
        let (newline, line) = line.split_last().unwrap();
        assert_eq!(*newline, b'\n');
        assert!(!str::from_utf8(line).unwrap().contains(steers));
        assert!(Line::parse(line).is_ok());
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        for field in [&value["principal"], &value["operation"], &value["outcome"], &value["context"][hostile]] {
            assert_eq!(field, hostile);
        }
        assert_eq!(value["context"]["\u{1f511}"], "");
        assert_eq!(value.as_object().unwrap().len(), 11);
    }

    #[test]
    fn values_can_be_left_out_and_so_can_what_is_not_known() {
        let context = EncryptionContext::new([("tenant", "acme"), ("a", "secretive")]).unwrap();
        let line = String::from_utf8(first(&event("Decrypt", &context), true).unwrap()).unwrap();
        assert!(line.contains(r#""context":["a","tenant"],"outcome""#), "{line}");
        let unknown = Event { key_arn: None, encryption_context: None, ..event("Decrypt", &context) };
        let line = String::from_utf8(first(&unknown, false).unwrap()).unwrap();
        assert!(line.contains(r#""operation":"Decrypt","outcome":"ok","prev""#), "{line}");
    }

    #[test]
    fn the_largest_context_fits_and_longer_lines_are_refused() {
        let context = EncryptionContext::new([("k", "\u{1}".repeat(65_528))]).unwrap();
        assert!(Line::parse(first(&event("Encrypt", &context), false).unwrap().trim_ascii_end()).is_ok());
        let of = |len: usize| {
            let operation = "x".repeat(len);
            first(&event(&operation, &EncryptionContext::empty()), false)
        };
        let others = of(0).unwrap().len() - 1;
        let longest = of(MAX_LEN - others).unwrap();
        assert!(Line::parse(longest.trim_ascii_end()).is_ok());
        assert_eq!(of(MAX_LEN - others + 1).unwrap_err().kind(), ErrorKind::AuditFailed);
    }

    #[test]
    fn what_is_no_line_says_in_which_way() {
        let line = first(&event("Decrypt", &tenant()), false).unwrap();
        let line = line.trim_ascii_end();
        let kind = |bytes: &[u8]| Line::parse(bytes).err();
        assert_eq!(kind(line), None);
        for cut in 1..line.len() {
            assert_eq!(kind(&line[..cut]), Some(AuditFaultKind::Torn), "{cut}");
        }
        assert_eq!(kind(&line[1..]), Some(AuditFaultKind::Changed));
        assert_eq!(kind(b""), Some(AuditFaultKind::Malformed));
        assert_eq!(kind(b"hello"), Some(AuditFaultKind::Malformed));
        assert_eq!(kind(format!("{{\"seq\":{}", "1".repeat(MAX_LEN)).as_bytes()), Some(AuditFaultKind::Malformed));
    }

    #[test]
    fn lines_are_read_in_bounded_memory() {
        let long = "x".repeat(3 * MAX_LEN) + "\nshort\n\nlast";
        let mut lines = Lines::new(long.as_bytes());
        assert_eq!(lines.read().unwrap().unwrap().len(), MAX_LEN + 1);
        assert_eq!(lines.read().unwrap().unwrap(), b"short");
        assert_eq!(lines.read().unwrap().unwrap(), b"");
        assert_eq!(lines.read().unwrap().unwrap(), b"last");
        assert_eq!(lines.read().unwrap(), None);
        assert!(lines.line.capacity() <= 4 * MAX_LEN);
        let fits = "x".repeat(MAX_LEN) + "\nshort";
        let mut lines = Lines::new(fits.as_bytes());
        assert_eq!(lines.read().unwrap().unwrap().len(), MAX_LEN);
        assert_eq!(lines.read().unwrap().unwrap(), b"short");
    }
}
