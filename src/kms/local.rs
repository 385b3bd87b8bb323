//! `LocalKms`: the embedded KMS, in memory or in one file.
//!
//! Each operation is a method of [`LocalKms`] in the file of its subject: `lifecycle`, `alias`, `rotation`, `import`,
//! `replica`, `cipher`, `grant`, `access` (policies), `maintenance`. All go through `call`, which is where a caller's
//! permission, a key's state and what is overdue are seen to, and where the audit log gets its line. `store` keeps the
//! records.

mod access;
mod answer;
mod audit;
mod blob;
mod builder;
mod call;
mod clock;
mod disk;
mod lookup;
mod operation;
mod overdue;
mod place;
mod policy;
#[cfg(feature = "testing")]
pub(crate) mod probe;
mod record;
mod root_key;
mod sealed;
mod store;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

use audit::{Event, LineKey, Log, Written};
use clock::StoreClock;
use overdue::Settling;
use place::Place;
use policy::PolicyCache;
use store::Store;

pub use audit::{AuditFault, AuditFaultKind, AuditLog, AuditReport};
pub use builder::LocalKmsBuilder;
pub use operation::KeyState;
pub use operation::alias::Alias;
pub use operation::maintenance::RootKeyChange;
pub use operation::rotation::{KeyRotation, RotationStatus};
pub use record::grant::{CreateGrant, Grant, GrantConstraint, GrantOperation};
pub use record::key::{CreateKey, KeyMetadata, KeyOrigin, KeySpec};
pub use root_key::RootKey;

/// An AWS KMS in a file, or in memory. Cheap to clone: clones share the store.
///
/// It answers in AWS's forms (ARNs, aliases, states, policies, error names), so that a program moves to AWS by changing
/// the line that makes the KMS. Keys live in a `redb` file, each record sealed under a key derived from a [`RootKey`]
/// that is kept elsewhere. Several processes may share the file. There is no background thread: a deadline holds from
/// its moment on, whether or not anything has run.
///
/// ```
/// use manila::{CreateKey, LocalKms};
///
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
/// assert_eq!(kms.describe_key("alias/app")?.arn(), key.arn());
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # What it protects against
///
/// Without the root key the file tells account and regions, the number of keys, their ids, the names of aliases, how many
/// aliases and grants each key has, which grants on a key are to the same principal, when deletions and expiries are due,
/// how long each record is (which tells how often a key was rotated, or that it has a policy), the order in which records
/// were written, when the last write was and how often the root key was changed; no secret, policy, tag or description,
/// not which key an alias names, and no principal. A record that was changed, moved, removed or set
/// back is refused, also one from another store. It cannot tell an older copy of the *whole* file from the current one,
/// unless the file is set back while it is open, or its [`AuditLog`] proves a later state; and holders of both file and
/// root key hold every key. Opening a file needs permission to write it, but for [`open_read_only`](Self::open_read_only).
///
/// # Regions and principals
///
/// One store holds all regions: [`region`](Self::region) is a view of another one, for multi-Region keys and their
/// replicas. [`as_principal`](Self::as_principal) is a view for another caller, whom key policies and grants bind; a
/// handle that is no view is the owner of the account, its root principal. There are no IAM policies here: where AWS
/// lets an account's policies decide, only the owner may. Principals of other accounts can be allowed what AWS allows
/// across accounts: to use keys, `DescribeKey`, `GetKeyRotationStatus` and grants. Inside one process principals guard against mistakes and
/// rehearse the policies of AWS. They are no security boundary.
///
/// # Time
///
/// Time goes forwards by itself only. The store keeps the latest time that a write saw, whichever program's clock that was,
/// and takes no earlier one for the present; a clock that is set back changes nothing.
///
/// What is past its deadline is removed for good, so a clock that runs ahead could do harm. A write is refused with
/// [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed) when the clock went ahead of the monotonic clock by more
/// than a day since the last write or the opening (many systems do not count the time asleep), or when it is more than ten
/// years past the last write ([`LocalKmsBuilder::longest_pause`]). Once the clock is right again, writes go on; if it is right,
/// the owner says so with [`confirm_clock`](Self::confirm_clock). Reads are never refused for that: deadlines hold by the clock,
/// nothing is removed, and keys that are due to be rotated are used as they are. After a smaller error that was written
/// [`set_time_back`](Self::set_time_back) helps, where nothing was removed too early;
/// [`restore`](Self::restore) a backup from before otherwise.
///
/// # Blocking
///
/// Calls work on the file before they return, `_async` ones too: reading takes some tens of microseconds, a write waits
/// for the disk, and both wait for other processes that are just writing: one that is stopped in the middle stops the
/// others. The file must lie where locks work, on no network file system, and a handle is not to be used on both sides of a
/// `fork`. A program with an executor that cannot have that makes the calls on a thread for blocking work.
///
/// After a read or write of the file that failed, as on a full disk, a handle refuses everything until it is
/// [opened again](Self::reopen), in place. What was acknowledged before is there. The same goes for a file that was moved,
/// replaced or removed while it is open: the next write finds that out, and reads do within a second or sixteen of them.
#[derive(Clone)]
pub struct LocalKms {
    shared: Arc<Shared>,
    region: Arc<str>,
    principal: Option<Arc<str>>,
}

