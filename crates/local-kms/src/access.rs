//! Authorisation of calls by key policies and grants, as AWS does it.

use crate::caller::Caller;
use crate::error::{invalid, refused};
use crate::key_policy::{AccessRequest, Decision, Policy, PolicyCache, is_of_account};
use crate::operation::Operation;
use crate::record::grant;
use crate::record::key::Key;
use crate::store::Tables;
use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

/// The source of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Policy,
    Grant,
}

/// The most steps in which a policy is decided by while a transaction is open and others may wait for its end.
const MOST_STEPS: usize = 1 << 16;

/// The reason for a refusal when neither policy nor grant mentions the principal. Principals of other accounts get no
/// other reason, so that they do not learn which keys exist.
const NOTHING_ALLOWS: &str = "neither its policy nor a grant allows it";

/// The decisions about a call by the policies of its keys.
///
/// A policy that is not parsed yet, or that takes long to decide by, is put off: the call gives up its transaction,
/// decides while it holds nothing that others wait for, and begins again. What was decided counts for the very text it
/// was of.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    made: Vec<(Question, Decision)>,
    put_off: Option<Question>,
}

#[derive(Debug)]
struct Question {
    key_arn: String,
    json: String,
    operation: Operation,
    context: Option<EncryptionContext>,
}

impl Decisions {
    /// Returns the decision by the policy of a key. Fails if it was put off.
    fn of(
        &mut self,
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
        if let Some(policy) = policies.kept(&key.arn, json).filter(|policy| policy.steps(context) <= MOST_STEPS) {
            return Ok(policy.decide(&request(caller, &key.arn, operation, context)));
        }
        let is_it = |(asked, _): &&(Question, Decision)| {
            (&asked.key_arn, &asked.json, asked.operation) == (&key.arn, json, operation)
        };
        if let Some((_, decision)) = self.made.iter().find(is_it) {
            return Ok(*decision);
        }
        let (key_arn, json, context) = (key.arn.clone(), json.clone(), context.cloned());
        self.put_off = Some(Question { key_arn, json, operation, context });
        Err(Error::new(ErrorKind::Internal, "the decision by a key's policy was put off"))
    }

    /// Decides what was put off. Nothing may be locked here. Returns whether there was anything.
    pub(super) fn catch_up(&mut self, caller: &Caller<'_>, policies: &PolicyCache) -> Result<bool> {
        let Some(asked) = self.put_off.take() else { return Ok(false) };
        let policy = policies.parse(&asked.key_arn, &asked.json)?;
        let decision = policy.decide(&request(caller, &asked.key_arn, asked.operation, asked.context.as_ref()));
        self.made.push((asked, decision));
        Ok(true)
    }
}

/// Returns what permits an operation on a key: its policy, unless that denies it; where it is silent, a grant. Neither
/// can permit another account what AWS keeps for the key's own, nor anybody what needs the account's permission too.
pub(super) fn permission(
    caller: &Caller<'_>,
    policies: &PolicyCache,
    decisions: &mut Decisions,
    tables: &impl Tables,
    key: &Key,
    operation: Operation,
    context: Option<&EncryptionContext>,
) -> Result<Permission> {
    check_account(caller, operation)?;
    let permission = match decisions.of(caller, policies, key, operation, context)? {
        Decision::Allowed => Permission::Policy,
        Decision::Denied => return Err(denied(caller, operation, "its policy denies it")),
        Decision::Silent if grant::any_allows(tables, key, caller.principal, operation, context)? => Permission::Grant,
        Decision::Silent => return Err(nothing_allows(caller, operation)),
    };
    if operation.needs_account() && !caller.is_owner {
        let why = "AWS asks for the account's permission too, which its owner alone has here";
        return Err(denied(caller, operation, why));
    }
    Ok(permission)
}

/// Fails if the policy of a key denies an operation that something else than the policy permits.
pub(super) fn check_not_denied(
    caller: &Caller<'_>,
    policies: &PolicyCache,
    decisions: &mut Decisions,
    key: &Key,
    operation: Operation,
) -> Result<()> {
    match decisions.of(caller, policies, key, operation, None)? {
        Decision::Denied => Err(denied(caller, operation, "its policy denies it")),
        Decision::Allowed | Decision::Silent => Ok(()),
    }
}

/// Fails if nobody of the caller's account may make a call, whatever the policy of a key says.
pub(super) fn check_account(caller: &Caller<'_>, operation: Operation) -> Result<()> {
    if operation.crosses_accounts() || !is_foreign(caller) {
        return Ok(());
    }
    Err(denied(caller, operation, "nobody of another account may, whatever its policy says"))
}

