//! Streams, sources and settings that behave as none should.

use std::io::{self, BufRead, Read, Write};

use manila::{Error, ErrorKind, ReadAt};

use crate::{SIGNED, UNSIGNED, any, builder, client, none, parts, pattern};

const MIB: usize = 1 << 20;

/// Fills every buffer, and records the largest.
struct Asked<'a> {
    rest: &'a [u8],
    most: usize,
}

impl Read for Asked<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.most = self.most.max(buf.len());
        self.rest.read(buf)
    }
}

#[test]
fn a_reader_on_several_threads_takes_up_enough_for_all() {
    let plaintext = pattern(24 * MIB);
    for frame_length in [4096, 65_536, 1 << 20] {
        for suite in [UNSIGNED, SIGNED] {
            let client = builder(suite, frame_length).threads(2).build().unwrap();
            let message = client.encrypt(&plaintext, &none()).unwrap();
            let (header, body) = parts(&message);
            let mut source = Asked { rest: body, most: 0 };
            let mut reader = client.decryptor(header, any()).unwrap().reader(&mut source);
            let (mut opened, mut at_once) = (Vec::new(), 0);
            loop {
                let shown = reader.fill_buf().unwrap();
                let count = shown.len();
                if count == 0 {
                    break;
                }
                at_once = at_once.max(count);
                opened.extend_from_slice(shown);
                reader.consume(count);
            }
            assert!(opened == plaintext);
            assert!(at_once >= 2 * MIB, "{at_once} bytes at once are not worth two threads");
            assert!(source.most <= 8 * MIB, "{} bytes were asked for", source.most);
        }
    }
}

#[test]
fn behind_a_frame_that_fails_nothing_stays_in_the_buffer() {
    const FRAME: usize = 65_536;
    let plaintext = vec![0x55; 16 * MIB];
    for threads in [1, 3] {
        let client = builder(UNSIGNED, 65_536).threads(threads).build().unwrap();
        let mut message = client.encrypt(&plaintext, &none()).unwrap();
        let start = parts(&message).0.len();
        // In the middle of a batch, whose later frames other threads decrypt at the same time.
        message[start + 150 * (FRAME + 32) + 100] ^= 1;
        let (header, body) = parts(&message);
        let mut reader = client.decryptor(header, any()).unwrap().reader(body);
        let (mut buf, mut released) = (vec![0; 12 * MIB], 0);
        loop {
            buf.fill(0xee);
            match reader.read(&mut buf) {
                Ok(count) => {
                    assert!(count > 0 && buf[..count].iter().all(|byte| *byte == 0x55));
                    assert!(buf[count..].iter().all(|byte| *byte != 0x55), "more than {count} bytes with {threads}");
                    released += count;
                }
                Err(error) => {
                    assert_eq!(Error::from(error).kind(), ErrorKind::AuthenticationFailed);
                    assert!(buf.iter().all(|byte| *byte != 0x55), "plaintext beside an error");
                    break;
                }
            }
        }
        assert_eq!(released, 150 * FRAME);
    }
}

#[test]
fn any_number_of_threads_can_be_allowed() {
    for threads in [1000, usize::MAX] {
        let client = builder(UNSIGNED, 4096).threads(threads).build().unwrap();
        let mut writer = client.encryptor(&none()).unwrap().writer(Vec::new());
        writer.write_all(&pattern(100_000)).unwrap();
        let message = writer.finish().unwrap();
        let (header, body) = parts(&message);
        let mut opened = Vec::new();
        client.decryptor(header, any()).unwrap().reader(body).read_to_end(&mut opened).unwrap();
        assert_eq!(opened, pattern(100_000));
    }
}

/// Returns a count larger than the buffer.
struct Boaster(usize);

impl Read for Boaster {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        Ok(if self.0 > 3 { 0 } else { buf.len() + 1000 })
    }
}

impl Write for Boaster {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len() + 1)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ReadAt for Boaster {
    fn read_some_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(buf.len() + 1000)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0 as u64)
    }
}

