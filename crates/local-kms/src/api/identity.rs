//! Users, roles and their policies, and sessions of roles: the second layer of permissions, which IAM and STS are on
//! AWS.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use crate::api::lifecycle::check_tags;
use crate::audit::Details;
use crate::call::{Answer, Assuming, Owner};
use crate::clock::from_millis;
use crate::error::{check_len, invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::policy::{Policy, PolicyKind, check_principal, is_account_owner, is_session, session_arn};
use crate::record::identity::{self, IdentityRecord, SessionRecord};
use crate::store::{Tables, WriteTxn};
use manila_core::Result;
use manila_core::internal::quoted;

/// The maximum number of users and roles, and that of sessions at one time: listing reads all of them.
const MAX_IDENTITIES: usize = 10_000;
const MAX_SESSIONS: usize = 10_000;
/// The maximum number of policies of a principal, which all of its calls read.
const MAX_POLICIES: usize = 20;
/// The length of the name of a policy, in bytes, as on AWS.
const POLICY_NAME_LEN: RangeInclusive<usize> = 1..=128;
/// The length of a session in seconds, as on AWS.
const SESSION_SECS: RangeInclusive<u64> = 900..=43_200;

/// A user or a role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    arn: String,
    trust_policy: Option<String>,
    tags: BTreeMap<String, String>,
    policies: Vec<String>,
    created: SystemTime,
}

impl Identity {
    /// Returns the ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Returns the policy of a role for those who may assume it, as AWS's JSON.
    #[must_use]
    pub fn trust_policy(&self) -> Option<&str> {
        self.trust_policy.as_deref()
    }

    /// Returns the tags, by their keys.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// Returns the names of its policies, in order.
    #[must_use]
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// Returns the time of creation.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }
}

impl From<IdentityRecord> for Identity {
    fn from(record: IdentityRecord) -> Self {
        Self {
            arn: record.arn,
            trust_policy: record.trust,
            tags: record.tags,
            policies: record.policies.into_keys().collect(),
            created: from_millis(record.created),
        }
    }
}

/// A request for a session of a role.
#[derive(Clone, Debug)]
#[must_use]
pub struct AssumeRole {
    pub(crate) role: String,
    session: String,
    duration: Duration,
    tags: BTreeMap<String, String>,
}

impl AssumeRole {
    /// Creates a request for a session of one hour. `role` is the name of a role of the KMS's account, or an ARN;
    /// `session` tells sessions of one role apart.
    pub fn new(role: impl Into<String>, session: impl Into<String>) -> Self {
        let duration = Duration::from_secs(3600);
        Self { role: role.into(), session: session.into(), duration, tags: BTreeMap::new() }
    }

    /// Sets the length of the session, from 15 minutes to 12 hours.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Adds a tag to the session, in place of the role's tag with the same key.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }
}

/// A session of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleSession {
    arn: String,
    expiry: SystemTime,
}

impl RoleSession {
    /// Returns the ARN, for [`LocalKms::as_principal`].
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Returns the time at which the session ends.
    #[must_use]
    pub fn expiry(&self) -> SystemTime {
        self.expiry
    }
}

impl Answer for RoleSession {
    fn details(&self) -> Details<'static> {
        Details::new().owned_text("assumedRoleUser", self.arn.clone()).time("expiration", self.expiry)
    }
}

