//! Authorisation of calls by policies and grants, as AWS does it.

mod question;

use std::borrow::Cow;
use std::sync::Arc;

use crate::audit::Details;
use crate::caller::Caller;
use crate::error::{invalid, refused, unavailable};
use crate::location::Location;
use crate::operation::Operation;
use crate::policy::{KeyFacts, Opinion, Policy, PolicyCache, PolicyKind, Who, is_of_account};
use crate::record::key::Key;
use crate::record::{alias, grant};
use crate::store::Tables;
use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use question::{Document, Question, Topic};

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

/// The authorisation of a call: its caller, and the opinions of policies.
///
/// If a policy is not parsed yet, or its evaluation takes long, the decision is put off: the call gives up its
/// transaction, evaluates while it holds no lock, and starts again. An opinion applies only to the exact text of the
/// policy that it was made from. If the text differs each time, the call finally decides
/// [in its transaction](Access::put_off_nothing), or is refused.
pub(super) struct Access<'a> {
    caller: Caller<'a>,
    policies: &'a PolicyCache,
    parameters: &'a Details<'a>,
    /// The present time, in milliseconds since 1970.
    pub(super) now: u64,
    /// Whether a re-encryption is under the same key.
    pub(super) on_same_key: Option<bool>,
    /// The opinions that were put off.
    made: Vec<(Question, Opinion)>,
    put_off: Vec<Question>,
    puts_off_nothing: bool,
}

impl<'a> Access<'a> {
    pub(super) fn new(caller: Caller<'a>, policies: &'a PolicyCache, parameters: &'a Details<'a>) -> Self {
        Self {
            caller,
            policies,
            parameters,
            now: 0,
            on_same_key: None,
            made: Vec::new(),
            put_off: Vec::new(),
            puts_off_nothing: false,
        }
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
        alias: Option<&str>,
    ) -> Result<Permission> {
        self.check_account(operation)?;
        let opinion = self.decide(tables, key, operation, context, alias)?;
        let permission = if opinion.denied.is_some() {
            return Err(self.denied(operation, "its policy denies it"));
        } else if opinion.allowed.is_some() {
            Permission::Policy
        } else if grant::any_allows(tables, key, self.caller.principal, operation, context)? {
            Permission::Grant
        } else {
            return Err(self.nothing_allows(operation));
        };
        if operation.needs_account() && !self.caller.is_owner {
            let why = "AWS asks for the account's permission too, which its owner alone has here";
            return Err(self.denied(operation, why));
        }
        Ok(permission)
    }

