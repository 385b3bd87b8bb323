//! What entries go by: all that an answer depends on, compared whole.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use crate::cmm::EncryptionRequest;
use crate::context::EncryptionContext;
use crate::materials::DecryptionRequest;
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

/// The id of an entry.
#[derive(Clone, Debug)]
pub(super) struct Id {
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
    /// Suite, policy, data keys, the header's context and what the reader expects of it.
    Decryption(Box<DecryptionRequest>),
}

/// The same, borrowed from a request: looking up copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IdRef<'a> {
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
    Decryption(&'a DecryptionRequest),
}

impl<'a> IdRef<'a> {
    pub(super) fn encryption(partition: u64, request: &'a EncryptionRequest) -> Self {
        // All of the request but the length: that counts against the limits of whichever entry there is.
        let EncryptionRequest {
            encryption_context,
            suite,
            commitment_policy,
            required_context_keys,
            max_plaintext_len: _,
        } = request;
        let (suite, commitment_policy) = (*suite, *commitment_policy);
        Self {
            partition,
            asked: AskedRef::Encryption { encryption_context, required_context_keys, suite, commitment_policy },
        }
    }

    pub(super) fn decryption(partition: u64, request: &'a DecryptionRequest) -> Self {
        Self { partition, asked: AskedRef::Decryption(request) }
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
            AskedRef::Decryption(request) => Asked::Decryption(Box::new(request.clone())),
        };
        Id { partition: self.partition, asked }
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
            Asked::Decryption(request) => AskedRef::Decryption(request),
        };
        IdRef { partition: self.partition, asked }
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
        self.as_id_ref().hash(state);
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
        self.as_id_ref().hash(state);
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.as_id_ref() == other.as_id_ref()
    }
}

impl Eq for Id {}
