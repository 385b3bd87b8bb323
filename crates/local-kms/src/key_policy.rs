//! Key policies in AWS's JSON, which decide what a principal may do with a key.
//!
//! Part of AWS's language is implemented. A policy that uses anything else is refused when it is read, with an error
//! that names it: no part of a policy is ever ignored.
//!
//! | part | implemented |
//! |---|---|
//! | elements | `Version`, `Id`, `Statement`; in a statement `Sid`, `Effect`, `Principal`, `Action`, `Resource`, `Condition` |
//! | principals | `*`, and accounts, users, roles and assumed roles under `AWS` |
//! | actions | those of AWS KMS, with wildcards |
//! | resources | `*` and ARNs of keys, with wildcards |
//! | condition operators | `StringEquals`, `StringLike`, their negations and `Bool`, each also with `ForAllValues:` and `ForAnyValue:`; `Null` |
//! | condition keys | `kms:EncryptionContext:KEY`, `kms:EncryptionContextKeys`, `kms:ViaService`, `kms:CallerAccount`, `aws:PrincipalArn` |
//!
//! # Differences from AWS
//!
//! - There are no IAM policies with which an account could delegate its permissions. In `Allow`, an account as a
//!   principal means only its owner (`arn:aws:iam::111122223333:root`); in `Deny` it means everyone in the account, as
//!   on AWS. To allow everyone in an account, use the principal `*` with a condition on `kms:CallerAccount`.
//! - A session does not know its role's path. So the `aws:PrincipalArn` of a session is the role's ARN without the
//!   path, and a path in a policy is ignored, because role names are unique in an account. In patterns with wildcards
//!   (`role/service/*`) it is ignored only on the safe side: such a pattern denies the sessions of every role with a
//!   matching name, and allows none of them. No `*` matches the path of a session's role.
//! - AWS matches the `KEY` in `kms:EncryptionContext:KEY` without regard to case. If a request's encryption context has
//!   several keys that differ only in case, any of them may be meant: `Allow` then requires that all of their values
//!   satisfy the condition, `Deny` that one does. The same applies to keys that differ in the case of non-ASCII
//!   letters, which may match or not.
//! - A pattern with a `?` in a part of more than 64 characters between two `*` is refused.
//! - The same account id in another partition (`aws-cn`) is another account, and `kms:CallerAccount` is absent for it.
//! - On AWS, `CreateAlias`, `UpdateAlias`, `DeleteAlias` and `ReplicateKey` need a permission of the account in
//!   addition to that of the key. Here only the owner has it, whatever a policy says.
//! - Maintenance of the store (a change of the root key with rotation, deletions that are due) does not consult
//!   policies.
//! - AWS KMS refuses `ForAllValues:` with `kms:EncryptionContext:KEY`, because it is true of an absent key. Here it is
//!   accepted and evaluated literally.
//! - Requests never come through another service: `kms:ViaService` is always absent.
//!
//! Source: the IAM User Guide, "IAM JSON policy elements", and the AWS KMS Developer Guide, "Key policies in AWS KMS"
//! and "AWS KMS condition keys".

mod action;
mod asked;
mod cache;
mod condition;
mod document;
mod json;
mod pattern;
mod principal;

use crate::error::invalid;
use manila_core::{EncryptionContext, Result};

use asked::Asked;
use condition::{Condition, memory_of};
use pattern::Pattern;
use principal::{Identity, Principal};

pub(super) use cache::PolicyCache;
pub(super) use principal::{check_principal, index_name, index_names_of, is_of_account, means, owner};

/// A parsed key policy.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    statements: Vec<Statement>,
}

/// The decision of a policy about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it, whatever others say.
    Denied,
    /// No statement applies to it.
    Silent,
}

/// A request to use a key, and its caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessRequest<'a> {
    /// The caller: an ARN that [`check_principal`] accepts.
    pub(super) principal: &'a str,
    /// The action, such as `kms:Decrypt`.
    pub(super) action: &'a str,
    pub(super) key_arn: &'a str,
    /// The encryption context, if the operation takes one.
    pub(super) encryption_context: Option<&'a EncryptionContext>,
}

impl Policy {
    /// Parses AWS's JSON, at most 32 KiB.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`MalformedPolicyDocumentException`), which names
    /// what is not valid or not implemented.
    pub(super) fn parse(json: &str) -> Result<Self> {
        let read = document::read(json).map_err(|message| invalid("MalformedPolicyDocumentException", message));
        read.map(|statements| Self { statements })
    }

