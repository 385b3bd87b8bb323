//! Ids of entries: everything that an answer depends on, as it is if short, and as a digest if long.
//!
//! An id is a sequence of bytes: a hash for the shard and its maps, the partition, a tag, and the encoded question or
//! its SHA-256 digest. The encoding is injective, since each part of variable length is preceded by its length, and the
//! tag distinguishes encoded questions from digests. So equal ids are equal questions, and an id takes at most
//! [`LONGEST`] bytes however large a message's header is.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;

use manila_core::EncryptionContext;
use manila_core::internal::crypto::Sha256;

use crate::materials::DecryptionRequest;
use crate::materials::EncryptionRequest;
use crate::policy::CommitmentPolicy;

/// The longest question that is kept as it is. One of three AWS KMS data keys and a context of some pairs is shorter.
const WHOLE: usize = 1 << 10;
const HASH_LEN: usize = 8;
/// Length of hash, partition and tag.
const HEAD: usize = HASH_LEN + 8 + 1;
/// The maximum length of an id in bytes.
const LONGEST: usize = HEAD + WHOLE;

const TAG_WHOLE: u8 = 0;
const TAG_DIGEST: u8 = 1;

const OF_ENCRYPTION: u8 = 0;
const OF_DECRYPTION: u8 = 1;

/// The id of an entry or a flight. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Id(Arc<[u8]>);

impl Id {
    pub(super) fn as_ref(&self) -> IdRef<'_> {
        IdRef(&self.0)
    }

    pub(super) fn partition(&self) -> u64 {
        let bytes = self.0.get(HASH_LEN..).and_then(|rest| rest.first_chunk());
        bytes.copied().map(u64::from_be_bytes).unwrap_or_default()
    }
}

impl Borrow<[u8]> for Id {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({:016x} of partition {})", self.as_ref().hash(), self.partition())
    }
}

/// A borrowed id, for lookups.
#[derive(Clone, Copy)]
pub(super) struct IdRef<'a>(&'a [u8]);

impl<'a> IdRef<'a> {
    /// Of the rest of the id, computed once for the shard and its maps.
    pub(super) fn hash(self) -> u64 {
        self.0.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
    }

    pub(super) fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// An id on the stack, so that lookups do not allocate.
pub(super) struct EncodedId {
    bytes: [u8; LONGEST],
    len: usize,
    /// The digest of the question, once it is too long to be kept as it is.
    digest: Option<Sha256>,
}

impl EncodedId {
    #[cfg(test)]
    pub(super) fn encryption(partition: u64, request: &EncryptionRequest, hasher: &impl BuildHasher) -> Self {
        let mut id = Self::new();
        id.encode_encryption(partition, request, hasher);
        id
    }

    pub(super) fn encode_encryption(&mut self, partition: u64, request: &EncryptionRequest, hasher: &impl BuildHasher) {
        // All of the request but the length, which counts against the limits of the entry, and the random bytes.
        let EncryptionRequest {
            encryption_context,
            suite,
            commitment_policy,
            required_context_keys,
            max_plaintext_len: _,
            random: _,
        } = request;
        self.put(&[OF_ENCRYPTION, policy(*commitment_policy), u8::from(suite.is_some())]);
        if let Some(suite) = suite {
            self.put(&suite.id().to_be_bytes());
        }
        self.put_context(encryption_context);
        self.put_len(required_context_keys.len());
        for key in required_context_keys {
            self.put_with_len(key.as_bytes());
        }
        self.finish(partition, hasher);
    }

