//! Who may do what: key policies and grants, as AWS weighs them.

use crate::context::EncryptionContext;
use crate::error::{Error, Result, quoted};
use crate::kms::local::LocalKms;
use crate::kms::local::answer::{invalid, refused};
use crate::kms::local::operation::Operation;
use crate::kms::local::policy::{AccessRequest, Decision, Policy, owner};
use crate::kms::local::record::grant;
use crate::kms::local::record::key::Key;
use crate::kms::local::store::Tables;

/// What lets a caller do what he does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Policy,
    Grant,
}

/// What permits an operation on a key: its policy, unless that denies; where it is silent, a grant.
pub(super) fn permission(
    kms: &LocalKms,
    tables: &impl Tables,
    key: &Key,
    operation: Operation,
    context: Option<&EncryptionContext>,
) -> Result<Permission> {
    match decide(key.record.policy.as_deref(), kms.account(), kms.principal(), &key.arn, operation, context)? {
        Decision::Allowed => Ok(Permission::Policy),
        Decision::Denied => Err(denied(kms.principal(), operation, "its policy denies it")),
        Decision::Silent if grant::any_allows(tables, key, kms.principal(), operation, context)? => {
            Ok(Permission::Grant)
        }
        Decision::Silent => Err(denied(kms.principal(), operation, "neither its policy nor a grant allows it")),
    }
}

fn denied(principal: &str, operation: Operation, why: &str) -> Error {
    let message = format!("{} may not {} with this key: {why}", quoted(principal), operation.name());
    refused("AccessDeniedException", message)
}

fn decide(
    policy: Option<&str>,
    account: &str,
    principal: &str,
    key_arn: &str,
    operation: Operation,
    encryption_context: Option<&EncryptionContext>,
) -> Result<Decision> {
    let Some(policy) = policy else {
        // The policy of a key that was given none, without reading it each time.
        return Ok(if principal == owner(account) { Decision::Allowed } else { Decision::Silent });
    };
    let request = AccessRequest { principal, action: operation.action(), key_arn, encryption_context };
    Ok(Policy::parse(policy)?.decide(&request))
}

/// Fails if a policy is none, or if it keeps the owner from changing it and that was not asked for.
pub(super) fn check_policy(policy: &str, account: &str, key_arn: &str, may_lock_out: bool) -> Result<()> {
    let said = decide(Some(policy), account, &owner(account), key_arn, Operation::PutKeyPolicy, None)?;
    if may_lock_out || matches!(said, Decision::Allowed) {
        return Ok(());
    }
    let message = "the policy would keep the owner of the account from changing it again: allow its root principal \
                   kms:PutKeyPolicy";
    Err(invalid("MalformedPolicyDocumentException", message))
}
