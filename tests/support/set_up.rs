//! What test programs say where that which they need is not set up. They end well all the same: `cargo test` is to run on
//! a fresh clone, without a network.

use std::path::PathBuf;

/// The folder that a variable names. Where it names none, the last line of the program says so, and what to set.
pub fn folder(program: &str, variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if folder.is_none() {
        println!(
            "{program}: not run: nothing is set up. Run tests/interop/setup.sh, then set {variable} to its folder \
             (see tests/interop/README.md)"
        );
    }
    folder
}
