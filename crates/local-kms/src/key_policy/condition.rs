//! Conditions of a statement on the values of a request.

use std::borrow::Cow;

use manila_core::internal::quoted;

use super::Effect;
use super::asked::{Asked, fold};
use super::json::Json;
use super::pattern::{Pattern, has_variable, has_wildcard};

const CONTEXT_PREFIX: &str = "kms:EncryptionContext:";

/// One operator, one key, and the policy's values for it.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    operator: Operator,
    key: Key,
    values: Values,
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    /// True of an absent key if the value is `true`, of a present one if it is `false`.
    Null,
    Compare {
        quantifier: Quantifier,
        comparison: Comparison,
        negated: bool,
    },
}

/// The number of the request's values for which a comparison must be true.
#[derive(Clone, Copy, Debug)]
enum Quantifier {
    /// The request has at most one value.
    Single,
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equals,
    Like,
    Bool,
}

/// The policy's values, in the form in which they are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    /// Sorted.
    Texts(Vec<String>),
    Patterns(Vec<Pattern>),
    Booleans(Vec<String>),
}

/// The key of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// The value of this key in the encryption context.
    EncryptionContext {
        /// With ASCII letters in lower case.
        name: String,
        /// With [folded](fold) case.
        folded: String,
    },
    /// The keys of the encryption context.
    EncryptionContextKeys,
    /// Always absent, because no requests come through another service.
    ViaService,
    /// The account of the principal.
    CallerAccount,
    /// The ARN of the principal, or of the role of a session.
    PrincipalArn,
}

impl Condition {
    pub(super) fn parse(operator_name: &str, key_name: &str, values: &[Json]) -> Result<Self, String> {
        let operator = Operator::parse(operator_name)?;
        let key = Key::parse(key_name)?;
        let single = matches!(operator, Operator::Compare { quantifier: Quantifier::Single, .. });
        if single && key.is_multivalued() {
            return Err(format!(
                "{operator_name} is for keys of one value, and {} has many: use ForAllValues:{operator_name} or \
                 ForAnyValue:{operator_name}",
                quoted(key_name)
            ));
        }
        let refuse = |why| format!("in {operator_name}, a value of {} is not valid: {why}", quoted(key_name));
        let values = operator.read_values(values).map_err(refuse)?;
        Ok(Self { operator, key, values })
    }

    /// Returns whether a request satisfies the condition.
    ///
    /// If a request has several possible readings, in `Allow` all of them must satisfy it, in `Deny` one.
    pub(super) fn holds(&self, effect: Effect, asked: &Asked<'_>) -> bool {
        match &self.key {
            Key::EncryptionContext { name, folded } => {
                let pairs = asked.pairs(folded);
                // It is unknown which non-ASCII letters AWS treats as equal: the key may be meant, or be absent.
                let is_meant = pairs.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
                let absent = (!is_meant).then_some(None);
                let mut readings = pairs.iter().map(|(_, value)| Some(*value)).chain(absent);
                let holds = |reading: Option<&str>| self.holds_of(reading.as_slice(), |value| self.values.fit(value));
                match effect {
                    Effect::Allow => readings.all(holds),
                    Effect::Deny => readings.any(holds),
                }
            }
            Key::EncryptionContextKeys => self.holds_of(asked.keys(), |value| self.values.fit(value)),
            Key::ViaService => self.holds_of(&[], |value| self.values.fit(value)),
            Key::CallerAccount => self.holds_of(asked.caller.account().as_slice(), |value| self.values.fit(value)),
            Key::PrincipalArn if asked.caller.is_session() => {
                let loosely = (effect == Effect::Deny) != self.is_negated();
                self.holds_of(&[asked.principal_arn()], |arn| self.values.fit_role(arn, loosely))
            }
            Key::PrincipalArn => self.holds_of(&[asked.principal_arn()], |value| self.values.fit(value)),
        }
    }

    /// Returns whether these values of the key satisfy the condition. An absent key has no values.
    fn holds_of(&self, values: &[&str], fit: impl Fn(&str) -> bool) -> bool {
        // AWS treats the empty text as null: as absent, for `Null` and for set operators.
        let is_null = !self.key.is_multivalued() && values.iter().all(|value| value.is_empty());
        let set = if is_null { &[] } else { values };
        match self.operator {
            Operator::Null => fit(if set.is_empty() { "true" } else { "false" }),
            Operator::Compare { quantifier, negated, .. } => {
                let mut found = |value: &&str| fit(value) != negated;
                match quantifier {
                    Quantifier::Single => values.first().map_or(negated, found),
                    Quantifier::ForAllValues => set.iter().all(found),
                    Quantifier::ForAnyValue => set.iter().any(&mut found),
                }
            }
        }
    }

