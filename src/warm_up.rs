//! [`warm_up`]: what a process can do before its first message.

use manila_core::internal::crypto;

/// Makes AWS-LC seed its random number generator, for which the first signed message of a process, or its first RSA
/// operation, otherwise waits.
///
/// Data keys, message ids and the IVs of wrapping come straight from the operating system and need nothing of this.
/// AWS-LC's own generator makes the key pairs of signed messages, the nonces of their signatures, and what RSA needs.
/// AWS-LC seeds it when its first byte is needed, once in a process: that takes 20 to 30 ms of one core on a recent
/// server, and up to 50 ms on others, because it collects differences in the timing of the processor. Every other call
/// takes microseconds, on any thread.
///
/// A server pays this with its first request, and a function that starts cold pays it with every start. Call this on a
/// thread that nobody waits for, before the configuration is read and connections are made; a message that is signed
/// meanwhile waits for what is left of it. Where no message is signed and no key is RSA it only wastes time: nothing
/// else is seeded, connected or computed in advance. An error of the generator is returned by whatever needs it next,
/// not here.
///
/// A program that is built with `AWS_LC_SYS_NO_JITTER_ENTROPY=1` in its environment does not need it: AWS-LC then seeds
/// from the operating system, and from the processor's generator where there is one, in a tenth of a millisecond.
/// `SECURITY.md` weighs the two. With the pure Rust backend everything comes from the operating system, and this
/// function does nothing.
///
/// ```
/// std::thread::spawn(manila::warm_up);
/// ```
pub fn warm_up() {
    crypto::warm_up();
}
