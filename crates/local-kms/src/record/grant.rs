//! Grants: their records, and the operations that they allow. `grants` keeps them in the store.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use manila_core::internal::crypto;
use manila_core::{EncryptionContext, Result};
use serde::{Deserialize, Serialize};

use crate::clock::from_millis;
use crate::operation::Operation;
use crate::policy::means;

/// The operations that a grant can allow, under AWS's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GrantOperation {
    /// To create grants for others, with permissions of this grant.
    CreateGrant,
    /// To get shared secrets from their ciphertexts.
    Decapsulate,
    /// To decrypt.
    Decrypt,
    /// To compute shared secrets.
    DeriveSharedSecret,
    /// To describe the key.
    DescribeKey,
    /// To make shared secrets and their ciphertexts.
    Encapsulate,
    /// To encrypt.
    Encrypt,
    /// To generate data keys.
    GenerateDataKey,
    /// To generate data key pairs.
    GenerateDataKeyPair,
    /// To generate data key pairs without seeing the private key.
    GenerateDataKeyPairWithoutPlaintext,
    /// To generate data keys without seeing their plaintext.
    GenerateDataKeyWithoutPlaintext,
    /// To generate message authentication codes.
    GenerateMac,
    /// To get the public key.
    GetPublicKey,
    /// To decrypt in a re-encryption under another key.
    ReEncryptFrom,
    /// To encrypt in a re-encryption from another key.
    ReEncryptTo,
    /// To retire the grant.
    RetireGrant,
    /// To sign.
    Sign,
    /// To verify signatures.
    Verify,
    /// To verify message authentication codes.
    VerifyMac,
}

impl GrantOperation {
    /// Every operation that a grant can allow, in the order of AWS's names.
    pub const ALL: &[Self] = &[
        Self::CreateGrant,
        Self::Decapsulate,
        Self::Decrypt,
        Self::DeriveSharedSecret,
        Self::DescribeKey,
        Self::Encapsulate,
        Self::Encrypt,
        Self::GenerateDataKey,
        Self::GenerateDataKeyPair,
        Self::GenerateDataKeyPairWithoutPlaintext,
        Self::GenerateDataKeyWithoutPlaintext,
        Self::GenerateMac,
        Self::GetPublicKey,
        Self::ReEncryptFrom,
        Self::ReEncryptTo,
        Self::RetireGrant,
        Self::Sign,
        Self::Verify,
        Self::VerifyMac,
    ];

    /// Returns the operation that AWS calls so.
    ///
    /// ```
    /// use manila_local_kms::GrantOperation;
    ///
    /// assert_eq!(GrantOperation::from_name("Decrypt"), Some(GrantOperation::Decrypt));
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Returns AWS's name, such as `Decrypt`.
    ///
    /// ```
    /// use manila_local_kms::GrantOperation;
    ///
    /// assert_eq!(GrantOperation::GenerateDataKey.name(), "GenerateDataKey");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.operation().name()
    }

    pub(crate) const fn operation(self) -> Operation {
        match self {
            Self::CreateGrant => Operation::CreateGrant,
            Self::Decapsulate => Operation::Decapsulate,
            Self::Decrypt => Operation::Decrypt,
            Self::DeriveSharedSecret => Operation::DeriveSharedSecret,
            Self::DescribeKey => Operation::DescribeKey,
            Self::Encapsulate => Operation::Encapsulate,
            Self::Encrypt => Operation::Encrypt,
            Self::GenerateDataKey => Operation::GenerateDataKey,
            Self::GenerateDataKeyPair => Operation::GenerateDataKeyPair,
            Self::GenerateDataKeyPairWithoutPlaintext => Operation::GenerateDataKeyPairWithoutPlaintext,
            Self::GenerateDataKeyWithoutPlaintext => Operation::GenerateDataKeyWithoutPlaintext,
            Self::GenerateMac => Operation::GenerateMac,
            Self::GetPublicKey => Operation::GetPublicKey,
            Self::ReEncryptFrom => Operation::ReEncryptFrom,
            Self::ReEncryptTo => Operation::ReEncryptTo,
            Self::RetireGrant => Operation::RetireGrant,
            Self::Sign => Operation::Sign,
            Self::Verify => Operation::Verify,
            Self::VerifyMac => Operation::VerifyMac,
        }
    }
}

/// A condition on the encryption context of the calls that a grant allows. It does not apply to calls without an
/// encryption context, such as `DescribeKey`.
///
/// Keys and values are compared exactly. AWS ignores the case of keys here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantConstraint {
    /// Exactly these pairs.
    Equals(EncryptionContext),
    /// These pairs, and possibly others.
    Subset(EncryptionContext),
}

