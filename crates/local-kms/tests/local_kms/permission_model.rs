//! A second evaluator of permissions, written from AWS's documentation, against random policies and grants.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use manila_local_kms::{
    CreateGrant, CreateKey, EncryptionContext, GrantConstraint, GrantOperation, KeyMetadata, LocalKms, RequestContext,
    SimulatedCall,
};

const WORLDS: usize = 1_000;
const QUESTIONS: usize = 100;

const ROOT: &str = "arn:aws:iam::000000000000:root";
const OTHER_ROOT: &str = "arn:aws:iam::111122223333:root";
const SERVICE: &str = "s3.amazonaws.com";
const SESSION: &str = "arn:aws:sts::000000000000:assumed-role/app/i-1";
const ROLE: &str = "arn:aws:iam::000000000000:role/app";
const CALLERS: [&str; 7] = [
    ROOT,
    "arn:aws:iam::000000000000:user/alice",
    "arn:aws:iam::000000000000:user/bob",
    SESSION,
    "arn:aws:iam::111122223333:user/carol",
    OTHER_ROOT,
    SERVICE,
];
/// The principals of statements.
const NAMED: [&str; 9] = [
    "*",
    ROOT,
    "000000000000",
    "arn:aws:iam::000000000000:user/alice",
    ROLE,
    SESSION,
    "arn:aws:iam::111122223333:user/carol",
    "111122223333",
    SERVICE,
];
const ACTIONS: [&str; 7] =
    ["kms:Encrypt", "kms:Decrypt", "kms:*crypt", "kms:D*", "kms:DescribeKey", "kms:DisableKey", "kms:*"];
/// Operations, and whether they can be granted and are allowed across accounts, and take an encryption context.
const OPERATIONS: [(&str, bool, bool); 4] =
    [("Encrypt", true, true), ("Decrypt", true, true), ("DescribeKey", true, false), ("DisableKey", false, false)];

/// A generator of numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some<T: Copy>(&mut self, all: &[T]) -> Vec<T> {
        let count = 1 + self.below(2);
        (0..count).map(|_| self.of(all)).collect()
    }
}

