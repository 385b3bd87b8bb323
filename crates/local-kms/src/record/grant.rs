//! Grants: their records, and the operations that they allow.
//!
//! A grant has two records: itself, and an empty one under its grantee, so that a call reads only the grants of its
//! caller. Only this file writes and removes them, always together.

use std::collections::BTreeSet;
use std::time::SystemTime;

use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Result};
use serde::{Deserialize, Serialize};

use crate::clock::from_millis;
use crate::error::refused;
use crate::location::{Location, row};
use crate::operation::Operation;
use crate::policy::{index_name, index_names_of, means};
use crate::record::key::Key;
use crate::store::{Table, Tables, WriteTxn, damaged};

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
}

impl CreateGrant {
    /// Creates a request for a grant to the principal with this ARN, which does not allow anything yet. A grant to a
    /// role applies to its sessions too.
    pub fn to(grantee: impl Into<String>) -> Self {
        Self { grantee: grantee.into(), retiring: None, operations: BTreeSet::new(), constraint: None }
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

/// A grant on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    pub(crate) id: String,
    pub(crate) grantee: String,
    pub(crate) retiring_principal: Option<String>,
    pub(crate) operations: Vec<GrantOperation>,
    pub(crate) constraint: Option<GrantConstraint>,
    pub(crate) issuer: String,
    pub(crate) created: SystemTime,
}

impl Grant {
    /// Returns the grant's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the ARN of the grantee.
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
    created: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ConstraintRecord {
    exactly: bool,
    pairs: Vec<(String, String)>,
}

impl GrantRecord {
    pub(crate) fn new(request: &CreateGrant, issuer: &str, created: u64) -> Self {
        Self {
            grantee: request.grantee.clone(),
            retiring: request.retiring.clone(),
            operations: request.operations.clone(),
            constraint: request.constraint.as_ref().map(ConstraintRecord::from),
            issuer: issuer.to_owned(),
            created,
        }
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
    ) -> Result<bool> {
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
    fn covers(&self, other: &Self) -> Result<bool> {
        let as_strict = match (self.constraint()?, other.constraint()?) {
            (None, _) => true,
            (Some(mine), Some(others)) => others.is_as_strict_as(&mine),
            (Some(_), None) => false,
        };
        Ok(as_strict && other.operations.is_subset(&self.operations))
    }

    pub(crate) fn to_grant(&self, id: String) -> Result<Grant> {
        Ok(Grant {
            id,
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

/// Returns the id of a grant that allows a principal an operation on a key, if there is one. The grants of others are
/// not read.
pub(crate) fn allowing(
    tables: &impl Tables,
    key: &Key,
    principal: &str,
    operation: Operation,
    context: Option<&EncryptionContext>,
) -> Result<Option<String>> {
    if !operation.is_grantable() {
        return Ok(None);
    }
    for (id, grant) in of_caller(tables, key, principal)? {
        if grant.allows(principal, operation, context)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Returns whether a principal has a grant that allows it to create `other`.
pub(crate) fn any_covers(tables: &impl Tables, key: &Key, principal: &str, other: &GrantRecord) -> Result<bool> {
    for (_, grant) in of_caller(tables, key, principal)? {
        if grant.allows(principal, Operation::CreateGrant, None)? && grant.covers(other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes all grants on a key.
pub(crate) fn remove_all(tables: &mut WriteTxn<'_>, location: &Location<'_>, key_id: &str) -> Result<()> {
    let prefix = format!("{}/", location.row(key_id));
    for table in [Table::Grants, Table::Grantees] {
        for row in tables.ids(table, &prefix)? {
            tables.remove(table, &row)?;
        }
    }
    Ok(())
}

/// Stores a new grant.
pub(crate) fn put_new(tables: &mut WriteTxn<'_>, key: &Key, grant_id: &str, grant: &GrantRecord) -> Result<()> {
    let prefix = prefix(key);
    tables.put(Table::Grants, &format!("{prefix}{grant_id}"), grant)?;
    let row = grantee_prefix(tables, &prefix, &index_name(&grant.grantee)?)? + grant_id;
    tables.put(Table::Grantees, &row, &())
}

/// Removes a grant, and fails if it does not exist.
pub(crate) fn remove(tables: &mut WriteTxn<'_>, key: &Key, grant_id: &str) -> Result<()> {
    let grant = load(tables, key, grant_id)?;
    let prefix = prefix(key);
    tables.remove(Table::Grants, &format!("{prefix}{grant_id}"))?;
    let row = grantee_prefix(tables, &prefix, &index_name(&grant.grantee)?)? + grant_id;
    tables.remove(Table::Grantees, &row)
}

/// Rewrites the records by grantee under a new seal, which hides grantees in their ids.
pub(crate) fn index_anew(tables: &mut WriteTxn<'_>) -> Result<()> {
    for row in tables.ids(Table::Grantees, "")? {
        tables.remove(Table::Grantees, &row)?;
    }
    for (row, grant) in tables.all::<GrantRecord>(Table::Grants, "")? {
        let at = row.rfind('/').ok_or_else(damaged)?;
        let (key, grant_id) = row.split_at_checked(at.saturating_add(1)).ok_or_else(damaged)?;
        let row = grantee_prefix(tables, key, &index_name(&grant.grantee)?)? + grant_id;
        tables.put(Table::Grantees, &row, &())?;
    }
    Ok(())
}

/// Returns the number of grants on a key.
pub(crate) fn count(tables: &impl Tables, key: &Key) -> Result<usize> {
    Ok(tables.ids(Table::Grants, &prefix(key))?.len())
}

/// Returns the grants on a key that may apply to a caller, and no others.
fn of_caller(tables: &impl Tables, key: &Key, principal: &str) -> Result<Vec<(String, GrantRecord)>> {
    let prefix = prefix(key);
    let mut grants = Vec::new();
    for name in index_names_of(principal)? {
        let of_grantee = grantee_prefix(tables, &prefix, &name)?;
        for row in tables.ids(Table::Grantees, &of_grantee)? {
            // Ids are not authenticated by themselves, so the entry must be in the manifest.
            tables.get::<()>(Table::Grantees, &row)?.ok_or_else(damaged)?;
            let grant_id = row.strip_prefix(&of_grantee).unwrap_or_default();
            let grant = tables.get(Table::Grants, &format!("{prefix}{grant_id}"))?.ok_or_else(damaged)?;
            grants.push((grant_id.to_owned(), grant));
        }
    }
    Ok(grants)
}

/// Returns the prefix shared by the rows for one grantee's grants on a key. It does not reveal the grantee.
fn grantee_prefix(tables: &impl Tables, key_prefix: &str, index_name: &str) -> Result<String> {
    let hidden = tables.seal().hide(Table::Grantees, &format!("{key_prefix}{index_name}"))?;
    Ok(format!("{key_prefix}{hidden}/"))
}

/// Returns the prefix of the rows of grants on a key.
fn prefix(key: &Key) -> String {
    format!("{}/", row(&key.region, &key.id))
}

pub(crate) fn of_key(tables: &impl Tables, key: &Key) -> Result<Vec<(String, GrantRecord)>> {
    tables.all(Table::Grants, &prefix(key))
}

pub(crate) fn load(tables: &impl Tables, key: &Key, grant_id: &str) -> Result<GrantRecord> {
    let found = tables.get(Table::Grants, &format!("{}{grant_id}", prefix(key)))?;
    found.ok_or_else(|| refused("NotFoundException", format!("there is no grant {}", quoted(grant_id))))
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
