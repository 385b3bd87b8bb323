//! The operators of conditions, and the policy's values in the form in which each compares them.
//!
//! Source: IAM User Guide, "IAM JSON policy elements: Condition operators".

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;

use manila_core::internal::quoted;

use super::asked::Asked;
use super::json::Json;
use super::key::fold;
use super::memory_of;
use super::pattern::{Pattern, Token, tokens};
use super::template::Template;
use super::value::{Network, base64, date, number};

/// An operator of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// True of an absent key if the value is `true`, of a present one if it is `false`.
    Null,
    Compare {
        quantifier: Quantifier,
        comparison: Comparison,
        negated: bool,
        /// True of an absent key.
        if_exists: bool,
    },
}

/// The number of the request's values for which a comparison must be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    /// The request has at most one value.
    Single,
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equals,
    EqualsIgnoreCase,
    Like,
    Number(Order),
    Date(Order),
    Bool,
    Bytes,
    Address,
    Arn,
}

/// The order of a request's value and a policy's for which a comparison is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn is(self, ordering: Option<Ordering>) -> bool {
        ordering.is_some_and(|ordering| match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        })
    }
}

const IF_EXISTS: &str = "IfExists";

impl Operator {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let unknown = || format!("the condition operator {} does not exist", quoted(name));
        let (quantifier, base) = match name.split_once(':') {
            None => (Quantifier::Single, name),
            Some(("ForAllValues", base)) => (Quantifier::ForAllValues, base),
            Some(("ForAnyValue", base)) => (Quantifier::ForAnyValue, base),
            Some(_) => return Err(unknown()),
        };
        let (base, if_exists) = base.strip_suffix(IF_EXISTS).map_or((base, false), |base| (base, true));
        let (comparison, negated) = match base {
            "StringEquals" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            "ArnEquals" | "ArnLike" => (Comparison::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Comparison::Arn, true),
            "Bool" => (Comparison::Bool, false),
            "BinaryEquals" => (Comparison::Bytes, false),
            "IpAddress" => (Comparison::Address, false),
            "NotIpAddress" => (Comparison::Address, true),
            "Null" if quantifier == Quantifier::Single && !if_exists => return Ok(Self::Null),
            "Null" => return Err(format!("the condition operator {} does not exist: write Null", quoted(name))),
            _ => {
                let (kind, order) = base
                    .strip_prefix("Numeric")
                    .map(|order| (Comparison::Number as fn(Order) -> Comparison, order))
                    .or_else(|| {
                        base.strip_prefix("Date").map(|order| (Comparison::Date as fn(Order) -> Comparison, order))
                    })
                    .ok_or_else(unknown)?;
                match order {
                    "Equals" => (kind(Order::Equal), false),
                    "NotEquals" => (kind(Order::Equal), true),
                    "LessThan" => (kind(Order::Less), false),
                    "LessThanEquals" => (kind(Order::LessOrEqual), false),
                    "GreaterThan" => (kind(Order::Greater), false),
                    "GreaterThanEquals" => (kind(Order::GreaterOrEqual), false),
                    _ => return Err(unknown()),
                }
            }
        };
        Ok(Self::Compare { quantifier, comparison, negated, if_exists })
    }

    /// Returns the comparison of the policy's values; those of `Null` are Booleans.
    pub(super) fn comparison(self) -> Comparison {
        match self {
            Self::Null => Comparison::Bool,
            Self::Compare { comparison, .. } => comparison,
        }
    }

    pub(super) fn is_negated(self) -> bool {
        matches!(self, Self::Compare { negated: true, .. })
    }

    /// Returns whether a value may have policy variables.
    fn takes_variables(self) -> bool {
        use Comparison::{Arn, Bool, Equals, EqualsIgnoreCase, Like};
        self != Self::Null && matches!(self.comparison(), Equals | EqualsIgnoreCase | Like | Arn | Bool)
    }
}

