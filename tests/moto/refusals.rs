//! Calls that moto refuses: the kind of error, and AWS's name for it among the causes.

use manila::kms::{Kms, KmsRequest};
use manila::{EncryptionContext, Error, ErrorKind};

use crate::world::{IRELAND, PAIRS, VIRGINIA, World, answer, context};

#[track_caller]
fn refused<T>(result: Result<T, Error>, code: &str) {
    let error = result.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::KeyRefused, "{error}");
    assert_eq!(answer(&error).code(), code, "{error}");
    assert!(answer(&error).request_id().is_some(), "{error}");
}

/// Asserts that the key can neither encrypt nor decrypt what it encrypted before.
async fn check_refused(world: &World, arn: &str, message: &[u8], code: &str) {
    let client = world.strict(arn);
    refused(client.encrypt_async(b"hello", &context()).await, code);
    refused(client.decrypt_async(message, context()).await, code);
    let kms = world.client(VIRGINIA);
    refused(Kms::encrypt(&kms, KmsRequest::new(arn, &context()), b"hello").await, code);
}

pub async fn a_disabled_key_is_refused_until_it_is_enabled(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let message = world.strict(&arn).encrypt_async(b"hello", &context()).await.unwrap();
    world.client(VIRGINIA).as_client().disable_key().key_id(&arn).send().await.unwrap();
    check_refused(world, &arn, &message, "DisabledException").await;
    world.client(VIRGINIA).as_client().enable_key().key_id(&arn).send().await.unwrap();
    assert_eq!(world.strict(&arn).decrypt_async(&message, context()).await.unwrap().plaintext, b"hello");
}

pub async fn a_key_that_waits_for_deletion_is_refused(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let message = world.strict(&arn).encrypt_async(b"hello", &context()).await.unwrap();
    world
        .client(VIRGINIA)
        .as_client()
        .schedule_key_deletion()
        .key_id(&arn)
        .pending_window_in_days(7)
        .send()
        .await
        .unwrap();
    check_refused(world, &arn, &message, "KMSInvalidStateException").await;
}

pub async fn a_key_that_is_not_there_is_refused(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let message = world.strict(&arn).encrypt_async(b"hello", &context()).await.unwrap();
    let (prefix, id) = arn.split_once(":key/").unwrap();
    let unknown = format!("{prefix}:key/00000000-0000-4000-8000-000000000000");
    let kms = world.client(VIRGINIA);
    let in_ireland = arn.replace(VIRGINIA, IRELAND);
    for name in [&unknown, "alias/nobody", &format!("{prefix}:alias/nobody"), &in_ireland] {
        refused(Kms::generate_data_key(&kms, KmsRequest::new(name, &context()), 32).await, "NotFoundException");
        refused(Kms::encrypt(&kms, KmsRequest::new(name, &context()), b"hello").await, "NotFoundException");
        refused(Kms::decrypt(&kms, KmsRequest::new(name, &context()), &message).await, "NotFoundException");
    }
    // Each region has its own keys.
    let request = context();
    refused(Kms::encrypt(&world.client(IRELAND), KmsRequest::new(id, &request), b"x").await, "NotFoundException");
    refused(world.strict(&in_ireland).encrypt_async(b"hello", &context()).await, "NotFoundException");
}

pub async fn another_context_is_refused(world: &World) {
    let arn = world.key(VIRGINIA).await;
    let kms = world.client(VIRGINIA);
    let bound = context();
    let sealed = Kms::encrypt(&kms, KmsRequest::new(&arn, &bound), b"hello").await.unwrap().ciphertext;
    Kms::decrypt(&kms, KmsRequest::new(&arn, &bound), &sealed).await.unwrap();
    let mut composed = PAIRS;
    composed[4].0 = "caf\u{e9}";
    let mut decomposed = PAIRS;
    decomposed[4].1 = "cafe\u{301}";
    for other in [&composed[..], &decomposed, &PAIRS[..4], &[]] {
        let other = EncryptionContext::new(other.iter().copied()).unwrap();
        refused(Kms::decrypt(&kms, KmsRequest::new(&arn, &other), &sealed).await, "InvalidCiphertextException");
    }
}

pub async fn another_key_is_refused(world: &World) {
    let (one, other) = (world.key(VIRGINIA).await, world.key(VIRGINIA).await);
    let kms = world.client(VIRGINIA);
    let sealed = Kms::encrypt(&kms, KmsRequest::new(&one, &context()), b"hello").await.unwrap().ciphertext;
    let opened = Kms::decrypt(&kms, KmsRequest::new(&other, &context()), &sealed).await;
    refused(opened, "IncorrectKeyException");
}