impl GrantConstraint {
    pub(crate) fn pairs(&self) -> &EncryptionContext {
        match self {
            Self::Equals(pairs) | Self::Subset(pairs) => pairs,
        }
    }

    fn allows(&self, context: &EncryptionContext) -> bool {
        match self {
            Self::Equals(pairs) => pairs == context,
            Self::Subset(pairs) => is_within(pairs, context),
        }
    }

    /// Returns whether `other` allows everything that `self` allows.
    fn is_as_strict_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Equals(mine), other) => other.allows(mine),
            (Self::Subset(mine), Self::Subset(pairs)) => is_within(pairs, mine),
            (Self::Subset(_), Self::Equals(_)) => false,
        }
    }
}

fn is_within(pairs: &EncryptionContext, context: &EncryptionContext) -> bool {
    pairs.iter().all(|(key, value)| context.get(key) == Some(value))
}

/// The properties of a new grant.
#[derive(Clone, Debug)]
#[must_use]
pub struct CreateGrant {
    pub(crate) grantee: String,
    pub(crate) retiring: Option<String>,
    pub(crate) operations: BTreeSet<GrantOperation>,
    pub(crate) constraint: Option<GrantConstraint>,
    pub(crate) source_arn: Option<String>,
    pub(crate) name: Option<String>,
}

impl CreateGrant {
    /// Creates a request for a grant to the principal with this ARN, which does not allow anything yet. A grant to a
    /// role applies to its sessions too. An AWS service is given by name, such as `rds.amazonaws.com`.
    pub fn to(grantee: impl Into<String>) -> Self {
        Self {
            grantee: grantee.into(),
            retiring: None,
            operations: BTreeSet::new(),
            constraint: None,
            source_arn: None,
            name: None,
        }
    }

    /// Sets a name. A request that is repeated with the same name and terms does not create a second grant: it returns
    /// the id of the first, with a new token.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Restricts the grant to calls for this resource of a service: the `aws:SourceArn` of the
    /// [circumstances](crate::RequestContext::source_arn).
    pub fn source_arn(mut self, arn: impl Into<String>) -> Self {
        self.source_arn = Some(arn.into());
        self
    }

    /// Allows an operation.
    pub fn operation(mut self, operation: GrantOperation) -> Self {
        self.operations.insert(operation);
        self
    }

    /// Lets another principal [retire](crate::LocalKms::retire_grant) the grant.
    pub fn retiring_principal(mut self, arn: impl Into<String>) -> Self {
        self.retiring = Some(arn.into());
        self
    }

    /// Restricts the grant to calls with such an encryption context.
    pub fn constraint(mut self, constraint: GrantConstraint) -> Self {
        self.constraint = Some(constraint);
        self
    }
}

/// The result of creating a grant.
///
/// ```
/// use manila_local_kms::{CreateGrant, CreateKey, GrantOperation, LocalKms};
///
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default())?;
/// let app = "arn:aws:iam::000000000000:role/app";
/// let made = kms.create_grant(key.arn(), CreateGrant::to(app).operation(GrantOperation::Decrypt))?;
/// assert_eq!(kms.list_grants(key.arn())?[0].id(), made.id());
/// kms.retire_grant_by_token(made.token())?;
/// # Ok::<(), manila_local_kms::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedGrant {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl CreatedGrant {
    /// Returns the grant's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the grant's id alone.
    #[must_use]
    pub fn into_id(self) -> String {
        self.id
    }

    /// Returns the token, with which calls can use the grant [before it counts](crate::LocalKmsBuilder::grant_delay)
    /// for calls without it, and which retires it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for CreatedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedGrant").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A grant on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    pub(crate) key_arn: String,
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) source_arn: Option<String>,
    pub(crate) grantee: String,
    pub(crate) retiring_principal: Option<String>,
    pub(crate) operations: Vec<GrantOperation>,
    pub(crate) constraint: Option<GrantConstraint>,
    pub(crate) issuer: String,
    pub(crate) created: SystemTime,
}

impl Grant {
    /// Returns the ARN of the key.
    #[must_use]
    pub fn key_arn(&self) -> &str {
        &self.key_arn
    }

    /// Returns the name that the grant was created with.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the resource of a service to which it is restricted.
    #[must_use]
    pub fn source_arn(&self) -> Option<&str> {
        self.source_arn.as_deref()
    }

    /// Returns the grant's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the ARN of the grantee, or the name of a service.
    #[must_use]
    pub fn grantee(&self) -> &str {
        &self.grantee
    }

    /// Returns the ARN of the principal that may retire it, if there is one.
    #[must_use]
    pub fn retiring_principal(&self) -> Option<&str> {
        self.retiring_principal.as_deref()
    }

    /// Returns the operations that it allows.
    #[must_use]
    pub fn operations(&self) -> &[GrantOperation] {
        &self.operations
    }

