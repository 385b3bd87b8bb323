//! Faults of the service: each ends in the right kind of error, after no more attempts than the client allows, and no
//! bad answer is used.

use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvidedCredentials;
use manila::aws::AwsKms;
use manila::keyring::{KmsKeyring, MultiKeyring};
use manila::local_kms::{CreateKey, LocalKms};
use manila::{Client, ErrorKind};

use crate::patience::{ATTEMPTS, within_a_minute};
use crate::server::{Fault, Server};
use crate::{client, context};

/// Each fault, with the kinds of error that encryption and decryption end in.
const FAULTS: [(Fault, ErrorKind, ErrorKind); 32] = {
    use ErrorKind::{Internal, InvalidInput, KeyRefused, NoUsableDataKey, Unavailable};
    [
        (Fault::Refuse(400, "ThrottlingException"), Unavailable, Unavailable),
        (Fault::Refuse(400, "Throttling"), Unavailable, Unavailable),
        (Fault::Refuse(400, "TooManyRequestsException"), Unavailable, Unavailable),
        (Fault::Refuse(400, "RequestLimitExceeded"), Unavailable, Unavailable),
        (Fault::Refuse(400, "SlowDown"), Unavailable, Unavailable),
        (Fault::Refuse(400, "LimitExceededException"), Unavailable, Unavailable),
        (Fault::Refuse(500, "DependencyTimeoutException"), Unavailable, Unavailable),
        (Fault::Refuse(500, "KMSInternalException"), Unavailable, Unavailable),
        (Fault::Refuse(500, "KeyUnavailableException"), Unavailable, Unavailable),
        (Fault::Refuse(500, "SomethingNew"), Unavailable, Unavailable),
        (Fault::Refuse(400, "DisabledException"), KeyRefused, KeyRefused),
        (Fault::Refuse(400, "KMSInvalidStateException"), KeyRefused, KeyRefused),
        (Fault::Refuse(400, "NotFoundException"), KeyRefused, KeyRefused),
        (Fault::Refuse(400, "IncorrectKeyException"), KeyRefused, KeyRefused),
        (Fault::Refuse(400, "InvalidCiphertextException"), KeyRefused, KeyRefused),
        (Fault::Refuse(400, "AccessDeniedException"), KeyRefused, KeyRefused),
        (Fault::Refuse(400, "InvalidGrantTokenException"), InvalidInput, InvalidInput),
        (Fault::Refuse(400, "InvalidKeyUsageException"), InvalidInput, InvalidInput),
        (Fault::Refuse(400, "ValidationException"), InvalidInput, InvalidInput),
        (Fault::Refuse(400, "DryRunOperationException"), InvalidInput, InvalidInput),
        (Fault::Refuse(400, "SomethingNew"), InvalidInput, InvalidInput),
        (Fault::Status(500), Unavailable, Unavailable),
        (Fault::Status(503), Unavailable, Unavailable),
        (Fault::Silence, Unavailable, Unavailable),
        (Fault::Cut, Unavailable, Unavailable),
        (Fault::HangUp, Unavailable, Unavailable),
        (Fault::OtherKey, Internal, Internal),
        (Fault::PlaintextLen(16), Internal, NoUsableDataKey),
        (Fault::PlaintextLen(0), Internal, Internal),
        (Fault::PlaintextLen(4096), Internal, NoUsableDataKey),
        (Fault::Garbage, Internal, Internal),
        (Fault::Empty, Internal, Internal),
    ]
};

#[tokio::test]
async fn every_fault_ends_in_its_kind_of_error_after_the_attempts_of_the_client() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let user = Client::new(KmsKeyring::new(client(&server), key.arn()).unwrap());
    let message = user.encrypt_async(b"hello", &context()).await.unwrap();
    for (fault, sealing, opening) in FAULTS {
        server.misbehave(fault);
        server.calls();
        let sealed = within_a_minute(user.encrypt_async(b"hello", &context())).await;
        let sealing_calls = server.calls().len();
        let opened = within_a_minute(user.decrypt_async(&message, context())).await;
        // Only errors that may be transient are retried.
        let attempts = |kind| if kind == ErrorKind::Unavailable { ATTEMPTS } else { 1 };
        let made = (sealing_calls, server.calls().len());
        assert_eq!(made, (attempts(sealing), attempts(opening)), "{fault:?}");
        // The answer to GenerateDataKey may name a different key than the requested alias, but not a different key than
        // the requested ARN.
        let sealed = sealed.map(|_| ()).unwrap_err();
        assert_eq!(sealed.kind(), sealing, "sealing, {fault:?}: {sealed:?}");
        let opened = opened.unwrap_err();
        assert_eq!(opened.kind(), opening, "opening, {fault:?}: {opened:?}");
        if let Fault::Refuse(_, code) = fault {
            for error in [sealed, opened] {
                let answer = error.kms_error().unwrap();
                assert_eq!((answer.code(), answer.message()), (code, "so the test wants it"));
                assert_eq!(answer.request_id(), Some("request-of-the-test"));
                assert!(error.to_string().contains(code), "{error}");
            }
        }
        // The client is still usable: once the service recovers, it continues.
        server.misbehave(Fault::None);
        assert_eq!(user.decrypt_async(&message, context()).await.unwrap().plaintext, b"hello", "after {fault:?}");
        user.encrypt_async(b"again", &context()).await.unwrap();
    }
}

/// A provider without credentials.
#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> ProvidedCredentials<'a>
    where
        Self: 'a,
    {
        ProvidedCredentials::ready(Err(CredentialsError::not_loaded("there are none")))
    }
}

