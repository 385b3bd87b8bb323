//! Keyrings: their contracts, the rules of each, and blocking calls with keys that are not local.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use manila::cmm::RequiredContextCmm;
use manila::keyring::{Keyring, MultiKeyring, RawAesKeyring};
use manila::materials::{DataKey, DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::{
    ContextBinding, FixedKeyKeyring, check_keyring, client_for, decryption_request, open_every_way, ready,
};
use manila::{
    AlgorithmSuite, Client, EncryptedDataKey, EncryptionContext, ErrorKind, ExpectedContext, UnverifiedHeader,
};

fn raw_aes(name: &str, byte: u8) -> RawAesKeyring {
    RawAesKeyring::new("tests", name, &[byte; 32]).unwrap()
}

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

#[test]
fn our_keyrings_keep_the_contract() {
    for len in [16, 24, 32] {
        ready(check_keyring(&RawAesKeyring::new("tests", "k", &vec![1; len]).unwrap(), ContextBinding::DataKey))
            .unwrap();
    }
    ready(check_keyring(&Box::new(raw_aes("k", 1)), ContextBinding::DataKey)).unwrap();
}

#[test]
fn the_contract_catches_a_keyring_that_binds_nothing() {
    let error = ready(check_keyring(&FixedKeyKeyring::new(&[1; 16]), ContextBinding::DataKey)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

/// Encrypts a message under a known data key, and returns both.
fn sealed_under_known_key(suite: AlgorithmSuite, context: &EncryptionContext) -> (Vec<u8>, DataKey) {
    let data_key = vec![7; suite.data_key_len()];
    let message = client_for(suite, FixedKeyKeyring::new(&data_key)).unwrap().encrypt(b"x", context).unwrap();
    (message, DataKey::new(&data_key))
}

#[test]
fn a_request_is_opened_by_the_key_that_sealed_its_header_alone() {
    let context = EncryptionContext::new([("k", "v")]).unwrap();
    for suite in AlgorithmSuite::ALL {
        let (message, data_key) = sealed_under_known_key(suite, &context);
        let request = decryption_request(&message, ExpectedContext::any()).unwrap();
        assert!(request.is_opened_by(&data_key), "{suite}");
        assert!(!request.is_opened_by(&DataKey::new(&vec![8; suite.data_key_len()])), "{suite}");
        for len in [0, 15, 16, 24, 31, 32, 33, 64].into_iter().filter(|len| *len != suite.data_key_len()) {
            assert!(!request.is_opened_by(&DataKey::new(&vec![7; len])), "{suite}, {len} bytes");
        }
        // The request's message is the same whichever data keys are given to a keyring.
        let key = EncryptedDataKey { provider_id: "other".into(), provider_info: vec![], ciphertext: vec![] };
        let shown = request.with_encrypted_data_keys(vec![key]);
        assert!(shown.is_opened_by(&data_key) && shown != request);
        // No byte of the header can be changed: it includes the commitment and the tag.
        let header_len = UnverifiedHeader::parse(&message).unwrap().len();
        let mut changed = 0;
        for at in 0..header_len {
            let mut forged = message.clone();
            forged[at] ^= 1;
            // In signing suites, the public key is validated before there is a request.
            let Ok(request) = decryption_request(&forged, ExpectedContext::any()) else { continue };
            assert!(!request.is_opened_by(&data_key), "{suite}, byte {at}");
            changed += 1;
        }
        assert!(changed > header_len / 2, "{suite}: {changed} of {header_len}");
    }
}

#[test]
fn a_request_is_opened_only_with_the_pairs_that_were_left_out_of_the_header() {
    let pairs = |value: &str| EncryptionContext::new([("stored", "s"), ("hidden", value)]).unwrap();
    let data_key = [7; 32];
    let cmm = RequiredContextCmm::new(FixedKeyKeyring::new(&data_key), ["hidden"]).unwrap();
    let client = Client::with_cmm(cmm);
    let message = client.encrypt(b"x", &pairs("h")).unwrap();
    let opened = |expected: ExpectedContext| {
        decryption_request(&message, expected).unwrap().is_opened_by(&DataKey::new(&data_key))
    };
    assert!(opened((&pairs("h")).into()));
    assert!(!opened((&pairs("i")).into()) && !opened(ExpectedContext::any()));
}

#[test]
fn a_raw_aes_keyring_writes_the_layout_of_the_specification() {
    let client = Client::new(RawAesKeyring::new("space", "name", &[5; 32]).unwrap());
    let message = client.encrypt(b"", &none()).unwrap();
    let header = UnverifiedHeader::parse(&message).unwrap();
    let [EncryptedDataKey { provider_id, provider_info, ciphertext }] = header.encrypted_data_keys() else {
        panic!("one data key");
    };
    assert_eq!(provider_id, "space");
    assert_eq!(provider_info[..12], *b"name\0\0\0\x80\0\0\0\x0c");
    assert_eq!(provider_info.len(), 4 + 4 + 4 + 12);
    assert_eq!(ciphertext.len(), 32 + 16);
}

#[test]
fn raw_keyrings_refuse_what_is_not_theirs_to_use() {
    let kind = |namespace: &str, name: &str, len: usize| {
        RawAesKeyring::new(namespace, name, &vec![0; len]).unwrap_err().kind()
    };
    assert_eq!(kind("aws-kms", "k", 32), ErrorKind::InvalidInput);
    assert_eq!(kind("aws-kms-mine", "k", 32), ErrorKind::InvalidInput);
    assert_eq!(kind("tests", "k", 31), ErrorKind::InvalidInput);
    assert_eq!(kind("tests", &"k".repeat(65_536), 32), ErrorKind::InvalidInput);
}

#[test]
fn wrapping_ivs_and_data_keys_never_repeat() {
    let client = Client::new(raw_aes("k", 1));
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let message = client.encrypt(b"", &none()).unwrap();
        let header = UnverifiedHeader::parse(&message).unwrap();
        let key = &header.encrypted_data_keys()[0];
        assert!(seen.insert(key.provider_info.clone()));
        assert!(seen.insert(key.ciphertext.clone()));
        assert!(seen.insert(header.message_id().to_vec()));
    }
}

#[test]
fn any_member_of_a_multi_keyring_opens_and_order_is_kept() {
    let multi = MultiKeyring::new(raw_aes("a", 1)).child(raw_aes("b", 2)).child(raw_aes("c", 3));
    let message = Client::new(multi).encrypt(b"for three", &none()).unwrap();
    let header = UnverifiedHeader::parse(&message).unwrap();
    let names: Vec<_> = header.encrypted_data_keys().iter().map(|key| key.provider_info[0]).collect();
    assert_eq!(names, b"abc");
    for (name, byte) in [("a", 1), ("b", 2), ("c", 3)] {
        let client = Client::new(raw_aes(name, byte));
        assert_eq!(open_every_way(&client, &message, &ExpectedContext::any()).unwrap().plaintext, b"for three");
        // Wrong keys before the right one do not prevent decryption.
        let multi = MultiKeyring::without_generator(raw_aes("a", 9)).child(raw_aes("z", 9)).child(raw_aes(name, byte));
        assert_eq!(Client::new(multi).decrypt(&message, ExpectedContext::any()).unwrap().plaintext, b"for three");
    }
}

#[test]
fn a_wrong_key_tells_a_cause_for_each_data_key_tried() {
    let multi = MultiKeyring::new(raw_aes("a", 1)).child(raw_aes("b", 2));
    let message = Client::new(multi).encrypt(b"", &none()).unwrap();
    let wrong = MultiKeyring::without_generator(raw_aes("a", 8)).child(raw_aes("b", 9));
    let error = Client::new(wrong).decrypt(&message, ExpectedContext::any()).unwrap_err();
    assert_eq!((error.kind(), error.causes().len()), (ErrorKind::NoUsableDataKey, 2));
    assert!(error.to_string().contains("\"a\"") && error.to_string().contains("\"b\""), "{error}");
    // The error chain: the failure, its first cause, and for a KMS its answer.
    assert_eq!(error.source().unwrap().to_string(), error.causes()[0].to_string());
    let stranger = Client::new(raw_aes("z", 1)).decrypt(&message, ExpectedContext::any()).unwrap_err();
    assert_eq!((stranger.kind(), stranger.causes().len()), (ErrorKind::NoUsableDataKey, 0));
    assert!(stranger.to_string().contains("tests"), "{stranger}");
}

#[test]
fn a_multi_keyring_without_generator_cannot_seal() {
    let client = Client::new(MultiKeyring::without_generator(raw_aes("a", 1)));
    assert_eq!(client.encrypt(b"", &none()).unwrap_err().kind(), ErrorKind::InvalidInput);
    // As a child of a keyring with a generator, it wraps.
    let nested = MultiKeyring::new(raw_aes("b", 2)).child(MultiKeyring::without_generator(raw_aes("a", 1)));
    let message = Client::new(nested).encrypt(b"nested", &none()).unwrap();
    assert_eq!(client.decrypt(&message, ExpectedContext::any()).unwrap().plaintext, b"nested");
    // A keyring with a generator cannot be a child: it would generate a second data key.
    let two_generators = MultiKeyring::new(raw_aes("b", 2)).child(MultiKeyring::new(raw_aes("a", 1)));
    assert_eq!(Client::new(two_generators).encrypt(b"", &none()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_data_key_that_nobody_wrapped_is_refused() {
    /// Generates a data key without wrapping it.
    #[derive(Debug)]
    struct Selfish;
    impl Keyring for Selfish {
        fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
            let data_key = DataKey::generate(materials.suite().data_key_len());
            Box::pin(async { Ok(WrappedKeys { data_key: Some(data_key?), ..WrappedKeys::default() }) })
        }

        fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
            Box::pin(async { Ok(UnwrapOutcome::default()) })
        }

        fn is_local(&self) -> bool {
            true
        }
    }
    let error = Client::new(Selfish).encrypt(b"", &none()).unwrap_err();
    assert!(
        error.kind() == ErrorKind::InvalidInput && error.to_string().contains("no keyring encrypted the data key"),
        "{error:?}"
    );
}

#[test]
fn a_member_of_a_multi_keyring_that_wraps_nothing_is_named() {
    /// Generates a data key if told to, and wraps none.
    #[derive(Debug)]
    struct Idle {
        makes: bool,
    }
    impl Keyring for Idle {
        fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
            Box::pin(async {
                let data_key = self.makes.then(|| DataKey::generate(materials.suite().data_key_len())).transpose()?;
                Ok(WrappedKeys { data_key, encrypted_data_keys: Vec::new() })
            })
        }

        fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
            Box::pin(async { Ok(UnwrapOutcome::default()) })
        }

        fn is_local(&self) -> bool {
            true
        }
    }
    let idle = || Idle { makes: false };
    let of_children = MultiKeyring::without_generator(raw_aes("b", 2)).child(idle());
    let cases = [
        (MultiKeyring::new(raw_aes("a", 1)).child(raw_aes("b", 2)).child(idle()), "child 2 of"),
        (MultiKeyring::new(raw_aes("a", 1)).child(idle()).child(raw_aes("b", 2)), "child 1 of"),
        (MultiKeyring::new(raw_aes("a", 1)).child(of_children), "child 2 of"),
        // A child that wraps the data key does not make up for it.
        (MultiKeyring::new(Idle { makes: true }).child(raw_aes("b", 2)), "the generator of"),
        (MultiKeyring::new(idle()).child(raw_aes("b", 2)), "the generator of"),
    ];
    for (keyring, named) in cases {
        let error = Client::new(keyring).encrypt(b"", &none()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(error.to_string().contains(named) && error.to_string().contains("Idle"), "{error}");
    }
}

/// Stands in for keys on a network: every call is pending once.
#[derive(Debug)]
struct Remote {
    inner: RawAesKeyring,
    claims_to_be_local: bool,
}

impl Remote {
    async fn wait_once() {
        let mut waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Keyring for Remote {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async {
            Self::wait_once().await;
            self.inner.on_encrypt(materials).await
        })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async {
            Self::wait_once().await;
            self.inner.on_decrypt(request).await
        })
    }

    fn is_local(&self) -> bool {
        self.claims_to_be_local
    }
}

/// A minimal executor.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

#[test]
fn remote_keys_need_the_async_calls_and_work_with_them() {
    let client = Client::new(Remote { inner: raw_aes("k", 1), claims_to_be_local: false });
    let message = block_on(client.encrypt_async(b"from afar", &none())).unwrap();
    let header = || UnverifiedHeader::parse(&message).unwrap();
    assert_eq!(block_on(client.decrypt_async(&message, ExpectedContext::any())).unwrap().plaintext, b"from afar");
    assert!(block_on(client.encryptor_async(&none())).is_ok());
    assert!(block_on(client.decryptor_async(header(), ExpectedContext::any())).is_ok());

    let needs_async = |error: manila::Error| assert_eq!(error.kind(), ErrorKind::NeedsAsync);
    needs_async(client.encrypt(b"", &none()).unwrap_err());
    needs_async(client.decrypt(&message, ExpectedContext::any()).unwrap_err());
    needs_async(client.encryptor(&none()).unwrap_err());
    needs_async(client.decryptor(header(), ExpectedContext::any()).unwrap_err());
}

#[test]
fn a_keyring_that_breaks_its_promise_is_named() {
    let client = Client::new(Remote { inner: raw_aes("k", 1), claims_to_be_local: true });
    let error = client.encrypt(b"", &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("Remote"), "{error}");
    // Named by its type: the `Debug` output of a foreign keyring might show anything.
    assert!(!error.to_string().contains("claims_to_be_local"), "{error}");
}

#[test]
fn futures_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let client = Client::new(raw_aes("k", 1));
    is_send(client.encrypt_async(b"", &none()));
    is_send(client.decrypt_async(b"", ExpectedContext::any()));
}
