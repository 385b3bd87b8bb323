//! Kinds of keys: what each operation says of a key of each kind in each state, in the words of AWS, and in what order.

use std::sync::LazyLock;

use manila_core::testing::ready;
use manila_local_kms::{
    CreateGrant, CreateKey, DataKeyPairRequest, DataKeyRequest, DecapsulateRequest, DecryptRequest,
    DeriveSharedSecretRequest, EncapsulateRequest, EncryptRequest, EncryptionAlgorithm, EncryptionContext, Error,
    ErrorKind, GrantOperation, KeyMetadata, KeySpec, KeyState, KeyUsage, Kms, KmsRequest, LocalKms, MacAlgorithm,
    MacRequest, MessageType, SignRequest, SigningAlgorithm, VerifyMacRequest, VerifyRequest,
};

use crate::access::ALICE;
use crate::{both, code};

const IS_AWS_LC: bool = cfg!(feature = "aws-lc");
const RSA: [KeySpec; 3] = [KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096];
const OAEP: EncryptionAlgorithm = EncryptionAlgorithm::RsaesOaepSha256;

/// Returns the kinds that this build has, each with each of its usages.
pub fn kinds() -> impl Iterator<Item = (KeySpec, KeyUsage)> {
    let supported = KeySpec::ALL.iter().copied().filter(|spec| IS_AWS_LC || !RSA.contains(spec));
    supported.flat_map(|spec| spec.usages().iter().map(move |usage| (spec, *usage)))
}

/// Returns AWS's message.
fn message(error: &Error) -> String {
    error.kms_error().map(|error| error.message().to_owned()).unwrap_or_default()
}

/// A ciphertext of a symmetric key, and the public key of a key of the curve P-256.
struct Given {
    ciphertext: Vec<u8>,
    public_key: Vec<u8>,
}

impl Given {
    fn new(kms: &LocalKms) -> Self {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let peer = CreateKey::default().spec(KeySpec::EccNistP256).usage(KeyUsage::KeyAgreement);
        let peer = kms.create_key(peer).unwrap();
        Self {
            ciphertext: kms.encrypt_with(EncryptRequest::new(key.arn(), b"x")).unwrap().ciphertext,
            public_key: kms.public_key(peer.arn()).unwrap().public_key,
        }
    }
}

const USAGE: &str = "InvalidKeyUsageException";

struct Row {
    name: &'static str,
    call: fn(&LocalKms, &str, &Given) -> Result<(), Error>,
    /// The error of an enabled key of this kind.
    error: fn(KeySpec, KeyUsage) -> &'static str,
}

const fn row(
    name: &'static str,
    call: fn(&LocalKms, &str, &Given) -> Result<(), Error>,
    error: fn(KeySpec, KeyUsage) -> &'static str,
) -> Row {
    Row { name, call, error }
}

fn only(usage: bool) -> &'static str {
    if usage { "" } else { USAGE }
}

fn symmetric(spec: KeySpec, _: KeyUsage) -> &'static str {
    only(spec == KeySpec::SymmetricDefault)
}

fn signs_by_ecdsa(spec: KeySpec, usage: KeyUsage) -> bool {
    usage == KeyUsage::SignVerify && [KeySpec::EccNistP256, KeySpec::EccSecgP256k1].contains(&spec)
}

