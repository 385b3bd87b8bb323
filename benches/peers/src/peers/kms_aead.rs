//! The crate `kms-aead`, with AES-256-GCM and a local key where it would ask a KMS. It has neither streams nor
//! signatures.

use std::hint::black_box;
use std::sync::Arc;

use ::kms_aead::ring_encryption::RingAeadEncryption;
use ::kms_aead::{
    AeadEncryption, CipherText, DataEncryptionKey, EncryptedDataEncryptionKey, KmsAeadEnvelopeEncryption,
    KmsAeadResult, KmsAeadRingEncryptionProvider, KmsAeadRingEnvelopeEncryption,
};
use async_trait::async_trait;
use secret_vault_value::SecretValue;
use tokio::runtime::{Builder, Runtime};

use super::{Peer, TEST_KEY, Work, timed};
use crate::cells::{Cell, Direction, Shape};

/// A key at hand instead of one in a KMS.
struct LocalKey {
    aead: RingAeadEncryption,
    key: DataEncryptionKey,
}

impl LocalKey {
    fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let aead = RingAeadEncryption::with_algorithm(&ring::aead::AES_256_GCM, random).unwrap();
        Self { aead, key: DataEncryptionKey(SecretValue::from(TEST_KEY.to_vec())) }
    }
}

#[async_trait]
impl KmsAeadRingEncryptionProvider for LocalKey {
    async fn encrypt_data_encryption_key(&self, key: &DataEncryptionKey) -> KmsAeadResult<EncryptedDataEncryptionKey> {
        let wrapped = self.aead.encrypt_value(&"", &key.0, &self.key).await?;
        Ok(EncryptedDataEncryptionKey::new(wrapped.0, None))
    }

    async fn decrypt_data_encryption_key(&self, key: &EncryptedDataEncryptionKey) -> KmsAeadResult<DataEncryptionKey> {
        let wrapped = CipherText(key.wrapped().to_vec());
        Ok(DataEncryptionKey(self.aead.decrypt_value(&"", &wrapped, &self.key).await?))
    }

    async fn generate_encryption_key(&self, aead: &RingAeadEncryption) -> KmsAeadResult<DataEncryptionKey> {
        aead.generate_data_encryption_key()
    }
}

pub struct KmsAead;

impl Peer for KmsAead {
    fn name(&self, _: Cell) -> String {
        "kms-aead".to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        if cell.is_signed || cell.shape == Shape::Stream {
            return None;
        }
        let runtime: Runtime = Builder::new_current_thread().build().unwrap();
        let envelope = KmsAeadRingEnvelopeEncryption::with_algorithm(LocalKey::new(), &ring::aead::AES_256_GCM);
        let envelope = runtime.block_on(envelope).unwrap();
        // Its own type of plaintext, which it takes by reference.
        let plaintext = SecretValue::from(plaintext.to_vec());
        let message = runtime.block_on(envelope.encrypt_value(&"", &plaintext)).unwrap();
        assert!(runtime.block_on(envelope.decrypt_value(&"", &message)).unwrap() == plaintext);
        Some(match cell.direction {
            Direction::Encrypt => timed(move || {
                black_box(runtime.block_on(envelope.encrypt_value(&"", black_box(&plaintext))).unwrap());
            }),
            Direction::Decrypt => timed(move || {
                black_box(runtime.block_on(envelope.decrypt_value(&"", black_box(&message))).unwrap());
            }),
        })
    }
}
