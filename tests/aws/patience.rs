//! Time as the SDK's client sees it: none passes, so no test depends on the speed of the machine.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use aws_sdk_kms::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{AsyncSleep, Builder, Sleep, StalledStreamProtectionConfig};

/// The timeout of an attempt. It elapses only if the server keeps silent.
const ATTEMPT: Duration = Duration::from_secs(3600);
/// The upper bound of waits between attempts, which end at once. The SDK's other waits are longer, and never end.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// The number of attempts that a client makes.
pub const ATTEMPTS: usize = 2;

/// Makes a client try twice and wait without limit, except for an answer that `silence` says will not come.
pub fn patient(config: Builder, silence: &Arc<Silence>) -> Builder {
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS.try_into().unwrap())
        .with_initial_backoff(LONGEST_BACKOFF / 100);
    // By default the clients of a process share a budget for retries.
    let partition = RetryPartition::custom("of one client").token_bucket(TokenBucket::unlimited()).build();
    config
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(retries)
        .retry_partition(partition)
        .sleep_impl(Patience(silence.clone()))
}

/// The SDK's timers.
#[derive(Debug)]
struct Patience(Arc<Silence>);

impl AsyncSleep for Patience {
    fn sleep(&self, time: Duration) -> Sleep {
        match time {
            ATTEMPT => Sleep::new(self.0.next()),
            time if time < LONGEST_BACKOFF => Sleep::new(std::future::ready(())),
            _ => Sleep::new(std::future::pending()),
        }
    }
}

/// Counts the requests that a server accepted and will not answer.
#[derive(Debug, Default)]
pub struct Silence(Mutex<(usize, Vec<Waker>)>);

impl Silence {
    pub fn keep(&self) {
        let waiting = {
            let mut kept = self.0.lock().unwrap();
            kept.0 += 1;
            std::mem::take(&mut kept.1)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Completes when one more request than so far is left unanswered.
    fn next(self: &Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let (silence, so_far) = (self.clone(), self.0.lock().unwrap().0);
        Box::pin(poll_fn(move |context| {
            let mut kept = silence.0.lock().unwrap();
            if kept.0 > so_far {
                return Poll::Ready(());
            }
            kept.1.push(context.waker().clone());
            Poll::Pending
        }))
    }
}

/// Waits for a future, and fails if it hangs.
pub async fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("nothing waits for ever")
}
