//! Re-encryption of messages.

use std::io::{self, Write};

use manila::cmm::{Cmm, RequiredContextCmm};
use manila::keyring::{Keyring, RawAesKeyring};
use manila::materials::{
    DecryptionMaterials, DecryptionRequest, EncryptionMaterials, EncryptionRequest, KeyFuture, UnwrapOutcome,
    WrappedKeys,
};
use manila::testing::{FixedKeyKeyring, open_every_way, policy_for};
use manila::{AlgorithmSuite, Client, EncryptionContext, Error, ErrorKind, ExpectedContext, UnverifiedHeader};

use crate::{SIGNED, SUITES, UNSIGNED, any, client, none, parts, pattern};

fn named(suite: AlgorithmSuite, name: &str, key: u8) -> Client {
    let keyring = RawAesKeyring::new("test", name, &[key; 32]).unwrap();
    let builder = Client::builder(keyring).suite(suite).commitment_policy(policy_for(suite));
    builder.frame_length(1000).build().unwrap()
}

#[test]
fn a_message_moves_to_other_keys_and_another_suite() {
    let context = EncryptionContext::new([("tenant", "acme"), ("purpose", "test")]).unwrap();
    for from in SUITES {
        for to in SUITES {
            let (old, new) = (named(from, "old", 1), named(to, "new", 2));
            for len in [0, 999, 1000, 100_000] {
                let message = old.encrypt(&pattern(len), &context).unwrap();
                let moved = old.reencrypt(message.as_slice(), Vec::new(), &context, &new).unwrap();
                let opened = open_every_way(&new, &moved, &ExpectedContext::exactly(&context)).unwrap();
                assert_eq!(opened.plaintext, pattern(len));
                assert_eq!(opened.header.suite(), to);
                assert_ne!(opened.header.message_id(), parts(&message).0.message_id());
                assert_eq!(old.decrypt(&moved, any()).unwrap_err().kind(), old_error(from, to));
            }
        }
    }
}

/// Returns the error of decrypting with the old key, which no longer fits; a policy may refuse the new suite first.
fn old_error(from: AlgorithmSuite, to: AlgorithmSuite) -> ErrorKind {
    let reads_all = policy_for(from) == manila::CommitmentPolicy::ForbidEncryptAllowDecrypt;
    if reads_all || policy_for(from) == policy_for(to) {
        ErrorKind::NoUsableDataKey
    } else {
        ErrorKind::PolicyViolation
    }
}

/// A sink whose contents are available whatever becomes of its owner.
struct Shared<'a>(&'a mut Vec<u8>);

impl Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_bad_message_leaves_nothing_that_opens() {
    for suite in [UNSIGNED, SIGNED] {
        let (old, new) = (client(suite, 100), named(UNSIGNED, "new", 2));
        let message = old.encrypt(&pattern(5000), &none()).unwrap();
        let len = message.len();
        let cut = |end: usize| message[..end].to_vec();
        let flipped = |at: usize| {
            let mut bad = message.clone();
            bad[at] ^= 1;
            bad
        };
        let longer = [&message[..], b"!"].concat();
        for bad in
            [cut(0), cut(50), cut(len - 1), cut(len / 2), flipped(len - 1), flipped(len / 2), flipped(60), longer]
        {
            let mut sink = Vec::new();
            let error = old.reencrypt(bad.as_slice(), Shared(&mut sink), any(), &new).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), old.decrypt(&bad, any()).unwrap_err().kind());
            new.decrypt(&sink, any()).unwrap_err();
        }
    }
}

#[test]
fn what_the_reader_expects_is_checked_and_kept() {
    let context = EncryptionContext::new([("tenant", "acme"), ("purpose", "test")]).unwrap();
    let (old, new) = (named(SIGNED, "old", 1), named(SIGNED, "new", 2));
    let message = old.encrypt(b"hello", &context).unwrap();
    let other = EncryptionContext::new([("tenant", "emca")]).unwrap();
    let mut sink = Vec::new();
    let error = old.reencrypt(message.as_slice(), Shared(&mut sink), &other, &new).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextMismatch);
    assert!(sink.is_empty());
}

fn hiding(name: &str, key: u8) -> RequiredContextCmm<impl Cmm> {
    let keyring = RawAesKeyring::new("test", name, &[key; 32]).unwrap();
    RequiredContextCmm::new(keyring, ["patient"]).unwrap()
}

