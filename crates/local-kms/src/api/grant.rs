//! Grants: permissions for one principal to use one key, without a change of its policy.

use crate::access::Permission;
use crate::audit::Details;
use crate::call::{Answer, OnKey, PassingOn, Retiring};
use crate::error::{check_len, invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::policy::check_principal;
use crate::record::grant::{
    CreateGrant, Grant, GrantConstraint, GrantOperation, GrantRecord, any_covers, count, of_key, put_new, remove,
};
use crate::record::key::{Key, KeySpec};
use manila_core::Result;
use manila_core::internal::crypto;

/// The maximum number of grants on a key: listing them reads all of them, and creating one counts them.
const MAX_GRANTS: usize = 1000;
/// The maximum length of a grantee or retiring principal, in bytes. A key policy can name longer ones.
///
/// Source: AWS KMS API Reference, `CreateGrant`, `GranteePrincipal` and `RetiringPrincipal`.
const MAX_PRINCIPAL_LEN: usize = 256;

impl LocalKms {
    /// Allows a principal to use a key, with effect from the next call, and returns the grant's id. A `Deny` of the key
    /// policy takes precedence.
    ///
    /// A caller whose permission to create grants comes from a grant can pass on no more than that grant allows. As on
    /// AWS, conditions of the key policy see the pairs of the constraint as the encryption context of this call.
    ///
    /// ```
    /// use manila_local_kms::{CreateGrant, CreateKey, GrantOperation, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// let app = "arn:aws:iam::000000000000:role/app";
    /// let grant_id = kms.create_grant(key.arn(), CreateGrant::to(app).operation(GrantOperation::Decrypt))?;
    /// assert_eq!(kms.list_grants(key.arn())?.len(), 1);
    /// kms.revoke_grant(key.arn(), &grant_id)?;
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a principal is not a
    /// valid ARN or is longer than 256 bytes, no operation is allowed, or the key does not support one.
    #[expect(clippy::needless_pass_by_value, reason = "a request is for one call")]
    pub fn create_grant(&self, key_id: &str, request: CreateGrant) -> Result<String> {
        let subject = PassingOn { key: key_id, constraint: request.constraint.as_ref().map(GrantConstraint::pairs) };
        let made = self.write(Operation::CreateGrant, &subject, details(&request), |tables, (key, by), call| {
            let grant = GrantRecord::new(&request, self.principal(), call.now);
            check(&grant, &key)?;
            if by == Permission::Grant && !any_covers(tables, &key, self.principal(), &grant)? {
                let message = "the grant allows more than the caller's own grant: allow no more than that one";
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

    /// Lists the grants on a key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks permission.
    pub fn list_grants(&self, key_id: &str) -> Result<Vec<Grant>> {
        self.read(Operation::ListGrants, &OnKey::new(key_id), Details::new(), |tables, key, _| {
            of_key(tables, &key)?.into_iter().map(|(id, grant)| grant.to_grant(id)).collect()
        })
    }

    /// Revokes a grant.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or grant, or the caller lacks
    /// permission.
    pub fn revoke_grant(&self, key_id: &str, grant_id: &str) -> Result<()> {
        let request = Details::new().text("grantId", grant_id);
        self.write(Operation::RevokeGrant, &OnKey::new(key_id), request, |tables, key, _| {
            remove(tables, &key, grant_id)
        })
    }

    /// Retires a grant.
    ///
    /// The retiring principal, the owner and, if the grant allows it, the grantee may call this, unless the key's
    /// policy denies them `kms:RetireGrant`. No policy can allow it to anyone else.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or grant, or the caller is not
    /// one of these.
    pub fn retire_grant(&self, key_id: &str, grant_id: &str) -> Result<()> {
        let subject = Retiring { key: key_id, grant: grant_id };
        self.write(Operation::RetireGrant, &subject, Details::new(), |tables, key, _| remove(tables, &key, grant_id))
    }
}

/// The id of a new grant.
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
    for principal in [Some(&grant.grantee), grant.retiring.as_ref()].into_iter().flatten() {
        check_principal(principal)?;
        check_len("bytes of a principal of a grant", principal.len(), 1..=MAX_PRINCIPAL_LEN)?;
    }
    if grant.operations.is_empty() {
        return Err(invalid("ValidationException", "the grant allows no operation: add at least one"));
    }
    let (spec, usage) = (key.material.spec, key.material.usage());
    let is_symmetric = spec == KeySpec::SymmetricDefault;
    let unfit = |allowed: &&GrantOperation| match allowed {
        GrantOperation::GetPublicKey => spec.key_pair().is_none(),
        GrantOperation::GenerateDataKey
        | GrantOperation::GenerateDataKeyPair
        | GrantOperation::GenerateDataKeyPairWithoutPlaintext
        | GrantOperation::GenerateDataKeyWithoutPlaintext => !is_symmetric,
        allowed => !allowed.operation().takes_usage(usage),
    };
    if let Some(operation) = grant.operations.iter().find(unfit) {
        return Err(invalid(
            "ValidationException",
            format!("keys of this kind do not support {}", operation.operation().name()),
        ));
    }
    if grant.constraint()?.is_some() && !is_symmetric {
        let message = "only symmetric keys have an encryption context: leave the constraint out";
        return Err(invalid("ValidationException", message));
    }
    Ok(())
}
