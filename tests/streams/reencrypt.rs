//! Messages written anew.

use std::io::{self, Write};

use manila::testing::{FixedKeyKeyring, open_every_way, policy_for};
use manila::{
    AlgorithmSuite, Client, EncryptionContext, Error, ErrorKind, ExpectedContext, RawAesKeyring, RequiredContextCmm,
    UnverifiedHeader,
};

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

/// The old key is of no use any more; a policy may refuse the new suite before that shows.
fn old_error(from: AlgorithmSuite, to: AlgorithmSuite) -> ErrorKind {
    let reads_all = policy_for(from) == manila::CommitmentPolicy::ForbidEncryptAllowDecrypt;
    if reads_all || policy_for(from) == policy_for(to) { ErrorKind::WrongKey } else { ErrorKind::PolicyViolation }
}

/// A sink that shows what it was given, whatever became of its owner.
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

    // Pairs that are authenticated without being stored go along: the new message holds them all.
    let keyring = RawAesKeyring::new("test", "old", &[1; 32]).unwrap();
    let hiding = Client::with_cmm(RequiredContextCmm::new(keyring, ["tenant"]).unwrap());
    let message = hiding.encrypt(b"hello", &context).unwrap();
    assert_eq!(UnverifiedHeader::parse(&message).unwrap().encryption_context().get("tenant"), None);
    let moved = hiding.reencrypt(message.as_slice(), Vec::new(), &context, &new).unwrap();
    assert_eq!(new.decrypt(&moved, &context).unwrap().header.encryption_context().get("tenant"), Some("acme"));
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
    impl manila::Keyring for Remote {
        fn on_encrypt<'a>(
            &'a self,
            materials: &'a manila::EncryptionMaterials,
        ) -> manila::KeyFuture<'a, manila::Wrapped> {
            self.0.on_encrypt(materials)
        }

        fn on_decrypt<'a>(
            &'a self,
            request: &'a manila::DecryptionRequest,
        ) -> manila::KeyFuture<'a, manila::Unwrapped> {
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
