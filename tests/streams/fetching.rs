//! Frames that the caller fetched: what a program does with an object store's ranges.

use std::ops::Range;

use manila::{AlgorithmSuite, ErrorKind, RangeDecryptor};

use crate::{SIGNED, SUITES, UNSIGNED, any, client, none, parts, pattern};

fn at(message: &[u8], range: Range<u64>) -> &[u8] {
    &message[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

/// Opens the end of a message for a header that was read before it was changed.
fn end_of(suite: AlgorithmSuite, good: &[u8], message: &[u8]) -> manila::Result<RangeDecryptor> {
    let decryptor = client(suite, 16).decryptor(parts(good).0, any()).unwrap();
    let len = message.len() as u64;
    let end = decryptor.end_range(len)?;
    decryptor.range_decryptor_ignoring_signature(len, at(message, end))
}

fn sealed(suite: AlgorithmSuite, frame_length: u32, len: usize) -> (Vec<u8>, RangeDecryptor) {
    let message = client(suite, frame_length).encrypt(&pattern(len), &none()).unwrap();
    let ranges = end_of(suite, &message, &message).unwrap();
    (message, ranges)
}

#[test]
fn every_range_is_in_the_frames_that_the_map_names() {
    for suite in SUITES {
        for (frame_length, len) in [(16, 1), (16, 16), (16, 50), (16, 64), (1, 20), (4096, 60)] {
            let (message, ranges) = sealed(suite, frame_length, len);
            let plaintext = pattern(len);
            for start in 0..len as u64 {
                for end in start + 1..=len as u64 + 2 {
                    let span = ranges.frame_map().frames_of(start..end).unwrap();
                    let opened = ranges.open_frames(span.first(), at(&message, span.ciphertext())).unwrap();
                    assert_eq!(opened, at(&plaintext, span.plaintext()), "{suite} {frame_length} {len} {start}..{end}");
                    assert!(span.plaintext().start <= start && span.plaintext().end >= end.min(len as u64));
                }
            }
        }
    }
}

#[test]
fn an_empty_plaintext_is_one_empty_frame() {
    for suite in SUITES {
        let (message, ranges) = sealed(suite, 16, 0);
        assert_eq!((ranges.plaintext_len(), ranges.frame_map().frames_of(0..1)), (0, None));
        let only = ranges.frame_map().frame_ciphertext(1).unwrap();
        assert_eq!(ranges.open_frames(1, at(&message, only.clone())).unwrap(), b"");
        let mut bad = at(&message, only).to_vec();
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(ranges.open_frames(1, &bad).unwrap_err().kind(), ErrorKind::AuthenticationFailed);
    }
}

#[test]
fn frames_open_in_their_places_alone() {
    for suite in SUITES {
        let (message, ranges) = sealed(suite, 16, 70); // four frames and six bytes
        let frame = |number| at(&message, ranges.frame_map().frame_ciphertext(number).unwrap());
        for place in 1..=5 {
            for number in 1..=5 {
                let opened = ranges.open_frames(place, frame(number));
                assert_eq!(opened.is_ok(), number == place, "{suite}: frame {number} as {place}");
            }
        }
        // Whole frames in another order, doubled, or with one left out.
        for numbers in [[2, 1], [1, 1], [1, 3], [2, 3]] {
            let error = ranges.open_frames(1, &numbers.map(frame).concat()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{numbers:?}: {error}");
        }
        // The final frame is none of the others, even if it is as long.
        let (full, ranges) = sealed(suite, 16, 64);
        let last = ranges.frame_map().frame_ciphertext(4).unwrap();
        ranges.open_frames(4, at(&full, last.clone())).unwrap();
        for number in 1..=3 {
            ranges.open_frames(number, at(&full, last.clone())).unwrap_err();
        }
        // Nor are those of another message under the same data key.
        let other = client(suite, 16).encrypt(&pattern(64), &none()).unwrap();
        let error = ranges.open_frames(4, at(&other, last)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    }
}

#[test]
fn no_bit_of_a_frame_can_be_changed() {
    let (message, ranges) = sealed(UNSIGNED, 16, 40);
    let all = at(&message, 0..message.len() as u64)[parts(&message).0.len()..].to_vec();
    assert_eq!(ranges.open_frames(1, &all).unwrap(), pattern(40));
    for byte in 0..all.len() {
        for bit in 0..8 {
            let mut bad = all.clone();
            bad[byte] ^= 1 << bit;
            let kind = ranges.open_frames(1, &bad).unwrap_err().kind();
            let kinds = [ErrorKind::AuthenticationFailed, ErrorKind::Malformed, ErrorKind::Truncated];
            assert!(kinds.contains(&kind), "bit {bit} of byte {byte}: {kind:?}");
        }
    }
}

#[test]
fn bytes_that_are_not_whole_frames_are_refused() {
    let (message, ranges) = sealed(UNSIGNED, 16, 40); // frames of 48, 48 and 48 bytes
    let body = &message[parts(&message).0.len()..];
    for first in 1..=3_u32 {
        let rest = &body[(first as usize - 1) * 48..];
        for len in 0..=rest.len() {
            let opened = ranges.open_frames(first, &rest[..len]);
            match len {
                48 | 96 | 144 => assert!(opened.is_ok(), "frame {first}, {len} bytes"),
                _ => assert_eq!(opened.unwrap_err().kind(), ErrorKind::Truncated, "frame {first}, {len} bytes"),
            }
        }
        let error = ranges.open_frames(first, &[rest, b"x"].concat()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TrailingBytes);
    }
    for first in [0, 4, u32::MAX] {
        let error = ranges.open_frames(first, &body[..48]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("frames 1 to 3"), "{error}");
    }
}

#[test]
fn no_frame_is_opened_before_the_length_is_verified() {
    for suite in SUITES {
        let good = client(suite, 16).encrypt(&pattern(70), &none()).unwrap();
        end_of(suite, &good, &good).unwrap();
        let header = parts(&good).0.len();
        for end in 0..good.len() {
            end_of(suite, &good, &good[..end]).unwrap_err();
        }
        for more in [1, 16, 32, 48, 96, 100] {
            end_of(suite, &good, &[&good[..], &vec![0; more]].concat()).unwrap_err();
        }
        // Whole frames taken out of the middle leave a message that looks complete.
        let without = [&good[..header + 48], &good[header + 96..]].concat();
        assert_eq!(end_of(suite, &good, &without).unwrap_err().kind(), ErrorKind::Malformed);
        for at in header + 4 * 48..header + 4 * 48 + 46 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            end_of(suite, &good, &bad).unwrap_err();
        }
        // Bytes of another range than that of the end.
        let decryptor = || client(suite, 16).decryptor(parts(&good).0, any()).unwrap();
        let (len, range) = (good.len() as u64, decryptor().end_range(good.len() as u64).unwrap());
        let whole = at(&good, range.clone());
        for wrong in [&whole[1..], &whole[..whole.len() - 1], b"", &good] {
            let error = decryptor().range_decryptor_ignoring_signature(len, wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated);
        }
        for len in [0, 1, header as u64, u64::MAX, u64::MAX / 2] {
            let opened = decryptor().range_decryptor_ignoring_signature(len, whole);
            assert!(opened.is_err(), "{len}");
        }
    }
}

#[test]
fn the_end_is_the_final_frame_and_the_footer() {
    // Not more of an unsigned message, and at most a frame more of a signed one, whatever its length.
    for len in 1..200 {
        let (message, ranges) = sealed(UNSIGNED, 16, len);
        let decryptor = client(UNSIGNED, 16).decryptor(parts(&message).0, any()).unwrap();
        let end = decryptor.end_range(message.len() as u64).unwrap();
        assert_eq!(Some(end), ranges.frame_map().frame_ciphertext(ranges.frame_map().frames()));
        let (message, ranges) = sealed(SIGNED, 200, len);
        let decryptor = client(SIGNED, 200).decryptor(parts(&message).0, any()).unwrap();
        let end = decryptor.end_range(message.len() as u64).unwrap();
        let last = ranges.frame_map().frame_ciphertext(ranges.frame_map().frames()).unwrap();
        assert!(end.start <= last.start && last.start - end.start <= 232 && end.end == message.len() as u64);
    }
}

#[test]
fn signed_messages_are_refused_in_the_same_words() {
    let signed = client(SIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    let decryptor = || client(SIGNED, 16).decryptor(parts(&signed).0, any()).unwrap();
    let end = decryptor().end_range(signed.len() as u64).unwrap();
    let fetched = decryptor().range_decryptor(signed.len() as u64, at(&signed, end)).unwrap_err();
    let sought = decryptor().seekable(signed.as_slice()).unwrap_err();
    assert_eq!((fetched.kind(), fetched.to_string()), (ErrorKind::PolicyViolation, sought.to_string()));
}
