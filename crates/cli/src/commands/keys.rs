//! `manila keys`: the keys of the key store.

mod alias;
mod create;
mod delete;
mod described;
mod edit;
mod grant;
mod import;
mod list;
mod policy;
mod region;
mod rotate;
mod state;
mod tag;

use clap::{Args, Subcommand};

use crate::arguments::Common;
use crate::failure::Result;
use crate::session::Session;

#[derive(Args)]
pub struct Keys {
    #[command(flatten)]
    common: Common,
    /// The region of the keys. By default that of the key store.
    #[arg(long, global = true, help_heading = "Key store")]
    region: Option<String>,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Create a key, and the key store if there is none.
    Create(create::Create),
    /// List the keys.
    List(list::List),
    /// Show all about a key.
    Show(list::Show),
    /// Replace the description of a key.
    Describe(edit::Describe),
    /// Rotate a key now, or set how often it rotates. Id and ARN stay the same, and earlier messages still decrypt.
    Rotate(rotate::Rotate),
    /// Enable a disabled key.
    Enable(state::Enable),
    /// Disable a key, for encryption and decryption, until it is enabled again.
    Disable(state::Disable),
    /// Delete a key after a waiting period, in which it cannot be used and the deletion can be cancelled.
    Delete(delete::Delete),
    /// Cancel the deletion of a key, which is disabled then.
    CancelDeletion(delete::CancelDeletion),
    /// Give keys names that can move to other keys.
    #[command(subcommand)]
    Alias(alias::Alias),
    /// Label keys.
    #[command(subcommand)]
    Tag(tag::Tag),
    /// Show or replace the policy of a key.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Allow principals the use of a key, without a change of its policy.
    #[command(subcommand)]
    Grant(grant::Grant),
    /// Import the material of a key that was created with --imported.
    Import(import::Import),
    /// Delete imported material. The key cannot be used until the same material is imported again.
    DeleteMaterial(import::DeleteMaterial),
    /// Replicate a multi-Region key into another region.
    Replicate(region::Replicate),
    /// Make the replica in another region the primary key.
    SetPrimaryRegion(region::SetPrimaryRegion),
}

impl Keys {
    pub fn run(&self) -> Result<()> {
        let session = match &self.command {
            KeysCommand::Create(_) => Session::open_or_make(&self.common)?,
            _ => Session::open(&self.common)?,
        };
        let session = session.in_region(self.region.as_deref())?;
        match &self.command {
            KeysCommand::Create(command) => command.run(&session),
            KeysCommand::List(command) => command.run(&session),
            KeysCommand::Show(command) => command.run(&session),
            KeysCommand::Describe(command) => command.run(&session),
            KeysCommand::Rotate(command) => command.run(&session),
            KeysCommand::Enable(command) => command.run(&session),
            KeysCommand::Disable(command) => command.run(&session),
            KeysCommand::Delete(command) => command.run(&session),
            KeysCommand::CancelDeletion(command) => command.run(&session),
            KeysCommand::Alias(command) => command.run(&session),
            KeysCommand::Tag(command) => command.run(&session),
            KeysCommand::Policy(command) => command.run(&session),
            KeysCommand::Grant(command) => command.run(&session),
            KeysCommand::Import(command) => command.run(&session),
            KeysCommand::DeleteMaterial(command) => command.run(&session),
            KeysCommand::Replicate(command) => command.run(&session),
            KeysCommand::SetPrimaryRegion(command) => command.run(&session),
        }
    }
}
