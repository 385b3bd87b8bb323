//! [`DataKeyCache`]: one cache for several materials managers, each with a partition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use manila_core::internal::quoted;
use manila_core::{Error, ErrorKind, Result};

use crate::cmm::Cmm;
use crate::cmm::caching::cache::Cache;
use crate::cmm::caching::flight::Call;
use crate::cmm::caching::question::Question;
use crate::cmm::caching::{CacheSettings, CacheStats, CachingCmm};

/// A cache for several materials managers, each with a partition of its own.
///
/// Cheap to clone: clones share the entries. A partition belongs to the manager that first used its name, and its
/// entries are never used for another manager's callers. It lasts as long as one of its [`CachingCmm`]s, or until it is
/// [dropped](Self::drop_partition) by name; then its entries are removed and the name is free. Keep the `CachingCmm`,
/// or a client over it, for as long as the entries are useful.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use manila::Client;
/// use manila::cmm::{CacheSettings, DataKeyCache, DefaultCmm};
/// use manila::keyring::RawAesKeyring;
///
/// let cache = DataKeyCache::new(CacheSettings::new(1000, Duration::from_secs(300)))?;
/// let billing = Arc::new(DefaultCmm::new(RawAesKeyring::new("example", "billing", &[1; 32])?));
/// let reports = Arc::new(DefaultCmm::new(RawAesKeyring::new("example", "reports", &[2; 32])?));
/// let billing = Client::with_cmm(cache.partition("billing", billing)?);
/// let reports = Client::with_cmm(cache.partition("reports", reports)?);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DataKeyCache {
    cache: Arc<Cache>,
    names: Arc<Mutex<Names>>,
}

/// The partitions by name, and the number of partitions so far: no number is used twice, so that a partition never
/// finds the entries of an earlier one with its name.
#[derive(Debug, Default)]
struct Names {
    known: HashMap<String, Weak<Partition>>,
    next_number: u64,
}

/// A materials manager and its part of the cache. Dropping the last handle removes its entries.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) number: u64,
    pub(super) inner: Arc<dyn Cmm>,
    pub(super) cache: Arc<Cache>,
    pub(super) inner_type: &'static str,
    name: String,
    names: Arc<Mutex<Names>>,
}

impl DataKeyCache {
    /// Returns a cache with these limits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the limits are not possible or contradict each other.
    pub fn new(settings: CacheSettings) -> Result<Self> {
        settings.check()?;
        Ok(Self { cache: Arc::new(Cache::new(settings)), names: Arc::default() })
    }

    /// Returns a manager with this cache in front of `inner`, in a partition with this name. The same name with the
    /// same manager is the same partition.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the partition belongs to another manager.
    pub fn partition<C: Cmm + 'static>(&self, name: impl Into<String>, inner: Arc<C>) -> Result<CachingCmm> {
        let (name, inner_type) = (name.into(), std::any::type_name::<C>());
        let inner: Arc<dyn Cmm> = inner;
        // Dropped after the lock is released, since dropping a partition takes it.
        let partition = {
            let mut names = lock(&self.names);
            let known = names.known.get(&name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let number = names.next_number;
                names.next_number = number.saturating_add(1);
                let partition = Arc::new(Partition {
                    number,
                    inner: inner.clone(),
                    cache: self.cache.clone(),
                    inner_type,
                    name: name.clone(),
                    names: self.names.clone(),
                });
                names.known.insert(name, Arc::downgrade(&partition));
                partition
            })
        };
        if !std::ptr::addr_eq(Arc::as_ptr(&partition.inner), Arc::as_ptr(&inner)) {
            let detail = format!(
                "the partition {} of the cache belongs to another materials manager: give each manager its own, and \
                 share a manager by cloning its Arc",
                quoted(&partition.name)
            );
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        Ok(CachingCmm { partition })
    }

    /// Drops the partition with a name: removes its entries and frees the name. Returns false if there is none.
    ///
    /// [`CachingCmm`]s that still belong to it continue to work, separately from any later partition of the name.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::time::Duration;
    /// # use manila::Client;
    /// # use manila::cmm::{CacheSettings, DataKeyCache, DefaultCmm};
    /// # use manila::keyring::RawAesKeyring;
    /// let cache = DataKeyCache::new(CacheSettings::new(1000, Duration::from_secs(300)))?;
    /// let tenant = Arc::new(DefaultCmm::new(RawAesKeyring::new("example", "acme", &[1; 32])?));
    /// let client = Client::with_cmm(cache.partition("acme", tenant)?);
    /// assert!(cache.drop_partition("acme"));
    /// assert!(!cache.drop_partition("acme"));
    /// # Ok::<(), manila::Error>(())
    /// ```
    #[expect(clippy::must_use_candidate, reason = "most callers need not know")]
    pub fn drop_partition(&self, name: &str) -> bool {
        let known = lock(&self.names).known.remove(name);
        let Some(partition) = known.and_then(|known| known.upgrade()) else { return false };
        self.cache.forget_partition(partition.number);
        true
    }

    /// Returns the counters of the cache.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Removes all entries. Keys in use are zeroized when their users are done.
    pub fn clear(&self) {
        self.cache.clear();
    }
}

impl Partition {
    /// Returns a call to the manager that borrows nothing.
    pub(super) fn call(&self, question: Question<'_>) -> Call {
        let (future, header_use) = question.call(self.inner.clone());
        Call { future, header_use, inner_type: self.inner_type }
    }

    pub(super) fn waits(&self) -> Error {
        let detail = format!("a materials manager called itself local and then waited: {}", self.inner_type);
        Error::new(ErrorKind::Internal, detail)
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        {
            let mut names = lock(&self.names);
            // The name may belong to another partition by now.
            if names.known.get(&self.name).is_some_and(|known| std::ptr::eq(known.as_ptr(), self)) {
                names.known.remove(&self.name);
            }
        }
        self.cache.forget_partition(self.number);
    }
}

/// Locks the names, even if another thread panicked while it held the lock: no operation leaves them inconsistent.
fn lock(names: &Mutex<Names>) -> MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}
