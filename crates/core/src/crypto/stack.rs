//! Execution that leaves no key material on the stack.

use zeroize::optimization_barrier;

/// Bytes of a word, the unit in which stack is overwritten.
pub(super) const WORD_LEN: usize = size_of::<u64>();

/// Words that are overwritten at once.
const FRAME: usize = 1024 / WORD_LEN;

/// Runs `work` in a stack frame of its own, then overwrites `WORDS` words of stack below the caller's frame.
///
/// Otherwise its contents would stay there until other calls happen to overwrite them.
pub(super) fn on_wiped_stack<const WORDS: usize, T>(work: impl FnOnce() -> T) -> T {
    let done = in_a_frame_of_its_own(work);
    overwrite(WORDS);
    done
}

/// Does what `zeroize::zeroize_stack` does, in frames of a kilobyte: for more than two at once, C libraries take an
/// instruction that costs a hundred nanoseconds to begin with.
#[inline(never)]
fn overwrite(words: usize) {
    let area = [0_u64; FRAME];
    optimization_barrier(&area);
    if let Some(rest) = words.checked_sub(FRAME).filter(|rest| *rest > 0) {
        overwrite(rest);
        // So that the call is not the last thing done, for which a compiler may use this frame again.
        optimization_barrier(&area);
    }
}

/// Not inlined, and neither is the function that overwrites, so that both begin at the same address below the caller's
/// frame.
#[inline(never)]
fn in_a_frame_of_its_own<T>(work: impl FnOnce() -> T) -> T {
    work()
}
