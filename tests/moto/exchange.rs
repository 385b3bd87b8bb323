//! Exchanges messages with the official SDKs over the same moto: they encrypt and we decrypt, we encrypt and they
//! decrypt, with suites of both versions, signed and unsigned.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manila::AlgorithmSuite;
use manila::keyring::{Keyring, KmsKeyring, MultiKeyring};
use manila::testing::{client_for, policy_for};
use serde_json::{Map, Value, json};

use crate::peer::Peer;
use crate::world::{ACCOUNT, IRELAND, PAIRS, VIRGINIA, World, context, filter, region_of};

/// Suites of both message versions, unsigned and signed.
const SUITES: [AlgorithmSuite; 4] = [
    AlgorithmSuite::Aes256GcmHkdfSha256,
    AlgorithmSuite::Aes256GcmHkdfSha384EcdsaP384,
    AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
];

const PLAINTEXT: &[u8] = &[7; 1000];

/// The keyrings that encrypt and decrypt, as ours and as described to the peers.
struct Keyrings<S, O> {
    seals: S,
    opens: O,
    they_seal: Value,
    they_open: Value,
    /// The keys of a message.
    arns: Vec<String>,
}

pub async fn strict(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let ours = || KmsKeyring::new(world.client(VIRGINIA), &arn).unwrap();
    let theirs = world.theirs("aws-kms", &arn);
    let arns = vec![arn.clone()];
    exchange(world, &Keyrings { seals: ours, opens: ours, they_seal: theirs.clone(), they_open: theirs, arns }).await;
}

pub async fn multi_region(world: &World) {
    let (primary, replica) = world.multi_region_key().await;
    let keyrings = Keyrings {
        seals: || KmsKeyring::mrk_aware(world.client(VIRGINIA), &primary).unwrap(),
        opens: || KmsKeyring::mrk_aware(world.client(IRELAND), &replica).unwrap(),
        they_seal: world.theirs("aws-kms-mrk", &primary),
        they_open: world.theirs("aws-kms-mrk", &replica),
        arns: vec![primary.clone()],
    };
    exchange(world, &keyrings).await;
}

pub async fn discovery(world: &World) {
    let arn = world.key(IRELAND).await;
    let keyrings = Keyrings {
        seals: || KmsKeyring::new(world.client(IRELAND), &arn).unwrap(),
        opens: || KmsKeyring::discovery(world.client(IRELAND), filter()),
        they_seal: world.theirs("aws-kms", &arn),
        they_open: world.their_discovery("aws-kms-discovery", IRELAND),
        arns: vec![arn.clone()],
    };
    exchange(world, &keyrings).await;
}

pub async fn multi_region_discovery(world: &World) {
    let (primary, _) = world.multi_region_key().await;
    let keyrings = Keyrings {
        seals: || KmsKeyring::mrk_aware(world.client(VIRGINIA), &primary).unwrap(),
        opens: || KmsKeyring::mrk_discovery(world.client(IRELAND), IRELAND, filter()).unwrap(),
        they_seal: world.theirs("aws-kms-mrk", &primary),
        they_open: world.their_discovery("aws-kms-mrk-discovery", IRELAND),
        arns: vec![primary.clone()],
    };
    exchange(world, &keyrings).await;
}

/// Wrapped under keys of two regions, read with the second alone.
pub async fn two_regions(world: &World) {
    let (virginia, ireland) = (world.key(VIRGINIA).await, world.key(IRELAND).await);
    let keyrings = Keyrings {
        seals: || MultiKeyring::kms(&world.clients(), &virginia, [&ireland]).unwrap(),
        opens: || KmsKeyring::new(world.client(IRELAND), &ireland).unwrap(),
        they_seal: multi(Some(&world.theirs("aws-kms", &virginia)), &[world.theirs("aws-kms", &ireland)]),
        they_open: world.theirs("aws-kms", &ireland),
        arns: vec![virginia.clone(), ireland.clone()],
    };
    exchange(world, &keyrings).await;
}

