//! A materials manager that counts its calls, waits and fails as it is told; a clock; and a hand that polls.

use std::fmt::{Debug, Formatter};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manila::{
    Clock, Cmm, DecryptionMaterials, DecryptionRequest, DefaultCmm, EncryptionMaterials, EncryptionRequest, Error,
    ErrorKind, KeyFuture, RawAesKeyring,
};

/// A manager whose handles share one counter and one gate.
#[derive(Clone, Debug)]
pub struct Fake(Arc<State>);

#[derive(Debug)]
struct State {
    inner: Box<dyn Cmm>,
    local: bool,
    gate: Gate,
    fails: AtomicBool,
    panics: AtomicBool,
    calls: AtomicU64,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Fake {
    fn new(inner: impl Cmm + 'static, local: bool) -> Self {
        Self(Arc::new(State {
            inner: Box::new(inner),
            local,
            gate: Gate::default(),
            fails: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }))
    }

    pub fn local() -> Self {
        Self::new(raw_aes(), true)
    }

    /// Not local, though it answers at once until its gate is shut.
    pub fn remote() -> Self {
        Self::new(raw_aes(), false)
    }

    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Calls wait from now on.
    pub fn shut(&self) {
        self.0.gate.0.lock().unwrap().shut = true;
    }

    /// All that wait go on.
    pub fn open(&self) {
        let waiting = {
            let mut gate = self.0.gate.0.lock().unwrap();
            gate.shut = false;
            std::mem::take(&mut gate.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub fn fails(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    pub fn panics(&self, panics: bool) {
        self.0.panics.store(panics, Ordering::SeqCst);
    }

    async fn call(&self) -> Result<(), Error> {
        let state = &self.0;
        let call = state.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let _call = Call::new(state);
        state.gate.pass().await;
        assert!(!state.panics.load(Ordering::SeqCst), "told to");
        match state.fails.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, format!("call {call} failed"))),
            false => Ok(()),
        }
    }
}

/// A call that is under way.
struct Call<'a>(&'a State);

impl<'a> Call<'a> {
    fn new(state: &'a State) -> Self {
        let now = state.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_at_once.fetch_max(now, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

pub fn raw_aes() -> DefaultCmm<RawAesKeyring> {
    DefaultCmm::new(keyring())
}

pub fn keyring() -> RawAesKeyring {
    RawAesKeyring::new("tests", "k", &[1; 32]).unwrap()
}

impl Cmm for Fake {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        Box::pin(async {
            self.call().await?;
            self.0.inner.encryption_materials(request).await
        })
    }

    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        Box::pin(async {
            self.call().await?;
            self.0.inner.decryption_materials(request).await
        })
    }

    fn is_local(&self) -> bool {
        self.0.local
    }
}

#[derive(Debug, Default)]
struct Gate(Mutex<GateState>);

#[derive(Debug, Default)]
struct GateState {
    shut: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    async fn pass(&self) {
        poll_fn(|context| {
            let mut gate = self.0.lock().unwrap();
            if !gate.shut {
                return Poll::Ready(());
            }
            gate.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Two clocks that stand still until they are moved, each for itself.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<(AtomicU64, AtomicU64)>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new((AtomicU64::new(0), AtomicU64::new(1_767_225_600))))
    }
}

impl TestClock {
    pub fn advance(&self, secs: u64) {
        self.advance_monotonic(secs);
        self.advance_wall(secs);
    }

    pub fn advance_monotonic(&self, secs: u64) {
        self.0.0.fetch_add(secs, Ordering::SeqCst);
    }

    pub fn advance_wall(&self, secs: u64) {
        self.0.1.fetch_add(secs, Ordering::SeqCst);
    }

    pub fn set_wall_back(&self, secs: u64) {
        self.0.1.fetch_sub(secs, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.1.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.0.load(Ordering::SeqCst))
    }
}

/// A future that goes on only when its test polls it.
pub struct Polled<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Polled<T> {
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// Its output, if it has come to its end.
    pub fn poll(&mut self) -> Option<T> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

impl<T> Debug for Polled<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Polled")
    }
}
