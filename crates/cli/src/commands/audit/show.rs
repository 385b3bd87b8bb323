//! `manila audit show`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;

use super::filter::{Chosen, Filter};
use super::lines;
use crate::arguments::Common;
use crate::failure::{Failure, Result};
use crate::place::Place;
use crate::trail;

/// With --json, prints each line of the log unchanged: one object per line.
#[derive(Args)]
pub struct Show {
    /// Files of the log. By default the one of the key store, and those that manila audit rotate kept next to it.
    files: Vec<PathBuf>,
    #[command(flatten)]
    filter: Filter,
}

impl Show {
    pub fn run(&self, common: &Common) -> Result<()> {
        let log = Place::of(&common.key_store)?.audit_log();
        let files = match self.files.is_empty() {
            true if !log.exists() => return Err(no_log(&log)),
            true => trail::files(&log)?,
            false => self.files.clone(),
        };
        let chosen = self.filter.of(common)?;
        files.iter().try_for_each(|file| show(file, &chosen, common.json))
    }
}

pub fn no_log(log: &Path) -> Failure {
    Failure::Work(format!("there is no audit log {log:?}: give --store"))
}

fn show(path: &Path, chosen: &Chosen<'_>, json: bool) -> Result<()> {
    let failed = |error| Failure::file("cannot read", path, error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    while lines::read(&mut file, &mut line).map_err(failed)? > 0 {
        lines::print(path, &line, chosen, json)?;
        line.clear();
    }
    Ok(())
}
