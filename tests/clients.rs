//! The client's settings and refusals: each mistake has its own kind of error, and a text that says what to do.

use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use manila::keyring::{MultiKeyring, RawAesKeyring};
use manila::testing::{client_for, open_every_way, ready};
use manila::{
    AlgorithmSuite, Client, ClientBuilder, CommitmentPolicy, ContentType, EncryptionContext, ErrorKind,
    ExpectedContext, UnverifiedHeader,
};

use AlgorithmSuite as Suite;

fn keyring() -> RawAesKeyring {
    RawAesKeyring::new("tests", "k", &[1; 32]).unwrap()
}

fn builder() -> ClientBuilder {
    Client::builder(keyring())
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

/// Encrypts a message of `suite` with `tenant` = `acme` in its context.
fn message(suite: Suite) -> Vec<u8> {
    client_for(suite, keyring()).unwrap().encrypt(b"plaintext", &context(&[("tenant", "acme")])).unwrap()
}

#[track_caller]
fn refused(client: &Client, message: &[u8], expected: impl Into<ExpectedContext>) -> (ErrorKind, String) {
    let error = open_every_way(client, message, &expected.into()).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn every_suite_seals_and_opens() {
    for suite in Suite::ALL {
        let client = client_for(suite, keyring()).unwrap();
        let opened = open_every_way(&client, &message(suite), &ExpectedContext::any()).unwrap();
        assert_eq!(opened.plaintext, b"plaintext");
        assert_eq!((opened.header.suite(), opened.header.version()), (suite, suite.message_version()));
        assert_eq!(opened.header.encryption_context().get("tenant"), Some("acme"));
        assert_eq!(opened.header.encryption_context().get("aws-crypto-public-key").is_some(), suite.is_signed());
    }
}

#[test]
fn policies_write_and_read_what_they_say() {
    use CommitmentPolicy::{ForbidEncryptAllowDecrypt, RequireEncryptAllowDecrypt, RequireEncryptRequireDecrypt};
    let old = Suite::Aes256GcmHkdfSha384EcdsaP384;
    let new = Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384;
    for (policy, default, reads_old) in [
        (ForbidEncryptAllowDecrypt, old, true),
        (RequireEncryptAllowDecrypt, new, true),
        (RequireEncryptRequireDecrypt, new, false),
    ] {
        let client = builder().commitment_policy(policy).build().unwrap();
        let sealed = client.encrypt(b"", &context(&[])).unwrap();
        assert_eq!(UnverifiedHeader::parse(&sealed).unwrap().suite(), default);
        assert!(client.decrypt(&message(new), ExpectedContext::any()).is_ok());
        assert_eq!(client.decrypt(&message(old), ExpectedContext::any()).is_ok(), reads_old);
        let other = if default == old { new } else { old };
        let error = builder().commitment_policy(policy).suite(other).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyViolation);
    }
    let (kind, text) = refused(&Client::new(keyring()), &message(old), ExpectedContext::any());
    assert_eq!(kind, ErrorKind::PolicyViolation);
    assert!(text.contains("0x0378") && text.contains("RequireEncryptRequireDecrypt"), "{text}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let invalid = |builder: ClientBuilder| assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidInput);
    invalid(builder().frame_length(0));
    invalid(builder().frame_length((64 << 20) + 1));
    invalid(builder().max_encrypted_data_keys(0));
}

#[test]
fn what_the_reader_expects_of_the_context_is_held_to() {
    let client = Client::new(keyring());
    let sealed = message(Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384);
    let pairs = context(&[("tenant", "acme")]);
    for expected in [ExpectedContext::any(), (&pairs).into(), ExpectedContext::exactly(&pairs)] {
        assert!(open_every_way(&client, &sealed, &expected).is_ok(), "{expected:?}");
    }
    let (kind, text) = refused(&client, &sealed, &context(&[("tenant", "emca")]));
    assert_eq!(kind, ErrorKind::ContextMismatch);
    assert!(text.contains("tenant") && !text.contains("emca"), "{text}");
    assert_eq!(refused(&client, &sealed, ExpectedContext::exactly(&context(&[]))).0, ErrorKind::ContextMismatch);
    // A pair that the header lacks is authenticated with it, but was not when the message was encrypted.
    let (kind, text) = refused(&client, &sealed, &context(&[("tenant", "acme"), ("stage", "prod")]));
    assert_eq!(kind, ErrorKind::ContextMismatch);
    assert!(text.contains("lacks") && text.contains("stage") && !text.contains("\"tenant\""), "{text}");

    let without = Client::new(keyring()).encrypt(b"x", &context(&[])).unwrap();
    assert!(open_every_way(&client, &without, &ExpectedContext::exactly(&context(&[]))).is_ok());
}

#[test]
fn to_expect_nothing_must_be_said_and_is_asked_for_before_anything_is_done() {
    let client = Client::new(keyring());
    let empty = context(&[]);
    // Bytes that are not a message would be another error, if they were looked at.
    let mut message = b"not a message".to_vec();
    let errors = [
        client.decrypt(&message, &empty).map(drop),
        client.decrypt(&message, empty.clone()).map(drop),
        ready(client.decrypt_async(&message, &empty)).map(drop),
        client.decrypt_into(&message, &empty, &mut Vec::new()).map(drop),
        client.decrypt_in_place(&mut message, &empty).map(drop),
        client.reencrypt(message.as_slice(), Vec::new(), &empty, &client).map(drop),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("ExpectedContext::any()"), "{error}");
    }
    assert_eq!(message, b"not a message");
    assert_eq!(client.decrypt(&message, ExpectedContext::any()).unwrap_err().kind(), ErrorKind::Malformed);

    let header = UnverifiedHeader::parse(&self::message(Suite::Aes256GcmHkdfSha512CommitKey)).unwrap();
    let stranger = Client::new(RawAesKeyring::new("tests", "stranger", &[2; 32]).unwrap());
    assert_eq!(stranger.decryptor(header, &empty).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_context_of_an_opened_message_is_not_sealed_into_another_by_mistake() {
    let signed = message(Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384);
    let opened = Client::new(keyring()).decrypt(&signed, ExpectedContext::any()).unwrap();
    let context = opened.header.encryption_context().clone();
    for suite in [Suite::Aes256GcmHkdfSha512CommitKey, Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384] {
        let client = client_for(suite, keyring()).unwrap();
        let error = client.encrypt(b"again", &context).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("without_reserved"), "{error}");
        let again = client.encrypt(b"again", &context.without_reserved()).unwrap();
        assert_eq!(client.decrypt(&again, context.without_reserved()).unwrap().plaintext, b"again");
    }
}

#[test]
fn a_client_that_takes_unsigned_messages_alone_writes_them() {
    let policies = [
        (CommitmentPolicy::ForbidEncryptAllowDecrypt, Suite::Aes256GcmHkdfSha256),
        (CommitmentPolicy::RequireEncryptRequireDecrypt, Suite::Aes256GcmHkdfSha512CommitKey),
    ];
    for (policy, suite) in policies {
        let client = builder().commitment_policy(policy).unsigned_only(true).build().unwrap();
        let sealed = client.encrypt(b"x", &context(&[])).unwrap();
        assert_eq!(client.decrypt(&sealed, ExpectedContext::any()).unwrap().header.suite(), suite);
    }
    let signed = builder().unsigned_only(true).suite(Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384);
    assert_eq!(signed.build().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn limits_are_refused_before_any_key_is_asked_for() {
    #[derive(Debug)]
    struct MustNotBeAsked;
    impl manila::keyring::Keyring for MustNotBeAsked {
        fn on_encrypt<'a>(
            &'a self,
            _: &'a manila::materials::EncryptionMaterials,
        ) -> manila::materials::KeyFuture<'a, manila::materials::WrappedKeys> {
            panic!("asked to encrypt")
        }

        fn on_decrypt<'a>(
            &'a self,
            _: &'a manila::materials::DecryptionRequest,
        ) -> manila::materials::KeyFuture<'a, manila::materials::UnwrapOutcome> {
            panic!("asked to decrypt")
        }

        fn is_local(&self) -> bool {
            true
        }
    }
    let builder = || Client::builder(MustNotBeAsked);
    let multi = MultiKeyring::new(keyring()).child(RawAesKeyring::new("tests", "b", &[2; 32]).unwrap());
    let two_keys = Client::new(multi).encrypt(b"x", &context(&[("a", "b")])).unwrap();
    let header = UnverifiedHeader::parse(&two_keys).unwrap();
    let any = ExpectedContext::any;
    for (client, kind) in [
        (builder().max_encrypted_data_keys(1), ErrorKind::LimitExceeded),
        (builder().max_header_length(header.len() - 1), ErrorKind::LimitExceeded),
        (builder().frame_length(100).max_frame_length(4095), ErrorKind::LimitExceeded),
        (builder().unsigned_only(true), ErrorKind::PolicyViolation),
    ] {
        let client = client.build().unwrap();
        assert_eq!(refused(&client, &two_keys, any()).0, kind);
        // The same if the header was read under different limits.
        assert_eq!(client.decryptor(header.clone(), any()).unwrap_err().kind(), kind);
    }
    let wrong = ExpectedContext::from(&context(&[("a", "c")]));
    assert_eq!(refused(&builder().build().unwrap(), &two_keys, wrong).0, ErrorKind::ContextMismatch);
    let old = message(Suite::Aes128GcmNoKdf);
    assert_eq!(refused(&builder().build().unwrap(), &old, any()).0, ErrorKind::PolicyViolation);
}

