//! `manila store confirm-clock` and `set-time-back`.

use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;
use crate::terminal::confirm;
use crate::time::shown;

/// The next change removes for good everything whose deadline has passed by that time.
#[derive(Args)]
pub struct ConfirmClock {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Corrects dates that lie in the future. Fails if something was removed too early: restore a backup from before then.
#[derive(Args)]
pub struct SetTimeBack {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Answer {
    time: String,
}

impl ConfirmClock {
    pub fn run(&self, session: &Session) -> Result<()> {
        let time = shown(SystemTime::now());
        confirm(&format!("Is it {time}?"), self.yes)?;
        session.kms.confirm_clock()?;
        session.print(&Answer { time })
    }
}

impl SetTimeBack {
    pub fn run(&self, session: &Session) -> Result<()> {
        let time = shown(SystemTime::now());
        confirm(&format!("Is it {time}, and was the clock ahead before?"), self.yes)?;
        session.kms.set_time_back()?;
        session.print(&Answer { time })
    }
}
