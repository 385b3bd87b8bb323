//! The steps of a batch: all keys are obtained, then derived together, and then each message is worked on, on several
//! threads if there is enough to do.

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Range;

use futures_util::{StreamExt as _, stream};
use manila_core::internal::crypto::RandomBytes;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::client::Client;
use crate::decrypt::{Decryptor, PendingDecryption};
use crate::encrypt::{Encryptor, NewMessage};
use crate::expected_context::ExpectedContext;
use crate::materials::DataKey;
use crate::message_key::{KeySource, MessageKey};
use crate::threads::Workers;

/// The most messages of a batch whose keys are asked for at once, over a network.
const ASKED_AT_ONCE: usize = 20;

/// The messages whose keys are derived together: few enough for all that is known of them to stay in the processor's
/// cache, and many enough for its widest instructions.
const GROUP: usize = RandomBytes::MESSAGES;

/// The bytes that take as long as what a message costs besides its bytes, to decide on the number of threads.
const BYTES_FOR_A_MESSAGE: usize = 4 << 10;

impl Client {
    /// The number of messages that are worked on at once.
    pub(super) fn group_len(&self) -> usize {
        // So that each thread has more than one of the groups whose keys are derived together.
        match self.settings.workers.threads {
            0 | 1 => GROUP,
            threads => GROUP.saturating_mul(threads).saturating_mul(4),
        }
    }

    /// Obtains the materials of many messages.
    pub(super) async fn new_messages(
        &self,
        messages: &[(&[u8], &EncryptionContext)],
    ) -> Result<Vec<Result<NewMessage>>> {
        let with_data_keys = !self.cmm.has_data_keys_at_hand();
        let random =
            messages.chunks(RandomBytes::MESSAGES).map(|group| RandomBytes::draw_for(group.len(), with_data_keys));
        let random: Vec<_> = random.collect::<Result<_>>()?;
        let random = random.iter().flat_map(|random| std::iter::repeat_n(random, RandomBytes::MESSAGES));
        let asked = messages.iter().zip(random).map(|((plaintext, context), random)| {
            let max = Some(plaintext.len() as u64);
            self.new_message(&self.settings, context, BTreeSet::new(), max, random.share())
        });
        Ok(self.answers(asked).await)
    }

    /// Reads the headers of many messages and obtains their data keys.
    pub(super) async fn keyed_messages<'a>(
        &self,
        messages: impl Iterator<Item = (&'a [u8], ExpectedContext)>,
    ) -> Vec<Result<Keyed<'a>>> {
        self.answers(messages.map(|(message, expected)| self.keyed_message(message, expected))).await
    }

    async fn keyed_message<'a>(&self, message: &'a [u8], expected: ExpectedContext) -> Result<Keyed<'a>> {
        let (pending, start) = self.pending(message, expected)?;
        let data_key = self.data_key_of(&pending).await?;
        Ok(Keyed { pending, data_key, body: message.get(start..).unwrap_or_default() })
    }

    /// Awaits all: one after the other if none waits, otherwise several at once.
    async fn answers<F: Future>(&self, asked: impl Iterator<Item = F>) -> Vec<F::Output> {
        if !self.cmm.is_local() {
            return stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
        }
        let mut answers = Vec::with_capacity(asked.size_hint().0);
        for asked in asked {
            answers.push(asked.await);
        }
        answers
    }

    /// Derives the keys of messages and calls `encrypt` with each and what comes with it. All have so many bytes.
    pub(super) fn encrypt_jobs<X: Send, T: Send>(
        &self,
        bytes: usize,
        jobs: Vec<Result<(NewMessage, X)>>,
        encrypt: impl Fn(Encryptor, X) -> Result<T> + Sync,
    ) -> Vec<Result<T>> {
        let settings = &self.settings;
        in_groups(&settings.workers, bytes, jobs, |jobs, workers| {
            let start =
                |(new, extra), key: &MessageKey| encrypt(Encryptor::start(new, key, settings)?.on(workers), extra);
            with_keys(jobs, |(new, _): &(NewMessage, X)| new.key_source(), start)
        })
    }

    /// Derives the keys of messages, verifies their headers, and calls `decrypt` with each, its body and what comes
    /// with it. All have so many bytes.
    pub(super) fn decrypt_jobs<X: Send, T: Send>(
        &self,
        bytes: usize,
        jobs: Vec<Result<(Keyed<'_>, X)>>,
        decrypt: impl Fn(Decryptor, &[u8], X) -> Result<T> + Sync,
    ) -> Vec<Result<T>> {
        in_groups(&self.settings.workers, bytes, jobs, |jobs, workers| {
            let start = |(keyed, extra): (Keyed<'_>, X), key: &MessageKey| {
                decrypt(keyed.pending.start(key)?.on(workers), keyed.body, extra)
            };
            with_keys(jobs, |(keyed, _)| keyed.key_source(), start)
        })
    }
}

