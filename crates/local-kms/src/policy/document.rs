//! Parsing of JSON into statements. Elements that are not known by name are refused by name.

use std::collections::BTreeMap;

use manila_core::internal::quoted;

use super::condition::Condition;
use super::json::Json;
use super::principal::{Effect, Principal};
use super::statement::{Actions, Principals, Resource, Resources, Statement};
use super::{PolicyKind, action};

/// The versions of the policy language. The older one, which applies by default, has no variables.
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];

type Object = BTreeMap<String, Json>;

impl PolicyKind {
    /// The maximum length of a policy in bytes, as on AWS: of a key policy, of all inline policies of a role, of a
    /// trust policy.
    ///
    /// Source: AWS KMS Developer Guide, "Resource quotas"; IAM User Guide, "IAM and AWS STS quotas".
    const fn max_len(self) -> usize {
        match self {
            Self::Key => 32 * 1024,
            Self::Identity => 10_240,
            Self::Trust => 8_192,
        }
    }

    /// The elements of its statements.
    const fn elements(self) -> &'static [&'static str] {
        match self {
            Self::Key => &[
                "Sid",
                "Effect",
                "Principal",
                "NotPrincipal",
                "Action",
                "NotAction",
                "Resource",
                "NotResource",
                "Condition",
            ],
            Self::Identity => &["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"],
            Self::Trust => &["Sid", "Effect", "Principal", "Action", "NotAction", "Condition"],
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Key => "a key policy",
            Self::Identity => "an identity policy",
            Self::Trust => "a trust policy",
        }
    }
}

/// Parses a policy; an error says what is wrong with it.
pub(super) fn read(json: &str, kind: PolicyKind) -> Result<Vec<Statement>, String> {
    let most = kind.max_len();
    if json.len() > most {
        return Err(format!("the policy has {} bytes, and at most {most} are allowed", json.len()));
    }
    let json = Json::read(json)?;
    let policy = object("the policy", &json)?;
    only(policy, "a policy", &["Version", "Id", "Statement"])?;
    let version = policy.get("Version").map_or(Ok(VERSIONS[1]), |version| text("Version", version))?;
    if !VERSIONS.contains(&version) {
        return Err(format!("the Version {} does not exist: write {}", quoted(version), VERSIONS[0]));
    }
    policy.get("Id").map_or(Ok(""), |id| text("Id", id))?;
    let reader = Reader { kind, has_variables: version == VERSIONS[0] };
    let statements = one_or_more("Statement", required(policy, "Statement")?)?;
    let number = |(n, json)| reader.statement(json).map_err(|message| format!("in statement {}, {message}", n + 1));
    statements.iter().enumerate().map(number).collect()
}

/// Reads the statements of one policy.
struct Reader {
    kind: PolicyKind,
    has_variables: bool,
}

impl Reader {
    fn statement(&self, json: &Json) -> Result<Statement, String> {
        let elements = object("the statement", json)?;
        only(elements, self.kind.what(), self.kind.elements())?;
        let sid = elements.get("Sid").map(|sid| text("Sid", sid)).transpose()?;
        let effect = match text("Effect", required(elements, "Effect")?)? {
            "Allow" => Effect::Allow,
            "Deny" => Effect::Deny,
            other => return Err(format!("the Effect {} is neither Allow nor Deny", quoted(other))),
        };
        let (except, actions) = this_or_not(elements, "Action", "NotAction")?;
        let mut is_ours = except;
        let actions = each_text("Action", actions, |action| {
            is_ours = is_ours || action::is_ours(action);
            action::parse(action, self.kind)
        })?;
        let conditions = elements.get("Condition");
        // Conditions of other services' actions are of no effect here.
        let conditions = conditions.filter(|_| is_ours).map_or(Ok(Vec::new()), |json| self.conditions(json))?;
        Ok(Statement {
            sid: sid.map(str::to_owned),
            effect,
            principals: self.principals(elements)?,
            actions: Actions { except, patterns: actions },
            resources: self.resources(elements)?,
            conditions,
        })
    }

