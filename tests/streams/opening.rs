//! `Client::open` and `open_seekable`: one call reads the header and goes on with the body, as the two steps do.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use manila::keyring::Keyring;
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::FixedKeyKeyring;
use manila::{Client, Error, ErrorKind, ReadAt};

use crate::{SIGNED, SUITES, UNSIGNED, any, builder, client, none, parts, pattern};

/// The end of the error of a reader that may not start where the header ended.
const HINT: &str = ", or the reader does not start where the header ended: use one reader for both";

/// A source that counts how often it is read, and returns at most `most` bytes each time.
struct Counted<'a> {
    message: &'a [u8],
    at: usize,
    most: usize,
    reads: Cell<u32>,
}

impl<'a> Counted<'a> {
    fn new(message: &'a [u8], most: usize) -> Self {
        Self { message, at: 0, most, reads: Cell::new(0) }
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.read_some_at(self.at as u64, buf)?;
        self.at += count;
        Ok(count)
    }
}

impl ReadAt for Counted<'_> {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.set(self.reads.get() + 1);
        let most = self.most.min(buf.len());
        self.message.read_some_at(offset, &mut buf[..most])
    }

    fn size(&self) -> io::Result<u64> {
        self.message.size()
    }
}

/// A source that must not be read.
struct Untouchable;

impl Read for Untouchable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("the source was read")
    }
}

impl ReadAt for Untouchable {
    fn read_some_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        panic!("the source was read")
    }

    fn size(&self) -> io::Result<u64> {
        panic!("the source was asked for its size")
    }
}

/// A keyring that does not declare itself local.
#[derive(Debug)]
struct Remote(FixedKeyKeyring);

impl Keyring for Remote {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        self.0.on_encrypt(materials)
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        self.0.on_decrypt(request)
    }
}

fn opened(client: &Client, source: impl Read) -> Result<Vec<u8>, Error> {
    let mut plaintext = Vec::new();
    client.open(source, any())?.read_to_end(&mut plaintext)?;
    Ok(plaintext)
}

fn in_two_steps(client: &Client, mut source: impl Read) -> Result<Vec<u8>, Error> {
    let header = client.read_header(&mut source)?;
    let mut plaintext = Vec::new();
    client.decryptor(header, any())?.reader(source).read_to_end(&mut plaintext)?;
    Ok(plaintext)
}

fn sought(client: &Client, message: impl ReadAt) -> Result<Vec<u8>, Error> {
    let message = client.open_seekable(message, any())?;
    let mut plaintext = Vec::new();
    message.cursor().read_to_end(&mut plaintext)?;
    Ok(plaintext)
}

#[test]
fn one_call_opens_what_the_two_steps_open_and_refuses_what_they_refuse() {
    for suite in SUITES {
        for len in [0, 50, 20_000] {
            let client = client(suite, 16);
            let message = client.encrypt(&pattern(len), &none()).unwrap();
            for most in [1, 7, usize::MAX] {
                assert_eq!(opened(&client, Counted::new(&message, most)).unwrap(), pattern(len));
                let sought = sought(&client, Counted::new(&message, most));
                match suite.is_signed() {
                    true => assert_eq!(sought.unwrap_err().kind(), ErrorKind::PolicyViolation),
                    false => assert_eq!(sought.unwrap(), pattern(len)),
                }
            }
        }
        let client = client(suite, 16);
        let message = client.encrypt(&pattern(50), &none()).unwrap();
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 0x40;
            for bad in [&message[..at], &changed] {
                let (one, two) = (opened(&client, bad).unwrap_err(), in_two_steps(&client, bad).unwrap_err());
                assert_eq!(one.kind(), two.kind(), "{suite} at {at}");
                let two = two.to_string();
                assert_eq!(one.to_string(), two.strip_suffix(HINT).unwrap_or(&two), "{suite} at {at}");
                sought(&client, bad).unwrap_err();
            }
        }
    }
}

