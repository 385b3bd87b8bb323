//! The results of calls that change the store, for their lines.

use std::time::SystemTime;

use crate::audit::Details;
use crate::record::key::KeyMetadata;

/// The result of a call that changes the store, for its line.
pub(crate) trait Answer {
    /// Returns the ARN of the key that the call created.
    fn key_arn(&self) -> Option<&str> {
        None
    }

    /// Returns the members of the line's `response`.
    fn details(&self) -> Details<'static> {
        Details::new()
    }
}

impl Answer for () {}

impl Answer for usize {}

impl Answer for KeyMetadata {
    fn key_arn(&self) -> Option<&str> {
        Some(self.arn())
    }

    fn details(&self) -> Details<'static> {
        Details::new().owned_text("keyId", self.arn().to_owned())
    }
}

/// The date of a deletion.
impl Answer for SystemTime {
    fn details(&self) -> Details<'static> {
        Details::new().time("deletionDate", *self)
    }
}
