//! [`LocalKms`]: a handle to the embedded KMS, for a region and a caller.

use std::fmt;
use std::sync::Arc;

use crate::caller::Caller;
use crate::location::{Location, check_region};
use crate::policy;
use crate::request_context::RequestContext;
use crate::shared::Shared;
use manila_core::Result;

/// An AWS KMS in a file or in memory. Clones are cheap and share the store.
///
/// It uses AWS's ARNs, aliases, states, policies and error names, so moving a program to AWS changes only the line that
/// creates the KMS. Keys are stored in a `redb` file, and each record is sealed under a key derived from a [`RootKey`]
/// that is kept elsewhere. Several processes may share the file. There is no background thread: every call checks
/// deadlines, so they take effect on time even if nothing ran in between.
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
/// # Security
///
/// Without the root key, the file reveals no secret, policy, tag or description, not which key an alias names, and no
/// principal. It does reveal:
///
/// - the account and regions, the number of keys and their ids;
/// - the names of aliases, and how many keys have how many aliases;
/// - how many grants each key has, and which grants on a key have the same principal;
/// - how many users, roles and sessions of roles there are, and when sessions end;
/// - when deletions and expiries are due, when the last write was, and how often the log was rotated and the root key
///   changed;
/// - the length of each record, rounded up to a power of two and to at least 512 bytes, which shows that a key was
///   rotated several times or has a long policy.
///
/// Copies of the file from different times, or old pages that [`purge`](Self::purge) has not overwritten, reveal which
/// records were written together, and so which alias was created with which key.
///
/// A record that was changed, moved, removed, set back or taken from another store is refused. An older copy of the
/// *whole* file cannot be distinguished from the current one, unless it is put back while the store is open, or the
/// store's [`AuditLog`] proves a later state. Anyone with both the file and the root key has every key. Opening a file
/// requires write permission, except with [`open_read_only`](Self::open_read_only).
///
/// # Regions and principals
///
/// One store contains all regions. [`region`](Self::region) returns a view of another region, for multi-Region keys and
/// their replicas. [`as_principal`](Self::as_principal) returns a view for another caller, who is subject to key
/// policies and grants; any other handle belongs to the owner of the account, its root principal.
///
/// Permissions have two layers, as on AWS. The policy of a key, in AWS's JSON, names principals or leaves it to their
/// account, whose [policies](Self::put_identity_policy) of users and [roles](Self::put_role) then decide. In this
/// order:
///
/// 1. A `Deny` in any of these policies refuses a call, whatever else allows it.
/// 2. A key policy that names the caller or `*` allows it.
/// 3. A key policy that names the caller's account allows it together with a policy of the caller. The account's owner
///    needs none.
/// 4. A [grant](Self::create_grant) allows it.
/// 5. Otherwise it is refused.
///
/// | call | takes |
/// |---|---|
/// | on a key, by a principal of its account | one of 2, 3 and 4 |
/// | on a key, by a principal of another account | 2 or 3, and in both cases a policy of the caller; or 4. Only using keys, `DescribeKey`, `GetKeyRotationStatus` and grants |
/// | on a key, by an AWS service | 2 or 4 |
/// | `CreateKey`, `ListKeys`, `ListAliases`, `GenerateRandom`, `ListRetirableGrants` | a policy of the caller alone; the owner always may |
/// | `CreateAlias`, `UpdateAlias`, `DeleteAlias` | the permission for each key, and a policy of the caller for the alias |
/// | `ReplicateKey` | the permission for the key, and a policy of the caller that allows `kms:CreateKey` in the other region |
/// | `RetireGrant` | to be the grant's retiring principal, or its grantee if it allows that; or to be of the account of the key or of a retiring account, with a policy of the caller |
///
/// A call can carry its circumstances in a [`RequestContext`], which conditions of policies compare. AWS's service and
/// resource control policies, permission boundaries and session policies do not exist here.
///
/// Within one process, principals guard against mistakes and rehearse AWS's policies. They are not a security
/// boundary.
///
/// # Time
///
/// The current time is that of the clock, but never earlier than the last write of any program: the store records the
/// time of each write. If the clock is set back, nothing that was written or removed changes. Reads are not recorded:
/// if a deadline has passed only for programs that cannot write, it is in the future again.
///
/// Keys and material past their deadline are permanently removed, so a clock that is ahead does harm. Writes therefore
/// fail with [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed) in two cases:
///
/// - The clock is more than a day further ahead of the monotonic clock than at its lowest since the last write, or
///   since the store was opened if nothing was written since. On many systems the monotonic clock does not advance
///   during sleep.
/// - The clock is more than ten years ([`LocalKmsBuilder::longest_pause`]) past the last write.
///
/// Writes succeed once the clock is corrected, or once the owner confirms with [`confirm_clock`](Self::confirm_clock)
/// that it is correct. Reads never fail for these reasons: keys past their deadline by the clock are refused, but
/// nothing is removed, and keys that are due for rotation are used unrotated.
///
/// Smaller errors are not detected: up to a day at each write, and up to the longest pause if the clock is already
/// wrong when the store is opened. A program that starts with a clock five years ahead performs everything that is due
/// in those five years. The owner can then call [`set_time_back`](Self::set_time_back), or [restore](Self::restore) an
/// earlier backup if something was removed too early.
///
/// On a machine whose clock starts in 1970 and is set later, such as a board without a battery, open the store after
/// the clock is set. If the store is opened earlier, its current time is that of the last write; if the clock is then
/// set to more than a day after that, call [`confirm_clock`](Self::confirm_clock).
///
/// # Blocking
///
/// Calls, including `_async` ones, access the file before they return. A read takes some tens of microseconds, and a
/// write waits for the disk. Both wait for other processes that are writing: a process that is stopped during a write
/// blocks the others. Both also wait for the two pauses of a [`purge`](Self::purge), which grow with the store. If an
/// executor cannot tolerate this, make the calls on a thread for blocking work.
///
/// The file must be on a file system where locks work, which excludes network file systems. Do not use a handle on
/// both sides of a `fork`.
///
/// A key policy with many patterns can take more than a second to evaluate if the encryption context is long too. No
/// other call waits for that. If the policy is replaced meanwhile, and so at each of five attempts, the call fails with
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
///
/// After a failed read or write of the file, for instance on a full disk, a handle refuses every call until it is
/// [reopened](Self::reopen) in place. All acknowledged writes are preserved. The same applies if the file is moved,
/// replaced or removed while it is open: the next write detects this, and reads detect it within a second or sixteen
/// reads.
///
/// [`AuditLog`]: crate::AuditLog
/// [`LocalKmsBuilder::longest_pause`]: crate::LocalKmsBuilder::longest_pause
/// [`RootKey`]: crate::RootKey
#[derive(Clone)]
pub struct LocalKms {
    pub(super) shared: Arc<Shared>,
    region: Arc<str>,
    principal: Option<Arc<str>>,
    context: Arc<RequestContext>,
    grant_tokens: Arc<[String]>,
}

