//! A small message of every suite, changed in every way: none of the changed messages opens.

use manila::keyring::RawAesKeyring;
use manila::testing::{client_for, open_every_way, policy_for};
use manila::{AlgorithmSuite, Client, EncryptionContext, ErrorKind, ExpectedContext, UnverifiedHeader};

const FRAME_LENGTH: usize = 8;
const PLAINTEXT: &[u8] = b"three frames of it!!";

struct Subject {
    suite: AlgorithmSuite,
    client: Client,
    message: Vec<u8>,
    /// The offset of the body.
    body: usize,
}

impl Subject {
    fn new(suite: AlgorithmSuite) -> Self {
        let keyring = || RawAesKeyring::new("tests", "k", &[3; 32]).unwrap();
        let reader = client_for(suite, keyring()).unwrap();
        let frame_length = u32::try_from(FRAME_LENGTH).unwrap();
        let writer =
            Client::builder(keyring()).suite(suite).commitment_policy(policy_for(suite)).frame_length(frame_length);
        let context = EncryptionContext::new([("a", "b")]).unwrap();
        let message = writer.build().unwrap().encrypt(PLAINTEXT, &context).unwrap();
        let body = UnverifiedHeader::parse(&message).unwrap().len();
        let subject = Self { suite, client: reader, message, body };
        let opened = open_every_way(&subject.client, &subject.message, &ExpectedContext::any()).unwrap();
        assert_eq!(opened.plaintext, PLAINTEXT);
        subject
    }

    fn all() -> impl Iterator<Item = Self> {
        AlgorithmSuite::ALL.into_iter().map(Self::new)
    }

    #[track_caller]
    fn refuses(&self, message: &[u8], change: &str) -> ErrorKind {
        match open_every_way(&self.client, message, &ExpectedContext::any()) {
            Ok(_) => panic!("suite {}: opens with {change}", self.suite),
            Err(error) if error.kind() == ErrorKind::Internal => panic!("suite {}: {change}: {error:?}", self.suite),
            Err(error) => error.kind(),
        }
    }

    /// Returns the frames, and what follows them.
    fn frames(&self) -> (Vec<&[u8]>, &[u8]) {
        let regular = 4 + 12 + FRAME_LENGTH + 16;
        let (first, rest) = self.message[self.body..].split_at(regular);
        let (second, rest) = rest.split_at(regular);
        let (last, footer) = rest.split_at(4 + 4 + 12 + 4 + PLAINTEXT.len() % FRAME_LENGTH + 16);
        (vec![first, second, last], footer)
    }

    fn of_frames(&self, frames: &[&[u8]], footer: &[u8]) -> Vec<u8> {
        [&self.message[..self.body], &frames.concat(), footer].concat()
    }
}

#[test]
fn every_bit_flip_is_refused() {
    for subject in Subject::all() {
        for at in 0..subject.message.len() {
            for bit in 0..8 {
                let mut changed = subject.message.clone();
                changed[at] ^= 1 << bit;
                subject.refuses(&changed, &format!("bit {bit} of byte {at} flipped"));
            }
        }
    }
}

#[test]
fn every_truncation_is_refused_as_one() {
    for subject in Subject::all() {
        for len in 0..subject.message.len() {
            let kind = subject.refuses(&subject.message[..len], &format!("{len} bytes left"));
            assert_eq!(kind, ErrorKind::Truncated, "suite {}: {len} bytes left", subject.suite);
        }
    }
}

#[test]
fn bytes_behind_the_message_are_refused() {
    for subject in Subject::all() {
        for more in [&b"\0"[..], &subject.message] {
            let kind = subject.refuses(&[&subject.message, more].concat(), "more bytes");
            assert_eq!(kind, ErrorKind::TrailingBytes, "suite {}", subject.suite);
        }
    }
}

#[test]
fn every_way_of_dropping_doubling_or_swapping_frames_is_refused() {
    for subject in Subject::all() {
        let (frames, footer) = subject.frames();
        // Every sequence of up to four of the three frames, except the right one.
        let mut arrangements: Vec<Vec<usize>> = vec![vec![]];
        let mut tried = 0;
        while let Some(arrangement) = arrangements.pop() {
            if arrangement != [0, 1, 2] {
                let arranged: Vec<_> = arrangement.iter().map(|&frame| frames[frame]).collect();
                subject.refuses(&subject.of_frames(&arranged, footer), &format!("frames {arrangement:?}"));
                tried += 1;
            }
            if arrangement.len() < 4 {
                arrangements.extend((0..3).map(|next| [&arrangement[..], &[next]].concat()));
            }
        }
        assert_eq!(tried, 1 + 3 + 9 + 27 + 81 - 1);
    }
}

#[test]
fn frames_and_footers_of_another_message_are_refused() {
    for suite in AlgorithmSuite::ALL {
        let (subject, other) = (Subject::new(suite), Subject::new(suite));
        let ((frames, footer), (others, other_footer)) = (subject.frames(), other.frames());
        for foreign in 0..frames.len() {
            let mut mixed = frames.clone();
            mixed[foreign] = others[foreign];
            subject.refuses(&subject.of_frames(&mixed, footer), &format!("frame {foreign} of another message"));
        }
        if suite.is_signed() {
            let kind = subject.refuses(&subject.of_frames(&frames, other_footer), "another message's footer");
            assert_eq!(kind, ErrorKind::SignatureInvalid);
        }
    }
}
