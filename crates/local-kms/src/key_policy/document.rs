//! Parsing of JSON into statements. Elements that are not known by name are refused by name.

use std::collections::BTreeMap;

use manila_core::internal::quoted;

use super::condition::Condition;
use super::json::Json;
use super::pattern::{Pattern, has_variable};
use super::principal::Principal;
use super::{Effect, Statement, action};

/// The maximum length of a policy in bytes, as in AWS KMS.
const MAX_LEN: usize = 32 * 1024;
/// The versions of the policy language. Here they are equivalent: the newer one adds variables, which are refused.
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];

type Object = BTreeMap<String, Json>;

/// Parses a policy; an error says what is wrong with it.
pub(super) fn read(json: &str) -> Result<Vec<Statement>, String> {
    if json.len() > MAX_LEN {
        return Err(format!("the policy has {} bytes, and at most {MAX_LEN} are allowed", json.len()));
    }
    let json = Json::read(json)?;
    let policy = object("the policy", &json)?;
    only(policy, "a policy", &["Version", "Id", "Statement"])?;
    if let Some(version) = policy.get("Version") {
        let version = text("Version", version)?;
        if !VERSIONS.contains(&version) {
            return Err(format!("the Version {} does not exist: write {}", quoted(version), VERSIONS[0]));
        }
    }
    policy.get("Id").map_or(Ok(""), |id| text("Id", id))?;
    let statements = one_or_more("Statement", required(policy, "Statement")?)?;
    let number = |(n, json)| statement(json).map_err(|message| format!("in statement {}, {message}", n + 1));
    statements.iter().enumerate().map(number).collect()
}

fn statement(json: &Json) -> Result<Statement, String> {
    let elements = object("the statement", json)?;
    only(elements, "a statement", &["Sid", "Effect", "Principal", "Action", "Resource", "Condition"])?;
    elements.get("Sid").map_or(Ok(""), |sid| text("Sid", sid))?;
    let effect = match text("Effect", required(elements, "Effect")?)? {
        "Allow" => Effect::Allow,
        "Deny" => Effect::Deny,
        other => return Err(format!("the Effect {} is neither Allow nor Deny", quoted(other))),
    };
    Ok(Statement {
        effect,
        principals: principals(required(elements, "Principal")?)?,
        actions: each_text("Action", required(elements, "Action")?, action::parse)?,
        resources: each_text("Resource", required(elements, "Resource")?, resource)?,
        conditions: elements.get("Condition").map_or(Ok(Vec::new()), conditions)?,
    })
}

fn principals(json: &Json) -> Result<Vec<Principal>, String> {
    if let Json::Text(everyone) = json {
        let refuse = || format!("the Principal {} is neither \"*\" nor an object", quoted(everyone));
        return if everyone == "*" { Ok(vec![Principal::Anyone]) } else { Err(refuse()) };
    }
    let kinds = object("Principal", json)?;
    only(kinds, "Principal", &["AWS"])?;
    each_text("AWS", required(kinds, "AWS")?, Principal::parse)
}

/// Parses `*` or the ARN of a key, with or without wildcards. AWS allows no wildcards in the ARN's service.
fn resource(text: &str) -> Result<Pattern, String> {
    if has_variable(text) {
        return Err(format!(
            "the Resource {} has a policy variable (${{...}}), which is not implemented",
            quoted(text)
        ));
    }
    let parts: Vec<_> = text.split(':').collect();
    match *parts.as_slice() {
        ["*"] => Pattern::parse(text),
        ["arn", _, "kms", _, _, name] if !name.starts_with("alias/") => Pattern::parse(text),
        _ => Err(format!("the Resource {} is neither \"*\" nor the ARN of a KMS key", quoted(text))),
    }
}

fn conditions(json: &Json) -> Result<Vec<Condition>, String> {
    let mut all = Vec::new();
    for (operator, keys) in some_object("Condition", json)? {
        let mut conditions: Vec<Condition> = Vec::new();
        for (key, values) in some_object(&quoted(operator), keys)? {
            let condition = Condition::parse(operator, key, one_or_more(&quoted(key), values)?)?;
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

fn each_text<T>(what: &str, json: &Json, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    one_or_more(what, json)?.iter().map(|json| read(text(what, json)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn read_with(name: &str, json: &str) -> Result<Vec<Statement>, String> {
        read(&format!(r#"{{"Statement": [{}]}}"#, statement_with(name, json)))
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
            let statements = read(&json).unwrap();
            let [first, second] = statements.as_slice() else { panic!("{statements:?}") };
            assert_eq!((first.effect, second.effect), (Effect::Allow, Effect::Deny));
            assert_eq!((first.principals.len(), second.principals.len()), (1, 2));
            assert_eq!((first.conditions.len(), second.conditions.len()), (3, 0));
            let patterns = |texts: [&str; 2]| texts.map(|text| Pattern::parse(text).unwrap());
            assert_eq!(second.actions, patterns(["kms:encrypt", "kms:re*"]));
            assert_eq!(second.resources, patterns(["arn:aws:kms:*:111122223333:key/?*", "*"]));
        }
        let alone = format!(r#"{{"Statement": {}}}"#, object_of(&STATEMENT));
        assert_eq!(read(&alone).unwrap().len(), 1);
    }

    #[test]
    fn elements_that_are_unknown_or_missing_are_refused_by_name() {
        for name in ["NotPrincipal", "NotAction", "NotResource", "effect", "Conditions", ""] {
            let message = read_with(name, r#""*""#).unwrap_err();
            assert!(message.contains(&quoted(name)) && message.contains("statement 1"), "{message}");
        }
        for (name, _) in STATEMENT {
            let others: Vec<_> = STATEMENT.into_iter().filter(|(other, _)| *other != name).collect();
            let json = format!(r#"{{"Statement": [{}, {}]}}"#, object_of(&STATEMENT), object_of(&others));
            assert_eq!(read(&json).unwrap_err(), format!("in statement 2, {name} is missing"));
        }
        assert!(read(r#"{"Statement": [], "Rules": 1}"#).unwrap_err().contains("\"Rules\""));
        assert!(read(r#"{"Version": "2012-10-17"}"#).unwrap_err().contains("Statement is missing"));
        for kind in ["Service", "Federated", "CanonicalUser", "aws"] {
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
            ("Principal", "{}", "AWS is missing"),
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
            ("Resource", r#""arn:aws:kms:*:*:key/${aws:username}""#, "variable"),
            ("Condition", "{}", "Condition is empty"),
            ("Condition", "[]", "Condition is not a JSON object"),
            ("Condition", r#"{"Bool": {}}"#, "\"Bool\" is empty"),
            ("Condition", r#"{"Bool": true}"#, "\"Bool\" is not a JSON object"),
            ("Condition", r#"{"Null": {"kms:ViaService": []}}"#, "\"kms:ViaService\" is an empty array"),
            ("Condition", r#"{"ArnLike": {"aws:PrincipalArn": "*"}}"#, "\"ArnLike\""),
            ("Condition", r#"{"StringEquals": {"aws:SourceVpc": "x"}}"#, "\"aws:SourceVpc\""),
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
            let message = read(&json).unwrap_err();
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
            assert!(read(&json).unwrap_err().contains("occurs twice"));
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
        let json = format!(r#"{{"Statement": {}}}"#, object_of(&STATEMENT));
        assert!(read(&format!("{json:MAX_LEN$}")).is_ok());
        let message = read(&format!("{json:0$}", MAX_LEN + 1)).unwrap_err();
        assert!(message.contains("32769 bytes"), "{message}");
    }
}
