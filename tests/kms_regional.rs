//! Multi-keyrings over the regions of a KMS: which client is asked for which key, and in which order.

#![cfg(feature = "local-kms")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, Weak};
use std::time::Duration;

use manila::keyring::{DiscoveryFilter, MultiKeyring, RegionalClients};
use manila::kms::{GeneratedDataKey, Kms, KmsCiphertext, KmsPlaintext, KmsRequest};
use manila::local_kms::{CreateKey, LocalKms};
use manila::materials::KeyFuture;
use manila::{Client, EncryptionContext, Error, ErrorKind, UnverifiedHeader};

const VIRGINIA: &str = "us-east-1";
const IRELAND: &str = "eu-west-1";
const MUMBAI: &str = "ap-south-1";

/// The events since the last look: `made REGION`, or `OPERATION in REGION for KEY`.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A region of a KMS, which records its calls.
#[derive(Debug)]
struct Logged {
    kms: LocalKms,
    region: String,
    log: Log,
}

impl Logged {
    /// Records a call, and returns its request without the tokens, which are those of no grant.
    fn asked<'a>(&self, operation: &str, request: KmsRequest<'a>) -> KmsRequest<'a> {
        let mut line = format!("{operation} in {} for {}", self.region, request.key_id);
        for token in request.grant_tokens {
            line.push_str(" with ");
            line.push_str(token);
        }
        self.log.add(line);
        request.with_grant_tokens(&[])
    }
}

impl Kms for Logged {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        let request = self.asked("generate", request);
        self.kms.generate_data_key(request, length)
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        let request = self.asked("encrypt", request);
        Kms::encrypt(&self.kms, request, plaintext)
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        let request = self.asked("decrypt", request);
        Kms::decrypt(&self.kms, request, ciphertext)
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// A KMS of three regions, and clients that record what they do.
struct World {
    kms: LocalKms,
    log: Log,
    clients: RegionalClients<Logged>,
}

impl World {
    fn new() -> Self {
        let (kms, log) = (LocalKms::in_memory().unwrap(), Log::default());
        let (made_of, told) = (kms.clone(), log.clone());
        let clients = RegionalClients::new(move |region| {
            told.add(format!("made {region}"));
            Ok(Logged { kms: made_of.region(region)?, region: region.to_owned(), log: told.clone() })
        });
        Self { kms, log, clients }
    }

    fn key(&self, region: &str) -> String {
        self.kms.region(region).unwrap().create_key(CreateKey::default()).unwrap().arn().to_owned()
    }

