//! Principals: callers, and the principals of statements and grants.

use crate::error::invalid;
use manila_core::Result;
use manila_core::internal::quoted;

use super::pattern::has_wildcard;

/// The effect of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// The partition of every key.
const PARTITION: &str = "aws";
/// The number of digits of an account id.
const ACCOUNT_LEN: usize = 12;
/// The maximum length of a partition. AWS documents none; the longest one that it has is `aws-us-gov`. With the limits
/// below, a principal has at most 636 bytes and always fits into a line of the log. AWS allows 2048 bytes for an ARN.
///
/// Source: AWS IAM API Reference, data types, `arnType`.
const MAX_PARTITION_LEN: usize = 32;
/// The maximum length of the name of a service.
///
/// Source: AWS KMS API Reference, `CreateGrant`, `GranteeServicePrincipal`.
const MAX_SERVICE_LEN: usize = 128;
/// AWS's limits on names and paths of users and roles.
///
/// Source: AWS IAM User Guide, "IAM and AWS STS quotas".
const MAX_NAME_LEN: usize = 64;
const MAX_PATH_LEN: usize = 512;

/// Checks the ARN of a principal: an account's owner, a user, a role, or a session of a role.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`InvalidArnException`) if it is not such an ARN.
pub(crate) fn check_principal(arn: &str) -> Result<()> {
    Identity::split(arn).map(drop).ok_or_else(|| invalid("InvalidArnException", not_valid(arn)))
}

/// Checks a caller: a [principal](check_principal), or an AWS service by its name.
///
/// # Errors
/// The same as [`check_principal`].
pub(crate) fn check_caller(name: &str) -> Result<()> {
    parse(name).map(drop)
}

/// Returns whether a name is that of an AWS service, such as `s3.amazonaws.com`.
pub(crate) fn is_service(name: &str) -> bool {
    let prefix = name.strip_suffix(".amazonaws.com").or_else(|| name.strip_suffix(".amazonaws.com.cn"));
    let valid = |label: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(allowed)
    };
    name.len() <= MAX_SERVICE_LEN && prefix.is_some_and(|prefix| prefix.split('.').all(valid))
}

fn parse(arn: &str) -> Result<Identity> {
    Identity::parse(arn).map_err(|message| invalid("InvalidArnException", message))
}

/// Returns whether a principal means a caller, both given by ARN. A role also means its sessions.
pub(crate) fn means(principal: &str, caller: &str) -> bool {
    let (Ok(principal), Ok(caller)) = (Identity::parse(principal), Identity::parse(caller)) else { return false };
    principal.means(&caller)
}

/// Returns whether a principal is the owner of its account.
pub(crate) fn is_account_owner(principal: &str) -> bool {
    Identity::parse(principal).is_ok_and(|identity| identity.kind == Kind::Root)
}

/// Returns whether two principals belong to the same account.
pub(crate) fn share_account(one: &str, other: &str) -> bool {
    let (Some(one), Some(other)) = (Identity::split(one), Identity::split(other)) else { return false };
    one.shares_account(&other)
}

/// Returns whether a principal is a session of a role.
pub(crate) fn is_session(principal: &str) -> bool {
    Identity::parse(principal).is_ok_and(|identity| identity.is_session())
}

/// Returns the ARN of a role's session of this name.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`ValidationException`) if the name is not valid.
pub(crate) fn session_arn(role: &str, session: &str) -> Result<String> {
    let valid = |identity: &Identity| matches!(identity.kind, Kind::Role(_)) && is_name(session) && session.len() > 1;
    let Some(Identity { partition, account, kind: Kind::Role(path) }) = Identity::split(role).filter(valid) else {
        let message = format!(
            "{} is not a valid name of a session: use 2 to {MAX_NAME_LEN} letters, digits and +=,.@_-",
            quoted(session)
        );
        return Err(invalid("ValidationException", message));
    };
    Ok(format!("arn:{partition}:sts::{account}:assumed-role/{}/{session}", last_part(&path)))
}

/// Returns the ARN of a session's role, without its path.
pub(crate) fn role_of(principal: &str) -> Option<String> {
    let identity = Identity::parse(principal).ok()?;
    identity.is_session().then(|| identity.principal_arn())
}

