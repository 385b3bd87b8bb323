//! `manila keys grant`.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use manila::local_kms::{self, CreateGrant, GrantConstraint, GrantOperation};
use serde::Serialize;

use crate::arguments;
use crate::failure::Result;
use crate::session::Session;
use crate::time::shown;

#[derive(Subcommand)]
pub enum Grant {
    /// Create a grant.
    Create(Create),
    /// List the grants on a key.
    List {
        /// The id, ARN or alias of the key.
        key: String,
    },
    /// Give up a grant that is no longer needed.
    Retire {
        /// The id, ARN or alias of the key.
        key: String,
        /// The id of the grant.
        grant: String,
    },
    /// Take a grant back.
    Revoke {
        /// The id, ARN or alias of the key.
        key: String,
        /// The id of the grant.
        grant: String,
    },
}

#[derive(Args)]
pub struct Create {
    /// The id, ARN or alias of the key.
    key: String,
    /// The ARN of the principal that the grant is for.
    #[arg(long, value_name = "ARN")]
    grantee: String,
    /// An operation that the grant allows. Repeatable.
    #[arg(long = "operation", value_name = "OPERATION", required = true, value_parser = operation())]
    operations: Vec<GrantOperation>,
    /// The ARN of another principal that may retire the grant.
    #[arg(long, value_name = "ARN")]
    retiring_principal: Option<String>,
    /// Allow only calls whose encryption context has these pairs and no others. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair, conflicts_with = "context_subset")]
    context_equals: Vec<(String, String)>,
    /// Allow only calls whose encryption context has these pairs, and maybe others. Repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair)]
    context_subset: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Created<'a> {
    grant_id: String,
    key: &'a str,
}

#[derive(Serialize)]
struct Listed {
    grant_id: String,
    grantee: String,
    operations: Vec<&'static str>,
    context_equals: Option<Vec<String>>,
    context_subset: Option<Vec<String>>,
    retiring_principal: Option<String>,
    issuer: String,
    created: String,
}

#[derive(Serialize)]
struct Ended<'a> {
    ended: &'a str,
}

impl Grant {
    pub fn run(&self, session: &Session) -> Result<()> {
        let kms = &session.kms;
        match self {
            Self::Create(create) => create.run(session),
            Self::List { key } => {
                let grants = kms.list_grants(&session.key(key)?)?;
                session.print(&grants.iter().map(Listed::from).collect::<Vec<_>>())
            }
            Self::Retire { key, grant } => {
                kms.retire_grant(&session.key(key)?, grant)?;
                session.print(&Ended { ended: grant })
            }
            Self::Revoke { key, grant } => {
                kms.revoke_grant(&session.key(key)?, grant)?;
                session.print(&Ended { ended: grant })
            }
        }
    }
}

impl Create {
    fn run(&self, session: &Session) -> Result<()> {
        let key_id = session.key(&self.key)?;
        let mut request = CreateGrant::to(&self.grantee);
        for operation in &self.operations {
            request = request.operation(*operation);
        }
        if let Some(principal) = &self.retiring_principal {
            request = request.retiring_principal(principal);
        }
        if !self.context_equals.is_empty() {
            request = request.constraint(GrantConstraint::Equals(arguments::context(&self.context_equals)?));
        }
        if !self.context_subset.is_empty() {
            request = request.constraint(GrantConstraint::Subset(arguments::context(&self.context_subset)?));
        }
        session.print(&Created { grant_id: session.kms.create_grant(&key_id, request)?.into_id(), key: &key_id })
    }
}

impl From<&local_kms::Grant> for Listed {
    fn from(grant: &local_kms::Grant) -> Self {
        let pairs = |context: &manila::EncryptionContext| {
            context.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        };
        let (context_equals, context_subset) = match grant.constraint() {
            Some(GrantConstraint::Equals(context)) => (Some(pairs(context)), None),
            Some(GrantConstraint::Subset(context)) => (None, Some(pairs(context))),
            _ => (None, None),
        };
        Self {
            grant_id: grant.id().to_owned(),
            grantee: grant.grantee().to_owned(),
            operations: grant.operations().iter().map(|operation| operation.name()).collect(),
            context_equals,
            context_subset,
            retiring_principal: grant.retiring_principal().map(str::to_owned),
            issuer: grant.issuer().to_owned(),
            created: shown(grant.created()),
        }
    }
}

fn operation() -> impl TypedValueParser<Value = GrantOperation> {
    PossibleValuesParser::new(GrantOperation::ALL.iter().map(|operation| operation.name()))
        .try_map(|name| GrantOperation::from_name(&name).ok_or("is not an operation that a grant can allow"))
}