    pub(super) fn encode_decryption(&mut self, partition: u64, request: &DecryptionRequest, hasher: &impl BuildHasher) {
        // The given and the full context follow from the header and the expectation. The rest of the header is not part
        // of the id: a data key opens many messages.
        let expected = request.expected_context();
        self.put(&[OF_DECRYPTION, policy(request.commitment_policy()), u8::from(expected.is_exact())]);
        self.put(&request.suite().id().to_be_bytes());
        self.put_context(request.header_context());
        self.put_context(expected.pairs());
        self.put_len(request.encrypted_data_keys().len());
        for key in request.encrypted_data_keys() {
            self.put_with_len(key.provider_id.as_bytes());
            self.put_with_len(&key.provider_info);
            self.put_with_len(&key.ciphertext);
        }
        self.finish(partition, hasher);
    }

    pub(super) fn as_ref(&self) -> IdRef<'_> {
        IdRef(self.bytes.get(..self.len).unwrap_or_default())
    }

    pub(super) fn to_id(&self) -> Id {
        Id(self.as_ref().as_bytes().into())
    }
}

const fn policy(policy: CommitmentPolicy) -> u8 {
    match policy {
        CommitmentPolicy::ForbidEncryptAllowDecrypt => 0,
        CommitmentPolicy::RequireEncryptAllowDecrypt => 1,
        CommitmentPolicy::RequireEncryptRequireDecrypt => 2,
    }
}

/// The encoding of a question.
impl EncodedId {
    pub(super) fn new() -> Self {
        Self { bytes: [0; LONGEST], len: HEAD, digest: None }
    }

    #[inline]
    fn put(&mut self, part: &[u8]) {
        if let Some(digest) = &mut self.digest {
            return digest.update(part);
        }
        let end = self.len.saturating_add(part.len());
        match self.bytes.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(part);
                self.len = end;
            }
            None => self.digest_from(part),
        }
    }

    /// Switches to a digest, beginning with the part that no longer fits.
    #[cold]
    fn digest_from(&mut self, part: &[u8]) {
        let mut digest = Sha256::new();
        digest.update(self.bytes.get(HEAD..self.len).unwrap_or_default());
        digest.update(part);
        self.digest = Some(digest);
    }

    /// Appends a length in as few bytes as possible: seven bits each, all but the last with the highest bit set.
    #[inline]
    fn put_len(&mut self, mut len: usize) {
        loop {
            let [low, ..] = len.to_le_bytes();
            len >>= 7;
            if len == 0 {
                return self.put(&[low]);
            }
            self.put(&[low | 0x80]);
        }
    }

    #[inline]
    fn put_with_len(&mut self, part: &[u8]) {
        self.put_len(part.len());
        self.put(part);
    }

    fn put_context(&mut self, context: &EncryptionContext) {
        self.put_len(context.len());
        for (key, value) in context {
            self.put_with_len(key.as_bytes());
            self.put_with_len(value.as_bytes());
        }
    }

    fn finish(&mut self, partition: u64, hasher: &impl BuildHasher) {
        let tag = match self.digest.take() {
            None => TAG_WHOLE,
            Some(digest) => {
                self.write_at(HEAD, digest.finish());
                self.len = HEAD + Sha256::LEN;
                TAG_DIGEST
            }
        };
        self.write_at(HASH_LEN, partition.to_be_bytes());
        self.write_at(HEAD - 1, [tag]);
        let hash = hasher.hash_one(self.bytes.get(HASH_LEN..self.len).unwrap_or_default());
        self.write_at(0, hash.to_be_bytes());
    }

    fn write_at<const N: usize>(&mut self, start: usize, part: [u8; N]) {
        if let Some(room) = self.bytes.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
            *room = part;
        }
    }
}

/// A hasher that returns the hash that an id begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried(u64);

