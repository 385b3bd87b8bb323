//! A request as the statements of a policy see it: values that many of them need are computed once.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::key::{Key, Map, NamedKey, fold};
use super::principal::Identity;
use super::{AccessRequest, KeyFacts};
use crate::audit::rfc3339;
use crate::clock::from_millis;

/// A value of a request.
pub(super) type Value<'a> = Cow<'a, str>;

/// The pairs of a map, by their keys in [folded](fold) letters.
type Folded<'a> = BTreeMap<String, Vec<(&'a str, &'a str)>>;

/// A request, and the values that conditions compare.
pub(super) struct Asked<'a> {
    pub(super) caller: Identity,
    /// In lower case.
    pub(super) action: String,
    pub(super) resource: &'a str,
    request: &'a AccessRequest<'a>,
    principal_arn: OnceCell<String>,
    /// The pairs of each [`Map`].
    maps: [OnceCell<Folded<'a>>; 4],
}

impl<'a> Asked<'a> {
    pub(super) fn new(caller: Identity, request: &'a AccessRequest<'a>) -> Self {
        Self {
            caller,
            action: request.action.to_ascii_lowercase(),
            resource: request.resource,
            request,
            principal_arn: OnceCell::new(),
            maps: Default::default(),
        }
    }

    /// Returns whether the caller is a session whose role's path is unknown.
    pub(super) fn is_of_unknown_path(&self) -> bool {
        self.caller.is_session() && self.request.who.role_arn.is_none()
    }

    /// Returns the value of `aws:PrincipalArn`.
    pub(super) fn principal_arn(&self) -> &str {
        let known = self.request.who.role_arn.as_deref();
        known.unwrap_or_else(|| self.principal_arn.get_or_init(|| self.caller.principal_arn()))
    }

    /// Returns the pairs of a map whose folded keys are equal to `folded`.
    pub(super) fn pairs(&self, map: Map, folded: &str) -> &[(&'a str, &'a str)] {
        let [context, principal, resource, request] = &self.maps;
        let cell = match map {
            Map::EncryptionContext => context,
            Map::PrincipalTags => principal,
            Map::ResourceTags => resource,
            Map::RequestTags => request,
        };
        let pairs = cell.get_or_init(|| match map {
            Map::EncryptionContext => folded_pairs(self.context()),
            Map::PrincipalTags => folded_pairs(self.principal_tags()),
            Map::ResourceTags => folded_pairs(tags(self.key().map(|key| &*key.tags))),
            Map::RequestTags => folded_pairs(tags(self.request.parameters.tags())),
        });
        pairs.get(folded).map_or(&[], Vec::as_slice)
    }

    fn key(&self) -> Option<&'a KeyFacts<'a>> {
        self.request.key
    }

    /// Returns the tags that the request's context adds, and those of the principal that it does not replace.
    fn principal_tags(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let (given, stored) = (&self.request.context.principal_tags, &self.request.who.tags);
        let replaced = |name: &str| given.keys().any(|given| given.eq_ignore_ascii_case(name));
        tags(Some(given)).chain(tags(Some(stored)).filter(move |(name, _)| !replaced(name)))
    }

