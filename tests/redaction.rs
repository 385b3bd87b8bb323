//! The `Debug` output of everything that holds a key does not show the key.

use std::fmt::Debug;

use manila::keyring::{MultiKeyring, RawAesKeyring};
use manila::kms::{GeneratedDataKey, KmsPlaintext};
use manila::materials::{DataKey, DecryptionMaterials, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use manila::testing::FixedKeyKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext, UnverifiedHeader};

const KEY: [u8; 32] = *b"\xc3\xa5zqjzqjzqjzqjzqjzqjzqjzqjzqj!\xf0\x9f";

/// Asserts that bytes of [`KEY`] do not appear in any usual notation.
#[track_caller]
fn shows_nothing(value: &impl Debug) {
    for shown in [format!("{value:?}"), format!("{value:#?}")] {
        let shown = shown.split_whitespace().collect::<String>().to_lowercase();
        let decimal = format!("{:?}", &KEY[..4]).replace(' ', "");
        let decimal = decimal.trim_matches(['[', ']']);
        for leak in ["zqj", "7a716a", "c3a57a", decimal, "122,113,106"] {
            assert!(!shown.contains(leak), "{leak} in {shown}");
        }
    }
}

fn key() -> DataKey {
    DataKey::new(&KEY)
}

fn materials() -> EncryptionMaterials {
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384;
    let materials = EncryptionMaterials::new(suite, &EncryptionContext::empty()).unwrap();
    materials.with_data_key(key()).unwrap()
}

#[test]
fn keys_and_what_holds_them() {
    let aes = || RawAesKeyring::new("tests", "k", &KEY).unwrap();
    shows_nothing(&key());
    shows_nothing(&materials());
    shows_nothing(&WrappedKeys { data_key: Some(key()), encrypted_data_keys: vec![] });
    shows_nothing(&UnwrapOutcome { data_key: Some(key()), causes: vec![] });
    shows_nothing(&DecryptionMaterials { data_key: key() });
    shows_nothing(&GeneratedDataKey { plaintext: key(), ciphertext: vec![], key_arn: String::new() });
    shows_nothing(&KmsPlaintext { plaintext: key(), key_arn: String::new() });
    shows_nothing(&aes());
    shows_nothing(&FixedKeyKeyring::new(&KEY));
    shows_nothing(&MultiKeyring::new(aes()).child(aes()));
    shows_nothing(&Client::new(aes()));
    shows_nothing(&Client::builder(aes()));
}

#[test]
fn messages_in_progress() {
    // Under the fixed key the data key is KEY itself, and in a suite without derivation so is the message's key.
    let client = Client::builder(FixedKeyKeyring::new(&KEY))
        .suite(AlgorithmSuite::Aes256GcmNoKdf)
        .commitment_policy(manila::CommitmentPolicy::ForbidEncryptAllowDecrypt)
        .build()
        .unwrap();
    let empty = EncryptionContext::empty();
    shows_nothing(&client.encryptor(&empty).unwrap());
    shows_nothing(&client.encryptor(&empty).unwrap().writer(Vec::<u8>::new()));
    shows_nothing(&client.decrypt(&client.encrypt(&KEY, &empty).unwrap(), ExpectedContext::any()).unwrap());
    let message = client.encrypt(b"", &empty).unwrap();
    let decryptor = || client.decryptor(UnverifiedHeader::parse(&message).unwrap(), ExpectedContext::any()).unwrap();
    shows_nothing(&decryptor());
    shows_nothing(&decryptor().reader(&b""[..]));
}

#[cfg(feature = "local-kms")]
#[test]
fn the_embedded_kms() {
    use manila::keyring::KmsKeyring;
    use manila::local_kms::{CreateKey, LocalKms, RootKey};
    shows_nothing(&RootKey::from_bytes(&KEY));
    shows_nothing(&RootKey::from_passphrase("zqjzqjzqj"));
    let folder = tempfile::tempdir().unwrap();
    let kms = LocalKms::create(folder.path().join("keys"), RootKey::from_bytes(&KEY)).unwrap();
    let metadata = kms.create_key(CreateKey::default()).unwrap();
    shows_nothing(&kms);
    shows_nothing(&KmsKeyring::new(kms, metadata.arn()).unwrap());
}

#[test]
fn the_test_would_notice() {
    let leaks = std::panic::catch_unwind(|| shows_nothing(&KEY));
    assert!(leaks.is_err());
    let leaks = std::panic::catch_unwind(|| shows_nothing(&String::from_utf8_lossy(&KEY)));
    assert!(leaks.is_err());
}