impl Hasher for Carried {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = IdRef(bytes).hash();
    }

    fn write_usize(&mut self, _: usize) {
        // The length prefix of slices.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The factory of [`Carried`] hashers.
pub(super) type CarriedHash = BuildHasherDefault<Carried>;

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;

    use super::*;
    use crate::cmm::caching::for_tests::request;
    use manila_core::internal::crypto::Sha256;

    /// Returns the id of a request whose encoding has this many bytes.
    fn of_len(len: usize, hasher: &RandomState) -> (EncodedId, Vec<u8>) {
        // Tag of the kind, policy, no suite, one pair, `id`, the value after a length of two bytes, no required keys.
        let around = 3 + 1 + 3 + 2 + 1;
        let value = "v".repeat(len - around);
        let id = EncodedId::encryption(7, &request(&value, 0), hasher);
        let [low, high] = [value.len() & 0x7f | 0x80, value.len() >> 7].map(|byte| u8::try_from(byte).unwrap());
        let whole = [&[0, 2, 0, 1, 2, b'i', b'd', low, high][..], value.as_bytes(), &[0]].concat();
        assert_eq!(whole.len(), len);
        (id, whole)
    }

    #[test]
    fn a_question_of_a_kib_is_kept_whole_and_a_longer_one_as_its_digest() {
        let hasher = RandomState::new();
        for len in [200, WHOLE - 1, WHOLE, WHOLE + 1, 2 * WHOLE, 16_000] {
            let (id, whole) = of_len(len, &hasher);
            let bytes = id.as_ref().as_bytes();
            assert_eq!(bytes[8..16], 7_u64.to_be_bytes());
            if len <= WHOLE {
                assert_eq!((bytes[16], &bytes[17..]), (TAG_WHOLE, &whole[..]));
            } else {
                let mut digest = Sha256::new();
                digest.update(&whole);
                assert_eq!((bytes[16], &bytes[17..]), (TAG_DIGEST, &digest.finish()[..]));
            }
            assert!(id.to_id().as_ref().as_bytes().len() <= LONGEST);
        }
    }

    #[test]
    fn ids_differ_where_questions_do() {
        let hasher = RandomState::new();
        for len in [200, 5000] {
            let id = |partition: u64, request: &EncryptionRequest| {
                EncodedId::encryption(partition, request, &hasher).to_id()
            };
            let name = "n".repeat(len);
            let asked = request(&name, 1);
            assert_eq!(id(0, &asked), id(0, &request(&name, 2)), "the length does not belong to it");
            let mut ids = std::collections::BTreeSet::from([id(0, &asked).0, id(1, &asked).0]);
            ids.insert(id(0, &request(&format!("{name}n"), 1)).0);
            for policy in [CommitmentPolicy::ForbidEncryptAllowDecrypt, CommitmentPolicy::RequireEncryptAllowDecrypt] {
                ids.insert(id(0, &EncryptionRequest { commitment_policy: policy, ..asked.clone() }).0);
            }
            for suite in [crate::AlgorithmSuite::Aes256GcmHkdfSha256, crate::AlgorithmSuite::Aes128GcmHkdfSha256] {
                ids.insert(id(0, &EncryptionRequest { suite: Some(suite), ..asked.clone() }).0);
            }
            for keys in [&["id"][..], &["id", ""], &["i", "d"]] {
                let required_context_keys = keys.iter().map(ToString::to_string).collect();
                ids.insert(id(0, &EncryptionRequest { required_context_keys, ..asked.clone() }).0);
            }
            assert_eq!(ids.len(), 10);
        }
    }

    #[test]
    fn a_map_finds_an_id_by_what_is_on_the_stack() {
        let hasher = RandomState::new();
        let mut map = std::collections::HashMap::<Id, u32, CarriedHash>::default();
        let (short, long) = (request("a", 0), request(&"a".repeat(5000), 0));
        for (value, request) in [(1, &short), (2, &long)] {
            map.insert(EncodedId::encryption(3, request, &hasher).to_id(), value);
        }
        for (value, request) in [(1, &short), (2, &long)] {
            let id = EncodedId::encryption(3, request, &hasher);
            assert_eq!(map.get(id.as_ref().as_bytes()), Some(&value));
            assert_eq!(id.to_id().partition(), 3);
            assert_eq!(hasher.hash_one(&id.as_ref().as_bytes()[8..]), id.as_ref().hash());
        }
    }
}