#[test]
fn streams_that_boast_are_not_believed() {
    let client = client(UNSIGNED, 16);
    let mut writer = client.encryptor(&none()).unwrap().writer(Vec::new());
    writer.write_from(Boaster(0)).unwrap_err();
    writer.finish().unwrap_err();
    let mut writer = client.encryptor(&none()).unwrap().writer(Boaster(0));
    writer.write_all(b"x").unwrap();
    writer.finish().map(|_| ()).unwrap_err();
    let message = client.encrypt(&pattern(100), &none()).unwrap();
    let header = parts(&message).0;
    let mut reader = client.decryptor(header.clone(), any()).unwrap().reader(Boaster(0));
    assert_eq!(reader.read(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::Other);
    manila::UnverifiedHeader::read(Boaster(0)).unwrap_err();
    let sealed = client.decryptor(header, any()).unwrap().seekable(Boaster(message.len()));
    assert_eq!(sealed.map(|_| ()).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_bound_on_the_plaintext_holds_for_sources_too() {
    let client = client(UNSIGNED, 16);
    let bounded = || client.encryptor_up_to(&none(), 40).unwrap().writer(Vec::new());
    let mut writer = bounded();
    writer.write_all(&pattern(40)[..7]).unwrap();
    assert_eq!(writer.write_from(&pattern(40)[7..]).unwrap(), 33);
    assert_eq!(client.decrypt(&writer.finish().unwrap(), any()).unwrap().plaintext, pattern(40));
    // Bytes written directly and bytes read from a source both count.
    let mut writer = bounded();
    writer.write_all(&pattern(7)).unwrap();
    assert_eq!(Error::from(writer.write_from(&pattern(34)[..]).unwrap_err()).kind(), ErrorKind::LimitExceeded);
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::LimitExceeded);
    let mut writer = bounded();
    writer.write_from(&pattern(7)[..]).unwrap();
    assert_eq!(Error::from(writer.write_all(&pattern(34)).unwrap_err()).kind(), ErrorKind::LimitExceeded);
}

/// A sink that keeps its input and fails to flush once.
#[derive(Default)]
struct Unflushed {
    failed: bool,
}

impl Write for Unflushed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.failed, true) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

#[test]
fn a_flush_that_failed_is_not_made_good_by_the_next() {
    let client = client(UNSIGNED, 16);
    let mut writer = client.encryptor(&none()).unwrap().writer(Unflushed::default());
    writer.write_all(&pattern(20)).unwrap();
    assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(writer.try_finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let mut writer = client.encryptor(&none()).unwrap().writer(Unflushed::default());
    assert_eq!(writer.try_finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(writer.finish().map(|_| ()).unwrap_err().kind(), ErrorKind::Io);
}

/// Returns the outcome of each way to read a message: the plaintext, or what was released before the error, and the
/// error.
fn outcomes(threads: usize, message: &[u8]) -> [(Vec<u8>, String); 4] {
    let suite = parts(message).0.suite();
    let client = builder(suite, 60_000).threads(threads).build().unwrap();
    let told = |result: Result<(), Error>| result.err().map(|error| error.to_string()).unwrap_or_default();
    let mut whole = Vec::new();
    let whole_error = client.decrypt_into(message, any(), &mut whole).map(|_| ());
    let mut in_place = message.to_vec();
    let in_place_error = client.decrypt_in_place(&mut in_place, any()).map(|_| ());
    let reader = || client.open(message, any()).unwrap();
    let (mut shown, mut shown_reader) = (Vec::new(), reader());
    let shown_error = loop {
        match shown_reader.fill_buf() {
            Ok([]) => break Ok(()),
            Ok(bytes) => {
                let count = bytes.len();
                shown.extend_from_slice(bytes);
                shown_reader.consume(count);
            }
            Err(error) => break Err(error.into()),
        }
    };
    // Into a buffer as long as the plaintext and longer, so that frames are written directly to it.
    let (mut read, mut filled, mut reader) = (vec![0; 9 * MIB], 0, reader());
    let read_error = loop {
        match reader.read(&mut read[filled..]) {
            Ok(0) => break Ok(()),
            Ok(count) => filled += count,
            Err(error) => break Err(error.into()),
        }
    };
    read.truncate(filled);
    [(whole, told(whole_error)), (in_place, told(in_place_error)), (shown, told(shown_error)), (read, told(read_error))]
}

#[test]
fn any_number_of_threads_comes_to_the_same_end() {
    const FRAME: usize = 60_000;
    const SEALED: usize = FRAME + 32;
    for suite in [UNSIGNED, SIGNED] {
        // 120 frames, the last of them full.
        let good = client(suite, 60_000).encrypt(&pattern(120 * FRAME), &none()).unwrap();
        let start = parts(&good).0.len();
        let frame = |n: usize| start + n * SEALED;
        let mut cases = vec![good.clone()];
        let mut change = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bad = good.clone();
            change(&mut bad);
            cases.push(bad);
        };
        for n in [0, 1, 60, 118, 119] {
            // Another frame marked as final; a wrong number, IV, content and tag.
            change(&|bad| bad[frame(n)..frame(n) + 4].fill(0xff));
            change(&|bad| bad[frame(n) + 3] ^= 1);
            change(&|bad| bad[frame(n) + 8] ^= 1);
            change(&|bad| bad[frame(n) + 1000] ^= 1);
            change(&|bad| bad[frame(n) + SEALED - 1] ^= 1);
            // A frame left out, a frame repeated, and the final frame too early.
            change(&|bad| drop(bad.drain(frame(n)..frame(n + 1))));
            change(&|bad| {
                let again = bad[frame(n)..frame(n + 1)].to_vec();
                drop(bad.splice(frame(n)..frame(n), again));
            });
            change(&|bad| {
                let last = bad[frame(119)..].to_vec();
                drop(bad.splice(frame(n)..frame(n), last));
            });
            change(&|bad| bad.truncate(frame(n)));
            change(&|bad| bad.truncate(frame(n) + 2));
            change(&|bad| bad.truncate(frame(n) + SEALED - 1));
            // Two faults, of which another thread meets the later one first.
            change(&|bad| {
                bad[frame(n) + 1000] ^= 1;
                bad[frame(118)] ^= 1;
            });
        }
        change(&|bad| bad.push(0));
        for (number, message) in cases.iter().enumerate() {
            let one = outcomes(1, message);
            let errors: Vec<_> = one.iter().map(|(_, error)| error).collect();
            assert!(errors.iter().all(|error| *error == errors[0]), "{suite} {number}: {errors:?}");
            assert_eq!(errors[0].is_empty(), *message == good, "{suite} {number}");
            for threads in [2, 5] {
                assert!(outcomes(threads, message) == one, "{suite} {number} on {threads} threads");
            }
        }
    }
}

/// Would block once everything was read, and then ends.
struct Hesitant<'a>(&'a [u8], bool);

impl Read for Hesitant<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !std::mem::replace(&mut self.1, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buf)
    }
}

