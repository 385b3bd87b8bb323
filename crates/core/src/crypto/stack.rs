//! Execution that leaves no key material on the stack.

/// Runs `work` in a stack frame of its own, then overwrites the `LEN` bytes of stack below the caller's frame.
///
/// Otherwise its contents would stay there until other calls happen to overwrite them.
pub(super) fn on_wiped_stack<const LEN: usize, T>(work: impl FnOnce() -> T) -> T {
    let done = in_a_frame_of_its_own(work);
    zeroize::zeroize_stack::<LEN>();
    done
}

/// Not inlined, and neither is the function that overwrites, so that both begin at the same address below the caller's
/// frame.
#[inline(never)]
fn in_a_frame_of_its_own<T>(work: impl FnOnce() -> T) -> T {
    work()
}
