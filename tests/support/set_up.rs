//! Messages of test programs whose prerequisites are not set up. They succeed all the same: `cargo test` must run on a
//! fresh clone, without a network.

use std::path::PathBuf;

/// Returns the folder that a variable names. If it names none, the program's last line says so, and what to set.
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
