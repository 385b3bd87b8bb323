//! Where keys are: a region of an account, and the rows of its records.

/// A region of an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) region: &'a str,
    pub(super) account: &'a str,
}

impl Place<'_> {
    pub(super) fn key_arn(&self, key_id: &str) -> String {
        format!("arn:aws:kms:{}:{}:key/{key_id}", self.region, self.account)
    }

    /// Where records of this region are stored.
    pub(super) fn row(&self, id: &str) -> String {
        row(self.region, id)
    }
}

/// Where a record of a region is stored.
pub(super) fn row(region: &str, id: &str) -> String {
    format!("{region}/{id}")
}
