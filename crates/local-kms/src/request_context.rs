//! [`RequestContext`]: the circumstances of a call, which policies can ask for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The circumstances of a call that its parameters do not show: where it comes from, and how its caller was
/// authenticated. Whoever receives the call sets them; conditions of policies compare them.
///
/// A circumstance that is not set is absent, as `aws:MultiFactorAuthPresent` is on AWS for long-term credentials.
///
/// ```
/// use manila_local_kms::{CreateKey, LocalKms, RequestContext};
///
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default().policy(r#"{"Version": "2012-10-17", "Statement": [
///     {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "kms:*", "Resource": "*"},
///     {"Effect": "Deny", "Principal": "*", "Action": "kms:ScheduleKeyDeletion", "Resource": "*",
///      "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}
/// ]}"#))?;
/// let without = kms.with_context(RequestContext::default().multi_factor(false));
/// assert!(without.schedule_key_deletion(key.arn()).is_err());
/// let with = kms.with_context(RequestContext::default().multi_factor(true));
/// with.schedule_key_deletion(key.arn())?;
/// # Ok::<(), manila_local_kms::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RequestContext {
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) vpc_source_ip: Option<IpAddr>,
    pub(crate) source_vpc: Option<String>,
    pub(crate) source_vpce: Option<String>,
    pub(crate) secure_transport: Option<bool>,
    pub(crate) multi_factor: Option<bool>,
    pub(crate) multi_factor_age: Option<Duration>,
    pub(crate) user_agent: Option<String>,
    pub(crate) via_service: Option<String>,
    pub(crate) called_via: Vec<String>,
    pub(crate) principal_org_id: Option<String>,
    pub(crate) principal_org_paths: Vec<String>,
    pub(crate) principal_tags: BTreeMap<String, String>,
    pub(crate) user_id: Option<String>,
    pub(crate) source_account: Option<String>,
    pub(crate) source_arn: Option<String>,
}

impl RequestContext {
    /// Sets `aws:SourceIp`, the address from which the call comes.
    pub fn source_ip(mut self, address: impl Into<IpAddr>) -> Self {
        self.source_ip = Some(address.into());
        self
    }

    /// Sets `aws:VpcSourceIp`, the address within a VPC from which the call comes.
    pub fn vpc_source_ip(mut self, address: impl Into<IpAddr>) -> Self {
        self.vpc_source_ip = Some(address.into());
        self
    }

    /// Sets `aws:SourceVpc`, the VPC from which the call comes.
    pub fn source_vpc(mut self, id: impl Into<String>) -> Self {
        self.source_vpc = Some(id.into());
        self
    }

    /// Sets `aws:SourceVpce`, the VPC endpoint through which the call comes.
    pub fn source_vpce(mut self, id: impl Into<String>) -> Self {
        self.source_vpce = Some(id.into());
        self
    }

    /// Sets `aws:SecureTransport`: whether the call came over TLS.
    pub fn secure_transport(mut self, secure: bool) -> Self {
        self.secure_transport = Some(secure);
        self
    }

    /// Sets `aws:MultiFactorAuthPresent`: whether the caller has authenticated with several factors.
    pub fn multi_factor(mut self, present: bool) -> Self {
        self.multi_factor = Some(present);
        self
    }

    /// Sets `aws:MultiFactorAuthAge`, the time since the caller has authenticated with several factors.
    pub fn multi_factor_age(mut self, age: Duration) -> Self {
        self.multi_factor_age = Some(age);
        self
    }

    /// Sets `aws:UserAgent`.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Sets `kms:ViaService`, the service that makes the call on the caller's behalf, such as
    /// `s3.eu-west-1.amazonaws.com`. Such calls are also `aws:ViaAWSService`, and those for grants are
    /// `kms:GrantIsForAWSResource`.
    pub fn via_service(mut self, name: impl Into<String>) -> Self {
        self.via_service = Some(name.into());
        self
    }

    /// Sets `aws:CalledVia`: the services that have made calls on the caller's behalf, the first one first.
    pub fn called_via(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.called_via = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets `aws:PrincipalOrgID`, the organisation of the caller's account.
    pub fn principal_org_id(mut self, id: impl Into<String>) -> Self {
        self.principal_org_id = Some(id.into());
        self
    }

    /// Sets `aws:PrincipalOrgPaths`, the path of the caller's account in its organisation.
    pub fn principal_org_paths(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.principal_org_paths = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an `aws:PrincipalTag`, in place of a stored tag of the principal with the same key.
    pub fn principal_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.principal_tags.insert(key.into(), value.into());
        self
    }

    /// Sets `aws:userid`, the unique id of the caller.
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// Sets `aws:SourceAccount`, the account of the resource for which a service makes the call.
    pub fn source_account(mut self, account: impl Into<String>) -> Self {
        self.source_account = Some(account.into());
        self
    }

    /// Sets `aws:SourceArn`, the resource for which a service makes the call.
    pub fn source_arn(mut self, arn: impl Into<String>) -> Self {
        self.source_arn = Some(arn.into());
        self
    }
}
