//! The most that one message can ask of a raw RSA keyring that was allowed to open PKCS #1 v1.5: every data key costs a
//! decryption with RSA and a pass over the header.
//!
//! `cargo bench --bench raw_rsa`. The default limits are used up: 64 data keys, none of which opens, and a header of
//! nearly 1 MiB, in a suite of version 1. For comparison, it also measures the same data keys in a short header, and a
//! single data key.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use criterion::{Criterion, criterion_group, criterion_main};
use manila::keyring::{Keyring, RawRsaKeyring, RsaPadding, RsaPrivateKey, RsaPublicKey};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::client_for;
use manila::{AlgorithmSuite, EncryptedDataKey, EncryptionContext, ErrorKind, ExpectedContext};

/// A suite of version 1 that derives its key.
const SUITE: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha256;

/// Puts data keys with a given name into a message, none of which opens.
#[derive(Debug)]
struct Hostile {
    inner: RawRsaKeyring,
    count: usize,
}

impl Keyring for Hostile {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async {
            let mut wrapped = self.inner.on_encrypt(materials).await?;
            let own = wrapped.encrypted_data_keys.remove(0);
            // Below the modulus, so that RSA is done, and padded by chance in one of 65,536 keys.
            let broken = EncryptedDataKey { ciphertext: vec![1; own.ciphertext.len()], ..own };
            wrapped.encrypted_data_keys = vec![broken; self.count];
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

fn raw_rsa(criterion: &mut Criterion) {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa4096).expect("an RSA key");
    let private: Pkcs8V1Der<'_> = key.as_der().expect("its encoding");
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("its encoding");
    let keyring = |name: &str| {
        let public = RsaPublicKey::from_der(public.as_ref()).expect("a public key");
        let private = RsaPrivateKey::from_der(private.as_ref()).expect("a private key");
        let keyring = RawRsaKeyring::pair("bench", name, RsaPadding::Pkcs1, public, private).expect("a keyring");
        keyring.allow_pkcs1_decrypt()
    };
    let mut group = criterion.benchmark_group("RSA-4096, PKCS #1 v1.5, no data key opens");
    group.sample_size(10);
    for (count, name_len) in [(64, 15_800), (64, 10), (1, 10)] {
        let name = "k".repeat(name_len);
        let hostile = client_for(SUITE, Hostile { inner: keyring(&name), count }).expect("a client");
        let message = hostile.encrypt(b"", &EncryptionContext::empty()).expect("a message");
        let reader = client_for(SUITE, keyring(&name)).expect("a client");
        group.bench_function(format!("{count} data keys, message of {} bytes", message.len()), |bench| {
            bench.iter(|| {
                let error = reader.decrypt(&message, ExpectedContext::any()).expect_err("no data key opens");
                assert_eq!((error.kind(), error.causes().len()), (ErrorKind::NoUsableDataKey, count));
            });
        });
    }
}

criterion_group!(benches, raw_rsa);
criterion_main!(benches);