/// The error for a key that is not there. Principals of other accounts are told what they are told of keys that they
/// may not use.
pub(super) fn missing(caller: &Caller<'_>, operation: Operation, error: Error) -> Error {
    let is_missing = error.kms_error().is_some_and(|error| error.code == "NotFoundException");
    if is_missing && is_foreign(caller) { nothing_allows(caller, operation) } else { error }
}

/// The refusal of one whom neither policy nor grant allows a call.
pub(super) fn nothing_allows(caller: &Caller<'_>, operation: Operation) -> Error {
    denied(caller, operation, NOTHING_ALLOWS)
}

fn is_foreign(caller: &Caller<'_>) -> bool {
    !caller.is_owner && !is_of_account(caller.principal, caller.account)
}

fn denied(caller: &Caller<'_>, operation: Operation, why: &str) -> Error {
    let why = if operation.crosses_accounts() && is_foreign(caller) { NOTHING_ALLOWS } else { why };
    let message = format!("{} may not {} with this key: {why}", quoted(caller.principal), operation.name());
    refused("AccessDeniedException", message)
}

fn request<'a>(
    caller: &Caller<'a>,
    key_arn: &'a str,
    operation: Operation,
    encryption_context: Option<&'a EncryptionContext>,
) -> AccessRequest<'a> {
    AccessRequest { principal: caller.principal, action: operation.action(), key_arn, encryption_context }
}

/// Fails if a policy keeps its caller from changing it again and that was not asked for.
pub(super) fn check_lockout(caller: &Caller<'_>, policy: &Policy, key_arn: &str, may_lock_out: bool) -> Result<()> {
    let said = policy.decide(&request(caller, key_arn, Operation::PutKeyPolicy, None));
    if may_lock_out || said == Decision::Allowed {
        return Ok(());
    }
    let message = format!(
        "the policy would keep its caller from changing it again: allow {} kms:PutKeyPolicy",
        quoted(caller.principal)
    );
    Err(invalid("MalformedPolicyDocumentException", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_kms::LocalKms;
    use crate::record::key::CreateKey;

    #[test]
    fn a_policy_is_neither_parsed_nor_decided_by_at_length_in_a_transaction() {
        let statement = |condition: &str| {
            format!(
                r#"{{"Statement": {{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",
                   "Condition": {{"StringLike": {{"kms:EncryptionContext:a": "{condition}"}}}}}}}}"#
            )
        };
        let kms = LocalKms::in_memory().unwrap();
        let (caller, policies) = (kms.caller(), PolicyCache::default());
        let request = CreateKey::default().policy(statement("*a*b*")).policy_may_lock_out_caller();
        let made = kms.create_key(request).unwrap();
        let load = |tables: &crate::store::ReadTxn<'_>| Key::load(tables, &kms.location(), made.key_id());
        let mut key = kms.shared.store.read(load).unwrap().unwrap();
        let context = |len| EncryptionContext::new([("a", "a".repeat(len))]).unwrap();
        let (short, long) = (context(10), context(MOST_STEPS / 2));
        let mut decisions = Decisions::default();
        let of = |decisions: &mut Decisions, key: &Key, context| {
            decisions.of(&caller, &policies, key, Operation::Encrypt, Some(context))
        };
        // It is not parsed yet.
        assert!(of(&mut decisions, &key, &short).is_err());
        assert_eq!(policies.parsed(), 0);
        assert!(decisions.catch_up(&caller, &policies).unwrap());
        for _ in 0..2 {
            assert_eq!(of(&mut decisions, &key, &short).unwrap(), Decision::Silent);
            assert!(!decisions.catch_up(&caller, &policies).unwrap());
        }
        // Another call, which takes long.
        let mut decisions = Decisions::default();
        assert!(of(&mut decisions, &key, &long).is_err());
        assert!(decisions.catch_up(&caller, &policies).unwrap());
        assert_eq!(of(&mut decisions, &key, &long).unwrap(), Decision::Silent);
        // What was decided by one text does not count for another.
        key.record.policy = Some(statement("*a"));
        assert!(of(&mut decisions, &key, &long).is_err());
        assert!(decisions.catch_up(&caller, &policies).unwrap());
        assert_eq!(of(&mut decisions, &key, &long).unwrap(), Decision::Allowed);
        assert_eq!(policies.parsed(), 2);
    }
}