#[tokio::test]
async fn without_credentials_or_connection_the_error_says_so() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let error_of = async |client: AwsKms| {
        let user = Client::new(KmsKeyring::new(client, key.arn()).unwrap());
        user.encrypt_async(b"hello", &context()).await.unwrap_err()
    };
    let bare = aws_sdk_kms::Config::builder()
        .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
        .region(aws_sdk_kms::config::Region::new("local"))
        .endpoint_url(format!("http://{}", server.address));
    let error = error_of(AwsKms::new(aws_sdk_kms::Client::from_conf(bare.credentials_provider(Nobody).build()))).await;
    assert_eq!((error.kind(), error.kms_error().unwrap().code()), (ErrorKind::InvalidInput, "NoCredentials"));
    assert!(server.calls().is_empty());
    let nobody_listens = client(&server);
    drop(server);
    let error = error_of(nobody_listens).await;
    assert_eq!((error.kind(), error.kms_error().unwrap().code()), (ErrorKind::Unavailable, "ConnectionFailure"));
}

#[tokio::test]
async fn the_users_own_retries_are_respected() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let user = Client::new(KmsKeyring::new(client(&server), key.arn()).unwrap());
    server.misbehave_times(Fault::Refuse(400, "ThrottlingException"), 1);
    user.encrypt_async(b"hello", &context()).await.unwrap();
    assert_eq!(server.calls().len(), 2, "one throttled, one answered");
    server.misbehave(Fault::Refuse(400, "ThrottlingException"));
    user.encrypt_async(b"hello", &context()).await.unwrap_err();
    assert_eq!(server.calls().len(), 2, "as many attempts as the client allows");
    server.misbehave(Fault::Refuse(400, "AccessDeniedException"));
    user.encrypt_async(b"hello", &context()).await.unwrap_err();
    assert_eq!(server.calls().len(), 1, "permanent errors are not retried");
}

#[tokio::test]
async fn on_opening_every_failure_goes_on_to_the_next_data_key() {
    let (up, down) = (LocalKms::in_memory().unwrap(), LocalKms::in_memory().unwrap());
    let (good, bad) = (Server::new(up.clone()), Server::new(down.clone()));
    let [one, other] = [&down, &up].map(|kms| kms.create_key(CreateKey::default()).unwrap());
    let both = || {
        MultiKeyring::new(KmsKeyring::new(client(&bad), one.arn()).unwrap())
            .child(KmsKeyring::new(client(&good), other.arn()).unwrap())
    };
    let user = Client::new(both());
    let message = user.encrypt_async(b"hello", &context()).await.unwrap();
    for (fault, _, opening) in FAULTS {
        bad.misbehave(fault);
        let opened = within_a_minute(user.decrypt_async(&message, context())).await.unwrap();
        assert_eq!(opened.plaintext, b"hello", "{fault:?}");
        // If no other key is left to try, the transient error takes precedence.
        good.misbehave(Fault::Refuse(400, "AccessDeniedException"));
        let error = within_a_minute(user.decrypt_async(&message, context())).await.unwrap_err();
        assert_eq!(error.causes().len(), 2);
        let weightier = matches!(opening, ErrorKind::Unavailable | ErrorKind::Internal);
        assert_eq!(error.kind(), if weightier { opening } else { ErrorKind::KeyRefused }, "{fault:?}");
        good.misbehave(Fault::None);
    }
}

#[tokio::test]
async fn on_sealing_the_first_failure_ends_it() {
    let kms = LocalKms::in_memory().unwrap();
    let (good, bad) = (Server::new(kms.clone()), Server::new(kms.clone()));
    let key = kms.create_key(CreateKey::default()).unwrap();
    let keyring = |server| KmsKeyring::new(client(server), key.arn()).unwrap();
    bad.misbehave(Fault::Refuse(400, "DisabledException"));
    for multi in [
        MultiKeyring::new(keyring(&bad)).child(keyring(&good)),
        MultiKeyring::new(keyring(&good)).child(keyring(&bad)).child(keyring(&good)),
    ] {
        let error = Client::new(multi).encrypt_async(b"hello", &context()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyRefused, "{error}");
        assert_eq!(error.kms_error().unwrap().code(), "DisabledException");
    }
}

#[tokio::test]
async fn no_error_shows_a_byte_of_the_answer() {
    // The answer contains the plaintext: an error about the answer must not show it.
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let user = Client::new(KmsKeyring::new(client(&server), key.arn()).unwrap());
    server.misbehave(Fault::PlaintextLen(31));
    let error = user.encrypt_async(b"hello", &context()).await.unwrap_err();
    // 31 bytes of value 7 are "BwcH..." in Base64, and "7, 7" or "\x07" as bytes.
    for shown in [format!("{error:?}"), format!("{error:#?}"), error.to_string()] {
        for secret in ["BwcH", "7, 7", "\\x07\\x07", "0707"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn what_the_service_says_cannot_steer_a_terminal() {
    let kms = LocalKms::in_memory().unwrap();
    let server = Server::new(kms.clone());
    let key = kms.create_key(CreateKey::default()).unwrap();
    let user = Client::new(KmsKeyring::new(client(&server), key.arn()).unwrap());
    server.misbehave(Fault::Refuse(400, "Odd\u{202e}\u{1b}[31m\n"));
    let error = user.encrypt_async(b"hello", &context()).await.unwrap_err();
    let answer = error.kms_error().unwrap();
    for text in [error.to_string(), answer.to_string(), answer.code().to_owned()] {
        assert!(text.contains("Odd\\u{202e}\\u{1b}[31m"), "{text:?}");
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}
