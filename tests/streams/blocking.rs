//! Blocking streams.

use std::cell::Cell;
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;

use manila::testing::{FixedKeyKeyring, client_for, open_every_way, open_streamed};
use manila::{AlgorithmSuite, Client, EncryptionContext, Error, ErrorKind, UnverifiedHeader};

use crate::{SIGNED, SUITES, UNSIGNED, any, client, none, parts, pattern};

fn write_in_pieces(client: &Client, plaintext: &[u8], piece: usize) -> Vec<u8> {
    let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(Vec::new());
    for piece in plaintext.chunks(piece) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn streamed_messages_open_whole_and_whole_ones_streamed() {
    for suite in SUITES {
        for frame_length in [1, 16, 100, 4096, 70_000] {
            let client = client(suite, frame_length);
            let frame = frame_length as usize;
            for len in [0, 1, frame - 1, frame, frame + 1, 2 * frame, 3 * frame + 7] {
                let plaintext = pattern(len);
                let exact = client.encryptor(&EncryptionContext::empty()).unwrap().ciphertext_len(len as u64).unwrap();
                let whole = client.encrypt(&plaintext, &EncryptionContext::empty()).unwrap();
                assert_eq!(whole.len() as u64, exact);
                assert_eq!(open_every_way(&client, &whole, &any()).unwrap().plaintext, plaintext);
                for piece in [1, frame - frame / 3, frame, frame + 1, 10 * frame] {
                    if piece == 1 && len > 10_000 {
                        continue;
                    }
                    let streamed = write_in_pieces(&client, &plaintext, piece);
                    assert_eq!(streamed.len() as u64, exact, "{suite} {frame_length} {len} {piece}");
                    // The frames have the same sizes and numbers, though not the same random bytes.
                    let summary = |message: &[u8]| {
                        let header = UnverifiedHeader::parse(message).unwrap();
                        header.summarize_body(&message[header.len()..]).unwrap()
                    };
                    assert_eq!(summary(&streamed), summary(&whole));
                    assert_eq!(open_every_way(&client, &streamed, &any()).unwrap().plaintext, plaintext);
                }
            }
        }
    }
}

#[test]
fn a_write_always_takes_something() {
    // Many times the batch in which frames are collected, in pieces that do and do not divide it.
    let client = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 4096);
    let plaintext = pattern(1_000_000);
    for piece in [1000, 4096, 8192, 8193, 50_000, 65_536, 1_000_000] {
        let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(Vec::new());
        for piece in plaintext.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let count = writer.write(rest).unwrap();
                assert!(count > 0, "nothing taken of {}", rest.len());
                rest = &rest[count..];
            }
        }
        let message = writer.finish().unwrap();
        assert_eq!(client.decrypt(&message, any()).unwrap().plaintext, plaintext);
    }
}

/// Fails now and then with errors that ask for a retry.
struct Unsteady<T> {
    inner: T,
    turn: usize,
}

impl<T> Unsteady<T> {
    fn new(inner: T) -> Self {
        Self { inner, turn: 0 }
    }

    fn stumble(&mut self) -> io::Result<()> {
        self.turn += 1;
        match self.turn % 3 {
            0 => Err(io::ErrorKind::Interrupted.into()),
            1 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }
}

impl<T: Read> Read for Unsteady<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stumble()?;
        let len = buf.len().min(1);
        self.inner.read(&mut buf[..len])
    }
}

impl<T: Write> Write for Unsteady<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stumble()?;
        self.inner.write(&buf[..buf.len().min(13)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stumble()?;
        self.inner.flush()
    }
}

/// Repeats a call while it would block.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

#[test]
fn nothing_is_lost_between_interruptions() {
    for suite in SUITES {
        let client = client(suite, 100);
        let plaintext = pattern(150_000);
        let mut writer = client.encryptor(&none()).unwrap().writer(Unsteady::new(Vec::new()));
        let mut rest = &plaintext[..];
        while !rest.is_empty() {
            let count = patiently(|| writer.write(rest)).unwrap();
            assert!(count > 0);
            rest = &rest[count..];
        }
        patiently(|| writer.flush()).unwrap();
        patiently(|| writer.try_finish()).unwrap();
        let message = writer.finish().unwrap_or_else(|error| panic!("{error}")).inner;
        let (header, body) = parts(&message);
        let mut reader = client.decryptor(header, any()).unwrap().reader(Unsteady::new(body));
        let mut opened = Vec::new();
        let mut buf = [0; 1000];
        loop {
            match patiently(|| reader.read(&mut buf)).unwrap() {
                0 => break,
                count => opened.extend_from_slice(&buf[..count]),
            }
        }
        assert_eq!(opened, plaintext);
    }
}

/// A sink that fails once and then works.
#[derive(Clone, Debug, Default)]
struct FailsOnce {
    written: Rc<Cell<usize>>,
    failed: Rc<Cell<bool>>,
}

