//! Decrypts a message in every way that the crate offers, and compares the results.

use std::io::{self, Read};
use std::ops::Range;

use manila_core::{Error, ErrorKind, Result};

use crate::client::Client;
use crate::client::decryption::Decrypted;
use crate::expected_context::ExpectedContext;
use crate::message::header::{ContentType, Header, UnverifiedHeader};

/// Decrypts a message as a whole, in place, in batches, as a stream in pieces of 1, 7, 64 and 1000 bytes in turn, by
/// reading at offsets, and from frames fetched one, two and three at a time. With the feature `tokio`, by asynchronous
/// reads at offsets too.
///
/// ```
/// use manila::testing::{FixedKeyKeyring, open_every_way};
/// use manila::{Client, EncryptionContext, ExpectedContext};
///
/// let client = Client::new(FixedKeyKeyring::new(&[7; 32]));
/// let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
/// let decrypted = open_every_way(&client, &message, &ExpectedContext::any())?;
/// assert_eq!(decrypted.plaintext, b"hello");
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # Errors
/// The error that all ways return; [`ErrorKind::Internal`] if they return different results.
pub fn open_every_way(client: &Client, message: &[u8], expected: &ExpectedContext) -> Result<Decrypted> {
    let whole = client.decrypt(message, expected);
    in_place_agrees(client, message, expected, &whole)?;
    stream_agrees(client, message, expected, &whole)?;
    batch_agrees(client, message, expected, &whole)?;
    let sought = open_by_seeking(client, message, expected);
    ranges_agree("seeking", message, &whole, &sought)?;
    ranges_agree("fetched frames", message, &whole, &open_by_fetching(client, message, expected))?;
    #[cfg(feature = "tokio")]
    asynchronous::agrees(client, message, expected, &sought)?;
    whole
}

fn in_place_agrees(
    client: &Client,
    message: &[u8],
    expected: &ExpectedContext,
    whole: &Result<Decrypted>,
) -> Result<()> {
    let mut buffer = message.to_vec();
    let in_place = client.decrypt_in_place(&mut buffer, expected);
    let agree = match (whole, &in_place) {
        (Ok(whole), Ok(header)) => whole.plaintext == buffer && whole.header == *header,
        (Err(whole), Err(in_place)) => same(whole, in_place) && (buffer.is_empty() || buffer == message),
        _ => false,
    };
    require(agree, || format!("whole and in place disagree: {whole:?} and {in_place:?}"))
}

/// Checks that a batch of this message and another, into vectors and into one buffer, returns the same.
fn batch_agrees(client: &Client, message: &[u8], expected: &ExpectedContext, whole: &Result<Decrypted>) -> Result<()> {
    let batch = [message, b"no message", message, message, message];
    let agrees = |opened: Result<(&[u8], &Header), &Error>| match (whole, opened) {
        (Ok(whole), Ok((plaintext, header))) => whole.plaintext == plaintext && whole.header == *header,
        (Err(whole), Err(opened)) => same(whole, opened),
        _ => false,
    };
    let opened = client.decrypt_batch(&batch, expected)?;
    let mut buffer = Vec::new();
    let opened_into = client.decrypt_batch_into(&batch, expected, &mut buffer)?;
    for (n, (opened, opened_into)) in opened.iter().zip(&opened_into).enumerate() {
        if n == 1 {
            require(opened.is_err() && opened_into.is_err(), || "a batch opened what is not a message".to_owned())?;
            continue;
        }
        let apart = opened.as_ref().map(|opened| (opened.plaintext.as_slice(), &opened.header));
        let part = |range: &Range<usize>| buffer.get(range.clone()).unwrap_or_default();
        let into = opened_into.as_ref().map(|opened| (part(&opened.range), &opened.header));
        require(agrees(apart) && agrees(into), || format!("whole and batch disagree: {whole:?}, {opened:?}"))?;
    }
    let total: usize = opened.iter().flatten().map(|opened| opened.plaintext.len()).sum();
    require(buffer.len() == total, || format!("{} bytes are in the buffer of a batch of {total}", buffer.len()))
}

fn stream_agrees(client: &Client, message: &[u8], expected: &ExpectedContext, whole: &Result<Decrypted>) -> Result<()> {
    let streamed = open_streamed(client, Pieces { rest: message, turn: 0 }, expected);
    let agree = match (whole, &streamed) {
        (Ok(whole), Ok(streamed)) => whole.plaintext == *streamed,
        // The length of a non-framed body is checked before the key is requested in a whole message, afterwards in a
        // stream.
        (Err(whole), Err(_))
            if matches!(whole.kind(), ErrorKind::LimitExceeded | ErrorKind::Malformed) && is_non_framed(message) =>
        {
            true
        }
        (Err(whole), Err(streamed)) => same(whole, streamed),
        _ => false,
    };
    require(agree, || format!("whole and stream disagree: {whole:?} and {streamed:?}"))
}

/// Checks reads of ranges, which ignore the signature: they must succeed if decrypting the whole message does, and fail
/// if that fails for another reason than the signature. A message of the wrong length cannot be read by ranges at all.
fn ranges_agree(way: &str, message: &[u8], whole: &Result<Decrypted>, read: &Result<Vec<u8>>) -> Result<()> {
    let agree = match (whole, read) {
        _ if is_non_framed(message) => read.is_err(),
        (Ok(whole), Ok(read)) => whole.plaintext == *read,
        (Err(whole), Ok(_)) => whole.kind() == ErrorKind::SignatureInvalid,
        (Err(_), Err(_)) => true,
        (Ok(_), Err(_)) => false,
    };
    require(agree, || format!("whole and {way} disagree: {whole:?} and {read:?}"))
}

