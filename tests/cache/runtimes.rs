//! Callers as they occur in programs: in `select!`, in sets of futures, and outside the runtime that the KMS needs.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use manila::{Client, Error, ErrorKind};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::fake::{Fake, Outside, Polled};
use crate::{Cached, context, data_key};

/// A timeout that only a hang can reach.
const LONG: Duration = Duration::from_secs(60);

async fn seal(client: &Client) -> Result<Vec<u8>, Error> {
    client.encrypt_async(b"x", &context(&[])).await.map(|message| data_key(&message))
}

/// Makes a cache of a manager that waits until another task opens its gate.
fn shut() -> (Cached, Client) {
    let cached = Cached::remote();
    cached.fake.shut();
    let client = cached.client();
    (cached, client)
}

#[tokio::test]
async fn in_a_select_that_went_on_to_a_second_call_both_are_answered() {
    let (cached, client) = shut();
    let mut first = pin!(seal(&client));
    let late = tokio::select! {
        biased;
        done = &mut first => panic!("nobody has answered: {done:?}"),
        // As with a deadline, after which a note of the delay is encrypted.
        () = yield_now() => true,
    };
    assert!(late);
    let fake = cached.fake.clone();
    tokio::spawn(async move { fake.open() });
    let note = timeout(LONG, seal(&client)).await.expect("the first is alive, and nobody polls it").unwrap();
    assert_eq!(timeout(LONG, first).await.unwrap().unwrap(), note);
    assert_eq!(cached.fake.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_set_of_futures_that_is_not_polled_just_now_a_leader_holds_up_nobody() {
    let (cached, client) = shut();
    let mut set: FuturesUnordered<_> = (0..3).map(|_| seal(&client)).collect();
    tokio::select! {
        biased;
        done = set.next() => panic!("nobody has answered: {done:?}"),
        () = yield_now() => {}
    }
    let fake = cached.fake.clone();
    tokio::spawn(async move { fake.open() });
    // As in a loop that takes one result after another, and does something with each.
    let key = timeout(LONG, seal(&client)).await.expect("the set is alive, and nobody polls it").unwrap();
    while let Some(sealed) = timeout(LONG, set.next()).await.unwrap() {
        assert_eq!(sealed.unwrap(), key);
    }
    assert_eq!(cached.fake.calls(), 1);
}

#[tokio::test]
async fn in_a_join_all_are_answered() {
    let (cached, client) = shut();
    let open = async {
        yield_now().await;
        cached.fake.open();
    };
    let all = async { tokio::join!(seal(&client), seal(&client), seal(&client), open) };
    let (first, second, third, ()) = timeout(LONG, all).await.unwrap();
    let key = first.unwrap();
    assert!(second.unwrap() == key && third.unwrap() == key);
    assert_eq!(cached.fake.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_never_run_again_hold_up_no_other() {
    let (cached, client) = shut();
    let mut asleep: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            Polled::new(async move { seal(&client).await })
        })
        .collect();
    assert!(asleep.iter_mut().all(|caller| caller.poll().is_none()));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { seal(&client).await })
        })
        .collect();
    while cached.cmm.stats().misses() < 110 {
        yield_now().await;
    }
    cached.fake.open();
    for task in tasks {
        timeout(LONG, task).await.expect("nobody waits for ever").unwrap().unwrap();
    }
    assert_eq!(cached.fake.calls(), 1);
}

fn caller(client: &Client) -> Polled<Result<Vec<u8>, Error>> {
    let client = client.clone();
    Polled::new(async move { seal(&client).await })
}

/// Runs callers inside and outside a runtime, on a manager that needs one: those inside are not affected by those
/// outside.
fn outsiders(number: usize, outside: Outside) -> (Vec<Error>, Cached) {
    let (cached, client) = shut();
    cached.fake.needs_tokio(outside);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut inside: Vec<_> = (0..10).map(|_| caller(&client)).collect();
    {
        let _inside = runtime.enter();
        assert!(inside.iter_mut().all(|caller| caller.poll().is_none()));
    }
    let mut outsiders: Vec<_> = (0..number).map(|_| caller(&client)).collect();
    assert!(outsiders.iter_mut().all(|caller| caller.poll().is_none()), "they join, and disturb nothing");
    let mut errors = Vec::new();
    for outsider in &mut outsiders {
        // They are polled first after the answer.
        cached.fake.open();
        errors.push(outsider.poll().expect("it has driven the call").unwrap_err());
        cached.fake.shut();
        let _inside = runtime.enter();
        assert!(inside.iter_mut().all(|caller| caller.poll().is_none()), "they ask again");
    }
    cached.fake.open();
    let _inside = runtime.enter();
    for caller in &mut inside {
        caller.poll().expect("it is polled inside the runtime").unwrap();
    }
    (errors, cached)
}

#[test]
fn a_waiter_outside_the_runtime_that_the_kms_needs_fails_alone() {
    for (outside, kind) in [(Outside::Panics, ErrorKind::Internal), (Outside::Fails, ErrorKind::InvalidInput)] {
        let (errors, cached) = outsiders(1, outside);
        assert_eq!(errors[0].kind(), kind, "{}", errors[0]);
        // The shared call, the outsider's own, and the one that those inside share.
        assert_eq!((cached.fake.calls(), cached.cmm.stats().in_flight()), (3, 0));
    }
}

#[test]
fn a_waiter_without_the_leaders_runtime_asks_in_its_own() {
    let (cached, client) = shut();
    let (mut leader, mut waiter, mut other) = (caller(&client), caller(&client), caller(&client));
    assert!(leader.poll().is_none() && waiter.poll().is_none() && other.poll().is_none());
    // As the timers and sockets of a runtime that was shut down do.
    cached.fake.panics_once();
    cached.fake.open();
    let key = waiter.poll().expect("its own call is answered").unwrap();
    assert_eq!(leader.poll().unwrap().unwrap(), key);
    assert_eq!(other.poll().unwrap().unwrap(), key);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().in_flight()), (2, 0));
}

#[test]
fn callers_who_were_disturbed_twice_ask_for_themselves() {
    for outside in [Outside::Panics, Outside::Fails] {
        let (errors, cached) = outsiders(2, outside);
        assert_eq!(errors.len(), 2);
        assert_eq!(cached.fake.calls(), 2 + 2 + 10);
    }
}

#[test]
fn a_leader_outside_the_runtime_that_the_kms_needs_fails_alone() {
    for outside in [Outside::Panics, Outside::Fails] {
        let cached = Cached::new(Fake::remote(), |settings| settings);
        cached.fake.needs_tokio(outside);
        let client = cached.client();
        assert!(caller(&client).poll().unwrap().is_err());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        assert!(caller(&client).poll().unwrap().is_ok());
        assert_eq!(cached.fake.calls(), 2);
    }
}
