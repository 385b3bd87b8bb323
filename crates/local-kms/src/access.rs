//! Authorisation of calls by key policies and grants, as AWS does it.

use crate::caller::Caller;
use crate::error::{invalid, refused, unavailable};
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

/// The maximum number of steps of a decision during an open transaction, whose end other calls may wait for.
const MOST_STEPS: usize = 1 << 16;

/// The reason for a refusal if neither policy nor grant mentions the principal. Principals of other accounts get only
/// this reason, so that they do not learn which keys exist.
const NOTHING_ALLOWS: &str = "neither its policy nor a grant allows it";

/// The authorisation of a call: its caller, and the decisions of its keys' policies.
///
/// If a policy is not parsed yet, or its decision takes long, the decision is put off: the call gives up its
/// transaction, decides while it holds no lock, and starts again. A decision applies only to the exact text of the
/// policy that it was made from. If the text differs each time, the call finally decides
/// [in its transaction](Access::put_off_nothing), or is refused.
pub(super) struct Access<'a> {
    caller: Caller<'a>,
    policies: &'a PolicyCache,
    /// The latest decision of each key's policy on each operation.
    made: Vec<(Question, Decision)>,
    put_off: Option<Question>,
    puts_off_nothing: bool,
}

#[derive(Debug)]
struct Question {
    key_arn: String,
    json: String,
    operation: Operation,
    context: Option<EncryptionContext>,
}

impl<'a> Access<'a> {
    pub(super) fn new(caller: Caller<'a>, policies: &'a PolicyCache) -> Self {
        Self { caller, policies, made: Vec::new(), put_off: None, puts_off_nothing: false }
    }

    /// Returns the source of the permission for an operation on a key: the key's policy or, if the policy neither
    /// allows nor denies it, a grant. Neither can allow another account an operation that AWS reserves for the key's
    /// own account, nor anyone an operation that also needs the account's permission.
    pub(super) fn permission(
        &mut self,
        tables: &impl Tables,
        key: &Key,
        operation: Operation,
        context: Option<&EncryptionContext>,
    ) -> Result<Permission> {
        self.check_account(operation)?;
        let permission = match self.decide(key, operation, context)? {
            Decision::Allowed => Permission::Policy,
            Decision::Denied => return Err(self.denied(operation, "its policy denies it")),
            Decision::Silent if grant::any_allows(tables, key, self.caller.principal, operation, context)? => {
                Permission::Grant
            }
            Decision::Silent => return Err(self.nothing_allows(operation)),
        };
        if operation.needs_account() && !self.caller.is_owner {
            let why = "AWS asks for the account's permission too, which its owner alone has here";
            return Err(self.denied(operation, why));
        }
        Ok(permission)
    }

    /// Fails if the policy of a key denies an operation that is not permitted by the policy itself.
    pub(super) fn check_not_denied(&mut self, key: &Key, operation: Operation) -> Result<()> {
        match self.decide(key, operation, None)? {
            Decision::Denied => Err(self.denied(operation, "its policy denies it")),
            Decision::Allowed | Decision::Silent => Ok(()),
        }
    }

    /// Fails if no principal of the caller's account can be allowed the operation, whatever the policy of a key says.
    pub(super) fn check_account(&self, operation: Operation) -> Result<()> {
        if operation.crosses_accounts() || !self.is_foreign() {
            return Ok(());
        }
        Err(self.denied(operation, "nobody of another account may, whatever its policy says"))
    }

    /// Returns the error for a key that does not exist. Principals of other accounts get the same error as for keys
    /// that they may not use.
    pub(super) fn missing(&self, operation: Operation, error: Error) -> Error {
        let is_missing = error.kms_error().is_some_and(|error| error.code() == "NotFoundException");
        if is_missing && self.is_foreign() { self.nothing_allows(operation) } else { error }
    }

    /// Returns the error if neither policy nor grant allows the operation.
    pub(super) fn nothing_allows(&self, operation: Operation) -> Error {
        self.denied(operation, NOTHING_ALLOWS)
    }

    /// Makes a decision that was put off, and returns whether there was one. Nothing may be locked here.
    pub(super) fn catch_up(&mut self) -> Result<bool> {
        let Some(asked) = self.put_off.take() else { return Ok(false) };
        let policy = self.policies.parse(&asked.key_arn, &asked.json)?;
        let request = request(&self.caller, &asked.key_arn, asked.operation, asked.context.as_ref());
        let decision = policy.decide(&request);
        // Decisions of the key's earlier policies are of no further use.
        self.made.retain(|(old, _)| (&old.key_arn, old.operation) != (&asked.key_arn, asked.operation));
        self.made.push((asked, decision));
        Ok(true)
    }

