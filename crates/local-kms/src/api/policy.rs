//! Getting and replacing key policies.

use crate::access::check_lockout;
use crate::audit::Details;
use crate::call::OnKey;
use crate::key_policy::{Policy, owner};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use manila_core::Result;

impl LocalKms {
    /// Returns the policy of a key, in AWS's JSON; the default one if it was given none.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller may not.
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

    /// Replaces the policy of a key, in AWS's JSON, from the next call on.
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
    /// Part of AWS's policy language is implemented; everything else is refused by name, never ignored:
    ///
    /// - Elements: `Version`, `Id` and `Statement`; in a statement `Sid`, `Effect`, `Principal`, `Action`, `Resource`
    ///   and `Condition`.
    /// - Principals: `*`, and under `AWS` accounts, users, roles and sessions of roles.
    /// - Condition operators: `StringEquals`, `StringLike`, their negations and `Bool`, each also with `ForAllValues:`
    ///   and `ForAnyValue:`; `Null`.
    /// - Condition keys: `kms:EncryptionContext:KEY`, `kms:EncryptionContextKeys`, `kms:ViaService`,
    ///   `kms:CallerAccount` and `aws:PrincipalArn`.
    ///
    /// An account (its id, or the ARN of its root) in a `Deny` means everyone in it. In an `Allow` it means its owner
    /// alone: there are no IAM policies here through which an account could delegate its permissions.
    /// `aws:PrincipalArn` of a session is its role's ARN without the role's path. Principals of other accounts can be
    /// allowed what AWS allows across accounts: using the key, `DescribeKey`, `GetKeyRotationStatus` and grants;
    /// everything else is refused, whatever the policy says.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`MalformedPolicyDocumentException`) if it is not a
    /// valid policy, uses what is not implemented, or does not allow the caller to call `PutKeyPolicy` again;
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller may not.
    pub fn put_key_policy(&self, key_id: &str, json: &str) -> Result<()> {
        self.replace_policy(key_id, json, false)
    }

    /// Replaces the policy of a key even if the new one does not allow the caller to change it again. If it allows
    /// nobody to, nobody ever can.
    ///
    /// # Errors
    /// As [`put_key_policy`](Self::put_key_policy), except for the lockout.
    pub fn put_key_policy_that_may_lock_out_caller(&self, key_id: &str, json: &str) -> Result<()> {
        self.replace_policy(key_id, json, true)
    }

    fn replace_policy(&self, key_id: &str, json: &str, may_lock_out: bool) -> Result<()> {
        let request = Details::new().digest("policySha256", json).flag("bypassPolicyLockoutSafetyCheck", may_lock_out);
        // Before anything is locked, for it takes its time.
        let policy = Policy::parse(json);
        self.change(Operation::PutKeyPolicy, key_id, request, |key, _| {
            check_lockout(&self.caller(), &policy?, &key.arn, may_lock_out)?;
            key.record.policy = Some(json.to_owned());
            Ok(())
        })
    }
}
