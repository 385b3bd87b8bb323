//! Random bytes from the operating system, and [`RandomBytes`]: those of messages, drawn in one call.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zeroize::Zeroize;

use crate::error::{Error, ErrorKind, Result};

/// Fills `bytes` from the operating system.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    use rand_core::TryRng;
    (getrandom::SysRng.try_fill_bytes(bytes))
        .map_err(|error| Error::other(ErrorKind::Internal, "the operating system gives no random bytes", error))
}

/// Returns `N` bytes from the operating system.
pub fn random_array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random(&mut bytes)?;
    Ok(bytes)
}

/// Makes AWS-LC seed its own generator, which otherwise happens when its first byte is needed. Without AWS-LC there is
/// nothing to do.
pub fn warm_up() {
    #[cfg(feature = "aws-lc")]
    let _ = super::aws_lc::seeded();
}

/// Random bytes that were drawn in advance in one call of the operating system, because several calls take much longer.
/// Each byte is given out once, to whoever asks first; when all are, more are drawn.
///
/// A clone has none in advance, so that a request that is kept keeps no data key in memory. All are equal: they say
/// nothing about a request.
pub struct RandomBytes(Option<Arc<Drawn<[u8]>>>);

struct Drawn<B: AsMut<[u8]> + ?Sized> {
    given: AtomicUsize,
    /// The number of bytes that were drawn, at the start of `bytes`.
    filled: usize,
    bytes: B,
}

impl<B: AsMut<[u8]> + ?Sized> Drop for Drawn<B> {
    fn drop(&mut self) {
        self.bytes.as_mut().zeroize();
    }
}

impl RandomBytes {
    /// The most messages whose bytes can be drawn in one call.
    pub const MESSAGES: usize = 64;
    /// Bytes for one message: a message id of 32 bytes, a data key of 32 and an IV of 12.
    const FOR_ONE: usize = 76;
    /// Bytes for the messages of a small batch.
    const FOR_SOME: usize = 8 * Self::FOR_ONE;
    /// Bytes for a message whose data key is at hand: an id.
    const ID: usize = 32;

    /// Draws the bytes of a message, which needs a new data key.
    pub fn draw() -> Result<Self> {
        Self::fill_new([0; Self::FOR_ONE], Self::FOR_ONE)
    }

    /// Draws the bytes of so many messages, at most [`MESSAGES`](Self::MESSAGES), with new data keys or none.
    pub fn draw_for(messages: usize, with_data_keys: bool) -> Result<Self> {
        let each = if with_data_keys { Self::FOR_ONE } else { Self::ID };
        let len = messages.min(Self::MESSAGES).saturating_mul(each);
        // In as little memory as will do, because all of it is wiped.
        if len <= Self::FOR_ONE {
            Self::fill_new([0; Self::FOR_ONE], len)
        } else if len <= Self::FOR_SOME {
            Self::fill_new([0; Self::FOR_SOME], len)
        } else {
            Self::fill_new([0; Self::MESSAGES * Self::FOR_ONE], len)
        }
    }

    fn fill_new<const N: usize>(bytes: [u8; N], len: usize) -> Result<Self> {
        let mut drawn = Arc::new(Drawn { given: AtomicUsize::new(0), filled: 0, bytes });
        if let Some(drawn) = Arc::get_mut(&mut drawn)
            && let Some(bytes) = drawn.bytes.get_mut(..len)
        {
            random(bytes)?;
            drawn.filled = len;
        }
        Ok(Self(Some(drawn)))
    }

    /// Returns none in advance.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Returns another handle to the same bytes.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// Fills `out` with bytes that nobody else gets.
    pub fn fill(&self, out: &mut [u8]) -> Result<()> {
        match self.0.as_ref().and_then(|drawn| drawn.claim(out.len())) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => random(out)?,
        }
        Ok(())
    }
}

impl Drawn<[u8]> {
    /// Returns this many bytes, if as many are left.
    fn claim(&self, len: usize) -> Option<&[u8]> {
        let next = |given: usize| given.checked_add(len).filter(|end| *end <= self.filled);
        let given = self.given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        self.bytes.get(given..)?.get(..len)
    }
}

impl Clone for RandomBytes {
    fn clone(&self) -> Self {
        Self::none()
    }
}

impl PartialEq for RandomBytes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RandomBytes {}

impl Hash for RandomBytes {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for RandomBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomBytes(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn take(from: &RandomBytes, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        from.fill(&mut out).unwrap();
        out
    }

    #[test]
    #[cfg(feature = "aws-lc")]
    fn warming_up_draws_from_the_generator_of_aws_lc() {
        warm_up();
        let drawn = [(); 4].map(|()| crate::crypto::aws_lc::seeded().unwrap());
        assert_eq!(drawn.into_iter().chain([[0; 16]]).collect::<HashSet<_>>().len(), 5);
    }

    #[test]
    fn no_byte_is_given_out_twice() {
        for _ in 0..100 {
            let first = RandomBytes::draw().unwrap();
            let drawn = first.0.as_ref().unwrap().bytes.to_vec();
            let (clone, other) = (first.clone(), first.share());
            let parts = [take(&first, 32), take(&other, 32), take(&first, 12)];
            // In one call, as far as they go.
            assert_eq!(parts.concat(), drawn);
            let more = [take(&other, 12), take(&clone, 12), take(&RandomBytes::none(), 12)];
            assert!(clone.0.is_none());
            let all: HashSet<_> = parts.iter().chain(&more).map(|part| part[..12].to_vec()).collect();
            assert_eq!(all.len(), 6);
        }
    }

    #[test]
    fn the_bytes_of_many_messages_are_drawn_in_one_call() {
        for (messages, with_data_keys, len) in
            [(1, true, 76), (64, true, 64 * 76), (64, false, 64 * 32), (3, false, 96)]
        {
            let random = RandomBytes::draw_for(messages, with_data_keys).unwrap();
            let drawn = random.0.as_ref().unwrap();
            assert_eq!(drawn.filled, len);
            assert_eq!(take(&random, len), drawn.bytes[..len]);
            assert!(drawn.bytes[len..].iter().all(|byte| *byte == 0), "no more is drawn than is needed");
            assert_ne!(take(&random, 32), [0; 32], "what was not drawn is not given out");
        }
        // More than fit: the others are drawn when they are asked for.
        let random = RandomBytes::draw_for(1000, true).unwrap();
        let ids: HashSet<_> = (0..1000).map(|_| take(&random, 32)).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn threads_share_it_without_getting_the_same() {
        let random = RandomBytes::draw().unwrap();
        let taken: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| take(&random, 16))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 8);
    }

    #[test]
    fn it_says_nothing_about_a_request() {
        let (one, other) = (RandomBytes::draw().unwrap(), RandomBytes::none());
        assert!(one == other);
        assert!(format!("{one:?}").contains("redacted"));
    }
}
