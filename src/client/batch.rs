//! Encryption and decryption of many messages in one call. `batch/jobs.rs` has the steps that both take.

mod jobs;

use std::borrow::Borrow;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;

use manila_core::{EncryptionContext, Result};
use zeroize::Zeroize;

use crate::buffer::{self, WipeGuard};
use crate::client::Client;
use crate::client::decryption::Decrypted;
use crate::decrypt::Decryptor;
use crate::encrypt::{Encryptor, NewMessage};
use crate::expected_context::ExpectedContext;
use crate::message::header::Header;

use jobs::{Keyed, consecutive, slots, with};

/// A message of a batch that was decrypted into a buffer: where its plaintext is, and its header, both verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecryptedRange {
    /// The bytes of the buffer that are the plaintext.
    pub range: Range<usize>,
    /// The header of the message.
    pub header: Header,
}

impl Client {
    /// Encrypts many messages, each a plaintext and its context, which is authenticated as part of it. The results are
    /// in the order of the messages; one that fails does not concern the others.
    ///
    /// It writes what [`encrypt`](Self::encrypt) writes for each, in less time: the random bytes of a group of messages
    /// are drawn in one call, and with the feature `batch`, on processors with AVX-512, the keys of sixteen messages
    /// are derived at a time. Small messages with a [cached](crate::cmm::CachingCmm) data key gain the most. Large
    /// batches use as many [threads](crate::ClientBuilder::threads) as are allowed.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = |row: u32| EncryptionContext::new([("row", row.to_string())]);
    /// let rows = [("one", context(1)?), ("two", context(2)?)];
    /// let messages = client.encrypt_batch(&rows)?.into_iter().collect::<manila::Result<Vec<_>>>()?;
    /// assert_eq!(client.decrypt(&messages[1], &context(2)?)?.plaintext, b"two");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync) if keys are accessed over a network, and
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if there is no randomness; for each message, those of
    /// [`encrypt`](Self::encrypt).
    pub fn encrypt_batch<P, C>(&self, messages: &[(P, C)]) -> Result<Vec<Result<Vec<u8>>>>
    where
        P: AsRef<[u8]> + Sync,
        C: Borrow<EncryptionContext> + Sync,
    {
        self.poll_local(pin!(self.encrypt_batch_async(messages)))
    }