    /// Fails if the policy of a key denies an operation that is not permitted by the policy itself.
    pub(super) fn check_not_denied(&mut self, tables: &impl Tables, key: &Key, operation: Operation) -> Result<()> {
        match self.decide(tables, key, operation, None, None)?.denied {
            Some(_) => Err(self.denied(operation, "its policy denies it")),
            None => Ok(()),
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

    /// Forms the opinions that were put off, and returns whether there were any. Nothing may be locked here.
    pub(super) fn catch_up(&mut self) -> Result<bool> {
        let questions = std::mem::take(&mut self.put_off);
        let were_any = !questions.is_empty();
        for question in questions {
            let Document { name, json, kind } = &question.document;
            let policy = self.policies.parse(name, json, *kind)?;
            let opinion = policy.decide(&question.topic.request(&self.caller, self.parameters, self.now));
            // Opinions of earlier texts of the policy are of no further use.
            self.made.retain(|(older, _)| !question.replaces(older));
            self.made.push((question, opinion));
        }
        Ok(were_any)
    }

    /// Puts off no further decision. Other calls may then wait while a policy is parsed, which takes milliseconds. A
    /// decision that takes long is refused.
    pub(super) fn put_off_nothing(&mut self) {
        self.puts_off_nothing = true;
    }

    /// Returns the opinion of a key's policy. Fails if it was put off.
    fn decide(
        &mut self,
        tables: &impl Tables,
        key: &Key,
        operation: Operation,
        context: Option<&EncryptionContext>,
        alias: Option<&str>,
    ) -> Result<Opinion> {
        let Some(json) = &key.record.policy else {
            // The default policy of keys, without parsing it each time.
            return Ok(if self.caller.is_owner { Opinion::ALLOWED } else { Opinion::default() });
        };
        let document = Document { name: key.arn.as_str().into(), json: json.as_str().into(), kind: PolicyKind::Key };
        let kept = self.policies.kept(&document.name, &document.json);
        let topic = self.topic(tables, key, operation, context, alias, asks_for_aliases(kept.as_deref()))?;
        self.opinion(&document, kept, &topic)?.ok_or_else(put_off)
    }

    /// Returns the opinion of a policy, which may be parsed already. `None` if it was put off.
    fn opinion(
        &mut self,
        document: &Document<'_>,
        kept: Option<Arc<Policy>>,
        topic: &Topic<'_>,
    ) -> Result<Option<Opinion>> {
        let context = topic.encryption_context.as_deref();
        let decide = |policy: &Policy| policy.decide(&topic.request(&self.caller, self.parameters, self.now));
        if let Some(policy) = kept.filter(|policy| policy.steps(context) <= MOST_STEPS) {
            return Ok(Some(decide(&policy)));
        }
        if let Some((_, opinion)) = self.made.iter().find(|(question, _)| question.is(document, topic)) {
            return Ok(Some(*opinion));
        }
        if self.puts_off_nothing {
            let policy = self.policies.parse(&document.name, &document.json, document.kind)?;
            if policy.steps(context) > MOST_STEPS {
                let message = "the policy of the key is replaced faster than it can be evaluated: call again";
                return Err(unavailable("DependencyTimeoutException", message));
            }
            return Ok(Some(decide(&policy)));
        }
        self.put_off.push(Question::new(document, topic));
        Ok(None)
    }

    fn topic<'b>(
        &self,
        tables: &impl Tables,
        key: &'b Key,
        operation: Operation,
        context: Option<&'b EncryptionContext>,
        alias: Option<&'b str>,
        with_aliases: bool,
    ) -> Result<Topic<'b>>
    where
        'a: 'b,
    {
        let location = Location { region: &key.region, account: self.caller.account };
        let aliases = if with_aliases { alias::of_key(tables, &location, &key.id)? } else { Vec::new() };
        Ok(Topic {
            action: operation.action(),
            resource: key.arn.as_str().into(),
            region: key.region.as_str().into(),
            account: self.caller.account.into(),
            encrypts: operation.encrypts(),
            encryption_context: context.map(Cow::Borrowed),
            alias: alias.map(Cow::Borrowed),
            on_same_key: self.on_same_key,
            key: Some(key_facts(key, aliases)),
            who: Cow::Owned(Who::default()),
        })
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

fn put_off() -> Error {
    Error::new(ErrorKind::Internal, "the decision by a policy was put off")
}

/// Returns whether the aliases of a key may matter to a policy: it is unknown of one that is not parsed yet.
fn asks_for_aliases(policy: Option<&Policy>) -> bool {
    policy.is_none_or(Policy::asks_for_aliases)
}

/// Returns what policies can ask about a key.
fn key_facts(key: &Key, aliases: Vec<String>) -> KeyFacts<'_> {
    let spec = key.material.spec;
    KeyFacts {
        spec: spec.name(),
        usage: spec.usage(),
        origin: key.material.origin.name(),
        mac_algorithm: spec.mac_algorithm(),
        multi_region_type: key.is_multi_region().then_some(if key.is_primary() { "PRIMARY" } else { "REPLICA" }),
        tags: Cow::Borrowed(&key.record.tags),
        aliases,
    }
}

/// Fails if a policy does not allow its caller to change it again, unless the caller accepts this.
pub(super) fn check_lockout(
    caller: &Caller<'_>,
    parameters: &Details<'_>,
    policy: &Policy,
    key: &Key,
    now: u64,
    may_lock_out: bool,
) -> Result<()> {
    let topic = Topic {
        action: Operation::PutKeyPolicy.action(),
        resource: key.arn.as_str().into(),
        region: key.region.as_str().into(),
        account: caller.account.into(),
        encrypts: false,
        encryption_context: None,
        alias: None,
        on_same_key: None,
        key: Some(key_facts(key, Vec::new())),
        who: Cow::Owned(Who::default()),
    };
    let opinion = policy.decide(&topic.request(caller, parameters, now));
    if may_lock_out || opinion.allowed.is_some() {
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
        let parameters = Details::new();
        let mut access = Access::new(caller, &policies, &parameters);
        let of = |access: &mut Access<'_>, key: &Key, context| {
            kms.shared.store.read(|tables| access.decide(tables, key, Operation::Encrypt, Some(context), None))
        };
        // The policy has not been parsed yet.
        assert!(of(&mut access, &key, &short).is_err());
        assert_eq!(policies.parsed(), 0);
        assert!(access.catch_up().unwrap());
        for _ in 0..2 {
            assert_eq!(of(&mut access, &key, &short).unwrap(), Opinion::default());
            assert!(!access.catch_up().unwrap());
        }
        // Another call, with a policy that takes long to evaluate.
        let mut access = Access::new(caller, &policies, &parameters);
        assert!(of(&mut access, &key, &long).is_err());
        assert!(access.catch_up().unwrap());
        assert_eq!(of(&mut access, &key, &long).unwrap(), Opinion::default());
        // A decision by one text does not apply to another.
        key.record.policy = Some(statement("*a"));
        assert!(of(&mut access, &key, &long).is_err());
        assert!(access.catch_up().unwrap());
        assert_eq!(of(&mut access, &key, &long).unwrap(), Opinion::ALLOWED);
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
