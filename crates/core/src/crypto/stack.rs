//! Execution that leaves no key material on the stack.

use zeroize::Zeroize;

/// Bytes of a word, the unit in which stack is overwritten.
pub(super) const WORD_LEN: usize = size_of::<u64>();

/// Runs `work` in a stack frame of its own, then overwrites `WORDS` words of stack below the caller's frame.
///
/// Otherwise its contents would stay there until other calls happen to overwrite them.
pub(super) fn on_wiped_stack<const WORDS: usize, T>(work: impl FnOnce() -> T) -> T {
    let done = in_a_frame_of_its_own(work);
    overwrite::<WORDS>();
    done
}

/// Does what `zeroize::zeroize_stack` does, a kilobyte at a time instead of a byte: for more than two kilobytes at
/// once, C libraries take an instruction that costs a hundred nanoseconds to begin with.
#[inline(never)]
fn overwrite<const WORDS: usize>() {
    let mut area = [0_u64; WORDS];
    area.chunks_mut(1024 / WORD_LEN).for_each(Zeroize::zeroize);
}

/// Not inlined, and neither is the function that overwrites, so that both begin at the same address below the caller's
/// frame.
#[inline(never)]
fn in_a_frame_of_its_own<T>(work: impl FnOnce() -> T) -> T {
    work()
}
