//! The format from both ends: an independent reader opens what this crate writes, and opens what the official SDKs
//! wrote.

mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manila::cmm::RequiredContextCmm;
use manila::keyring::RawAesKeyring;
use manila::testing::{FixedKeyKeyring, client_for, open_every_way, policy_for};
use manila::{AlgorithmSuite, Client, EncryptionContext, ErrorKind, ExpectedContext};
use serde_json::Value;

use page::{Curve, DataKey, Departures, Header, Kdf, Message, Outcome, Pairs, SUITES, Suite};

const KEY: [u8; 32] = [5; 32];

fn keyring() -> RawAesKeyring {
    RawAesKeyring::new("tests", "k", &KEY).unwrap()
}

/// Makes a client that encrypts with a suite, and decrypts the result.
fn client(suite: AlgorithmSuite, frame_length: u32) -> Client {
    let builder = Client::builder(keyring()).suite(suite).commitment_policy(policy_for(suite));
    builder.frame_length(frame_length).build().unwrap()
}

fn pairs_of(context: &EncryptionContext) -> Pairs {
    context.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Opens a message of [`keyring`] with the independent reader.
fn read(message: &[u8], left_out: &[(String, String)]) -> Outcome<Message> {
    page::open(message, left_out, Departures::default(), |header| {
        page::unwrap_aes(header, "tests", "k", &KEY, &[&header.pairs, left_out].concat())
    })
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
}

/// Returns the lengths of the frames: all are full except possibly the last.
fn frames_of(len: usize, frame_length: usize) -> Vec<usize> {
    let full = len.saturating_sub(1) / frame_length;
    let mut frames = vec![frame_length; full];
    frames.push(len - full * frame_length);
    frames
}

/// The vectors: the manifest, and its messages and plaintexts.
struct Vectors {
    manifest: Value,
    files: BTreeMap<String, Vec<u8>>,
}

impl Vectors {
    fn load() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/");
        let read = |name: &str| std::fs::read(format!("{folder}{name}")).unwrap();
        let files = ["messages.bin", "plaintext.bin"].map(|name| (name.to_owned(), read(name)));
        Self { manifest: serde_json::from_slice(&read("manifest.json")).unwrap(), files: files.into() }
    }

    fn slice(&self, slice: &Value) -> &[u8] {
        let number = |name: &str| usize::try_from(slice[name].as_u64().unwrap()).unwrap();
        &self.files[slice["file"].as_str().unwrap()][number("at")..][..number("len")]
    }

    /// Returns the valid messages of the official SDKs that a raw AES keyring opens.
    fn of_raw_aes(&self) -> impl Iterator<Item = &Value> {
        let all = self.manifest["tests"].as_array().unwrap().iter();
        all.filter(|case| {
            let is_official = !["crafted", "mutated"].contains(&case["produced_by"].as_str().unwrap());
            // The wrapped keys of these are bound to a context serialised in an order that is not the specification's.
            let is_ordered = case["category"] != "javascript-default-order";
            is_official && is_ordered && case["expect"] == "ok" && case["keyring"]["type"] == "raw-aes"
        })
    }

    fn open(&self, case: &Value) -> Outcome<Message> {
        let lists = ["required_context_keys", "keys_outside_header"].map(|list| case[list].as_array());
        let required: BTreeSet<&str> = lists.into_iter().flatten().flatten().filter_map(Value::as_str).collect();
        let given = case["decrypt_context"].as_object().into_iter().flatten();
        let left_out: Pairs = given
            .filter(|(key, _)| required.contains(key.as_str()))
            .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let text = |name: &str| case["keyring"][name].as_str().unwrap();
        let key = STANDARD.decode(self.manifest["keys"][text("key")]["base64"].as_str().unwrap()).unwrap();
        page::open(self.slice(&case["ciphertext"]), &left_out, Departures::default(), |header| {
            let context = [&header.pairs[..], &left_out].concat();
            page::unwrap_aes(header, text("namespace"), text("name"), &key, &context)
        })
    }
}