/// Returns the name by which grants to a principal are found: its ARN, without the path of a role, which its sessions
/// do not know.
///
/// # Errors
/// The same as [`check_principal`].
pub(crate) fn index_name(principal: &str) -> Result<String> {
    Ok(parse(principal)?.index_name())
}

/// Returns the names by which all grants are found that [mean](means) a caller, and possibly some others.
///
/// # Errors
/// The same as [`check_principal`].
pub(crate) fn index_names_of(caller: &str) -> Result<Vec<String>> {
    let caller = parse(caller)?;
    let role = matches!(caller.kind, Kind::Session { .. }).then(|| caller.principal_arn());
    Ok(role.into_iter().chain([caller.index_name()]).collect())
}

/// Returns whether a principal belongs to an account. Accounts that have keys are always in the partition `aws`.
pub(crate) fn is_of_account(principal: &str, account: &str) -> bool {
    Identity::parse(principal).is_ok_and(|identity| identity.account() == Some(account))
}

/// Returns the principal that owns an account and its keys.
pub(crate) fn owner(account: &str) -> String {
    format!("arn:{PARTITION}:iam::{account}:root")
}

/// The way in which a statement names a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// Itself, or everyone.
    Direct,
    /// Its account, which delegates the permission with policies of its own.
    Account,
}

/// One principal of a statement.
#[derive(Clone, Debug)]
pub(super) enum Principal {
    Anyone,
    One(Identity),
}

impl Principal {
    /// Parses `*`, an account id or an ARN.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Anyone);
        }
        let owner = is_account(text).then(|| owner(text));
        let arn = owner.as_deref().unwrap_or(text);
        Identity::split(arn).map(Self::One).ok_or_else(|| not_valid(text))
    }

    /// Parses the name of a service.
    pub(super) fn parse_service(text: &str) -> Result<Self, String> {
        let refuse = || format!("{} is not the name of a service: write one such as s3.amazonaws.com", quoted(text));
        Identity::of_service(text).map(Self::One).ok_or_else(refuse)
    }

    /// Returns how a statement of this effect with this principal names `caller`, if it does. A role also names its
    /// sessions.
    ///
    /// An account in `Deny` means everyone in it. In `Allow` it means its owner, and lets the account delegate the
    /// permission to everyone else in it.
    pub(super) fn names(&self, effect: Effect, caller: &Identity) -> Option<Naming> {
        let Self::One(identity) = self else { return Some(Naming::Direct) };
        if identity.means(caller) {
            return Some(Naming::Direct);
        }
        let by_account = identity.kind == Kind::Root && identity.shares_account(caller);
        by_account.then_some(if effect == Effect::Deny { Naming::Direct } else { Naming::Account })
    }

    /// Returns whether a list of exceptions of this effect excepts `caller`.
    ///
    /// AWS asks for each layer of a caller: its account, its role, and itself. To be excepted from a denial all of them
    /// must be named, and to be excepted from a permission one is enough.
    pub(super) fn except(all: &[Self], effect: Effect, caller: &Identity) -> bool {
        let is_named = |layer: &Identity| {
            all.iter().any(|principal| match principal {
                Self::Anyone => true,
                Self::One(identity) => identity == layer,
            })
        };
        let is_role = |principal: &Self| matches!(principal, Self::One(identity) if identity.is_role_of(caller));
        let of_layers = [
            (caller.service().is_none()).then(|| is_named(&caller.owner())),
            caller.is_session().then(|| all.iter().any(|one| is_role(one) || matches!(one, Self::Anyone))),
            Some(is_named(caller)),
        ];
        let mut of_layers = of_layers.into_iter().flatten();
        match effect {
            Effect::Deny => of_layers.all(|named| named),
            Effect::Allow => of_layers.any(|named| named),
        }
    }

    /// Returns the memory that the principal takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Anyone => 0,
            Self::One(Identity { partition, account, kind }) => {
                let kind = match kind {
                    Kind::Root => 0,
                    Kind::User(name) | Kind::Role(name) | Kind::Service(name) => name.capacity(),
                    Kind::Session { role, name } => role.capacity().saturating_add(name.capacity()),
                };
                partition.capacity().saturating_add(account.capacity()).saturating_add(kind)
            }
        }
    }
}

