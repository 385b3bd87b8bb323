//! Single flight: of many concurrent callers with the same request, one calls the inner manager.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use manila::testing::ready;
use manila::{Client, EncryptionContext, Error, ErrorKind, ExpectedContext};

use crate::fake::{Fake, Polled};
use crate::{Cached, context, data_key};

const CALLERS: u64 = 10_000;

type Sealed = Result<Vec<u8>, Error>;

fn caller(client: &Client, context: &EncryptionContext) -> Polled<Sealed> {
    let (client, context) = (client.clone(), context.clone());
    Polled::new(async move { client.encrypt_async(b"x", &context).await.map(|message| data_key(&message)) })
}

/// Runs many callers of one cached client, none of which completes before all have asked.
fn stampede(ids: u64) -> (Cached, Vec<Vec<u8>>) {
    let cached = Cached::remote();
    let client = cached.client();
    cached.fake.shut();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let keys = runtime.block_on(async {
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let (client, context) = (client.clone(), context(&[("id", &(n % ids).to_string())]));
                tokio::spawn(async move { client.encrypt_async(b"x", &context).await })
            })
            .collect();
        while cached.cmm.stats().misses() < CALLERS || (cached.cmm.stats().in_flight() as u64) < ids {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cached.fake.open();
        let mut keys = Vec::new();
        for caller in callers {
            let message = tokio::time::timeout(Duration::from_secs(60), caller).await.unwrap().unwrap().unwrap();
            keys.push(data_key(&message));
        }
        keys
    });
    (cached, keys)
}

#[test]
fn ten_thousand_cold_callers_of_one_id_make_one_call() {
    let (cached, keys) = stampede(1);
    assert_eq!(cached.fake.calls(), 1);
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 1);
    let stats = cached.cmm.stats();
    assert_eq!((stats.misses(), stats.hits(), stats.in_flight(), stats.entries()), (CALLERS, 0, 0, 1));
}

#[test]
fn ten_thousand_cold_callers_of_a_hundred_ids_make_a_hundred_calls() {
    let (cached, keys) = stampede(100);
    assert_eq!(cached.fake.calls(), 100);
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 100);
    assert_eq!(cached.cmm.stats().entries(), 100);
}

#[test]
fn ten_thousand_readers_make_one_call() {
    let cached = Cached::remote();
    let client = cached.client();
    let message = Arc::new(Client::new(crate::fake::keyring()).encrypt(b"x", &context(&[])).unwrap());
    cached.fake.shut();
    let mut readers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (client, message) = (client.clone(), message.clone());
            Polled::new(async move { client.decrypt_async(&message, ExpectedContext::any()).await })
        })
        .collect();
    assert!(readers.iter_mut().all(|reader| reader.poll().is_none()));
    cached.fake.open();
    for reader in &mut readers {
        assert_eq!(reader.poll().unwrap().unwrap().plaintext, b"x");
    }
    let stats = cached.cmm.stats();
    assert_eq!((cached.fake.calls(), stats.misses(), stats.coalesced()), (1, CALLERS, CALLERS - 1));
}

#[test]
fn when_the_leader_goes_away_its_call_is_everyones_and_nobody_waits_for_ever() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let mut leader = caller(&client, &context);
    assert!(leader.poll().is_none());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let waiters: Vec<_> = (1..CALLERS)
            .map(|_| {
                let (client, context) = (client.clone(), context.clone());
                tokio::spawn(async move { client.encrypt_async(b"x", &context).await })
            })
            .collect();
        while cached.cmm.stats().misses() < CALLERS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(leader);
        assert_eq!(cached.cmm.stats().in_flight(), 1);
        cached.fake.open();
        for waiter in waiters {
            tokio::time::timeout(Duration::from_secs(60), waiter).await.unwrap().unwrap().unwrap();
        }
    });
    assert_eq!(cached.fake.calls(), 1);
}

#[test]
fn leaders_that_go_away_cost_no_call_as_long_as_one_caller_stays() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let mut callers: Vec<_> = (0..10).map(|_| caller(&client, &context)).collect();
    while callers.len() > 1 {
        assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
        callers.remove(0);
    }
    cached.fake.open();
    assert!(callers[0].poll().unwrap().is_ok());
    assert_eq!((cached.fake.calls(), cached.cmm.stats().in_flight()), (1, 0));
}