#[test]
fn the_second_reader_opens_what_the_official_sdks_wrote() {
    let vectors = Vectors::load();
    let (mut opened, mut suites) = (BTreeMap::<&str, usize>::new(), BTreeSet::new());
    for case in vectors.of_raw_aes() {
        let message = vectors.open(case).unwrap_or_else(|why| panic!("{}: {why}", case["id"]));
        assert!(message.plaintext == vectors.slice(&case["plaintext"]), "{}", case["id"]);
        suites.insert(message.header.suite.id);
        *opened.entry(case["produced_by"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(suites, SUITES.iter().map(|suite| suite.id).collect());
    assert_eq!(opened.keys().copied().collect::<Vec<_>>(), ["javascript", "python", "python-mkp", "rust"]);
    assert!(opened.values().all(|count| *count > 50), "{opened:?}");
}

#[test]
fn the_second_reader_opens_every_suite_frame_length_and_way_of_sealing() {
    let contexts = [&[][..], &[("tenant", "acme")], &[("\u{1f511}", "z"), ("\u{ffe6}", ""), ("b", "2"), ("B", "1")]];
    assert_eq!(AlgorithmSuite::ALL.len(), SUITES.len());
    for (suite, row) in AlgorithmSuite::ALL.into_iter().zip(SUITES) {
        assert_eq!(suite.id(), row.id);
        for frame_length in [1_u32, 16, 4096] {
            let client = client(suite, frame_length);
            let frame_length = usize::try_from(frame_length).unwrap();
            for (n, len) in
                [0, 1, frame_length - 1, frame_length, frame_length + 1, 3 * frame_length + 7].into_iter().enumerate()
            {
                let (plaintext, pairs) = (pattern(len), contexts[n % contexts.len()]);
                let context = EncryptionContext::new(pairs.iter().copied()).unwrap();
                let mut writer = client.encryptor(&context).unwrap().writer(Vec::new());
                writer.write_all(&plaintext).unwrap();
                let mut into = b"what was there before".to_vec();
                client.encrypt_into(&plaintext, &context, &mut into).unwrap();
                for sealed in [client.encrypt(&plaintext, &context).unwrap(), writer.finish().unwrap(), into] {
                    let message =
                        read(&sealed, &[]).unwrap_or_else(|why| panic!("{suite} {frame_length} {len}: {why}"));
                    assert!(message.plaintext == plaintext);
                    assert_eq!(message.frames, frames_of(len, frame_length), "{suite}");
                    assert_eq!((message.header.suite, message.header.frame_length), (row, frame_length));
                    let mut wanted = pairs_of(&context);
                    wanted.extend(message.public_key.map(|key| ("aws-crypto-public-key".to_owned(), key)));
                    wanted.sort_by(|one, other| one.0.as_bytes().cmp(other.0.as_bytes()));
                    assert_eq!(message.header.pairs, wanted);
                }
            }
        }
    }
}

#[test]
fn a_plaintext_that_fits_a_frame_is_one_final_frame() {
    for len in 0..=16 {
        let sealed = client(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 16).encrypt(&pattern(len), &none()).unwrap();
        assert_eq!(read(&sealed, &[]).unwrap().frames, [len]);
    }
}

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

#[test]
fn pairs_that_are_left_out_are_under_the_headers_tag() {
    let given = EncryptionContext::new([("tenant", "acme"), ("kind", "note"), ("of", "us")]).unwrap();
    for suite in AlgorithmSuite::ALL {
        let cmm = RequiredContextCmm::new(keyring(), ["tenant", "of"]).unwrap();
        let client = Client::builder_with_cmm(cmm).suite(suite).commitment_policy(policy_for(suite)).build().unwrap();
        let sealed = client.encrypt(b"x", &given).unwrap();
        let pairs = |pairs: &[(&str, &str)]| -> Pairs {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        // The data key is bound to all pairs, whichever of them the header's tag is verified with.
        let open = |left_out: &[(&str, &str)]| {
            page::open(&sealed, &pairs(left_out), Departures::default(), |header| {
                let context = [&header.pairs[..], &pairs(&[("of", "us"), ("tenant", "acme")])].concat();
                page::unwrap_aes(header, "tests", "k", &KEY, &context)
            })
        };
        assert_eq!(open(&[("tenant", "acme"), ("of", "us")]).unwrap().plaintext, b"x", "{suite}");
        for wrong in [&[][..], &[("tenant", "acme")], &[("tenant", "acme"), ("of", "them")]] {
            assert_eq!(open(wrong).err(), Some("a wrong tag"), "{suite}: {wrong:?}");
        }
    }
}

#[test]
fn each_signed_message_has_a_key_of_its_own_in_its_context() {
    for row in SUITES {
        let Some(curve) = row.curve else { continue };
        let client = client(AlgorithmSuite::from_id(row.id).unwrap(), 16);
        let keys: BTreeSet<_> =
            (0..20).map(|_| read(&client.encrypt(b"x", &none()).unwrap(), &[]).unwrap().public_key.unwrap()).collect();
        assert_eq!(keys.len(), 20, "{row:?}");
        // Compressed points.
        let len = if curve == Curve::P256 { 33 } else { 49 };
        for point in keys.iter().map(|key| STANDARD.decode(key).unwrap()) {
            assert!(point.len() == len && [2, 3].contains(&point[0]), "{row:?}");
        }
    }
}

/// Records each write.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl Write for Writes {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.push(buf.to_vec());
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_footer_leaves_whole_and_is_the_signature_behind_its_length() {
    for (suite, len) in [
        (AlgorithmSuite::Aes128GcmHkdfSha256EcdsaP256, 71_u8),
        (AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384, 103),
    ] {
        let mut writer = client(suite, 16).encryptor(&none()).unwrap().writer(Writes::default());
        writer.write_all(&pattern(40)).unwrap();
        let writes = writer.finish().unwrap().0;
        let sealed = writes.concat();
        assert_eq!(read(&sealed, &[]).unwrap().frames, [16, 16, 8]);
        // The reader has verified the message; here it is cut at the end of the last frame.
        let footer = &sealed[sealed.len() - usize::from(len) - 2..];
        assert_eq!(footer[..3], [0, len, 0x30]);
        assert!(writes.last().unwrap().ends_with(footer), "{:?}", writes.last());
    }
}

/// The changelog of .NET 4.0.1 says what was wrong: two extra zero bytes if no pair was left out of the header, and no
/// message id in the info of HKDF.
#[test]
fn what_dotnet_4_0_0_wrote_otherwise_than_the_pages_is_not_opened() {
    let write = |suite: Suite, departures: Departures| {
        let data_keys = vec![DataKey { provider: b"p".to_vec(), info: b"i".to_vec(), ciphertext: b"c".to_vec() }];
        let message_id = vec![9; if suite.kdf == Kdf::Sha512 { 32 } else { 16 }];
        let pairs = vec![("a".to_owned(), "b".to_owned())];
        let header = Header { suite, message_id, pairs, data_keys, frame_length: 512, commitment: Vec::new() };
        page::write(header, &KEY[..suite.key_len], b"hello", departures)
    };
    let no_message_id = Departures { no_message_id: true, ..Departures::default() };
    let counted = Departures { empty_pairs_counted: true, ..Departures::default() };
    let both = Departures { no_message_id: true, empty_pairs_counted: true };
    for row in SUITES.into_iter().filter(|row| row.curve.is_none()) {
        let suite = AlgorithmSuite::from_id(row.id).unwrap();
        let client = client_for(suite, FixedKeyKeyring::new(&KEY[..row.key_len])).unwrap();
        let right = write(row, Departures::default());
        assert_eq!(open_every_way(&client, &right, &ExpectedContext::any()).unwrap().plaintext, b"hello", "{suite}");
        for departures in [no_message_id, counted, both] {
            let message = write(row, departures);
            assert_eq!(
                page::open(&message, &[], departures, |_| Ok(KEY[..row.key_len].to_vec())).unwrap().plaintext,
                b"hello"
            );
            if message == right {
                assert!(matches!(row.kdf, Kdf::Identity | Kdf::Sha512) && !departures.empty_pairs_counted);
                continue;
            }
            let error = open_every_way(&client, &message, &ExpectedContext::any()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{suite} {departures:?}");
        }
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn a_raw_rsa_keyring_makes_a_data_key_of_the_suites_length_and_wraps_what_it_is_given() {
    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use manila::keyring::{MultiKeyring, RawRsaKeyring, RsaPadding, RsaPublicKey};

    let keys = &Vectors::load().manifest["keys"]["rsa2048-a"];
    let public = || RsaPublicKey::from_pem(keys["public_pem"].as_str().unwrap()).unwrap();
    let rsa = |name: &str| RawRsaKeyring::public("rsa", name, RsaPadding::OaepSha256, public()).unwrap();
    let lines = keys["private_pem"].as_str().unwrap().lines().filter(|line| !line.starts_with('-'));
    let der = STANDARD.decode(lines.collect::<String>()).unwrap();
    let private = OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(&der).unwrap()).unwrap();
    let unwrap = |data_key: &DataKey| {
        let mut space = vec![0; private.min_output_size()];
        private.decrypt(&OAEP_SHA256_MGF1SHA256, &data_key.ciphertext, &mut space, None).unwrap().to_vec()
    };
    for row in SUITES {
        let suite = AlgorithmSuite::from_id(row.id).unwrap();
        let seal = |keyring: MultiKeyring| {
            let builder = Client::builder(keyring).suite(suite).commitment_policy(policy_for(suite));
            builder.build().unwrap().encrypt(b"hello", &none()).unwrap()
        };
        let mut data_keys = BTreeSet::new();
        for _ in 0..2 {
            let sealed = seal(MultiKeyring::new(rsa("one")).child(rsa("two")));
            let message = page::open(&sealed, &[], Departures::default(), |header| {
                let named: Vec<_> = header.data_keys.iter().map(|key| (&key.provider[..], &key.info[..])).collect();
                assert_eq!(named, [(&b"rsa"[..], &b"one"[..]), (b"rsa", b"two")]);
                let [made, given] = [0, 1].map(|at| unwrap(&header.data_keys[at]));
                assert_eq!((made.len(), &made), (row.key_len, &given));
                data_keys.insert(made.clone());
                Ok(made)
            });
            assert_eq!(message.unwrap().plaintext, b"hello", "{suite}");
        }
        assert_eq!(data_keys.len(), 2, "made anew");
    }
}
