//! A materials manager that counts its calls, waits and fails on request; a test clock; and futures that tests poll.

use std::fmt::{Debug, Formatter};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manila::cmm::{Cmm, DefaultCmm};
use manila::keyring::RawAesKeyring;
use manila::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials, EncryptionRequest, KeyFuture};
use manila::{Clock, Error, ErrorKind};

/// The ways in which a manager that needs tokio reports that there is no runtime.
#[derive(Clone, Copy, Debug)]
pub enum Outside {
    Panics,
    Fails,
}

/// A manager whose handles share one counter and one gate.
#[derive(Clone, Debug)]
pub struct Fake(Arc<State>);

#[derive(Debug)]
struct State {
    inner: Box<dyn Cmm>,
    local: bool,
    gate: Gate,
    fails: AtomicBool,
    /// The number of calls that will panic.
    panics: AtomicU64,
    needs_tokio: Mutex<Option<Outside>>,
    tries_headers: AtomicBool,
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
            panics: AtomicU64::new(0),
            needs_tokio: Mutex::default(),
            tries_headers: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }))
    }

    pub fn local() -> Self {
        Self::new(raw_aes(), true)
    }

    /// Not local, although it answers at once until its gate is shut.
    pub fn remote() -> Self {
        Self::new(raw_aes(), false)
    }

    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Makes calls wait from now on.
    pub fn shut(&self) {
        self.0.gate.0.lock().unwrap().shut = true;
    }

    /// Lets all waiting calls continue.
    pub fn open(&self) {
        let waiting = {
            let mut gate = self.0.gate.0.lock().unwrap();
            gate.shut = false;
            std::mem::take(&mut gate.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Makes each call wait for a turn from now on: at the end of a turn, all calls that wait for it continue.
    pub fn turn(&self) {
        self.0.gate.0.lock().unwrap().turn.get_or_insert(0);
        self.open();
        *self.0.gate.0.lock().unwrap().turn.as_mut().unwrap() += 1;
    }

    pub fn turns_no_more(&self) {
        self.0.gate.0.lock().unwrap().turn = None;
    }

    pub fn fails(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    pub fn panics(&self, panics: bool) {
        self.0.panics.store(if panics { u64::MAX } else { 0 }, Ordering::SeqCst);
    }

    /// Makes the next call that passes the gate panic, and none after it.
    pub fn panics_once(&self) {
        self.0.panics.store(1, Ordering::SeqCst);
    }

    /// Once past the gate, calls continue only inside a tokio runtime, as with AWS KMS.
    pub fn needs_tokio(&self, outside: Outside) {
        *self.0.needs_tokio.lock().unwrap() = Some(outside);
    }

    /// Only answers with data keys that open the header of the message in question.
    pub fn tries_headers(&self) {
        self.0.tries_headers.store(true, Ordering::SeqCst);
    }

    /// Returns how often calls were polled at the gate.
    pub fn polls(&self) -> u64 {
        self.0.gate.1.load(Ordering::SeqCst)
    }

    /// Returns the number of calls in progress, and the most there ever were.
    pub fn at_once(&self) -> (usize, usize) {
        (self.0.at_once.load(Ordering::SeqCst), self.0.most_at_once.load(Ordering::SeqCst))
    }

    async fn call(&self) -> Result<(), Error> {
        let state = &self.0;
        let call = state.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let _call = Call::new(state);
        state.gate.pass().await;
        let outside = tokio::runtime::Handle::try_current().is_err();
        match *state.needs_tokio.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Outside::Panics) if outside => panic!("there is no reactor running"),
            Some(Outside::Fails) if outside => {
                return Err(Error::new(ErrorKind::InvalidInput, "there is no runtime here"));
            }
            _ => {}
        }
        let panics = state.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(panics.is_err(), "told to");
        match state.fails.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, format!("call {call} failed"))),
            false => Ok(()),
        }
    }
}

/// A call in progress.
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
            let materials = self.0.inner.decryption_materials(request).await?;
            if self.0.tries_headers.load(Ordering::SeqCst) && !request.is_opened_by(&materials.data_key) {
                return Err(Error::new(ErrorKind::NoUsableDataKey, "no data key opens this header"));
            }
            Ok(materials)
        })
    }

    fn is_local(&self) -> bool {
        self.0.local
    }
}

#[derive(Debug, Default)]
struct Gate(Mutex<GateState>, AtomicU64);

#[derive(Debug, Default)]
struct GateState {
    shut: bool,
    /// Calls of this turn wait for the next.
    turn: Option<u64>,
    waiting: Vec<Waker>,
}

impl Gate {
    async fn pass(&self) {
        let began = self.0.lock().unwrap().turn;
        poll_fn(|context| {
            self.1.fetch_add(1, Ordering::SeqCst);
            let mut gate = self.0.lock().unwrap();
            if !gate.shut && (gate.turn.is_none() || gate.turn != began) {
                return Poll::Ready(());
            }
            gate.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Two clocks that stand still until they are moved, each separately.
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

/// A future that makes progress only when its test polls it.
pub struct Polled<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Polled<T> {
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }

    /// Returns the output if the future has completed.
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
