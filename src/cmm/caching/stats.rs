//! What a cache counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $event:literal,)*) => {
        /// What a cache has done so far, and what it holds.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CacheStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Calls to the inner manager that others wait for at the moment.
            pub in_flight: usize,
            /// Entries at the moment.
            pub entries: usize,
        }

        /// Counters that many threads raise.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
            pub(super) in_flight: AtomicUsize,
        }

        impl Counters {
            pub(super) fn read(&self, entries: usize) -> CacheStats {
                CacheStats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    in_flight: self.in_flight.load(Ordering::Relaxed),
                    entries,
                }
            }
        }

        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, reason = "the names of the counters")]
        pub(super) enum Event { $($name),* }

        impl Counters {
            /// Counts an event, and tells `tracing`, and `metrics` if that is wanted.
            pub(super) fn count(&self, event: Event) {
                let (counter, name) = match event { $(Event::$name => (&self.$name, $event)),* };
                counter.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(target: "manila::cache", event = name);
                #[cfg(feature = "metrics")]
                metrics::counter!("manila_cache_events", "event" => name).increment(1);
            }
        }
    };
}

counters! {
    /// Answers from the cache.
    hits: "hit",
    /// Questions that the cache had no answer to, and asked the inner manager or waited for one who did.
    misses: "miss",
    /// Messages of unknown length: they are never counted against a limit of bytes.
    bypassed_unknown_length: "bypass_unknown_length",
    /// Messages of suites whose data key is used as it is.
    bypassed_identity_kdf: "bypass_identity_kdf",
    /// Messages longer than one data key may encrypt.
    bypassed_too_long: "bypass_too_long",
    /// Entries that were too old.
    expired: "expired",
    /// Entries that had encrypted all the messages they may.
    exhausted_by_messages: "exhausted_by_messages",
    /// Entries that had no room for the bytes of a message.
    exhausted_by_bytes: "exhausted_by_bytes",
    /// Entries that made room for others.
    evicted: "evicted",
    /// Questions that waited for the answer to another's.
    coalesced: "coalesced",
    /// Entries that were renewed before they expired.
    renewed: "renewed",
    /// Renewals that failed, and were put off.
    renewals_failed: "renewal_failed",
}