impl LocalKms {
    /// Gives a user or role a policy under a name, in AWS's JSON, in place of one with the same name. It takes effect
    /// from the next call on. Only the owner may call this.
    ///
    /// `principal` is an ARN, also of another account. A principal that is not known yet becomes known.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?; // its default policy leaves permissions to the account
    /// let alice = "arn:aws:iam::000000000000:user/alice";
    /// kms.put_identity_policy(alice, "keys", r#"{"Version": "2012-10-17", "Statement": [
    ///     {"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:ListKeys"], "Resource": "*"}
    /// ]}"#)?;
    /// assert!(kms.as_principal(alice)?.describe_key(key.arn()).is_ok());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the policy is not valid
    /// (`MalformedPolicyDocumentException`), the ARN is not that of a user or role, the name is not valid, or the
    /// principal would have more than 20 policies; [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the
    /// caller is not the owner.
    pub fn put_identity_policy(&self, principal: &str, name: &str, json: &str) -> Result<()> {
        let request = Details::new().text("principal", principal).text("policyName", name).digest("policySha256", json);
        let policy = Policy::parse(json, PolicyKind::Identity);
        self.change_identity(Operation::PutIdentityPolicy, principal, request, |record, _| {
            check_policy_name(name)?;
            policy?;
            record.policies.insert(name.to_owned(), json.to_owned());
            if record.policies.len() > MAX_POLICIES {
                let message = format!("a principal has at most {MAX_POLICIES} policies");
                return Err(invalid("LimitExceededException", message));
            }
            Ok(())
        })
    }

    /// Returns a policy of a user or role, as AWS's JSON. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such policy or the caller is not the
    /// owner.
    pub fn identity_policy(&self, principal: &str, name: &str) -> Result<String> {
        let request = Details::new().text("principal", principal).text("policyName", name);
        self.read(Operation::GetIdentityPolicy, &Owner, request, |tables, (), _| {
            load(tables, principal)?.policies.remove(name).ok_or_else(|| no_policy(name))
        })
    }

    /// Lists the names of the policies of a user or role, in order. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the principal is not known or the caller is not the
    /// owner.
    pub fn list_identity_policies(&self, principal: &str) -> Result<Vec<String>> {
        let request = Details::new().text("principal", principal);
        self.read(Operation::ListIdentityPolicies, &Owner, request, |tables, (), _| {
            Ok(load(tables, principal)?.policies.into_keys().collect())
        })
    }

    /// Takes a policy from a user or role, with effect from the next call. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such policy or the caller is not the
    /// owner.
    pub fn delete_identity_policy(&self, principal: &str, name: &str) -> Result<()> {
        let request = Details::new().text("principal", principal).text("policyName", name);
        self.write(Operation::DeleteIdentityPolicy, &Owner, request, |tables, (), _| {
            let mut record = load(tables, principal)?;
            record.policies.remove(name).ok_or_else(|| no_policy(name))?;
            identity::put(tables, &record)
        })
    }

    /// Creates a user, given by name or ARN; one that exists is left as it is. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the name is not valid or there are 10,000
    /// principals, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner.
    pub fn put_user(&self, user: &str) -> Result<()> {
        let arn = self.arn_of("user", user);
        let request = Details::new().text("userName", user);
        self.change_identity(Operation::PutUser, &arn, request, |_, _| Ok(()))
    }

    /// Creates a role, given by name or ARN, with the policy that says who may assume it, in AWS's JSON. Of a role that
    /// exists, the policy is replaced. Only the owner may call this.
    ///
    /// ```
    /// use manila_local_kms::{AssumeRole, CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// kms.put_role("app", r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    ///     "Principal": {"AWS": "arn:aws:iam::000000000000:user/alice"}, "Action": "sts:AssumeRole"}]}"#)?;
    /// let role = "arn:aws:iam::000000000000:role/app";
    /// kms.put_identity_policy(role, "random", r#"{"Version": "2012-10-17", "Statement": [
    ///     {"Effect": "Allow", "Action": "kms:GenerateRandom", "Resource": "*"}]}"#)?;
    ///
    /// let alice = kms.as_principal("arn:aws:iam::000000000000:user/alice")?;
    /// let session = alice.assume_role(AssumeRole::new("app", "i-1"))?;
    /// assert_eq!(session.arn(), "arn:aws:sts::000000000000:assumed-role/app/i-1");
    /// assert_eq!(kms.as_principal(session.arn())?.generate_random(8)?.len(), 8);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the name or the policy is not valid or there are
    /// 10,000 principals, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner.
    pub fn put_role(&self, role: &str, trust_policy: &str) -> Result<()> {
        let arn = self.arn_of("role", role);
        let request = Details::new().text("roleName", role).digest("policySha256", trust_policy);
        let policy = Policy::parse(trust_policy, PolicyKind::Trust);
        self.change_identity(Operation::PutRole, &arn, request, |record, _| {
            policy?;
            record.trust = Some(trust_policy.to_owned());
            // Role names are unique whatever their path, which may be another now.
            record.arn.clone_from(&arn);
            Ok(())
        })
    }