/// The cryptographic operations, each with the answer for each kind of key, from the pages of the API Reference and,
/// for the errors, from answers that AWS was recorded to give.
const TABLE: &[Row] = &[
    row("Encrypt", |kms, key, _| kms.encrypt_with(EncryptRequest::new(key, b"x")).map(drop), symmetric),
    row(
        "Encrypt by RSA",
        |kms, key, _| kms.encrypt_with(EncryptRequest::new(key, b"x").algorithm(OAEP)).map(drop),
        |spec, usage| only(RSA.contains(&spec) && usage == KeyUsage::EncryptDecrypt),
    ),
    // The ciphertext is of another key, which is what AWS says of keys that are not for it too.
    row(
        "Decrypt",
        |kms, key, given| kms.decrypt_with(DecryptRequest::new(key, &given.ciphertext)).map(drop),
        |_, _| "IncorrectKeyException",
    ),
    row(
        "Decrypt by RSA",
        |kms, key, given| kms.decrypt_with(DecryptRequest::new(key, &given.ciphertext).algorithm(OAEP)).map(drop),
        |spec, usage| match usage {
            KeyUsage::EncryptDecrypt if RSA.contains(&spec) => "InvalidCiphertextException",
            _ => USAGE,
        },
    ),
    row(
        "ReEncrypt from",
        |kms, key, given| {
            let (other, empty) = (kms.create_key(CreateKey::default())?, EncryptionContext::empty());
            let (from, to) = (KmsRequest::new(key, &empty), KmsRequest::new(other.arn(), &empty));
            kms.re_encrypt(&given.ciphertext, from, to).map(drop)
        },
        |_, _| "IncorrectKeyException",
    ),
    row(
        "ReEncrypt to",
        |kms, key, _| {
            let (other, empty) = (kms.create_key(CreateKey::default())?, EncryptionContext::empty());
            let ciphertext = kms.encrypt_with(EncryptRequest::new(other.arn(), b"x"))?.ciphertext;
            let (from, to) = (KmsRequest::new(other.arn(), &empty), KmsRequest::new(key, &empty));
            kms.re_encrypt(&ciphertext, from, to).map(drop)
        },
        symmetric,
    ),
    row(
        "GenerateDataKey",
        |kms, key, _| ready(kms.generate_data_key(KmsRequest::new(key, &EncryptionContext::empty()), 32)).map(drop),
        symmetric,
    ),
    row(
        "GenerateDataKeyWithoutPlaintext",
        |kms, key, _| {
            let empty = EncryptionContext::empty();
            kms.generate_data_key_without_plaintext(KmsRequest::new(key, &empty), 32).map(drop)
        },
        symmetric,
    ),
    row(
        "GenerateDataKeyPair",
        |kms, key, _| kms.generate_data_key_pair(DataKeyPairRequest::new(key, KeySpec::EccNistP256)).map(drop),
        symmetric,
    ),
    row(
        "GenerateDataKeyPairWithoutPlaintext",
        |kms, key, _| {
            let request = DataKeyPairRequest::new(key, KeySpec::EccNistP256);
            kms.generate_data_key_pair_without_plaintext(request).map(drop)
        },
        symmetric,
    ),
    row(
        "GenerateMac",
        |kms, key, _| kms.generate_mac(key, b"x").map(drop),
        |_, usage| only(usage == KeyUsage::GenerateVerifyMac),
    ),
    row(
        "VerifyMac",
        |kms, key, _| kms.verify_mac(key, b"x", b"x"),
        |_, usage| if usage == KeyUsage::GenerateVerifyMac { "KMSInvalidMacException" } else { USAGE },
    ),
    row(
        "Sign",
        |kms, key, _| kms.sign(SignRequest::new(key, SigningAlgorithm::EcdsaSha256, b"x")).map(drop),
        |spec, usage| only(signs_by_ecdsa(spec, usage)),
    ),
    row(
        "Verify",
        |kms, key, _| kms.verify(VerifyRequest::new(key, SigningAlgorithm::EcdsaSha256, b"x", b"x")).map(drop),
        |spec, usage| if signs_by_ecdsa(spec, usage) { "KMSInvalidSignatureException" } else { USAGE },
    ),
    row(
        "GetPublicKey",
        |kms, key, _| kms.public_key(key).map(drop),
        |spec, usage| match usage {
            KeyUsage::EncryptDecrypt if spec == KeySpec::SymmetricDefault => "UnsupportedOperationException",
            KeyUsage::GenerateVerifyMac => "UnsupportedOperationException",
            _ => "",
        },
    ),
    row(
        "DeriveSharedSecret",
        |kms, key, given| kms.derive_shared_secret(DeriveSharedSecretRequest::new(key, &given.public_key)).map(drop),
        |spec, usage| match usage {
            KeyUsage::KeyAgreement if spec == KeySpec::EccNistP256 => "",
            KeyUsage::KeyAgreement => "ValidationException",
            _ => USAGE,
        },
    ),
    row(
        "Encapsulate",
        |kms, key, _| kms.encapsulate(EncapsulateRequest::new(key)).map(drop),
        |_, usage| only(usage == KeyUsage::EncapsulateDecapsulate),
    ),
    row(
        "Decapsulate",
        |kms, key, _| kms.decapsulate(DecapsulateRequest::new(key, b"x")).map(drop),
        |_, usage| match usage {
            KeyUsage::EncapsulateDecapsulate => "InvalidCiphertextException",
            _ => USAGE,
        },
    ),
];

