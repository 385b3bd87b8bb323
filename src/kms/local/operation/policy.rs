//! Key policies: asked for and replaced.

use crate::error::Result;
use crate::kms::local::LocalKms;
use crate::kms::local::access::check_policy;
use crate::kms::local::audit::Details;
use crate::kms::local::call::OnKey;
use crate::kms::local::operation::Operation;
use crate::kms::local::policy::owner;

impl LocalKms {
    /// The policy of a key, in AWS's JSON: the one it was given, or the one that all keys start with.
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

    /// Gives a key another policy, in AWS's JSON, from the next call on.
    ///
    /// What is not implemented here is refused by name, never ignored.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`MalformedPolicyDocumentException`) if it is no
    /// policy, holds what is not implemented, or keeps the owner from changing it again;
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller may not.
    pub fn put_key_policy(&self, key_id: &str, json: &str) -> Result<()> {
        self.replace_policy(key_id, json, false)
    }

    /// [`put_key_policy`](Self::put_key_policy), also if the policy keeps even the owner from changing it again: then
    /// nobody ever may.
    ///
    /// # Errors
    /// As there, but for the lockout.
    pub fn put_key_policy_that_may_lock_out_owner(&self, key_id: &str, json: &str) -> Result<()> {
        self.replace_policy(key_id, json, true)
    }

    fn replace_policy(&self, key_id: &str, json: &str, may_lock_out: bool) -> Result<()> {
        let request = Details::new().digest("policySha256", json).flag("bypassPolicyLockoutSafetyCheck", may_lock_out);
        self.change(Operation::PutKeyPolicy, key_id, request, |key, _| {
            check_policy(json, self.account(), &key.arn, may_lock_out)?;
            key.record.policy = Some(json.to_owned());
            Ok(())
        })
    }
}