/// The identity of a principal: the parts of its ARN. Two are equal if their ARNs are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    partition: String,
    account: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The account's owner.
    Root,
    /// A user's path and name.
    User(String),
    /// A role's path and name.
    Role(String),
    /// A session of a role, which has no path.
    Session { role: String, name: String },
    /// An AWS service, which has no account.
    Service(String),
}

impl Identity {
    /// Parses the ARN of a principal, or the name of a service.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        Self::of_service(name).or_else(|| Self::split(name)).ok_or_else(|| not_valid(name))
    }

    fn of_service(name: &str) -> Option<Self> {
        let kind = is_service(name).then(|| Kind::Service(name.to_owned()))?;
        Some(Self { partition: String::new(), account: String::new(), kind })
    }

    fn split(arn: &str) -> Option<Self> {
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, "", account, resource] = *parts.as_slice() else {
            return None;
        };
        let kind = match service {
            "iam" => Kind::of_iam(resource)?,
            "sts" => Kind::of_sts(resource)?,
            _ => return None,
        };
        let valid = is_partition(partition) && is_account(account);
        valid.then(|| Self { partition: partition.to_owned(), account: account.to_owned(), kind })
    }

    fn means(&self, caller: &Self) -> bool {
        self == caller || self.is_role_of(caller)
    }

    /// Returns whether `caller` is a session of this role. The path is ignored: a session's ARN has none, and role
    /// names are unique in an account.
    fn is_role_of(&self, caller: &Self) -> bool {
        let (Kind::Role(path), Kind::Session { role, .. }) = (&self.kind, &caller.kind) else {
            return false;
        };
        self.shares_account(caller) && last_part(path) == role
    }

    /// Returns the owner of this principal's account.
    fn owner(&self) -> Self {
        Self { kind: Kind::Root, ..self.clone() }
    }

    /// Returns whether both belong to the same account. The same digits in another partition are another account.
    fn shares_account(&self, other: &Self) -> bool {
        (&self.partition, &self.account) == (&other.partition, &other.account)
    }

    /// Returns the value of `kms:CallerAccount`. It is absent for other partitions, whose account ids may equal one
    /// here.
    pub(super) fn account(&self) -> Option<&str> {
        (self.partition == PARTITION).then_some(&self.account)
    }

    /// Returns whether this is a session, whose role's path is unknown.
    pub(super) fn is_session(&self) -> bool {
        matches!(self.kind, Kind::Session { .. })
    }

    /// Returns the name of a service.
    pub(super) fn service(&self) -> Option<&str> {
        match &self.kind {
            Kind::Service(name) => Some(name),
            _ => None,
        }
    }

    /// Returns the value of `aws:username`: a user's name without its path.
    pub(super) fn user_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::User(name) => Some(last_part(name)),
            _ => None,
        }
    }

    /// Returns the value of `aws:PrincipalType`, which services do not have.
    pub(super) fn principal_type(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Root => Some("Account"),
            Kind::User(_) => Some("User"),
            Kind::Role(_) | Kind::Session { .. } => Some("AssumedRole"),
            Kind::Service(_) => None,
        }
    }

    fn index_name(&self) -> String {
        let resource = match &self.kind {
            Kind::Root => "root".to_owned(),
            Kind::User(name) => format!("user/{name}"),
            Kind::Role(name) => format!("role/{}", last_part(name)),
            Kind::Session { role, name } => format!("assumed-role/{role}/{name}"),
            Kind::Service(name) => return name.clone(),
        };
        format!("arn:{}:iam::{}:{resource}", self.partition, self.account)
    }

    /// Returns the value of `aws:PrincipalArn`: for a session, the ARN of its role.
    pub(super) fn principal_arn(&self) -> String {
        let resource = match &self.kind {
            Kind::Root => "root".to_owned(),
            Kind::User(name) => format!("user/{name}"),
            Kind::Role(name) | Kind::Session { role: name, .. } => format!("role/{name}"),
            Kind::Service(name) => return name.clone(),
        };
        format!("arn:{}:iam::{}:{resource}", self.partition, self.account)
    }
}

