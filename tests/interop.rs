//! Exchanges messages with the running official Python and JavaScript SDKs: they encrypt and we decrypt, we encrypt and
//! they decrypt.
//!
//! Runs if `MANILA_INTEROP` names the folder that `tests/interop/setup.sh` set up; otherwise prints that it did not
//! run. The cases are a pairwise selection: every value of each dimension occurs with every value of each other one, if
//! the two are compatible. They are the same in each run; `MANILA_INTEROP_SEED` selects others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manila::keyring::{Keyring, MultiKeyring, RawAesKeyring};
use manila::testing::{open_every_way, policy_for};
use manila::{AlgorithmSuite, Client, CommitmentPolicy, ContentType, EncryptionContext, ExpectedContext};
use serde_json::{Value, json};

#[path = "interop/peer.rs"]
mod peer;
#[path = "support/set_up.rs"]
mod set_up;

use peer::Peer;

const LEAST_CASES: usize = 320;
const DEFAULT_SEED: u64 = 0x6d61_6e69_6c61;

fn main() -> ExitCode {
    let Some(folder) = set_up::folder("interop", "MANILA_INTEROP") else { return ExitCode::SUCCESS };
    let seed = std::env::var("MANILA_INTEROP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(DEFAULT_SEED);
    let cases = select(seed);
    println!("{} cases, seed {seed}", cases.len());
    let (mut python, mut javascript) = (Peer::python(&folder), Peer::javascript(&folder));
    let mut failed = 0;
    for case in &cases {
        let peer = if case.peer == Who::JavaScript { &mut javascript } else { &mut python };
        if let Err(why) = case.run(peer) {
            failed += 1;
            println!("FAILED (seed {seed}) {case:?}: {why}");
        }
    }
    println!("interop: {} passed, {failed} failed", cases.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Python,
    PythonMasterKeys,
    JavaScript,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    TheySeal,
    WeSeal,
}

/// The length of the plaintext, relative to the frames.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Length {
    Zero,
    One,
    FrameLessOne,
    Frame,
    FrameAndOne,
    ThreeFramesAndSeven,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pairs {
    None,
    Plain,
    /// Keys above U+FFFF next to keys below it, which sort differently by bytes than by UTF-16.
    Wide,
    Large,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Keys {
    Aes(usize),
    #[cfg(feature = "aws-lc")]
    Rsa(&'static str),
    /// Wrapped under two AES keys, and read with the second alone.
    Multi,
}

const PEERS: &[Who] = &[Who::Python, Who::PythonMasterKeys, Who::JavaScript];
const DIRECTIONS: &[Direction] = &[Direction::TheySeal, Direction::WeSeal];
const LENGTHS: &[Length] =
    &[Length::Zero, Length::One, Length::FrameLessOne, Length::Frame, Length::FrameAndOne, Length::ThreeFramesAndSeven];
const FRAME_LENGTHS: &[u32] = &[1, 16, 128, 4096, 65_536];
const CONTEXTS: &[Pairs] = &[Pairs::None, Pairs::Plain, Pairs::Wide, Pairs::Large];
const KEYS: &[Keys] = &[
    Keys::Aes(16),
    Keys::Aes(24),
    Keys::Aes(32),
    #[cfg(feature = "aws-lc")]
    Keys::Rsa("pkcs1"),
    #[cfg(feature = "aws-lc")]
    Keys::Rsa("oaep-sha1"),
    #[cfg(feature = "aws-lc")]
    Keys::Rsa("oaep-sha256"),
    #[cfg(feature = "aws-lc")]
    Keys::Rsa("oaep-sha384"),
    #[cfg(feature = "aws-lc")]
    Keys::Rsa("oaep-sha512"),
    Keys::Multi,
];

struct Case {
    peer: Who,
    direction: Direction,
    suite: AlgorithmSuite,
    frame_length: u32,
    length: Length,
    context: Pairs,
    keys: Keys,
    /// The index of each value in its dimension.
    places: [usize; 7],
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:?} {} frames of {} {:?} context {:?} {:?}",
            self.peer, self.direction, self.suite, self.frame_length, self.length, self.context, self.keys
        )
    }
}

/// Selects cases so that all pairs of values occur: each time, of some random cases, the one that adds the most new
/// pairs.
fn select(seed: u64) -> Vec<Case> {
    const CANDIDATES: usize = 60;
    let mut random = Random(seed);
    let (mut met, mut cases) = (BTreeSet::new(), Vec::new());
    let mut fruitless = 0;
    while cases.len() < LEAST_CASES || fruitless < 5 {
        let candidates = (0..CANDIDATES).map(|_| Case::any(&mut random));
        let new_pairs = |case: &Case| case.pairs().filter(|pair| !met.contains(pair)).count();
        let best = candidates.filter(Case::is_possible).max_by_key(new_pairs).expect("a possible case");
        fruitless = if new_pairs(&best) == 0 { fruitless + 1 } else { 0 };
        met.extend(best.pairs());
        cases.push(best);
    }
    cases
}

impl Case {
    fn any(random: &mut Random) -> Self {
        let sizes = [
            PEERS.len(),
            DIRECTIONS.len(),
            AlgorithmSuite::ALL.len(),
            FRAME_LENGTHS.len(),
            LENGTHS.len(),
            CONTEXTS.len(),
            KEYS.len(),
        ];
        let places = sizes.map(|size| random.below(size));
        Self {
            peer: PEERS[places[0]],
            direction: DIRECTIONS[places[1]],
            suite: AlgorithmSuite::ALL[places[2]],
            frame_length: FRAME_LENGTHS[places[3]],
            length: LENGTHS[places[4]],
            context: CONTEXTS[places[5]],
            keys: KEYS[places[6]],
            places,
        }
    }

    /// Python only writes frame lengths that are multiples of 128.
    fn is_possible(&self) -> bool {
        self.peer == Who::JavaScript || self.direction == Direction::WeSeal || self.frame_length.is_multiple_of(128)
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> + '_ {
        let places = self.places;
        (0..places.len()).flat_map(move |a| (0..a).map(move |b| (a, places[a], b, places[b])))
    }

    fn run(&self, peer: &mut Peer) -> Result<(), String> {
        let plaintext: Vec<u8> = (0..self.plaintext_len()).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
        let pairs = self.context.pairs();
        let context = EncryptionContext::new(pairs.clone()).unwrap();
        let client = |keyring: Box<dyn Keyring>| {
            Client::builder(keyring).suite(self.suite).commitment_policy(self.policy()).frame_length(self.frame_length)
        };
        match self.direction {
            Direction::WeSeal => {
                let client = client(self.keys.ours(false)).build().unwrap();
                let sealed = client.encrypt(&plaintext, &context).map_err(|error| format!("{error:?}"))?;
                let answer = peer.ask(&self.request("decrypt", &sealed, &self.keys.theirs(true)))?;
                check("their plaintext", answer["data"] == STANDARD.encode(&plaintext))?;
                self.check_header(&answer["header"], &pairs)
            }
            Direction::TheySeal => {
                let answer = peer.ask(&self.request("encrypt", &plaintext, &self.keys.theirs(false)))?;
                let sealed = STANDARD.decode(answer["data"].as_str().unwrap_or_default()).unwrap();
                let client = client(self.keys.ours(true)).build().unwrap();
                let expected = ExpectedContext::exactly(&context);
                let opened = open_every_way(&client, &sealed, &expected).map_err(|error| format!("{error:?}"))?;
                check("our plaintext", opened.plaintext == plaintext)?;
                check("our suite", opened.header.suite() == self.suite)?;
                check("our frame length", opened.header.content_type() == ContentType::Framed(self.frame_length))?;
                self.check_header(&answer["header"], &pairs)
            }
        }
    }

    fn plaintext_len(&self) -> usize {
        let frame = self.frame_length as usize;
        match self.length {
            Length::Zero => 0,
            Length::One => 1,
            Length::FrameLessOne => frame - 1,
            Length::Frame => frame,
            Length::FrameAndOne => frame + 1,
            Length::ThreeFramesAndSeven => 3 * frame + 7,
        }
    }

    fn policy(&self) -> CommitmentPolicy {
        policy_for(self.suite)
    }

    fn request(&self, op: &str, data: &[u8], keyring: &Value) -> Value {
        let pairs: serde_json::Map<_, _> =
            self.context.pairs().into_iter().map(|(key, value)| (key, value.into())).collect();
        let mut request = json!({
            "op": op,
            "keyring": keyring,
            "data": STANDARD.encode(data),
            "commitment_policy": format!("{:?}", self.policy()),
            "encryption_context": pairs,
        });
        let fields = request.as_object_mut().unwrap();
        if op == "encrypt" {
            fields.insert("suite".to_owned(), self.suite.to_string().into());
            fields.insert("frame_length".to_owned(), self.frame_length.into());
        }
        if self.peer == Who::PythonMasterKeys {
            fields.insert("api".to_owned(), "master-key-provider".into());
            if op == "decrypt" {
                // The legacy API leaves the check to its caller; the header that it returns is checked here.
                fields.remove("encryption_context");
            }
        }
        request
    }

    fn check_header(&self, header: &Value, pairs: &[(String, String)]) -> Result<(), String> {
        check("their suite", header["suite"] == self.suite.to_string())?;
        check("their frame length", header["frame_length"] == self.frame_length)?;
        check("their version", header["version"] == self.suite.message_version())?;
        let keys = if self.keys == Keys::Multi { 2 } else { 1 };
        check("their data keys", header["edks"].as_array().map(Vec::len) == Some(keys))?;
        let found = header["encryption_context"].as_object().ok_or("no context")?;
        let public_key = usize::from(self.suite.is_signed());
        let same = pairs.iter().all(|(key, value)| found.get(key) == Some(&Value::from(value.as_str())));
        check("their context", same && found.len() == pairs.len() + public_key)
    }
}

fn check(what: &str, right: bool) -> Result<(), String> {
    if right { Ok(()) } else { Err(format!("{what} differs")) }
}

impl Pairs {
    fn pairs(self) -> Vec<(String, String)> {
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        match self {
            Self::None => Vec::new(),
            Self::Plain => owned(&[("tenant", "acme"), ("B", "2"), ("a", "1"), ("empty", "")]),
            Self::Wide => owned(&[
                ("\u{1f511}", "key"),
                ("\u{10000}", "first above"),
                ("\u{ffe6}", "below"),
                ("\u{e000}", "private use"),
                ("\u{fb01}x", "ligature"),
                ("ß", "\u{1f600}"),
                ("z\u{301}", "combining"),
            ]),
            Self::Large => (0..6).map(|n| (format!("key {n}"), "v".repeat(10_000))).collect(),
        }
    }
}

const KEY: [u8; 32] = *b"a test key of thirty-two bytes..";
const OTHER: [u8; 32] = *b"another test key, also of 32 ...";

impl Keys {
    /// Makes our keyring to encrypt or to decrypt with.
    fn ours(self, open: bool) -> Box<dyn Keyring> {
        let aes = |name: &str, key: &[u8]| RawAesKeyring::new("interop", name, key).unwrap();
        match self {
            Self::Aes(len) => Box::new(aes("aes", &KEY[..len])),
            #[cfg(feature = "aws-lc")]
            Self::Rsa(padding) => {
                use manila::keyring::{RawRsaKeyring, RsaPadding, RsaPrivateKey, RsaPublicKey};
                let padding = match padding {
                    "pkcs1" => RsaPadding::Pkcs1,
                    "oaep-sha1" => RsaPadding::OaepSha1,
                    "oaep-sha256" => RsaPadding::OaepSha256,
                    "oaep-sha384" => RsaPadding::OaepSha384,
                    _ => RsaPadding::OaepSha512,
                };
                let (public, private) = rsa_pems();
                let keyring = if open {
                    RawRsaKeyring::private("interop", "rsa", padding, RsaPrivateKey::from_pem(&private).unwrap())
                } else {
                    RawRsaKeyring::public("interop", "rsa", padding, RsaPublicKey::from_pem(&public).unwrap())
                };
                Box::new(keyring.unwrap().allow_pkcs1_decrypt())
            }
            Self::Multi if open => Box::new(aes("second", &OTHER)),
            Self::Multi => Box::new(MultiKeyring::new(aes("first", &KEY)).child(aes("second", &OTHER))),
        }
    }

    /// Describes the same keys for the peers.
    fn theirs(self, open: bool) -> Value {
        let aes = |name: &str, key: &[u8]| json!({"type": "raw-aes", "namespace": "interop", "name": name, "key": STANDARD.encode(key)});
        match self {
            Self::Aes(len) => aes("aes", &KEY[..len]),
            #[cfg(feature = "aws-lc")]
            Self::Rsa(padding) => {
                let (public, private) = rsa_pems();
                let (half, pem) = if open { ("private_pem", private) } else { ("public_pem", public) };
                json!({"type": "raw-rsa", "namespace": "interop", "name": "rsa", "padding": padding, half: pem})
            }
            Self::Multi if open => aes("second", &OTHER),
            Self::Multi => {
                json!({"type": "multi", "generator": aes("first", &KEY), "children": [aes("second", &OTHER)]})
            }
        }
    }
}

/// A key from the vectors, which protects nothing.
#[cfg(feature = "aws-lc")]
fn rsa_pems() -> (String, String) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/manifest.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let key = &manifest["keys"]["rsa2048-a"];
    (key["public_pem"].as_str().unwrap().to_owned(), key["private_pem"].as_str().unwrap().to_owned())
}

/// `SplitMix64`, so that a seed means the same cases everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}