    fn is_negated(&self) -> bool {
        matches!(self.operator, Operator::Compare { negated: true, .. })
    }

    /// Returns whether one of `others` has the same key.
    pub(super) fn repeats(&self, others: &[Self]) -> bool {
        others.iter().any(|other| other.key == self.key)
    }

    /// Returns the number of values that an encryption context is compared with.
    pub(super) fn context_values(&self) -> usize {
        match self.key {
            Key::EncryptionContext { .. } | Key::EncryptionContextKeys => self.values.len().saturating_add(1),
            Key::ViaService | Key::CallerAccount | Key::PrincipalArn => 0,
        }
    }

    /// Returns the memory that the condition takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        let key = match &self.key {
            Key::EncryptionContext { name, folded } => name.capacity().saturating_add(folded.capacity()),
            _ => 0,
        };
        key.saturating_add(self.values.memory())
    }
}

impl Operator {
    fn parse(name: &str) -> Result<Self, String> {
        let not_implemented = || format!("the condition operator {} is not implemented", quoted(name));
        let (quantifier, base) = match name.split_once(':') {
            None => (Quantifier::Single, name),
            Some(("ForAllValues", base)) => (Quantifier::ForAllValues, base),
            Some(("ForAnyValue", base)) => (Quantifier::ForAnyValue, base),
            Some(_) => return Err(not_implemented()),
        };
        let (comparison, negated) = match base {
            "StringEquals" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            "Bool" => (Comparison::Bool, false),
            "Null" if matches!(quantifier, Quantifier::Single) => return Ok(Self::Null),
            "Null" => return Err(format!("the condition operator {} does not exist: write Null", quoted(name))),
            _ => return Err(not_implemented()),
        };
        Ok(Self::Compare { quantifier, comparison, negated })
    }

    fn read_values(self, values: &[Json]) -> Result<Values, String> {
        let texts = values.iter().map(|value| self.read_value(value));
        let mut texts = texts.collect::<Result<Vec<_>, _>>()?;
        Ok(match self {
            Self::Null | Self::Compare { comparison: Comparison::Bool, .. } => Values::Booleans(texts),
            Self::Compare { comparison: Comparison::Like, .. } => {
                Values::Patterns(texts.into_iter().map(Pattern::parse).collect::<Result<_, _>>()?)
            }
            Self::Compare { comparison: Comparison::Equals, .. } => {
                texts.sort_unstable();
                Values::Texts(texts)
            }
        })
    }

    fn read_value(self, value: &Json) -> Result<String, String> {
        let of_booleans = matches!(self, Self::Null | Self::Compare { comparison: Comparison::Bool, .. });
        match value {
            Json::Text(text) if has_variable(text) => {
                Err(format!("{} has a policy variable (${{...}}), which is not implemented", quoted(text)))
            }
            Json::Text(text) if of_booleans && !matches!(text.as_str(), "true" | "false") => {
                Err(format!("{} is neither true nor false", quoted(text)))
            }
            Json::Text(text) => Ok(text.clone()),
            Json::Bool(value) if of_booleans => Ok(value.to_string()),
            _ => Err("it is not a string".to_owned()),
        }
    }
}

impl Values {
    /// Returns whether one of the values matches a request's value.
    fn fit(&self, value: &str) -> bool {
        match self {
            Self::Texts(texts) => texts.binary_search_by(|text| text.as_str().cmp(value)).is_ok(),
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.matches(value)),
            Self::Booleans(booleans) => booleans.iter().any(|boolean| value.eq_ignore_ascii_case(boolean)),
        }
    }

    /// Returns whether one of the values matches the ARN of a session's role.
    ///
    /// The role's path is unknown, and role names are unique in an account, so a path in the policy is ignored. In a
    /// pattern it is ignored only if it is safe to match too much.
    fn fit_role(&self, arn: &str, loosely: bool) -> bool {
        match self {
            Self::Texts(texts) => texts.iter().any(|text| without_path(text) == arn),
            Self::Patterns(patterns) => patterns.iter().any(|pattern| {
                let text = pattern.as_str();
                let may = || loosely || !has_wildcard(text);
                pattern.matches(arn)
                    || may() && Pattern::parse(without_path(text)).map_or(loosely, |pattern| pattern.matches(arn))
            }),
            Self::Booleans(_) => self.fit(arn),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) | Self::Booleans(texts) => texts.len(),
            Self::Patterns(patterns) => patterns.len(),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Texts(texts) | Self::Booleans(texts) => memory_of(texts, String::capacity),
            Self::Patterns(patterns) => memory_of(patterns, Pattern::memory),
        }
    }
}