struct Statement {
    denies: bool,
    /// None in policies of principals.
    principals: Option<(bool, Vec<&'static str>)>,
    actions: (bool, Vec<&'static str>),
    resources: (bool, Vec<String>),
    conditions: BTreeMap<(&'static str, &'static str), Vec<&'static str>>,
}

struct Grant {
    grantee: &'static str,
    operations: Vec<&'static str>,
    constraint: Option<(bool, Vec<(&'static str, &'static str)>)>,
}

/// A call, as the model sees it.
struct Question {
    caller: &'static str,
    operation: (&'static str, bool, bool),
    pairs: Vec<(&'static str, &'static str)>,
    address: Option<[u8; 4]>,
    factors: Option<bool>,
    age: Option<u64>,
}

fn conditions(numbers: &mut Numbers) -> BTreeMap<(&'static str, &'static str), Vec<&'static str>> {
    const ALL: [(&str, &str, &[&str]); 15] = [
        ("StringEquals", "kms:EncryptionContext:tenant", &["acme", "initech"]),
        ("StringNotEquals", "kms:EncryptionContext:tenant", &["acme", "initech"]),
        ("StringLike", "kms:EncryptionContext:tenant", &["a*", "?nitech", "*"]),
        ("StringNotEqualsIfExists", "kms:EncryptionContext:stage", &["test", "prod"]),
        ("ForAllValues:StringEquals", "kms:EncryptionContextKeys", &["tenant", "stage"]),
        ("ForAnyValue:StringLike", "kms:EncryptionContextKeys", &["ten*", "x"]),
        ("StringEquals", "kms:CallerAccount", &["000000000000", "111122223333"]),
        ("ArnLike", "aws:PrincipalArn", &["arn:aws:iam::*:user/*", "arn:aws:iam::000000000000:role/app"]),
        ("IpAddress", "aws:SourceIp", &["10.0.0.0/8", "192.168.1.1"]),
        ("NotIpAddress", "aws:SourceIp", &["10.0.0.0/8"]),
        ("Bool", "aws:MultiFactorAuthPresent", &["true", "false"]),
        ("BoolIfExists", "aws:MultiFactorAuthPresent", &["true", "false"]),
        ("NumericLessThan", "aws:MultiFactorAuthAge", &["60", "600"]),
        ("NumericGreaterThanEqualsIfExists", "aws:MultiFactorAuthAge", &["60"]),
        ("Null", "kms:EncryptionContext:stage", &["true", "false"]),
    ];
    let count = [0, 0, 1, 1, 2][numbers.below(5)];
    let any = (0..count).map(|_| numbers.of(&ALL)).collect::<Vec<_>>();
    any.into_iter().map(|(operator, key, values)| ((operator, key), numbers.some(values))).collect()
}

fn statement(numbers: &mut Numbers, key: Option<&str>, arn: &str) -> Statement {
    let resources = ["*".to_owned(), arn.to_owned(), "arn:aws:kms:*:*:key/none".to_owned()];
    let resource = resources[[0, 0, 0, 1, 2][numbers.below(5)]].clone();
    Statement {
        denies: numbers.below(4) == 0,
        principals: key.map(|_| (numbers.below(8) == 0, numbers.some(&NAMED))),
        actions: (numbers.below(6) == 0, numbers.some(&ACTIONS)),
        resources: (numbers.below(8) == 0, vec![resource]),
        conditions: conditions(numbers),
    }
}

fn json(statements: &[Statement]) -> String {
    let list = |all: &[&str]| all.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
    let not = |not: bool| if not { "Not" } else { "" };
    let mut text = r#"{"Version": "2012-10-17", "Statement": ["#.to_owned();
    for (number, statement) in statements.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        let effect = if statement.denies { "Deny" } else { "Allow" };
        write!(text, r#"{comma}{{"Effect": "{effect}", "#).unwrap();
        if let Some((except, names)) = &statement.principals {
            let (services, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| **name == SERVICE);
            let kinds = [("AWS", others), ("Service", services)].into_iter().filter(|(_, names)| !names.is_empty());
            let kinds: Vec<_> = kinds.map(|(kind, names)| format!(r#""{kind}": [{}]"#, list(&names))).collect();
            write!(text, r#""{}Principal": {{{}}}, "#, not(*except), kinds.join(", ")).unwrap();
        }
        let resources: Vec<_> = statement.resources.1.iter().map(String::as_str).collect();
        write!(text, r#""{}Action": [{}], "#, not(statement.actions.0), list(&statement.actions.1)).unwrap();
        write!(text, r#""{}Resource": [{}]"#, not(statement.resources.0), list(&resources)).unwrap();
        let mut operators = BTreeMap::<_, Vec<String>>::new();
        for ((operator, key), values) in &statement.conditions {
            operators.entry(operator).or_default().push(format!("{key:?}: [{}]", list(values)));
        }
        let operators: Vec<_> =
            operators.iter().map(|(name, keys)| format!("{name:?}: {{{}}}", keys.join(", "))).collect();
        if !operators.is_empty() {
            write!(text, r#", "Condition": {{{}}}"#, operators.join(", ")).unwrap();
        }
        text.push('}');
    }
    text + "]}"
}

// From here on the evaluator.

fn like(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, found) => found.is_none(),
        (Some('*'), found) => like(&pattern[1..], text) || found.is_some_and(|c| like(pattern, &text[c.len_utf8()..])),
        (Some('?'), Some(c)) => like(&pattern[1..], &text[c.len_utf8()..]),
        (Some(wanted), Some(c)) => wanted == c && like(&pattern[wanted.len_utf8()..], &text[c.len_utf8()..]),
        (Some(_), None) => false,
    }
}

fn account(arn: &str) -> Option<&str> {
    if arn.len() == 12 { Some(arn) } else { arn.split(':').nth(4) }
}

fn is_root(name: &str) -> bool {
    name.len() == 12 || name.ends_with(":root")
}

/// The value of `aws:PrincipalArn`.
fn principal_arn(caller: &str) -> &str {
    if caller == SESSION { ROLE } else { caller }
}

impl Question {
    fn values(&self, key: &str) -> Vec<String> {
        let pair = |name: &str| {
            let pairs = self.pairs.iter().filter(|(key, _)| *key == name);
            pairs.map(|(_, value)| (*value).to_owned()).collect::<Vec<_>>()
        };
        match key {
            "kms:EncryptionContext:tenant" => pair("tenant"),
            "kms:EncryptionContext:stage" => pair("stage"),
            "kms:EncryptionContextKeys" => self.pairs.iter().map(|(key, _)| (*key).to_owned()).collect(),
            "kms:CallerAccount" => account(self.caller).map(str::to_owned).into_iter().collect(),
            "aws:PrincipalArn" => vec![principal_arn(self.caller).to_owned()],
            "aws:SourceIp" => self.address.map(|address| Ipv4Addr::from(address).to_string()).into_iter().collect(),
            "aws:MultiFactorAuthPresent" => self.factors.map(|yes| yes.to_string()).into_iter().collect(),
            "aws:MultiFactorAuthAge" => self.age.map(|age| age.to_string()).into_iter().collect(),
            _ => unreachable!("{key}"),
        }
    }

    fn holds(&self, operator: &str, key: &str, wanted: &[&str]) -> bool {
        let found = self.values(key);
        let any = |value: &String, is: fn(&str, &str) -> bool| wanted.iter().any(|wanted| is(wanted, value));
        let number = |text: &str| text.parse::<f64>().unwrap();
        let first = found.first();
        match operator {
            "StringEquals" => first.is_some_and(|value| any(value, |wanted, value| wanted == value)),
            "StringNotEquals" => first.is_none_or(|value| !any(value, |wanted, value| wanted == value)),
            "StringNotEqualsIfExists" => first.is_none_or(|value| !any(value, |wanted, value| wanted == value)),
            "StringLike" => first.is_some_and(|value| any(value, like)),
            "ForAllValues:StringEquals" => found.iter().all(|value| any(value, |wanted, value| wanted == value)),
            "ForAnyValue:StringLike" => found.iter().any(|value| any(value, like)),
            "ArnLike" => first.is_some_and(|value| {
                wanted.iter().any(|wanted| {
                    wanted.splitn(6, ':').zip(value.splitn(6, ':')).all(|(w, v)| like(w, v)) && value.contains(':')
                })
            }),
            "IpAddress" => self.address.is_some_and(|address| in_networks(address, wanted)),
            "NotIpAddress" => !self.address.is_some_and(|address| in_networks(address, wanted)),
            "Bool" => first.is_some_and(|value| wanted.contains(&value.as_str())),
            "BoolIfExists" => first.is_none_or(|value| wanted.contains(&value.as_str())),
            "NumericLessThan" => first.is_some_and(|value| wanted.iter().any(|wanted| number(value) < number(wanted))),
            "NumericGreaterThanEqualsIfExists" => {
                first.is_none_or(|value| wanted.iter().any(|wanted| number(value) >= number(wanted)))
            }
            "Null" => wanted.contains(&if found.is_empty() { "true" } else { "false" }),
            _ => unreachable!("{operator}"),
        }
    }

    /// Returns whether a name is the caller's own, and whether it is that of the caller's account.
    fn named(&self, name: &str) -> (bool, bool) {
        let itself = name == "*" || name == self.caller || self.caller == SESSION && name == ROLE;
        let own_account = is_root(name) && account(name) == account(self.caller);
        (itself || own_account && is_root(self.caller), own_account)
    }

    /// Returns how a statement names the caller: `Some(true)` itself, `Some(false)` its account.
    fn naming(&self, statement: &Statement) -> Option<bool> {
        let Some((except, names)) = &statement.principals else { return Some(true) };
        let any = |is: &dyn Fn(&str) -> bool| names.iter().any(|name| is(name));
        if *except {
            let everyone = any(&|name| name == "*");
            let by_account = everyone || any(&|name| self.named(name).1);
            let by_role = everyone || any(&|name| name == ROLE);
            let itself = everyone || any(&|name| name == self.caller) || is_root(self.caller) && by_account;
            let layers = [
                (self.caller != SERVICE).then_some(by_account),
                (self.caller == SESSION).then_some(by_role),
                Some(itself),
            ];
            let mut layers = layers.into_iter().flatten();
            let excepted = if statement.denies { layers.all(|named| named) } else { layers.any(|named| named) };
            return (!excepted).then_some(true);
        }
        if any(&|name| self.named(name).0 || statement.denies && self.named(name).1) {
            return Some(true);
        }
        any(&|name| self.named(name).1).then_some(false)
    }

    fn applies(&self, statement: &Statement, arn: &str) -> Option<bool> {
        let action = format!("kms:{}", self.operation.0);
        let acts = statement.actions.1.iter().any(|wanted| like(wanted, &action)) != statement.actions.0;
        let is_on = statement.resources.1.iter().any(|wanted| like(wanted, arn)) != statement.resources.0;
        let mut conditions = statement.conditions.iter();
        let holds = conditions.all(|((operator, key), wanted)| self.holds(operator, key, wanted));
        self.naming(statement).filter(|_| acts && is_on && holds)
    }

    fn is_allowed(&self, key: &[Statement], own: &[Statement], grants: &[Grant], arn: &str) -> bool {
        let is_own = account(self.caller) == Some("000000000000");
        if !is_own && self.operation.0 == "DisableKey" {
            return false;
        }
        let all = || key.iter().chain(own.iter().filter(|_| !is_root(self.caller) && self.caller != SERVICE));
        if all().any(|statement| statement.denies && self.applies(statement, arn).is_some()) {
            return false;
        }
        let allows = |statements: &[Statement]| {
            let allowing = statements.iter().filter(|statement| !statement.denies);
            allowing.filter_map(|statement| self.applies(statement, arn)).collect::<Vec<_>>()
        };
        let (by_key, by_own) =
            (allows(key), !allows(own).is_empty() && !is_root(self.caller) && self.caller != SERVICE);
        let enough = by_key.contains(&true) && (is_own || self.caller == SERVICE || is_root(self.caller))
            || !by_key.is_empty() && (by_own || is_root(self.caller));
        enough || self.operation.1 && grants.iter().any(|grant| self.is_granted(grant))
    }

    fn is_granted(&self, grant: &Grant) -> bool {
        let is_grantee = grant.grantee == self.caller || self.caller == SESSION && grant.grantee == ROLE;
        let fits = grant.constraint.as_ref().is_none_or(|(exactly, pairs)| {
            let among = pairs.iter().all(|pair| self.pairs.contains(pair));
            !self.operation.2 || among && (!exactly || pairs.len() == self.pairs.len())
        });
        is_grantee && fits && grant.operations.contains(&self.operation.0)
    }
}

fn in_networks(address: [u8; 4], networks: &[&str]) -> bool {
    networks.iter().any(|network| match *network {
        "10.0.0.0/8" => address[0] == 10,
        one => Ipv4Addr::from(address).to_string() == one,
    })
}

// From here on the worlds in which both are asked.

fn pairs(numbers: &mut Numbers) -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    if numbers.below(3) > 0 {
        all.push(("tenant", numbers.of(&["acme", "initech"])));
    }
    if numbers.below(3) == 0 {
        all.push(("stage", numbers.of(&["test", "prod"])));
    }
    all
}

fn grant(numbers: &mut Numbers) -> Grant {
    let grantees = [CALLERS[1], CALLERS[2], ROLE, SESSION, CALLERS[4]];
    let operations = numbers.some(&["Encrypt", "Decrypt", "DescribeKey"]);
    let constraint = (numbers.below(2) == 0).then(|| (numbers.below(2) == 0, pairs(numbers)));
    Grant { grantee: numbers.of(&grantees), operations, constraint }
}

fn create(kms: &LocalKms, key: &KeyMetadata, grant: &Grant) {
    let mut request = CreateGrant::to(grant.grantee);
    for operation in &grant.operations {
        request = request.operation(GrantOperation::from_name(operation).unwrap());
    }
    if let Some((exactly, pairs)) = &grant.constraint {
        let pairs = EncryptionContext::new(pairs.iter().copied()).unwrap();
        request =
            request.constraint(if *exactly { GrantConstraint::Equals(pairs) } else { GrantConstraint::Subset(pairs) });
    }
    kms.create_grant(key.arn(), request).unwrap();
}

fn question(numbers: &mut Numbers) -> Question {
    let operation = numbers.of(&OPERATIONS);
    Question {
        caller: numbers.of(&CALLERS),
        operation,
        pairs: if operation.2 { pairs(numbers) } else { Vec::new() },
        address: numbers.of(&[None, Some([10, 1, 2, 3]), Some([192, 168, 1, 1])]),
        factors: numbers.of(&[None, Some(true), Some(false)]),
        age: numbers.of(&[None, Some(59), Some(60), Some(599), Some(6_000)]),
    }
}

fn call(question: &Question) -> SimulatedCall {
    let mut context = RequestContext::default();
    if let Some(address) = question.address {
        context = context.source_ip(Ipv4Addr::from(address));
    }
    if let Some(present) = question.factors {
        context = context.multi_factor(present);
    }
    if let Some(age) = question.age {
        context = context.multi_factor_age(Duration::from_secs(age));
    }
    let call = SimulatedCall::default().context(context);
    let pairs = EncryptionContext::new(question.pairs.iter().copied()).unwrap();
    if question.operation.2 { call.encryption_context(pairs) } else { call }
}

#[test]
fn random_policies_and_grants_are_decided_as_a_second_evaluator_decides() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut allowed, mut by_reason) = (0, BTreeMap::<String, usize>::new());
    for world in 0..WORLDS {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        let of_key: Vec<_> = (0..=numbers.below(4)).map(|_| statement(&mut numbers, Some(""), key.arn())).collect();
        let grants: Vec<_> = (0..numbers.below(4)).map(|_| grant(&mut numbers)).collect();
        for grant in &grants {
            create(&kms, &key, grant);
        }
        kms.put_key_policy_that_may_lock_out_caller(key.arn(), &json(&of_key)).unwrap();
        let mut own = BTreeMap::new();
        for principal in [CALLERS[1], CALLERS[2], ROLE, CALLERS[4]] {
            if numbers.below(3) > 0 {
                let policies: Vec<Vec<_>> = (0..=numbers.below(2))
                    .map(|_| (0..=numbers.below(2)).map(|_| statement(&mut numbers, None, key.arn())).collect())
                    .collect();
                for (name, policy) in policies.iter().enumerate() {
                    kms.put_identity_policy(principal, &name.to_string(), &json(policy)).unwrap();
                }
                own.insert(principal, policies.into_iter().flatten().collect::<Vec<_>>());
            }
        }
        for _ in 0..QUESTIONS {
            let question = question(&mut numbers);
            let policies = own.get(principal_arn(question.caller)).map_or(&[][..], Vec::as_slice);
            let expected = question.is_allowed(&of_key, policies, &grants, key.arn());
            let decision =
                kms.simulate(question.caller, question.operation.0, Some(key.arn()), &call(&question)).unwrap();
            assert_eq!(
                decision.is_allowed(),
                expected,
                "world {world}: {} {} {:?} {:?} {:?} {:?}: {decision:?}\n{}\n{}",
                question.caller,
                question.operation.0,
                question.pairs,
                question.address,
                question.factors,
                question.age,
                json(&of_key),
                json(policies),
            );
            allowed += usize::from(expected);
            *by_reason.entry(format!("{:?}", decision.reason())).or_default() += 1;
        }
    }
    // Each reason that a call on a key can have is common.
    let common = [
        "ExplicitDeny",
        "KeyPolicy",
        "KeyAndIdentityPolicy",
        "Grant",
        "NothingAllows",
        "NoIdentityPolicy",
        "NotAcrossAccounts",
    ];
    for reason in common {
        assert!(by_reason.get(reason).is_some_and(|count| *count > WORLDS * QUESTIONS / 200), "{by_reason:?}");
    }
    assert!((WORLDS * QUESTIONS / 10..WORLDS * QUESTIONS / 2).contains(&allowed), "{allowed} are allowed");
}