fn shows(message: &[u8], text: &str) -> bool {
    message.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn pairs_that_the_old_header_lacks_stay_out_of_the_new_one() {
    let context = EncryptionContext::new([("patient", "J. Doe"), ("kind", "report")]).unwrap();
    let patient = EncryptionContext::new([("patient", "J. Doe")]).unwrap();
    let old = Client::with_cmm(hiding("old", 1));
    let message = old.encrypt(&pattern(5000), &context).unwrap();
    assert!(!shows(&message, "J. Doe"));
    for suite in SUITES {
        for new in [named(suite, "new", 2), hiding_client(suite)] {
            let moved = old.reencrypt(message.as_slice(), Vec::new(), &context, &new).unwrap();
            assert!(!shows(&moved, "J. Doe") && !shows(&moved, "patient"));
            let stored = UnverifiedHeader::parse(&moved).unwrap().encryption_context().without_reserved();
            assert_eq!(stored, EncryptionContext::new([("kind", "report")]).unwrap());
            // Readers that know the pairs can open it, and nobody else.
            for expected in [ExpectedContext::exactly(&context), (&patient).into()] {
                let opened = open_every_way(&new, &moved, &expected).unwrap();
                assert_eq!(opened.plaintext, pattern(5000));
                assert_eq!(opened.header.authenticated_context().get("patient"), Some("J. Doe"));
            }
            let other = EncryptionContext::new([("patient", "M. Mustermann")]).unwrap();
            for expected in [ExpectedContext::any(), (&other).into()] {
                open_every_way(&new, &moved, &expected).unwrap_err();
            }
            // The same for a further re-encryption.
            let again = new.reencrypt(moved.as_slice(), Vec::new(), &patient, &old).unwrap();
            assert!(!shows(&again, "J. Doe"));
            assert_eq!(old.decrypt(&again, &context).unwrap().plaintext, pattern(5000));
        }
    }
}

fn hiding_client(suite: AlgorithmSuite) -> Client {
    Client::builder_with_cmm(hiding("new", 2)).suite(suite).commitment_policy(policy_for(suite)).build().unwrap()
}

/// Leaves out no pairs, like a manager written before there were any.
#[derive(Debug)]
struct Forgets(RawAesKeyring);

impl Cmm for Forgets {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        Box::pin(async {
            let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
            let mut materials = EncryptionMaterials::new(suite, &request.encryption_context)?;
            materials.add(self.0.on_encrypt(&materials).await?)?;
            Ok(materials)
        })
    }

    fn decryption_materials<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        Box::pin(async { Err(Error::new(ErrorKind::NoUsableDataKey, "it only seals")) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

#[test]
fn a_materials_manager_that_would_show_a_pair_is_refused() {
    let context = EncryptionContext::new([("patient", "J. Doe")]).unwrap();
    let old = Client::with_cmm(hiding("old", 1));
    let new = Client::with_cmm(Forgets(RawAesKeyring::new("test", "new", &[2; 32]).unwrap()));
    let message = old.encrypt(b"hello", &context).unwrap();
    let mut sink = Vec::new();
    let error = old.reencrypt(message.as_slice(), Shared(&mut sink), &context, &new).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("Forgets"), "{error}");
    assert!(sink.is_empty());
    // A client that requires pairs that the message does not have refuses it as it would any other.
    let plain = named(UNSIGNED, "plain", 3);
    let message = plain.encrypt(b"hello", &none()).unwrap();
    let error = plain.reencrypt(message.as_slice(), Vec::new(), any(), &hiding_client(UNSIGNED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextMismatch);
}

#[test]
fn a_sink_that_fails_ends_it() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let client = client(UNSIGNED, 100);
    let message = client.encrypt(&pattern(5000), &none()).unwrap();
    let error: Error = client.reencrypt(message.as_slice(), Full, any(), &client).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn keys_over_a_network_ask_for_the_asynchronous_twin() {
    #[derive(Debug)]
    struct Remote(FixedKeyKeyring);
    impl Keyring for Remote {
        fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
            self.0.on_encrypt(materials)
        }

        fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
            self.0.on_decrypt(request)
        }
    }
    let local = client(UNSIGNED, 100);
    let remote = Client::builder(Remote(FixedKeyKeyring::new(&[9; 32]))).suite(UNSIGNED).build().unwrap();
    let message = local.encrypt(b"hello", &none()).unwrap();
    for (from, to) in [(&local, &remote), (&remote, &local)] {
        let error = from.reencrypt(message.as_slice(), Vec::new(), any(), to).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NeedsAsync);
        let moved = from.reencrypt_async(message.as_slice(), Vec::new(), any(), to);
        let moved = manila::testing::ready(moved).unwrap();
        assert_eq!(local.decrypt(&moved, any()).unwrap().plaintext, b"hello");
    }
}
