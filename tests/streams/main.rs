//! Streams of every kind: they make and open the same messages as calls on whole messages, however the source and the
//! sink behave.

use manila::testing::{FixedKeyKeyring, policy_for};
use manila::{AlgorithmSuite, Client, ClientBuilder, EncryptionContext, ExpectedContext, UnverifiedHeader};

#[cfg(feature = "tokio")]
mod async_seeking;
#[cfg(feature = "tokio")]
mod asynchronous;
mod blocking;
mod buffers;
mod fetching;
mod hostile;
mod opening;
mod reencrypt;
mod reencrypt_all;
mod seeking;
mod threads;

const SUITES: [AlgorithmSuite; 4] = [
    AlgorithmSuite::Aes128GcmNoKdf,
    AlgorithmSuite::Aes128GcmHkdfSha256EcdsaP256,
    AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
];
const UNSIGNED: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
const SIGNED: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384;

fn builder(suite: AlgorithmSuite, frame_length: u32) -> ClientBuilder {
    let keyring = FixedKeyKeyring::new(&[9; 32][..suite.data_key_len()]);
    Client::builder(keyring).suite(suite).commitment_policy(policy_for(suite)).frame_length(frame_length)
}

fn client(suite: AlgorithmSuite, frame_length: u32) -> Client {
    builder(suite, frame_length).build().unwrap()
}

fn any() -> ExpectedContext {
    ExpectedContext::any()
}

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

/// Returns bytes in which no two neighbouring sections look alike.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// Splits a message into its header and its body.
fn parts(message: &[u8]) -> (UnverifiedHeader, &[u8]) {
    let header = UnverifiedHeader::parse(message).unwrap();
    let body = &message[header.len()..];
    (header, body)
}
