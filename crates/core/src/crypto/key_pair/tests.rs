//! Key pairs of every kind, and that both backends agree.

use super::*;

const KINDS: [KeyPairKind; 12] = [
    KeyPairKind::Rsa(2048),
    KeyPairKind::Ecc(EccCurve::P256),
    KeyPairKind::Ecc(EccCurve::P384),
    KeyPairKind::Ecc(EccCurve::P521),
    KeyPairKind::Ecc(EccCurve::Secp256k1),
    KeyPairKind::Ed25519,
    KeyPairKind::MlDsa(MlDsaSet::MlDsa44),
    KeyPairKind::MlDsa(MlDsaSet::MlDsa65),
    KeyPairKind::MlDsa(MlDsaSet::MlDsa87),
    KeyPairKind::MlKem(MlKemSet::MlKem512),
    KeyPairKind::MlKem(MlKemSet::MlKem768),
    KeyPairKind::MlKem(MlKemSet::MlKem1024),
];
const SCHEMES: [SignatureScheme; 12] = [
    SignatureScheme::RsaPss(Hash::Sha256),
    SignatureScheme::RsaPss(Hash::Sha384),
    SignatureScheme::RsaPss(Hash::Sha512),
    SignatureScheme::RsaPkcs1(Hash::Sha256),
    SignatureScheme::RsaPkcs1(Hash::Sha384),
    SignatureScheme::RsaPkcs1(Hash::Sha512),
    SignatureScheme::Ecdsa(Hash::Sha256),
    SignatureScheme::Ecdsa(Hash::Sha384),
    SignatureScheme::Ecdsa(Hash::Sha512),
    SignatureScheme::Ed25519,
    SignatureScheme::Ed25519Ph,
    SignatureScheme::MlDsa,
];

fn supported() -> impl Iterator<Item = KeyPairKind> {
    KINDS.into_iter().filter(|kind| kind.is_supported())
}

/// Returns whether KMS signs so with this kind, and the lengths of the digests that it takes in place of a message.
fn signs(kind: KeyPairKind, scheme: SignatureScheme) -> bool {
    match (kind, scheme) {
        (KeyPairKind::Rsa(_), SignatureScheme::RsaPss(_) | SignatureScheme::RsaPkcs1(_))
        | (KeyPairKind::Ed25519, SignatureScheme::Ed25519 | SignatureScheme::Ed25519Ph)
        | (KeyPairKind::MlDsa(_), SignatureScheme::MlDsa) => true,
        (KeyPairKind::Ecc(curve), SignatureScheme::Ecdsa(hash)) => curve.hash() == hash,
        _ => false,
    }
}

#[test]
fn rsa_alone_needs_aws_lc() {
    for kind in KINDS {
        assert_eq!(kind.is_supported(), cfg!(feature = "aws-lc") || kind != KeyPairKind::Rsa(2048), "{kind:?}");
        assert_eq!(KeyPair::generate(kind).is_ok(), kind.is_supported(), "{kind:?}");
    }
}

#[test]
fn a_private_key_is_read_back_as_the_kind_that_it_is_and_no_other() {
    for kind in supported() {
        let pair = KeyPair::generate(kind).unwrap();
        let der = pair.to_pkcs8().unwrap();
        for other in supported() {
            let read = KeyPair::from_pkcs8(other, &der);
            assert_eq!(read.is_ok(), other == kind, "{kind:?} as {other:?}");
        }
        let read = KeyPair::from_pkcs8(kind, &der).unwrap();
        assert_eq!(read.to_pkcs8().unwrap(), der);
        assert_eq!(read.public_key().unwrap(), pair.public_key().unwrap());
        for wrong in [&der[..der.len() - 1], &[&der[..], &[0]].concat(), &der[1..], b""] {
            assert!(KeyPair::from_pkcs8(kind, wrong).is_err(), "{kind:?}");
        }
        assert_ne!(KeyPair::generate(kind).unwrap().to_pkcs8().unwrap(), der);
        assert_eq!(format!("{pair:?}"), "KeyPair(redacted)");
    }
    if cfg!(feature = "aws-lc") {
        let der = KeyPair::generate(KeyPairKind::Rsa(2048)).unwrap().to_pkcs8().unwrap();
        assert!(KeyPair::from_pkcs8(KeyPairKind::Rsa(3072), &der).is_err());
        assert!(KeyPair::generate(KeyPairKind::Rsa(1024)).is_err());
    }
}

