//! [`DiscoveryFilter`]: the accounts whose keys a discovery keyring may use.

use std::collections::BTreeSet;

use manila_core::internal::{is_arn_part, quoted};
use manila_core::{Error, ErrorKind, KeyArn, Result};

/// The partition and the accounts whose keys a discovery keyring may use.
///
/// Partitions and accounts consist of lower-case letters, digits and hyphens; an AWS account is 12 digits. A
/// [`Kms`](crate::kms::Kms) with ARNs of its own must keep to these characters, in the region as well, if its keys are
/// to be discovered.
///
/// ```
/// use manila::keyring::DiscoveryFilter;
///
/// let filter = DiscoveryFilter::new("aws", ["111122223333", "444455556666"])?;
/// assert!(DiscoveryFilter::new("aws", [""; 0]).is_err(), "a filter without accounts is a mistake");
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DiscoveryFilter {
    partition: String,
    accounts: BTreeSet<String>,
}

impl DiscoveryFilter {
    /// Returns a filter of a partition (`aws`, `aws-cn`, `aws-us-gov`) and the trusted accounts in it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no account, or if one of them or the partition is empty or has other
    /// characters than `a` to `z`, `0` to `9` and `-`.
    pub fn new<A: Into<String>>(partition: impl Into<String>, accounts: impl IntoIterator<Item = A>) -> Result<Self> {
        let partition = partition.into();
        let accounts: BTreeSet<String> = accounts.into_iter().map(Into::into).collect();
        check_part("a partition", &partition)?;
        accounts.iter().try_for_each(|account| check_part("an account", account))?;
        if accounts.is_empty() {
            let detail = "a discovery filter without accounts lets no key through: name those whose keys to use";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        Ok(Self { partition, accounts })
    }

    pub(super) fn admits(&self, arn: &KeyArn<'_>) -> bool {
        arn.partition == self.partition && self.accounts.contains(arn.account)
    }
}

/// Fails unless `text` can be a part of an ARN.
pub(super) fn check_part(what: &str, text: &str) -> Result<()> {
    if is_arn_part(text) {
        return Ok(());
    }
    let detail = format!("{} is not {what}: it has lower-case letters, digits and hyphens", quoted(text));
    Err(Error::new(ErrorKind::InvalidInput, detail))
}