    fn principals(&self, elements: &Object) -> Result<Principals, String> {
        if self.kind == PolicyKind::Identity {
            return Ok(Principals { except: false, all: vec![Principal::Anyone] });
        }
        let (except, json) = this_or_not(elements, "Principal", "NotPrincipal")?;
        let name = if except { "NotPrincipal" } else { "Principal" };
        if let Json::Text(everyone) = json {
            let refuse = || format!("the {name} {} is neither \"*\" nor an object", quoted(everyone));
            let all = vec![Principal::Anyone];
            return if everyone == "*" { Ok(Principals { except, all }) } else { Err(refuse()) };
        }
        let kinds = some_object(name, json)?;
        only(kinds, name, &["AWS", "Service"])?;
        let mut all = Vec::new();
        for (kind, names) in kinds {
            let parse = if kind == "AWS" { Principal::parse } else { Principal::parse_service };
            all.append(&mut each_text(kind, names, parse)?);
        }
        Ok(Principals { except, all })
    }

    fn resources(&self, elements: &Object) -> Result<Resources, String> {
        if self.kind == PolicyKind::Trust {
            return Ok(Resources { except: false, all: vec![Resource::parse("*", false)?] });
        }
        let (except, json) = this_or_not(elements, "Resource", "NotResource")?;
        let all = each_text("Resource", json, |text| {
            self.check_resource(text)?;
            Resource::parse(text, self.has_variables)
        })?;
        Ok(Resources { except, all })
    }

    /// Accepts `*` and ARNs with or without wildcards: in a key policy those of keys. AWS allows no wildcards in the
    /// ARN's service.
    fn check_resource(&self, text: &str) -> Result<(), String> {
        if text == "*" || self.has_variables && text.contains("${") {
            return Ok(());
        }
        let parts: Vec<_> = text.split(':').collect();
        match (self.kind, parts.as_slice()) {
            (PolicyKind::Key, ["arn", _, "kms", _, _, name]) if !name.starts_with("alias/") => Ok(()),
            (PolicyKind::Key, _) => {
                Err(format!("the Resource {} is neither \"*\" nor the ARN of a KMS key", quoted(text)))
            }
            (_, ["arn", _, _, _, _, _, ..]) => Ok(()),
            _ => Err(format!("the Resource {} is neither \"*\" nor an ARN", quoted(text))),
        }
    }

    fn conditions(&self, json: &Json) -> Result<Vec<Condition>, String> {
        let mut all = Vec::new();
        for (operator, keys) in some_object("Condition", json)? {
            let mut conditions: Vec<Condition> = Vec::new();
            for (key, values) in some_object(&quoted(operator), keys)? {
                let values = one_or_more(&quoted(key), values)?;
                let condition = Condition::parse(operator, key, values, self.has_variables)?;
                // In JSON these are two keys, so the JSON reader accepts them.
                if condition.repeats(&conditions) {
                    return Err(format!(
                        "{} occurs twice in {operator}: the case of its letters does not count",
                        quoted(key)
                    ));
                }
                conditions.push(condition);
            }
            all.append(&mut conditions);
        }
        Ok(all)
    }
}

/// Returns the one of two elements that is there, and whether it is the second, which lists exceptions.
fn this_or_not<'a>(elements: &'a Object, this: &str, not: &str) -> Result<(bool, &'a Json), String> {
    match (elements.get(this), elements.get(not)) {
        (Some(json), None) => Ok((false, json)),
        (None, Some(json)) => Ok((true, json)),
        (None, None) => Err(format!("{this} is missing")),
        (Some(_), Some(_)) => Err(format!("{this} and {not} exclude each other: write one of them")),
    }
}

fn only(object: &Object, what: &str, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(format!("{} is not implemented in {what}: use only {}", quoted(name), known.join(", "))),
    }
}

