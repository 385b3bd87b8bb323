//! [`Files::reencrypt_all`]: re-encryption of many files, several at once.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::{StreamExt as _, stream};
use manila_core::Result;

use super::Files;
use crate::client::Client;
use crate::expected_context::ExpectedContext;
use crate::threads::in_order::in_order;

impl Files<'_> {
    /// Re-encrypts many files as [`reencrypt`](Self::reencrypt) does, on `threads` threads.
    ///
    /// Each item of `files` is a tag of your own that names the file, the path to read and the path to write. As with
    /// [`Client::reencrypt_all`], `each` gets every tag back in the order of the items, with the error of that file if
    /// there is one; both run on the caller's thread, and memory does not grow with the number of files.
    ///
    /// ```
    /// # use std::path::PathBuf;
    /// # use manila::keyring::RawAesKeyring;
    /// # use manila::{Client, EncryptionContext};
    /// use manila::ExpectedContext;
    /// use manila::fs::Files;
    ///
    /// # let old = Client::new(RawAesKeyring::new("example", "old-test-key", &[0; 32])?);
    /// # let new = Client::new(RawAesKeyring::new("example", "new-test-key", &[1; 32])?);
    /// # let folder = tempfile::tempdir()?;
    /// # for number in 0..10 {
    /// #     let message = old.encrypt(b"hello", &EncryptionContext::empty())?;
    /// #     std::fs::write(folder.path().join(number.to_string()), message)?;
    /// # }
    /// let paths = std::fs::read_dir(folder.path())?.flatten().map(|entry| entry.path());
    /// let files = paths.map(|path| (path.clone(), path.clone(), path)); // each in its place
    /// let mut failed = Vec::new();
    /// Files::new(&old).replace(true).keep_attributes(true).reencrypt_all(
    ///     files,
    ///     |_| Ok(ExpectedContext::any()),
    ///     &new,
    ///     4,
    ///     |path: PathBuf, done| {
    ///         failed.extend(done.err().map(|error| (path, error)));
    ///         Ok(())
    ///     },
    /// )?;
    /// assert!(failed.is_empty());
    /// # let message = std::fs::read(folder.path().join("7"))?;
    /// # assert_eq!(new.decrypt(&message, ExpectedContext::any())?.plaintext, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The error that `each` returns, which ends the work: no more files are taken, and those at work are finished.
    /// [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync) if keys are accessed over a network.
    ///
    /// # Panics
    /// If `files`, `each` or another function that was passed panics.
    pub fn reencrypt_all<T: Send>(
        &self,
        files: impl IntoIterator<Item = (T, PathBuf, PathBuf)>,
        mut expected: impl FnMut(&T) -> Result<ExpectedContext>,
        new: &Client,
        threads: usize,
        mut each: impl FnMut(T, Result<()>) -> Result<()>,
    ) -> Result<()> {
        self.client.check_local()?;
        new.check_local()?;
        let files = files.into_iter().map(|(tag, from, to)| (expected(&tag), tag, from, to));
        let work = |(expected, tag, from, to): (Result<ExpectedContext>, T, PathBuf, PathBuf)| {
            let done = expected.and_then(|expected| self.reencrypt(from, to, expected, new));
            (tag, done)
        };
        in_order(threads, files, work, |(tag, done)| each(tag, done))
    }

    /// The async version of [`reencrypt_all`](Self::reencrypt_all), for keys that are accessed over a network: while
    /// some files wait for theirs, others are worked on, up to `at_once` of them. It starts no threads.
    ///
    /// # Errors
    /// The error that `each` returns, as in [`reencrypt_all`](Self::reencrypt_all).
    ///
    /// # Panics
    /// The same as [`reencrypt_all`](Self::reencrypt_all).
    pub async fn reencrypt_all_async<T>(
        &self,
        files: impl IntoIterator<Item = (T, PathBuf, PathBuf)>,
        mut expected: impl FnMut(&T) -> Result<ExpectedContext>,
        new: &Client,
        at_once: usize,
        mut each: impl FnMut(T, Result<()>) -> Result<()>,
    ) -> Result<()> {
        let files = files.into_iter().map(|(tag, from, to)| {
            let expected = expected(&tag);
            async move {
                let done = match expected {
                    Ok(expected) => self.reencrypt_async(from, to, expected, new).await,
                    Err(error) => Err(error),
                };
                (tag, done)
            }
        });
        let mut done = pin!(stream::iter(files).buffered(at_once.max(1)));
        while let Some((tag, done)) = done.next().await {
            each(tag, done)?;
        }
        Ok(())
    }
}
