//! `manila man`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;

use crate::failure::{Failure, Result};
use crate::report::print_text;

/// To read one: manila man keys rotate | man -l -
#[derive(Args)]
pub struct ManPages {
    /// The command whose page is printed, such as keys rotate. By default that of the program.
    command: Vec<String>,
    /// Write the pages of all commands into this folder instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    to: Option<PathBuf>,
}

impl ManPages {
    pub fn run(&self, mut program: Command) -> Result<()> {
        if let Some(folder) = &self.to {
            let failed = |error| Failure::file("cannot write the man pages to", folder, error);
            std::fs::create_dir_all(folder).map_err(failed)?;
            return clap_mangen::generate_to(program, folder).map_err(failed);
        }
        program.build();
        let mut command = &program;
        for name in &self.command {
            let none = || Failure::Usage(format!("there is no command {}", self.command.join(" ")));
            command = command.find_subcommand(name).ok_or_else(none)?;
        }
        let mut page = Vec::new();
        Man::new(command.clone()).render(&mut page)?;
        print_text(&String::from_utf8_lossy(&page))
    }
}
