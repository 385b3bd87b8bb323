//! Explanations of decisions, for simulations.

use crate::access::Access;
use crate::access::account::account_resource;
use crate::access::known::Known;
use crate::access::question::Document;
use crate::access::ruling::{At, Ruling, Side};
use crate::decision::{DecidingStatement, Decision, DecisionReason, PolicySource};
use crate::operation::{Operation, Scope};
use crate::policy::PolicyKind;
use crate::record::grants;
use crate::record::key::Key;
use crate::store::Tables;
use manila_core::{EncryptionContext, Error, Result};

impl Access<'_> {
    /// Returns the decision on an operation, on a key if it is about one, and what it was based on. The state of the
    /// key is not looked at.
    pub(crate) fn explain(
        &mut self,
        tables: &impl Tables,
        operation: Operation,
        key: Option<&Key>,
        context: Option<&EncryptionContext>,
        alias: Option<&str>,
    ) -> Result<Decision> {
        let owner = if self.caller.is_owner { DecisionReason::Owner } else { DecisionReason::OnlyOwner };
        match (operation.scope(), key) {
            (Scope::Account, _) => self.explain_of_account(tables, operation),
            (Scope::Key, Some(key)) => self.explain_of_key(tables, operation, key, context, alias),
            (Scope::Key, None) | (Scope::Store, _) => Ok(Decision::new(owner)),
        }
    }

    fn explain_of_account(&mut self, tables: &impl Tables, operation: Operation) -> Result<Decision> {
        if self.caller.is_owner {
            return Ok(Decision::new(DecisionReason::Owner));
        }
        if self.standing().side != Side::Own {
            return Ok(Decision::new(DecisionReason::NotAcrossAccounts));
        }
        let known = Known::load(tables, &self.caller, self.now)?;
        let region = self.caller.region;
        let resource = account_resource(region, self.caller.account);
        self.explain_identity(&known, operation.action(), &resource, region, None)
    }

    fn explain_of_key(
        &mut self,
        tables: &impl Tables,
        operation: Operation,
        key: &Key,
        context: Option<&EncryptionContext>,
        alias: Option<&str>,
    ) -> Result<Decision> {
        if self.check_account(operation).is_err() {
            return Ok(Decision::new(DecisionReason::NotAcrossAccounts));
        }
        let known = Known::load(tables, &self.caller, self.now)?;
        let ruling = self.opinions(tables, key, operation, context, alias, &known)?.on_key(self.standing());
        let statement = |at: At| self.statement(&known, Some(key), at);
        let decision = match ruling {
            Ruling::Denied(at) => return Ok(Decision::new(DecisionReason::ExplicitDeny).with(statement(at)?)),
            Ruling::Allowed(at, None) => Decision::new(DecisionReason::KeyPolicy).with(statement(at)?),
            Ruling::Allowed(at, Some(own)) => {
                Decision::new(DecisionReason::KeyAndIdentityPolicy).with(statement(at)?).with(statement(own)?)
            }
            Ruling::NotByKey | Ruling::NotByIdentity(_) => {
                let found = grants::allowing(tables, key, &self.grant_user(), operation, context)?;
                return Ok(match (found, ruling) {
                    (Some(grant_id), _) => Decision::by_grant(grant_id),
                    (None, Ruling::NotByIdentity(at)) => {
                        Decision::new(DecisionReason::NoIdentityPolicy).with(statement(at)?)
                    }
                    (None, _) => Decision::new(DecisionReason::NothingAllows),
                });
            }
        };
        if !operation.needs_account() || self.caller.is_owner {
            return Ok(decision);
        }
        let (action, resource, region) = self.of_the_account(key, operation);
        let second = self.explain_identity(&known, action, &resource, &region, Some(key))?;
        Ok(if second.is_allowed() { decision.and(second) } else { second })
    }

    fn explain_identity(
        &mut self,
        known: &Known,
        action: &'static str,
        resource: &str,
        region: &str,
        key: Option<&Key>,
    ) -> Result<Decision> {
        let (reason, at) = match self.account_opinions(known, action, resource, region, key)?.on_account() {
            Ok(Some(at)) => (DecisionReason::IdentityPolicy, Some(at)),
            Ok(None) => (DecisionReason::NoIdentityPolicy, None),
            Err(at) => (DecisionReason::ExplicitDeny, Some(at)),
        };
        let decision = Decision::new(reason);
        Ok(match at {
            Some(at) => decision.with(self.statement(known, None, at)?),
            None => decision,
        })
    }

    /// Describes a statement of one of the caller's policies, or of the policy of a key, which comes after them.
    fn statement(&self, known: &Known, key: Option<&Key>, at: At) -> Result<DecidingStatement> {
        let sid = |document: &Document<'_>| {
            let policy = self.policies.parse(&document.name, &document.json, document.kind)?;
            Ok::<_, Error>(policy.sid(at.statement).map(str::to_owned))
        };
        let of_key = |key: &Key| {
            let document = key.record.policy.as_deref().map(|json| Document {
                name: key.arn.as_str().into(),
                json: json.into(),
                kind: PolicyKind::Key,
            });
            let sid = document.map_or(Ok(None), |document| sid(&document))?;
            Ok::<_, Error>((PolicySource::Key { key_arn: key.arn.clone() }, sid))
        };
        let (source, sid) = match (known.documents.get(at.document), key) {
            (Some(document), _) => {
                let (principal, name) = document.name.split_once(' ').unwrap_or_default();
                let source = PolicySource::Identity { principal: principal.to_owned(), name: name.to_owned() };
                (source, sid(document)?)
            }
            (None, Some(key)) => of_key(key)?,
            (None, None) => (PolicySource::Key { key_arn: String::new() }, None),
        };
        Ok(DecidingStatement { source, index: at.statement, sid })
    }
}