    /// Sets the tags of a user or role, given by ARN, in place of all that it has. Conditions compare them as
    /// `aws:PrincipalTag/KEY`. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a tag violates AWS's rules for tags of keys or
    /// the ARN is not that of a user or role, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is
    /// not the owner.
    pub fn set_principal_tags<K: Into<String>, V: Into<String>>(
        &self,
        principal: &str,
        tags: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        let tags: BTreeMap<String, String> = tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let request = Details::new().text("principal", principal).tag_keys("tagKeys", &tags);
        self.change_identity(Operation::SetPrincipalTags, principal, request, |record, _| {
            check_tags(&tags)?;
            record.tags.clone_from(&tags);
            Ok(())
        })
    }

    /// Describes a user or role, given by ARN. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if it is not known or the caller is not the owner.
    pub fn describe_principal(&self, principal: &str) -> Result<Identity> {
        let request = Details::new().text("principal", principal);
        self.read(Operation::DescribePrincipal, &Owner, request, |tables, (), _| {
            load(tables, principal).map(Into::into)
        })
    }

    /// Lists the roles, ordered by ARN. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner.
    pub fn list_roles(&self) -> Result<Vec<Identity>> {
        self.list_identities(Operation::ListRoles, ":role/")
    }

    /// Lists the users, ordered by ARN. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner.
    pub fn list_users(&self) -> Result<Vec<Identity>> {
        self.list_identities(Operation::ListUsers, ":user/")
    }

    /// Deletes a role, given by name or ARN, with its policies. Its sessions end. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such role or the caller is not the owner.
    pub fn delete_role(&self, role: &str) -> Result<()> {
        self.delete_identity(Operation::DeleteRole, "role", role)
    }

    /// Deletes a user, given by name or ARN, with its policies. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such user or the caller is not the owner.
    pub fn delete_user(&self, user: &str) -> Result<()> {
        self.delete_identity(Operation::DeleteUser, "user", user)
    }

    /// Begins a session of a role, which has the role's policies and grants until it ends.
    ///
    /// The caller needs the permission of the role's [trust policy](Self::put_role). If that names only the caller's
    /// account, or the caller is of another account, a policy of the caller must allow `sts:AssumeRole` on the role
    /// too. The owner always may. A session of the same name is continued, with the tags of this request.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller lacks permission or there is no such role,
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the name of the session, its length or a tag is
    /// not valid, or there are 10,000 sessions.
    #[expect(clippy::needless_pass_by_value, reason = "a request is for one call")]
    pub fn assume_role(&self, request: AssumeRole) -> Result<RoleSession> {
        let role = self.arn_of("role", &request.role);
        let details = Details::new()
            .text("roleSessionName", &request.session)
            .number("durationSeconds", request.duration.as_secs())
            .tag_keys("tagKeys", &request.tags);
        self.write(Operation::AssumeRole, &Assuming(&role), details, |tables, role, call| {
            let arn = session_arn(&role.arn, &request.session)?;
            let secs = request.duration.as_secs();
            if !SESSION_SECS.contains(&secs) {
                let message = format!("a session lasts 900 to 43200 seconds, not {secs}");
                return Err(invalid("ValidationException", message));
            }
            check_tags(&request.tags)?;
            identity::remove_ended(tables, call.now)?;
            let older = identity::session(tables, &arn)?;
            if older.is_none() && identity::sessions(tables)? >= MAX_SESSIONS {
                let message = format!("there are {MAX_SESSIONS} sessions: wait until some have ended");
                return Err(invalid("LimitExceededException", message));
            }
            let expiry = call.now.saturating_add(secs.saturating_mul(1000));
            let expiry = older.map_or(expiry, |older| older.expiry.max(expiry));
            let (tags, issued) = (request.tags.clone(), call.now);
            identity::put_session(tables, &SessionRecord { arn: arn.clone(), tags, issued, expiry })?;
            Ok(RoleSession { arn, expiry: from_millis(expiry) })
        })
    }