#[test]
fn each_operation_takes_the_kinds_of_keys_that_it_is_for_in_the_state_in_which_it_takes_them() {
    let kms = LocalKms::in_memory().unwrap();
    let given = Given::new(&kms);
    for (spec, usage) in kinds() {
        let request = || CreateKey::default().spec(spec).usage(usage);
        let key = kms.create_key(request()).unwrap();
        let empty = kms.create_key(request().imported()).unwrap();
        let check = |key: &KeyMetadata, state: KeyState, error: &dyn Fn(&Row) -> &'static str| {
            let before = kms.describe_key(key.arn()).unwrap();
            assert_eq!((before.state(), before.spec(), before.usage()), (state, spec, usage));
            for row in TABLE {
                let done = (row.call)(&kms, key.arn(), &given);
                let what = format!("{} of {spec:?} for {usage:?}, {state:?}", row.name);
                assert_eq!(done.as_ref().map_or_else(code, |()| ""), error(row), "{what}");
            }
            assert_eq!(kms.describe_key(key.arn()).unwrap(), before);
        };
        check(&key, KeyState::Enabled, &|row| (row.error)(spec, usage));
        check(&empty, KeyState::PendingImport, &|_| "KMSInvalidStateException");
        kms.disable_key(key.arn()).unwrap();
        check(&key, KeyState::Disabled, &|_| "DisabledException");
        kms.schedule_key_deletion(key.arn()).unwrap();
        check(&key, KeyState::PendingDeletion, &|_| "KMSInvalidStateException");
    }
}

#[test]
fn a_key_has_a_usage_of_its_kind() {
    for (kms, _, _folder) in both() {
        for &spec in KeySpec::ALL {
            for usage in KeyUsage::ALL.iter().copied().map(Some).chain([None]) {
                // Generating all of them again and again would take long.
                if RSA.contains(&spec) && usage.is_some_and(|usage| spec.usages().contains(&usage)) {
                    continue;
                }
                let made = kms.create_key(CreateKey::default().spec_and_usage(spec, usage));
                let expected = match usage {
                    Some(usage) => spec.usages().contains(&usage).then_some(usage),
                    None => (spec == KeySpec::SymmetricDefault).then_some(KeyUsage::EncryptDecrypt),
                };
                match (made, expected) {
                    (Ok(key), Some(usage)) => assert_eq!((key.spec(), key.usage()), (spec, usage)),
                    (Err(error), None) => {
                        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"));
                        let text = match usage {
                            None => "You must specify a KeyUsage value for all KMS keys except for symmetric \
                                     encryption keys."
                                .to_owned(),
                            Some(usage) => {
                                format!("KeyUsage {} is not compatible with KeySpec {}", usage.name(), spec.name())
                            }
                        };
                        assert_eq!(message(&error), text);
                    }
                    (made, expected) => panic!("{spec:?} {usage:?}: {made:?}, not {expected:?}"),
                }
            }
        }
        // A kind with one usage has it without being told; others are asked for it.
        for &spec in KeySpec::ALL {
            if let [usage] = spec.usages() {
                assert_eq!(kms.create_key(CreateKey::default().spec(spec)).unwrap().usage(), *usage);
            } else {
                let error = kms.create_key(CreateKey::default().spec(spec)).unwrap_err();
                assert_eq!(code(&error), "ValidationException");
            }
        }
    }
}