    /// Returns the value of a variable.
    pub(super) fn variable(&self, key: &Key) -> Option<Value<'_>> {
        match key {
            Key::Member { map, folded, .. } => match self.pairs(*map, folded) {
                [(_, value)] => Some(Cow::Borrowed(*value)),
                _ => None,
            },
            Key::Named(NamedKey::PrincipalArn) => Some(Cow::Borrowed(self.principal_arn())),
            Key::Named(name) => self.values(*name).pop(),
            Key::Attestation => None,
        }
    }

    /// Returns the values of a key; an absent key has none.
    pub(super) fn values(&self, name: NamedKey) -> Vec<Value<'a>> {
        if let Some(parameter) = parameter(name) {
            return self.request.parameters.values(parameter);
        }
        match name {
            NamedKey::EncryptionContextKeys => self.context().map(|(key, _)| Cow::Borrowed(key)).collect(),
            NamedKey::ResourceAliases => self.key().map_or(Vec::new(), |key| all(&key.aliases)),
            NamedKey::CalledVia => all(&self.request.context.called_via),
            NamedKey::PrincipalOrgPaths => all(&self.request.context.principal_org_paths),
            NamedKey::TagKeys => self.request.parameters.values("tagKeys"),
            _ => {
                self.of_key(name).or_else(|| self.of_caller(name)).or_else(|| self.of_call(name)).into_iter().collect()
            }
        }
    }

    /// Returns a value that a key of the KMS has, or that is to be given to a new one.
    fn of_key(&self, name: NamedKey) -> Option<Value<'a>> {
        let parameters = self.request.parameters;
        let or_parameter = |value: Option<&'static str>, name| match value {
            Some(value) => Some(Cow::Borrowed(value)),
            None => parameters.values(name).pop(),
        };
        let key = self.key();
        match name {
            NamedKey::KeySpec => or_parameter(key.map(|key| key.spec), "keySpec"),
            NamedKey::KeyUsage => or_parameter(key.map(|key| key.usage), "keyUsage"),
            NamedKey::KeyOrigin => or_parameter(key.map(|key| key.origin), "origin"),
            NamedKey::MultiRegion => {
                or_parameter(key.map(|key| boolean(key.multi_region_type.is_some())), "multiRegion")
            }
            NamedKey::MultiRegionKeyType => key.map_or_else(
                || (parameters.values("multiRegion").pop()? == "true").then_some(Cow::Borrowed("PRIMARY")),
                |key| key.multi_region_type.map(Cow::Borrowed),
            ),
            NamedKey::MacAlgorithm => or_parameter(key.and_then(|key| key.mac_algorithm), "macAlgorithm"),
            NamedKey::EncryptionAlgorithm => parameters.values(self.algorithm_member()).pop().or_else(|| {
                let symmetric = self.request.encrypts && key.is_some_and(|key| key.spec == "SYMMETRIC_DEFAULT");
                symmetric.then_some(Cow::Borrowed("SYMMETRIC_DEFAULT"))
            }),
            _ => None,
        }
    }

    /// Returns the parameter that is the encryption algorithm of the action.
    fn algorithm_member(&self) -> &'static str {
        match self.action.as_str() {
            "kms:reencryptfrom" => "sourceEncryptionAlgorithm",
            "kms:reencryptto" => "destinationEncryptionAlgorithm",
            _ => "encryptionAlgorithm",
        }
    }

    fn of_caller(&self, name: NamedKey) -> Option<Value<'a>> {
        let given = &self.request.context;
        match name {
            NamedKey::PrincipalArn => Some(Cow::Owned(self.principal_arn().to_owned())),
            NamedKey::PrincipalAccount | NamedKey::CallerAccount => {
                self.caller.account().map(|account| account.to_owned().into())
            }
            NamedKey::PrincipalType => self.caller.principal_type().map(Cow::Borrowed),
            NamedKey::PrincipalIsAwsService => Some(boolean(self.caller.service().is_some()).into()),
            NamedKey::PrincipalServiceName => self.caller.service().map(|name| Cow::Owned(name.to_owned())),
            NamedKey::UserName => self.caller.user_name().map(|name| Cow::Owned(name.to_owned())),
            NamedKey::UserId => given.user_id.as_deref().map(Cow::Borrowed),
            NamedKey::PrincipalOrgId => given.principal_org_id.as_deref().map(Cow::Borrowed),
            NamedKey::MultiFactorAuthPresent => given.multi_factor.map(|present| boolean(present).into()),
            NamedKey::MultiFactorAuthAge => given.multi_factor_age.map(|age| Cow::Owned(age.as_secs().to_string())),
            NamedKey::TokenIssueTime => self.request.who.issued.map(|issued| Cow::Owned(rfc3339(from_millis(issued)))),
            _ => None,
        }
    }

    fn of_call(&self, name: NamedKey) -> Option<Value<'a>> {
        let given = &self.request.context;
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        let via = given.via_service.is_some() || !given.called_via.is_empty();
        match name {
            NamedKey::CurrentTime => Some(Cow::Owned(rfc3339(from_millis(self.request.now)))),
            NamedKey::EpochTime => Some(Cow::Owned((self.request.now / 1000).to_string())),
            NamedKey::RequestedRegion => Some(Cow::Borrowed(self.request.region)),
            NamedKey::ResourceAccount => Some(Cow::Borrowed(self.request.account)),
            NamedKey::SecureTransport => given.secure_transport.map(|secure| boolean(secure).into()),
            NamedKey::SourceIp => given.source_ip.map(|address| Cow::Owned(address.to_string())),
            NamedKey::VpcSourceIp => given.vpc_source_ip.map(|address| Cow::Owned(address.to_string())),
            NamedKey::SourceVpc => text(&given.source_vpc),
            NamedKey::SourceVpce => text(&given.source_vpce),
            NamedKey::SourceAccount => text(&given.source_account),
            NamedKey::SourceArn => text(&given.source_arn),
            NamedKey::UserAgent => text(&given.user_agent),
            NamedKey::ViaService => text(&given.via_service),
            NamedKey::ViaAwsService => Some(boolean(via).into()),
            NamedKey::CalledViaFirst => given.called_via.first().map(|name| Cow::Borrowed(name.as_str())),
            NamedKey::CalledViaLast => given.called_via.last().map(|name| Cow::Borrowed(name.as_str())),
            NamedKey::GrantIsForAwsResource => self.request.is_of_grants().then(|| boolean(via).into()),
            NamedKey::GrantConstraintType => self.request.parameters.grant_constraint_type().map(Cow::Borrowed),
            NamedKey::ReEncryptOnSameKey => self.request.on_same_key.map(|same| boolean(same).into()),
            NamedKey::RequestAlias => self.request.alias.map(Cow::Borrowed),
            _ => None,
        }
    }

    fn context(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.request.encryption_context.into_iter().flatten()
    }
}

