//! Key policies: returning and replacing them.

use crate::access::check_lockout;
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
    /// Part of AWS's policy language is implemented. Everything else is refused by name, never ignored:
    ///
    /// - Elements: `Version`, `Id` and `Statement`; in a statement `Sid`, `Effect`, `Principal`, `Action`, `Resource`
    ///   and `Condition`.
    /// - Principals: `*`, and accounts, users, roles and role sessions under `AWS`.
    /// - Condition operators: `StringEquals`, `StringLike`, their negations and `Bool`, each also with `ForAllValues:`
    ///   and `ForAnyValue:`; `Null`.
    /// - Condition keys: `kms:EncryptionContext:KEY`, `kms:EncryptionContextKeys`, `kms:ViaService`,
    ///   `kms:CallerAccount` and `aws:PrincipalArn`.
    ///
    /// An account (its id, or the ARN of its root) in a `Deny` means everyone in it. In an `Allow` it means only its
    /// owner, because there are no IAM policies through which the account could delegate its permissions. The
    /// `aws:PrincipalArn` of a session is its role's ARN without the role's path. Principals of other accounts can be
    /// allowed the operations that AWS allows across accounts: using the key, `DescribeKey`, `GetKeyRotationStatus` and
    /// grants. All other operations are refused, whatever the policy says.
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
        self.change(Operation::PutKeyPolicy, key_id, request, |key, call| {
            check_lockout(&self.caller(), call.parameters(), &policy?, key, call.now, may_lock_out)?;
            key.record.policy = Some(json.to_owned());
            Ok(())
        })
    }
}
