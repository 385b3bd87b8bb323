//! [`LocalKms`]: a handle of the embedded KMS, for a region and a caller.

use std::fmt;
use std::sync::Arc;

use crate::caller::Caller;
use crate::key_policy;
use crate::location::{Location, check_region};
use crate::shared::Shared;
use manila_core::Result;

/// An AWS KMS in a file, or in memory. Cheap to clone: clones share the store.
///
/// It answers in AWS's forms (ARNs, aliases, states, policies, error names), so that a program moves to AWS by changing
/// the line that makes the KMS. Keys live in a `redb` file, each record sealed under a key derived from a [`RootKey`]
/// that is kept elsewhere. Several processes may share the file. There is no background thread: a deadline holds from
/// its moment on, whether or not anything has run.
///
/// ```
/// use manila_local_kms::{CreateKey, LocalKms};
///
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
/// assert_eq!(kms.describe_key("alias/app")?.arn(), key.arn());
/// # Ok::<(), manila_local_kms::Error>(())
/// ```
///
/// # What it protects against
///
/// Without the root key the file tells account and regions, the number of keys, their ids, the names of aliases, how
/// many keys have how many aliases, how many grants each key has, which grants on a key are to the same principal, when
/// deletions and expiries are due, how often the log was rotated and the root key changed, when the last write was, and
/// the length of each record up to the next power of two, 512 bytes at least (which tells that a key was rotated
/// several times, or has a long policy); no secret, policy, tag or description, not which key an alias names, and no
/// principal. Copies of the file from several times, or old pages in it that no [`purge`](Self::purge) has written
/// over, tell which records were written together, and so which alias came with which key. A record that was changed,
/// moved, removed or set back is refused, also one from another store. It cannot tell an older copy of the *whole* file
/// from the current one, unless the file is set back while it is open, or its [`AuditLog`] proves a later state; and
/// holders of both file and root key hold every key. Opening a file needs permission to write it, but for
/// [`open_read_only`](Self::open_read_only).
///
/// # Regions and principals
///
/// One store holds all regions: [`region`](Self::region) is a view of another one, for multi-Region keys and their
/// replicas. [`as_principal`](Self::as_principal) is a view for another caller, whom key policies and grants bind; a
/// handle that is not a view is the owner of the account, its root principal. There are no IAM policies here: where AWS
/// lets an account's policies decide, only the owner may: calls that concern no one key, and the names of aliases and
/// replicas in other regions, whatever a key's policy says. Principals of other accounts can be allowed what AWS allows
/// across accounts: to use keys, `DescribeKey`, `GetKeyRotationStatus` and grants. Inside one process principals guard
/// against mistakes and rehearse the policies of AWS. They are not a security boundary.
///
/// # Time
///
/// The present is the time that the clock shows, but never a time before the last write of any program: the store keeps
/// the time of that write. If the clock is set back, nothing that was written or removed changes. What was only read is
/// not noted: a deadline that passed for no program that can write is in the future again.
///
/// What is past its deadline is removed for good, so a clock that runs ahead does harm. Writes therefore fail with
/// [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed) in two cases:
///
/// - The clock is more than a day further ahead of the monotonic clock than it was at its lowest since the last write,
///   or since the store was opened if there was none since. Many systems do not count the time asleep in the monotonic
///   clock.
/// - The clock is more than ten years ([`LocalKmsBuilder::longest_pause`]) past the last write.
///
/// Once the clock is right again, writes succeed. If it is right, the owner calls
/// [`confirm_clock`](Self::confirm_clock). Reads never fail for these reasons: what is past its deadline by the clock
/// is refused, but nothing is removed, and keys that are due for rotation are used as they are.
///
/// Smaller errors are not noticed: a day at each write, and anything up to the longest pause if the clock is wrong
/// already when the store is opened. A program that is started under a clock five years ahead does what is due in these
/// five years. Afterwards the owner calls [`set_time_back`](Self::set_time_back), or [restores](Self::restore) a backup
/// from before if something was removed too early.
///
/// On a machine whose clock begins in 1970 and is set later, as a board without a battery, open the store once the
/// clock is set. A store that is opened before takes the last write for the present; when the clock is set more than a
/// day after that, call [`confirm_clock`](Self::confirm_clock).
///
/// # Blocking
///
/// Calls work on the file before they return, `_async` ones too: reading takes some tens of microseconds, a write waits
/// for the disk, and both wait for other processes that are just writing: one that is stopped in the middle stops the
/// others. Both wait for the moments of a [`purge`](Self::purge) too, which grow with the store. The file must lie
/// where locks work, on no network file system, and a handle is not to be used on both sides of a `fork`. A program
/// with an executor that cannot have that makes the calls on a thread for blocking work.
///
/// After a read or write of the file that failed, as on a full disk, a handle refuses everything until it is [opened
/// again](Self::reopen), in place. What was acknowledged before is there. The same goes for a file that was moved,
/// replaced or removed while it is open: the next write finds that out, and reads do within a second or sixteen of
/// them.
///
/// [`AuditLog`]: crate::AuditLog
/// [`LocalKmsBuilder::longest_pause`]: crate::LocalKmsBuilder::longest_pause
/// [`RootKey`]: crate::RootKey
#[derive(Clone)]
pub struct LocalKms {
    pub(super) shared: Arc<Shared>,
    region: Arc<str>,
    principal: Option<Arc<str>>,
}

impl LocalKms {
    /// The owner's view of a store, in the store's region.
    pub(super) fn over(shared: Shared) -> Self {
        let region = shared.store.region().into();
        Self { shared: Arc::new(shared), region, principal: None }
    }

    /// The same KMS in another region: its keys and aliases are others, multi-Region keys are shared.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a region cannot be called that.
    pub fn region(&self, region: &str) -> Result<Self> {
        check_region(region)?;
        Ok(Self { region: region.into(), ..self.clone() })
    }

    /// Returns the same KMS for another caller, by their ARN: `arn:aws:iam::111122223333:role/app`.
    ///
    /// The last caller named counts: a view can be made the owner's again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid ARN of a principal.
    pub fn as_principal(&self, arn: &str) -> Result<Self> {
        key_policy::check_principal(arn)?;
        Ok(Self { principal: Some(arn.into()), ..self.clone() })
    }

    pub(super) fn location(&self) -> Location<'_> {
        Location { region: &self.region, account: self.account() }
    }

    pub(super) fn region_name(&self) -> &str {
        &self.region
    }

    pub(super) fn account(&self) -> &str {
        &self.shared.account
    }

    pub(super) fn principal(&self) -> &str {
        self.principal.as_deref().unwrap_or(&self.shared.owner)
    }

    pub(super) fn is_owner(&self) -> bool {
        self.principal() == self.shared.owner
    }

    /// The caller that this view stands for.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller { principal: self.principal(), account: self.account(), is_owner: self.is_owner() }
    }
}

impl fmt::Debug for LocalKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKms")
            .field("region", &self.region)
            .field("account", &self.account())
            .field("principal", &self.principal())
            .finish_non_exhaustive()
    }
}