fn not_valid(arn: &str) -> String {
    let why = if has_wildcard(arn) { "it must not contain wildcards; " } else { "" };
    format!(
        "{} is not a valid principal: {why}write an ARN such as arn:aws:iam::111122223333:root, the same with user/NAME \
         or role/NAME, or arn:aws:sts::111122223333:assumed-role/ROLE/SESSION",
        quoted(arn)
    )
}

impl Kind {
    fn of_iam(resource: &str) -> Option<Self> {
        match resource.split_once('/') {
            None => (resource == "root").then_some(Self::Root),
            Some(("user", name)) => is_path_and_name(name).then(|| Self::User(name.to_owned())),
            Some(("role", name)) => is_path_and_name(name).then(|| Self::Role(name.to_owned())),
            Some(_) => None,
        }
    }

    fn of_sts(resource: &str) -> Option<Self> {
        let (role, name) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
        let valid = is_name(role) && is_name(name);
        valid.then(|| Self::Session { role: role.to_owned(), name: name.to_owned() })
    }
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_LEN && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether `text` is a partition, such as `aws`, `aws-cn` or `aws-us-gov`.
fn is_partition(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() > MAX_PARTITION_LEN {
        return false;
    }
    text == "aws" || text.strip_prefix("aws-").is_some_and(|rest| !rest.is_empty() && rest.chars().all(allowed))
}

fn is_path_and_name(text: &str) -> bool {
    let name = last_part(text);
    let path = text.strip_suffix(name).unwrap_or_default();
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '*' | '?');
    is_name(name) && path.len() <= MAX_PATH_LEN && path.chars().all(allowed)
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.chars().all(allowed)
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manila_core::ErrorKind;

    const ROOT: &str = "arn:aws:iam::111122223333:root";
    const USER: &str = "arn:aws:iam::111122223333:user/alice";
    const ROLE: &str = "arn:aws:iam::111122223333:role/app";
    const ROLE_WITH_PATH: &str = "arn:aws:iam::111122223333:role/prod/eu/app";
    const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/app/i-1";

