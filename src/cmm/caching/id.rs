//! What entries go by: all that an answer depends on, compared whole.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use crate::cmm::EncryptionRequest;
use crate::context::{EncryptionContext, ExpectedContext};
use crate::materials::DecryptionRequest;
use crate::message::header::EncryptedDataKey;
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

/// The id of an entry.
#[derive(Clone, Debug)]
pub(super) struct Id {
    hash: u64,
    partition: u64,
    asked: Asked,
}

#[derive(Clone, Debug)]
enum Asked {
    Encryption {
        encryption_context: EncryptionContext,
        required_context_keys: BTreeSet<String>,
        suite: Option<AlgorithmSuite>,
        commitment_policy: CommitmentPolicy,
    },
    Decryption {
        encrypted_data_keys: Vec<EncryptedDataKey>,
        header_context: EncryptionContext,
        expected_context: ExpectedContext,
        suite: AlgorithmSuite,
        commitment_policy: CommitmentPolicy,
    },
}

/// The same, borrowed from a request: looking up copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRef<'a> {
    /// Of all the rest, made once for the shard and the map in it.
    hash: u64,
    partition: u64,
    asked: AskedRef<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum AskedRef<'a> {
    Encryption {
        encryption_context: &'a EncryptionContext,
        required_context_keys: &'a BTreeSet<String>,
        suite: Option<AlgorithmSuite>,
        commitment_policy: CommitmentPolicy,
    },
    Decryption {
        encrypted_data_keys: &'a [EncryptedDataKey],
        header_context: &'a EncryptionContext,
        expected_context: &'a ExpectedContext,
        suite: AlgorithmSuite,
        commitment_policy: CommitmentPolicy,
    },
}

impl<'a> IdRef<'a> {
    fn new(partition: u64, asked: AskedRef<'a>, hasher: &impl BuildHasher) -> Self {
        Self { hash: hasher.hash_one((partition, asked)), partition, asked }
    }

    pub(super) fn encryption(partition: u64, request: &'a EncryptionRequest, hasher: &impl BuildHasher) -> Self {
        // All of the request but the length: that counts against the limits of whichever entry there is.
        let EncryptionRequest {
            encryption_context,
            suite,
            commitment_policy,
            required_context_keys,
            max_plaintext_len: _,
        } = request;
        let (suite, commitment_policy) = (*suite, *commitment_policy);
        let asked = AskedRef::Encryption { encryption_context, required_context_keys, suite, commitment_policy };
        Self::new(partition, asked, hasher)
    }

    pub(super) fn decryption(partition: u64, request: &'a DecryptionRequest, hasher: &impl BuildHasher) -> Self {
        // The given context and the full one follow from what the header has and the reader expects.
        let asked = AskedRef::Decryption {
            encrypted_data_keys: request.encrypted_data_keys(),
            header_context: request.header_context(),
            expected_context: request.expected_context(),
            suite: request.suite(),
            commitment_policy: request.commitment_policy(),
        };
        Self::new(partition, asked, hasher)
    }

    pub(super) fn hash(self) -> u64 {
        self.hash
    }

    pub(super) fn to_id(self) -> Id {
        let asked = match self.asked {
            AskedRef::Encryption { encryption_context, required_context_keys, suite, commitment_policy } => {
                Asked::Encryption {
                    encryption_context: encryption_context.clone(),
                    required_context_keys: required_context_keys.clone(),
                    suite,
                    commitment_policy,
                }
            }
            AskedRef::Decryption {
                encrypted_data_keys,
                header_context,
                expected_context,
                suite,
                commitment_policy,
            } => Asked::Decryption {
                encrypted_data_keys: encrypted_data_keys.to_vec(),
                header_context: header_context.clone(),
                expected_context: expected_context.clone(),
                suite,
                commitment_policy,
            },
        };
        Id { hash: self.hash, partition: self.partition, asked }
    }
}

/// What can be seen as a borrowed id: maps look an owned one up by it.
pub(super) trait AsIdRef {
    fn as_id_ref(&self) -> IdRef<'_>;
}

impl AsIdRef for Id {
    fn as_id_ref(&self) -> IdRef<'_> {
        let asked = match &self.asked {
            Asked::Encryption { encryption_context, required_context_keys, suite, commitment_policy } => {
                AskedRef::Encryption {
                    encryption_context,
                    required_context_keys,
                    suite: *suite,
                    commitment_policy: *commitment_policy,
                }
            }
            Asked::Decryption { encrypted_data_keys, header_context, expected_context, suite, commitment_policy } => {
                AskedRef::Decryption {
                    encrypted_data_keys,
                    header_context,
                    expected_context,
                    suite: *suite,
                    commitment_policy: *commitment_policy,
                }
            }
        };
        IdRef { hash: self.hash, partition: self.partition, asked }
    }
}

impl AsIdRef for IdRef<'_> {
    fn as_id_ref(&self) -> IdRef<'_> {
        *self
    }
}

impl<'a> Borrow<dyn AsIdRef + 'a> for Id {
    fn borrow(&self) -> &(dyn AsIdRef + 'a) {
        self
    }
}

impl Hash for dyn AsIdRef + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.as_id_ref().hash);
    }
}

impl PartialEq for dyn AsIdRef + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.as_id_ref() == other.as_id_ref()
    }
}

impl Eq for dyn AsIdRef + '_ {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.as_id_ref().hash);
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.as_id_ref() == other.as_id_ref()
    }
}

impl Eq for Id {}

/// Hashes ids to the hash that they carry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried(u64);

impl Hasher for Carried {
    fn write(&mut self, bytes: &[u8]) {
        // Ids write a u64 alone.
        debug_assert!(false, "an id wrote {} bytes", bytes.len());
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes hashers of ids.
pub(super) type CarriedHash = BuildHasherDefault<Carried>;
