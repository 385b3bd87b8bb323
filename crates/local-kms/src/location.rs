//! [`Location`]: a region of an account, and the rows of its records.

use crate::error::invalid;
use manila_core::Result;
use manila_core::internal::{is_arn_part, quoted};

/// The maximum length of a region's name, in bytes.
const MAX_REGION_LEN: usize = 64;

/// A region of an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Location<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
}

impl Location<'_> {
    pub(super) fn key_arn(&self, key_id: &str) -> String {
        format!("arn:aws:kms:{}:{}:key/{key_id}", self.region, self.account)
    }

    /// Returns the row of this region's record.
    pub(super) fn row(&self, id: &str) -> String {
        row(self.region, id)
    }
}

/// Returns the row of a region's record.
pub(super) fn row(region: &str, id: &str) -> String {
    format!("{region}/{id}")
}

/// Fails unless a region's name is valid in ARNs.
pub(super) fn check_region(region: &str) -> Result<()> {
    if region.len() <= MAX_REGION_LEN && is_arn_part(region) {
        return Ok(());
    }
    let message = format!("{} is not a valid region: use lowercase letters, digits and hyphens", quoted(region));
    Err(invalid("ValidationException", message))
}
