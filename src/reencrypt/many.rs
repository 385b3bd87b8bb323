//! [`Client::reencrypt_all`]: re-encryption of many messages, several at once.

use std::io::{Read, Write};
use std::pin::pin;

use futures_util::{StreamExt as _, stream};
use manila_core::Result;

use crate::client::Client;
use crate::expected_context::ExpectedContext;
use crate::threads::in_order::in_order;

impl Client {
    /// Re-encrypts many messages as [`reencrypt`](Self::reencrypt) does, on `threads` threads: the rows of a table, or
    /// the objects of a store.
    ///
    /// Each item of `messages` is a tag of your own that names the message, its source and its sink. `each` gets every
    /// tag back, in the order of the items, with the sink that holds the new message, or with the error of that
    /// message, which does not concern the others. `expected` returns what is expected of the context of the message
    /// with a tag; its error is that of the message.
    ///
    /// Memory does not grow with the number of messages: besides those that the threads work on, a fixed number for
    /// each thread is taken in advance, or waits because an earlier one is not done. Both `messages` and `each` run on
    /// the caller's thread, in turns, so they can share a connection to a database. Threads end with the call; with
    /// one, everything is done on the caller's thread.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// # use manila::keyring::RawAesKeyring;
    /// use manila::{Client, EncryptionContext, ErrorKind};
    ///
    /// # let old = Client::new(RawAesKeyring::new("example", "old-test-key", &[0; 32])?);
    /// # let new = Client::new(RawAesKeyring::new("example", "new-test-key", &[1; 32])?);
    /// // A table of messages. Each is bound to the id of its row.
    /// let context = |id: &u64| EncryptionContext::new([("row", id.to_string())]);
    /// let mut table = BTreeMap::new();
    /// for id in 0..100_u64 {
    ///     table.insert(id, old.encrypt(b"hello", &context(&id)?)?);
    /// }
    /// table.insert(50, b"damaged".to_vec());
    ///
    /// let (mut moved, mut failed) = (BTreeMap::new(), Vec::new());
    /// let rows = table.iter().map(|(id, message)| (*id, message.as_slice(), Vec::new()));
    /// old.reencrypt_all(rows, |id| Ok(context(id)?.into()), &new, 2, |id, message| {
    ///     match message {
    ///         Ok(message) => drop(moved.insert(id, message)),
    ///         Err(error) => failed.push((id, error.kind())),
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!((moved.len(), failed), (99, vec![(50, ErrorKind::Malformed)]));
    /// assert_eq!(new.decrypt(&moved[&7], &context(&7)?)?.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error that `each` returns, which ends the work: no more messages are taken, and the results of those that
    /// are at work are dropped. [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync) if keys are accessed over a
    /// network.
    ///
    /// # Panics
    /// If `messages`, a source, a sink or `each` panics.
    pub fn reencrypt_all<T: Send, R: Read + Send, W: Write + Send>(
        &self,
        messages: impl IntoIterator<Item = (T, R, W)>,
        mut expected: impl FnMut(&T) -> Result<ExpectedContext>,
        to: &Client,
        threads: usize,
        mut each: impl FnMut(T, Result<W>) -> Result<()>,
    ) -> Result<()> {
        self.check_local()?;
        to.check_local()?;
        let messages = messages.into_iter().map(|(tag, source, sink)| {
            let expected = expected(&tag);
            (tag, source, sink, expected)
        });
        let work = |(tag, source, sink, expected): (T, R, W, Result<ExpectedContext>)| {
            let done = expected.and_then(|expected| self.reencrypt(source, sink, expected, to));
            (tag, done)
        };
        in_order(threads, messages, work, |(tag, done)| each(tag, done))
    }

    /// The async version of [`reencrypt_all`](Self::reencrypt_all), for keys that are accessed over a network: while
    /// some messages wait for theirs, others are worked on, up to `at_once` of them. The streams are still blocking
    /// ones. It starts no threads and needs no particular executor.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let old = Client::new(RawAesKeyring::new("example", "old-test-key", &[0; 32])?);
    /// # let new = Client::new(RawAesKeyring::new("example", "new-test-key", &[1; 32])?);
    /// # let context = EncryptionContext::empty();
    /// # let messages = [old.encrypt(b"one", &context)?, old.encrypt(b"two", &context)?];
    /// let mut moved = Vec::new();
    /// let messages = messages.iter().enumerate().map(|(at, message)| (at, message.as_slice(), Vec::new()));
    /// old.reencrypt_all_async(messages, |_| Ok(ExpectedContext::any()), &new, 20, |_, message| {
    ///     moved.push(message?); // the first error ends it
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(new.decrypt(&moved[1], ExpectedContext::any())?.plaintext, b"two");
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error that `each` returns, as in [`reencrypt_all`](Self::reencrypt_all).
    ///
    /// # Panics
    /// The same as [`reencrypt_all`](Self::reencrypt_all).
    pub async fn reencrypt_all_async<T, R: Read, W: Write>(
        &self,
        messages: impl IntoIterator<Item = (T, R, W)>,
        mut expected: impl FnMut(&T) -> Result<ExpectedContext>,
        to: &Client,
        at_once: usize,
        mut each: impl FnMut(T, Result<W>) -> Result<()>,
    ) -> Result<()> {
        let messages = messages.into_iter().map(|(tag, source, sink)| {
            let expected = expected(&tag);
            async move {
                let done = match expected {
                    Ok(expected) => self.reencrypt_async(source, sink, expected, to).await,
                    Err(error) => Err(error),
                };
                (tag, done)
            }
        });
        let mut done = pin!(stream::iter(messages).buffered(at_once.max(1)));
        while let Some((tag, message)) = done.next().await {
            each(tag, message)?;
        }
        Ok(())
    }
}
