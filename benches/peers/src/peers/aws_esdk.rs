//! The official SDK for Rust, which is translated from Dafny. It has whole messages only: where the others stream, it
//! gets all of them at once.

use std::hint::black_box;
use std::sync::Arc;

use aws_esdk::client::Client;
use aws_esdk::material_providers::client as providers;
use aws_esdk::material_providers::types::keyring::KeyringRef;
use aws_esdk::material_providers::types::material_providers_config::MaterialProvidersConfig;
use aws_esdk::material_providers::types::{AesWrappingAlg, EsdkAlgorithmSuiteId};
use aws_esdk::types::aws_encryption_sdk_config::AwsEncryptionSdkConfig;
use tokio::runtime::Runtime;

use super::{KEY_NAME, NAMESPACE, Peer, TEST_KEY, Work, ours, timed};
use crate::cells::{Cell, Direction, Shape};

/// The client, and the runtime that its calls are awaited in.
pub struct AwsEsdk {
    runtime: Arc<Runtime>,
    client: Client,
    keyring: KeyringRef,
}

impl AwsEsdk {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let client = Client::from_conf(AwsEncryptionSdkConfig::builder().build().unwrap()).unwrap();
        let providers = providers::Client::from_conf(MaterialProvidersConfig::builder().build().unwrap()).unwrap();
        let keyring = providers
            .create_raw_aes_keyring()
            .key_namespace(NAMESPACE)
            .key_name(KEY_NAME)
            .wrapping_key(TEST_KEY.to_vec())
            .wrapping_alg(AesWrappingAlg::AlgAes256GcmIv12Tag16)
            .send();
        let keyring = runtime.block_on(keyring).unwrap();
        Self { runtime: Arc::new(runtime), client, keyring }
    }
}

impl Peer for AwsEsdk {
    fn name(&self, cell: Cell) -> String {
        match cell.shape {
            Shape::Whole => "aws-esdk".to_owned(),
            Shape::Stream => "aws-esdk, whole in memory".to_owned(),
        }
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        let Self { runtime, client, keyring } = self;
        let (runtime, client, keyring, plaintext) =
            (runtime.clone(), client.clone(), keyring.clone(), plaintext.clone());
        let suite = match cell.is_signed {
            true => EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKeyEcdsaP384,
            false => EsdkAlgorithmSuiteId::AlgAes256GcmHkdfSha512CommitKey,
        };
        match cell.direction {
            Direction::Encrypt => {
                let of_message = plaintext.clone();
                let encrypt = move || {
                    let call = (client.encrypt().plaintext(black_box(&plaintext).to_vec()).keyring(keyring.clone()))
                        .algorithm_suite_id(suite)
                        .frame_length(cell.frame_length);
                    runtime.block_on(call.send()).unwrap().ciphertext.unwrap().into_inner()
                };
                assert!(ours::opens(cell, &encrypt(), &of_message));
                Some(timed(move || {
                    black_box(encrypt());
                }))
            }
            Direction::Decrypt => {
                let message = ours::message(cell, &plaintext);
                let decrypt = move || {
                    let call = client.decrypt().ciphertext(black_box(&message).clone()).keyring(keyring.clone());
                    runtime.block_on(call.send()).unwrap().plaintext.unwrap().into_inner()
                };
                assert!(decrypt() == *plaintext);
                Some(timed(move || {
                    black_box(decrypt());
                }))
            }
        }
    }
}
