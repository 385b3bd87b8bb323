//! Authorisation of calls by policies and grants, as AWS does it.
//!
//! The policy of a key, the policies of its caller and the grants of the key decide in this order: a denial in any
//! policy; the key's policy, if it names the caller; the key's policy, if it names the caller's account, together with
//! a policy of the caller; a grant; otherwise the call is refused.

mod account;
mod explain;
mod known;
mod question;
mod ruling;

use std::borrow::Cow;
use std::sync::Arc;

use crate::audit::Details;
use crate::caller::Caller;
use crate::error::{invalid, refused, unavailable};
use crate::location::Location;
use crate::operation::Operation;
use crate::policy::{
    KeyFacts, Opinion, Policy, PolicyCache, PolicyKind, Who, is_account_owner, is_of_account, is_service,
};
use crate::record::algorithm::MacAlgorithm;
use crate::record::grants::GrantUser;
use crate::record::key::Key;
use crate::record::{alias, grants};
use crate::store::Tables;
use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use known::Known;
use question::{Document, Question, Topic};
use ruling::{Opinions, Ruling, Side, Standing};

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
    /// True if a re-encryption is under the same key.
    pub(super) on_same_key: Option<bool>,
    /// The grants whose tokens the call has.
    pub(super) with_tokens: Vec<String>,
    /// The time during which a new grant counts only for calls with its token, in milliseconds.
    grant_delay: u64,
    /// The opinions that were put off.
    made: Vec<(Question, Opinion)>,
    put_off: Vec<Question>,
    puts_off_nothing: bool,
}

impl<'a> Access<'a> {
    pub(super) fn new(
        caller: Caller<'a>,
        policies: &'a PolicyCache,
        parameters: &'a Details<'a>,
        grant_delay: u64,
    ) -> Self {
        Self {
            caller,
            policies,
            parameters,
            now: 0,
            on_same_key: None,
            with_tokens: Vec::new(),
            grant_delay,
            made: Vec::new(),
            put_off: Vec::new(),
            puts_off_nothing: false,
        }
    }

    /// Returns the source of the permission for an operation on a key. Nothing can allow another account an operation
    /// that AWS reserves for the key's own account. Operations that also need a permission of the account get it from
    /// the caller's policies alone.
    pub(super) fn permission(
        &mut self,
        tables: &impl Tables,
        key: &Key,
        operation: Operation,
        context: Option<&EncryptionContext>,
        alias: Option<&str>,
    ) -> Result<Permission> {
        self.check_account(operation)?;
        let known = Known::load(tables, &self.caller, self.now)?;
        let permission = match self.opinions(tables, key, operation, context, alias, &known)?.on_key(self.standing()) {
            Ruling::Denied(_) => return Err(self.denied(operation, "a policy denies it")),
            Ruling::Allowed(..) => Permission::Policy,
            Ruling::NotByKey | Ruling::NotByIdentity(_) => {
                if grants::allowing(tables, key, &self.grant_user(), operation, context)?.is_none() {
                    return Err(self.nothing_allows(operation));
                }
                Permission::Grant
            }
        };
        if operation.needs_account() {
            let (action, resource, region) = self.of_the_account(key, operation);
            self.account_permission(&known, operation, action, &resource, &region, Some(key))?;
        }
        Ok(permission)
    }

