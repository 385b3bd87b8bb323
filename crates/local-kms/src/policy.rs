//! Policies in AWS's JSON: those of keys, of principals, and of roles for those who may assume them.
//!
//! All of them are parsed to the same type and evaluated by the same code. A policy that uses what AWS does not have,
//! or what is not implemented here, is refused when it is read, with an error that names it: no part of a policy is
//! ever ignored.
//!
//! | part | implemented |
//! |---|---|
//! | elements | `Version`, `Id`, `Statement`; in a statement `Sid`, `Effect`, `Principal`, `Action`, `Resource` and their `Not...` forms, `Condition` |
//! | principals | `*`, accounts, users, roles and assumed roles under `AWS`, and services under `Service` |
//! | actions | those of AWS KMS, with wildcards; in identity policies also those of other services, which have no effect |
//! | resources | `*` and ARNs with wildcards and variables |
//! | condition operators | all of IAM, with `IfExists`, `ForAllValues:` and `ForAnyValue:` |
//! | condition keys | those of `key` |
//! | variables | each key of one value except `kms:EncryptionContext:KEY`, with defaults, and `${*}`, `${?}`, `${$}` |
//!
//! # Differences from AWS
//!
//! - Service control policies, resource control policies, permission boundaries, session policies and policies of VPC
//!   endpoints do not exist here.
//! - A session whose role is not in the store does not know the role's path. Its `aws:PrincipalArn` is the role's ARN
//!   without the path, and a path in a policy is ignored, because role names are unique in an account. In patterns with
//!   wildcards (`role/service/*`) it is ignored only on the safe side: such a pattern denies the sessions of every role
//!   with a matching name, and allows none of them. No `*` matches the path of a session's role.
//! - AWS matches the `KEY` in `kms:EncryptionContext:KEY` and in the keys of tags without regard to case. If a request
//!   has several keys that differ only in case, any of them may be meant: `Allow` then requires that all of their
//!   values satisfy the condition, `Deny` that one does. The same applies to keys that differ in the case of non-ASCII
//!   letters, which may match or not.
//! - An exception of `NotPrincipal` with `Deny` names the account, the role and the session of a caller, as AWS
//!   advises: AWS does not say what it does otherwise, and here the denial then applies.
//! - A pattern with a `?` in a part of more than 64 characters between two `*` is refused.
//! - The same account id in another partition (`aws-cn`) is another account, and `kms:CallerAccount` is absent for it.
//! - Maintenance of the store (a change of the root key with rotation, deletions that are due) does not consult
//!   policies.
//! - AWS KMS refuses `ForAllValues:` with `kms:EncryptionContext:KEY`, because it is true of an absent key. Here it is
//!   accepted and evaluated literally.
//! - `kms:TrailingDaysWithoutKeyUsage` is refused: the last use of a key is not recorded.
//!
//! Source: the IAM User Guide, "IAM JSON policy elements", and the AWS KMS Developer Guide, "Key policies in AWS KMS"
//! and "AWS KMS condition keys".

mod action;
mod asked;
mod cache;
mod condition;
mod document;
mod json;
mod key;
mod operator;
mod pattern;
mod principal;
mod statement;
mod template;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::audit::Details;
use crate::error::invalid;
use crate::request_context::RequestContext;
use manila_core::{EncryptionContext, Result};

use asked::Asked;
use condition::Condition;
use principal::{Effect, Identity, Naming};
use statement::Statement;

pub(super) use cache::PolicyCache;
pub(super) use principal::{
    check_caller, check_principal, index_name, index_names_of, is_account_owner, is_of_account, is_service, is_session,
    means, owner, role_of, session_arn, share_account,
};

/// The kinds of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyKind {
    /// Of a key, which is the resource of its statements.
    Key,
    /// Of a principal, which is that of its statements.
    Identity,
    /// Of a role: who may assume it.
    Trust,
}

/// A parsed policy.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    statements: Vec<Statement>,
    asks_for_aliases: bool,
}

/// The opinion of a policy about a request: for each way in which its statements apply, the index of the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opinion {
    /// Denied, whatever others say.
    pub(super) denied: Option<usize>,
    /// Allowed to the caller or to everyone.
    pub(super) allowed: Option<usize>,
    /// Allowed to the caller's account, which delegates the permission with policies of its own.
    pub(super) delegated: Option<usize>,
}

/// The properties of a key that policies can ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyFacts<'a> {
    pub(super) spec: &'static str,
    pub(super) usage: &'static str,
    pub(super) origin: &'static str,
    pub(super) mac_algorithm: Option<&'static str>,
    /// `PRIMARY` or `REPLICA`.
    pub(super) multi_region_type: Option<&'static str>,
    pub(super) tags: Cow<'a, BTreeMap<String, String>>,
    /// Read only for policies that [ask for them](Policy::asks_for_aliases).
    pub(super) aliases: Vec<String>,
}

