//! Statements of a policy.

use super::asked::Asked;
use super::condition::Condition;
use super::memory_of;
use super::pattern::Pattern;
use super::principal::{Effect, Naming, Principal};
use super::template::Template;

/// A statement. Only the list of conditions may be empty.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    pub(super) principals: Principals,
    pub(super) actions: Actions,
    pub(super) resources: Resources,
    pub(super) conditions: Vec<Condition>,
}

/// The principals of a statement, or all others.
#[derive(Clone, Debug)]
pub(super) struct Principals {
    pub(super) except: bool,
    pub(super) all: Vec<Principal>,
}

/// The actions of a statement, in lower case, or all others.
#[derive(Clone, Debug)]
pub(super) struct Actions {
    pub(super) except: bool,
    pub(super) patterns: Vec<Pattern>,
}

/// The resources of a statement, or all others.
#[derive(Clone, Debug)]
pub(super) struct Resources {
    pub(super) except: bool,
    pub(super) all: Vec<Resource>,
}

#[derive(Clone, Debug)]
pub(super) enum Resource {
    Pattern(Pattern),
    Template(Template),
}

impl Resource {
    /// Parses a resource with wildcards and, in versions of the language that have them, variables.
    pub(super) fn parse(text: &str, has_variables: bool) -> Result<Self, String> {
        let template = if has_variables { Template::parse(text)? } else { None };
        Ok(match template {
            Some(template) => Self::Template(template),
            None => Self::Pattern(Pattern::parse(text)?),
        })
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Pattern(pattern) => pattern.matches(asked.resource),
            Self::Template(template) => {
                template.tokens(asked).is_some_and(|tokens| Pattern::of_tokens(tokens).matches(asked.resource))
            }
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Pattern(pattern) => pattern.memory(),
            Self::Template(template) => template.memory(),
        }
    }
}

impl Statement {
    /// Returns how the statement names the caller of a request, if it applies to the request.
    pub(super) fn applies(&self, asked: &Asked<'_>) -> Option<Naming> {
        let naming = self.principals.names(self.effect, asked)?;
        let acts = self.actions.patterns.iter().any(|wanted| wanted.matches(&asked.action)) != self.actions.except;
        let applies = acts
            && self.resources.all.iter().any(|wanted| wanted.matches(asked)) != self.resources.except
            && self.conditions.iter().all(|condition| condition.holds(self.effect, asked));
        applies.then_some(naming)
    }

    /// Returns the memory that the statement takes in addition to itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        let Self { sid, effect: _, principals, actions, resources, conditions } = self;
        memory_of(&principals.all, Principal::memory)
            .saturating_add(sid.as_ref().map_or(0, String::capacity))
            .saturating_add(memory_of(&actions.patterns, Pattern::memory))
            .saturating_add(memory_of(&resources.all, Resource::memory))
            .saturating_add(memory_of(conditions, Condition::memory))
    }
}

impl Principals {
    fn names(&self, effect: Effect, asked: &Asked<'_>) -> Option<Naming> {
        if self.except {
            let excepted = Principal::except(&self.all, effect, &asked.caller);
            return (!excepted).then_some(Naming::Direct);
        }
        let named = self.all.iter().filter_map(|principal| principal.names(effect, &asked.caller));
        // Being named directly counts more than by the account.
        named.min_by_key(|naming| *naming == Naming::Account)
    }
}