/// Returns the memory of a list, including what each item takes in addition to itself, in bytes.
pub(super) fn memory_of<T>(list: &Vec<T>, beside: impl Fn(&T) -> usize) -> usize {
    let items = list.capacity().saturating_mul(size_of::<T>());
    list.iter().map(beside).fold(items, usize::saturating_add)
}

/// Returns the ARN of a role without the role's path.
fn without_path(arn: &str) -> Cow<'_, str> {
    let role = arn.split_once("role/").and_then(|(account, role)| Some((account, role.rsplit_once('/')?.1)));
    role.map_or(Cow::Borrowed(arn), |(account, name)| Cow::Owned(format!("{account}role/{name}")))
}

impl Key {
    /// Parses a key's name, ignoring case.
    fn parse(name: &str) -> Result<Self, String> {
        if has_variable(name) {
            return Err(format!("the condition key {} has a policy variable (${{...}})", quoted(name)));
        }
        let prefix = name.get(..CONTEXT_PREFIX.len()).unwrap_or_default();
        if prefix.eq_ignore_ascii_case(CONTEXT_PREFIX) {
            let key = name.get(CONTEXT_PREFIX.len()..).unwrap_or_default();
            let missing = || format!("the condition key {} lacks a key of the encryption context", quoted(name));
            return if key.is_empty() { Err(missing()) } else { Ok(Self::of_context(key)) };
        }
        match name.to_ascii_lowercase().as_str() {
            "kms:encryptioncontextkeys" => Ok(Self::EncryptionContextKeys),
            "kms:viaservice" => Ok(Self::ViaService),
            "kms:calleraccount" => Ok(Self::CallerAccount),
            "aws:principalarn" => Ok(Self::PrincipalArn),
            _ => Err(format!("the condition key {} is not implemented", quoted(name))),
        }
    }

    fn of_context(key: &str) -> Self {
        Self::EncryptionContext { name: key.to_ascii_lowercase(), folded: fold(key) }
    }