    /// Returns the condition on the encryption context, if there is one.
    #[must_use]
    pub fn constraint(&self) -> Option<&GrantConstraint> {
        self.constraint.as_ref()
    }

    /// Returns the ARN of the principal that created it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the time of creation.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }
}

/// A grant as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GrantRecord {
    pub(crate) grantee: String,
    pub(crate) retiring: Option<String>,
    pub(crate) operations: BTreeSet<GrantOperation>,
    constraint: Option<ConstraintRecord>,
    issuer: String,
    pub(super) created: u64,
    #[serde(default)]
    source_arn: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    /// The key of the MACs of its tokens. Grants of earlier versions have no tokens.
    #[serde(default, with = "serde_bytes")]
    token_key: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ConstraintRecord {
    exactly: bool,
    pairs: Vec<(String, String)>,
}

impl GrantRecord {
    pub(crate) fn new(request: &CreateGrant, issuer: &str, created: u64) -> Result<Self> {
        Ok(Self {
            grantee: request.grantee.clone(),
            retiring: request.retiring.clone(),
            operations: request.operations.clone(),
            constraint: request.constraint.as_ref().map(ConstraintRecord::from),
            issuer: issuer.to_owned(),
            created,
            source_arn: request.source_arn.clone(),
            name: request.name.clone(),
            token_key: crypto::random_array::<32>()?.to_vec(),
        })
    }

    /// Returns whether a request for `other` is one for this grant that is repeated.
    pub(super) fn is_repeated_by(&self, other: &Self) -> bool {
        let terms = |grant: &Self| {
            let Self { grantee, retiring, operations, constraint, issuer, source_arn, name, .. } = grant.clone();
            (grantee, retiring, operations, constraint, issuer, source_arn, name)
        };
        self.name.is_some() && !self.token_key.is_empty() && terms(self) == terms(other)
    }

    pub(crate) fn token_key(&self) -> &[u8] {
        &self.token_key
    }

    pub(crate) fn constraint(&self) -> Result<Option<GrantConstraint>> {
        let Some(stored) = &self.constraint else { return Ok(None) };
        let pairs = EncryptionContext::new(stored.pairs.iter().cloned())?;
        Ok(Some(if stored.exactly { GrantConstraint::Equals(pairs) } else { GrantConstraint::Subset(pairs) }))
    }

    /// Returns whether the grant allows an operation. Its constraint applies only to calls with an encryption context.
    pub(crate) fn allows(
        &self,
        principal: &str,
        operation: Operation,
        context: Option<&EncryptionContext>,
        source_arn: Option<&str>,
    ) -> Result<bool> {
        if self.source_arn.is_some() && self.source_arn.as_deref() != source_arn {
            return Ok(false);
        }
        if !means(&self.grantee, principal) || !self.operations.iter().any(|allowed| allowed.operation() == operation) {
            return Ok(false);
        }
        Ok(match (self.constraint()?, context) {
            (Some(constraint), Some(context)) => constraint.allows(context),
            _ => true,
        })
    }

    /// Returns whether a caller with only this grant may create `other`: it must not allow more, nor have a looser
    /// constraint.
    pub(super) fn covers(&self, other: &Self) -> Result<bool> {
        let as_strict = match (self.constraint()?, other.constraint()?) {
            (None, _) => true,
            (Some(mine), Some(others)) => others.is_as_strict_as(&mine),
            (Some(_), None) => false,
        };
        let of_same_resource = self.source_arn.is_none() || self.source_arn == other.source_arn;
        Ok(as_strict && of_same_resource && other.operations.is_subset(&self.operations))
    }

    pub(crate) fn to_grant(&self, key_arn: String, id: String) -> Result<Grant> {
        Ok(Grant {
            key_arn,
            id,
            name: self.name.clone(),
            source_arn: self.source_arn.clone(),
            grantee: self.grantee.clone(),
            retiring_principal: self.retiring.clone(),
            operations: self.operations.iter().copied().collect(),
            constraint: self.constraint()?,
            issuer: self.issuer.clone(),
            created: from_millis(self.created),
        })
    }
}

impl From<&GrantConstraint> for ConstraintRecord {
    fn from(constraint: &GrantConstraint) -> Self {
        let (exactly, pairs) = match constraint {
            GrantConstraint::Equals(pairs) => (true, pairs),
            GrantConstraint::Subset(pairs) => (false, pairs),
        };
        let pairs = pairs.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { exactly, pairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_for_what_the_table_of_operations_says() {
        let granted: Vec<_> = GrantOperation::ALL.iter().map(|granted| granted.operation().name()).collect();
        let grantable = Operation::TABLE.iter().filter(|operation| operation.is_grantable());
        assert_eq!(grantable.map(|operation| operation.name()).collect::<Vec<_>>(), granted);
    }
}