#[test]
fn a_file_needs_no_buffer_of_the_callers() {
    for (len, reads) in [(100, 2), (100_000, 6)] {
        let client = client(UNSIGNED, 4096);
        let message = client.encrypt(&pattern(len), &none()).unwrap();
        let mut source = Counted::new(&message, usize::MAX);
        assert_eq!(opened(&client, &mut source).unwrap(), pattern(len));
        assert!(source.reads.get() <= reads, "{} reads for {len} bytes", source.reads.get());
        let source = Counted::new(&message, usize::MAX);
        client.open_seekable(&source, any()).unwrap();
        // The header, and the final frame.
        assert_eq!(source.reads.get(), 2);

        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(&message).unwrap();
        assert_eq!(opened(&client, File::open(path.path()).unwrap()).unwrap(), pattern(len));
        assert_eq!(sought(&client, File::open(path.path()).unwrap()).unwrap(), pattern(len));
    }
}

#[test]
fn a_reader_that_starts_elsewhere_is_told_so_and_only_where_it_can_be_true() {
    let client = client(UNSIGNED, 4096);
    let short = client.encrypt(&pattern(100), &none()).unwrap();
    let long = client.encrypt(&pattern(100_000), &none()).unwrap();
    // The buffer of a reader for the header alone takes what the second reader then lacks: all of a short message.
    for (message, kind) in [(&short, ErrorKind::Truncated), (&long, ErrorKind::Malformed)] {
        let mut source = message.as_slice();
        let header = client.read_header(BufReader::new(&mut source)).unwrap();
        let mut reader = client.decryptor(header, any()).unwrap().reader(source);
        let error = Error::from(reader.read_to_end(&mut Vec::new()).unwrap_err());
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().ends_with(HINT), "{error}");
    }
    // A reader that starts again with the header.
    let mut reader = client.decryptor(parts(&long).0, any()).unwrap().reader(long.as_slice());
    assert!(reader.read_to_end(&mut Vec::new()).unwrap_err().to_string().ends_with(HINT));

    // The second frame in place of the third: the reader started where it should.
    let (header, body) = parts(&long);
    let moved = [&body[..2 * 4128], &body[4128..]].concat();
    let mut reader = client.decryptor(header, any()).unwrap().reader(moved.as_slice());
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("frame 2 is in the position of frame 3") && !error.ends_with(HINT), "{error}");
    // A message that lacks its first frame: whoever reads both from one source did not start elsewhere.
    let lacking = [&long[..long.len() - body.len()], &body[4128..]].concat();
    let error = opened(&client, lacking.as_slice()).unwrap_err().to_string();
    assert!(error.contains("frame 2 is in the position of frame 1") && !error.ends_with(HINT), "{error}");
}

#[test]
fn limits_and_settings_hold() {
    let message = client(SIGNED, 1000).encrypt(b"hello", &none()).unwrap();
    let len = parts(&message).0.len();
    for (strict, kind) in [
        (builder(SIGNED, 1000).max_header_length(len - 1), ErrorKind::LimitExceeded),
        (builder(SIGNED, 10).max_frame_length(999), ErrorKind::LimitExceeded),
        (builder(UNSIGNED, 1000).unsigned_only(true), ErrorKind::PolicyViolation),
    ] {
        let strict = strict.build().unwrap();
        assert_eq!(strict.open(message.as_slice(), any()).unwrap_err().kind(), kind);
        assert_eq!(strict.open_seekable(message.as_slice(), any()).unwrap_err().kind(), kind);
    }
    let error = client(UNSIGNED, 16).open_seekable(&b"not a message"[..], any()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}

#[test]
fn nothing_is_read_for_an_expectation_that_is_refused_or_keys_that_are_far_away() {
    let local = client(UNSIGNED, 16);
    assert_eq!(local.open(Untouchable, &none()).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(local.open_seekable(Untouchable, &none()).unwrap_err().kind(), ErrorKind::InvalidInput);
    let error = local.reencrypt(Untouchable, Vec::new(), &none(), &local).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    #[cfg(feature = "tokio")]
    {
        let opened = manila::testing::ready(local.open_async(tokio::io::empty(), &none()));
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::InvalidInput, "an empty stream would be truncated");
    }

    let remote = Client::builder(Remote(FixedKeyKeyring::new(&[9; 32]))).suite(UNSIGNED).build().unwrap();
    assert_eq!(remote.open(Untouchable, any()).unwrap_err().kind(), ErrorKind::NeedsAsync);
    assert_eq!(remote.open_seekable(Untouchable, any()).unwrap_err().kind(), ErrorKind::NeedsAsync);
}
