//! `manila completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Result;
use crate::report::print_text;

/// For bash: manila completions bash > ~/.local/share/bash-completion/completions/manila
#[derive(Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub fn run(&self, mut program: Command) -> Result<()> {
        let mut script = Vec::new();
        let name = program.get_name().to_owned();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        print_text(&String::from_utf8_lossy(&script))
    }
}