fn required<'a>(object: &'a Object, name: &str) -> Result<&'a Json, String> {
    object.get(name).ok_or_else(|| format!("{name} is missing"))
}

fn object<'a>(what: &str, json: &'a Json) -> Result<&'a Object, String> {
    match json {
        Json::Object(object) => Ok(object),
        _ => Err(format!("{what} is not a JSON object")),
    }
}

fn some_object<'a>(what: &str, json: &'a Json) -> Result<&'a Object, String> {
    let object = object(what, json)?;
    if object.is_empty() { Err(format!("{what} is empty: leave it out")) } else { Ok(object) }
}

fn text<'a>(what: &str, json: &'a Json) -> Result<&'a str, String> {
    match json {
        Json::Text(text) => Ok(text),
        _ => Err(format!("{what} is not a string")),
    }
}

/// Returns a single value, or the values of an array.
fn one_or_more<'a>(what: &str, json: &'a Json) -> Result<&'a [Json], String> {
    match json {
        Json::List(list) if list.is_empty() => Err(format!("{what} is an empty array")),
        Json::List(list) => Ok(list),
        one => Ok(std::slice::from_ref(one)),
    }
}

fn each_text<T>(what: &str, json: &Json, mut read: impl FnMut(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    one_or_more(what, json)?.iter().map(|json| read(text(what, json)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::pattern::Pattern;

    const STATEMENT: [(&str, &str); 4] = [
        ("Effect", r#""Allow""#),
        ("Principal", r#"{"AWS": "111122223333"}"#),
        ("Action", r#""kms:*""#),
        ("Resource", r#""*""#),
    ];

    fn object_of(elements: &[(&str, &str)]) -> String {
        let elements: Vec<_> = elements.iter().map(|(name, json)| format!("{name:?}: {json}")).collect();
        format!("{{{}}}", elements.join(", "))
    }

    /// Returns a valid statement in which one element is replaced.
    fn statement_with(name: &str, json: &str) -> String {
        let others = STATEMENT.into_iter().filter(|(other, _)| *other != name);
        object_of(&others.chain([(name, json)]).collect::<Vec<_>>())
    }

    fn read_key(json: &str) -> Result<Vec<Statement>, String> {
        read(json, PolicyKind::Key)
    }

    fn read_with(name: &str, json: &str) -> Result<Vec<Statement>, String> {
        read_key(&format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statement_with(name, json)))
    }

    #[test]
    fn every_element_is_read() {
        let condition = r#"{
            "StringEquals": {"kms:EncryptionContext:a": ["1", "2"], "kms:CallerAccount": "111122223333"},
            "Null": {"kms:EncryptionContextKeys": false}
        }"#;
        let first = object_of(&[&STATEMENT[..], &[("Sid", r#""with spaces""#), ("Condition", condition)]].concat());
        let second = object_of(&[
            ("Resource", r#"["arn:aws:kms:*:111122223333:key/?*", "*"]"#),
            ("Action", r#"["kms:Encrypt", "KMS:Re*"]"#),
            ("Principal", r#"{"AWS": ["*", "arn:aws:iam::111122223333:role/app"]}"#),
            ("Effect", r#""Deny""#),
        ]);
        for version in VERSIONS {
            let json = format!(r#"{{"Version": "{version}", "Id": "x", "Statement": [{first}, {second}]}}"#);
            let statements = read_key(&json).unwrap();
            let [first, second] = statements.as_slice() else { panic!("{statements:?}") };
            assert_eq!((first.effect, second.effect), (Effect::Allow, Effect::Deny));
            assert_eq!((first.principals.all.len(), second.principals.all.len()), (1, 2));
            assert_eq!((first.conditions.len(), second.conditions.len()), (3, 0));
            let patterns = |texts: [&str; 2]| texts.map(|text| Pattern::parse(text).unwrap());
            assert_eq!(second.actions.patterns, patterns(["kms:encrypt", "kms:re*"]));
            assert_eq!(second.resources.all.len(), 2);
            assert_eq!((first.sid.as_deref(), second.sid.as_deref()), (Some("with spaces"), None));
        }
        let alone = format!(r#"{{"Statement": {}}}"#, object_of(&STATEMENT));
        assert_eq!(read_key(&alone).unwrap().len(), 1);
    }

    #[test]
    fn elements_that_are_unknown_or_missing_are_refused_by_name() {
        for name in ["Principals", "NotEffect", "effect", "Conditions", ""] {
            let message = read_with(name, r#""*""#).unwrap_err();
            assert!(message.contains(&quoted(name)) && message.contains("statement 1"), "{message}");
        }
        for (name, _) in STATEMENT {
            let others: Vec<_> = STATEMENT.into_iter().filter(|(other, _)| *other != name).collect();
            let json = format!(r#"{{"Statement": [{}, {}]}}"#, object_of(&STATEMENT), object_of(&others));
            assert_eq!(read_key(&json).unwrap_err(), format!("in statement 2, {name} is missing"));
        }
        assert!(read_key(r#"{"Statement": [], "Rules": 1}"#).unwrap_err().contains("\"Rules\""));
        assert!(read_key(r#"{"Version": "2012-10-17"}"#).unwrap_err().contains("Statement is missing"));
        for kind in ["Federated", "CanonicalUser", "aws", "service"] {
            let alone = format!(r#"{{"{kind}": "x.amazonaws.com"}}"#);
            let with_others = format!(r#"{{"AWS": "*", "{kind}": "x.amazonaws.com"}}"#);
            for json in [alone, with_others] {
                let message = read_with("Principal", &json).unwrap_err();
                assert!(message.contains(&quoted(kind)), "{message}");
            }
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_by_name() {
        let rows = [
            ("Effect", r#""allow""#, "\"allow\""),
            ("Effect", r#"["Allow"]"#, "Effect is not a string"),
            ("Sid", "1", "Sid is not a string"),
            ("Principal", r#""111122223333""#, "\"111122223333\""),
            ("Principal", r#"["*"]"#, "Principal is not a JSON object"),
            ("Principal", "{}", "Principal is empty"),
            ("Principal", r#"{"Service": "s3"}"#, "name of a service"),
            ("Principal", r#"{"Service": "*"}"#, "name of a service"),
            ("NotPrincipal", r#""*""#, "exclude each other"),
            ("NotAction", r#""*""#, "exclude each other"),
            ("NotResource", r#""*""#, "exclude each other"),
            ("Principal", r#"{"AWS": []}"#, "AWS is an empty array"),
            ("Principal", r#"{"AWS": [["*"]]}"#, "AWS is not a string"),
            ("Principal", r#"{"AWS": "arn:aws:iam::111122223333:user/*"}"#, "user/*"),
            ("Principal", r#"{"AWS": "arn:aws:iam::111122223333:group/x"}"#, "group/x"),
            ("Action", "[]", "Action is an empty array"),
            ("Action", "{}", "Action is not a string"),
            ("Action", r#"["kms:Decrypt", "kms:Decrpt"]"#, "\"kms:Decrpt\""),
            ("Action", r#""s3:GetObject""#, "\"s3:GetObject\""),
            ("Resource", "[]", "Resource is an empty array"),
            ("Resource", "null", "Resource is not a string"),
            ("Resource", r#""arn:aws:s3:::bucket""#, "\"arn:aws:s3:::bucket\""),
            ("Resource", r#""arn:aws:*:eu-west-1:111122223333:key/1""#, "aws:*:eu"),
            ("Resource", r#""arn:aws:kms:eu-west-1:111122223333:alias/a""#, "alias/a"),
            ("Resource", r#""arn:aws:kms:*""#, "\"arn:aws:kms:*\""),
            ("Resource", r#""key/*""#, "\"key/*\""),
            ("Resource", r#""""#, "\"\""),
            ("Resource", r#""arn:aws:kms:*:*:key/${aws:TagKeys}""#, "variable"),
            ("Condition", "{}", "Condition is empty"),
            ("Condition", "[]", "Condition is not a JSON object"),
            ("Condition", r#"{"Bool": {}}"#, "\"Bool\" is empty"),
            ("Condition", r#"{"Bool": true}"#, "\"Bool\" is not a JSON object"),
            ("Condition", r#"{"Null": {"kms:ViaService": []}}"#, "\"kms:ViaService\" is an empty array"),
            ("Condition", r#"{"ArnLike": {"aws:PrincipalArn": "*"}}"#, "ArnLike"),
            ("Condition", r#"{"StringIs": {"aws:SourceVpc": "x"}}"#, "\"StringIs\""),
            ("Condition", r#"{"StringEquals": {"aws:Nothing": "x"}}"#, "\"aws:Nothing\""),
        ];
        for (name, json, expected) in rows {
            let message = read_with(name, json).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let statement = object_of(&STATEMENT);
        let policies = [
            (format!(r#"{{"Version": "2012-10-18", "Statement": {statement}}}"#), "\"2012-10-18\""),
            (format!(r#"{{"Version": 2012, "Statement": {statement}}}"#), "Version is not a string"),
            (format!(r#"{{"Id": {{}}, "Statement": {statement}}}"#), "Id is not a string"),
            (r#"{"Statement": []}"#.to_owned(), "Statement is an empty array"),
            (format!(r#"{{"Statement": [[{statement}]]}}"#), "statement is not a JSON object"),
            (format!("[{statement}]"), "policy is not a JSON object"),
            (format!(r#"{{"Statement": {statement}}} x"#), "cannot be read"),
        ];
        for (json, expected) in policies {
            let message = read_key(&json).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn keys_that_occur_twice_are_refused() {
        let twice = [
            format!(r#"{{"Statement": {s}, "Statement": {s}}}"#, s = object_of(&STATEMENT)),
            format!(r#"{{"Statement": {}}}"#, object_of(&[&STATEMENT[..], &[("Effect", r#""Deny""#)]].concat())),
            format!(r#"{{"Statement": {}}}"#, statement_with("Principal", r#"{"AWS": "*", "AWS": "*"}"#)),
        ];
        for json in twice {
            assert!(read_key(&json).unwrap_err().contains("occurs twice"));
        }
        let conditions = [
            r#"{"Null": {"kms:ViaService": true}, "Null": {"kms:CallerAccount": false}}"#,
            r#"{"StringLike": {"kms:ViaService": "a", "kms:ViaService": "b"}}"#,
            r#"{"StringLike": {"kms:ViaService": "a", "KMS:viaService": "b"}}"#,
            r#"{"StringLike": {"kms:EncryptionContext:A": "a", "kms:EncryptionContext:a": "b"}}"#,
        ];
        for condition in conditions {
            let message = read_with("Condition", condition).unwrap_err();
            assert!(message.contains("occurs twice"), "{message}");
        }
        let once = r#"{"StringLike": {"kms:ViaService": "a"}, "StringNotLike": {"kms:ViaService": "b"}}"#;
        assert_eq!(read_with("Condition", once).unwrap()[0].conditions.len(), 2);
    }

    #[test]
    fn a_policy_has_32_kibibytes_at_most() {
        const MAX_LEN: usize = PolicyKind::Key.max_len();
        let json = format!(r#"{{"Statement": {}}}"#, object_of(&STATEMENT));
        assert!(read_key(&format!("{json:MAX_LEN$}")).is_ok());
        let message = read_key(&format!("{json:0$}", MAX_LEN + 1)).unwrap_err();
        assert!(message.contains("32769 bytes"), "{message}");
    }
}
