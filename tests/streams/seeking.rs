//! Reads at any offset of an encrypted message.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use manila::{AlgorithmSuite, ContentType, Decryptor, Error, ErrorKind, ReadAt, SeekableMessage};

use crate::{SIGNED, SUITES, UNSIGNED, any, client, none, parts, pattern};

fn decryptor(suite: AlgorithmSuite, message: &[u8]) -> Decryptor {
    client(suite, 16).decryptor(parts(message).0, any()).unwrap()
}

fn sealed(suite: AlgorithmSuite, frame_length: u32, len: usize) -> (Vec<u8>, SeekableMessage<Vec<u8>>) {
    let message = client(suite, frame_length).encrypt(&pattern(len), &none()).unwrap();
    let file = decryptor(suite, &message).seekable_ignoring_signature(message.clone()).unwrap();
    (message, file)
}

#[test]
fn every_range_reads_what_was_sealed() {
    for suite in SUITES {
        for (frame_length, len) in [(16, 0), (16, 1), (16, 16), (16, 50), (16, 64), (1, 20), (4096, 60)] {
            let (_, file) = sealed(suite, frame_length, len);
            let plaintext = pattern(len);
            assert_eq!(file.plaintext_len(), len as u64);
            for start in 0..=len + 1 {
                for end in start..=len + 2 {
                    let mut buf = vec![0xee; end - start];
                    let count = file.read_at(start as u64, &mut buf).unwrap();
                    let expected = &plaintext[start.min(len)..end.min(len)];
                    assert_eq!(&buf[..count], expected, "{suite} {frame_length} {len} {start}..{end}");
                    assert!(buf[count..].iter().all(|byte| *byte == 0xee), "no more than that was touched");
                }
            }
            assert_eq!(file.read_at(u64::MAX, &mut [0; 10]).unwrap(), 0);
        }
    }
}

/// Counts the bytes read from it, and reports a size of its own.
struct Watched {
    bytes: Vec<u8>,
    read: AtomicUsize,
    size: u64,
}

impl Watched {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), read: AtomicUsize::new(0), size: bytes.len() as u64 }
    }
}

impl ReadAt for Watched {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // In pieces, with interruptions.
        if self.read.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buf.len().min(1000);
        let count = self.bytes.read_some_at(offset, &mut buf[..most])?;
        self.read.fetch_add(count * 1_000_000, Ordering::Relaxed);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

#[test]
fn only_the_frames_that_are_asked_for_are_read() {
    let message = client(UNSIGNED, 100).encrypt(&pattern(10_000), &none()).unwrap();
    let file = decryptor(UNSIGNED, &message).seekable(Watched::new(&message)).unwrap();
    let bytes_read = || file.get_ref().read.swap(0, Ordering::Relaxed) / 1_000_000;
    assert_eq!(bytes_read(), 40 + 100, "the final frame");
    let mut buf = [0; 10];
    file.read_at(5050, &mut buf).unwrap();
    assert_eq!((buf.to_vec(), bytes_read()), (pattern(10_000)[5050..5060].to_vec(), 132));
    file.read_at(5095, &mut buf).unwrap();
    assert_eq!(bytes_read(), 2 * 132);
}

#[test]
fn the_end_is_verified_before_anything_is_read() {
    for suite in SUITES {
        let good = client(suite, 16).encrypt(&pattern(70), &none()).unwrap();
        let open = |message: &[u8]| decryptor(suite, &good).seekable_ignoring_signature(message.to_vec()).map(|_| ());
        open(&good).unwrap();
        let header = parts(&good).0.len();
        for end in header..good.len() {
            open(&good[..end]).unwrap_err();
        }
        for more in [1, 2, 16, 32, 48, 100] {
            open(&[&good[..], &vec![0; more]].concat()).unwrap_err();
        }
        // No byte of the final frame can be changed; 70 bytes are four frames and six bytes.
        let start = header + 4 * (16 + 32);
        for at in start..start + 40 + 6 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            open(&bad).unwrap_err();
        }
    }
}