    /// Puts off no further decision. Other calls may then wait while a policy is parsed, which takes milliseconds. A
    /// decision that takes long is refused.
    pub(super) fn put_off_nothing(&mut self) {
        self.puts_off_nothing = true;
    }

    /// Returns the decision of a key's policy. Fails if it was put off.
    fn decide(&mut self, key: &Key, operation: Operation, context: Option<&EncryptionContext>) -> Result<Decision> {
        let Some(json) = &key.record.policy else {
            // The default policy of keys, without parsing it each time.
            return Ok(if self.caller.is_owner { Decision::Allowed } else { Decision::Silent });
        };
        if let Some(policy) = self.policies.kept(&key.arn, json).filter(|policy| policy.steps(context) <= MOST_STEPS) {
            return Ok(policy.decide(&request(&self.caller, &key.arn, operation, context)));
        }
        let is_it = |(asked, _): &&(Question, Decision)| {
            (&asked.key_arn, &asked.json, asked.operation) == (&key.arn, json, operation)
        };
        if let Some((_, decision)) = self.made.iter().find(is_it) {
            return Ok(*decision);
        }
        if self.puts_off_nothing {
            let policy = self.policies.parse(&key.arn, json)?;
            if policy.steps(context) > MOST_STEPS {
                let message = "the policy of the key is replaced faster than it can be evaluated: call again";
                return Err(unavailable("DependencyTimeoutException", message));
            }
            return Ok(policy.decide(&request(&self.caller, &key.arn, operation, context)));
        }
        let (key_arn, json, context) = (key.arn.clone(), json.clone(), context.cloned());
        self.put_off = Some(Question { key_arn, json, operation, context });
        Err(Error::new(ErrorKind::Internal, "the decision by a key's policy was put off"))
    }

    fn is_foreign(&self) -> bool {
        !self.caller.is_owner && !is_of_account(self.caller.principal, self.caller.account)
    }

    fn denied(&self, operation: Operation, why: &str) -> Error {
        let why = if operation.crosses_accounts() && self.is_foreign() { NOTHING_ALLOWS } else { why };
        let message = format!("{} may not {} with this key: {why}", quoted(self.caller.principal), operation.name());
        refused("AccessDeniedException", message)
    }
}

fn request<'a>(
    caller: &Caller<'a>,
    key_arn: &'a str,
    operation: Operation,
    encryption_context: Option<&'a EncryptionContext>,
) -> AccessRequest<'a> {
    AccessRequest { principal: caller.principal, action: operation.action(), key_arn, encryption_context }
}

/// Fails if a policy does not allow its caller to change it again, unless the caller accepts this.
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
        let mut access = Access::new(caller, &policies);
        let of = |access: &mut Access<'_>, key: &Key, context| access.decide(key, Operation::Encrypt, Some(context));
        // The policy has not been parsed yet.
        assert!(of(&mut access, &key, &short).is_err());
        assert_eq!(policies.parsed(), 0);
        assert!(access.catch_up().unwrap());
        for _ in 0..2 {
            assert_eq!(of(&mut access, &key, &short).unwrap(), Decision::Silent);
            assert!(!access.catch_up().unwrap());
        }
        // Another call, with a policy that takes long to evaluate.
        let mut access = Access::new(caller, &policies);
        assert!(of(&mut access, &key, &long).is_err());
        assert!(access.catch_up().unwrap());
        assert_eq!(of(&mut access, &key, &long).unwrap(), Decision::Silent);
        // A decision by one text does not apply to another.
        key.record.policy = Some(statement("*a"));
        assert!(of(&mut access, &key, &long).is_err());
        assert!(access.catch_up().unwrap());
        assert_eq!(of(&mut access, &key, &long).unwrap(), Decision::Allowed);
        assert_eq!(policies.parsed(), 2);
        // Decisions of earlier policies are not kept.
        for text in ["*a*", "*a*a"] {
            key.record.policy = Some(statement(text));
            assert!(of(&mut access, &key, &long).is_err());
            assert!(access.catch_up().unwrap());
        }
        assert_eq!(access.made.len(), 1);
    }
}
