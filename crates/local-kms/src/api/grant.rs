//! Grants: permissions for one principal to use one key, without a change of its policy.

use std::ops::RangeInclusive;

use crate::access::Permission;
use crate::audit::Details;
use crate::call::{Answer, OfAccount, OnKey, PassingOn, Retiring, RetiringByToken};
use crate::error::{check_len, invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::policy::{check_caller, is_service};
use crate::record::grant::{CreateGrant, CreatedGrant, Grant, GrantConstraint, GrantOperation, GrantRecord};
use crate::record::grants::{any_covers, counted, of_key, of_retiring, put_new, remove, repeated};
use crate::record::key::{Key, KeySpec};
use crate::record::token;
use manila_core::Result;
use manila_core::internal::{crypto, quoted};

/// The maximum number of grants on a key, as on AWS.
///
/// Source: AWS KMS Developer Guide, "Resource quotas".
const MAX_GRANTS: u64 = 50_000;
/// The maximum number of pairs of a constraint, and of characters of each value.
///
/// Source: AWS KMS Developer Guide, "Creating grants", grant constraints.
const MAX_PAIRS: usize = 8;
const MAX_VALUE_CHARS: usize = 384;
/// Source: AWS KMS API Reference, `CreateGrant`, `Name`.
const NAME_LEN: RangeInclusive<usize> = 1..=256;
const MAX_ARN_LEN: usize = 2048;
/// The maximum length of a grantee or retiring principal, in bytes. A key policy can name longer ones.
///
/// Source: AWS KMS API Reference, `CreateGrant`, `GranteePrincipal` and `RetiringPrincipal`.
const MAX_PRINCIPAL_LEN: usize = 256;

impl LocalKms {
    /// Allows a principal to use a key, with effect from the next call, and returns the grant's id and a token. A
    /// `Deny` of a policy takes precedence.
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
    /// let grant = kms.create_grant(key.arn(), CreateGrant::to(app).operation(GrantOperation::Decrypt))?;
    /// assert_eq!(kms.list_grants(key.arn())?.len(), 1);
    /// kms.revoke_grant(key.arn(), grant.id())?;
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a principal is not a
    /// valid ARN or is longer than 256 bytes, no operation is allowed, the key does not support one, the constraint has
    /// more than 8 pairs or a value of more than 384 characters, or the key has 50,000 grants.
    #[expect(clippy::needless_pass_by_value, reason = "a request is for one call")]
    pub fn create_grant(&self, key_id: &str, request: CreateGrant) -> Result<CreatedGrant> {
        let subject = PassingOn { key: key_id, constraint: request.constraint.as_ref().map(GrantConstraint::pairs) };
        self.write(Operation::CreateGrant, &subject, details(&request), |tables, (key, by), call| {
            let grant = GrantRecord::new(&request, self.principal(), call.now)?;
            check(&grant, &key)?;
            check_request(&request)?;
            if by == Permission::Grant && !any_covers(tables, &key, &call.access.grant_user(), &grant)? {
                let message = "the grant allows more than the caller's own grant: allow no more than that one";
                return Err(refused("AccessDeniedException", message));
            }
            let (id, grant) = if let Some(older) = repeated(tables, &key, &grant)? {
                older
            } else {
                if counted(tables, &key)? >= MAX_GRANTS {
                    let message = format!("a key has at most {MAX_GRANTS} grants: revoke or retire some");
                    return Err(invalid("LimitExceededException", message));
                }
                let id = crypto::hex(&crypto::random_array::<32>()?);
                put_new(tables, &key, &id, &grant)?;
                (id, grant)
            };
            let token = token::new(&self.location(), &key.id, &id, &grant)?;
            Ok(CreatedGrant { id, token })
        })
    }

    /// Lists the grants on a key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks permission.
    pub fn list_grants(&self, key_id: &str) -> Result<Vec<Grant>> {
        self.read(Operation::ListGrants, &OnKey::new(key_id), Details::new(), |tables, key, _| {
            of_key(tables, &key)?.into_iter().map(|(id, grant)| grant.to_grant(key.arn.clone(), id)).collect()
        })
    }

    /// Lists the grants in this region of which a principal, given by ARN or as a service by name, is the retiring
    /// principal. The owner may call this, and principals with a policy that allows `kms:ListRetirableGrants`.
    ///
    /// ```
    /// use manila_local_kms::{CreateGrant, CreateKey, GrantOperation, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// let [app, admin] = ["arn:aws:iam::000000000000:role/app", "arn:aws:iam::000000000000:role/admin"];
    /// let grant = CreateGrant::to(app).operation(GrantOperation::Decrypt).retiring_principal(admin);
    /// kms.create_grant(key.arn(), grant)?;
    /// assert_eq!(kms.list_retirable_grants(admin)?[0].key_arn(), key.arn());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid principal,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller lacks permission.
    pub fn list_retirable_grants(&self, retiring_principal: &str) -> Result<Vec<Grant>> {
        let name = if is_service(retiring_principal) { "retiringServicePrincipal" } else { "retiringPrincipal" };
        let request = Details::new().text(name, retiring_principal);
        self.read(Operation::ListRetirableGrants, &OfAccount, request, |tables, (), call| {
            check_caller(retiring_principal)?;
            let location = self.location();
            let mut grants = Vec::new();
            for (key_id, id, grant) in of_retiring(tables, location.region, retiring_principal)? {
                if Key::load(tables, &location, &key_id)?.is_some_and(|key| !key.is_deleted(call.now)) {
                    grants.push(grant.to_grant(location.key_arn(&key_id), id)?);
                }
            }
            Ok(grants)
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

    /// Retires the grant of a token, like [`retire_grant`](Self::retire_grant), which a token alone does not
    /// permit.
    ///
    /// # Errors
    /// The same as [`retire_grant`](Self::retire_grant); `InvalidGrantTokenException` if the token is not valid or its
    /// grant is gone.
    pub fn retire_grant_by_token(&self, token: &str) -> Result<()> {
        let subject = RetiringByToken(token);
        let retired = self.write(Operation::RetireGrant, &subject, Details::new(), |tables, (key, id), _| {
            remove(tables, &key, &id)?;
            Ok(GrantId(id))
        });
        retired.map(drop)
    }
}

/// The id of a grant that was found by a token.
struct GrantId(String);

impl Answer for GrantId {
    fn details(&self) -> Details<'static> {
        Details::new().owned_text("grantId", self.0.clone())
    }
}

impl Answer for CreatedGrant {
    fn details(&self) -> Details<'static> {
        Details::new().owned_text("grantId", self.id().to_owned())
    }
}

fn details(request: &CreateGrant) -> Details<'_> {
    let names = |name: &str, of_arn, of_service| if is_service(name) { of_service } else { of_arn };
    let grantee = names(&request.grantee, "granteePrincipal", "granteeServicePrincipal");
    Details::new()
        .text(grantee, &request.grantee)
        .maybe(request.retiring.as_deref(), |details, retiring| {
            details.text(names(retiring, "retiringPrincipal", "retiringServicePrincipal"), retiring)
        })
        .maybe(request.name.as_deref(), |details, name| details.text("name", name))
        .maybe(request.source_arn.as_deref(), |details, arn| details.text("sourceArn", arn))
        .list("operations", request.operations.iter().map(|allowed| allowed.operation().name()))
        .maybe(request.constraint.as_ref(), |details, constraint| match constraint {
            GrantConstraint::Equals(pairs) => details.context("encryptionContextEquals", pairs),
            GrantConstraint::Subset(pairs) => details.context("encryptionContextSubset", pairs),
        })
}

fn check(grant: &GrantRecord, key: &Key) -> Result<()> {
    for principal in [Some(&grant.grantee), grant.retiring.as_ref()].into_iter().flatten() {
        check_caller(principal)?;
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

/// Checks the parts of a request that are not compared with the key.
fn check_request(request: &CreateGrant) -> Result<()> {
    if let Some(pairs) = request.constraint.as_ref().map(GrantConstraint::pairs) {
        check_len("pairs of a constraint", pairs.len(), 0..=MAX_PAIRS)?;
        let longest = pairs.iter().map(|(_, value)| value.chars().count()).max().unwrap_or(0);
        check_len("characters of a value of a constraint", longest, 0..=MAX_VALUE_CHARS)?;
    }
    if let Some(name) = &request.name {
        check_len("characters of the name of a grant", name.len(), NAME_LEN)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '_' | '-');
        if !name.chars().all(allowed) {
            let message = format!("{} is not a valid name of a grant: use letters, digits and :/_-", quoted(name));
            return Err(invalid("ValidationException", message));
        }
    }
    if let Some(arn) = &request.source_arn {
        let is_arn = arn.starts_with("arn:") && arn.splitn(6, ':').count() == 6 && arn.len() <= MAX_ARN_LEN;
        if !is_arn {
            return Err(invalid("InvalidArnException", format!("{} is not a valid ARN of a resource", quoted(arn))));
        }
    }
    Ok(())
}