#[test]
fn rsa_is_unsupported_without_aws_lc() {
    let kms = LocalKms::in_memory().unwrap();
    for spec in RSA {
        for &usage in spec.usages() {
            for request in [CreateKey::default(), CreateKey::default().imported()] {
                let made = kms.create_key(request.spec(spec).usage(usage));
                assert_eq!(made.as_ref().map_or_else(code, |_| ""), unsupported(""), "{spec:?}");
            }
        }
    }
    let key = kms.create_key(CreateKey::default()).unwrap();
    let pair = kms.generate_data_key_pair(DataKeyPairRequest::new(key.arn(), KeySpec::Rsa2048));
    assert_eq!(pair.as_ref().map_or_else(code, |_| ""), unsupported(""));
    let request = DataKeyPairRequest::new(key.arn(), KeySpec::Rsa2048).dry_run();
    let error = kms.generate_data_key_pair(request).unwrap_err();
    assert_eq!(code(&error), unsupported("DryRunOperationException"));
}

fn unsupported(supported: &'static str) -> &'static str {
    if IS_AWS_LC { supported } else { "UnsupportedOperationException" }
}

/// A key of each kind, once for all tests that only use them, because RSA takes long.
static KEYS: LazyLock<(LocalKms, Vec<KeyMetadata>)> = LazyLock::new(|| {
    let kms = LocalKms::in_memory().unwrap();
    let keys = kinds().map(|(spec, usage)| kms.create_key(CreateKey::default().spec(spec).usage(usage)).unwrap());
    let keys = keys.collect();
    (kms, keys)
});

pub fn key_of(spec: KeySpec, usage: KeyUsage) -> (&'static LocalKms, &'static str) {
    let (kms, keys) = &*KEYS;
    (kms, keys.iter().find(|key| (key.spec(), key.usage()) == (spec, usage)).unwrap().arn())
}

#[test]
fn errors_have_the_words_of_aws() {
    let (kms, p256) = key_of(KeySpec::EccNistP256, KeyUsage::SignVerify);
    let (_, symmetric) = key_of(KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt);
    let (_, hmac) = key_of(KeySpec::Hmac224, KeyUsage::GenerateVerifyMac);
    let sha256 = SigningAlgorithm::EcdsaSha256;
    let sign = |key: &str, algorithm, message: &[u8]| kms.sign(SignRequest::new(key, algorithm, message)).unwrap_err();
    let ciphertext = kms.encrypt_with(EncryptRequest::new(symmetric, b"x")).unwrap().ciphertext;
    let digest = SignRequest::new(p256, sha256, &[1; 31]).message_type(MessageType::Digest);
    let of_digest = VerifyRequest::new(p256, sha256, &[1; 33], b"x").message_type(MessageType::Digest);
    let rows = [
        (
            sign(symmetric, sha256, b"x"),
            USAGE,
            format!("{symmetric} key usage is ENCRYPT_DECRYPT which is not valid for Sign."),
        ),
        (
            kms.verify(VerifyRequest::new(hmac, sha256, b"x", b"x")).unwrap_err(),
            USAGE,
            format!("{hmac} key usage is GENERATE_VERIFY_MAC which is not valid for Verify."),
        ),
        (
            kms.generate_mac(symmetric, b"x").unwrap_err(),
            USAGE,
            format!("{symmetric} key usage is ENCRYPT_DECRYPT which is not valid for GenerateMac."),
        ),
        (
            kms.encrypt_with(EncryptRequest::new(p256, b"x")).unwrap_err(),
            USAGE,
            format!("{p256} key usage is SIGN_VERIFY which is not valid for Encrypt."),
        ),
        (
            kms.derive_shared_secret(DeriveSharedSecretRequest::new(p256, b"x")).unwrap_err(),
            USAGE,
            format!("{p256} key usage is SIGN_VERIFY which is not valid for DeriveSharedSecret."),
        ),
        (
            sign(p256, SigningAlgorithm::EcdsaSha384, b"x"),
            USAGE,
            "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256.".to_owned(),
        ),
        (
            kms.decrypt_with(DecryptRequest::new(hmac, &ciphertext)).unwrap_err(),
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.".to_owned(),
        ),
        (
            kms.generate_mac_with(MacRequest::new(hmac, MacAlgorithm::HmacSha256, b"x")).unwrap_err(),
            USAGE,
            "Algorithm HMAC_SHA_256 is incompatible with key spec HMAC_224.".to_owned(),
        ),
        (
            kms.verify_mac_with(VerifyMacRequest::new(hmac, MacAlgorithm::HmacSha512, b"x", b"x")).unwrap_err(),
            USAGE,
            "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_224.".to_owned(),
        ),
        (
            kms.generate_random(0).unwrap_err(),
            "ValidationException",
            "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have \
             value greater than or equal to 1"
                .to_owned(),
        ),
        (
            kms.generate_data_key_with(DataKeyRequest::new(symmetric, 1025)).unwrap_err(),
            "ValidationException",
            "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must \
             have value less than or equal to 1024"
                .to_owned(),
        ),
        (
            kms.sign(digest).unwrap_err(),
            "ValidationException",
            "Digest is invalid length for algorithm ECDSA_SHA_256.".to_owned(),
        ),
        (
            kms.verify(of_digest).unwrap_err(),
            "ValidationException",
            "Digest is invalid length for algorithm ECDSA_SHA_256.".to_owned(),
        ),
        (
            sign(p256, sha256, &[1; 4097]),
            "ValidationException",
            "1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length \
             less than or equal to 4096"
                .to_owned(),
        ),
    ];
    for (error, expected, text) in rows {
        assert_eq!((code(&error), message(&error)), (expected, text));
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn rsa_encrypts_as_many_bytes_as_aws_says() {
    let rows = [
        (KeySpec::Rsa2048, EncryptionAlgorithm::RsaesOaepSha1, 214),
        (KeySpec::Rsa2048, EncryptionAlgorithm::RsaesOaepSha256, 190),
        (KeySpec::Rsa3072, EncryptionAlgorithm::RsaesOaepSha1, 342),
        (KeySpec::Rsa3072, EncryptionAlgorithm::RsaesOaepSha256, 318),
        (KeySpec::Rsa4096, EncryptionAlgorithm::RsaesOaepSha1, 470),
        (KeySpec::Rsa4096, EncryptionAlgorithm::RsaesOaepSha256, 446),
    ];
    for (spec, algorithm, most) in rows {
        let (kms, key) = key_of(spec, KeyUsage::EncryptDecrypt);
        let encrypt = |len: usize| kms.encrypt_with(EncryptRequest::new(key, &vec![1; len]).algorithm(algorithm));
        let error = encrypt(most + 1).unwrap_err();
        let (name, spec) = (algorithm.name(), spec.name());
        let text = format!("Algorithm {name} and key spec {spec} cannot encrypt data larger than {most} bytes.");
        assert_eq!((code(&error), message(&error)), ("ValidationException", text));
        let made = encrypt(most).unwrap().ciphertext;
        let opened = kms.decrypt_with(DecryptRequest::new(key, &made).algorithm(algorithm)).unwrap();
        assert_eq!(opened.plaintext.expose_secret(), vec![1; most]);
        let error = kms.encrypt_with(EncryptRequest::new(key, b"x")).unwrap_err();
        let text = format!("Algorithm SYMMETRIC_DEFAULT is incompatible with key spec {spec}.");
        assert_eq!((code(&error), message(&error)), (USAGE, text));
    }
}

#[test]
fn states_have_the_words_of_aws() {
    for (kms, _, _folder) in both() {
        let [key, empty] = [CreateKey::default(), CreateKey::default().imported()]
            .map(|request| kms.create_key(request).unwrap().arn().to_owned());
        let encrypt = |key: &str| {
            let error = kms.encrypt_with(EncryptRequest::new(key, b"x")).unwrap_err();
            (code(&error).to_owned(), message(&error))
        };
        let said = |code: &str, key: &str, what: &str| (code.to_owned(), format!("{key} is {what}."));
        let (disabled, invalid) = ("DisabledException", "KMSInvalidStateException");
        assert_eq!(encrypt(&empty), said(invalid, &empty, "pending import"));
        for state in ["Enabled", "Disabled"] {
            let error = kms.cancel_key_deletion(&key).unwrap_err();
            let found = (code(&error).to_owned(), message(&error));
            assert_eq!(found, said(invalid, &key, "not pending deletion"), "{state}");
            kms.disable_key(&key).unwrap();
        }
        assert_eq!(encrypt(&key), said(disabled, &key, "disabled"));
        kms.schedule_key_deletion(&key).unwrap();
        assert_eq!(encrypt(&key), said(invalid, &key, "pending deletion"));
        let error = kms.schedule_key_deletion(&key).unwrap_err();
        assert_eq!((code(&error).to_owned(), message(&error)), said(invalid, &key, "pending deletion"));
    }
}

/// Each request has one fault more than the one before it, which is found first.
#[test]
fn faults_are_found_in_the_order_of_aws() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default().spec(KeySpec::EccSecgP256k1)).unwrap();
        let symmetric = kms.create_key(CreateKey::default()).unwrap();
        let disabled = kms.create_key(CreateKey::default()).unwrap();
        kms.disable_key(disabled.arn()).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        let (right, wrong) = (SigningAlgorithm::EcdsaSha256, SigningAlgorithm::EcdsaSha384);
        let verify = |kms: &LocalKms, key: &str, algorithm, message: &[u8]| {
            let request = VerifyRequest::new(key, algorithm, message, b"no signature");
            let error = kms.verify(request.message_type(MessageType::Digest).dry_run()).unwrap_err();
            code(&error).to_owned()
        };
        assert_eq!(verify(&kms, key.arn(), right, &[1; 32]), "KMSInvalidSignatureException");
        assert_eq!(verify(&kms, key.arn(), right, &[1; 31]), "ValidationException");
        assert_eq!(verify(&kms, key.arn(), wrong, &[1; 31]), USAGE);
        assert_eq!(verify(&kms, symmetric.arn(), wrong, &[1; 31]), USAGE);
        assert_eq!(verify(&kms, disabled.arn(), wrong, &[1; 31]), "DisabledException");
        assert_eq!(verify(&alice, disabled.arn(), wrong, &[1; 31]), "AccessDeniedException");
        assert_eq!(verify(&alice, "alias/none", wrong, &[1; 31]), "NotFoundException");
        assert_eq!(verify(&alice, "alias/none", wrong, b""), "ValidationException");
    }
}

