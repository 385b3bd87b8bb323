//! The raw RSA keyring: the encodings of its keys, and that PKCS #1 v1.5 reveals nothing about padding.

#![cfg(feature = "aws-lc")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use manila::keyring::{Keyring, MultiKeyring, RawAesKeyring, RawRsaKeyring, RsaPadding, RsaPrivateKey, RsaPublicKey};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::{ContextBinding, check_keyring, client_for, header_tags_checked, open_every_way, ready};
use manila::{
    AlgorithmSuite, Client, EncryptedDataKey, EncryptionContext, Error, ErrorKind, ExpectedContext, UnverifiedHeader,
};

use RsaPadding::{OaepSha1, OaepSha256, OaepSha384, OaepSha512, Pkcs1};

/// Reads a key from the vectors, which protects nothing.
fn pem(key: &str, half: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/manifest.json");
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    manifest["keys"][key][half].as_str().unwrap().to_owned()
}

fn public(key: &str) -> RsaPublicKey {
    RsaPublicKey::from_pem(&pem(key, "public_pem")).unwrap()
}

fn private(key: &str) -> RsaPrivateKey {
    RsaPrivateKey::from_pem(&pem(key, "private_pem")).unwrap()
}

fn pair(key: &str, padding: RsaPadding) -> RawRsaKeyring {
    RawRsaKeyring::pair("tests", "k", padding, public(key), private(key)).unwrap()
}

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

