//! Messages under keys of the embedded KMS.
#![cfg(feature = "local-kms")]

use manila::keyring::KmsKeyring;
use manila::local_kms::{CreateKey, LocalKms};
use manila::testing::{ContextBinding, check_keyring, open_every_way, ready};
use manila::{Client, EncryptionContext, ErrorKind, ExpectedContext, UnverifiedHeader};

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

#[test]
fn a_keyring_over_it_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let root_key = manila::local_kms::RootKey::from_bytes(&[7; 32]);
    for kms in [LocalKms::in_memory().unwrap(), LocalKms::create(folder.path().join("keys"), root_key).unwrap()] {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let keyring = KmsKeyring::new(kms, key.arn()).unwrap();
        ready(check_keyring(&keyring, ContextBinding::DataKey)).unwrap();
    }
}

#[test]
fn a_retargeted_alias_encrypts_under_the_new_key_from_the_next_message_on() {
    let kms = LocalKms::in_memory().unwrap();
    let [old, new] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
    kms.create_alias("alias/app", old.arn()).unwrap();
    let sealer = Client::new(KmsKeyring::encrypt_only(kms.clone(), "alias/app").unwrap());
    let bound = context(&[("tenant", "acme")]);
    let opens = |message: &[u8], arn: &str| {
        Client::new(KmsKeyring::new(kms.clone(), arn).unwrap()).decrypt(message, &bound).is_ok()
    };
    let before = sealer.encrypt(b"x", &bound).unwrap();
    kms.update_alias("alias/app", new.key_id()).unwrap();
    let after = sealer.encrypt(b"x", &bound).unwrap();
    assert!(opens(&before, old.arn()) && opens(&after, new.arn()));
    assert!(!opens(&before, new.arn()) && !opens(&after, old.arn()));
}

#[test]
fn a_message_is_sealed_under_an_alias_and_opened_by_arn() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/app")).unwrap();
    let sealer = Client::new(KmsKeyring::encrypt_only(kms.clone(), "alias/app").unwrap());
    let bound = context(&[("tenant", "acme")]);
    let message = sealer.encrypt(b"hello", &bound).unwrap();
    let header = UnverifiedHeader::parse(&message).unwrap();
    assert_eq!(header.encrypted_data_keys()[0].provider_id, "aws-kms");
    assert_eq!(header.encrypted_data_keys()[0].provider_info, key.arn().as_bytes());

    let opener = Client::new(KmsKeyring::new(kms.clone(), key.arn()).unwrap());
    assert_eq!(open_every_way(&opener, &message, &(&bound).into()).unwrap().plaintext, b"hello");
    // An alias can encrypt, but messages never name one: the errors say what to give instead.
    let error = sealer.decrypt(&message, &bound).unwrap_err();
    assert!(error.to_string().contains("KmsKeyring::new and the ARN of the key"), "{error}");

    let other = kms.create_key(CreateKey::default()).unwrap();
    let error = Client::new(KmsKeyring::new(kms, other.arn()).unwrap()).decrypt(&message, &bound).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoUsableDataKey);
    assert!(error.to_string().contains(key.arn()), "{error}");
}

#[test]
fn an_expected_pair_that_was_never_bound_is_named() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let client = Client::new(KmsKeyring::new(kms, key.arn()).unwrap());
    let message = client.encrypt(b"", &context(&[])).unwrap();
    let error = client.decrypt(&message, &context(&[("stage", "prod")])).unwrap_err();
    // Each cause names its key, and the chain ends with the KMS's own answer.
    let mut chain = vec![error.to_string()];
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        chain.push(cause.to_string());
        next = cause.source();
    }
    assert!(chain.iter().any(|text| text.contains(key.arn())), "{chain:?}");
    assert!(chain.last().unwrap().starts_with("InvalidCiphertextException"), "{chain:?}");
    assert!(error.to_string().contains("\"stage\""), "{error}");
    assert!(client.decrypt(&message, ExpectedContext::any()).is_ok());
}
