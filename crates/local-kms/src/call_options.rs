//! The options that several requests have: grant tokens and the dry run.

use manila_core::{Error, Result};

use crate::audit::Details;
use crate::error::refused;

/// The options of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallOptions<'a> {
    pub(crate) grant_tokens: &'a [String],
    pub(crate) dry_run: bool,
}

impl CallOptions<'_> {
    /// Adds what the log says of the options.
    pub(crate) fn describe<'a>(&self, details: Details<'a>) -> Details<'a> {
        if self.dry_run { details.flag("dryRun", true) } else { details }
    }

    /// Fails with AWS's error if the call was only to be tried. Everything else must have been checked.
    pub(crate) fn check_not_dry(&self) -> Result<()> {
        if self.dry_run { Err(dry_run()) } else { Ok(()) }
    }
}

fn dry_run() -> Error {
    refused("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
}

/// Adds the setters of the options to a request.
macro_rules! with_options {
    ($request:ident) => {
        impl<'a> $request<'a> {
            /// Sets grant tokens, at most 10, which AWS needs in the first minutes of a grant's life. Grants take
            /// effect here at once, so they change nothing.
            pub const fn grant_tokens(mut self, tokens: &'a [String]) -> Self {
                self.options.grant_tokens = tokens;
                self
            }

            /// Only tries the call: if it would have succeeded, it fails with `DryRunOperationException`.
            pub const fn dry_run(mut self) -> Self {
                self.options.dry_run = true;
                self
            }
        }
    };
}
pub(crate) use with_options;