#[test]
fn who_has_the_public_key_seals_and_who_has_the_private_key_opens() {
    for padding in [Pkcs1, OaepSha1, OaepSha256, OaepSha384, OaepSha512] {
        let sealer = Client::new(RawRsaKeyring::public("tests", "k", padding, public("rsa2048-a")).unwrap());
        let opener = RawRsaKeyring::private("tests", "k", padding, private("rsa2048-a")).unwrap();
        let opener = Client::new(opener.allow_pkcs1_decrypt());
        let message = sealer.encrypt(b"for one reader", &none()).unwrap();
        let opened = open_every_way(&opener, &message, &ExpectedContext::any()).unwrap();
        assert_eq!(opened.plaintext, b"for one reader");
        assert_eq!(opened.header.encrypted_data_keys()[0].provider_info, b"k");
        let cannot_open = sealer.decrypt(&message, ExpectedContext::any()).unwrap_err();
        assert!(cannot_open.to_string().contains("no private key"), "{cannot_open}");
        // The public key is not derived from the private one.
        assert_eq!(opener.encrypt(b"", &none()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let other = Client::new(pair("rsa2048-b", padding).allow_pkcs1_decrypt());
        assert!(other.decrypt(&message, ExpectedContext::any()).is_err());
    }
}

#[test]
fn raw_rsa_keyrings_keep_the_contract_but_for_what_rsa_cannot_do() {
    for padding in [Pkcs1, OaepSha1, OaepSha256, OaepSha384, OaepSha512] {
        let keyring = pair("rsa2048-a", padding).allow_pkcs1_decrypt();
        ready(check_keyring(&keyring, ContextBinding::MessageAlone)).unwrap();
        let error = ready(check_keyring(&keyring, ContextBinding::DataKey)).unwrap_err();
        assert!(error.to_string().contains("not bound to the encryption context"), "{error}");
    }
}

#[test]
fn the_padding_is_the_keyrings() {
    let message = Client::new(pair("rsa2048-a", OaepSha1)).encrypt(b"", &none()).unwrap();
    for padding in [OaepSha256, OaepSha384, OaepSha512] {
        let error = Client::new(pair("rsa2048-a", padding)).decrypt(&message, ExpectedContext::any()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoUsableDataKey);
    }
}

#[test]
fn keys_come_in_pem_and_der_of_pkcs8_spki_and_pkcs1() {
    let document = |pem: &str| pkcs8::Document::from_pem(pem).unwrap().1;
    let spki = document(&pem("rsa2048-a", "public_pem"));
    let pkcs8 = document(&pem("rsa2048-a", "private_pem"));
    let as_pem =
        |label, der: &[u8]| pkcs8::Document::try_from(der).unwrap().to_pem(label, pkcs8::LineEnding::LF).unwrap();
    // Both of these contain the PKCS #1 form.
    let parsed = pkcs8::SubjectPublicKeyInfoRef::try_from(spki.as_bytes()).unwrap();
    let public_pkcs1 = parsed.subject_public_key.as_bytes().unwrap();
    let parsed = pkcs8::PrivateKeyInfoRef::try_from(pkcs8.as_bytes()).unwrap();
    let private_pkcs1 = parsed.private_key.as_bytes();
    let publics = [
        RsaPublicKey::from_der(spki.as_bytes()),
        RsaPublicKey::from_der(public_pkcs1),
        RsaPublicKey::from_pem(&as_pem("RSA PUBLIC KEY", public_pkcs1)),
    ];
    let privates = [
        RsaPrivateKey::from_der(pkcs8.as_bytes()),
        RsaPrivateKey::from_der(private_pkcs1),
        RsaPrivateKey::from_pem(&as_pem("RSA PRIVATE KEY", private_pkcs1)),
    ];
    for (public, private) in publics.into_iter().zip(privates) {
        let keyring = RawRsaKeyring::pair("tests", "k", OaepSha256, public.unwrap(), private.unwrap()).unwrap();
        let client = Client::new(keyring);
        let message = client.encrypt(b"x", &none()).unwrap();
        assert_eq!(client.decrypt(&message, ExpectedContext::any()).unwrap().plaintext, b"x");
    }
    for bad in ["", "no key", &pem("rsa2048-a", "private_pem"), &pem("p256-a", "public_pem")] {
        assert_eq!(RsaPublicKey::from_pem(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for bad in ["", &pem("rsa2048-a", "public_pem"), &pem("p256-a", "private_pem")] {
        assert_eq!(RsaPrivateKey::from_pem(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(RsaPublicKey::from_der(&[0x30, 0x82]).is_err() && RsaPrivateKey::from_der(&[]).is_err());
}

#[test]
fn debug_shows_no_key() {
    let shown = format!("{:?} {:?}", pair("rsa2048-a", Pkcs1), private("rsa2048-a"));
    assert!(shown.contains("RsaPrivateKey(redacted)") && !shown.contains("MII") && shown.len() < 400, "{shown}");
}

#[test]
fn pkcs1_opens_only_where_it_is_allowed() {
    let message = Client::new(pair("rsa2048-a", Pkcs1)).encrypt(b"", &none()).unwrap();
    let error = Client::new(pair("rsa2048-a", Pkcs1)).decrypt(&message, ExpectedContext::any()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableDataKey);
    assert!(error.to_string().contains("allow_pkcs1_decrypt"), "{error}");
}

/// Encrypts as an attacker with only the public key could: under their own data key, which comes last in the message or
/// is left out, after data keys of their choice.
#[derive(Debug)]
struct Attacker {
    candidates: Vec<Vec<u8>>,
    own_too: bool,
}

impl Keyring for Attacker {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async {
            let public = RawRsaKeyring::public("tests", "k", Pkcs1, public("rsa2048-a")).unwrap();
            let mut wrapped = public.on_encrypt(materials).await?;
            let own = wrapped.encrypted_data_keys.remove(0);
            let of_name = |ciphertext: &Vec<u8>| EncryptedDataKey { ciphertext: ciphertext.clone(), ..own.clone() };
            wrapped.encrypted_data_keys = self.candidates.iter().map(of_name).collect();
            wrapped.encrypted_data_keys.extend(self.own_too.then_some(own));
            Ok(wrapped)
        })
    }

    fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async { Ok(UnwrapOutcome::default()) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

fn forged(suite: AlgorithmSuite, candidates: Vec<Vec<u8>>, own_too: bool) -> Vec<u8> {
    client_for(suite, Attacker { candidates, own_too }).unwrap().encrypt(b"forged", &none()).unwrap()
}

/// Returns the first data key of a valid message of `suite`.
fn data_key_of_another_message(suite: AlgorithmSuite, key: &str) -> Vec<u8> {
    let message = client_for(suite, pair(key, Pkcs1)).unwrap().encrypt(b"x", &none()).unwrap();
    UnverifiedHeader::parse(&message).unwrap().encrypted_data_keys()[0].ciphertext.clone()
}

/// Returns data keys that an attacker would like to tell apart: the first has valid padding and the right length.
fn candidates(suite: AlgorithmSuite) -> Vec<Vec<u8>> {
    let other_length = match suite.data_key_len() {
        32 => AlgorithmSuite::Aes128GcmHkdfSha256,
        _ => AlgorithmSuite::Aes256GcmHkdfSha256,
    };
    let wrong_padding = |ciphertext: Vec<u8>| {
        assert!(private_decrypts_to(&ciphertext).is_none(), "padded well by chance");
        ciphertext
    };
    vec![
        data_key_of_another_message(suite, "rsa2048-a"),
        data_key_of_another_message(other_length, "rsa2048-a"),
        wrong_padding(data_key_of_another_message(suite, "rsa2048-b").iter().map(|byte| byte >> 1).collect()),
        wrong_padding(vec![1; 256]),
        // Larger than the modulus, or of a length that RSA does not accept.
        wrong_padding(vec![0xff; 256]),
        wrong_padding(vec![1; 255]),
        wrong_padding(Vec::new()),
    ]
}

/// Returns the length of the plaintext that AWS-LC finds in a ciphertext, if its padding is valid.
fn private_decrypts_to(ciphertext: &[u8]) -> Option<usize> {
    use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
    let (_, der) = pkcs8::SecretDocument::from_pem(&pem("rsa2048-a", "private_pem")).unwrap();
    let key = Pkcs1PrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(der.as_bytes()).unwrap()).unwrap();
    key.decrypt(ciphertext, &mut [0; 256]).ok().map(|plaintext| plaintext.len())
}

/// Counts its calls, and is unavailable.
#[derive(Clone, Debug, Default)]
struct Down(Arc<AtomicU64>);

impl Keyring for Down {
    fn on_encrypt<'a>(&'a self, _: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "the KMS is down")) })
    }

    fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "the KMS is down")) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// Returns the kind, text and number of causes: everything that an error reveals.
fn told(client: &Client, message: &[u8]) -> (ErrorKind, String, usize) {
    let error = open_every_way(client, message, &ExpectedContext::any()).unwrap_err();
    (error.kind(), error.to_string(), error.causes().len())
}

/// A suite for each way to derive a key, and one with shorter keys.
const SUITES: [AlgorithmSuite; 4] = [
    AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    AlgorithmSuite::Aes256GcmHkdfSha256,
    AlgorithmSuite::Aes256GcmNoKdf,
    AlgorithmSuite::Aes128GcmHkdfSha256,
];

#[test]
fn no_pkcs1_data_key_that_does_not_open_tells_why() {
    for suite in SUITES {
        let reader = client_for(suite, pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt()).unwrap();
        let told = candidates(suite).into_iter().map(|candidate| told(&reader, &forged(suite, vec![candidate], false)));
        let told: Vec<_> = told.collect();
        assert_eq!((told[0].0, told[0].2), (ErrorKind::NoUsableDataKey, 1), "{suite}: {}", told[0].1);
        assert!(told.iter().all(|other| *other == told[0]), "{suite}: {told:#?}");
    }
}

/// An attacker chooses the length of the header, so the time would reveal a candidate for which the pass over it was
/// skipped.
#[test]
fn every_pkcs1_data_key_takes_the_same_work() {
    for suite in SUITES {
        let reader = client_for(suite, pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt()).unwrap();
        for candidate in candidates(suite) {
            for count in [1, 5] {
                let message = forged(suite, vec![candidate.clone(); count], false);
                let before = header_tags_checked();
                reader.decrypt(&message, ExpectedContext::any()).unwrap_err();
                assert_eq!(header_tags_checked() - before, count as u64, "{suite}");
            }
        }
    }
}

#[test]
fn an_attackers_own_data_key_behind_a_candidate_does_not_tell_its_padding() {
    for suite in SUITES {
        let reader = client_for(suite, pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt()).unwrap();
        for candidate in candidates(suite) {
            let message = forged(suite, vec![candidate], true);
            assert_eq!(reader.decrypt(&message, ExpectedContext::any()).unwrap().plaintext, b"forged", "{suite}");
        }
    }
    // As many as the default limit allows: none with valid padding, and then one.
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
    let reader = client_for(suite, pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt()).unwrap();
    let mut many = vec![vec![1; 256]; 63];
    assert!(reader.decrypt(&forged(suite, many.clone(), true), ExpectedContext::any()).is_ok());
    many[40] = candidates(suite).swap_remove(0);
    assert!(reader.decrypt(&forged(suite, many, true), ExpectedContext::any()).is_ok());
}

#[test]
fn the_next_member_of_a_multi_keyring_is_asked_whatever_the_pkcs1_padding() {
    for suite in SUITES {
        let mut first = None;
        for candidate in candidates(suite) {
            let next = Down::default();
            let rsa = pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt();
            let reader = client_for(suite, MultiKeyring::without_generator(rsa).child(next.clone())).unwrap();
            let error = reader.decrypt(&forged(suite, vec![candidate], false), ExpectedContext::any()).unwrap_err();
            assert_eq!(next.0.load(Ordering::SeqCst), 1);
            // The transient error is reported, and not that the message was forged.
            assert_eq!((error.kind(), error.causes().len()), (ErrorKind::Unavailable, 2), "{error}");
            assert_eq!(*first.get_or_insert(error.to_string()), error.to_string());
        }
    }
}

#[test]
fn a_good_pkcs1_data_key_behind_others_of_its_name_opens() {
    let aes = || RawAesKeyring::new("tests", "aes", &[1; 32]).unwrap();
    let rsa = || pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt();
    for suite in SUITES {
        let client = |keyring| client_for(suite, keyring).unwrap();
        // Encrypted first under another reader's RSA key with the same name.
        let foreign = || pair("rsa2048-b", Pkcs1);
        let mixed = client(MultiKeyring::new(foreign()).child(rsa()).child(aes())).encrypt(b"x", &none()).unwrap();
        let only_aes = client(MultiKeyring::new(foreign()).child(aes())).encrypt(b"x", &none()).unwrap();
        let alone = client(MultiKeyring::without_generator(rsa()));
        let with_aes = client(MultiKeyring::without_generator(rsa()).child(aes()));
        for (reader, message) in [(&alone, &mixed), (&with_aes, &mixed), (&with_aes, &only_aes)] {
            assert_eq!(open_every_way(reader, message, &ExpectedContext::any()).unwrap().plaintext, b"x");
        }
        assert_eq!(told(&alone, &only_aes).0, ErrorKind::NoUsableDataKey);
    }
}

#[test]
fn a_changed_header_is_opened_by_no_pkcs1_data_key_and_judged_by_the_other_members() {
    let aes = || RawAesKeyring::new("tests", "aes", &[1; 32]).unwrap();
    let rsa = || pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt();
    for suite in SUITES {
        let client = |keyring| client_for(suite, keyring).unwrap();
        let message = client(MultiKeyring::new(rsa()).child(aes())).encrypt(b"x", &none()).unwrap();
        let header = UnverifiedHeader::parse(&message).unwrap().len();
        let mut changed = message.clone();
        // In the tag.
        changed[header - 1] ^= 1;
        let by_rsa = told(&client(MultiKeyring::without_generator(rsa())), &changed);
        assert_eq!((by_rsa.0, by_rsa.2), (ErrorKind::NoUsableDataKey, 1), "{}", by_rsa.1);
        let down = client(MultiKeyring::without_generator(rsa()).child(Down::default()));
        let by_rsa_and_kms = told(&down, &changed);
        assert_eq!((by_rsa_and_kms.0, by_rsa_and_kms.2), (ErrorKind::Unavailable, 2), "{}", by_rsa_and_kms.1);
        // A keyring that can trust what it unwraps still finds that the header is wrong.
        let by_aes = told(&client(MultiKeyring::without_generator(aes())), &changed);
        assert_eq!(by_aes.0, ErrorKind::AuthenticationFailed);
        assert_eq!(told(&client(MultiKeyring::without_generator(rsa()).child(aes())), &changed), by_aes);
    }
}
