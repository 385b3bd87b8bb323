//! [`CacheStats`]: the counters of a cache.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $event:literal,)*) => {
        /// The counters of a cache.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CacheStats {
            $($name: u64,)*
            in_flight: usize,
            entries: usize,
        }

        impl CacheStats {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> u64 { self.$name })*

            /// Calls to the inner manager in progress that callers can join.
            #[must_use]
            pub fn in_flight(&self) -> usize {
                self.in_flight
            }

            /// Entries in the cache.
            #[must_use]
            pub fn entries(&self) -> usize {
                self.entries
            }
        }

        /// The counters, shared by threads.
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

        /// An event that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, reason = "the names of the counters")]
        pub(super) enum Event { $($name),* }

        impl Counters {
            /// Counts an event, and reports it to `tracing` and, with the feature, to `metrics`.
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
    /// Requests without an entry, which made a call or waited for one.
    misses: "miss",
    /// Messages of unknown length, which bypass the cache.
    bypassed_unknown_length: "bypass_unknown_length",
    /// Messages of suites without key derivation, which bypass the cache.
    bypassed_identity_kdf: "bypass_identity_kdf",
    /// Messages longer than one data key may encrypt, which bypass the cache.
    bypassed_too_long: "bypass_too_long",
    /// Entries that expired.
    expired: "expired",
    /// Entries that reached the limit of messages.
    exhausted_by_messages: "exhausted_by_messages",
    /// Entries that reached the limit of bytes.
    exhausted_by_bytes: "exhausted_by_bytes",
    /// Entries that were removed to make room for others.
    evicted: "evicted",
    /// Requests that shared another's call.
    coalesced: "coalesced",
    /// Entries that were renewed before they expired.
    renewed: "renewed",
    /// Renewals that failed.
    renewals_failed: "renewal_failed",
}
