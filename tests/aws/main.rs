//! AWS KMS through the SDK's own client, against a server in this process that speaks its protocol on top of a
//! `LocalKms`, and can misbehave.

#![cfg(all(feature = "aws-kms", feature = "local-kms"))]

mod faults;
mod patience;
mod server;

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};

use manila::aws::AwsKms;
use manila::keyring::{DiscoveryFilter, KmsKeyring, MultiKeyring, RegionalClients};
use manila::kms::{Kms, KmsRequest};
use manila::local_kms::{CreateKey, LocalKms};
use manila::testing::{ContextBinding, check_keyring, check_kms, check_two_keys};
use manila::{Client, EncryptionContext, ErrorKind};

use patience::{patient, within_a_minute};
use server::{Fault, Server};

/// Makes a client of the SDK for a region of the server.
fn client_in(server: &Server, region: &str) -> AwsKms {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests())
        .region(Region::new(region.to_owned()))
        .endpoint_url(format!("http://{}", server.address));
    AwsKms::new(aws_sdk_kms::Client::from_conf(patient(config, &server.silence).build()))
}

fn client(server: &Server) -> AwsKms {
    client_in(server, "local")
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme"), ("purpose", "test")]).unwrap()
}

fn filter() -> DiscoveryFilter {
    DiscoveryFilter::new("aws", ["000000000000"]).unwrap()
}

#[tokio::test]
async fn the_sdks_client_keeps_the_contracts() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let [one, other] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
    check_kms(&client(&server), one.arn()).await.unwrap();
    check_two_keys(&client(&server), one.arn(), other.arn()).await.unwrap();
    check_keyring(&KmsKeyring::new(client(&server), one.arn()).unwrap(), ContextBinding::DataKey).await.unwrap();
}

#[tokio::test]
async fn moving_from_the_embedded_kms_is_one_line() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let embedded = Client::new(KmsKeyring::new(kms, key.arn()).unwrap());
    let remote = Client::new(KmsKeyring::new(client(&server), key.arn()).unwrap());
    let message = remote.encrypt_async(b"hello", &context()).await.unwrap();
    assert_eq!(embedded.decrypt(&message, context()).unwrap().plaintext, b"hello");
    let message = embedded.encrypt(b"hello", &context()).unwrap();
    assert_eq!(remote.decrypt_async(&message, context()).await.unwrap().plaintext, b"hello");
    // A blocking call over the network is refused before any request is sent.
    server.calls();
    assert_eq!(remote.encrypt(b"hello", &context()).unwrap_err().kind(), ErrorKind::NeedsAsync);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn a_call_says_who_asks_and_all_that_it_is_bound_to() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let keyring = KmsKeyring::new(client(&server), key.arn()).unwrap().grant_tokens(["token-1", "token-2"]);
    let user = Client::new(keyring);
    let message = user.encrypt_async(b"hello", &context()).await.unwrap();
    user.decrypt_async(&message, context()).await.unwrap();
    let calls = server.calls();
    let operations: Vec<_> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(operations, ["GenerateDataKey", "Decrypt"]);
    for call in &calls {
        let agent = &call.headers["user-agent"];
        assert!(agent.contains(concat!("lib/manila/", env!("CARGO_PKG_VERSION"))), "{agent}");
        assert_eq!(call.body["KeyId"], key.arn(), "given on Decrypt too");
        assert_eq!(call.body["EncryptionContext"]["tenant"], "acme");
        assert_eq!(call.body["GrantTokens"], serde_json::json!(["token-1", "token-2"]));
    }
    // If there are no pairs or tokens, the request has no such fields.
    let empty = EncryptionContext::empty();
    client_in(&server, "local").region().unwrap();
    Kms::encrypt(&client(&server), KmsRequest::new(key.arn(), &empty), b"x").await.unwrap();
    let call = server.calls().remove(0);
    assert!(call.body.get("EncryptionContext").is_none() && call.body.get("GrantTokens").is_none(), "{:?}", call.body);
}