/// What all views and clones of a handle have in common.
struct Shared {
    store: Store,
    account: String,
    owner: String,
    store_id: Vec<u8>,
    clock: StoreClock,
    settling: Settling,
    policies: PolicyCache,
    log: Option<Log>,
    line_keys: Mutex<Arc<[LineKey]>>,
    /// Whether the handle was given out.
    is_open: bool,
}

impl LocalKms {
    /// A KMS that forgets its keys when the last clone is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if there is no randomness.
    pub fn in_memory() -> Result<Self> {
        LocalKmsBuilder::default().in_memory()
    }

    /// A new KMS in a new file at `path`, readable by its owner alone.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if there is a file already or it cannot be made,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    pub fn create(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().create(path, root_key)
    }

    /// The KMS in the file at `path`. Other processes may have it open too.
    ///
    /// The whole file is verified first.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is damaged, no key store, of a newer format, or one of
    /// another root key.
    pub fn open(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().open(path, root_key)
    }

    /// Opens the KMS in the file at `path` to read it, without changing the file: see
    /// [`LocalKmsBuilder::open_read_only`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().open_read_only(path, root_key)
    }

    /// Opens the file of the KMS again, in place: all clones and views of this handle go on, as those in keyrings and clients.
    ///
    /// For after a read or a write of the file has failed, as on a disk that was full, and after the file was replaced by
    /// a later state of the same store. The audit log stays open.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged) if the root key is another one
    /// now, [`ErrorKind::Storage`](crate::ErrorKind::Storage) also if the file is of another store or of an earlier state of
    /// this one, [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the KMS is in memory. The handle is as it was
    /// then.
    pub fn reopen(&self) -> Result<()> {
        self.shared.store.reopen(None)?;
        self.shared.load_line_keys()
    }

    /// [`reopen`](Self::reopen) with another root key, after another handle or process has
    /// [changed](Self::change_root_key) it.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is not the root key of the store.
    pub fn reopen_with(&self, root_key: RootKey) -> Result<()> {
        self.shared.store.reopen(Some(root_key))?;
        self.shared.load_line_keys()
    }

    /// Settings for a KMS: region, account, audit log, clock.
    pub fn builder() -> LocalKmsBuilder {
        LocalKmsBuilder::default()
    }

    /// The same KMS in another region: its keys and aliases are others, multi-Region keys are shared.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a region cannot be called that.
    pub fn region(&self, region: &str) -> Result<Self> {
        builder::check_region(region)?;
        Ok(Self { region: region.into(), ..self.clone() })
    }

    /// The same KMS for another caller, by his ARN: `arn:aws:iam::111122223333:role/app`.
    ///
    /// The last caller named counts: a view can be made the owner's again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is no ARN of a principal.
    pub fn as_principal(&self, arn: &str) -> Result<Self> {
        policy::check_principal(arn)?;
        Ok(Self { principal: Some(arn.into()), ..self.clone() })
    }

    fn place(&self) -> Place<'_> {
        Place { region: &self.region, account: self.account() }
    }

    fn region_name(&self) -> &str {
        &self.region
    }

    fn account(&self) -> &str {
        &self.shared.account
    }

    fn principal(&self) -> &str {
        self.principal.as_deref().unwrap_or(&self.shared.owner)
    }

    fn is_owner(&self) -> bool {
        self.principal() == self.shared.owner
    }
}

impl Shared {
    fn new(store: Store, clock: StoreClock, log: Option<Log>) -> Result<Self> {
        let shared = Self {
            account: store.account(),
            owner: policy::owner(&store.account()),
            store_id: store.with_seal(|seal| seal.store_id().to_vec()),
            store,
            clock,
            settling: Settling::default(),
            policies: PolicyCache::default(),
            log,
            line_keys: Mutex::default(),
            is_open: false,
        };
        shared.load_line_keys()?;
        // So that the pace of a clock that is behind the store counts for nothing from the beginning.
        shared.store.read(|tables| Ok(shared.clock.present(shared.now(), tables)))?;
        Ok(shared)
    }

    /// The time in milliseconds since 1970, no earlier than any call saw before.
    fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Writes the line of an event, if a log is kept.
    fn write_line(&self, event: &Event<'_>) -> Result<Written> {
        match &self.log {
            Some(log) => log.append(event, || self.line_keys(), &self.store_id),
            None => Ok(Written::Whole),
        }
    }

    fn keeps_context_keys_only(&self) -> bool {
        self.log.as_ref().is_some_and(Log::keeps_context_keys_only)
    }

    fn line_keys(&self) -> Arc<[LineKey]> {
        self.lock_line_keys().clone()
    }

    fn lock_line_keys(&self) -> MutexGuard<'_, Arc<[LineKey]>> {
        self.line_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    /// Keeps the end of the audit log, if it can. Those who must know call [`LocalKms::checkpoint`] themselves.
    fn drop(&mut self) {
        if self.is_open {
            self.close();
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
