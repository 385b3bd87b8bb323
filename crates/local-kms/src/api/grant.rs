//! Grants: leave for one principal to use one key, given without touching its policy.

use crate::access::Permission;
use crate::audit::Details;
use crate::call::{Answer, OnKey, PassingOn, Retiring};
use crate::error::{invalid, refused};
use crate::key_policy::check_principal;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::grant::{
    CreateGrant, Grant, GrantConstraint, GrantOperation, GrantRecord, any_covers, count, of_key, put_new, remove,
};
use crate::record::key::{Key, KeySpec};
use manila_core::Result;
use manila_core::internal::crypto;

/// The most grants on a key. Listing them reads all, and one more counts them.
const MAX_GRANTS: usize = 1000;

impl LocalKms {
    /// Lets a principal use a key, from the next call on, and returns the grant's id. Its policy's denials stand.
    ///
    /// Those who may create grants by a grant of their own can pass on no more than that one allows. To a key's policy
    /// the pairs of the constraint are the encryption context of this call, as on AWS.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller may not; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a principal is no ARN, nothing is
    /// allowed, or the key does not do what is.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made for one call")]
    pub fn create_grant(&self, key_id: &str, request: CreateGrant) -> Result<String> {
        let subject = PassingOn { key: key_id, constraint: request.constraint.as_ref().map(GrantConstraint::pairs) };
        let made = self.write(Operation::CreateGrant, &subject, details(&request), |tables, (key, by), call| {
            let grant = GrantRecord::new(&request, self.principal(), call.now);
            check(&grant, &key)?;
            if by == Permission::Grant && !any_covers(tables, &key, self.principal(), &grant)? {
                let message = "a grant that is passed on allows no more than one's own";
                return Err(refused("AccessDeniedException", message));
            }
            if count(tables, &key)? >= MAX_GRANTS {
                let message = format!("a key has at most {MAX_GRANTS} grants: revoke or retire some");
                return Err(invalid("LimitExceededException", message));
            }
            let id = crypto::hex(&crypto::random_array::<32>()?);
            put_new(tables, &key, &id, &grant)?;
            Ok(GrantId(id))
        });
        made.map(|GrantId(id)| id)
    }

    /// The grants on a key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller may not.
    pub fn list_grants(&self, key_id: &str) -> Result<Vec<Grant>> {
        self.read(Operation::ListGrants, &OnKey::new(key_id), Details::new(), |tables, key, _| {
            of_key(tables, &key)?.into_iter().map(|(id, grant)| grant.to_grant(id)).collect()
        })
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or grant, or the caller may not.
    pub fn revoke_grant(&self, key_id: &str, grant_id: &str) -> Result<()> {
        let request = Details::new().text("grantId", grant_id);
        self.write(Operation::RevokeGrant, &OnKey::new(key_id), request, |tables, key, _| {
            remove(tables, &key, grant_id)
        })
    }

    /// Gives a grant up: for its retiring principal, for its grantee if it allows him to, and for the owner. Policies
    /// have no say in it, as on AWS.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or grant, or the caller is none
    /// of these.
    pub fn retire_grant(&self, key_id: &str, grant_id: &str) -> Result<()> {
        let subject = Retiring { key: key_id, grant: grant_id };
        self.write(Operation::RetireGrant, &subject, Details::new(), |tables, key, _| remove(tables, &key, grant_id))
    }
}

/// The id of a grant that was made.
struct GrantId(String);

impl Answer for GrantId {
    fn details(&self) -> Details<'static> {
        Details::new().owned_text("grantId", self.0.clone())
    }
}

fn details(request: &CreateGrant) -> Details<'_> {
    Details::new()
        .text("granteePrincipal", &request.grantee)
        .maybe(request.retiring.as_deref(), |details, retiring| details.text("retiringPrincipal", retiring))
        .list("operations", request.operations.iter().map(|allowed| allowed.operation().name()))
        .maybe(request.constraint.as_ref(), |details, constraint| match constraint {
            GrantConstraint::Equals(pairs) => details.context("encryptionContextEquals", pairs),
            GrantConstraint::Subset(pairs) => details.context("encryptionContextSubset", pairs),
        })
}

fn check(grant: &GrantRecord, key: &Key) -> Result<()> {
    check_principal(&grant.grantee)?;
    grant.retiring.as_deref().map_or(Ok(()), check_principal)?;
    if grant.operations.is_empty() {
        return Err(invalid("ValidationException", "a grant allows at least one operation"));
    }
    let encrypts = key.material.spec == KeySpec::SymmetricDefault;
    let unfit = |operation: &&GrantOperation| match operation {
        GrantOperation::GenerateMac | GrantOperation::VerifyMac => encrypts,
        GrantOperation::CreateGrant | GrantOperation::DescribeKey | GrantOperation::RetireGrant => false,
        _ => !encrypts,
    };
    if let Some(operation) = grant.operations.iter().find(unfit) {
        return Err(invalid(
            "ValidationException",
            format!("this kind of key does not {}", operation.operation().name()),
        ));
    }
    if grant.constraint()?.is_some() && !encrypts {
        let message = "HMAC keys take no encryption context, so a grant on one takes no constraint";
        return Err(invalid("ValidationException", message));
    }
    Ok(())
}