/// A message to decrypt whose data key was obtained, and whose key is to be derived.
pub(super) struct Keyed<'a> {
    pending: PendingDecryption,
    data_key: DataKey,
    pub(super) body: &'a [u8],
}

impl Keyed<'_> {
    fn key_source(&self) -> KeySource<'_> {
        self.pending.request.key_source(&self.data_key)
    }

    /// Returns the length of the longest plaintext that the message can have.
    pub(super) fn plaintext_len(&self) -> usize {
        self.pending.plaintext_len(self.body.len())
    }
}

/// Adds to each message what comes with it.
pub(super) fn with<M, X>(messages: Vec<Result<M>>, extras: impl IntoIterator<Item = X>) -> Vec<Result<(M, X)>> {
    messages.into_iter().zip(extras).map(|(message, extra)| Ok((message?, extra))).collect()
}

/// Derives the keys of messages together, and calls `start` with each message and its key.
fn with_keys<M, T>(
    messages: Vec<Result<M>>,
    source: impl Fn(&M) -> KeySource<'_>,
    start: impl Fn(M, &MessageKey) -> Result<T>,
) -> Vec<Result<T>> {
    let mut keys: Vec<_> = std::iter::repeat_with(MessageKey::default).take(messages.len()).collect();
    let sources = messages.iter().filter_map(|message| Some(source(message.as_ref().ok()?)));
    let derived = MessageKey::derive_all(sources, &mut keys);
    let mut derived = keys.iter().zip(derived);
    let start = |message: Result<M>| {
        let message = message?;
        let (key, outcome) = derived.next().ok_or_else(|| Error::new(ErrorKind::Internal, "a message has no key"))?;
        outcome?;
        start(message, key)
    };
    messages.into_iter().map(start).collect()
}

/// Calls `work` with all jobs and all workers, for the frames of large messages, or, if there is enough to do, with
/// groups of them on several threads, each with a worker of its own: no pool is asked from within its own work.
fn in_groups<J: Send, T: Send>(
    all: &Workers,
    bytes: usize,
    mut jobs: Vec<J>,
    work: impl Fn(Vec<J>, &Workers) -> Vec<T> + Sync,
) -> Vec<T> {
    let bytes = bytes.saturating_add(jobs.len().saturating_mul(BYTES_FOR_A_MESSAGE));
    let workers = all.for_bytes(bytes);
    if workers.threads == 1 || jobs.len() == 1 {
        return work(jobs, all);
    }
    let group_len = jobs.len().div_ceil(workers.threads).min(GROUP);
    let mut groups = Vec::new();
    while !jobs.is_empty() {
        let rest = jobs.split_off(jobs.len().min(group_len));
        groups.push((std::mem::replace(&mut jobs, rest), Vec::new()));
    }
    workers.run(groups.iter_mut(), |(jobs, done)| *done = work(std::mem::take(jobs), &Workers::one()));
    groups.into_iter().flat_map(|(_, done)| done).collect()
}

/// Returns ranges of these lengths, one after the other.
pub(super) fn consecutive(start: usize, lens: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let next = |end: &mut usize, len: usize| {
        let start = *end;
        *end = start.saturating_add(len);
        Some(start..*end)
    };
    lens.scan(start, next).collect()
}

/// Returns consecutive ranges of a buffer that is long enough for them.
pub(super) fn slots<'a>(buffer: &'a mut [u8], ranges: &[Range<usize>]) -> impl Iterator<Item = &'a mut [u8]> {
    let start = ranges.first().map_or(0, |range| range.start);
    let mut rest = buffer.get_mut(start..).unwrap_or_default();
    ranges.iter().map(move |range| {
        let (slot, after) = std::mem::take(&mut rest).split_at_mut_checked(range.len()).unwrap_or_default();
        rest = after;
        slot
    })
}