#[test]
fn private_keys_of_seeds_have_the_lengths_of_their_standards() {
    for (kind, len) in [
        (KeyPairKind::Ed25519, 48),
        (KeyPairKind::MlDsa(MlDsaSet::MlDsa65), 54),
        (KeyPairKind::MlKem(MlKemSet::MlKem768), 86),
    ] {
        assert_eq!(KeyPair::generate(kind).unwrap().to_pkcs8().unwrap().len(), len, "{kind:?}");
    }
}

#[test]
fn a_signature_is_good_for_its_key_scheme_and_message_alone() {
    for kind in supported() {
        let [pair, other] = [(); 2].map(|()| KeyPair::generate(kind).unwrap());
        for scheme in SCHEMES {
            // Ed25519ph signs digests alone.
            let signed = match scheme {
                SignatureScheme::Ed25519Ph => SignedBytes::Digest(&[7; 64]),
                _ => SignedBytes::Message(b"message"),
            };
            let Ok(signature) = pair.sign(scheme, signed) else {
                assert!(!signs(kind, scheme), "{kind:?} {scheme:?}");
                continue;
            };
            assert!(signs(kind, scheme), "{kind:?} {scheme:?}");
            assert_eq!(pair.verify(scheme, signed, &signature), Ok(()));
            assert_eq!(other.verify(scheme, signed, &signature), Err(Refused));
            let wrong = [SignedBytes::Message(b"massage"), SignedBytes::Digest(&[8; 64]), SignedBytes::Digest(b"")];
            for wrong in wrong {
                assert_eq!(pair.verify(scheme, wrong, &signature), Err(Refused), "{kind:?} {scheme:?}");
            }
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert_eq!(pair.verify(scheme, signed, &changed), Err(Refused), "{kind:?} {scheme:?}");
            }
            for wrong in [&signature[1..], &signature[..signature.len() - 1], b""] {
                assert_eq!(pair.verify(scheme, signed, wrong), Err(Refused), "{kind:?} {scheme:?}");
            }
            for wrong in SCHEMES {
                let right = wrong == scheme;
                assert_eq!(pair.verify(wrong, signed, &signature).is_ok(), right, "{kind:?} {scheme:?} {wrong:?}");
            }
        }
    }
}

#[test]
fn a_digest_signs_as_its_message_does_and_has_one_length() {
    let hashes = |hash| SignedBytes::Message(b"message").digest(hash).unwrap().into_owned();
    for kind in supported() {
        let pair = KeyPair::generate(kind).unwrap();
        for scheme in SCHEMES.into_iter().filter(|scheme| signs(kind, *scheme)) {
            let (digest, len) = match scheme {
                SignatureScheme::RsaPss(hash) | SignatureScheme::RsaPkcs1(hash) | SignatureScheme::Ecdsa(hash) => {
                    let digest = hashes(hash);
                    let signature = pair.sign(scheme, SignedBytes::Digest(&digest)).unwrap();
                    assert_eq!(pair.verify(scheme, SignedBytes::Message(b"message"), &signature), Ok(()));
                    let signature = pair.sign(scheme, SignedBytes::Message(b"message")).unwrap();
                    assert_eq!(pair.verify(scheme, SignedBytes::Digest(&digest), &signature), Ok(()));
                    let len = digest.len();
                    (digest, len)
                }
                SignatureScheme::Ed25519 => (vec![1; 64], usize::MAX),
                SignatureScheme::Ed25519Ph | SignatureScheme::MlDsa => (vec![1; 64], 64),
            };
            for wrong in [0, 1, 20, 31, 32, 33, 48, 63, 64, 65].into_iter().chain([digest.len()]) {
                let signed = pair.sign(scheme, SignedBytes::Digest(&vec![1; wrong]));
                assert_eq!(signed.is_ok(), wrong == len, "{kind:?} {scheme:?} {wrong}");
            }
        }
    }
}