impl KeyFacts<'_> {
    pub(super) fn into_owned(self) -> KeyFacts<'static> {
        KeyFacts { tags: Cow::Owned(self.tags.into_owned()), ..self }
    }
}

/// The properties of a caller that are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Who {
    /// The ARN of a session's role, with its path.
    pub(super) role_arn: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    /// The time at which a session began, in milliseconds since 1970.
    pub(super) issued: Option<u64>,
}

/// A request, and its caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessRequest<'a> {
    /// The caller: a name that [`check_caller`] accepts.
    pub(super) principal: &'a str,
    pub(super) who: &'a Who,
    /// The action, such as `kms:Decrypt`.
    pub(super) action: &'a str,
    /// The ARN of the resource.
    pub(super) resource: &'a str,
    pub(super) region: &'a str,
    /// The account of the resource.
    pub(super) account: &'a str,
    /// The present time, in milliseconds since 1970.
    pub(super) now: u64,
    /// The encryption context, if the operation takes one.
    pub(super) encryption_context: Option<&'a EncryptionContext>,
    /// True if the operation encrypts or decrypts.
    pub(super) encrypts: bool,
    pub(super) parameters: &'a Details<'a>,
    /// The alias by which the caller names the key.
    pub(super) alias: Option<&'a str>,
    /// True if a re-encryption is under the same key.
    pub(super) on_same_key: Option<bool>,
    pub(super) key: Option<&'a KeyFacts<'a>>,
    pub(super) context: &'a RequestContext,
}

impl AccessRequest<'_> {
    /// Returns whether the request is one of those that AWS services make for the grants of their resources.
    fn is_of_grants(&self) -> bool {
        matches!(self.action, "kms:CreateGrant" | "kms:ListGrants" | "kms:RevokeGrant")
    }
}

impl Policy {
    /// Parses AWS's JSON.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`MalformedPolicyDocumentException`), which names
    /// what is not valid or not implemented.
    pub(super) fn parse(json: &str, kind: PolicyKind) -> Result<Self> {
        let read = document::read(json, kind).map_err(|message| invalid("MalformedPolicyDocumentException", message));
        read.map(|statements| {
            let mut conditions = statements.iter().flat_map(|statement| &statement.conditions);
            let asks_for_aliases = conditions.any(Condition::asks_for_aliases);
            Self { statements, asks_for_aliases }
        })
    }

    /// Returns the opinion of the policy about a request.
    ///
    /// Requests of a principal that [`check_caller`] would refuse are denied.
    pub(super) fn decide(&self, request: &AccessRequest<'_>) -> Opinion {
        let Ok(caller) = Identity::parse(request.principal) else {
            return Opinion { denied: Some(0), ..Opinion::default() };
        };
        let asked = Asked::new(caller, request);
        let of = |effect| {
            let statements =
                self.statements.iter().enumerate().filter(move |(_, statement)| statement.effect == effect);
            statements.filter_map(|(number, statement)| Some((number, statement.applies(&asked)?)))
        };
        if let Some((number, _)) = of(Effect::Deny).next() {
            return Opinion { denied: Some(number), ..Opinion::default() };
        }
        let mut opinion = Opinion::default();
        for (number, naming) in of(Effect::Allow) {
            match naming {
                Naming::Direct => return Opinion { allowed: Some(number), ..opinion },
                Naming::Account => opinion.delegated = opinion.delegated.or(Some(number)),
            }
        }
        opinion
    }

    /// Returns the id of a statement.
    pub(super) fn sid(&self, statement: usize) -> Option<&str> {
        self.statements.get(statement)?.sid.as_deref()
    }

    /// Returns whether the aliases of a key matter to the policy.
    pub(super) fn asks_for_aliases(&self) -> bool {
        self.asks_for_aliases
    }

    /// Returns the number of steps that a decision about a request with this encryption context may take, beyond those
    /// in proportion to the policy's length. Most policies and contexts are short, but if both are long there are
    /// millions.
    pub(super) fn steps(&self, context: Option<&EncryptionContext>) -> usize {
        let conditions = self.statements.iter().flat_map(|statement| &statement.conditions);
        let values = conditions.map(Condition::context_values).fold(0, usize::saturating_add);
        let pairs = context.into_iter().flatten();
        let len = pairs.map(|(key, value)| key.len().saturating_add(value.len()).saturating_add(1));
        if values == 0 { 0 } else { len.fold(0, usize::saturating_add).saturating_mul(values) }
    }

    /// Returns the memory that the policy takes, in bytes.
    fn memory(&self) -> usize {
        memory_of(&self.statements, Statement::memory)
    }
}

