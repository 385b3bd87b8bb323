//! Questions to policies: a policy as it is stored, and a request as far as it is not the same for the whole call.

use std::borrow::Cow;

use crate::audit::Details;
use crate::caller::Caller;
use crate::policy::{AccessRequest, KeyFacts, PolicyKind, Who};
use manila_core::EncryptionContext;

/// A policy as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Tells it from other policies, even after it was replaced.
    pub(super) name: Cow<'a, str>,
    pub(super) json: Cow<'a, str>,
    pub(super) kind: PolicyKind,
}

impl Document<'_> {
    fn into_owned(self) -> Document<'static> {
        Document { name: self.name.into_owned().into(), json: self.json.into_owned().into(), kind: self.kind }
    }
}

/// The part of a request that is read from the store, or is another for each check of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic<'a> {
    pub(super) action: &'static str,
    pub(super) resource: Cow<'a, str>,
    pub(super) region: Cow<'a, str>,
    pub(super) account: Cow<'a, str>,
    pub(super) encrypts: bool,
    pub(super) encryption_context: Option<Cow<'a, EncryptionContext>>,
    pub(super) alias: Option<Cow<'a, str>>,
    pub(super) on_same_key: Option<bool>,
    pub(super) key: Option<KeyFacts<'a>>,
    pub(super) who: Cow<'a, Who>,
}

impl Topic<'_> {
    pub(super) fn request<'b>(
        &'b self,
        caller: &Caller<'b>,
        parameters: &'b Details<'b>,
        now: u64,
    ) -> AccessRequest<'b> {
        AccessRequest {
            principal: caller.principal,
            who: &self.who,
            action: self.action,
            resource: &self.resource,
            region: &self.region,
            account: &self.account,
            now,
            encryption_context: self.encryption_context.as_deref(),
            encrypts: self.encrypts,
            parameters,
            alias: self.alias.as_deref(),
            on_same_key: self.on_same_key,
            key: self.key.as_ref(),
            context: caller.context,
        }
    }

    fn into_owned(self) -> Topic<'static> {
        Topic {
            action: self.action,
            resource: self.resource.into_owned().into(),
            region: self.region.into_owned().into(),
            account: self.account.into_owned().into(),
            encrypts: self.encrypts,
            encryption_context: self.encryption_context.map(|context| Cow::Owned(context.into_owned())),
            alias: self.alias.map(|alias| alias.into_owned().into()),
            on_same_key: self.on_same_key,
            key: self.key.map(KeyFacts::into_owned),
            who: Cow::Owned(self.who.into_owned()),
        }
    }
}

/// A request that is put to a policy while nothing is locked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) document: Document<'static>,
    pub(super) topic: Topic<'static>,
}

impl Question {
    pub(super) fn new(document: &Document<'_>, topic: &Topic<'_>) -> Self {
        Self { document: document.clone().into_owned(), topic: topic.clone().into_owned() }
    }

    pub(super) fn is(&self, document: &Document<'_>, topic: &Topic<'_>) -> bool {
        self.document == *document && self.topic == *topic
    }

    /// Returns whether both are asked about the same thing of the same policy, at whatever time.
    pub(super) fn replaces(&self, older: &Self) -> bool {
        self.document.name == older.document.name
            && (self.topic.action, &self.topic.resource) == (older.topic.action, &older.topic.resource)
    }
}
