//! `manila keys create`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use manila::local_kms::{CreateKey, KeySpec, KeyUsage};

use super::described::Key;
use super::policy;
use crate::arguments;
use crate::failure::Result;
use crate::session::Session;

#[derive(Args)]
pub struct Create {
    /// An alias for the key, such as alias/app.
    #[arg(long)]
    alias: Option<String>,
    /// A text that says what the key is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// A tag. Repeatable.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = arguments::pair)]
    tags: Vec<(String, String)>,
    /// The kind of key: the default encrypts files.
    #[arg(long, default_value = KeySpec::SymmetricDefault.name(), value_parser = spec())]
    spec: KeySpec,
    /// The usage of the key, where its kind has a choice.
    #[arg(long, value_parser = usage())]
    usage: Option<KeyUsage>,
    /// Create the key without material, for manila keys import.
    #[arg(long)]
    imported: bool,
    /// Create a multi-Region key, which can be replicated into other regions.
    #[arg(long)]
    multi_region: bool,
    /// Rotate the key every so many days, 90 to 2560.
    #[arg(long, value_name = "DAYS")]
    rotate_every: Option<u32>,
    /// A file with the policy of the key, in AWS's JSON, or - for stdin.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Take a policy that does not allow the owner to change it again.
    #[arg(long, requires = "policy")]
    allow_lockout: bool,
}

impl Create {
    pub fn run(&self, session: &Session) -> Result<()> {
        let mut request = CreateKey::default().spec(self.spec).description(&self.description);
        if let Some(usage) = self.usage {
            request = request.usage(usage);
        }
        for (name, value) in &self.tags {
            request = request.tag(name, value);
        }
        if let Some(alias) = &self.alias {
            request = request.alias(alias);
        }
        if self.imported {
            request = request.imported();
        }
        if self.multi_region {
            request = request.multi_region();
        }
        if let Some(days) = self.rotate_every {
            request = request.rotate_every_days(days);
        }
        if let Some(file) = &self.policy {
            request = request.policy(policy::read(file)?);
        }
        if self.allow_lockout {
            request = request.policy_may_lock_out_caller();
        }
        let key = session.kms.create_key(request)?;
        session.print(&Key::new(&key, &session.kms.list_aliases()?))
    }
}

fn spec() -> impl TypedValueParser<Value = KeySpec> {
    PossibleValuesParser::new(KeySpec::ALL.iter().map(|spec| spec.name()))
        .try_map(|name| KeySpec::from_name(&name).ok_or("is not a kind of key"))
}

fn usage() -> impl TypedValueParser<Value = KeyUsage> {
    PossibleValuesParser::new(KeyUsage::ALL.iter().map(|usage| usage.name()))
        .try_map(|name| KeyUsage::from_name(&name).ok_or("is not a usage of keys"))
}