    fn is_multivalued(&self) -> bool {
        matches!(self, Self::EncryptionContextKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_policy::AccessRequest;
    use crate::key_policy::principal::Identity;
    use manila_core::EncryptionContext;

    const T: bool = true;
    const F: bool = false;
    const USER: &str = "arn:aws:iam::111122223333:user/alice";

    fn parse(operator: &str, key: &str, values: &[&str]) -> Condition {
        let values: Vec<_> = values.iter().map(|value| Json::Text((*value).to_owned())).collect();
        Condition::parse(operator, key, &values).unwrap()
    }

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        EncryptionContext::new(pairs.iter().copied()).unwrap()
    }

    fn holds_for(condition: &Condition, effect: Effect, principal: &str, context: Option<&EncryptionContext>) -> bool {
        let request = AccessRequest {
            principal,
            action: "kms:Decrypt",
            key_arn: "arn:aws:kms:eu-west-1:111122223333:key/1",
            encryption_context: context,
        };
        condition.holds(effect, &Asked::new(Identity::parse(principal).unwrap(), &request))
    }

    /// An operator, the policy's values, and the result for each of some contexts.
    type Row<'a, const N: usize> = (&'a str, &'a [&'a str], [bool; N]);

    /// Checks every row against the contexts, for either effect.
    fn check<const N: usize>(key: &str, contexts: &[Option<EncryptionContext>; N], rows: &[Row<'_, N>]) {
        for (operator, values, expected) in rows {
            let condition = parse(operator, key, values);
            for effect in [Effect::Allow, Effect::Deny] {
                let found = contexts.each_ref().map(|context| holds_for(&condition, effect, USER, context.as_ref()));
                assert_eq!(found, *expected, "{operator} {values:?} {effect:?}");
            }
        }
    }

    // The expected values of the tables come from the IAM User Guide: "Condition operators" for absent keys,
    // "Conditions with multiple context keys or values" for negation, "Single-valued vs. multivalued context keys" for
    // sets, and "Condition" for the empty text, which is null.

    #[test]
    #[rustfmt::skip]
    fn a_key_of_one_value() {
        let contexts = [None, Some(context(&[])), Some(context(&[("dept", "")])), Some(context(&[("dept", "IT")])),
                        Some(context(&[("dept", "HR"), ("other", "IT")]))];
        check("kms:EncryptionContext:dept", &contexts, &[
            //                                                no context, absent, "", IT, HR
            ("StringEquals",                 &["IT"],         [F, F, F, T, F]),
            ("StringEquals",                 &["IT", "HR"],   [F, F, F, T, T]),
            ("StringEquals",                 &["it", "I*"],   [F, F, F, F, F]),
            ("StringEquals",                 &[""],           [F, F, T, F, F]),
            ("StringNotEquals",              &["IT"],         [T, T, T, F, T]),
            ("StringNotEquals",              &["IT", "HR"],   [T, T, T, F, F]),
            ("StringNotEquals",              &[""],           [T, T, F, T, T]),
            ("StringLike",                   &["I*"],         [F, F, F, T, F]),
            ("StringLike",                   &["?T", "?R"],   [F, F, F, T, T]),
            ("StringLike",                   &["*"],          [F, F, T, T, T]),
            ("StringLike",                   &["i*", "?"],    [F, F, F, F, F]),
            ("StringNotLike",                &["I*"],         [T, T, T, F, T]),
            ("StringNotLike",                &["I*", "?R"],   [T, T, T, F, F]),
            ("StringNotLike",                &["*"],          [T, T, F, F, F]),
            ("Null",                         &["true"],       [T, T, T, F, F]),
            ("Null",                         &["false"],      [F, F, F, T, T]),
            ("Null",                 &["true", "false"],      [T, T, T, T, T]),
            ("ForAllValues:StringEquals",    &["IT"],         [T, T, T, T, F]),
            ("ForAllValues:StringNotEquals", &["IT"],         [T, T, T, F, T]),
            ("ForAllValues:StringLike",      &["I*"],         [T, T, T, T, F]),
            ("ForAllValues:StringNotLike",   &["I*"],         [T, T, T, F, T]),
            ("ForAnyValue:StringEquals",     &["IT"],         [F, F, F, T, F]),
            ("ForAnyValue:StringNotEquals",  &["IT"],         [F, F, F, F, T]),
            ("ForAnyValue:StringLike",       &["*"],          [F, F, F, T, T]),
            ("ForAnyValue:StringNotLike",    &["I*"],         [F, F, F, F, T]),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn a_key_of_many_values() {
        let keys = |keys: &[&str]| Some(EncryptionContext::new(keys.iter().map(|key| (*key, "x"))).unwrap());
        let contexts = [None, keys(&[]), keys(&["a"]), keys(&["z"]), keys(&["a", "b"]), keys(&["a", "z"]),
                        keys(&["y", "z"]), keys(&[""])];
        check("kms:EncryptionContextKeys", &contexts, &[
            //                                                no context, {}, a, z, a b, a z, y z, ""
            ("ForAllValues:StringEquals",    &["a", "b"],     [T, T, T, F, T, F, F, F]),
            ("ForAllValues:StringNotEquals", &["a", "b"],     [T, T, F, T, F, F, T, T]),
            ("ForAllValues:StringLike",      &["a*", "?b*"],  [T, T, T, F, F, F, F, F]),
            ("ForAllValues:StringNotLike",   &["a*", "?b*"],  [T, T, F, T, F, F, T, T]),
            ("ForAllValues:Bool",            &["true"],       [T, T, F, F, F, F, F, F]),
            ("ForAnyValue:StringEquals",     &["a", "b"],     [F, F, T, F, T, T, F, F]),
            ("ForAnyValue:StringEquals",     &["A", "B"],     [F, F, F, F, F, F, F, F]),
            ("ForAnyValue:StringNotEquals",  &["a", "b"],     [F, F, F, T, F, T, T, T]),
            ("ForAnyValue:StringLike",       &["*"],          [F, F, T, T, T, T, T, T]),
            ("ForAnyValue:StringNotLike",    &["?"],          [F, F, F, F, F, F, F, T]),
            ("ForAnyValue:Bool",             &["true"],       [F, F, F, F, F, F, F, F]),
            ("Null",                         &["true"],       [T, T, F, F, F, F, F, F]),
            ("Null",                         &["false"],      [F, F, T, T, T, T, T, T]),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn booleans() {
        let value = |value| Some(context(&[("mfa", value)]));
        let contexts = [None, value(""), value("true"), value("false"), value("True"), value("yes")];
        check("kms:EncryptionContext:mfa", &contexts, &[
            //                                                absent, "", true, false, True, yes
            ("Bool",                         &["true"],       [F, F, T, F, T, F]),
            ("Bool",                         &["false"],      [F, F, F, T, F, F]),
            ("Bool",                 &["true", "false"],      [F, F, T, T, T, F]),
            ("ForAllValues:Bool",            &["true"],       [T, T, T, F, T, F]),
            ("ForAnyValue:Bool",             &["true"],       [F, F, T, F, T, F]),
        ]);
    }

    /// An operator, the policy's values, and the results for some contexts under `Allow` and under `Deny`.
    type AmbiguousRow<'a> = (&'a str, &'a [&'a str], [bool; 5], [bool; 5]);

    /// The condition's key may match several keys of the context: `Allow` needs all of them, `Deny` one.
    #[test]
    #[rustfmt::skip]
    fn keys_that_differ_only_in_case_are_read_on_the_safe_side() {
        let of = |values: [&str; 2]| context(&[("dept", values[0]), ("DEPT", values[1])]);
        let contexts = [of(["IT", "IT"]), of(["IT", "HR"]), of(["HR", "IT"]), of(["HR", "HR"]), of(["", "IT"])];
        let rows: [AmbiguousRow<'_>; 8] = [
            // IT IT, IT HR, HR IT, HR HR, "" IT:               Allow            Deny
            ("StringEquals",                 &["IT"],         [T, F, F, F, F], [T, T, T, F, T]),
            ("StringEquals",                 &["IT", "HR"],   [T, T, T, T, F], [T, T, T, T, T]),
            ("StringNotEquals",              &["IT"],         [F, F, F, T, F], [F, T, T, T, T]),
            ("StringNotLike",                &["H*"],         [T, F, F, F, T], [T, T, T, F, T]),
            ("ForAllValues:StringEquals",    &["IT"],         [T, F, F, F, T], [T, T, T, F, T]),
            ("ForAnyValue:StringEquals",     &["IT"],         [T, F, F, F, F], [T, T, T, F, T]),
            ("Null",                         &["true"],       [F, F, F, F, F], [F, F, F, F, T]),
            ("Null",                         &["false"],      [T, T, T, T, F], [T, T, T, T, T]),
        ];
        for key in ["kms:EncryptionContext:dept", "KMS:encryptionCONTEXT:Dept"] {
            for (operator, values, allow, deny) in &rows {
                let condition = parse(operator, key, values);
                let of = |effect| contexts.each_ref().map(|context| holds_for(&condition, effect, USER, Some(context)));
                assert_eq!((of(Effect::Allow), of(Effect::Deny)), (*allow, *deny), "{operator} {values:?}");
            }
        }
    }

    /// It is not known whether AWS ignores the case of such letters: the context's key may match or not.
    #[test]
    #[rustfmt::skip]
    fn letters_beyond_ascii_are_read_on_the_safe_side() {
        let rows = [
            // The condition's key, the context's key, and the results if they may match and do: Allow, Deny; negated:
            // Allow, Deny.
            ("\u{c4}pfel AWS", "\u{c4}PFEL aws", [T, T], [F, F]),
            ("\u{c4}pfel aws", "\u{e4}PFEL AWS", [F, T], [F, T]),
            ("k",              "\u{212a}",       [F, T], [F, T]),
            ("\u{3c3}",        "\u{3c2}",        [F, T], [F, T]),
            ("\u{3c3}",        "\u{3a3}",        [F, T], [F, T]),
            ("\u{c4}pfel",     "apfel",          [F, F], [T, T]),
        ];
        for (wanted, found, positive, negated) in rows {
            let context = context(&[(found, "1")]);
            for (operator, expected) in [("StringEquals", positive), ("StringNotEquals", negated)] {
                let condition = parse(operator, &format!("kms:EncryptionContext:{wanted}"), &["1"]);
                let of = |effect| holds_for(&condition, effect, USER, Some(&context));
                assert_eq!([of(Effect::Allow), of(Effect::Deny)], expected, "{operator} {wanted} {found}");
            }
        }
    }

    /// The ARN of a session does not contain the role's path.
    #[test]
    #[rustfmt::skip]
    fn a_role_with_a_path_is_its_sessions_role() {
        const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/app/i-1";
        let rows = [
            //                                                        positive: Allow, Deny; negated: Allow, Deny
            ("arn:aws:iam::111122223333:role/app",                    [T, T], [F, F]),
            ("arn:aws:iam::111122223333:role/service/app",            [T, T], [F, F]),
            ("arn:aws:iam::111122223333:role/service/other",          [F, F], [T, T]),
            ("arn:aws:iam::444455556666:role/service/app",            [F, F], [T, T]),
        ];
        let patterns = [
            ("arn:aws:iam::111122223333:role/service/*",              [F, T], [F, T]),
            ("arn:aws:iam::*:role/aws-reserved/*/ap?",                [F, T], [F, T]),
            ("arn:aws:iam::*:role/service/other-*",                   [F, F], [T, T]),
            ("arn:aws:iam::*:role/*",                                 [T, T], [F, F]),
        ];
        let equals = rows.iter().map(|row| (["StringEquals", "StringNotEquals"], row));
        let like = rows.iter().chain(&patterns).map(|row| (["StringLike", "StringNotLike"], row));
        for (operators, (value, positive, negated)) in equals.chain(like) {
            for (operator, expected) in operators.into_iter().zip([positive, negated]) {
                let condition = parse(operator, "aws:PrincipalArn", &[value]);
                let of = |effect| holds_for(&condition, effect, SESSION, None);
                assert_eq!([of(Effect::Allow), of(Effect::Deny)], *expected, "{operator} {value}");
            }
        }
    }

    #[test]
    fn an_account_of_another_partition_is_another_account() {
        let condition = parse("StringEquals", "kms:CallerAccount", &["111122223333"]);
        for effect in [Effect::Allow, Effect::Deny] {
            assert!(holds_for(&condition, effect, USER, None));
            assert!(!holds_for(&condition, effect, "arn:aws-cn:iam::111122223333:user/alice", None));
        }
    }

    /// The examples that the IAM User Guide (`PostDateTime` and so on) and the KMS Developer Guide (`AppName`) explain
    /// in their text.
    #[test]
    fn what_aws_says_of_its_examples() {
        let rows: [(&str, &[&str], &[&str], bool); 8] = [
            ("ForAllValues:StringEquals", &["PostDateTime", "Message", "Tags"], &["PostDateTime", "UserName"], F),
            ("ForAllValues:StringEquals", &["ID", "Message", "Tags"], &["Message", "Tags", "ID"], T),
            ("ForAllValues:StringEquals", &["ID", "Message", "Tags"], &["Message", "Tags", "UserName"], F),
            ("ForAnyValue:StringEquals", &["ID", "PostDateTime"], &["UserName", "Message", "PostDateTime"], T),
            ("ForAnyValue:StringEquals", &["ID", "PostDateTime"], &["UserName"], F),
            ("ForAnyValue:StringEquals", &["AppName"], &["AppName", "Project"], T),
            ("ForAnyValue:StringEquals", &["AppName"], &["Project"], F),
            ("ForAnyValue:StringEquals", &["AppName"], &[], F),
        ];
        for (operator, values, keys, expected) in rows {
            let condition = parse(operator, "kms:EncryptionContextKeys", values);
            let context = EncryptionContext::new(keys.iter().map(|key| (*key, "x"))).unwrap();
            let found = holds_for(&condition, Effect::Allow, USER, Some(&context));
            assert_eq!(found, expected, "{operator} {values:?} {keys:?}");
        }
    }

    #[test]
    fn keys_that_do_not_come_from_the_context() {
        const SESSION: &str = "arn:aws:sts::444455556666:assumed-role/app/i-1";
        let rows = [
            ("StringEquals", "kms:CallerAccount", "111122223333", T, F),
            ("StringEquals", "KMS:calleraccount", "444455556666", F, T),
            ("Null", "kms:CallerAccount", "true", F, F),
            ("StringEquals", "aws:PrincipalArn", USER, T, F),
            ("StringEquals", "aws:PrincipalArn", SESSION, F, F),
            ("StringEquals", "AWS:PRINCIPALARN", "arn:aws:iam::444455556666:role/app", F, T),
            ("StringLike", "aws:PrincipalArn", "arn:aws:iam::*:role/*", F, T),
            ("StringEquals", "kms:ViaService", "s3.eu-west-1.amazonaws.com", F, F),
            ("StringNotEquals", "kms:ViaService", "s3.eu-west-1.amazonaws.com", T, T),
            ("Null", "kms:viaservice", "true", T, T),
        ];
        for (operator, key, value, user, session) in rows {
            let condition = parse(operator, key, &[value]);
            let found = [USER, SESSION].map(|principal| holds_for(&condition, Effect::Allow, principal, None));
            assert_eq!(found, [user, session], "{operator} {key} {value}");
        }
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let operators = [
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringEqualsIfExists",
            "StringLikeIfExists",
            "BoolIfExists",
            "stringequals",
            "STRINGLIKE",
            "null",
            "ArnEquals",
            "ArnLike",
            "ArnNotLike",
            "NumericEquals",
            "NumericLessThan",
            "DateGreaterThan",
            "BinaryEquals",
            "IpAddress",
            "NotIpAddress",
            "ForAllValues:Null",
            "ForAnyValue:Null",
            "ForAllValues:ArnLike",
            "ForAllValues:StringEqualsIfExists",
            "ForNoValue:StringEquals",
            "forallvalues:StringEquals",
            "ForAllValues:",
            "ForAllValues:ForAnyValue:StringEquals",
            ":StringEquals",
            "",
        ];
        let value = [Json::Text("true".to_owned())];
        for operator in operators {
            let message = Condition::parse(operator, "kms:EncryptionContext:a", &value).unwrap_err();
            assert!(message.contains(&quoted(operator)), "{message}");
        }
        let keys = [
            "aws:SourceIp",
            "aws:PrincipalOrgID",
            "aws:username",
            "kms:KeySpec",
            "kms:GrantIsForAWSResource",
            "kms:EncryptionContext",
            "kms:EncryptionContext:",
            "kms:EncryptionContextKey",
            "EncryptionContext:a",
            "kms:EncryptionContext:${aws:username}",
            "",
        ];
        for key in keys {
            let message = Condition::parse("StringEquals", key, &value).unwrap_err();
            assert!(message.contains(&quoted(key)), "{message}");
        }
    }

    #[test]
    fn a_key_of_many_values_needs_a_set_operator() {
        for operator in ["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "Bool"] {
            let values = [Json::Text("true".to_owned())];
            let message = Condition::parse(operator, "kms:encryptioncontextkeys", &values).unwrap_err();
            for part in ["kms:encryptioncontextkeys", "ForAllValues:", "ForAnyValue:", operator] {
                assert!(message.contains(part), "{message}");
            }
        }
    }

    #[test]
    fn values_are_of_the_operators_type() {
        let parse = |operator: &str, value| Condition::parse(operator, "kms:EncryptionContext:a", &[value]);
        let text = |text: &str| Json::Text(text.to_owned());
        for operator in ["Bool", "Null", "ForAnyValue:Bool"] {
            assert_eq!(parse(operator, Json::Bool(true)).unwrap().values, Values::Booleans(vec!["true".to_owned()]));
            assert_eq!(parse(operator, text("false")).unwrap().values, Values::Booleans(vec!["false".to_owned()]));
            for wrong in ["TRUE", "1", "", "yes"] {
                assert!(parse(operator, text(wrong)).unwrap_err().contains(&format!("{wrong:?} is neither")));
            }
        }
        for operator in ["StringEquals", "StringNotLike", "Bool", "Null"] {
            let wrong = [Json::Other, Json::List(vec![text("true")]), Json::Object(std::collections::BTreeMap::new())];
            for wrong in wrong {
                assert!(parse(operator, wrong).unwrap_err().contains("it is not a string"));
            }
            for variable in ["${aws:username}", "a${*}", "${"] {
                assert!(
                    parse(operator, text(variable))
                        .unwrap_err()
                        .contains(&format!("{variable:?} has a policy variable"))
                );
            }
        }
        assert!(parse("StringEquals", Json::Bool(true)).unwrap_err().contains("it is not a string"));
        assert!(parse("StringEquals", text("$ {a} $")).is_ok());
    }
}