#[test]
fn a_dry_run_does_everything_but_answer() {
    let (kms, keys) = &*KEYS;
    let mut tried = 0;
    for key in keys {
        let arn = key.arn();
        let mut errors = Vec::new();
        for &algorithm in key.signing_algorithms() {
            let (message, message_type) = match algorithm {
                SigningAlgorithm::Ed25519PhSha512 => (&[1; 64][..], MessageType::Digest),
                _ => (&b"x"[..], MessageType::Raw),
            };
            let request = SignRequest::new(arn, algorithm, message).message_type(message_type);
            let signature = kms.sign(request).unwrap().signature;
            errors.push(kms.sign(request.dry_run()).unwrap_err());
            let request = VerifyRequest::new(arn, algorithm, message, &signature).message_type(message_type);
            kms.verify(request).unwrap();
            errors.push(kms.verify(request.dry_run()).unwrap_err());
        }
        for &algorithm in key.encryption_algorithms() {
            let request = EncryptRequest::new(arn, b"x").algorithm(algorithm);
            let ciphertext = kms.encrypt_with(request).unwrap().ciphertext;
            errors.push(kms.encrypt_with(request.dry_run()).unwrap_err());
            let request = DecryptRequest::new(arn, &ciphertext).algorithm(algorithm);
            assert_eq!(kms.decrypt_with(request).unwrap().plaintext.expose_secret(), b"x");
            errors.push(kms.decrypt_with(request.dry_run()).unwrap_err());
        }
        for &algorithm in key.mac_algorithms() {
            let request = MacRequest::new(arn, algorithm, b"x");
            let made = kms.generate_mac_with(request).unwrap();
            assert_eq!((made.key_arn.as_str(), made.algorithm), (arn, algorithm));
            errors.push(kms.generate_mac_with(request.dry_run()).unwrap_err());
            let request = VerifyMacRequest::new(arn, algorithm, b"x", &made.mac);
            assert_eq!(kms.verify_mac_with(request).unwrap().key_arn, arn);
            errors.push(kms.verify_mac_with(request.dry_run()).unwrap_err());
        }
        if key.spec() == KeySpec::SymmetricDefault {
            let request = DataKeyRequest::new(arn, 32).dry_run();
            errors.push(kms.generate_data_key_with(request).unwrap_err());
            errors.push(kms.generate_data_key_without_plaintext_with(request).unwrap_err());
            let request = DataKeyPairRequest::new(arn, KeySpec::EccNistP384).dry_run();
            errors.push(kms.generate_data_key_pair(request).unwrap_err());
            errors.push(kms.generate_data_key_pair_without_plaintext(request).unwrap_err());
        }
        if !key.key_agreement_algorithms().is_empty() {
            let public_key = kms.public_key(arn).unwrap().public_key;
            let request = DeriveSharedSecretRequest::new(arn, &public_key).dry_run();
            errors.push(kms.derive_shared_secret(request).unwrap_err());
        }
        if !key.encapsulation_algorithms().is_empty() {
            errors.push(kms.encapsulate(EncapsulateRequest::new(arn).dry_run()).unwrap_err());
            let ciphertext = kms.encapsulate(EncapsulateRequest::new(arn)).unwrap().ciphertext;
            errors.push(kms.decapsulate(DecapsulateRequest::new(arn, &ciphertext).dry_run()).unwrap_err());
        }
        for error in errors {
            assert_eq!(code(&error), "DryRunOperationException");
            assert_eq!(message(&error), "The request would have succeeded, but the DryRun option is set.");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn grant_tokens_are_taken_within_their_limits() {
    let (kms, key) = key_of(KeySpec::EccNistP256, KeyUsage::SignVerify);
    let request = SignRequest::new(key, SigningAlgorithm::EcdsaSha256, b"x");
    let tokens = |count: usize, len: usize| vec!["t".repeat(len); count];
    kms.sign(request.grant_tokens(&[])).unwrap();
    for none in [tokens(10, 1), tokens(1, 8192)] {
        let error = kms.sign(request.grant_tokens(&none)).unwrap_err();
        assert_eq!(code(&error), "InvalidGrantTokenException", "within the limits, and of no grant");
    }
    for wrong in [tokens(11, 1), tokens(1, 0), tokens(1, 8193)] {
        assert_eq!(code(&kms.sign(request.grant_tokens(&wrong)).unwrap_err()), "ValidationException");
    }
}

#[test]
fn a_grant_allows_what_the_kind_of_key_is_for() {
    use GrantOperation as Op;
    let (kms, keys) = &*KEYS;
    for key in keys {
        let usage = key.usage();
        let is_symmetric = key.spec() == KeySpec::SymmetricDefault;
        for &operation in Op::ALL {
            let fits = match operation {
                Op::CreateGrant | Op::DescribeKey | Op::RetireGrant => true,
                Op::Encrypt | Op::Decrypt | Op::ReEncryptFrom | Op::ReEncryptTo => usage == KeyUsage::EncryptDecrypt,
                Op::GenerateMac | Op::VerifyMac => usage == KeyUsage::GenerateVerifyMac,
                Op::Sign | Op::Verify => usage == KeyUsage::SignVerify,
                Op::DeriveSharedSecret => usage == KeyUsage::KeyAgreement,
                Op::Encapsulate | Op::Decapsulate => usage == KeyUsage::EncapsulateDecapsulate,
                Op::GetPublicKey => !is_symmetric && usage != KeyUsage::GenerateVerifyMac,
                _ => is_symmetric,
            };
            let made = kms.create_grant(key.arn(), CreateGrant::to(ALICE).operation(operation));
            let found = made.as_ref().map_or_else(code, |_| "");
            assert_eq!(found, if fits { "" } else { "ValidationException" }, "{operation:?} of {:?}", key.spec());
            if let Ok(grant) = made {
                kms.revoke_grant(key.arn(), grant.id()).unwrap();
            }
        }
    }
}
