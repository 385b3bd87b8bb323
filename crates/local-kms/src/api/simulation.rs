//! Simulated calls, which tell who may do what and why.

use std::collections::BTreeMap;

use crate::access::Access;
use crate::audit::Details;
use crate::caller::Caller;
use crate::decision::Decision;
use crate::error::invalid;
use crate::local_kms::LocalKms;
use crate::lookup;
use crate::operation::Operation;
use crate::policy::{check_caller, owner};
use crate::request_context::RequestContext;
use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Result};

/// The parameters that conditions of policies compare, under the names that `CloudTrail` uses.
const PARAMETERS: [&str; 26] = [
    "aliasName",
    "bypassPolicyLockoutSafetyCheck",
    "encryptionAlgorithm",
    "expirationModel",
    "granteePrincipal",
    "granteeServicePrincipal",
    "keyAgreementAlgorithm",
    "keyPairSpec",
    "keySpec",
    "keyUsage",
    "macAlgorithm",
    "messageType",
    "multiRegion",
    "operations",
    "origin",
    "pendingWindowInDays",
    "primaryRegion",
    "replicaRegion",
    "retiringPrincipal",
    "retiringServicePrincipal",
    "rotationPeriodInDays",
    "signingAlgorithm",
    "sourceArn",
    "validTo",
    "wrappingAlgorithm",
    "wrappingKeySpec",
];

/// The circumstances and parameters of a call that is [simulated](LocalKms::simulate).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SimulatedCall {
    context: RequestContext,
    encryption_context: Option<EncryptionContext>,
    parameters: Vec<(String, Vec<String>)>,
    tags: BTreeMap<String, String>,
}

impl SimulatedCall {
    /// Sets the circumstances of the call.
    pub fn context(mut self, context: RequestContext) -> Self {
        self.context = context;
        self
    }

    /// Sets the encryption context.
    pub fn encryption_context(mut self, context: EncryptionContext) -> Self {
        self.encryption_context = Some(context);
        self
    }

    /// Sets a parameter, under AWS's name with a lower-case first letter, such as `pendingWindowInDays`.
    pub fn parameter(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters(name, [value])
    }

    /// Sets a parameter that is a list, such as the `operations` of a grant.
    pub fn parameters(mut self, name: impl Into<String>, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.parameters.push((name.into(), values.into_iter().map(Into::into).collect()));
        self
    }

    /// Adds a tag that the call gives to a key.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    fn details(&self) -> Result<Details<'_>> {
        let mut details = Details::new();
        for (name, values) in &self.parameters {
            let known = PARAMETERS.into_iter().find(|known| known == name).ok_or_else(|| {
                let message = format!("no condition compares the parameter {}", quoted(name));
                invalid("ValidationException", message)
            })?;
            details = match values.as_slice() {
                [value] => details.text(known, value),
                values => details.list(known, values.iter().map(String::as_str)),
            };
        }
        Ok(if self.tags.is_empty() { details } else { details.tag_keys("tagKeys", &self.tags) })
    }
}

impl LocalKms {
    /// Tells whether a principal may call an operation, and which statement of which policy decides, without making the
    /// call. Only the owner may call this.
    ///
    /// `operation` has AWS's name, such as `Decrypt`; the two halves of `ReEncrypt` are `ReEncryptFrom` and
    /// `ReEncryptTo`. `key` is the key by its id, ARN or alias, for operations on one; its state does not matter.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, DecisionReason, LocalKms, SimulatedCall};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// let alice = "arn:aws:iam::000000000000:user/alice";
    /// let decide = || kms.simulate(alice, "Decrypt", Some(key.arn()), &SimulatedCall::default());
    /// assert_eq!(decide()?.reason(), DecisionReason::NoIdentityPolicy);
    ///
    /// kms.put_identity_policy(alice, "keys", r#"{"Version": "2012-10-17", "Statement": [
    ///     {"Sid": "Decrypting", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}
    /// ]}"#)?;
    /// let decision = decide()?;
    /// assert!(decision.is_allowed());
    /// assert_eq!(decision.statements()[1].sid(), Some("Decrypting"));
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the principal, the operation or a parameter is
    /// not known, or the key is missing; [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such
    /// key, the principal is a session that has ended, or the caller is not the owner.
    pub fn simulate(
        &self,
        principal: &str,
        operation: &str,
        key: Option<&str>,
        call: &SimulatedCall,
    ) -> Result<Decision> {
        let request = Details::new()
            .text("principal", principal)
            .text("operation", operation)
            .maybe(key, |details, key| details.text("keyId", key));
        self.examine(Operation::Simulate, request, |_| {
            check_caller(principal)?;
            let simulated = operation_of(operation, key)?;
            let parameters = call.details()?;
            let (account, region) = (self.account(), self.region_name());
            let is_owner = principal == owner(account);
            let caller = Caller { principal, account, region, is_owner, context: &call.context };
            let mut access = Access::new(caller, &self.shared.policies, &parameters, 0);
            let alias = key.and_then(lookup::alias_in).filter(|_| !simulated.needs_account());
            loop {
                let decided = self.shared.store.read(|tables| {
                    access.now = self.shared.clock.present(tables).time;
                    let find = |name| lookup::find(tables, &self.location(), name);
                    let key = key.map(find).transpose()?.filter(|key| !key.is_deleted(access.now));
                    if key.is_none() && simulated.is_about_a_key() {
                        return Err(lookup::not_found(operation));
                    }
                    let context = call.encryption_context.as_ref();
                    access.explain(tables, simulated, key.as_ref(), context, alias.as_deref())
                });
                if decided.is_ok() || !access.catch_up()? {
                    return decided;
                }
            }
        })
    }
}

/// Returns the operation of this name.
fn operation_of(name: &str, key: Option<&str>) -> Result<Operation> {
    let unknown = || invalid("ValidationException", format!("{} is not a valid operation", quoted(name)));
    let operation = Operation::from_name(name.strip_prefix("kms:").unwrap_or(name)).ok_or_else(unknown)?;
    if operation.is_about_a_key() && key.is_none() {
        return Err(invalid("ValidationException", format!("{} is about a key: name one", operation.name())));
    }
    Ok(operation)
}
