//! `manila keys policy`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::arguments::is_stdio;
use crate::failure::{Failure, Result};
use crate::report::print_document;
use crate::session::Session;

/// More than the longest policy, so that a document that is too long is refused for its length.
const MOST: u64 = 1 << 20;

#[derive(Subcommand)]
pub enum Policy {
    /// Print the policy of a key, in AWS's JSON.
    Show {
        /// The id, ARN or alias of the key.
        key: String,
    },
    /// Replace the policy of a key.
    Put {
        /// The id, ARN or alias of the key.
        key: String,
        /// A file with the policy, in AWS's JSON, or - for stdin.
        file: PathBuf,
        /// Take a policy that does not allow the owner to change it again.
        #[arg(long)]
        allow_lockout: bool,
    },
}

impl Policy {
    pub fn run(&self, session: &Session) -> Result<()> {
        let kms = &session.kms;
        match self {
            Self::Show { key } => print_document(&kms.key_policy(&session.key(key)?)?),
            Self::Put { key, file, allow_lockout } => {
                let (key_id, policy) = (session.key(key)?, read(file)?);
                match allow_lockout {
                    false => kms.put_key_policy(&key_id, &policy)?,
                    true => kms.put_key_policy_that_may_lock_out_caller(&key_id, &policy)?,
                }
                // Not read again: it may no longer allow the owner anything.
                print_document(&policy)
            }
        }
    }
}

/// Reads a policy.
pub fn read(file: &Path) -> Result<String> {
    let read = |mut source: Box<dyn Read>| {
        let mut policy = String::new();
        source.by_ref().take(MOST).read_to_string(&mut policy).map(|_| policy)
    };
    let policy = match is_stdio(file) {
        true => read(Box::new(io::stdin())),
        false => File::open(file).and_then(|file| read(Box::new(file))),
    };
    policy.map_err(|error| Failure::file("cannot read the policy", file, error))
}
