//! [`Decision`]: the outcome of a simulated call, and what decided it.

/// The decision on a call that was [simulated](crate::LocalKms::simulate), and what it was based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    reason: DecisionReason,
    statements: Vec<DecidingStatement>,
    grant_id: Option<String>,
}

/// The reason for a [`Decision`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecisionReason {
    /// Denied by a statement of any policy, whatever else allows it.
    ExplicitDeny,
    /// Allowed by the key policy, which names the principal, everyone, or the account whose owner calls.
    KeyPolicy,
    /// Allowed by the key policy, which leaves it to the account or names a principal of another account, together with
    /// a policy of the principal.
    KeyAndIdentityPolicy,
    /// Allowed by a policy of the principal: the call is not about a single key.
    IdentityPolicy,
    /// Allowed by a grant.
    Grant,
    /// Allowed to the owner of the account.
    Owner,
    /// Refused: neither the key policy nor a grant allows it.
    NothingAllows,
    /// Refused: no policy of the principal allows it, to which the key policy leaves it or which it also takes.
    NoIdentityPolicy,
    /// Refused: AWS reserves the operation for the account of the key.
    NotAcrossAccounts,
    /// Refused: only the owner of the account may do it.
    OnlyOwner,
}

impl DecisionReason {
    const fn allows(self) -> bool {
        match self {
            Self::KeyPolicy | Self::KeyAndIdentityPolicy | Self::IdentityPolicy | Self::Grant | Self::Owner => true,
            Self::ExplicitDeny
            | Self::NothingAllows
            | Self::NoIdentityPolicy
            | Self::NotAcrossAccounts
            | Self::OnlyOwner => false,
        }
    }
}

/// A statement on which a [`Decision`] was based.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecidingStatement {
    pub(crate) source: PolicySource,
    pub(crate) index: usize,
    pub(crate) sid: Option<String>,
}

impl DecidingStatement {
    /// Returns the policy of the statement.
    #[must_use]
    pub fn policy(&self) -> &PolicySource {
        &self.source
    }

    /// Returns the index of the statement in its policy, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the statement's `Sid`, if it has one.
    #[must_use]
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }
}

/// A policy on which a [`Decision`] was based.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicySource {
    /// The policy of a key.
    Key {
        /// The ARN of the key.
        key_arn: String,
    },
    /// A policy of a user or role.
    Identity {
        /// The ARN of the user or role.
        principal: String,
        /// The name of the policy.
        name: String,
    },
}

impl Decision {
    pub(crate) fn new(reason: DecisionReason) -> Self {
        Self { reason, statements: Vec::new(), grant_id: None }
    }

    pub(crate) fn by_grant(grant_id: String) -> Self {
        Self { grant_id: Some(grant_id), ..Self::new(DecisionReason::Grant) }
    }

    pub(crate) fn with(mut self, statement: DecidingStatement) -> Self {
        self.statements.push(statement);
        self
    }

    /// Returns the same decision, which was also based on the statements of another.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.statements.extend(other.statements);
        self.reason = DecisionReason::KeyAndIdentityPolicy;
        self
    }

    /// Returns whether the call would be allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.reason.allows()
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> DecisionReason {
        self.reason
    }

    /// Returns the statements that decided: the denial, or those that allow it. If a key policy leaves it to the
    /// account, whose policies do not allow it, the statement that leaves it.
    #[must_use]
    pub fn statements(&self) -> &[DecidingStatement] {
        &self.statements
    }

    /// Returns the id of the grant that allows it.
    #[must_use]
    pub fn grant_id(&self) -> Option<&str> {
        self.grant_id.as_deref()
    }
}
