//! Encrypted objects in stores: in memory, in a folder, and in one that is watched and fails on demand.

mod cost;
mod downloads;
mod ranges;
mod uploads;
mod watched;

use std::sync::Arc;

use manila::testing::{FixedKeyKeyring, policy_for};
use manila::{AlgorithmSuite, Client, EncryptionContext};
use manila_object_store::Objects;
use manila_object_store::object_store::memory::InMemory;
use manila_object_store::object_store::path::Path;
use manila_object_store::object_store::{Error, ObjectStore, ObjectStoreExt};

use watched::Watched;

const MIB: usize = 1 << 20;
const SUITES: [AlgorithmSuite; 4] = [
    AlgorithmSuite::Aes128GcmNoKdf,
    AlgorithmSuite::Aes128GcmHkdfSha256EcdsaP256,
    AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
];
const UNSIGNED: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
const SIGNED: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn client(suite: AlgorithmSuite, frame_length: u32) -> Client {
    let keyring = FixedKeyKeyring::new(&[9; 32][..suite.data_key_len()]);
    let builder = Client::builder(keyring).suite(suite).commitment_policy(policy_for(suite));
    builder.frame_length(frame_length).build().unwrap()
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("object", "a/b")]).unwrap()
}

fn location() -> Path {
    Path::from("a/b")
}

/// Returns bytes in which no two neighbouring sections look alike.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// Makes objects in memory, in parts of 5 MiB, and the store under them.
fn watched(suite: AlgorithmSuite, frame_length: u32) -> (Objects, Arc<Watched<InMemory>>) {
    let store = Arc::new(Watched::new(InMemory::new()));
    (objects(client(suite, frame_length), &store), store)
}

fn objects<S: ObjectStore>(client: Client, store: &Arc<S>) -> Objects {
    Objects::new(client, store.clone()).part_size(0)
}

async fn is_missing(store: &impl ObjectStore) -> bool {
    matches!(store.head(&location()).await, Err(Error::NotFound { .. }))
}
