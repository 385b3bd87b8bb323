//! `manila store`: the key store as a whole.

mod backup;
mod change_root_key;
mod clock;
mod init;
mod purge;
mod restore;
mod status;
mod verify;

use clap::{Args, Subcommand};

use crate::arguments::Common;
use crate::failure::Result;
use crate::session::Session;

#[derive(Args)]
pub struct Store {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Make a key store, unless there is one.
    Init(init::Init),
    /// Show the state and contents of the key store.
    Status,
    /// Write a copy of the key store, verified, while others use it.
    Backup(backup::Backup),
    /// Make a backup the key store. There must be none.
    Restore(restore::Restore),
    /// Verify the key store and its audit log, or a backup.
    Verify(verify::Verify),
    /// Overwrite data that was removed from the key store, such as deleted keys.
    ///
    /// The file keeps no byte of a deleted key, of imported material that was deleted or has expired, or of anything
    /// sealed under an earlier root key. Backups do not change.
    Purge,
    /// Seal the key store under another root key or passphrase.
    ChangeRootKey(change_root_key::ChangeRootKey),
    /// Confirm that the clock is right, after a change was refused because it does not seem to be.
    ConfirmClock(clock::ConfirmClock),
    /// Set the time of the key store back to that of the clock, after changes under a clock that ran ahead.
    SetTimeBack(clock::SetTimeBack),
}

impl Store {
    pub fn run(&self) -> Result<()> {
        match &self.command {
            StoreCommand::Init(command) => command.run(&self.common),
            StoreCommand::Restore(command) => command.run(&self.common),
            StoreCommand::Verify(command) => command.run(&self.common),
            StoreCommand::Status => status::run(&Session::open(&self.common)?),
            StoreCommand::Backup(command) => command.run(&Session::open(&self.common)?),
            StoreCommand::Purge => purge::run(&Session::open(&self.common)?),
            StoreCommand::ChangeRootKey(command) => command.run(&Session::open(&self.common)?),
            StoreCommand::ConfirmClock(command) => command.run(&Session::open(&self.common)?),
            StoreCommand::SetTimeBack(command) => command.run(&Session::open(&self.common)?),
        }
    }
}
