//! The raw RSA keyring: its keys' encodings, and PKCS #1 v1.5 that tells nothing.

#![cfg(feature = "aws-lc")]

use manila::testing::{client_for, open_every_way};
use manila::{
    AlgorithmSuite, Client, CommitmentPolicy, EncryptionContext, ErrorKind, ExpectedContext, MultiKeyring,
    RawAesKeyring, RawRsaKeyring, RsaPadding, RsaPrivateKey, RsaPublicKey, UnverifiedHeader,
};

use RsaPadding::{OaepSha1, OaepSha256, OaepSha384, OaepSha512, Pkcs1};

/// Keys of the vectors, which protect nothing.
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
        // No public key is derived from the private one.
        assert_eq!(opener.encrypt(b"", &none()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let other = Client::new(pair("rsa2048-b", padding).allow_pkcs1_decrypt());
        assert!(other.decrypt(&message, ExpectedContext::any()).is_err());
    }
}

#[test]
fn the_padding_is_the_keyrings() {
    let message = Client::new(pair("rsa2048-a", OaepSha1)).encrypt(b"", &none()).unwrap();
    for padding in [OaepSha256, OaepSha384, OaepSha512] {
        let error = Client::new(pair("rsa2048-a", padding)).decrypt(&message, ExpectedContext::any()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey);
    }
}

#[test]
fn keys_come_in_pem_and_der_of_pkcs8_spki_and_pkcs1() {
    let document = |pem: &str| pkcs8::Document::from_pem(pem).unwrap().1;
    let spki = document(&pem("rsa2048-a", "public_pem"));
    let pkcs8 = document(&pem("rsa2048-a", "private_pem"));
    let as_pem =
        |label, der: &[u8]| pkcs8::Document::try_from(der).unwrap().to_pem(label, pkcs8::LineEnding::LF).unwrap();
    // Inside both of these stands the PKCS #1 form.
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
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    assert!(error.to_string().contains("allow_pkcs1_decrypt"), "{error}");
}

/// The message with its first data key damaged, so that its padding is wrong.
fn with_bad_padding(message: &[u8]) -> Vec<u8> {
    let header = UnverifiedHeader::parse(message).unwrap();
    let ciphertext = &header.encrypted_data_keys()[0].ciphertext;
    let at = message.windows(ciphertext.len()).position(|window| window == ciphertext).unwrap();
    let mut damaged = message.to_vec();
    damaged[at + 10] ^= 1;
    damaged
}

/// Kind, text and number of causes: all that an error tells.
fn told(client: &Client, message: &[u8]) -> (ErrorKind, String, usize) {
    let error = open_every_way(client, message, &ExpectedContext::any()).unwrap_err();
    (error.kind(), error.to_string(), error.causes().len())
}

#[test]
fn wrong_pkcs1_padding_fails_as_a_wrong_data_key_does() {
    for suite in [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, AlgorithmSuite::Aes256GcmHkdfSha256] {
        let reader = client_for(suite, pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt()).unwrap();
        let message = client_for(suite, pair("rsa2048-a", Pkcs1)).unwrap().encrypt(b"x", &none()).unwrap();
        // The padding is right here, but the data key is another message's.
        let other = client_for(suite, pair("rsa2048-a", Pkcs1)).unwrap().encrypt(b"x", &none()).unwrap();
        let keys = [&message, &other]
            .map(|message| UnverifiedHeader::parse(message).unwrap().encrypted_data_keys()[0].ciphertext.clone());
        let at = message.windows(keys[0].len()).position(|window| window == keys[0]).unwrap();
        let mut wrong_key = message.clone();
        wrong_key[at..at + keys[1].len()].copy_from_slice(&keys[1]);
        let expected = told(&reader, &wrong_key);
        let kind = if suite.is_committing() { ErrorKind::CommitmentMismatch } else { ErrorKind::AuthenticationFailed };
        assert_eq!((expected.0, expected.2), (kind, 0));
        assert_eq!(told(&reader, &with_bad_padding(&message)), expected);
        // A data key of a length that the suite does not take.
        let short = AlgorithmSuite::Aes128GcmHkdfSha256;
        let short = client_for(short, pair("rsa2048-a", Pkcs1)).unwrap().encrypt(b"x", &none()).unwrap();
        let short = UnverifiedHeader::parse(&short).unwrap().encrypted_data_keys()[0].ciphertext.clone();
        let mut wrong_length = message.clone();
        wrong_length[at..at + short.len()].copy_from_slice(&short);
        assert_eq!(told(&reader, &wrong_length), expected);
    }
}

#[test]
fn wrong_pkcs1_padding_does_not_keep_a_later_data_key_from_opening() {
    let aes = || RawAesKeyring::new("tests", "aes", &[1; 32]).unwrap();
    let rsa = || pair("rsa2048-a", Pkcs1).allow_pkcs1_decrypt();
    let suite = AlgorithmSuite::Aes256GcmHkdfSha256;
    let policy = CommitmentPolicy::ForbidEncryptAllowDecrypt;
    let client = |keyring| Client::builder(keyring).suite(suite).commitment_policy(policy).build().unwrap();
    // Readable by RSA twice and by AES; the header is not covered here, so only the RSA data key is told apart.
    let sealer = client(MultiKeyring::new(rsa()).child(rsa()).child(aes()));
    let message = sealer.encrypt(b"x", &none()).unwrap();
    let damaged = with_bad_padding(&message);
    // The header's tag covers the data keys, so a later one that opens leads to the tag, which is then wrong: but it
    // is the right key that finds it wrong, as without RSA at all.
    let by_aes = told(&client(MultiKeyring::without_generator(aes())), &damaged);
    assert_eq!(by_aes.0, ErrorKind::AuthenticationFailed);
    assert_eq!(told(&client(MultiKeyring::without_generator(rsa()).child(aes())), &damaged), by_aes);
    // Where nothing was damaged, a first data key that is another reader's RSA key of the same name is no obstacle.
    let foreign = pair("rsa2048-b", Pkcs1);
    let mixed = client(MultiKeyring::new(foreign).child(rsa()).child(aes())).encrypt(b"x", &none()).unwrap();
    for reader in
        [client(MultiKeyring::without_generator(rsa())), client(MultiKeyring::without_generator(rsa()).child(aes()))]
    {
        assert_eq!(open_every_way(&reader, &mixed, &ExpectedContext::any()).unwrap().plaintext, b"x");
    }
    let only_later = client(MultiKeyring::new(pair("rsa2048-b", Pkcs1)).child(aes())).encrypt(b"x", &none()).unwrap();
    let reader = client(MultiKeyring::without_generator(rsa()).child(aes()));
    assert_eq!(open_every_way(&reader, &only_later, &ExpectedContext::any()).unwrap().plaintext, b"x");
}