/// The policy's values for a key.
#[derive(Clone, Debug)]
pub(super) struct Values {
    comparison: Comparison,
    fixed: Fixed,
    /// The values with variables.
    templates: Vec<Template>,
}

/// Values without variables, in the form in which they are compared.
#[derive(Clone, Debug)]
enum Fixed {
    /// Sorted; with folded case if it does not count.
    Texts(Vec<String>),
    Patterns(Vec<(String, Pattern)>),
    Arns(Vec<(String, ArnPattern)>),
    Booleans(Vec<bool>),
    Numbers(Vec<f64>),
    Dates(Vec<i64>),
    Networks(Vec<Network>),
    Bytes(Vec<Vec<u8>>),
}

/// The six components of an ARN, each with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArnPattern([Pattern; ARN_LEN]);

const ARN_LEN: usize = 6;

impl ArnPattern {
    fn of_tokens(tokens: &[Token]) -> Option<Self> {
        let mut components = tokens.splitn(ARN_LEN, |token| *token == Token::Char(':'));
        let mut next = || components.next().map(|tokens| Pattern::of_tokens(tokens.iter().copied()));
        Some(Self([next()?, next()?, next()?, next()?, next()?, next()?]))
    }

    fn matches(&self, arn: &str) -> bool {
        let mut components = arn.splitn(ARN_LEN, ':');
        self.0.iter().all(|pattern| components.next().is_some_and(|component| pattern.matches(component)))
    }

    fn memory(&self) -> usize {
        self.0.iter().map(Pattern::memory).fold(0, usize::saturating_add)
    }
}

impl Values {
    /// Parses the values of an operator. `has_variables` is false in versions of the language without variables.
    pub(super) fn parse(operator: Operator, values: &[Json], has_variables: bool) -> Result<Self, String> {
        let comparison = operator.comparison();
        let (mut texts, mut templates) = (Vec::new(), Vec::new());
        for value in values {
            let text = text_of(comparison, value)?;
            match Template::parse(text).ok().flatten().is_some() || text.contains("${") {
                true if has_variables && operator.takes_variables() => templates.extend(Template::parse(text)?),
                true if has_variables => {
                    return Err(format!("{} has a policy variable, which this operator does not take", quoted(text)));
                }
                _ => texts.push(text),
            }
        }
        Ok(Self { comparison, fixed: Fixed::parse(comparison, &texts)?, templates })
    }

    /// Returns whether one of the values matches a request's value.
    pub(super) fn fit(&self, value: &str, asked: &Asked<'_>) -> bool {
        self.fixed.fit(self.comparison, value)
            || self.templates.iter().any(|template| self.fits(template, value, asked))
    }

    fn fits(&self, template: &Template, value: &str, asked: &Asked<'_>) -> bool {
        let fits = match self.comparison {
            Comparison::Like => template.tokens(asked).map(|tokens| Pattern::of_tokens(tokens).matches(value)),
            Comparison::Arn => template
                .tokens(asked)
                .and_then(|tokens| ArnPattern::of_tokens(&tokens))
                .map(|pattern| pattern.matches(value)),
            comparison => template
                .text(asked)
                .map(|text| Fixed::parse(comparison, &[&text]).is_ok_and(|fixed| fixed.fit(comparison, value))),
        };
        // A variable without a value is like nothing.
        fits.unwrap_or(false)
    }

