//! The commands. Each file holds the arguments of one and its work.

pub mod audit;
pub mod completions;
pub mod decrypt;
pub mod encrypt;
pub mod inspect;
pub mod keys;
pub mod man;
pub mod reencrypt;
pub mod store;

/// The extension of encrypted files: `encrypt` adds it to the input's name, and `decrypt` takes it away.
const EXTENSION: &str = "manila";
