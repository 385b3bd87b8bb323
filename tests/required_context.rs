//! Encryption context pairs that are authenticated but not stored.

use manila::cmm::{Cmm, DefaultCmm, RequiredContextCmm};
use manila::keyring::RawAesKeyring;
use manila::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials, EncryptionRequest, KeyFuture};
use manila::testing::open_every_way;
use manila::{Client, EncryptionContext, ErrorKind, ExpectedContext};

fn keyring() -> RawAesKeyring {
    RawAesKeyring::new("tests", "k", &[1; 32]).unwrap()
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

fn client(keys: &[&str]) -> Client {
    Client::with_cmm(RequiredContextCmm::new(keyring(), keys.iter().copied()).unwrap())
}

#[test]
fn required_pairs_are_left_out_and_must_be_given_again() {
    let client = client(&["tenant"]);
    let message = client.encrypt(b"x", &context(&[("tenant", "acme"), ("kind", "note")])).unwrap();
    assert!(!message.windows(4).any(|window| window == b"acme"), "the value is in the message");

    let given = ExpectedContext::from(&context(&[("tenant", "acme")]));
    let opened = open_every_way(&client, &message, &given).unwrap();
    assert_eq!(opened.header.encryption_context().get("tenant"), None);
    assert_eq!(opened.header.encryption_context().get("kind"), Some("note"));
    assert_eq!(opened.header.authenticated_context().get("tenant"), Some("acme"));
    // A reader without this materials manager may supply the pairs too.
    assert!(open_every_way(&Client::new(keyring()), &message, &given).is_ok());

    let wrong: [&[_]; 3] = [&[("kind", "note")], &[("tenant", "emca")], &[("tenant", "acme"), ("more", "x")]];
    for wrong in wrong.map(|pairs| ExpectedContext::from(&context(pairs))).into_iter().chain([ExpectedContext::any()]) {
        let error = open_every_way(&client, &message, &wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ContextMismatch, "{wrong:?}: {error}");
    }
    assert!(Client::new(keyring()).decrypt(&message, ExpectedContext::any()).is_err());
}

#[test]
fn sealing_without_a_required_pair_is_refused() {
    let error = client(&["tenant", "stage"]).encrypt(b"", &context(&[("tenant", "acme")])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextMismatch);
    assert!(error.to_string().contains("stage"), "{error}");
}

#[test]
fn all_pairs_may_be_required() {
    let pairs = context(&[("a", "1"), ("b", "2")]);
    let client = client(&["a", "b"]);
    let message = client.encrypt(b"x", &pairs).unwrap();
    let opened = open_every_way(&client, &message, &ExpectedContext::exactly(&pairs)).unwrap();
    assert_eq!(opened.plaintext, b"x");
    // Only the format's own pair is stored.
    assert_eq!(opened.header.encryption_context().without_reserved().len(), 0);
}

#[test]
fn managers_nest_and_their_keys_add_up() {
    let inner = RequiredContextCmm::new(keyring(), ["a"]).unwrap();
    let client = Client::with_cmm(RequiredContextCmm::over(inner, ["b"]).unwrap());
    let message = client.encrypt(b"x", &context(&[("a", "1"), ("b", "2"), ("c", "3")])).unwrap();
    let opened = client.decrypt(&message, &context(&[("a", "1"), ("b", "2")])).unwrap();
    assert_eq!(opened.header.encryption_context().without_reserved().iter().collect::<Vec<_>>(), [("c", "3")]);
    assert!(client.decrypt(&message, &context(&[("b", "2")])).is_err());
}

#[test]
fn what_cannot_be_a_key_cannot_be_required() {
    for keys in [&[][..], &["aws-crypto-public-key"]] {
        let error = RequiredContextCmm::new(keyring(), keys.iter().copied()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn no_manager_can_leave_the_formats_own_key_out_of_the_header() {
    /// Requires the key under which a signed message stores its public key.
    #[derive(Debug)]
    struct Eager(DefaultCmm<RawAesKeyring>);
    impl Cmm for Eager {
        fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
            Box::pin(async {
                let mut request = request.clone();
                request.required_context_keys.insert("aws-crypto-public-key".to_owned());
                self.0.encryption_materials(&request).await
            })
        }

        fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
            self.0.decryption_materials(request)
        }

        fn is_local(&self) -> bool {
            true
        }
    }
    // The default suite signs: without the public key in the message it could never be decrypted.
    let error = Client::with_cmm(Eager(DefaultCmm::new(keyring()))).encrypt(b"x", &context(&[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("aws-crypto-public-key"), "{error}");
}
