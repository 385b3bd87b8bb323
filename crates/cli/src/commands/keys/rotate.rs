//! `manila keys rotate`.

use clap::Args;
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;
use crate::time::shown;

#[derive(Args)]
pub struct Rotate {
    /// The id, ARN or alias of the key.
    key: String,
    /// Do not rotate now, but from now on every so many days, 90 to 2560.
    #[arg(long, value_name = "DAYS", conflicts_with = "never")]
    every: Option<u32>,
    /// Do not rotate now, nor at any later time by itself.
    #[arg(long)]
    never: bool,
}

#[derive(Serialize)]
struct Rotated {
    arn: String,
    rotations: usize,
    last_rotation: Option<String>,
    rotation_period_days: Option<u64>,
    next_rotation: Option<String>,
}

impl Rotate {
    pub fn run(&self, session: &Session) -> Result<()> {
        let kms = &session.kms;
        let key_id = session.key(&self.key)?;
        match self.every {
            Some(days) => kms.enable_key_rotation_every(&key_id, days)?,
            None if self.never => kms.disable_key_rotation(&key_id)?,
            None => kms.rotate_key_on_demand(&key_id)?,
        }
        let (status, rotations) = (kms.key_rotation_status(&key_id)?, kms.list_key_rotations(&key_id)?);
        session.print(&Rotated {
            arn: kms.describe_key(&key_id)?.arn().to_owned(),
            rotations: rotations.len(),
            last_rotation: rotations.last().map(|rotation| shown(rotation.date())),
            rotation_period_days: status.period().map(|period| period.as_secs() / (24 * 60 * 60)),
            next_rotation: status.next().map(shown),
        })
    }
}
