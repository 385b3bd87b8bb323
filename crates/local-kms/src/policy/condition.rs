//! Conditions of a statement on the values of a request.

use manila_core::internal::quoted;

use super::asked::Asked;
use super::json::Json;
use super::key::{Key, NamedKey};
use super::operator::{Operator, Quantifier, Values};
use super::principal::Effect;

/// One operator, one key, and the policy's values for it.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    operator: Operator,
    key: Key,
    values: Values,
}

impl Condition {
    /// Parses a condition. `has_variables` is false in versions of the language without variables.
    pub(super) fn parse(
        operator_name: &str,
        key_name: &str,
        values: &[Json],
        has_variables: bool,
    ) -> Result<Self, String> {
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
        let values = Values::parse(operator, values, has_variables).map_err(refuse)?;
        Ok(Self { operator, key, values })
    }

    /// Returns whether a request satisfies the condition.
    ///
    /// If a request has several possible readings, in `Allow` all of them must satisfy it, in `Deny` one.
    pub(super) fn holds(&self, effect: Effect, asked: &Asked<'_>) -> bool {
        let fit = |value: &str| self.values.fit(value, asked);
        match &self.key {
            Key::Member { map, name, folded } => {
                let pairs = asked.pairs(*map, folded);
                // It is unknown which non-ASCII letters AWS treats as equal: the key may be meant, or be absent.
                let is_meant = pairs.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
                let absent = (!is_meant).then_some(None);
                let mut readings = pairs.iter().map(|(_, value)| Some(*value)).chain(absent);
                let holds = |reading: Option<&str>| self.holds_of(reading.as_slice(), fit);
                match effect {
                    Effect::Allow => readings.all(holds),
                    Effect::Deny => readings.any(holds),
                }
            }
            Key::Named(NamedKey::PrincipalArn) if asked.is_of_unknown_path() => {
                let loosely = (effect == Effect::Deny) != self.operator.is_negated();
                self.holds_of(&[asked.principal_arn()], |arn| self.values.fit_role(arn, loosely, asked))
            }
            Key::Named(name) => self.holds_of(&asked.values(*name), fit),
            Key::Attestation => self.holds_of::<&str>(&[], fit),
        }
    }

    /// Returns whether these values of the key satisfy the condition. An absent key has no values.
    fn holds_of<T: AsRef<str>>(&self, values: &[T], fit: impl Fn(&str) -> bool) -> bool {
        // AWS treats the empty text as null: as absent, for `Null` and for set operators.
        let is_null = !self.key.is_multivalued() && values.iter().all(|value| value.as_ref().is_empty());
        let set = if is_null { &[] } else { values };
        match self.operator {
            Operator::Null => fit(if set.is_empty() { "true" } else { "false" }),
            Operator::Compare { if_exists: true, .. } if values.is_empty() => true,
            Operator::Compare { quantifier, negated, .. } => {
                let mut found = |value: &T| fit(value.as_ref()) != negated;
                match quantifier {
                    Quantifier::Single => values.first().map_or(negated, found),
                    Quantifier::ForAllValues => set.iter().all(found),
                    Quantifier::ForAnyValue => set.iter().any(&mut found),
                }
            }
        }
    }

    /// Returns whether one of `others` has the same key.
    pub(super) fn repeats(&self, others: &[Self]) -> bool {
        others.iter().any(|other| other.key == self.key)
    }

    /// Returns whether the condition compares the aliases of a key.
    pub(super) fn asks_for_aliases(&self) -> bool {
        self.key == Key::Named(NamedKey::ResourceAliases)
    }

    /// Returns the number of values that an encryption context is compared with.
    pub(super) fn context_values(&self) -> usize {
        if self.key.is_of_context() { self.values.len().saturating_add(1) } else { 0 }
    }

    /// Returns the memory that the condition takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.key.memory().saturating_add(self.values.memory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::AccessRequest;
    use crate::policy::principal::Identity;
    use crate::policy::tests::Scene;
    use manila_core::EncryptionContext;

    const T: bool = true;
    const F: bool = false;
    const USER: &str = "arn:aws:iam::111122223333:user/alice";

    fn parse(operator: &str, key: &str, values: &[&str]) -> Condition {
        let values: Vec<_> = values.iter().map(|value| Json::Text((*value).to_owned())).collect();
        Condition::parse(operator, key, &values, true).unwrap()
    }

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        EncryptionContext::new(pairs.iter().copied()).unwrap()
    }

    fn holds_for(condition: &Condition, effect: Effect, principal: &str, context: Option<&EncryptionContext>) -> bool {
        let scene = Scene::default();
        let request = AccessRequest { principal, encryption_context: context, ..scene.request() };
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
    fn a_key_of_many_values_needs_a_set_operator() {
        for operator in ["StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "Bool"] {
            let values = [Json::Text("true".to_owned())];
            let message = Condition::parse(operator, "kms:encryptioncontextkeys", &values, true).unwrap_err();
            for part in ["kms:encryptioncontextkeys", "ForAllValues:", "ForAnyValue:", operator] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