/// Returns the parameter of the request, under `CloudTrail`'s name, that is the value of a key.
const fn parameter(name: NamedKey) -> Option<&'static str> {
    Some(match name {
        NamedKey::BypassPolicyLockoutSafetyCheck => "bypassPolicyLockoutSafetyCheck",
        NamedKey::DataKeyPairSpec => "keyPairSpec",
        NamedKey::ExpirationModel => "expirationModel",
        NamedKey::GrantConstraintSourceArn => "sourceArn",
        NamedKey::GranteePrincipal => "granteePrincipal",
        NamedKey::GranteeServicePrincipal => "granteeServicePrincipal",
        NamedKey::GrantOperations => "operations",
        NamedKey::KeyAgreementAlgorithm => "keyAgreementAlgorithm",
        NamedKey::MessageType => "messageType",
        NamedKey::PendingWindowInDays => "pendingWindowInDays",
        NamedKey::PrimaryRegion => "primaryRegion",
        NamedKey::ReplicaRegion => "replicaRegion",
        NamedKey::RetiringPrincipal => "retiringPrincipal",
        NamedKey::RetiringServicePrincipal => "retiringServicePrincipal",
        NamedKey::RotationPeriodInDays => "rotationPeriodInDays",
        NamedKey::SigningAlgorithm => "signingAlgorithm",
        NamedKey::ValidTo => "validTo",
        NamedKey::WrappingAlgorithm => "wrappingAlgorithm",
        NamedKey::WrappingKeySpec => "wrappingKeySpec",
        _ => return None,
    })
}

fn all(texts: &[String]) -> Vec<Value<'_>> {
    texts.iter().map(|text| Cow::Borrowed(text.as_str())).collect()
}

fn tags(tags: Option<&BTreeMap<String, String>>) -> impl Iterator<Item = (&str, &str)> {
    tags.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
}

const fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn folded_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Folded<'a> {
    let mut folded = Folded::new();
    pairs.for_each(|(key, value)| folded.entry(fold(key)).or_default().push((key, value)));
    folded
}
