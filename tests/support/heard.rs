//! A `tracing` subscriber that lets tests inspect events.

use std::fmt::Debug;
use std::sync::LazyLock;

use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Passes on each event as it happens: its metadata, and its fields in order, each with the `Debug` form of its value.
pub(crate) struct Heard<F>(pub(crate) F);

impl<F: Fn(&Metadata<'_>, &[(&str, String)]) + 'static + Send + Sync> Subscriber for Heard<F> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Fields(Vec<(&'static str, String)>);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0.push((field.name(), format!("{value:?}")));
            }
        }
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        (self.0)(event.metadata(), &fields.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Runs `work` while `subscriber` receives the events of this thread.
///
/// As long as there has only ever been one subscriber, `tracing` asks the thread that first reaches an event whether
/// anybody listens to it, and applies the answer to all threads: another test, without a subscriber, would silence the
/// event here. Once there are two, it asks them all.
pub(crate) fn listen<T>(subscriber: impl Subscriber + Send + Sync, work: impl FnOnce() -> T) -> T {
    static ANOTHER: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(Heard(|_: &Metadata<'_>, _: &[(&str, String)]| ())));
    LazyLock::force(&ANOTHER);
    tracing::subscriber::with_default(subscriber, work)
}
