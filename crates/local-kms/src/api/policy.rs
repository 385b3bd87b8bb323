//! Key policies: returning and replacing them.

use crate::audit::Details;
use crate::call::OnKey;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::policy::{Policy, PolicyKind, owner};
use manila_core::Result;

impl LocalKms {
    /// Returns the policy of a key as AWS's JSON, or the default policy if the key has none of its own.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks permission.
    pub fn key_policy(&self, key_id: &str) -> Result<String> {
        self.read(Operation::GetKeyPolicy, &OnKey::new(key_id), Details::new(), |_, key, _| {
            let policy = key.record.policy;
            Ok(policy.unwrap_or_else(|| {
                format!(
                    r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"{}"}},"Action":"kms:*","Resource":"*"}}]}}"#,
                    owner(self.account())
                )
            }))
        })
    }

    /// Lists the names of the policies of a key: each key has one, `default`.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// assert_eq!(kms.list_key_policies(key.arn())?, ["default"]);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks permission.
    pub fn list_key_policies(&self, key_id: &str) -> Result<Vec<String>> {
        self.read(Operation::ListKeyPolicies, &OnKey::new(key_id), Details::new(), |_, _, _| {
            Ok(vec!["default".to_owned()])
        })
    }

    /// Replaces the policy of a key, given as AWS's JSON, with effect from the next call.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// kms.put_key_policy(key.key_id(), r#"{"Version": "2012-10-17", "Statement": [
    ///     {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
    ///      "Action": "kms:*", "Resource": "*"},
    ///     {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:role/app"},
    ///      "Action": "kms:Decrypt", "Resource": "*"}
    /// ]}"#)?;
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// AWS's policy language is implemented. What is not is refused by name, never ignored:
    ///
    /// | part | implemented |
    /// |---|---|
    /// | elements | `Version`, `Id`, `Statement`; in a statement `Sid`, `Effect`, `Condition`, and `Principal`, `Action` and `Resource` or their `Not...` forms |
    /// | principals | `*`; accounts, users, roles and sessions of roles under `AWS`; services under `Service` |
    /// | operators | `String...`, `Numeric...`, `Date...`, `Bool`, `BinaryEquals`, `IpAddress`, `Arn...` and `Null`, with `IfExists`, `ForAllValues:` and `ForAnyValue:` |
    /// | `kms:` keys | all of AWS's but `kms:TrailingDaysWithoutKeyUsage`; those of attestation documents are always absent |
    /// | `aws:` keys | those of the principal, its tags and organisation, of the key's and the request's tags, of the time, the network, MFA, and of services that call for others: what a [`RequestContext`](crate::RequestContext) sets, and what is known anyway |
    /// | variables | `${KEY}` and `${KEY, 'default'}` of each key of one value but `kms:EncryptionContext:KEY`; `${*}`, `${?}`, `${$}` |
    ///
    /// An account (its id, or the ARN of its root) in a `Deny` means everyone in it. In an `Allow` it means its owner,
    /// and leaves the permission to the [policies](Self::put_identity_policy) of everyone else in it. See
    /// [permissions](Self#regions-and-principals) for what a call takes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`MalformedPolicyDocumentException`) if the policy
    /// is not valid, uses an element that is not implemented, or does not allow the caller to call `PutKeyPolicy`
    /// again; [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks
    /// permission.
    pub fn put_key_policy(&self, key_id: &str, json: &str) -> Result<()> {
        self.replace_policy(key_id, json, false)
    }

    /// Replaces the policy of a key even if the new policy does not allow the caller to change it again.
    ///
    /// If the new policy allows nobody to change it, it can never be changed again.
    ///
    /// # Errors
    /// The same as [`put_key_policy`](Self::put_key_policy), except for the lockout.
    pub fn put_key_policy_that_may_lock_out_caller(&self, key_id: &str, json: &str) -> Result<()> {
        self.replace_policy(key_id, json, true)
    }

    fn replace_policy(&self, key_id: &str, json: &str, may_lock_out: bool) -> Result<()> {
        let request = Details::new().digest("policySha256", json).flag("bypassPolicyLockoutSafetyCheck", may_lock_out);
        // Parsed before anything is locked, because it may take long.
        let policy = Policy::parse(json, PolicyKind::Key);
        self.write(Operation::PutKeyPolicy, &OnKey::new(key_id), request, |tables, mut key, call| {
            call.access.check_lockout(tables, &policy?, &key, may_lock_out)?;
            key.record.policy = Some(json.to_owned());
            key.store(tables)
        })
    }
}