#[test]
fn what_is_held_back_cannot_be_consumed() {
    let client = client(UNSIGNED, 16);
    let message = client.encrypt(&pattern(10), &none()).unwrap();
    let (header, body) = parts(&message);
    let mut reader = client.decryptor(header, any()).unwrap().reader(Hesitant(body, false));
    assert_eq!(reader.fill_buf().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    reader.consume(5);
    assert_eq!(reader.fill_buf().unwrap(), pattern(10));
}

#[test]
fn a_header_over_the_limit_is_not_read_to_its_end() {
    let client = client(UNSIGNED, 16);
    let long = manila::EncryptionContext::new([("k", "v".repeat(5000))]).unwrap();
    let message = client.encrypt(b"x", &long).unwrap();
    let reader = builder(UNSIGNED, 16).max_header_length(1000).build().unwrap();
    let mut source = &message[..];
    assert_eq!(reader.read_header(&mut source).unwrap_err().kind(), ErrorKind::LimitExceeded);
    assert!(message.len() - source.len() < 100, "it was refused by the length it states");
}

/// Reads records of 16 bytes until the stream ends, as programs do.
fn records(mut reader: impl Read) -> Result<usize, io::Error> {
    let (mut record, mut count) = ([0; 16], 0);
    loop {
        match reader.read_exact(&mut record) {
            Ok(()) => count += 1,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(count),
            Err(error) => return Err(error),
        }
    }
}

/// A connection that is cut: its end is an error.
struct Cut<'a>(&'a [u8]);

impl Read for Cut<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

#[test]
fn a_cut_message_is_not_whole_to_whoever_reads_records() {
    for suite in [UNSIGNED, SIGNED] {
        let client = client(suite, 64);
        let message = client.encrypt(&pattern(20 * 16), &none()).unwrap();
        let (header, body) = parts(&message);
        let reader = |body| client.decryptor(header.clone(), any()).unwrap().reader(body);
        assert_eq!(records(reader(body)).unwrap(), 20);
        // Between two frames, where only whole records have arrived; within a frame; and before the last byte.
        for end in [0, 96, 2 * 96, 2 * 96 + 50, body.len() - 1] {
            let error = records(reader(&body[..end])).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "cut at {end}");
            assert_eq!(Error::from(error).kind(), ErrorKind::Truncated);
            let cut = Cut(&body[..end]);
            let error = records(client.decryptor(header.clone(), any()).unwrap().reader(cut)).unwrap_err();
            assert_eq!((error.kind(), Error::from(error).kind()), (io::ErrorKind::InvalidData, ErrorKind::Io));
        }
    }
}