/// Returns the memory of a list, including what each item takes in addition to itself, in bytes.
fn memory_of<T>(list: &Vec<T>, beside: impl Fn(&T) -> usize) -> usize {
    let items = list.capacity().saturating_mul(size_of::<T>());
    list.iter().map(beside).fold(items, usize::saturating_add)
}

#[cfg(test)]
mod condition_tests;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use manila_core::ErrorKind;

    /// The parts that requests of tests borrow.
    #[derive(Default)]
    pub(in crate::policy) struct Scene {
        pub(in crate::policy) parameters: Details<'static>,
        pub(in crate::policy) context: RequestContext,
        pub(in crate::policy) key: KeyFacts<'static>,
        pub(in crate::policy) who: Who,
    }

    impl Scene {
        /// Returns a request of a user to decrypt.
        pub(in crate::policy) fn request(&self) -> AccessRequest<'_> {
            AccessRequest {
                principal: ALICE,
                who: &self.who,
                action: "kms:Decrypt",
                resource: KEY,
                region: "eu-west-1",
                account: "111122223333",
                now: 1_790_000_000_000,
                encryption_context: None,
                encrypts: true,
                parameters: &self.parameters,
                alias: None,
                on_same_key: None,
                key: Some(&self.key),
                context: &self.context,
            }
        }
    }

    const OWNER: &str = "arn:aws:iam::111122223333:root";
    const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
    const APP: &str = "arn:aws:sts::111122223333:assumed-role/app/i-1";
    const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    /// A policy: the owner may do anything, the role `app` may use the key for its own tenant, and nobody may touch
    /// frozen data.
    const POLICY: &str = r#"{
        "Version": "2012-10-17",
        "Id": "tenants",
        "Statement": [
            {
                "Sid": "Owner",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
                "Action": "kms:*",
                "Resource": "*"
            },
            {
                "Sid": "Use by the application",
                "Effect": "Allow",
                "Principal": {"AWS": ["arn:aws:iam::111122223333:role/service/app", "444455556666"]},
                "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
                "Resource": "arn:aws:kms:*:111122223333:key/1234abcd-*",
                "Condition": {
                    "StringEquals": {"kms:EncryptionContext:Tenant": ["acme", "initech"]},
                    "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["tenant", "stage"]}
                }
            },
            {
                "Sid": "Frozen",
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["kms:Encrypt", "kms:Decrypt"],
                "Resource": "*",
                "Condition": {"StringLike": {"kms:EncryptionContext:stage": "frozen*"}}
            }
        ]
    }"#;

    /// The opinion of a policy, without the statement.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Decision {
        Allowed,
        Delegated,
        Denied,
        Silent,
    }

    impl From<Opinion> for Decision {
        fn from(opinion: Opinion) -> Self {
            match opinion {
                Opinion { denied: Some(_), .. } => Self::Denied,
                Opinion { allowed: Some(_), .. } => Self::Allowed,
                Opinion { delegated: Some(_), .. } => Self::Delegated,
                _ => Self::Silent,
            }
        }
    }

    fn decide(policy: &str, principal: &str, action: &str, context: Option<&[(&str, &str)]>) -> Decision {
        let context = context.map(|pairs| EncryptionContext::new(pairs.iter().copied()).unwrap());
        let scene = Scene::default();
        let request = AccessRequest { principal, action, encryption_context: context.as_ref(), ..scene.request() };
        Policy::parse(policy, PolicyKind::Key).unwrap().decide(&request).into()
    }

    /// A principal, an action, an encryption context, and the decision.
    type Row<'a> = (&'a str, &'a str, Option<&'a [(&'a str, &'a str)]>, Decision);

    #[test]
    fn a_statement_speaks_if_all_of_it_fits() {
        use Decision::{Allowed, Delegated, Denied};
        let acme = ("tenant", "acme");
        let rows: [Row<'_>; 16] = [
            (OWNER, "kms:Decrypt", Some(&[]), Allowed),
            (OWNER, "kms:PutKeyPolicy", None, Allowed),
            (OWNER, "kms:Decrypt", Some(&[("stage", "frozen")]), Denied),
            (OWNER, "kms:GenerateDataKey", Some(&[("stage", "frozen")]), Allowed),
            (APP, "kms:Decrypt", Some(&[acme]), Allowed),
            (APP, "kms:GenerateDataKeyWithoutPlaintext", Some(&[("tenant", "initech"), ("stage", "test")]), Allowed),
            (APP, "kms:Decrypt", Some(&[acme, ("stage", "frozen-2025")]), Denied),
            (APP, "kms:Decrypt", Some(&[acme, ("other", "1")]), Delegated),
            (APP, "kms:Decrypt", Some(&[("TENANT", "acme")]), Delegated),
            (APP, "kms:Decrypt", Some(&[("tenant", "Acme")]), Delegated),
            (APP, "kms:Decrypt", Some(&[]), Delegated),
            (APP, "kms:Encrypt", Some(&[acme]), Delegated),
            (APP, "kms:DescribeKey", None, Delegated),
            ("arn:aws:iam::444455556666:root", "kms:Decrypt", Some(&[acme]), Allowed),
            ("arn:aws:iam::444455556666:user/alice", "kms:Decrypt", Some(&[acme]), Delegated),
            (ALICE, "kms:Encrypt", Some(&[("Stage", "frozen")]), Denied),
        ];
        for (principal, action, context, expected) in rows {
            assert_eq!(decide(POLICY, principal, action, context), expected, "{principal} {action} {context:?}");
        }
    }

    fn two_statements(first: &str, second: &str) -> String {
        let statement =
            |effect| format!(r#"{{"Effect": "{effect}", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}}"#);
        format!(r#"{{"Statement": [{}, {}]}}"#, statement(first), statement(second))
    }

    #[test]
    fn an_explicit_deny_wins_in_any_order() {
        let of = |first, second| decide(&two_statements(first, second), ALICE, "kms:Decrypt", None);
        assert_eq!(of("Allow", "Allow"), Decision::Allowed);
        assert_eq!(of("Allow", "Deny"), Decision::Denied);
        assert_eq!(of("Deny", "Allow"), Decision::Denied);
    }

    #[test]
    fn the_resource_is_held_against_the_arn_of_the_key() {
        let rows = [
            ("*", true),
            (KEY, true),
            ("arn:aws:kms:eu-west-1:111122223333:key/*", true),
            ("arn:aws:kms:*:*:*", true),
            ("arn:*:kms:eu-????-1:*:key/1234abcd-*", true),
            ("arn:aws:kms:eu-west-2:111122223333:key/*", false),
            ("arn:aws:kms:eu-west-1:444455556666:key/*", false),
            ("arn:aws:kms:eu-west-1:111122223333:key/1234", false),
            ("arn:aws:kms:eu-west-1:111122223333:KEY/*", false),
        ];
        for (resource, expected) in rows {
            let policy =
                two_statements("Allow", "Allow").replace(r#""Resource": "*""#, &format!("\"Resource\": {resource:?}"));
            let allowed = decide(&policy, ALICE, "kms:Decrypt", None) == Decision::Allowed;
            assert_eq!(allowed, expected, "{resource}");
        }
    }

    #[test]
    fn a_request_of_no_principal_is_denied() {
        let policy = two_statements("Allow", "Allow");
        for principal in ["", "alice", "*", "111122223333", "arn:aws:iam::111122223333:user/*"] {
            assert_eq!(decide(&policy, principal, "kms:Decrypt", None), Decision::Denied);
        }
    }

    #[test]
    fn an_error_is_awss() {
        let error = Policy::parse(&POLICY.replace("StringLike", "StringIsLike"), PolicyKind::Key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = error.to_string();
        for part in ["MalformedPolicyDocumentException", "statement 3", "\"StringIsLike\""] {
            assert!(message.contains(part), "{message}");
        }
    }

    /// A generator of numbers that look random and are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 16).unwrap() % limit
        }
    }

    /// Returns `POLICY` with some of its bytes lost, doubled, overwritten or replaced by pieces of JSON.
    fn mutated(numbers: &mut Numbers) -> String {
        const PIECES: [&str; 14] =
            ["{", "}", "[", "]", "\"", ",", ":", "*", "?", "null", "1e9", "\\ud800", "${", "\"\u{e4}\u{10000}\""];
        let mut bytes = POLICY.as_bytes().to_vec();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(bytes.len());
            let end = (at + numbers.below(20)).min(bytes.len());
            match numbers.below(4) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes[at] = b' ' + u8::try_from(numbers.below(95)).unwrap(),
                2 => drop(bytes.splice(at..at, PIECES[numbers.below(PIECES.len())].bytes())),
                _ => {
                    let piece = bytes[at..end].to_vec();
                    let to = numbers.below(bytes.len());
                    drop(bytes.splice(to..to, piece));
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn no_mutation_of_a_policy_panics() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let context = EncryptionContext::new([("tenant", "acme"), ("Tenant", "\u{10000}"), ("", "")]).unwrap();
        let (scene, mut read, mut refused) = (Scene::default(), 0, 0);
        for _ in 0..20_000 {
            let json = mutated(&mut numbers);
            let Ok(policy) = Policy::parse(&json, PolicyKind::Key) else {
                refused += 1;
                continue;
            };
            read += 1;
            for principal in [OWNER, APP] {
                let encryption_context = Some(&context);
                policy.decide(&AccessRequest { principal, encryption_context, ..scene.request() });
            }
        }
        assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
    }
}