    /// Returns whether one of the values matches the ARN of a session's role, whose path is unknown.
    ///
    /// Role names are unique in an account, so a path in the policy is ignored. In a pattern it is ignored only if it
    /// is safe to match too much.
    pub(super) fn fit_role(&self, arn: &str, loosely: bool, asked: &Asked<'_>) -> bool {
        let may = |text: &str| loosely || !text.contains(['*', '?']);
        self.fit(arn, asked)
            || match &self.fixed {
                Fixed::Texts(texts) if self.comparison == Comparison::EqualsIgnoreCase => {
                    texts.iter().any(|text| without_path(text) == fold(arn))
                }
                Fixed::Texts(texts) => texts.iter().any(|text| without_path(text) == arn),
                Fixed::Patterns(patterns) => patterns.iter().any(|(text, _)| {
                    may(text) && Pattern::parse(&without_path(text)).map_or(loosely, |pattern| pattern.matches(arn))
                }),
                Fixed::Arns(patterns) => patterns.iter().any(|(text, _)| {
                    let tokens: Vec<_> = tokens(&without_path(text)).collect();
                    may(text) && ArnPattern::of_tokens(&tokens).is_some_and(|pattern| pattern.matches(arn))
                }),
                _ => false,
            }
    }

    pub(super) fn len(&self) -> usize {
        self.fixed.len().saturating_add(self.templates.len())
    }

    /// Returns the memory that the values take in addition to themselves, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.fixed.memory().saturating_add(memory_of(&self.templates, Template::memory))
    }
}

/// Returns a value as text. Numbers and Booleans need no quotes where they are compared as such.
fn text_of(comparison: Comparison, value: &Json) -> Result<&str, String> {
    match (value, comparison) {
        (Json::Text(text), _) => Ok(text),
        (Json::Bool(value), Comparison::Bool) => Ok(if *value { "true" } else { "false" }),
        (Json::Number(text), Comparison::Number(_) | Comparison::Date(_)) => Ok(text),
        _ => Err("it is not a string".to_owned()),
    }
}

impl Fixed {
    fn parse(comparison: Comparison, texts: &[&str]) -> Result<Self, String> {
        fn each<T>(texts: &[&str], what: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
            let refused = |text: &str| format!("{} is not {what}", quoted(text));
            texts.iter().map(|text| read(text).ok_or_else(|| refused(text))).collect()
        }
        Ok(match comparison {
            Comparison::Equals => Self::Texts(sorted(texts.iter().map(|text| (*text).to_owned()))),
            Comparison::EqualsIgnoreCase => Self::Texts(sorted(texts.iter().map(|text| fold(text)))),
            Comparison::Like => {
                let pattern = |text: &&str| Ok(((*text).to_owned(), Pattern::parse(text)?));
                Self::Patterns(texts.iter().map(pattern).collect::<Result<_, String>>()?)
            }
            Comparison::Arn => Self::Arns(each(texts, "an ARN of six components", |text| {
                Some((text.to_owned(), ArnPattern::of_tokens(&tokens(text).collect::<Vec<_>>())?))
            })?),
            Comparison::Bool => Self::Booleans(each(texts, "true or false", |text| match text {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            })?),
            Comparison::Number(_) => Self::Numbers(each(texts, "a number", number)?),
            Comparison::Date(_) => Self::Dates(each(texts, "a date such as 2026-01-31T12:00:00Z", date)?),
            Comparison::Address => {
                Self::Networks(each(texts, "a range of addresses such as 203.0.113.0/24", Network::parse)?)
            }
            Comparison::Bytes => Self::Bytes(each(texts, "base64", base64)?),
        })
    }