impl Write for FailsOnce {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.written.get() > 0 && !self.failed.replace(true) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "once"));
        }
        self.written.set(self.written.get() + buf.len());
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_first_error_of_a_sink_is_the_last_word() {
    let client = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 1000);
    let sink = FailsOnce::default();
    let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(sink.clone());
    let first = loop {
        if let Err(error) = writer.write_all(&[0; 5000]) {
            break error;
        }
    };
    assert_eq!(first.kind(), io::ErrorKind::ConnectionReset);
    let written = sink.written.get();
    for _ in 0..3 {
        let again = writer.write(&[0; 5000]).unwrap_err();
        assert_eq!((again.kind(), again.to_string()), (first.kind(), first.to_string()));
        assert_eq!(writer.flush().unwrap_err().to_string(), first.to_string());
    }
    let last = writer.finish().unwrap_err();
    assert_eq!((last.kind(), last.to_string()), (ErrorKind::Io, first.to_string()));
    assert_eq!(sink.written.get(), written, "bytes were written after the error");
}

#[test]
fn a_bound_on_the_plaintext_is_enforced() {
    let client = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 16);
    let bounded = || client.encryptor_up_to(&EncryptionContext::empty(), 40).unwrap().writer(Vec::new());
    let mut writer = bounded();
    writer.write_all(&pattern(40)).unwrap();
    let message = writer.finish().unwrap();
    assert_eq!(client.decrypt(&message, any()).unwrap().plaintext, pattern(40));
    let mut writer = bounded();
    writer.write_all(&pattern(39)).unwrap();
    let error = Error::from(writer.write_all(&[0; 2]).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::LimitExceeded, "a truncated message is not finished");
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing_that_opens() {
    for suite in SUITES {
        let client = client(suite, 16);
        for len in [0, 16, 32, 100, 100_000] {
            let mut sink = Vec::new();
            let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(&mut sink);
            writer.write_all(&pattern(len)).unwrap();
            writer.flush().unwrap();
            drop(writer);
            let error = open_every_way(&client, &sink, &any()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{suite} {len}");
        }
    }
}

#[test]
fn flush_passes_on_whole_frames_alone() {
    let client = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 16);
    let mut sink = Vec::new();
    let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(&mut sink);
    writer.write_all(&pattern(16 + 16 + 5)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let header = UnverifiedHeader::parse(&sink).unwrap().len();
    assert_eq!(sink.len(), header + 2 * (16 + 32));
}

#[test]
fn a_stream_cut_at_any_byte_has_no_clean_end() {
    for (suite, frame_length, len) in [
        (AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 16, 50),
        (AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384, 64, 64),
        (AlgorithmSuite::Aes128GcmNoKdf, 4096, 0),
    ] {
        let client = client(suite, frame_length);
        let message = client.encrypt(&pattern(len), &EncryptionContext::empty()).unwrap();
        for end in 0..message.len() {
            let error = open_streamed(&client, &message[..end], &any()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{suite} cut at {end}");
        }
    }
}

#[test]
fn the_final_frame_is_held_back_until_all_has_verified() {
    let released = |client: &Client, message: &[u8]| {
        let header = UnverifiedHeader::parse(message).unwrap();
        let body = &message[header.len()..];
        let mut reader = client.decryptor(header, any()).unwrap().reader(body);
        let mut released = Vec::new();
        let error = reader.read_to_end(&mut released).unwrap_err();
        assert_eq!(reader.read(&mut [0; 10]).unwrap_err().to_string(), error.to_string(), "the error is kept");
        (released, Error::from(error).kind())
    };
    let plaintext = pattern(40);
    let signed = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384, 16);
    let message = signed.encrypt(&plaintext, &EncryptionContext::empty()).unwrap();
    let mut forged = message.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(released(&signed, &forged), (plaintext[..32].to_vec(), ErrorKind::SignatureInvalid));
    let unsigned = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 16);
    let mut longer = unsigned.encrypt(&plaintext, &EncryptionContext::empty()).unwrap();
    longer.push(0);
    assert_eq!(released(&unsigned, &longer), (plaintext[..32].to_vec(), ErrorKind::TrailingBytes));
}

#[test]
fn frames_before_a_broken_one_are_released_however_they_come() {
    let client = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 16);
    let mut message = client.encrypt(&pattern(200), &EncryptionContext::empty()).unwrap();
    let header = UnverifiedHeader::parse(&message).unwrap();
    let sixth = header.len() + 5 * (16 + 32);
    for at in [sixth, sixth + 20] {
        message[at] ^= 1;
        let body = &message[header.len()..];
        for step in [1, 7, 10_000] {
            let source = io::BufReader::with_capacity(step, body);
            let mut reader = client.decryptor(header.clone(), any()).unwrap().reader(source);
            let mut released = Vec::new();
            reader.read_to_end(&mut released).unwrap_err();
            assert_eq!(released, pattern(200)[..80], "in pieces of {step}");
        }
        message[at] ^= 1;
    }
}