/// Wrapped under a multi-Region key and another key, and looked up in two regions.
pub async fn discovery_in_two_regions(world: &World) {
    let ((primary, _), virginia) = (world.multi_region_key().await, world.key(VIRGINIA).await);
    let their_discovery = |region| world.their_discovery("aws-kms-mrk-discovery", region);
    let keyrings = Keyrings {
        seals: || MultiKeyring::kms_mrk_aware(&world.clients(), &virginia, [&primary]).unwrap(),
        opens: || MultiKeyring::kms_mrk_discovery(&world.clients(), ["ap-south-1", IRELAND], &filter()).unwrap(),
        they_seal: multi(Some(&world.theirs("aws-kms", &virginia)), &[world.theirs("aws-kms-mrk", &primary)]),
        they_open: multi(None, &["ap-south-1", IRELAND].map(their_discovery)),
        arns: vec![virginia.clone(), primary.clone()],
    };
    exchange(world, &keyrings).await;
}

impl World {
    fn theirs(&self, kind: &str, arn: &str) -> Value {
        json!({"type": kind, "key_id": arn, "region": region_of(arn), "endpoint": self.endpoint()})
    }

    fn their_discovery(&self, kind: &str, region: &str) -> Value {
        json!({
            "type": kind, "region": region, "endpoint": self.endpoint(), "partition": "aws", "accounts": [ACCOUNT],
        })
    }
}

fn multi(generator: Option<&Value>, children: &[Value]) -> Value {
    json!({"type": "multi", "generator": generator, "children": children})
}

async fn exchange<S, O>(world: &World, keyrings: &Keyrings<impl Fn() -> S, impl Fn() -> O>)
where
    S: Keyring + 'static,
    O: Keyring + 'static,
{
    for (name, peer) in [("Python", &world.python), ("JavaScript", &world.javascript)] {
        for suite in SUITES {
            let what = format!("{name}, {suite}");
            let sealer = client_for(suite, (keyrings.seals)()).unwrap();
            let message = sealer.encrypt_async(PLAINTEXT, &context()).await.unwrap();
            let answer = ask(peer, "decrypt", suite, &keyrings.they_open, &message)
                .unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!(answer["data"], STANDARD.encode(PLAINTEXT), "{what}");
            check_header(&answer["header"], suite, &keyrings.arns, &what);

            let answer = ask(peer, "encrypt", suite, &keyrings.they_seal, PLAINTEXT)
                .unwrap_or_else(|why| panic!("{what}: {why}"));
            check_header(&answer["header"], suite, &keyrings.arns, &what);
            let message = STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
            let opener = client_for(suite, (keyrings.opens)()).unwrap();
            let opened =
                opener.decrypt_async(&message, context()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((opened.plaintext.as_slice(), opened.header.suite()), (PLAINTEXT, suite), "{what}");
        }
    }
}

fn ask(peer: &Mutex<Peer>, op: &str, suite: AlgorithmSuite, keyring: &Value, data: &[u8]) -> Result<Value, String> {
    let policy = format!("{:?}", policy_for(suite));
    let pairs: Map<_, _> = PAIRS.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let mut request = json!({
        "op": op,
        "keyring": keyring,
        "data": STANDARD.encode(data),
        "commitment_policy": policy,
        "encryption_context": pairs,
    });
    if op == "encrypt" {
        request["suite"] = suite.to_string().into();
        request["frame_length"] = 256.into();
    }
    peer.lock().unwrap().ask(&request)
}

#[track_caller]
fn check_header(header: &Value, suite: AlgorithmSuite, arns: &[String], what: &str) {
    assert_eq!(header["suite"], suite.to_string(), "{what}");
    assert_eq!(header["version"], suite.message_version(), "{what}");
    let edks = header["edks"].as_array().unwrap().iter();
    let mut named: Vec<_> = edks.map(|edk| (edk[0].clone(), edk[1].clone())).collect();
    let mut wanted: Vec<_> = arns.iter().map(|arn| ("aws-kms".into(), Value::from(STANDARD.encode(arn)))).collect();
    named.sort_by_key(|(_, arn)| arn.to_string());
    wanted.sort_by_key(|(_, arn)| arn.to_string());
    assert_eq!(named, wanted, "{what}");
}