#[tokio::test]
async fn no_call_is_made_for_a_data_key_that_does_not_match() {
    let kms = LocalKms::builder().account("111122223333").in_memory().unwrap();
    let server = Server::new(kms.clone());
    let [key, other] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
    let sealer = Client::new(KmsKeyring::new(kms.clone(), key.arn()).unwrap());
    let message = sealer.encrypt(b"hello", &context()).unwrap();
    let elsewhere = DiscoveryFilter::new("aws", ["444455556666"]).unwrap();
    let china = DiscoveryFilter::new("aws-cn", ["111122223333"]).unwrap();
    for keyring in [
        KmsKeyring::new(client(&server), other.arn()).unwrap(),
        KmsKeyring::mrk_aware(client(&server), other.arn()).unwrap(),
        KmsKeyring::discovery(client(&server), elsewhere.clone()),
        KmsKeyring::discovery(client(&server), china),
        KmsKeyring::mrk_discovery(client(&server), "local", elsewhere).unwrap(),
    ] {
        let error = Client::new(keyring).decrypt_async(&message, context()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoUsableDataKey, "{error}");
    }
    assert!(server.calls().is_empty());
    let ours = DiscoveryFilter::new("aws", ["111122223333"]).unwrap();
    let discovery = Client::new(KmsKeyring::discovery(client(&server), ours));
    assert_eq!(discovery.decrypt_async(&message, context()).await.unwrap().plaintext, b"hello");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn discovery_asks_for_keys_of_its_own_region_first() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let keys = ["us-east-1", "eu-west-1", "ap-south-1"]
        .map(|region| kms.region(region).unwrap().create_key(CreateKey::default()).unwrap());
    let clients = RegionalClients::new(move |region| kms.region(region));
    let multi = MultiKeyring::kms(&clients, keys[0].arn(), [keys[1].arn(), keys[2].arn()]).unwrap();
    let message = Client::new(multi).encrypt(b"hello", &context()).unwrap();
    // The server has no key in any of these regions, so each is asked in turn.
    let discovery = Client::new(KmsKeyring::discovery(client_in(&server, "eu-west-1"), filter()));
    let error = discovery.decrypt_async(&message, context()).await.unwrap_err();
    assert_eq!((error.kind(), error.causes().len()), (ErrorKind::KeyRefused, 3), "{error}");
    let asked: Vec<_> = server.calls().iter().map(|call| call.body["KeyId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked, [keys[1].arn(), keys[0].arn(), keys[2].arn()]);
}

#[tokio::test]
async fn multi_region_keys_open_in_every_region() {
    let kms = LocalKms::in_memory().unwrap();
    let primary = kms.create_key(CreateKey::default().multi_region()).unwrap();
    let replica = kms.replicate_key(primary.key_id(), "eu-west-1").unwrap();
    let (here, there) = (Server::new(kms.clone()), Server::new(kms.region("eu-west-1").unwrap()));
    let message = Client::new(KmsKeyring::mrk_aware(client(&here), primary.arn()).unwrap())
        .encrypt_async(b"hello", &context())
        .await
        .unwrap();
    for keyring in [
        KmsKeyring::mrk_aware(client_in(&there, "eu-west-1"), replica.arn()).unwrap(),
        KmsKeyring::mrk_discovery(client_in(&there, "eu-west-1"), "eu-west-1", filter()).unwrap(),
    ] {
        let opened = Client::new(keyring).decrypt_async(&message, context()).await.unwrap();
        assert_eq!(opened.plaintext, b"hello");
    }
    let asked: Vec<_> = there.calls().iter().map(|call| call.body["KeyId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked, [replica.arn(), replica.arn()]);
    let strict = Client::new(KmsKeyring::new(client_in(&there, "eu-west-1"), replica.arn()).unwrap());
    assert_eq!(strict.decrypt_async(&message, context()).await.unwrap_err().kind(), ErrorKind::NoUsableDataKey);
}

#[tokio::test]
async fn children_wrap_at_once_and_keep_their_order() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let keys: Vec<_> = (0..8).map(|_| kms.create_key(CreateKey::default()).unwrap()).collect();
    let multi = |first: &str, others: &[manila::local_kms::KeyMetadata]| {
        let first = MultiKeyring::new(KmsKeyring::new(client(&server), first).unwrap());
        others.iter().fold(first, |all, key| all.child(KmsKeyring::new(client(&server), key.arn()).unwrap()))
    };
    // No child gets its answer before all have asked.
    server.misbehave(Fault::Together("Encrypt", 7));
    let user = Client::new(multi(keys[0].arn(), &keys[1..]));
    let message = within_a_minute(user.encrypt_async(b"hello", &context())).await.unwrap();
    let header = manila::UnverifiedHeader::parse(&message).unwrap();
    let named: Vec<_> = header.encrypted_data_keys().iter().map(|key| key.provider_info.clone()).collect();
    assert_eq!(named, keys.iter().map(|key| key.arn().as_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn one_worker_thread_and_two_hundred_operations_do_not_deadlock() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    // No caller gets its data key before all have asked for one.
    server.misbehave(Fault::Together("GenerateDataKey", 200));
    let [generator, child] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
    let keyring = |key: &manila::local_kms::KeyMetadata| KmsKeyring::new(client(&server), key.arn()).unwrap();
    let user = Client::new(MultiKeyring::new(keyring(&generator)).child(keyring(&child)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..200_u32)
            .map(|n| {
                let user = user.clone();
                tokio::spawn(async move {
                    let message = user.encrypt_async(&n.to_be_bytes(), &context()).await.unwrap();
                    user.decrypt_async(&message, context()).await.unwrap().plaintext
                })
            })
            .collect();
        for (n, task) in (0..200_u32).zip(tasks) {
            assert_eq!(within_a_minute(task).await.unwrap(), n.to_be_bytes());
        }
    });
}

#[test]
fn outside_a_runtime_the_error_says_what_is_missing() {
    let server = Server::new(LocalKms::in_memory().unwrap());
    let kms = client(&server);
    let empty = EncryptionContext::empty();
    let request = KmsRequest::new("alias/a", &empty);
    let errors = [
        manila::testing::ready(Kms::generate_data_key(&kms, request, 32)).unwrap_err(),
        manila::testing::ready(Kms::encrypt(&kms, request, b"x")).unwrap_err(),
        manila::testing::ready(Kms::decrypt(&kms, request, b"x")).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("tokio runtime"), "{error}");
    }
    assert!(server.calls().is_empty());
}