    /// Returns the caller as one who may use grants.
    pub(super) fn grant_user(&self) -> GrantUser<'_> {
        let counts = self.now.saturating_sub(self.grant_delay).saturating_add(1);
        GrantUser {
            principal: self.caller.principal,
            source_arn: self.caller.context.source_arn.as_deref(),
            // Without a delay all count, even if the time was set back since.
            fresh_from: if self.grant_delay == 0 { u64::MAX } else { counts },
            with_tokens: &self.with_tokens,
        }
    }

    /// Fails if a policy denies an operation that is not permitted by policies.
    pub(super) fn check_not_denied(&mut self, tables: &impl Tables, key: &Key, operation: Operation) -> Result<()> {
        let known = Known::load(tables, &self.caller, self.now)?;
        match self.opinions(tables, key, operation, None, None, &known)?.on_key(self.standing()) {
            Ruling::Denied(_) => Err(self.denied(operation, "a policy denies it")),
            _ => Ok(()),
        }
    }

    /// Fails if a policy does not allow its caller to change it again, unless the caller accepts this.
    pub(super) fn check_lockout(
        &mut self,
        tables: &impl Tables,
        policy: &Policy,
        key: &Key,
        may_lock_out: bool,
    ) -> Result<()> {
        if may_lock_out {
            return Ok(());
        }
        let known = Known::load(tables, &self.caller, self.now)?;
        let topic = self.key_topic(tables, key, Operation::PutKeyPolicy, &known.who, policy.asks_for_aliases())?;
        let request = topic.request(&self.caller, self.parameters, self.now);
        let mut opinions = Opinions::default();
        opinions.add_key(0, policy.decide(&request));
        for (number, document) in known.documents.iter().enumerate() {
            let policy = self.policies.parse(&document.name, &document.json, document.kind)?;
            opinions.add_identity(number + 1, policy.decide(&request));
        }
        if matches!(opinions.on_key(self.standing()), Ruling::Allowed(..)) {
            return Ok(());
        }
        let message = format!(
            "the policy would keep its caller from changing it again: allow {} kms:PutKeyPolicy",
            quoted(self.caller.principal)
        );
        Err(invalid("MalformedPolicyDocumentException", message))
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

    /// Returns the opinions of the policies about an operation on a key. Fails if some were put off.
    fn opinions(
        &mut self,
        tables: &impl Tables,
        key: &Key,
        operation: Operation,
        context: Option<&EncryptionContext>,
        alias: Option<&str>,
        known: &Known,
    ) -> Result<Opinions> {
        let mut opinions = Opinions::default();
        let of_key = key.record.policy.as_deref().map(|json| Document {
            name: key.arn.as_str().into(),
            json: json.into(),
            kind: PolicyKind::Key,
        });
        if of_key.is_none() && known.documents.is_empty() {
            opinions.add_key(0, self.default_opinion());
            return Ok(opinions);
        }
        let kept = of_key.as_ref().and_then(|document| self.policies.kept(&document.name, &document.json));
        let asks_for_aliases = of_key.is_some() && kept.as_deref().is_none_or(Policy::asks_for_aliases)
            || known.documents.iter().any(|document| {
                self.policies.kept(&document.name, &document.json).is_none_or(|policy| policy.asks_for_aliases())
            });
        let mut topic = self.key_topic(tables, key, operation, &known.who, asks_for_aliases)?;
        topic.encryption_context = context.map(Cow::Borrowed);
        topic.alias = alias.map(Cow::Borrowed);
        // All of them are asked, so that all that must be put off are put off together.
        let of_key = match &of_key {
            Some(document) => self.opinion(document, kept, &topic)?,
            None => Some(self.default_opinion()),
        };
        let all = self.add_identities(known, &topic, &mut opinions)?;
        let of_key = of_key.filter(|_| all).ok_or_else(put_off)?;
        opinions.add_key(known.documents.len(), of_key);
        Ok(opinions)
    }

    /// Adds the opinions of the caller's policies, and returns whether none was put off.
    fn add_identities(&mut self, known: &Known, topic: &Topic<'_>, opinions: &mut Opinions) -> Result<bool> {
        let mut all = true;
        for (number, document) in known.documents.iter().enumerate() {
            let kept = self.policies.kept(&document.name, &document.json);
            match self.opinion(document, kept, topic)? {
                Some(opinion) => opinions.add_identity(number, opinion),
                None => all = false,
            }
        }
        Ok(all)
    }

    /// Returns the opinion of the default policy of keys, which names the account.
    fn default_opinion(&self) -> Opinion {
        match self.standing() {
            Standing { side: Side::Own, is_root: true } => Opinion { allowed: Some(0), ..Opinion::default() },
            Standing { side: Side::Own, .. } => Opinion { delegated: Some(0), ..Opinion::default() },
            _ => Opinion::default(),
        }
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

    fn key_topic<'b>(
        &self,
        tables: &impl Tables,
        key: &'b Key,
        operation: Operation,
        who: &'b Who,
        with_aliases: bool,
    ) -> Result<Topic<'b>>
    where
        'a: 'b,
    {
        let location = Location { region: &key.region, account: self.caller.account };
        let aliases = if with_aliases { alias::of_key(tables, &location, &key.id)? } else { Vec::new() };
        Ok(Topic {
            encrypts: operation.encrypts(),
            key: Some(key_facts(key, aliases)),
            ..self.topic(operation.action(), key.arn.as_str().into(), key.region.as_str().into(), who)
        })
    }

    fn topic<'b>(&self, action: &'static str, resource: Cow<'b, str>, region: Cow<'b, str>, who: &'b Who) -> Topic<'b>
    where
        'a: 'b,
    {
        Topic {
            action,
            resource,
            region,
            account: self.caller.account.into(),
            encrypts: false,
            encryption_context: None,
            alias: None,
            on_same_key: self.on_same_key,
            key: None,
            who: Cow::Borrowed(who),
        }
    }

    fn standing(&self) -> Standing {
        if self.caller.is_owner {
            return Standing { side: Side::Own, is_root: true };
        }
        self.standing_in(self.caller.account)
    }

    fn standing_in(&self, account: &str) -> Standing {
        let principal = self.caller.principal;
        let side = if is_service(principal) {
            Side::Service
        } else if is_of_account(principal, account) {
            Side::Own
        } else {
            Side::Other
        };
        Standing { side, is_root: is_account_owner(principal) }
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

/// Returns what policies can ask about a key.
fn key_facts(key: &Key, aliases: Vec<String>) -> KeyFacts<'_> {
    let spec = key.material.spec;
    KeyFacts {
        spec: spec.name(),
        usage: key.material.usage().name(),
        origin: key.material.origin.name(),
        mac_algorithm: MacAlgorithm::of(spec).first().map(|algorithm| algorithm.name()),
        multi_region_type: key.is_multi_region().then_some(if key.is_primary() { "PRIMARY" } else { "REPLICA" }),
        tags: Cow::Borrowed(&key.record.tags),
        aliases,
    }
}

#[cfg(test)]
mod tests {
    use super::ruling::At;
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
        let mut access = Access::new(caller, &policies, &parameters, 0);
        let of = |access: &mut Access<'_>, key: &Key, context| {
            let known = Known::default();
            let opinions = kms
                .shared
                .store
                .read(|tables| access.opinions(tables, key, Operation::Encrypt, Some(context), None, &known));
            opinions.map(|opinions| opinions.on_key(access.standing()))
        };
        // The policy has not been parsed yet.
        assert!(of(&mut access, &key, &short).is_err());
        assert_eq!(policies.parsed(), 0);
        assert!(access.catch_up().unwrap());
        for _ in 0..2 {
            assert_eq!(of(&mut access, &key, &short).unwrap(), Ruling::NotByKey);
            assert!(!access.catch_up().unwrap());
        }
        // Another call, with a policy that takes long to evaluate.
        let mut access = Access::new(caller, &policies, &parameters, 0);
        assert!(of(&mut access, &key, &long).is_err());
        assert!(access.catch_up().unwrap());
        assert_eq!(of(&mut access, &key, &long).unwrap(), Ruling::NotByKey);
        // A decision by one text does not apply to another.
        key.record.policy = Some(statement("*a"));
        assert!(of(&mut access, &key, &long).is_err());
        assert!(access.catch_up().unwrap());
        assert_eq!(of(&mut access, &key, &long).unwrap(), Ruling::Allowed(At { document: 0, statement: 0 }, None));
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