#[test]
fn two_sides_agree_on_one_secret() {
    for curve in EccCurve::ALL {
        let [alice, bob] = [(); 2].map(|()| KeyPair::generate(KeyPairKind::Ecc(curve)).unwrap());
        let secret = alice.agree(&bob.public_key().unwrap());
        if curve == EccCurve::Secp256k1 {
            assert!(secret.is_err());
            continue;
        }
        let secret = secret.unwrap();
        assert_eq!(bob.agree(&alice.public_key().unwrap()).unwrap(), secret);
        let len = match curve {
            EccCurve::P256 => 32,
            EccCurve::P384 => 48,
            _ => 66,
        };
        assert_eq!(secret.len(), len);
        for other in supported().filter(|kind| *kind != KeyPairKind::Ecc(curve)) {
            let public_key = KeyPair::generate(other).unwrap().public_key().unwrap();
            assert!(alice.agree(&public_key).is_err(), "{curve:?} {other:?}");
        }
        let mut public_key = bob.public_key().unwrap();
        let point = public_key[public_key.len() - 2 * len - 1..].to_vec();
        assert!(alice.agree(&point).is_err(), "a point without the name of its curve");
        *public_key.last_mut().unwrap() ^= 1;
        assert!(alice.agree(&public_key).is_err(), "not on the curve");
        assert!(alice.agree(b"").is_err());
    }
}

#[test]
fn a_changed_ciphertext_gives_another_secret_and_one_of_another_length_none() {
    for (set, len) in [(MlKemSet::MlKem512, 768), (MlKemSet::MlKem768, 1088), (MlKemSet::MlKem1024, 1568)] {
        let pair = KeyPair::generate(KeyPairKind::MlKem(set)).unwrap();
        let Encapsulated { secret, mut ciphertext } = pair.encapsulate().unwrap();
        assert_eq!((secret.len(), ciphertext.len()), (32, len));
        assert_eq!(pair.decapsulate(&ciphertext).unwrap(), secret);
        assert_ne!(pair.encapsulate().unwrap().secret, secret);
        ciphertext[len / 2] ^= 1;
        let other = pair.decapsulate(&ciphertext).unwrap();
        assert_eq!((pair.decapsulate(&ciphertext).unwrap(), other.len()), (other.clone(), 32));
        assert_ne!(other, secret);
        for wrong in [0, 1, len - 1, len + 1, 768 + 1088 - len] {
            assert!(pair.decapsulate(&vec![0; wrong]).is_err() || wrong == len);
        }
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn what_one_backend_writes_the_other_reads() {
    use crate::crypto::{aws_lc, rustcrypto};

    for curve in EccCurve::ALL {
        let (one, other) = (aws_lc::EccPair::generate(curve).unwrap(), rustcrypto::EccPair::generate(curve).unwrap());
        let (der, other_der) = (one.to_pkcs8().unwrap(), other.to_pkcs8().unwrap());
        let moved = rustcrypto::EccPair::from_pkcs8(curve, &der).unwrap();
        let other_moved = aws_lc::EccPair::from_pkcs8(curve, &other_der).unwrap();
        assert_eq!(moved.to_pkcs8().unwrap(), der, "{curve:?}");
        assert_eq!(other_moved.to_pkcs8().unwrap(), other_der, "{curve:?}");
        assert_eq!(moved.public_key().unwrap(), one.public_key().unwrap());
        assert_eq!(other_moved.public_key().unwrap(), other.public_key().unwrap());
        let digest = SignedBytes::Message(b"message").digest(curve.hash()).unwrap();
        for _ in 0..20 {
            assert_eq!(one.verify(&digest, &moved.sign(&digest).unwrap()), Ok(()));
            assert_eq!(moved.verify(&digest, &one.sign(&digest).unwrap()), Ok(()));
        }
        if curve != EccCurve::Secp256k1 {
            let public_key = other.public_key().unwrap();
            assert_eq!(one.agree(&public_key).unwrap(), moved.agree(&public_key).unwrap());
        }
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn oaep_encrypts_as_many_bytes_as_aws_says() {
    for (bits, sha1, sha256) in [(2048, 214, 190), (3072, 342, 318), (4096, 470, 446)] {
        let pair = KeyPair::generate(KeyPairKind::Rsa(bits)).unwrap();
        for (hash, other, most) in
            [(OaepHash::Sha1, OaepHash::Sha256, sha1), (OaepHash::Sha256, OaepHash::Sha1, sha256)]
        {
            assert_eq!(hash.most_bytes(KeyPairKind::Rsa(bits)), most);
            assert!(pair.encrypt(hash, &vec![1; most + 1]).is_err());
            for len in [1, most] {
                let ciphertext = pair.encrypt(hash, &vec![1; len]).unwrap();
                assert_eq!((ciphertext.len(), pair.decrypt(hash, &ciphertext).unwrap().len()), (bits / 8, len));
                assert!(pair.decrypt(other, &ciphertext).is_err());
                assert!(pair.decrypt(hash, &ciphertext[1..]).is_err());
            }
        }
    }
}
