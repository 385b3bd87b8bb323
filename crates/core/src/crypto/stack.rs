//! Work on keys that leaves none of them on the stack.

/// Runs `work` in a frame of its own, and overwrites the `LEN` bytes of stack below the caller's frame behind it.
///
/// What is left there would stay until something else happens to use the place.
pub(super) fn on_wiped_stack<const LEN: usize, T>(work: impl FnOnce() -> T) -> T {
    let done = in_a_frame_of_its_own(work);
    zeroize::zeroize_stack::<LEN>();
    done
}

/// Neither this nor what overwrites it is inlined, so that both begin at the same place below their caller's frame.
#[inline(never)]
fn in_a_frame_of_its_own<T>(work: impl FnOnce() -> T) -> T {
    work()
}
