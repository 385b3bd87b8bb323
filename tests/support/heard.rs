//! What `tracing` is told, for tests to look at.

use std::fmt::Debug;
use std::sync::LazyLock;

use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Hands on each event while it happens: what it is, and its fields in their order, each with its value's `Debug`.
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

/// Does `work` while `subscriber` is told of the events of this thread.
///
/// As long as there has been one subscriber at the most, `tracing` asks the thread that meets an event first whether
/// anybody listens to it, and takes the answer for all threads: another test, which has no subscriber, would silence the
/// event here. Once there are two, it asks them all.
pub(crate) fn listen<T>(subscriber: impl Subscriber + Send + Sync, work: impl FnOnce() -> T) -> T {
    static ANOTHER: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(Heard(|_: &Metadata<'_>, _: &[(&str, String)]| ())));
    LazyLock::force(&ANOTHER);
    tracing::subscriber::with_default(subscriber, work)
}