    /// The async version of [`encrypt_batch`](Self::encrypt_batch), for keys that are accessed over a network: up to 20
    /// are asked for at once.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// for message in client.encrypt_batch_async(&[("one", &context), ("two", &context)]).await? {
    ///     assert_eq!(client.decrypt_async(&message?, &context).await?.plaintext.len(), 3);
    /// }
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt_batch`](Self::encrypt_batch), except
    /// [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync).
    pub async fn encrypt_batch_async<P, C>(&self, messages: &[(P, C)]) -> Result<Vec<Result<Vec<u8>>>>
    where
        P: AsRef<[u8]> + Sync,
        C: Borrow<EncryptionContext> + Sync,
    {
        let messages = borrowed(messages);
        if let [(plaintext, context)] = messages[..] {
            return Ok(vec![self.encrypt_async(plaintext, context).await]);
        }
        let mut done = Vec::with_capacity(messages.len());
        for group in messages.chunks(self.group_len()) {
            let new = self.new_messages(group).await?;
            let plaintexts = group.iter().map(|(plaintext, _)| *plaintext);
            let bytes = plaintexts.clone().map(<[u8]>::len).fold(0, usize::saturating_add);
            let encrypt = |encryptor: Encryptor, plaintext: &[u8]| {
                let mut message = Vec::new();
                encryptor.encrypt_all(plaintext, &mut message)?;
                Ok(message)
            };
            done.extend(self.encrypt_jobs(bytes, with(new, plaintexts), encrypt));
        }
        Ok(done)
    }

    /// Encrypts like [`encrypt_batch`](Self::encrypt_batch), into one buffer: the messages replace its contents, one
    /// after the other, and their ranges in it are returned. Reusing a buffer saves an allocation for each message.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut buffer = Vec::new();
    /// for range in client.encrypt_batch_into(&[("one", &context), ("two", &context)], &mut buffer)? {
    ///     let message = &buffer[range?];
    ///     assert_eq!(client.decrypt(message, &context)?.plaintext.len(), 3);
    /// }
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt_batch`](Self::encrypt_batch). After an error other than that of a single message, `buffer`
    /// is empty and its memory wiped. If `buffer` has to grow, its old memory goes back to the allocator without being
    /// wiped.
    pub fn encrypt_batch_into<P, C>(
        &self,
        messages: &[(P, C)],
        buffer: &mut Vec<u8>,
    ) -> Result<Vec<Result<Range<usize>>>>
    where
        P: AsRef<[u8]> + Sync,
        C: Borrow<EncryptionContext> + Sync,
    {
        self.poll_local(pin!(self.encrypt_batch_into_async(messages, buffer)))
    }

    /// The async version of [`encrypt_batch_into`](Self::encrypt_batch_into).
    ///
    /// # Errors
    /// The same as [`encrypt_batch_async`](Self::encrypt_batch_async).
    pub fn encrypt_batch_into_async<P, C>(
        &self,
        messages: &[(P, C)],
        buffer: &mut Vec<u8>,
    ) -> impl Future<Output = Result<Vec<Result<Range<usize>>>>>
    where
        P: AsRef<[u8]> + Sync,
        C: Borrow<EncryptionContext> + Sync,
    {
        let mut buffer = WipeGuard::new(buffer);
        async move {
            let messages = borrowed(messages);
            if let [(plaintext, context)] = messages[..] {
                let encrypted = self.encrypt_into_async(plaintext, context, buffer.buffer()).await;
                let len = buffer.buffer().len();
                buffer.keep();
                return Ok(vec![encrypted.map(|()| 0..len)]);
            }
            let (mut done, mut end) = (Vec::with_capacity(messages.len()), 0_usize);
            for group in messages.chunks(self.group_len()) {
                let mut new = self.new_messages(group).await?;
                let lens = new.iter_mut().zip(group).map(|(new, (plaintext, _))| {
                    let len = |new: &NewMessage| new.ciphertext_len(plaintext.len() as u64, &self.settings);
                    let len = new.as_ref().map_or(Ok(0), len).and_then(buffer::check_len);
                    // A message that is too long for the format takes no place.
                    len.unwrap_or_else(|error| {
                        *new = Err(error);
                        0
                    })
                });
                let ranges = consecutive(end, lens);
                let bytes = ranges.last().map_or(end, |range| range.end).saturating_sub(end);
                end = end.saturating_add(bytes);
                buffer::grow(buffer.buffer(), end as u64)?;
                let plaintexts = group.iter().map(|(plaintext, _)| *plaintext);
                let jobs = with(new, plaintexts.zip(slots(buffer.buffer(), &ranges)));
                let encrypt =
                    |encryptor: Encryptor, (plaintext, slot): (&[u8], &mut [u8])| encryptor.encrypt_to(plaintext, slot);
                let encrypted = self.encrypt_jobs(bytes, jobs, encrypt);
                for (encrypted, range) in encrypted.into_iter().zip(ranges) {
                    if encrypted.is_err() {
                        // What the caller's memory held before is not left among the messages.
                        buffer.buffer().get_mut(range.clone()).unwrap_or_default().zeroize();
                    }
                    done.push(encrypted.map(|()| range));
                }
            }
            buffer.buffer().truncate(end);
            buffer.keep();
            Ok(done)
        }
    }

    /// Decrypts and verifies many messages, each as [`decrypt`](Self::decrypt) does, of which the same context is
    /// expected. The results are in the order of the messages; one that fails does not concern the others.
    ///
    /// It takes less time than a call for each, as [`encrypt_batch`](Self::encrypt_batch) does. For messages of which
    /// different contexts are expected, see [`decrypt_batch_expecting`](Self::decrypt_batch_expecting).
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ErrorKind};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let messages = [client.encrypt(b"one", &context)?, b"damaged".to_vec(), client.encrypt(b"two", &context)?];
    /// let decrypted = client.decrypt_batch(&messages, &context)?;
    /// assert_eq!(decrypted[0].as_ref().unwrap().plaintext, b"one");
    /// assert_eq!(decrypted[1].as_ref().unwrap_err().kind(), ErrorKind::Malformed);
    /// assert_eq!(decrypted[2].as_ref().unwrap().plaintext, b"two");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync) if keys are accessed over a network; for each message,
    /// those of [`decrypt`](Self::decrypt).
    pub fn decrypt_batch<M>(
        &self,
        messages: &[M],
        expected: impl Into<ExpectedContext>,
    ) -> Result<Vec<Result<Decrypted>>>
    where
        M: AsRef<[u8]> + Sync,
    {
        self.poll_local(pin!(self.decrypt_batch_async(messages, expected.into())))
    }

    /// The async version of [`decrypt_batch`](Self::decrypt_batch), for keys that are accessed over a network: up to 20
    /// are asked for at once.
    ///
    /// # Errors
    /// The same as [`decrypt_batch`](Self::decrypt_batch), except
    /// [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync).
    pub async fn decrypt_batch_async<M>(
        &self,
        messages: &[M],
        expected: impl Into<ExpectedContext>,
    ) -> Result<Vec<Result<Decrypted>>>
    where
        M: AsRef<[u8]> + Sync,
    {
        let expected = expected.into();
        self.decrypt_groups(messages, |message| (message.as_ref(), expected.clone())).await
    }

    /// Decrypts like [`decrypt_batch`](Self::decrypt_batch), messages that each come with what is expected of their
    /// context.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let rows = [EncryptionContext::new([("row", "1")])?, EncryptionContext::new([("row", "2")])?];
    /// let messages = [client.encrypt(b"one", &rows[0])?, client.encrypt(b"two", &rows[1])?];
    /// let decrypted = client.decrypt_batch_expecting(&[(&messages[0], &rows[0]), (&messages[1], &rows[1])])?;
    /// assert!(decrypted.iter().all(Result::is_ok));
    /// let exchanged = client.decrypt_batch_expecting(&[(&messages[1], &rows[0]), (&messages[0], &rows[1])])?;
    /// assert!(exchanged.iter().all(Result::is_err));
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`decrypt_batch`](Self::decrypt_batch).
    pub fn decrypt_batch_expecting<M, E>(&self, messages: &[(M, E)]) -> Result<Vec<Result<Decrypted>>>
    where
        M: AsRef<[u8]> + Sync,
        E: Clone + Into<ExpectedContext> + Sync,
    {
        self.poll_local(pin!(self.decrypt_batch_expecting_async(messages)))
    }

    /// The async version of [`decrypt_batch_expecting`](Self::decrypt_batch_expecting).
    ///
    /// # Errors
    /// The same as [`decrypt_batch_async`](Self::decrypt_batch_async).
    pub async fn decrypt_batch_expecting_async<M, E>(&self, messages: &[(M, E)]) -> Result<Vec<Result<Decrypted>>>
    where
        M: AsRef<[u8]> + Sync,
        E: Clone + Into<ExpectedContext> + Sync,
    {
        self.decrypt_groups(messages, |(message, expected)| (message.as_ref(), expected.clone().into())).await
    }

    /// Decrypts like [`decrypt_batch`](Self::decrypt_batch), into one buffer: the plaintexts replace its contents, one
    /// after the other, and each one's range in it is returned with its header.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let messages = [client.encrypt(b"one, ", &context)?, client.encrypt(b"two", &context)?];
    /// let mut buffer = Vec::new();
    /// let decrypted = client.decrypt_batch_into(&messages, &context, &mut buffer)?;
    /// let second = decrypted[1].as_ref().unwrap();
    /// assert_eq!((&buffer[second.range.clone()], &buffer[..]), (&b"two"[..], &b"one, two"[..]));
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`decrypt_batch`](Self::decrypt_batch). After an error other than that of a single message, `buffer`
    /// is empty and its memory wiped. Nothing of a message that fails stays in it.
    /// If `buffer` has to grow, its old memory goes back to the allocator without being wiped.
    pub fn decrypt_batch_into<M>(
        &self,
        messages: &[M],
        expected: impl Into<ExpectedContext>,
        buffer: &mut Vec<u8>,
    ) -> Result<Vec<Result<DecryptedRange>>>
    where
        M: AsRef<[u8]> + Sync,
    {
        self.poll_local(pin!(self.decrypt_batch_into_async(messages, expected.into(), buffer)))
    }

    /// The async version of [`decrypt_batch_into`](Self::decrypt_batch_into).
    ///
    /// # Errors
    /// The same as [`decrypt_batch_async`](Self::decrypt_batch_async).
    pub fn decrypt_batch_into_async<M>(
        &self,
        messages: &[M],
        expected: impl Into<ExpectedContext>,
        buffer: &mut Vec<u8>,
    ) -> impl Future<Output = Result<Vec<Result<DecryptedRange>>>>
    where
        M: AsRef<[u8]> + Sync,
    {
        let (expected, mut buffer) = (expected.into(), WipeGuard::new(buffer));
        async move {
            let messages: Vec<_> = messages.iter().map(AsRef::as_ref).collect();
            if let [message] = messages[..] {
                let header = self.decrypt_into_async(message, expected, buffer.buffer()).await;
                let range = 0..buffer.buffer().len();
                buffer.keep();
                return Ok(vec![header.map(|header| DecryptedRange { range, header })]);
            }
            // No plaintext is longer than its message. The buffer does not grow once there is plaintext in it.
            let most = messages.iter().map(|message| message.len() as u64).fold(0, u64::saturating_add);
            buffer::resize(buffer.buffer(), most)?;
            let (mut done, mut end, mut used) = (Vec::with_capacity(messages.len()), 0_usize, 0_usize);
            for group in messages.chunks(self.group_len()) {
                let group = group.iter().map(|message| (*message, expected.clone()));
                let keyed = self.keyed_messages(group).await;
                let ranges = consecutive(end, keyed.iter().map(|keyed| keyed.as_ref().map_or(0, Keyed::plaintext_len)));
                let group_end = ranges.last().map_or(end, |range| range.end);
                used = used.max(group_end);
                let decrypt = |decryptor: Decryptor, body: &[u8], slot: &mut [u8]| {
                    decryptor.decrypt_to(body, slot).inspect_err(|_| slot.zeroize())
                };
                let jobs = with(keyed, slots(buffer.buffer(), &ranges));
                let decrypted = self.decrypt_jobs(group_end.saturating_sub(end), jobs, decrypt);
                for (decrypted, range) in decrypted.into_iter().zip(ranges) {
                    done.push(decrypted.map(|(header, len)| {
                        let at = end..end.saturating_add(len);
                        // Towards the start, if an earlier message took less room than it was given.
                        if at.start != range.start {
                            buffer.buffer().copy_within(range.start..range.start.saturating_add(len), at.start);
                        }
                        end = at.end;
                        DecryptedRange { range: at, header }
                    }));
                }
            }
            buffer.buffer().get_mut(end..used).unwrap_or_default().zeroize();
            buffer.buffer().truncate(end);
            buffer.keep();
            Ok(done)
        }
    }

    async fn decrypt_groups<'a, T>(
        &self,
        messages: &'a [T],
        of: impl Fn(&'a T) -> (&'a [u8], ExpectedContext),
    ) -> Result<Vec<Result<Decrypted>>> {
        if let [message] = messages {
            let (message, expected) = of(message);
            return Ok(vec![self.decrypt_async(message, expected).await]);
        }
        let mut done = Vec::with_capacity(messages.len());
        for group in messages.chunks(self.group_len()) {
            let keyed = self.keyed_messages(group.iter().map(&of)).await;
            let lens = keyed.iter().map(|keyed| keyed.as_ref().map_or(0, |keyed| keyed.body.len()));
            let bytes = lens.fold(0, usize::saturating_add);
            let decrypt = |decryptor: Decryptor, body: &[u8], ()| {
                let mut plaintext = Vec::new();
                let mut guard = WipeGuard::new(&mut plaintext);
                let header = decryptor.decrypt_all(body, guard.buffer())?;
                guard.keep();
                Ok(Decrypted { plaintext, header })
            };
            done.extend(self.decrypt_jobs(bytes, with(keyed, std::iter::repeat(())), decrypt));
        }
        Ok(done)
    }
}

/// Returns the messages of a batch as slices: each is asked for once, so that its length cannot change on the way.
fn borrowed<P, C>(messages: &[(P, C)]) -> Vec<(&[u8], &EncryptionContext)>
where
    P: AsRef<[u8]>,
    C: Borrow<EncryptionContext>,
{
    messages.iter().map(|(plaintext, context)| (plaintext.as_ref(), context.borrow())).collect()
}