    fn fit(&self, comparison: Comparison, value: &str) -> bool {
        match (self, comparison) {
            (Self::Texts(texts), Comparison::EqualsIgnoreCase) => is_among(texts, &fold(value)),
            (Self::Texts(texts), _) => is_among(texts, value),
            (Self::Patterns(patterns), _) => patterns.iter().any(|(_, pattern)| pattern.matches(value)),
            (Self::Arns(patterns), _) => patterns.iter().any(|(_, pattern)| pattern.matches(value)),
            (Self::Booleans(booleans), _) => {
                booleans.iter().any(|wanted| value.eq_ignore_ascii_case(if *wanted { "true" } else { "false" }))
            }
            (Self::Numbers(numbers), Comparison::Number(order)) => {
                number(value).is_some_and(|value| numbers.iter().any(|wanted| order.is(value.partial_cmp(wanted))))
            }
            (Self::Dates(dates), Comparison::Date(order)) => {
                date(value).is_some_and(|value| dates.iter().any(|wanted| order.is(value.partial_cmp(wanted))))
            }
            (Self::Numbers(_) | Self::Dates(_), _) => false,
            (Self::Networks(networks), _) => {
                value.parse::<IpAddr>().is_ok_and(|address| networks.iter().any(|network| network.contains(address)))
            }
            (Self::Bytes(all), _) => all.iter().any(|bytes| bytes == value.as_bytes()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Patterns(patterns) => patterns.len(),
            Self::Arns(patterns) => patterns.len(),
            Self::Booleans(booleans) => booleans.len(),
            Self::Numbers(numbers) => numbers.len(),
            Self::Dates(dates) => dates.len(),
            Self::Networks(networks) => networks.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Texts(texts) => memory_of(texts, String::capacity),
            Self::Patterns(patterns) => {
                memory_of(patterns, |(text, pattern)| text.capacity().saturating_add(pattern.memory()))
            }
            Self::Arns(patterns) => {
                memory_of(patterns, |(text, pattern)| text.capacity().saturating_add(pattern.memory()))
            }
            Self::Booleans(booleans) => memory_of(booleans, |_| 0),
            Self::Numbers(numbers) => memory_of(numbers, |_| 0),
            Self::Dates(dates) => memory_of(dates, |_| 0),
            Self::Networks(networks) => memory_of(networks, |_| 0),
            Self::Bytes(bytes) => memory_of(bytes, Vec::capacity),
        }
    }
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts
}

fn is_among(sorted: &[String], text: &str) -> bool {
    sorted.binary_search_by(|other| other.as_str().cmp(text)).is_ok()
}

/// Returns the ARN of a role without the role's path.
fn without_path(arn: &str) -> Cow<'_, str> {
    let role = arn.split_once("role/").and_then(|(account, role)| Some((account, role.rsplit_once('/')?.1)));
    role.map_or(Cow::Borrowed(arn), |(account, name)| Cow::Owned(format!("{account}role/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASES: [&str; 22] = [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
        "NumericEquals",
        "NumericNotEquals",
        "NumericLessThan",
        "NumericLessThanEquals",
        "NumericGreaterThan",
        "NumericGreaterThanEquals",
        "DateEquals",
        "DateNotEquals",
        "DateLessThan",
        "DateLessThanEquals",
        "DateGreaterThan",
        "DateGreaterThanEquals",
        "Bool",
        "BinaryEquals",
        "IpAddress",
        "NotIpAddress",
    ];

    #[test]
    fn every_operator_of_iam_is_known_with_its_prefixes_and_its_suffix() {
        let arns = ["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"];
        let mut found = Vec::new();
        for base in BASES {
            for prefix in ["", "ForAllValues:", "ForAnyValue:"] {
                for suffix in ["", IF_EXISTS] {
                    let operator = Operator::parse(&format!("{prefix}{base}{suffix}")).unwrap();
                    assert!(!found.contains(&operator), "{prefix}{base}{suffix}");
                    found.push(operator);
                }
            }
        }
        for [equals, like] in [[0, 2], [1, 3]] {
            assert_eq!(Operator::parse(arns[equals]), Operator::parse(arns[like]), "they are the same");
        }
        assert_eq!(Operator::parse("Null"), Ok(Operator::Null));
    }

    #[test]
    fn other_operators_are_refused_by_name() {
        let wrong = [
            "stringequals",
            "STRINGLIKE",
            "null",
            "NullIfExists",
            "ForAllValues:Null",
            "ForAnyValue:NullIfExists",
            "StringEqualsIfExistsIfExists",
            "IfExists",
            "ForNoValue:StringEquals",
            "forallvalues:StringEquals",
            "ForAllValues:",
            "ForAllValues:ForAnyValue:StringEquals",
            ":StringEquals",
            "NumericLike",
            "DateLike",
            "Numeric",
            "Date",
            "BinaryNotEquals",
            "BoolNotEquals",
            "StringLess",
            "",
        ];
        for name in wrong {
            let message = Operator::parse(name).unwrap_err();
            assert!(message.contains(&quoted(name)), "{message}");
        }
    }

    #[test]
    fn values_are_of_the_operators_type() {
        let text = |text: &str| Json::Text(text.to_owned());
        let parse = |operator: &str, value: Json| Values::parse(Operator::parse(operator).unwrap(), &[value], true);
        let rows: [(&str, &[&str], &[&str]); 8] = [
            ("Bool", &["true", "false", "${aws:SecureTransport}"], &["TRUE", "1", "", "yes"]),
            ("Null", &["true", "false"], &["TRUE", "${aws:SecureTransport}"]),
            ("NumericLessThan", &["30", "-1.5"], &["", "x", "1e3", "${aws:EpochTime}", "*"]),
            (
                "DateGreaterThan",
                &["2026-01-31", "2026-01-31T12:00:00Z", "1790000000"],
                &["tomorrow", "${aws:CurrentTime}"],
            ),
            ("IpAddress", &["203.0.113.0/24", "::1"], &["203.0.113.0/33", "203.0.113.*", "${aws:SourceIp}"]),
            ("BinaryEquals", &["QQ=="], &["QQ", "${aws:userid}"]),
            (
                "ArnLike",
                &["arn:aws:iam::*:role/*", "arn:*:*:*:*:*", "${aws:PrincipalArn}"],
                &["*", "arn:aws:iam:*", ""],
            ),
            (
                "StringLike",
                &["", "*", "a${*}b${aws:PrincipalTag/team, 'none'}"],
                &["${*", "${aws:SourceIpp}", "${s3:x}"],
            ),
        ];
        for (operator, good, wrong) in rows {
            for value in good {
                assert!(parse(operator, text(value)).is_ok(), "{operator} {value}");
            }
            for value in wrong {
                assert!(parse(operator, text(value)).is_err(), "{operator} {value}");
            }
        }
        for operator in ["StringEquals", "StringNotLike", "ArnLike", "IpAddress", "BinaryEquals"] {
            for wrong in [Json::Bool(true), Json::Number("1".to_owned()), Json::Null, Json::List(vec![text("true")])] {
                assert!(parse(operator, wrong).unwrap_err().contains("it is not a string"), "{operator}");
            }
        }
        assert!(parse("Bool", Json::Bool(true)).is_ok() && parse("Null", Json::Bool(false)).is_ok());
        for operator in ["NumericLessThan", "DateLessThan"] {
            assert!(parse(operator, Json::Number("30".to_owned())).is_ok(), "{operator}");
        }
        assert!(parse("Bool", Json::Number("1".to_owned())).is_err());
    }

    #[test]
    fn variables_that_are_not_valid_are_refused_with_the_reason() {
        let values = |text: &str| {
            Values::parse(Operator::parse("StringLike").unwrap(), &[Json::Text(text.to_owned())], true).unwrap_err()
        };
        let rows = [
            ("a${aws:username", "does not end"),
            ("${aws:TagKeys}", "many values"),
            ("${kms:EncryptionContext:a}", "not implemented as a variable"),
            ("${aws:username, none}", "single quotes"),
            ("${aws:nothing}", "\"aws:nothing\""),
            ("${}", "\"\""),
        ];
        for (text, expected) in rows {
            assert!(values(text).contains(expected), "{}", values(text));
        }
        // Versions of the language without variables have none.
        let literal = Values::parse(Operator::parse("StringEquals").unwrap(), &[Json::Text("${x".to_owned())], false);
        assert_eq!(literal.unwrap().templates, []);
    }
}