#[test]
fn limits_can_be_lifted_to_the_very_length() {
    let sealed = message(Suite::Aes256GcmHkdfSha512CommitKey);
    let len = UnverifiedHeader::parse(&sealed).unwrap().len();
    let client = builder().max_header_length(len).max_encrypted_data_keys(1).max_frame_length(4096).unsigned_only(true);
    assert!(open_every_way(&client.build().unwrap(), &sealed, &ExpectedContext::any()).is_ok());
}

#[test]
fn a_client_does_not_write_what_it_would_not_read() {
    let multi = || MultiKeyring::new(keyring()).child(RawAesKeyring::new("tests", "b", &[2; 32]).unwrap());
    let keys = Client::builder(multi()).max_encrypted_data_keys(1).build().unwrap();
    assert_eq!(keys.encrypt(b"", &context(&[])).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let header = builder().max_header_length(200).build().unwrap();
    assert_eq!(header.encrypt(b"", &context(&[])).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn base64_text_is_recognised() {
    for suite in Suite::ALL {
        for text in [STANDARD.encode(message(suite)), URL_SAFE.encode(message(suite))] {
            let client = Client::new(keyring());
            let (kind, text) = refused(&client, text.as_bytes(), ExpectedContext::any());
            assert_eq!(kind, ErrorKind::Malformed);
            assert!(text.contains("Base64"), "{text}");
        }
    }
}

#[test]
fn text_from_a_message_is_escaped_in_errors() {
    let nasty = "\x1b[2J\u{9b}31m\u{202e}\r\n";
    let client = Client::new(RawAesKeyring::new(nasty, nasty, &[1; 32]).unwrap());
    let sealed = client.encrypt(b"", &context(&[(nasty, nasty)])).unwrap();
    let mut errors = vec![
        refused(&Client::new(keyring()), &sealed, ExpectedContext::any()).1,
        refused(&client, &sealed, &context(&[(nasty, "other")])).1,
        refused(&client, &sealed, ExpectedContext::exactly(&context(&[]))).1,
    ];
    let wrong_key = Client::new(RawAesKeyring::new(nasty, nasty, &[2; 32]).unwrap());
    let error = wrong_key.decrypt(&sealed, ExpectedContext::any()).unwrap_err();
    errors.push(error.to_string());
    errors.push(error.source().unwrap().to_string());
    for text in errors {
        assert!(text.contains("\\u{1b}[2J"), "{text:?}");
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}

#[test]
fn a_header_can_be_inspected_without_keys() {
    let sealed = message(Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384);
    let header = UnverifiedHeader::read(&sealed[..]).unwrap();
    assert_eq!(header.as_bytes(), &sealed[..header.len()]);
    assert_eq!(header.to_bytes().unwrap(), header.as_bytes());
    assert_eq!(header.content_type(), ContentType::Framed(4096));
    assert_eq!(header.encrypted_data_keys()[0].provider_id, "tests");
    let summary = header.summarize_body(&sealed[header.len()..]).unwrap();
    assert_eq!((summary.frames(), summary.plaintext_len(), summary.footer_len()), (1, 9, 2 + 103));
    assert_eq!(header.len() as u64 + summary.body_len() + summary.footer_len(), sealed.len() as u64);
    let cut = header.summarize_body(&sealed[header.len()..sealed.len() - 1]).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Truncated);
    let more = header.summarize_body(&[&sealed[header.len()..], b"x"].concat()[..]).unwrap_err();
    assert_eq!(more.kind(), ErrorKind::TrailingBytes);
}
