//! Permissions that the policies of a caller decide, for calls about the account.

use crate::access::known::Known;
use crate::access::question::Document;
use crate::access::ruling::{Opinions, Ruling, Side};
use crate::access::{Access, key_facts, put_off};
use crate::error::refused;
use crate::operation::Operation;
use crate::policy::PolicyKind;
use crate::record::identity::IdentityRecord;
use crate::record::key::Key;
use crate::store::Tables;
use manila_core::internal::quoted;
use manila_core::{Error, Result};

impl Access<'_> {
    /// Fails unless the policies of a principal of the account allow an operation that is not about a single key. The
    /// owner always may.
    pub(crate) fn check_of_account(&mut self, tables: &impl Tables, operation: Operation, region: &str) -> Result<()> {
        if self.standing().side != Side::Own {
            return Err(self.not_in_account(operation));
        }
        let known = Known::load(tables, &self.caller, self.now)?;
        let resource = account_resource(region, self.caller.account);
        self.account_permission(&known, operation, operation.action(), &resource, region, None)?;
        if self.parameters.tags().is_some_and(|tags| !tags.is_empty()) {
            let action = Operation::TagResource.action();
            self.account_permission(&known, operation, action, &resource, region, None)?;
        }
        if let Some(alias) = self.parameters.values("aliasName").pop() {
            let alias = alias_arn(region, self.caller.account, &alias);
            self.account_permission(&known, operation, Operation::CreateAlias.action(), &alias, region, None)?;
        }
        Ok(())
    }

    /// Fails unless a caller may retire a grant for its account, which is that of the key or of the retiring principal:
    /// with a policy that allows it.
    pub(crate) fn may_retire_for_account(&mut self, tables: &impl Tables, key: &Key) -> Result<bool> {
        let known = Known::load(tables, &self.caller, self.now)?;
        let opinions = self.opinions(tables, key, Operation::RetireGrant, None, None, &known)?;
        Ok(matches!(opinions.on_account(), Ok(Some(_))))
    }

    /// Fails unless the caller may assume a role: by its trust policy, and from another account also by a policy of
    /// their own. The owner always may.
    pub(crate) fn check_may_assume(&mut self, tables: &impl Tables, role: &IdentityRecord) -> Result<()> {
        let trust = match &role.trust {
            Some(_) if self.caller.is_owner => return Ok(()),
            Some(trust) => trust,
            None => return Err(self.may_not("assume", &role.arn, "it is not a role with a trust policy")),
        };
        let known = Known::load(tables, &self.caller, self.now)?;
        let trust =
            Document { name: format!("{} trust", role.arn).into(), json: trust.into(), kind: PolicyKind::Trust };
        let region = self.caller.region;
        let topic = self.topic("sts:AssumeRole", role.arn.as_str().into(), region.into(), &known.who);
        let mut opinions = Opinions::default();
        let kept = self.policies.kept(&trust.name, &trust.json);
        let of_role = self.opinion(&trust, kept, &topic)?;
        let all = self.add_identities(&known, &topic, &mut opinions)?;
        let of_role = of_role.filter(|_| all).ok_or_else(put_off)?;
        opinions.add_key(known.documents.len(), of_role);
        let account = role.arn.split(':').nth(4).unwrap_or_default();
        match opinions.on_key(self.standing_in(account)) {
            Ruling::Allowed(..) => Ok(()),
            _ => Err(self.may_not("assume", &role.arn, "its trust policy and the caller's policies do not allow it")),
        }
    }

    /// Fails unless the policies of the caller allow an action on a resource of the account, which is not a key.
    pub(super) fn account_permission(
        &mut self,
        known: &Known,
        operation: Operation,
        action: &'static str,
        resource: &str,
        region: &str,
        key: Option<&Key>,
    ) -> Result<()> {
        if self.caller.is_owner {
            return Ok(());
        }
        match self.account_opinions(known, action, resource, region, key)?.on_account() {
            Ok(Some(_)) => Ok(()),
            _ if key.is_some() => {
                let why = format!("it also takes a policy of the caller that allows {action} on {resource}");
                Err(self.denied(operation, &why))
            }
            _ => Err(self.not_in_account(operation)),
        }
    }

    /// Returns the opinions of the caller's policies about an action on a resource of the account.
    pub(super) fn account_opinions(
        &mut self,
        known: &Known,
        action: &'static str,
        resource: &str,
        region: &str,
        key: Option<&Key>,
    ) -> Result<Opinions> {
        let mut topic = self.topic(action, resource.into(), region.into(), &known.who);
        // A replica has the properties of its primary key. Aliases have none.
        let is_new_key = action == Operation::CreateKey.action();
        topic.key = key.filter(|_| is_new_key).map(|key| key_facts(key, Vec::new()));
        let mut opinions = Opinions::default();
        if self.add_identities(known, &topic, &mut opinions)? { Ok(opinions) } else { Err(put_off()) }
    }

    /// Returns the action, the resource and the region of the permission that an operation on a key needs of the
    /// account.
    pub(super) fn of_the_account(&self, key: &Key, operation: Operation) -> (&'static str, String, String) {
        let parameter = |name| self.parameters.values(name).pop().unwrap_or_default().into_owned();
        if operation == Operation::ReplicateKey {
            let region = parameter("replicaRegion");
            return (Operation::CreateKey.action(), account_resource(&region, self.caller.account), region);
        }
        let alias = alias_arn(&key.region, self.caller.account, &parameter("aliasName"));
        (operation.action(), alias, key.region.clone())
    }

    pub(super) fn may_not(&self, what: &str, whom: &str, why: &str) -> Error {
        let message = format!("{} may not {what} {}: {why}", quoted(self.caller.principal), quoted(whom));
        refused("AccessDeniedException", message)
    }

    pub(super) fn not_in_account(&self, operation: Operation) -> Error {
        let name = operation.name();
        let message = format!(
            "{} may not {name} in this account: its owner may, and principals with a policy that allows kms:{name}",
            quoted(self.caller.principal)
        );
        refused("AccessDeniedException", message)
    }
}

/// Returns the resource of requests that are not about a single key.
///
/// Source: AWS KMS Developer Guide, "AWS KMS permissions", the resource `*`.
pub(super) fn account_resource(region: &str, account: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:*")
}

fn alias_arn(region: &str, account: &str, alias: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:{alias}")
}
