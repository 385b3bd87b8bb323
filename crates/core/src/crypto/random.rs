//! Random bytes from the operating system, and [`RandomBytes`]: those of one message, drawn in one call.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use zeroize::Zeroizing;

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

/// The random bytes of one message: a message id of 32 bytes, a data key of 32 and an IV of 12, drawn from the
/// operating system in one call, because three take much longer. Each byte is given out once; when all are, more are
/// drawn.
///
/// A clone has none in advance, so that no two can give out the same. All are equal: they say nothing about a request.
pub struct RandomBytes {
    bytes: Zeroizing<[u8; Self::LEN]>,
    given: AtomicUsize,
}

impl RandomBytes {
    const LEN: usize = 76;

    /// Draws the bytes of a message.
    pub fn draw() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        random(&mut *bytes)?;
        Ok(Self { bytes, given: AtomicUsize::new(0) })
    }

    /// Returns none in advance.
    #[must_use]
    pub fn none() -> Self {
        Self { bytes: Zeroizing::new([0; Self::LEN]), given: AtomicUsize::new(Self::LEN) }
    }

    /// Fills `out` with bytes that nobody else gets.
    pub fn fill(&self, out: &mut [u8]) -> Result<()> {
        match self.claim(out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => random(out)?,
        }
        Ok(())
    }

    /// Moves the bytes that are left to another one.
    #[must_use]
    pub fn rest(&self) -> Self {
        let given = self.given.swap(Self::LEN, Ordering::Relaxed);
        Self { bytes: self.bytes.clone(), given: AtomicUsize::new(given) }
    }

    /// Returns this many bytes, if as many are left.
    fn claim(&self, len: usize) -> Option<&[u8]> {
        let next = |given: usize| given.checked_add(len).filter(|end| *end <= Self::LEN);
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
            let drawn = first.bytes.to_vec();
            let clone = first.clone();
            let id = take(&first, 32);
            let rest = first.rest();
            let parts = [take(&rest, 32), take(&rest, 12), take(&rest, 12), take(&first, 12), take(&clone, 12)];
            // In one call, as far as they go.
            assert_eq!([id.clone(), parts[0].clone(), parts[1].clone()].concat(), drawn);
            let all: HashSet<_> = [&id].into_iter().chain(&parts).map(|part| part[..12].to_vec()).collect();
            assert_eq!(all.len(), 6);
        }
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