#[test]
fn a_reader_asks_for_no_more_than_it_was_promised() {
    // One frame, then a source that would block for ever: the frame must be released first.
    struct OneFrameThenSilence<'a>(&'a [u8]);
    impl Read for OneFrameThenSilence<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(buf) }
        }
    }
    let client = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 16);
    let message = client.encrypt(&pattern(40), &EncryptionContext::empty()).unwrap();
    let header = UnverifiedHeader::parse(&message).unwrap();
    let one_frame = &message[header.len()..][..16 + 32];
    let mut reader = client.decryptor(header, any()).unwrap().reader(OneFrameThenSilence(one_frame));
    assert_eq!(reader.header().suite(), AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, "verified, before any frame");
    let mut buf = [0; 100];
    assert_eq!(reader.read(&mut buf).unwrap(), 16);
    assert_eq!(reader.read(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(reader.read(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn messages_are_always_written_in_frames() {
    let client = client_for(AlgorithmSuite::Aes256GcmHkdfSha256, FixedKeyKeyring::new(&[1; 32])).unwrap();
    let message = client.encrypt(b"x", &EncryptionContext::empty()).unwrap();
    let content = UnverifiedHeader::parse(&message).unwrap().content_type();
    assert_eq!(content, manila::ContentType::Framed(4096));
}

#[test]
fn a_source_is_sealed_as_its_bytes_written_are() {
    for suite in SUITES {
        for (frame_length, threads) in [(16, 1), (4096, 1), (4096, 3), (70_000, 2)] {
            let client = crate::builder(suite, frame_length).threads(threads).build().unwrap();
            for len in [0, 1, 15, 16, 17, 4096, 65_536, 65_537, 200_000] {
                let plaintext = pattern(len);
                let mut writer = client.encryptor(&none()).unwrap().writer(Vec::new());
                // Writes before, between and after sources all belong to one plaintext.
                let (first, rest) = plaintext.split_at(len / 3);
                writer.write_all(&first[..len / 7]).unwrap();
                assert_eq!(writer.write_from(&first[len / 7..]).unwrap(), (first.len() - len / 7) as u64);
                let mut source = Unsteady { inner: rest, turn: 1 };
                let mut read = 0;
                // `write_from` starts again where it would block, and nothing is lost.
                while patiently(|| writer.write_from(&mut source)).unwrap() > 0 || !source.inner.is_empty() {
                    read += 1;
                    assert!(read < 10);
                }
                let message = writer.finish().unwrap();
                assert_eq!(
                    message.len() as u64,
                    client.encryptor(&none()).unwrap().ciphertext_len(len as u64).unwrap()
                );
                assert_eq!(open_every_way(&client, &message, &any()).unwrap().plaintext, plaintext);
            }
        }
    }
}

#[test]
fn a_source_that_fails_ends_the_message() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let mut writer = client(UNSIGNED, 16).encryptor(&none()).unwrap().writer(Vec::new());
    let first = writer.write_from(pattern(100).chain(Broken)).unwrap_err();
    assert_eq!(first.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(writer.write(b"more").unwrap_err().to_string(), first.to_string());
    assert_eq!(writer.finish().unwrap_err().to_string(), first.to_string());
}

#[test]
fn nothing_is_added_to_a_message_that_is_finished() {
    let mut writer = client(UNSIGNED, 16).encryptor(&none()).unwrap().writer(Vec::new());
    writer.write_all(b"all of it").unwrap();
    writer.try_finish().unwrap();
    writer.try_finish().unwrap();
    let error = Error::from(writer.write(b"more").unwrap_err());
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn plaintext_is_shown_where_it_was_opened() {
    for suite in [UNSIGNED, SIGNED] {
        let client = client(suite, 100);
        let plaintext = pattern(250);
        let message = client.encrypt(&plaintext, &none()).unwrap();
        let (header, body) = parts(&message);
        let mut reader = client.decryptor(header, any()).unwrap().reader(body);
        assert_eq!(reader.fill_buf().unwrap(), &plaintext[..200], "all but the final frame, which waits for the end");
        reader.consume(30);
        // `Read` and `BufRead` show the same stream, whatever the size of the buffer.
        let mut some = [0; 150];
        reader.read_exact(&mut some).unwrap();
        assert_eq!(some, plaintext[30..180]);
        assert_eq!(reader.fill_buf().unwrap(), &plaintext[180..200]);
        reader.consume(usize::MAX);
        assert_eq!(reader.fill_buf().unwrap(), &plaintext[200..]);
        reader.consume(50);
        assert!(reader.fill_buf().unwrap().is_empty());
        assert_eq!(reader.read(&mut some).unwrap(), 0);
    }
}