#[test]
fn when_all_callers_go_away_the_call_is_dropped() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let mut callers: Vec<_> = (0..10).map(|_| caller(&client, &context)).collect();
    assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
    assert_eq!((cached.fake.at_once(), cached.cmm.stats().in_flight()), ((1, 1), 1));
    drop(callers);
    assert_eq!((cached.fake.at_once(), cached.cmm.stats().in_flight()), ((0, 1), 0));
    cached.fake.open();
    assert!(caller(&client, &context).poll().unwrap().is_ok());
    assert_eq!(cached.fake.calls(), 2);
}

#[test]
fn whoever_is_polled_drives_the_call_though_its_leader_is_not() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let mut leader = caller(&client, &context);
    assert!(leader.poll().is_none());
    cached.fake.open();
    let key = caller(&client, &context).poll().expect("the leader is alive, and nobody polls it").unwrap();
    assert_eq!(caller(&client, &context).poll().unwrap().unwrap(), key);
    assert_eq!(leader.poll().unwrap().unwrap(), key);
    let stats = cached.cmm.stats();
    assert_eq!((cached.fake.calls(), stats.misses(), stats.coalesced(), stats.hits()), (1, 2, 1, 1));
}

#[test]
fn a_call_is_polled_when_it_was_woken_and_not_by_each_who_waits() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let mut callers: Vec<_> = (0..100).map(|_| caller(&client, &context)).collect();
    for _ in 0..10 {
        assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
    }
    assert_eq!(cached.fake.polls(), 1);
}

#[test]
fn a_waiter_who_was_not_polled_for_long_does_not_use_what_is_too_old() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let (mut leader, mut waiter) = (caller(&client, &context), caller(&client, &context));
    assert!(leader.poll().is_none() && waiter.poll().is_none());
    cached.fake.open();
    let old = leader.poll().unwrap().unwrap();
    cached.clock.advance(100);
    assert_ne!(waiter.poll().unwrap().unwrap(), old);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().coalesced()), (2, 0));
}

#[test]
fn waiters_that_go_away_disturb_nobody() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let mut callers: Vec<_> = (0..5).map(|_| caller(&client, &context)).collect();
    assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
    callers.remove(3);
    callers.remove(1);
    cached.fake.open();
    assert!(callers.iter_mut().all(|caller| caller.poll().unwrap().is_ok()));
    assert_eq!(cached.fake.calls(), 1);
}

#[test]
fn a_waiter_that_is_not_polled_holds_up_no_other() {
    for killed in [false, true] {
        let cached = Cached::remote();
        let (client, context) = (cached.client(), context(&[]));
        cached.fake.shut();
        let mut leader = caller(&client, &context);
        let mut forgotten: Vec<_> = (0..3).map(|_| caller(&client, &context)).collect();
        let mut last = caller(&client, &context);
        assert!(leader.poll().is_none());
        assert!(forgotten.iter_mut().all(|caller| caller.poll().is_none()));
        assert!(last.poll().is_none());
        cached.fake.open();
        if killed {
            drop(leader);
        } else {
            assert!(leader.poll().unwrap().is_ok());
        }
        assert!(last.poll().is_some_and(|sealed| sealed.is_ok()), "killed: {killed}");
        assert!(forgotten.iter_mut().all(|caller| caller.poll().unwrap().is_ok()));
    }
}

/// Waiters are woken: an executor does not poll without reason.
#[test]
fn every_waiter_is_woken() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = futures_util::future::join_all((0..100).map(|_| client.encrypt_async(b"x", &context)));
        // Polled after the callers, all of which are waiting by then.
        let answer = async {
            assert_eq!(cached.cmm.stats().misses(), 100);
            cached.fake.open();
        };
        let all = futures_util::future::join(all, answer);
        let (all, ()) = tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
        assert!(all.iter().all(Result::is_ok));
    });
    assert_eq!(cached.fake.calls(), 1);
}

#[test]
fn when_the_leader_fails_everyone_gets_its_error_once_and_the_next_tries_again() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    cached.fake.fails(true);
    let mut callers: Vec<_> = (0..100).map(|_| caller(&client, &context)).collect();
    assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
    cached.fake.open();
    for caller in &mut callers {
        let error = caller.poll().unwrap().unwrap_err();
        assert_eq!((error.kind(), &*error.to_string()), (ErrorKind::Unavailable, "call 1 failed"));
    }
    assert_eq!(cached.fake.calls(), 1);
    assert_eq!(cached.seal("").unwrap_err().to_string(), "call 2 failed");
    cached.fake.fails(false);
    assert!(caller(&client, &context).poll().unwrap().is_ok());
    assert_eq!(cached.fake.calls(), 3);
}

