//! The counters through the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

#[derive(Default)]
struct Book(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.lock().unwrap().entry(key.to_string()).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn the_counters_are_told_to_metrics() {
    let book = Book::default();
    let stats = metrics::with_local_recorder(&book, crate::stats::one_of_each);
    let book = book.0.lock().unwrap();
    let count = |event: &str| {
        let found = book.iter().find(|(key, _)| key.contains("manila_cache_events") && key.contains(event));
        found.map_or(0, |(_, count)| count.load(Ordering::SeqCst))
    };
    assert_eq!(count("hit"), stats.hits());
    // The cache of the writer that made the reader's message adds one.
    assert_eq!(count("miss"), stats.misses() + 1);
    assert_eq!(count("coalesced"), stats.coalesced());
    assert_eq!(count("expired"), stats.expired());
    assert_eq!(count("exhausted_by_messages"), stats.exhausted_by_messages());
    assert_eq!(count("exhausted_by_bytes"), stats.exhausted_by_bytes());
    assert_eq!(count("bypass_unknown_length"), stats.bypassed_unknown_length());
    assert_eq!(count("bypass_too_long"), stats.bypassed_too_long());
    assert_eq!(count("bypass_identity_kdf"), stats.bypassed_identity_kdf());
    assert_eq!(count("renewed"), stats.renewed());
    assert_eq!(count("renewal_failed"), stats.renewals_failed());
    assert_eq!(book.len(), 11);
}