impl LocalKms {
    /// Returns the owner's handle to a store, in the store's region.
    pub(super) fn over(shared: Shared) -> Self {
        let region = shared.store.region().into();
        Self {
            shared: Arc::new(shared),
            region,
            principal: None,
            context: Arc::default(),
            grant_tokens: Arc::default(),
        }
    }

    /// Returns the same KMS in another region, which has its own keys and aliases, and shares multi-Region keys.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name of a region.
    pub fn region(&self, region: &str) -> Result<Self> {
        check_region(region)?;
        Ok(Self { region: region.into(), ..self.clone() })
    }

    /// Returns the same KMS for another caller, given by ARN, such as `arn:aws:iam::111122223333:role/app`, or for an
    /// AWS service, given by name, such as `s3.amazonaws.com`.
    ///
    /// The last call determines the caller: a view can become the owner's again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid ARN of a principal.
    pub fn as_principal(&self, arn: &str) -> Result<Self> {
        policy::check_caller(arn)?;
        Ok(Self { principal: Some(arn.into()), ..self.clone() })
    }

    /// Returns the same KMS for calls made in these circumstances, in place of others that were set before.
    ///
    /// Conditions of policies compare them: see [`RequestContext`].
    #[must_use]
    pub fn with_context(&self, context: RequestContext) -> Self {
        Self { context: Arc::new(context), ..self.clone() }
    }

    /// Returns the same KMS for calls with these grant tokens, in place of others that were set before. Requests that
    /// have tokens of their own add them.
    ///
    /// A call with a token that is not valid, or whose grant is gone, fails with `InvalidGrantTokenException`.
    #[must_use]
    pub fn with_grant_tokens(&self, tokens: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { grant_tokens: tokens.into_iter().map(Into::into).collect(), ..self.clone() }
    }

    /// Returns whether this handle, or the one that it is a clone or a view of, created its store, in which case there
    /// is no copy of the root key yet.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path().join("kms");
    /// use manila_local_kms::LocalKms;
    ///
    /// assert!(LocalKms::open_or_create(&folder)?.is_new());
    /// assert!(!LocalKms::open_or_create(&folder)?.is_new());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.shared.is_new
    }

    pub(super) fn grant_tokens(&self) -> &[String] {
        &self.grant_tokens
    }

    pub(super) fn location(&self) -> Location<'_> {
        Location { region: &self.region, account: self.account() }
    }

    /// Returns the region of this handle.
    ///
    /// ```
    /// use manila_local_kms::LocalKms;
    ///
    /// let kms = LocalKms::in_memory()?;
    /// assert_eq!((kms.region_name(), kms.region("eu-west-1")?.region_name()), ("local", "eu-west-1"));
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    #[must_use]
    pub fn region_name(&self) -> &str {
        &self.region
    }

    /// Returns the account that the keys belong to.
    ///
    /// ```
    /// use manila_local_kms::LocalKms;
    ///
    /// assert_eq!(LocalKms::in_memory()?.account(), "000000000000");
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    #[must_use]
    pub fn account(&self) -> &str {
        &self.shared.account
    }

    pub(super) fn principal(&self) -> &str {
        self.principal.as_deref().unwrap_or(&self.shared.owner)
    }

    pub(super) fn is_owner(&self) -> bool {
        self.principal() == self.shared.owner
    }

    /// Returns the caller of this view.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller {
            principal: self.principal(),
            account: self.account(),
            region: &self.region,
            is_owner: self.is_owner(),
            context: &self.context,
        }
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