    #[test]
    fn a_principal_means_itself_a_role_its_sessions_and_an_account_in_a_denial_everyone_in_it() {
        let callers = [
            ROOT,
            USER,
            "arn:aws:iam::111122223333:user/team/alice",
            ROLE,
            ROLE_WITH_PATH,
            SESSION,
            "arn:aws:sts::111122223333:assumed-role/app/i-2",
            "arn:aws:sts::111122223333:assumed-role/app2/i-1",
            "arn:aws:sts::444455556666:assumed-role/app/i-1",
            "arn:aws-cn:sts::111122223333:assumed-role/app/i-1",
            "arn:aws:iam::444455556666:root",
            "arn:aws-cn:iam::111122223333:root",
            "arn:aws:iam::111122223333:user/app",
            "arn:aws:iam::111122223333:user/Alice",
        ];
        // The callers that each one matches in `Allow` and in `Deny`, by their indices above.
        let everyone: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
        let of_the_account: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7, 12, 13];
        let same = |principal, meant| (principal, meant, meant);
        let table: [(&str, &[usize], &[usize]); 12] = [
            same("*", everyone),
            (ROOT, &[0], of_the_account),
            ("111122223333", &[0], of_the_account),
            ("444455556666", &[10], &[8, 10]),
            ("arn:aws-cn:iam::111122223333:root", &[11], &[9, 11]),
            same(USER, &[1]),
            same("arn:aws:iam::111122223333:user/team/alice", &[2]),
            same(ROLE, &[3, 5, 6]),
            same(ROLE_WITH_PATH, &[4, 5, 6]),
            same(SESSION, &[5]),
            same("arn:aws-cn:iam::111122223333:role/app", &[9]),
            same("arn:aws:iam::111122223333:role/i-1", &[]),
        ];
        for (name, allowed, denied) in table {
            let principal = Principal::parse(name).unwrap();
            // In `Allow`, an account delegates to those whom its denial means.
            let delegated: Vec<_> = denied.iter().copied().filter(|n| !allowed.contains(n)).collect();
            let rows = [
                (Effect::Allow, Naming::Direct, allowed),
                (Effect::Allow, Naming::Account, &delegated),
                (Effect::Deny, Naming::Direct, denied),
                (Effect::Deny, Naming::Account, &[]),
            ];
            for (effect, naming, expected) in rows {
                let is = |caller: &str| principal.names(effect, &Identity::parse(caller).unwrap()) == Some(naming);
                let meant: Vec<_> = (0..callers.len()).filter(|n| is(callers[*n])).collect();
                assert_eq!(meant, expected, "{effect:?} {naming:?} {name}");
            }
            // Grants to a principal are found for every caller that it matches.
            let Principal::One(identity) = principal else { continue };
            for caller in callers.iter().filter(|caller| means(&arn_of(name), caller)) {
                assert!(index_names_of(caller).unwrap().contains(&identity.index_name()), "{name} {caller}");
            }
        }
    }

    #[test]
    fn a_service_is_itself_and_of_no_account() {
        const S3: &str = "s3.amazonaws.com";
        for name in [S3, "logs.us-east-1.amazonaws.com", "us-east-1.supportauthz.amazonaws.com", "a-1.amazonaws.com.cn"]
        {
            let identity = Identity::parse(name).unwrap();
            assert_eq!((identity.service(), identity.account()), (Some(name), None));
            check_caller(name).unwrap();
            assert!(check_principal(name).is_err() && Principal::parse(name).is_err(), "{name} is not an ARN");
            assert_eq!(index_names_of(name).unwrap(), [name]);
        }
        let caller = Identity::parse(S3).unwrap();
        let rows = [(S3, true), ("ec2.amazonaws.com", false)];
        for (name, expected) in rows {
            let named = Principal::parse_service(name).unwrap().names(Effect::Allow, &caller);
            assert_eq!(named, expected.then_some(Naming::Direct), "{name}");
        }
        assert!(Principal::parse("*").unwrap().names(Effect::Allow, &caller).is_some());
        assert!(Principal::parse(ROOT).unwrap().names(Effect::Deny, &caller).is_none());
        for wrong in
            ["s3", "S3.amazonaws.com", ".amazonaws.com", "a..amazonaws.com", "s3.amazonaws.com.", "s3.amazon.com", "*"]
        {
            assert!(Principal::parse_service(wrong).is_err() && !is_service(wrong), "{wrong}");
        }
        let long = format!("{}.amazonaws.com", "a".repeat(114));
        assert!(is_service(&long) && !is_service(&format!("a{long}")));
    }

    #[test]
    fn an_exception_from_a_denial_names_every_layer_and_from_a_permission_one() {
        const S3: &str = "s3.amazonaws.com";
        let callers = [ROOT, USER, SESSION, S3, "arn:aws:iam::444455556666:root"];
        // The callers that are excepted from `Deny` and from `Allow`, by their indices above.
        let table: [(&[&str], &[usize], &[usize]); 9] = [
            (&[ROOT], &[0], &[0, 1, 2]),
            (&[USER], &[], &[1]),
            (&[USER, ROOT], &[0, 1], &[0, 1, 2]),
            (&[SESSION, ROOT], &[0], &[0, 1, 2]),
            (&[ROLE_WITH_PATH, ROOT], &[0], &[0, 1, 2]),
            (&[SESSION, ROLE_WITH_PATH, ROOT], &[0, 2], &[0, 1, 2]),
            (&[SESSION, ROLE], &[], &[2]),
            (&[S3], &[3], &[3]),
            (&["*"], &[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4]),
        ];
        for (names, denied, allowed) in table {
            let parse = |name: &&str| Principal::parse_service(name).or_else(|_| Principal::parse(name)).unwrap();
            let all: Vec<_> = names.iter().map(parse).collect();
            for (effect, expected) in [(Effect::Deny, denied), (Effect::Allow, allowed)] {
                let is = |caller: &str| Principal::except(&all, effect, &Identity::parse(caller).unwrap());
                let excepted: Vec<_> = (0..callers.len()).filter(|n| is(callers[*n])).collect();
                assert_eq!(excepted, expected, "{effect:?} {names:?}");
            }
        }
    }

    fn arn_of(principal: &str) -> String {
        if is_account(principal) { owner(principal) } else { principal.to_owned() }
    }

    #[test]
    fn a_principal_is_of_one_account_in_one_partition() {
        for (principal, account, expected) in [
            (ROOT, "111122223333", true),
            (SESSION, "111122223333", true),
            (USER, "444455556666", false),
            ("arn:aws-cn:iam::111122223333:root", "111122223333", false),
            ("alice", "111122223333", false),
        ] {
            assert_eq!(is_of_account(principal, account), expected, "{principal}");
        }
    }

    #[test]
    fn the_principal_arn_of_a_session_is_its_role() {
        for arn in [ROOT, USER, ROLE, ROLE_WITH_PATH, "arn:aws-us-gov:iam::111122223333:user/a/b"] {
            assert_eq!(Identity::parse(arn).unwrap().principal_arn(), arn);
        }
        assert_eq!(Identity::parse(SESSION).unwrap().principal_arn(), ROLE);
    }

    #[test]
    fn the_owner_is_a_principal() {
        assert_eq!(owner("111122223333"), ROOT);
        check_principal(&owner("111122223333")).unwrap();
    }

    #[test]
    fn an_invalid_principal_is_refused() {
        let wrong = [
            "",
            "*",
            "111122223333",
            "alice",
            "arn:aws:iam::111122223333",
            "arn:aws:iam::111122223333:",
            "arn:aws:iam::111122223333:root/",
            "arn:aws:iam::111122223333:Root",
            "arn:aws:iam::111122223333:user",
            "arn:aws:iam::111122223333:user/",
            "arn:aws:iam::111122223333:user/a/",
            "arn:aws:iam::111122223333:user/a b/c",
            "arn:aws:iam::111122223333:user/\u{e4}",
            "arn:aws:iam::111122223333:group/a",
            "arn:aws:iam::111122223333:role/a:b",
            "arn:aws:iam::111122223333:assumed-role/a/b",
            "arn:aws:iam::11112222333:root",
            "arn:aws:iam::1111222233334:root",
            "arn:aws:iam::11112222333x:root",
            "arn:aws:iam::\u{661}\u{661}\u{661}\u{661}\u{661}\u{661}:root",
            "arn:aws:iam:eu-west-1:111122223333:root",
            "arn:aws:s3::111122223333:root",
            "arn:azure:iam::111122223333:root",
            "arn:aws-:iam::111122223333:root",
            "ARN:aws:iam::111122223333:root",
            "arn:aws:sts::111122223333:root",
            "arn:aws:sts::111122223333:assumed-role/app",
            "arn:aws:sts::111122223333:assumed-role/app/",
            "arn:aws:sts::111122223333:assumed-role/path/app/i-1",
            "arn:aws:sts::111122223333:federated-user/bob",
            " arn:aws:iam::111122223333:root",
        ];
        for arn in wrong {
            let error = check_principal(arn).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{arn}");
            assert!(error.to_string().contains(&quoted(arn)), "{error}");
        }
        let named = |len| check_principal(&format!("arn:aws:iam::111122223333:user/{}", "n".repeat(len)));
        assert!(named(64).is_ok() && named(65).is_err());
        let in_path = |len| check_principal(&format!("arn:aws:iam::111122223333:user/{}/n", "p".repeat(len)));
        assert!(in_path(511).is_ok() && in_path(512).is_err());
        let in_partition = |len| check_principal(&format!("arn:aws-{}:iam::111122223333:root", "p".repeat(len)));
        assert!(in_partition(28).is_ok() && in_partition(29).is_err());
    }

    #[test]
    fn wildcards_within_an_arn_are_refused() {
        let wrong = [
            "arn:aws:iam::111122223333:user/*",
            "arn:aws:iam::111122223333:role/ap?",
            "arn:aws:iam::111122223333:role/*/app",
            "arn:aws:iam::*:root",
            "arn:*:iam::111122223333:root",
            "arn:aws:sts::111122223333:assumed-role/app/*",
        ];
        for arn in wrong {
            let message = Principal::parse(arn).unwrap_err();
            assert!(message.contains("not contain wildcards"), "{message}");
        }
    }
}