    /// Returns the decision of the policy about a request.
    ///
    /// Requests of a principal that [`check_principal`] would refuse are denied.
    pub(super) fn decide(&self, request: &AccessRequest<'_>) -> Decision {
        let Ok(caller) = Identity::parse(request.principal) else {
            return Decision::Denied;
        };
        let asked = Asked::new(caller, request);
        let speaks = |effect| self.statements.iter().any(|s| s.effect == effect && s.covers(&asked));
        if speaks(Effect::Deny) {
            Decision::Denied
        } else if speaks(Effect::Allow) {
            Decision::Allowed
        } else {
            Decision::Silent
        }
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
        memory_of(&self.statements, |statement| {
            let Statement { effect: _, principals, actions, resources, conditions } = statement;
            memory_of(principals, Principal::memory)
                .saturating_add(memory_of(actions, Pattern::memory))
                .saturating_add(memory_of(resources, Pattern::memory))
                .saturating_add(memory_of(conditions, Condition::memory))
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// A statement. Only the list of conditions may be empty.
#[derive(Clone, Debug)]
struct Statement {
    effect: Effect,
    principals: Vec<Principal>,
    /// In lower case.
    actions: Vec<Pattern>,
    resources: Vec<Pattern>,
    conditions: Vec<Condition>,
}

impl Statement {
    /// Returns whether the statement applies to a request.
    fn covers(&self, asked: &Asked<'_>) -> bool {
        self.principals.iter().any(|principal| principal.is(self.effect, &asked.caller))
            && self.actions.iter().any(|wanted| wanted.matches(&asked.action))
            && self.resources.iter().any(|wanted| wanted.matches(asked.key_arn))
            && self.conditions.iter().all(|condition| condition.holds(self.effect, asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manila_core::ErrorKind;

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

    fn decide(policy: &str, principal: &str, action: &str, context: Option<&[(&str, &str)]>) -> Decision {
        let context = context.map(|pairs| EncryptionContext::new(pairs.iter().copied()).unwrap());
        let request = AccessRequest { principal, action, key_arn: KEY, encryption_context: context.as_ref() };
        Policy::parse(policy).unwrap().decide(&request)
    }

    /// A principal, an action, an encryption context, and the decision.
    type Row<'a> = (&'a str, &'a str, Option<&'a [(&'a str, &'a str)]>, Decision);

    #[test]
    fn a_statement_speaks_if_all_of_it_fits() {
        use Decision::{Allowed, Denied, Silent};
        let acme = ("tenant", "acme");
        let rows: [Row<'_>; 16] = [
            (OWNER, "kms:Decrypt", Some(&[]), Allowed),
            (OWNER, "kms:PutKeyPolicy", None, Allowed),
            (OWNER, "kms:Decrypt", Some(&[("stage", "frozen")]), Denied),
            (OWNER, "kms:GenerateDataKey", Some(&[("stage", "frozen")]), Allowed),
            (APP, "kms:Decrypt", Some(&[acme]), Allowed),
            (APP, "kms:GenerateDataKeyWithoutPlaintext", Some(&[("tenant", "initech"), ("stage", "test")]), Allowed),
            (APP, "kms:Decrypt", Some(&[acme, ("stage", "frozen-2025")]), Denied),
            (APP, "kms:Decrypt", Some(&[acme, ("other", "1")]), Silent),
            (APP, "kms:Decrypt", Some(&[("TENANT", "acme")]), Silent),
            (APP, "kms:Decrypt", Some(&[("tenant", "Acme")]), Silent),
            (APP, "kms:Decrypt", Some(&[]), Silent),
            (APP, "kms:Encrypt", Some(&[acme]), Silent),
            (APP, "kms:DescribeKey", None, Silent),
            ("arn:aws:iam::444455556666:root", "kms:Decrypt", Some(&[acme]), Allowed),
            ("arn:aws:iam::444455556666:user/alice", "kms:Decrypt", Some(&[acme]), Silent),
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
        let error = Policy::parse(&POLICY.replace("StringLike", "ArnLike")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let message = error.to_string();
        for part in ["MalformedPolicyDocumentException", "statement 3", "\"ArnLike\""] {
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
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let json = mutated(&mut numbers);
            let Ok(policy) = Policy::parse(&json) else {
                refused += 1;
                continue;
            };
            read += 1;
            for principal in [OWNER, APP] {
                let encryption_context = Some(&context);
                policy.decide(&AccessRequest { principal, action: "kms:Decrypt", key_arn: KEY, encryption_context });
            }
        }
        assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
    }
}
