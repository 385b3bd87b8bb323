//! `manila audit`: the log of all calls to the key store.

mod filter;
mod follow;
mod lines;
mod rotate;
mod show;
mod verify;

use clap::{Args, Subcommand};

use crate::arguments::Common;
use crate::failure::Result;
use crate::session::Session;

#[derive(Args)]
pub struct Audit {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Show lines of the log. Does not verify them: manila audit verify does.
    Show(show::Show),
    /// Show new lines as they are written.
    Follow(follow::Follow),
    /// Verify that nobody changed, removed, moved or added lines.
    Verify(verify::Verify),
    /// Begin a new log, and keep the old one.
    Rotate(rotate::Rotate),
}

impl Audit {
    pub fn run(&self) -> Result<()> {
        match &self.command {
            AuditCommand::Show(command) => command.run(&self.common),
            AuditCommand::Follow(command) => command.run(&self.common),
            AuditCommand::Verify(command) => command.run(&Session::open(&self.common)?),
            AuditCommand::Rotate(command) => command.run(&Session::open(&self.common)?),
        }
    }
}