#[test]
fn a_frame_that_was_changed_is_refused_when_it_is_read() {
    let message = client(UNSIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    let start = parts(&message).0.len() + 16 + 32;
    for at in start..start + 16 + 32 {
        let mut bad = message.clone();
        bad[at] ^= 1;
        let file = decryptor(UNSIGNED, &message).seekable(bad).unwrap();
        let mut buf = [0; 16];
        assert_eq!(file.read_at(0, &mut buf).unwrap(), 16, "the frame before it is good");
        let error = file.read_at(16, &mut buf).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Malformed | ErrorKind::Truncated));
        file.read_at(10, &mut buf).unwrap_err();
        assert_eq!(file.read_at(32, &mut buf).unwrap(), 16, "and so is the one after it");
    }
    // Frames that were exchanged are valid by themselves, but not in their places.
    let mut swapped = message.clone();
    let (front, back) = swapped.split_at_mut(start);
    front[start - 48..].swap_with_slice(&mut back[..48]);
    let file = decryptor(UNSIGNED, &message).seekable(swapped).unwrap();
    assert_eq!(file.read_at(3, &mut [0; 1]).unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn a_file_that_shrinks_is_an_error_and_one_that_grows_keeps_its_length() {
    let message = client(UNSIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    let mut path = tempfile::NamedTempFile::new().unwrap();
    path.write_all(&message).unwrap();
    let file = path.reopen().unwrap();
    let header = client(UNSIGNED, 16).read_header(BufReader::new(&file)).unwrap();
    let sealed = client(UNSIGNED, 16).decryptor(header, any()).unwrap().seekable(file).unwrap();
    let mut buf = [0; 64];
    path.write_all(&[0; 1000]).unwrap();
    assert_eq!(sealed.read_at(0, &mut buf).unwrap(), 64);
    assert_eq!((buf.to_vec(), sealed.plaintext_len()), (pattern(64), 64));
    path.as_file().set_len(message.len() as u64 - 100).unwrap();
    assert_eq!(sealed.read_at(0, &mut buf[..16]).unwrap(), 16);
    assert_eq!(sealed.read_at(0, &mut buf).unwrap_err().kind(), ErrorKind::Truncated);
    assert_eq!(sealed.read_at(48, &mut buf).unwrap_err().kind(), ErrorKind::Truncated);
    // As a stream: an end that comes too early is not the end of the stream.
    let mut cursor = sealed.cursor();
    cursor.seek(SeekFrom::Start(48)).unwrap();
    for _ in 0..2 {
        let error = cursor.read_exact(&mut buf[..16]).unwrap_err();
        assert_eq!((error.kind(), Error::from(error).kind()), (io::ErrorKind::InvalidData, ErrorKind::Truncated));
    }
}

#[test]
fn what_cannot_be_read_at_any_place_is_refused_and_says_why() {
    let signed = client(SIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    let error = decryptor(SIGNED, &signed).seekable(signed.as_slice()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyViolation);
    // The ways out, the one that gives something up last.
    let text = error.to_string();
    let ways = ["Aes256GcmHkdfSha512CommitKey", "ClientBuilder::suite", "reencrypt", "seekable_ignoring_signature"];
    let places = ways.map(|way| text.find(way).unwrap_or_else(|| panic!("{way} is not in: {text}")));
    assert!(places.is_sorted(), "{text}");
    // A source that fails, and one that reports a wrong length.
    let message = client(UNSIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    let broken = Mutex::new(Broken(message.len() as u64));
    assert_eq!(decryptor(UNSIGNED, &message).seekable(&broken).unwrap_err().kind(), ErrorKind::Io);
    for size in [0, 1, u64::MAX, u64::MAX / 2, message.len() as u64 * 10] {
        let liar = Watched { size, ..Watched::new(&message) };
        assert_eq!(decryptor(UNSIGNED, &message).seekable(liar).unwrap_err().kind(), ErrorKind::Truncated);
    }
}

struct Broken(u64);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl Seek for Broken {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Ok(self.0)
    }
}

#[test]
fn a_signature_may_have_any_length_that_there_is() {
    // Signatures of official SDKs vary in length; ours do not. Seeking does not look at the signature, so any bytes
    // will do.
    let good = client(SIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    let footer = good.len() - 2 - 103;
    for len in [0_usize, 1, 70, 71, 100, 102, 103, 104] {
        let mut message = good[..footer].to_vec();
        message.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        message.extend_from_slice(&vec![0x30; len]);
        let opened = decryptor(SIGNED, &good).seekable_ignoring_signature(message).map(|file| file.plaintext_len());
        assert_eq!(opened.ok(), Some(64), "{len}");
    }
    let mut longest = good[..footer].to_vec();
    longest.extend_from_slice(&[0, 105]);
    longest.extend_from_slice(&[0; 105]);
    decryptor(SIGNED, &good).seekable_ignoring_signature(longest).unwrap_err();
}

#[test]
fn many_threads_read_one_file() {
    let plaintext = pattern(300_000);
    let message = client(UNSIGNED, 1000).encrypt(&plaintext, &none()).unwrap();
    let one_cursor = Arc::new(Mutex::new(Cursor::new(message.clone())));
    let file = decryptor(UNSIGNED, &message).seekable(one_cursor).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (file, plaintext) = (&file, &plaintext);
            scope.spawn(move || {
                for turn in 0..200 {
                    let start = (turn * 7919 + thread * 31_337) % 290_000;
                    let mut buf = vec![0; 1 + turn * 37 % 9000];
                    let count = file.read_at(start as u64, &mut buf).unwrap();
                    assert!(buf[..count] == plaintext[start..start + count]);
                }
            });
        }
    });
}

#[test]
fn a_cursor_is_a_stream_that_moves() {
    for (frame_length, len) in [(16, 1000), (100_000, 250_000), (4096, 300_000)] {
        let (_, file) = sealed(UNSIGNED, frame_length, len);
        let plaintext = pattern(len);
        let mut cursor = file.cursor();
        let mut all = Vec::new();
        cursor.read_to_end(&mut all).unwrap();
        assert!(all == plaintext);
        // Compared with a cursor of the standard library that does the same.
        let mut model = Cursor::new(&plaintext);
        let third = i64::try_from(len / 3).unwrap();
        for to in [
            SeekFrom::Start(5),
            SeekFrom::Current(third),
            SeekFrom::Current(-7),
            SeekFrom::End(-20),
            SeekFrom::Current(-third),
            SeekFrom::End(100),
            SeekFrom::Start(0),
        ] {
            assert_eq!(cursor.seek(to).unwrap(), model.seek(to).unwrap());
            for size in [1, 10, 70_000] {
                let (mut ours, mut theirs) = (vec![0; size], vec![0; size]);
                let count = model.read(&mut theirs).unwrap();
                assert_eq!(cursor.by_ref().take(count as u64).read(&mut ours[..count]).unwrap() > 0, count > 0);
                model.seek(SeekFrom::Start(cursor.stream_position().unwrap())).unwrap();
            }
            let held = cursor.fill_buf().unwrap().to_vec();
            let at = usize::try_from(cursor.stream_position().unwrap()).unwrap().min(len);
            assert!(plaintext[at..].starts_with(&held) && held.is_empty() == (at == len));
        }
        let place = cursor.stream_position().unwrap();
        assert_eq!(cursor.seek(SeekFrom::Current(-1_000_000)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(cursor.stream_position().unwrap(), place);
    }
}

#[test]
fn a_cursor_tells_what_is_wrong_and_goes_on_elsewhere() {
    let message = client(UNSIGNED, 100_000).encrypt(&pattern(300_000), &none()).unwrap();
    let mut bad = message.clone();
    bad[parts(&message).0.len() + 100_032 + 500] ^= 1;
    let file = decryptor(UNSIGNED, &message).seekable(bad).unwrap();
    let mut cursor = file.cursor();
    cursor.seek(SeekFrom::Start(150_000)).unwrap();
    let error = Error::from(cursor.read(&mut [0; 10]).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    cursor.seek(SeekFrom::Start(250_000)).unwrap();
    let mut buf = [0; 10];
    cursor.read_exact(&mut buf).unwrap();
    assert_eq!(buf, pattern(300_000)[250_000..250_010]);
}

#[test]
fn sealed_files_are_sources_like_others() {
    // A message within a message, read through both layers.
    let inner = client(UNSIGNED, 16).encrypt(&pattern(200), &none()).unwrap();
    let outer = client(UNSIGNED, 100).encrypt(&inner, &none()).unwrap();
    let outer = decryptor(UNSIGNED, &outer).seekable(outer).unwrap();
    let file = decryptor(UNSIGNED, &inner).seekable(&outer).unwrap();
    let mut buf = [0; 50];
    file.read_at(77, &mut buf).unwrap();
    assert_eq!(buf[..], pattern(200)[77..127]);
    assert_eq!(file.header().content_type(), ContentType::Framed(16));
}

#[test]
fn the_map_tells_what_to_fetch() {
    // As a program would that keeps messages in a store with range requests.
    let (message, file) = sealed(UNSIGNED, 100, 1234);
    let map = client(UNSIGNED, 100).encryptor(&none()).unwrap().frame_map(1234).unwrap();
    assert_eq!(&map, file.frame_map());
    assert_eq!(map.ciphertext_len(), message.len() as u64);
    let range = map.ciphertext_of(450..620);
    let [start, end] = [range.start, range.end].map(|place| usize::try_from(place).unwrap());
    let mut holes = vec![0; message.len()];
    holes[start..end].copy_from_slice(&message[start..end]);
    // The final frame is always needed: it determines the length.
    let last = map.frame_ciphertext(map.frames()).unwrap();
    let last = usize::try_from(last.start).unwrap()..usize::try_from(last.end).unwrap();
    holes[last.clone()].copy_from_slice(&message[last]);
    let file = decryptor(UNSIGNED, &message).seekable(holes).unwrap();
    let mut buf = [0; 170];
    assert_eq!(file.read_at(450, &mut buf).unwrap(), 170);
    assert_eq!(buf[..], pattern(1234)[450..620]);
    file.read_at(449 - 50, &mut buf[..1]).unwrap_err();
}

#[test]
fn files_are_read_wherever_their_cursor_is() {
    let message = client(UNSIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), &message).unwrap();
    let mut file = File::open(path.path()).unwrap();
    file.seek(SeekFrom::Start(7)).unwrap();
    let sealed = decryptor(UNSIGNED, &message).seekable(&file).unwrap();
    let mut buf = [0; 64];
    sealed.read_at(0, &mut buf).unwrap();
    assert_eq!(buf[..], pattern(64));
}

#[test]
fn a_cursor_forgets_what_it_held_when_it_fails() {
    let message = client(UNSIGNED, 100_000).encrypt(&pattern(300_000), &none()).unwrap();
    let mut bad = message.clone();
    bad[parts(&message).0.len() + 100_032 + 500] ^= 1;
    let file = decryptor(UNSIGNED, &message).seekable(bad).unwrap();
    let mut cursor = file.cursor();
    let mut buf = [0; 10];
    cursor.read_exact(&mut buf).unwrap();
    cursor.seek(SeekFrom::Start(150_000)).unwrap();
    cursor.read(&mut buf).unwrap_err();
    cursor.seek(SeekFrom::Start(10)).unwrap();
    cursor.read_exact(&mut buf).unwrap();
    assert_eq!(buf, pattern(20)[10..]);
}

/// Records the largest read, and the number of reads.
struct Asked(Vec<u8>, AtomicUsize, AtomicUsize);

impl ReadAt for Asked {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.1.fetch_max(buf.len(), Ordering::Relaxed);
        self.2.fetch_add(1, Ordering::Relaxed);
        self.0.read_some_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[test]
fn much_is_fetched_in_pieces_and_little_once() {
    let message = client(UNSIGNED, 4096).encrypt(&pattern(500_000), &none()).unwrap();
    let source = Asked(message.clone(), AtomicUsize::default(), AtomicUsize::default());
    let file = decryptor(UNSIGNED, &message).seekable(source).unwrap();
    let mut all = vec![0; 500_000];
    assert_eq!(file.read_at(0, &mut all).unwrap(), 500_000);
    assert!(all == pattern(500_000));
    assert!(file.get_ref().1.load(Ordering::Relaxed) <= 70_000);
    let mut cursor = file.cursor();
    cursor.read_exact(&mut [0; 1]).unwrap();
    let before = file.get_ref().2.load(Ordering::Relaxed);
    for _ in 0..1000 {
        cursor.read_exact(&mut [0; 10]).unwrap();
    }
    assert_eq!(file.get_ref().2.load(Ordering::Relaxed), before, "what is held is not fetched again");
}

#[cfg(unix)]
mod beside_the_standard_library {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt;

    use manila::*;

    #[test]
    fn all_names_of_the_crate_leave_a_file_its_own() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        let mut buf = [0; 2];
        assert_eq!(file.read_at(&mut buf, 1).unwrap(), 2);
        assert_eq!(&buf, b"el");
        assert_eq!(file.read_some_at(3, &mut buf).unwrap(), 2);
        assert_eq!(&buf, b"lo");
    }
}