fn open_by_seeking(client: &Client, message: &[u8], expected: &ExpectedContext) -> Result<Vec<u8>> {
    let header = client.read_header(message)?;
    let seekable = client.decryptor(header, expected)?.seekable_ignoring_signature(message)?;
    from_end_to_start(seekable.plaintext_len(), |start, piece| seekable.read_at(start, piece))
}

/// Reads a plaintext from its end to its start, in pieces that are unrelated to its frames.
fn from_end_to_start(len: u64, read_at: impl Fn(u64, &mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    const PIECE: u64 = 77;
    let (mut plaintext, mut end) = (Vec::new(), len);
    while end > 0 {
        // In larger steps if the message is long.
        let start = end.saturating_sub(PIECE.max(len / 100));
        let mut piece = vec![0; usize::try_from(end - start).unwrap_or(0)];
        let count = read_at(start, &mut piece)?;
        require(count == piece.len(), || format!("{count} bytes were read instead of {}", piece.len()))?;
        piece.append(&mut plaintext);
        (plaintext, end) = (piece, start);
    }
    Ok(plaintext)
}

/// Fetches the end and then all frames from the start, as a program does that has no source to read at offsets.
fn open_by_fetching(client: &Client, message: &[u8], expected: &ExpectedContext) -> Result<Vec<u8>> {
    let fetch = |range: Range<u64>| {
        let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        message.get(start..end).unwrap_or_default()
    };
    let decryptor = client.decryptor(client.read_header(message)?, expected)?;
    let end = decryptor.end_range(message.len() as u64)?;
    let ranges = decryptor.range_decryptor_ignoring_signature(message.len() as u64, fetch(end))?;
    let (map, mut plaintext, mut first) = (ranges.frame_map(), Vec::new(), 1_u32);
    for count in [1, 2, 3].into_iter().cycle() {
        let last = first.saturating_add(count - 1).min(map.frames());
        let Some(span) = map.span(first, last) else { break };
        plaintext.extend(ranges.open_frames(span.first(), fetch(span.ciphertext()))?);
        first = last.saturating_add(1);
    }
    Ok(plaintext)
}

#[cfg(feature = "tokio")]
mod asynchronous {
    use super::{Client, ExpectedContext, Result, from_end_to_start, require, same};
    use manila_core::testing::ready;

    /// Checks that asynchronous reads return what blocking ones of the same ranges do.
    pub(super) fn agrees(
        client: &Client,
        message: &[u8],
        expected: &ExpectedContext,
        sought: &Result<Vec<u8>>,
    ) -> Result<()> {
        let read = ready(open(client, message, expected));
        let agree = match (sought, &read) {
            (Ok(sought), Ok(read)) => sought == read,
            (Err(sought), Err(read)) => same(sought, read),
            _ => false,
        };
        require(agree, || format!("seeking and asynchronous seeking disagree: {sought:?} and {read:?}"))
    }

    async fn open(client: &Client, message: &[u8], expected: &ExpectedContext) -> Result<Vec<u8>> {
        let header = client.read_header(message)?;
        let decryptor = client.decryptor_async(header, expected).await?;
        let seekable = decryptor.seekable_ignoring_signature_async(message).await?;
        from_end_to_start(seekable.plaintext_len(), |start, piece| ready(seekable.read_at_async(start, piece)))
    }
}

fn same(one: &Error, other: &Error) -> bool {
    one.kind() == other.kind() && one.to_string() == other.to_string()
}

fn require(agree: bool, detail: impl FnOnce() -> String) -> Result<()> {
    if agree { Ok(()) } else { Err(Error::new(ErrorKind::Internal, detail())) }
}

fn is_non_framed(message: &[u8]) -> bool {
    UnverifiedHeader::parse(message).is_ok_and(|header| header.content_type() == ContentType::NonFramed)
}

/// Decrypts a message from a stream.
///
/// ```
/// use manila::testing::{FixedKeyKeyring, open_streamed};
/// use manila::{Client, EncryptionContext, ExpectedContext};
///
/// let client = Client::new(FixedKeyKeyring::new(&[7; 32]));
/// let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
/// assert_eq!(open_streamed(&client, message.as_slice(), &ExpectedContext::any())?, b"hello");
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # Errors
/// The same as [`Client::decrypt`].
pub fn open_streamed(client: &Client, message: impl Read, expected: &ExpectedContext) -> Result<Vec<u8>> {
    let mut plaintext = Vec::new();
    client.open(message, expected)?.read_to_end(&mut plaintext)?;
    Ok(plaintext)
}

/// A source that returns its bytes in pieces of varying length.
struct Pieces<'a> {
    rest: &'a [u8],
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        const LENGTHS: [usize; 4] = [1, 7, 64, 1000];
        self.turn = (self.turn + 1) % LENGTHS.len();
        let most = LENGTHS.get(self.turn).map_or(1, |length| *length).min(buf.len());
        self.rest.read(buf.get_mut(..most).unwrap_or_default())
    }
}
