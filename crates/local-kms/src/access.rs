//! Who may do what: key policies and grants, as AWS weighs them.

use crate::caller::Caller;
use crate::error::{invalid, refused};
use crate::key_policy::{AccessRequest, Decision, Policy, PolicyCache, is_of_account};
use crate::operation::Operation;
use crate::record::grant;
use crate::record::key::Key;
use crate::store::Tables;
use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Error, Result};

/// What permits a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Policy,
    Grant,
}

/// What permits an operation on a key: its policy, unless that denies; where it is silent, a grant. Neither can permit
/// another account what AWS keeps for the key's own.
pub(super) fn permission(
    caller: &Caller<'_>,
    policies: &PolicyCache,
    tables: &impl Tables,
    key: &Key,
    operation: Operation,
    context: Option<&EncryptionContext>,
) -> Result<Permission> {
    if !operation.crosses_accounts() && !is_of_account(caller.principal, caller.account) {
        return Err(denied(caller.principal, operation, "nobody of another account may, whatever its policy says"));
    }
    match decide(caller, policies, key, operation, context)? {
        Decision::Allowed => Ok(Permission::Policy),
        Decision::Denied => Err(denied(caller.principal, operation, "its policy denies it")),
        Decision::Silent if grant::any_allows(tables, key, caller.principal, operation, context)? => {
            Ok(Permission::Grant)
        }
        Decision::Silent => Err(denied(caller.principal, operation, "neither its policy nor a grant allows it")),
    }
}

fn denied(principal: &str, operation: Operation, why: &str) -> Error {
    let message = format!("{} may not {} with this key: {why}", quoted(principal), operation.name());
    refused("AccessDeniedException", message)
}

fn decide(
    caller: &Caller<'_>,
    policies: &PolicyCache,
    key: &Key,
    operation: Operation,
    context: Option<&EncryptionContext>,
) -> Result<Decision> {
    let Some(json) = &key.record.policy else {
        // The policy of a key that was given none, without reading it each time.
        return Ok(if caller.is_owner { Decision::Allowed } else { Decision::Silent });
    };
    Ok(policies.parse(&key.arn, json)?.decide(&request(caller, &key.arn, operation, context)))
}

fn request<'a>(
    caller: &Caller<'a>,
    key_arn: &'a str,
    operation: Operation,
    encryption_context: Option<&'a EncryptionContext>,
) -> AccessRequest<'a> {
    AccessRequest { principal: caller.principal, action: operation.action(), key_arn, encryption_context }
}

/// Fails if this is not a policy, or if it keeps its caller from changing it again and that was not asked for.
pub(super) fn check_policy(caller: &Caller<'_>, policy: &str, key_arn: &str, may_lock_out: bool) -> Result<()> {
    let said = Policy::parse(policy)?.decide(&request(caller, key_arn, Operation::PutKeyPolicy, None));
    if may_lock_out || said == Decision::Allowed {
        return Ok(());
    }
    let message = format!(
        "the policy would keep its caller from changing it again: allow {} kms:PutKeyPolicy",
        quoted(caller.principal)
    );
    Err(invalid("MalformedPolicyDocumentException", message))
}