    /// Returns the ARN of a user or role of this account that is given by name, or the ARN that is given.
    fn arn_of(&self, kind: &str, name: &str) -> String {
        if name.starts_with("arn:") {
            name.to_owned()
        } else {
            format!("arn:aws:iam::{}:{kind}/{name}", self.account())
        }
    }

    /// Changes what is stored about a user or role, which becomes known if it was not.
    fn change_identity(
        &self,
        operation: Operation,
        arn: &str,
        request: Details<'_>,
        work: impl FnOnce(&mut IdentityRecord, &mut WriteTxn<'_>) -> Result<()>,
    ) -> Result<()> {
        self.write(operation, &Owner, request, |tables, (), call| {
            check_identity(arn)?;
            let mut record = match identity::load(tables, arn)? {
                Some(record) => record,
                None if identity::count(tables)? >= MAX_IDENTITIES => {
                    let message = format!("there are {MAX_IDENTITIES} users and roles: delete some");
                    return Err(invalid("LimitExceededException", message));
                }
                None => IdentityRecord::new(arn, call.now),
            };
            work(&mut record, tables)?;
            identity::put(tables, &record)
        })
    }

    fn list_identities(&self, operation: Operation, kind: &str) -> Result<Vec<Identity>> {
        self.read(operation, &Owner, Details::new(), |tables, (), _| {
            let mut found = identity::all(tables)?;
            found.retain(|record| record.arn.contains(kind));
            found.sort_by(|one, other| one.arn.cmp(&other.arn));
            Ok(found.into_iter().map(Into::into).collect())
        })
    }

    fn delete_identity(&self, operation: Operation, kind: &'static str, name: &str) -> Result<()> {
        let (arn, request) = (self.arn_of(kind, name), Details::new().text("principal", name));
        self.write(operation, &Owner, request, |tables, (), _| {
            if !arn.contains(&format!(":{kind}/")) {
                return Err(unknown(&arn));
            }
            load(tables, &arn)?;
            identity::remove(tables, &arn)
        })
    }
}

fn load(tables: &impl Tables, arn: &str) -> Result<IdentityRecord> {
    check_identity(arn)?;
    identity::load(tables, arn)?.ok_or_else(|| unknown(arn))
}

fn unknown(arn: &str) -> manila_core::Error {
    refused("NoSuchEntity", format!("{} is not a user or role that is known here", quoted(arn)))
}

fn no_policy(name: &str) -> manila_core::Error {
    refused("NoSuchEntity", format!("the principal has no policy {}", quoted(name)))
}

/// Fails unless an ARN is that of a user or role: an account's owner and sessions have no policies.
fn check_identity(arn: &str) -> Result<()> {
    check_principal(arn)?;
    if is_account_owner(arn) || is_session(arn) {
        let message = format!("{} has no policies of its own: name a user or a role", quoted(arn));
        return Err(invalid("InvalidArnException", message));
    }
    Ok(())
}

fn check_policy_name(name: &str) -> Result<()> {
    check_len("bytes of the name of a policy", name.len(), POLICY_NAME_LEN)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if name.chars().all(allowed) {
        return Ok(());
    }
    let message = format!("{} is not a valid name of a policy: use letters, digits and +=,.@_-", quoted(name));
    Err(invalid("ValidationException", message))
}