#[test]
fn one_who_comes_after_the_error_does_not_get_it() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    cached.fake.fails(true);
    let (mut leader, mut follower) = (caller(&client, &context), caller(&client, &context));
    assert!(leader.poll().is_none() && follower.poll().is_none());
    cached.fake.open();
    assert!(leader.poll().unwrap().is_err());
    // The follower has not seen the error yet, but the flight is already over.
    cached.fake.fails(false);
    assert!(caller(&client, &context).poll().unwrap().is_ok());
    assert!(follower.poll().unwrap().is_err());
    assert_eq!(cached.fake.calls(), 2);
}

#[test]
fn a_panic_in_the_call_is_an_error_of_all_and_poisons_nothing() {
    let cached = Cached::remote();
    let (client, context) = (cached.client(), context(&[]));
    cached.fake.shut();
    let mut callers: Vec<_> = (0..10).map(|_| caller(&client, &context)).collect();
    assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
    cached.fake.open();
    cached.fake.panics(true);
    for caller in &mut callers {
        let error = caller.poll().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains("panicked") && error.to_string().contains("Fake"), "{error}");
    }
    assert_eq!((cached.fake.calls(), cached.cmm.stats().in_flight()), (1, 0));
    cached.fake.panics(false);
    assert!(caller(&client, &context).poll().unwrap().is_ok());
    assert_eq!(cached.fake.calls(), 2);
}

#[test]
fn flights_of_different_questions_do_not_wait_for_each_other() {
    let cached = Cached::remote();
    let client = cached.client();
    cached.fake.shut();
    let mut slow = caller(&client, &context(&[("id", "slow")]));
    assert!(slow.poll().is_none());
    // The gate is open for newcomers; the first caller stays where it is until it is polled.
    cached.fake.open();
    assert!(caller(&client, &context(&[("id", "fast")])).poll().unwrap().is_ok());
    assert_eq!(cached.cmm.stats().in_flight(), 1);
    assert!(slow.poll().unwrap().is_ok());
}

#[test]
fn callers_over_a_local_manager_neither_lead_nor_wait() {
    const THREADS: usize = 8;
    let cached = Cached::local();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..100 {
                    cached.client().encrypt(b"x", &context(&[])).unwrap();
                }
            });
        }
    });
    let stats = cached.cmm.stats();
    assert_eq!((stats.coalesced(), stats.in_flight(), stats.entries()), (0, 0, 1));
    assert_eq!(stats.misses(), cached.fake.calls(), "each caller that misses asks for itself");
    assert_eq!(stats.hits() + stats.misses(), 800);
}

#[test]
fn a_manager_that_calls_itself_local_and_waits_is_an_error_that_names_it() {
    let cached = Cached::local();
    let identity = crate::client(&cached.cmm, manila::AlgorithmSuite::Aes256GcmNoKdf);
    let message = cached.client().encrypt(b"x", &context(&[])).unwrap();
    let unkept = identity.encrypt(b"x", &context(&[])).unwrap();
    cached.fake.shut();
    let empty = context(&[]);
    let client = cached.client();
    let errors = [
        ("encrypt", client.encrypt(b"x", &context(&[("id", "1")])).map(drop)),
        ("encrypt_async", ready(client.encrypt_async(b"x", &context(&[("id", "1")]))).map(drop)),
        ("decrypt", client.decrypt(&message, ExpectedContext::any()).map(drop)),
        ("a stream", client.encryptor(&empty).map(drop)),
        ("without a KDF", identity.encrypt(b"x", &empty).map(drop)),
        ("reading without a KDF", identity.decrypt(&unkept, ExpectedContext::any()).map(drop)),
    ];
    for (what, answer) in errors {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{what}: {error}");
        assert!(error.to_string().contains(std::any::type_name::<Fake>()), "{what}: {error}");
    }
}

#[test]
fn plain_calls_over_a_manager_that_is_not_local_are_refused_before_anything_is_done() {
    let cached = Cached::remote();
    assert_eq!(cached.client().encrypt(b"x", &context(&[])).unwrap_err().kind(), ErrorKind::NeedsAsync);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().misses()), (0, 0));
}
