//! Concurrent callers that need more than one data key do not wait for each other's.

use std::collections::BTreeSet;

use manila::cmm::{CacheSettings, CachingCmm, Cmm};
use manila::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials, EncryptionRequest, KeyFuture};
use manila::{AlgorithmSuite, Client, Error};

use crate::fake::{Fake, Polled};
use crate::{Cached, context, data_key};

const CALLERS: usize = 100;

fn callers(client: &Client) -> Vec<Polled<Result<Vec<u8>, Error>>> {
    let caller = |_| {
        let client = client.clone();
        Polled::new(async move { client.encrypt_async(b"1234", &context(&[])).await.map(|message| data_key(&message)) })
    };
    (0..CALLERS).map(caller).collect()
}

/// Polls all callers in turn, and returns their data keys and how many turns the calls took.
fn turns(fake: &Fake, mut callers: Vec<Polled<Result<Vec<u8>, Error>>>) -> (Vec<Vec<u8>>, u32) {
    let (mut keys, mut turns) = (Vec::new(), 0);
    loop {
        fake.turn();
        callers.retain_mut(|caller| match caller.poll() {
            None => true,
            Some(sealed) => {
                keys.push(sealed.unwrap());
                false
            }
        });
        if callers.is_empty() {
            return (keys, turns);
        }
        turns += 1;
        assert!(turns < 1000, "they queue up");
    }
}

#[test]
fn a_hundred_callers_whose_limit_is_one_message_take_two_round_trips_at_most() {
    type Limit = fn(CacheSettings, u64) -> CacheSettings;
    let limits: [(Limit, u64); 2] = [(CacheSettings::max_messages, 1), (CacheSettings::max_bytes, 7)];
    for (change, limit) in limits {
        let cached = Cached::new(Fake::remote(), |settings| change(settings, limit));
        let (keys, turns) = turns(&cached.fake, callers(&cached.client()));
        assert!(turns <= 2, "{turns} round trips");
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), CALLERS, "the limit is exact");
        assert_eq!(cached.fake.calls(), CALLERS as u64);
    }
}

#[test]
fn as_many_share_a_call_as_its_data_key_has_room_for() {
    let cached = Cached::new(Fake::remote(), |settings| settings.max_messages(30));
    let (keys, turns) = turns(&cached.fake, callers(&cached.client()));
    let used = |key| keys.iter().filter(|other| *other == key).count();
    let mut uses: Vec<_> = keys.iter().collect::<BTreeSet<_>>().into_iter().map(used).collect();
    uses.sort_unstable();
    assert_eq!((uses, turns, cached.fake.calls()), (vec![10, 30, 30, 30], 1, 4));
    // The last data key has room for twenty more.
    cached.fake.turns_no_more();
    assert!((0..20).all(|_| keys.contains(&data_key(&seal(&cached)))));
    assert!(!keys.contains(&data_key(&seal(&cached))));
    assert_eq!(cached.fake.calls(), 5);
}

fn seal(cached: &Cached) -> Vec<u8> {
    manila::testing::ready(cached.client().encrypt_async(b"1234", &context(&[]))).unwrap()
}

/// Writes messages of a suite that uses the data key directly, whatever suite is requested.
#[derive(Debug)]
struct WithoutKdf(Fake);

impl Cmm for WithoutKdf {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        let mut request = request.clone();
        request.suite = Some(AlgorithmSuite::Aes256GcmNoKdf);
        Box::pin(async move { self.0.encryption_materials(&request).await })
    }

    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        self.0.decryption_materials(request)
    }
}

#[test]
fn callers_whose_manager_chooses_a_suite_without_a_kdf_take_two_round_trips() {
    let fake = Fake::remote();
    let settings = CacheSettings::new(10, std::time::Duration::from_secs(100));
    let cmm = CachingCmm::new(WithoutKdf(fake.clone()), settings).unwrap();
    let client = crate::client(&cmm, AlgorithmSuite::Aes256GcmHkdfSha256);
    let (keys, turns) = turns(&fake, callers(&client));
    assert_eq!((turns, keys.iter().collect::<BTreeSet<_>>().len(), fake.calls()), (2, CALLERS, CALLERS as u64));
    assert_eq!((cmm.stats().entries(), cmm.stats().coalesced()), (0, 0));
}