    /// Creates a multi-Region key in Virginia and its replica in Ireland.
    fn multi_region_key(&self) -> (String, String) {
        let virginia = self.kms.region(VIRGINIA).unwrap();
        let primary = virginia.create_key(CreateKey::default().multi_region()).unwrap();
        let replica = virginia.replicate_key(primary.key_id(), IRELAND).unwrap();
        (primary.arn().to_owned(), replica.arn().to_owned())
    }
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

fn filter() -> DiscoveryFilter {
    DiscoveryFilter::new("aws", ["000000000000"]).unwrap()
}

fn seal(keyring: MultiKeyring) -> Vec<u8> {
    Client::new(keyring).encrypt(b"hello", &context()).unwrap()
}

fn open(keyring: MultiKeyring, message: &[u8]) -> Result<(), ErrorKind> {
    let opened = Client::new(keyring).decrypt(message, context()).map_err(|error| error.kind())?;
    assert_eq!(opened.plaintext, b"hello");
    Ok(())
}

#[track_caller]
fn invalid(result: Result<MultiKeyring, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error.to_string()
}

#[test]
fn a_region_has_one_client_which_is_made_when_it_is_needed() {
    let world = World::new();
    let (one, two, there) = (world.key(VIRGINIA), world.key(VIRGINIA), world.key(IRELAND));
    assert!(world.log.take().is_empty());
    MultiKeyring::kms(&world.clients, &one, [&two]).unwrap();
    assert_eq!(world.log.take(), ["made us-east-1"]);
    MultiKeyring::kms_mrk_aware(&world.clients, &one, [&there]).unwrap();
    assert_eq!(world.log.take(), ["made eu-west-1"]);
    MultiKeyring::kms_discovery(&world.clients, [VIRGINIA, IRELAND], &filter()).unwrap();
    MultiKeyring::kms_mrk_discovery(&world.clients, [IRELAND, MUMBAI], &filter()).unwrap();
    assert_eq!(world.log.take(), ["made ap-south-1"]);
    assert!(Arc::ptr_eq(&world.clients.get(IRELAND).unwrap(), &world.clients.get(IRELAND).unwrap()));
}

#[test]
fn all_get_the_same_client_however_many_ask_at_once() {
    let all_make_one = Barrier::new(4);
    let clients = RegionalClients::new(move |_| {
        all_make_one.wait();
        LocalKms::in_memory()
    });
    let clients = Arc::new(clients);
    let (send, receive) = std::sync::mpsc::channel();
    for _ in 0..4 {
        let (clients, send) = (clients.clone(), send.clone());
        std::thread::spawn(move || send.send(clients.get(VIRGINIA).unwrap()).unwrap());
    }
    let waits = "making a client waits for another's";
    let got = [(); 4].map(|()| receive.recv_timeout(Duration::from_secs(60)).expect(waits));
    assert!(got.iter().all(|client| Arc::ptr_eq(client, &got[0])));
    assert!(Arc::ptr_eq(&clients.get(VIRGINIA).unwrap(), &got[0]), "it is kept");
}

/// A client that asks for other clients when it is dropped.
#[derive(Debug)]
struct Asks(Weak<RegionalClients<Self>>);

impl Drop for Asks {
    fn drop(&mut self) {
        if let Some(clients) = self.0.upgrade() {
            clients.get(IRELAND).unwrap();
        }
    }
}

#[test]
fn nothing_of_the_callers_runs_while_the_clients_are_locked() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let clients = Arc::new_cyclic(|own: &Weak<RegionalClients<Asks>>| {
            let (own, again) = (own.clone(), AtomicBool::new(true));
            RegionalClients::new(move |region| {
                let clients = own.upgrade().unwrap();
                // Asks for a client of another region, or for one of the same region, which is then kept instead of
                // this one.
                match region {
                    VIRGINIA => drop(clients.get(MUMBAI)?),
                    MUMBAI if again.swap(false, Ordering::Relaxed) => drop(clients.get(MUMBAI)?),
                    _ => {}
                }
                Ok(Asks(own.clone()))
            })
        });
        let virginia = clients.get(VIRGINIA).unwrap();
        assert!(Arc::ptr_eq(&virginia, &clients.get(VIRGINIA).unwrap()));
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("making or dropping a client waits for the clients");
}

#[test]
fn a_client_that_could_not_be_made_is_tried_again() {
    let tries = Arc::new(Mutex::new(0));
    let counted = tries.clone();
    let clients = RegionalClients::new(move |_| {
        *counted.lock().unwrap() += 1;
        match *counted.lock().unwrap() {
            1 => Err(Error::new(ErrorKind::Unavailable, "no credentials yet")),
            _ => LocalKms::in_memory(),
        }
    });
    assert_eq!(clients.get(VIRGINIA).unwrap_err().kind(), ErrorKind::Unavailable);
    clients.get(VIRGINIA).unwrap();
    clients.get(VIRGINIA).unwrap();
    assert_eq!(*tries.lock().unwrap(), 2);
}

#[test]
fn each_key_is_asked_for_in_its_own_region_and_data_keys_keep_the_order() {
    let world = World::new();
    let (ireland, virginia, mumbai) = (world.key(IRELAND), world.key(VIRGINIA), world.key(MUMBAI));
    for mrk_aware in [false, true] {
        let multi = |generator: &str, others: &[&String]| match mrk_aware {
            false => MultiKeyring::kms(&world.clients, generator, others.iter().copied()).unwrap(),
            true => MultiKeyring::kms_mrk_aware(&world.clients, generator, others.iter().copied()).unwrap(),
        };
        let keyring = multi(&ireland, &[&virginia, &mumbai]);
        world.log.take();
        let message = seal(keyring);
        let calls = world.log.take();
        assert_eq!(calls[0], format!("generate in eu-west-1 for {ireland}"));
        assert_eq!(calls[1], format!("encrypt in us-east-1 for {virginia}"));
        assert_eq!(calls[2], format!("encrypt in ap-south-1 for {mumbai}"));
        let header = UnverifiedHeader::parse(&message).unwrap();
        let named: Vec<_> = header.encrypted_data_keys().iter().map(|key| key.provider_info.clone()).collect();
        assert_eq!(named, [&ireland, &virginia, &mumbai].map(|arn| arn.as_bytes().to_vec()));

        open(multi(&mumbai, &[]), &message).unwrap();
        assert_eq!(world.log.take(), [format!("decrypt in ap-south-1 for {mumbai}")]);
        assert_eq!(open(multi(&world.key(MUMBAI), &[]), &message), Err(ErrorKind::NoUsableDataKey));
        assert!(world.log.take().is_empty());
    }
}

#[test]
fn a_key_is_named_by_an_arn_since_that_tells_its_region() {
    let world = World::new();
    let arn = world.key(VIRGINIA);
    let id = arn.rsplit('/').next().unwrap();
    world.kms.region(VIRGINIA).unwrap().create_alias("alias/app", id).unwrap();
    for name in ["alias/app", id, "", "arn:aws:kms:us-east-1:000000000000:grant/1", "arn:aws:kms:us_east_1:0:key/1"] {
        invalid(MultiKeyring::kms(&world.clients, name, [&arn]));
        invalid(MultiKeyring::kms(&world.clients, &arn, [name]));
        invalid(MultiKeyring::kms_mrk_aware(&world.clients, name, [&arn]));
        invalid(MultiKeyring::kms_mrk_aware(&world.clients, &arn, [name]));
    }
    let alias = arn.replace(&format!("key/{id}"), "alias/app");
    let message = seal(MultiKeyring::kms(&world.clients, alias, [&arn; 0]).unwrap());
    open(MultiKeyring::kms(&world.clients, &arn, [&arn; 0]).unwrap(), &message).unwrap();
}

#[test]
fn only_the_mrk_aware_keyring_opens_what_a_replica_sealed() {
    let world = World::new();
    let ((primary, replica), other) = (world.multi_region_key(), world.key(IRELAND));
    let message = seal(MultiKeyring::kms(&world.clients, &primary, [&primary; 0]).unwrap());
    let strict = MultiKeyring::kms(&world.clients, &other, [&replica]).unwrap();
    assert_eq!(open(strict, &message), Err(ErrorKind::NoUsableDataKey));
    for (generator, child) in [(&other, &replica), (&replica, &other)] {
        world.log.take();
        open(MultiKeyring::kms_mrk_aware(&world.clients, generator, [child]).unwrap(), &message).unwrap();
        assert_eq!(world.log.take(), [format!("decrypt in eu-west-1 for {replica}")]);
    }
}

#[test]
fn a_multi_region_key_stands_in_a_keyring_once() {
    let world = World::new();
    let ((primary, replica), (other, other_replica)) = (world.multi_region_key(), world.multi_region_key());
    let single = world.key(VIRGINIA);
    let aware = |generator: &str, others: &[&str]| {
        MultiKeyring::kms_mrk_aware(&world.clients, generator, others.iter().copied())
    };
    // All duplicates are named, wherever they are in the list, and no others.
    let text = invalid(aware(&primary, &[&single, &other, &replica, &other_replica]));
    assert!([&primary, &replica, &other, &other_replica].iter().all(|arn| text.contains(*arn)), "{text}");
    assert!(!text.contains(&single), "{text}");
    let text = invalid(aware(&single, &[&primary, &other, &replica]));
    assert!(text.contains(&primary) && text.contains(&replica) && !text.contains(&other), "{text}");
    // To the specification, the same id in another account or partition is just as ambiguous.
    let elsewhere = replica.replace("000000000000", "111122223333");
    assert!(invalid(aware(&primary, &[&elsewhere])).contains(&elsewhere));
    assert!(world.log.take().is_empty(), "no client is made for an invalid keyring");

    invalid(aware(&primary, &[&primary]));
    aware(&primary, &[&other_replica, &single]).unwrap();
    aware(&single, &[&single]).unwrap();
    // An alias is not a multi-Region key, whatever its name.
    let alias = "arn:aws:kms:us-east-1:000000000000:alias/mrk-1";
    aware(alias, &[alias]).unwrap();
    MultiKeyring::kms(&world.clients, &primary, [&replica]).unwrap();
}

#[test]
fn discovery_asks_the_regions_in_order() {
    let world = World::new();
    let arn = world.key(IRELAND);
    let message = seal(MultiKeyring::kms(&world.clients, &arn, [&arn; 0]).unwrap());
    let discovery = |regions: &[&str]| MultiKeyring::kms_discovery(&world.clients, regions, &filter()).unwrap();
    let keyring = discovery(&[MUMBAI, IRELAND, VIRGINIA]);
    world.log.take();
    open(keyring, &message).unwrap();
    assert_eq!(world.log.take(), [MUMBAI, IRELAND].map(|region| format!("decrypt in {region} for {arn}")));
    assert_eq!(open(discovery(&[MUMBAI]), &message), Err(ErrorKind::KeyRefused));
    let error = Client::new(discovery(&[IRELAND])).encrypt(b"hello", &context()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    world.log.take();
    let others = DiscoveryFilter::new("aws", ["111122223333"]).unwrap();
    let keyring = MultiKeyring::kms_discovery(&world.clients, [IRELAND, VIRGINIA], &others).unwrap();
    assert_eq!(open(keyring, &message), Err(ErrorKind::NoUsableDataKey));
    assert!(world.log.take().is_empty());
}

#[test]
fn mrk_discovery_asks_each_region_for_what_may_be_there() {
    let world = World::new();
    let ((primary, replica), single) = (world.multi_region_key(), world.key(VIRGINIA));
    let message = seal(MultiKeyring::kms(&world.clients, &single, [&primary]).unwrap());
    let discovery = |regions: &[&str]| MultiKeyring::kms_mrk_discovery(&world.clients, regions, &filter()).unwrap();
    let keyring = discovery(&[MUMBAI, IRELAND]);
    world.log.take();
    open(keyring, &message).unwrap();
    let in_mumbai = primary.replace(VIRGINIA, MUMBAI);
    let asked = [format!("decrypt in ap-south-1 for {in_mumbai}"), format!("decrypt in eu-west-1 for {replica}")];
    assert_eq!(world.log.take(), asked);
    open(discovery(&[VIRGINIA]), &message).unwrap();
    assert_eq!(world.log.take(), [format!("decrypt in us-east-1 for {single}")]);
    let others = DiscoveryFilter::new("aws", ["111122223333"]).unwrap();
    let keyring = MultiKeyring::kms_mrk_discovery(&world.clients, [VIRGINIA, IRELAND], &others).unwrap();
    assert_eq!(open(keyring, &message), Err(ErrorKind::NoUsableDataKey));
    assert!(world.log.take().is_empty());
}

#[test]
fn discovery_needs_regions_and_their_names() {
    let world = World::new();
    invalid(MultiKeyring::kms_discovery(&world.clients, [""; 0], &filter()));
    invalid(MultiKeyring::kms_mrk_discovery(&world.clients, [""; 0], &filter()));
    for wrong in ["", "EU-WEST-1", "eu-west-1.example.com", "eu west", "eu/west"] {
        for regions in [[wrong, IRELAND], [IRELAND, wrong]] {
            invalid(MultiKeyring::kms_discovery(&world.clients, regions, &filter()));
            invalid(MultiKeyring::kms_mrk_discovery(&world.clients, regions, &filter()));
        }
        assert_eq!(world.clients.get(wrong).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(world.log.take(), ["made eu-west-1"]);
}

#[test]
fn grant_tokens_go_with_every_call() {
    let World { kms, log, clients } = World::new();
    let world = World { kms, log, clients: clients.grant_tokens(["token-1", "token-2"]) };
    let ((primary, replica), single) = (world.multi_region_key(), world.key(VIRGINIA));
    let message = seal(MultiKeyring::kms(&world.clients, &primary, [&single]).unwrap());
    open(MultiKeyring::kms(&world.clients, &single, [&single; 0]).unwrap(), &message).unwrap();
    seal(MultiKeyring::kms_mrk_aware(&world.clients, &single, [&primary]).unwrap());
    open(MultiKeyring::kms_mrk_aware(&world.clients, &replica, [&single; 0]).unwrap(), &message).unwrap();
    open(MultiKeyring::kms_discovery(&world.clients, [VIRGINIA], &filter()).unwrap(), &message).unwrap();
    open(MultiKeyring::kms_mrk_discovery(&world.clients, [IRELAND], &filter()).unwrap(), &message).unwrap();
    let log = world.log.take();
    let calls: Vec<_> = log.iter().filter(|line| !line.starts_with("made")).collect();
    assert_eq!(calls.len(), 8, "{calls:#?}");
    assert!(calls.iter().all(|call| call.ends_with(" with token-1 with token-2")), "{calls:#?}");
}
