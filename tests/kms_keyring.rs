//! KMS keyrings: the rules of each form, over a KMS that records its calls.

use std::sync::Arc;

use manila::keyring::{DiscoveryFilter, Keyring, KmsKeyring, MultiKeyring, RawAesKeyring};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::{ContextBinding, check_keyring, check_kms, check_two_keys, open_every_way, ready};
use manila::{AlgorithmSuite, Client, EncryptedDataKey, EncryptionContext, Error, ErrorKind, UnverifiedHeader};

#[path = "kms_keyring/fake_kms.rs"]
mod fake_kms;

use fake_kms::{CHINA, FakeKms, Fault, IRELAND, MRK_IRELAND, MRK_VIRGINIA, VIRGINIA, VIRGINIA_2, VIRGINIA_OF_OTHERS};

const ACCOUNT: &str = "111122223333";

/// Adds one data key with arbitrary fields to a message.
#[derive(Debug)]
struct Adds(EncryptedDataKey);

impl Adds {
    fn of(provider_id: &str, provider_info: &[u8]) -> Self {
        let (provider_id, provider_info) = (provider_id.to_owned(), provider_info.to_vec());
        Self(EncryptedDataKey { provider_id, provider_info, ciphertext: b"ciphertext of nobody".to_vec() })
    }

    fn key(arn: &str) -> Self {
        Self::of("aws-kms", arn.as_bytes())
    }
}

impl Keyring for Adds {
    fn on_encrypt<'a>(&'a self, _: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async { Ok(WrappedKeys { data_key: None, encrypted_data_keys: vec![self.0.clone()] }) })
    }

    fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async { Ok(UnwrapOutcome::default()) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

fn raw() -> RawAesKeyring {
    RawAesKeyring::new("tests", "raw", &[1; 32]).unwrap()
}

fn context() -> EncryptionContext {
    EncryptionContext::new([("tenant", "acme")]).unwrap()
}

fn filter() -> DiscoveryFilter {
    DiscoveryFilter::new("aws", [ACCOUNT]).unwrap()
}

/// Encrypts a message whose first data key is a raw one and whose others are those of `children`.
fn sealed(children: impl IntoIterator<Item = Box<dyn Keyring>>) -> Vec<u8> {
    let keyring = children.into_iter().fold(MultiKeyring::new(raw()), MultiKeyring::child);
    Client::new(keyring).encrypt(b"hello", &context()).unwrap()
}

/// Encrypts a message under keys of a KMS, in this order.
fn sealed_under(kms: &FakeKms, arns: &[&str]) -> Vec<u8> {
    let message = sealed(arns.iter().map(|arn| {
        let there = kms.elsewhere(if arn.contains("eu-west-1") { "eu-west-1" } else { "us-east-1" });
        Box::new(KmsKeyring::new(there, *arn).unwrap()) as Box<dyn Keyring>
    }));
    let header = UnverifiedHeader::parse(&message).unwrap();
    let named: Vec<_> = header.encrypted_data_keys()[1..].iter().map(EncryptedDataKey::key_name).collect();
    assert_eq!(named, arns);
    message
}

fn open(keyring: impl Keyring + 'static, message: &[u8]) -> Result<Vec<u8>, Error> {
    Client::new(keyring).decrypt(message, context()).map(|opened| opened.plaintext)
}

/// Asserts that a message does not open, and that the keyring made no call and gave no cause.
fn passes_over(kms: &FakeKms, keyring: KmsKeyring<FakeKms>, message: &[u8]) {
    let shown = format!("{keyring:?}");
    let error = open(keyring, message).unwrap_err();
    assert_eq!((error.kind(), error.causes().len()), (ErrorKind::NoUsableDataKey, 0), "{shown}: {error}");
    assert_eq!(kms.calls(), [""; 0], "{shown}");
}

/// Asserts that a message opens, and which keys the KMS was asked for.
fn opens_with(kms: &FakeKms, keyring: KmsKeyring<FakeKms>, message: &[u8], keys: &[&str]) {
    let shown = format!("{keyring:?}");
    assert_eq!(open(keyring, message).unwrap(), b"hello", "{shown}");
    let calls: Vec<_> = keys.iter().map(|key| format!("decrypt {key}")).collect();
    assert_eq!(kms.calls(), calls, "{shown}");
}

/// A constructor of a keyring for one key.
type Maker = fn(FakeKms, &str) -> Result<KmsKeyring<FakeKms>, Error>;

/// The strict form, the multi-Region aware one, and the one that only encrypts.
const MAKERS: [Maker; 3] = [
    |kms, key| KmsKeyring::new(kms, key),
    |kms, key| KmsKeyring::mrk_aware(kms, key),
    |kms, key| KmsKeyring::encrypt_only(kms, key),
];

/// Makes a keyring of each form that decrypts, each of which asks for `MRK_IRELAND` in its region.
fn all_forms(kms: &FakeKms) -> [KmsKeyring<FakeKms>; 6] {
    [
        KmsKeyring::new(kms.clone(), MRK_IRELAND).unwrap(),
        KmsKeyring::mrk_aware(kms.clone(), MRK_IRELAND).unwrap(),
        KmsKeyring::discovery(kms.clone(), filter()),
        KmsKeyring::discovery_any_account(kms.clone()),
        KmsKeyring::mrk_discovery(kms.clone(), "eu-west-1", filter()).unwrap(),
        KmsKeyring::mrk_discovery_any_account(kms.clone(), "eu-west-1").unwrap(),
    ]
}

#[test]
fn a_strict_keyring_asks_for_its_own_arn_alone() {
    let kms = FakeKms::new("us-east-1");
    let message = sealed_under(&kms, &[VIRGINIA, IRELAND, VIRGINIA_2, MRK_IRELAND]);
    let strict = |arn: &str| KmsKeyring::new(kms.clone(), arn).unwrap();
    opens_with(&kms, strict(VIRGINIA), &message, &[VIRGINIA]);
    opens_with(&kms, strict(VIRGINIA_2), &message, &[VIRGINIA_2]);
    for other in [VIRGINIA_OF_OTHERS, MRK_VIRGINIA, "arn:aws:kms:us-east-1:111122223333:key/11111"] {
        passes_over(&kms, strict(other), &message);
    }
    let same_arn_elsewhere = sealed([Box::new(Adds::of("aws-kms-2", VIRGINIA.as_bytes())) as Box<dyn Keyring>]);
    passes_over(&kms, strict(VIRGINIA), &same_arn_elsewhere);
}

#[test]
fn a_keyring_seals_with_its_own_key() {
    let kms = FakeKms::new("eu-west-1");
    let [strict, mrk_aware, encrypt_only] = MAKERS;
    for (make, names) in
        [(strict, &[MRK_IRELAND][..]), (mrk_aware, &[MRK_IRELAND]), (encrypt_only, &[MRK_IRELAND, "mrk-7777"])]
    {
        let make = |kms, key| make(kms, key).unwrap();
        for key in names {
            let message = Client::new(make(kms.clone(), key)).encrypt(b"hello", &context()).unwrap();
            assert_eq!(kms.calls(), [format!("generate {key}")]);
            let header = UnverifiedHeader::parse(&message).unwrap();
            let [data_key] = header.encrypted_data_keys() else { panic!("one data key") };
            assert_eq!((data_key.provider_id.as_str(), &*data_key.key_name()), ("aws-kms", MRK_IRELAND));
            let child = MultiKeyring::new(raw()).child(make(kms.clone(), key));
            let message = Client::new(child).encrypt(b"hello", &context()).unwrap();
            assert_eq!(kms.calls(), [format!("encrypt {key}")]);
            opens_with(&kms, KmsKeyring::new(kms.clone(), MRK_IRELAND).unwrap(), &message, &[MRK_IRELAND]);
        }
        for (fault, suite) in [
            (Fault::TellsNoArn, AlgorithmSuite::Aes256GcmHkdfSha512CommitKey),
            (Fault::MakesLongDataKeys, AlgorithmSuite::Aes128GcmHkdfSha256),
        ] {
            let materials = EncryptionMaterials::new(suite, &context()).unwrap();
            let error = ready(make(kms.with(fault), MRK_IRELAND).on_encrypt(&materials)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{fault:?}: {error}");
        }
    }
}

#[test]
fn what_the_kms_refuses_is_not_sealed() {
    let kms = FakeKms::new("us-east-1");
    let refused = || KmsKeyring::new(kms.clone(), MRK_IRELAND).unwrap();
    for keyring in [MultiKeyring::new(refused()).child(raw()), MultiKeyring::new(raw()).child(refused())] {
        let error = Client::new(keyring).encrypt(b"hello", &context()).unwrap_err();
        assert!(error.kind() == ErrorKind::KeyRefused && error.to_string().contains("no such key"), "{error:?}");
    }
    assert_eq!(kms.calls(), [format!("generate {MRK_IRELAND}"), format!("encrypt {MRK_IRELAND}")]);
}

#[test]
fn keys_are_named_by_arn_id_or_alias() {
    let kms = FakeKms::new("us-east-1");
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let wrong = [
        "",
        "my key",
        "my-app",
        "app",
        "key:1",
        "key/1",
        &id[1..],
        &format!("{id}0"),
        "1234abcd12ab34cd56ef1234567890ab",
        "1234abcd-12ab-34cd-56ef-1234567890ag",
        "mrk-",
        "mrk-app",
        "alias/",
        "alias/my key",
        "alias/ä",
        "Alias/app",
        "arn:aws:s3:us-east-1:111122223333:key/1",
        "arn:aws:kms:us-east-1:111122223333:key/",
    ];
    for wrong in wrong {
        for make in MAKERS {
            let error = make(kms.clone(), wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
            assert!(error.to_string().contains("is not a valid"), "{error}");
        }
    }
    let alias_arn = "arn:aws:kms:us-east-1:111122223333:alias/app";
    let mrk = "mrk-1234abcd12ab34cd56ef1234567890ab";
    for name in [id, mrk, "alias/app", "alias/aws/s3", "alias/a_b-C/9", alias_arn, VIRGINIA] {
        KmsKeyring::encrypt_only(kms.clone(), name).unwrap();
        // Whatever is not the ARN of a key would encrypt what this keyring could not decrypt.
        for make in &MAKERS[..2] {
            match make(kms.clone(), name) {
                Ok(_) => assert_eq!(name, VIRGINIA),
                Err(error) => assert!(error.to_string().contains("KmsKeyring::encrypt_only"), "{error}"),
            }
        }
    }
    assert_eq!(kms.calls(), [""; 0]);
}

#[test]
fn what_is_named_by_id_or_alias_cannot_open() {
    let kms = FakeKms::new("us-east-1");
    let message = sealed_under(&kms, &[MRK_VIRGINIA]);
    let alias_arn = "arn:aws:kms:us-east-1:111122223333:alias/mrk-7777";
    for name in ["mrk-7777", "alias/mrk-7777", alias_arn] {
        let error = open(KmsKeyring::encrypt_only(kms.clone(), name).unwrap(), &message).unwrap_err();
        assert_eq!((error.kind(), error.causes().len()), (ErrorKind::InvalidInput, 1), "{name}");
        assert!(error.to_string().contains("KmsKeyring::new and the ARN of the key"), "{error}");
        assert_eq!(kms.calls(), [""; 0], "{name}");
    }
}

#[test]
fn an_mrk_aware_keyring_opens_what_a_replica_sealed_and_asks_for_its_own_key() {
    let virginia = FakeKms::new("us-east-1");
    let ireland = virginia.elsewhere("eu-west-1");
    let message = sealed_under(&virginia, &[MRK_VIRGINIA]);
    opens_with(&ireland, KmsKeyring::mrk_aware(ireland.clone(), MRK_IRELAND).unwrap(), &message, &[MRK_IRELAND]);
    opens_with(&virginia, KmsKeyring::mrk_aware(virginia.clone(), MRK_VIRGINIA).unwrap(), &message, &[MRK_VIRGINIA]);
    passes_over(&ireland, KmsKeyring::new(ireland.clone(), MRK_IRELAND).unwrap(), &message);
}

#[test]
fn an_mrk_aware_keyring_takes_another_region_of_an_mrk_key_and_nothing_else() {
    let kms = FakeKms::new("eu-west-1");
    let cases = [
        (MRK_IRELAND, "arn:aws-cn:kms:us-east-1:111122223333:key/mrk-7777"),
        (MRK_IRELAND, "arn:aws:kms:us-east-1:444455556666:key/mrk-7777"),
        (MRK_IRELAND, "arn:aws:kms:us-east-1:111122223333:key/mrk-77777"),
        (MRK_IRELAND, "arn:aws:kms:us-east-1:111122223333:key/7777"),
        (MRK_IRELAND, "arn:aws:kms:eu-west-1:444455556666:key/mrk-7777"),
        // A key of a single region is matched exactly, even if another region has its id.
        (IRELAND, VIRGINIA),
        (IRELAND, "arn:aws:kms:us-east-1:111122223333:key/mrk-1111"),
    ];
    for (own, named) in cases {
        let message = sealed([Box::new(Adds::key(named)) as Box<dyn Keyring>]);
        passes_over(&kms, KmsKeyring::mrk_aware(kms.clone(), own).unwrap(), &message);
    }
}

#[test]
fn a_discovery_keyring_asks_for_the_keys_that_the_filter_admits() {
    let kms = FakeKms::new("us-east-1");
    let discovery = |partition: &str, accounts: &[&str]| {
        KmsKeyring::discovery(kms.clone(), DiscoveryFilter::new(partition, accounts.iter().copied()).unwrap())
    };
    let message = sealed_under(&kms, &[VIRGINIA_OF_OTHERS, CHINA, VIRGINIA_2, VIRGINIA]);
    opens_with(&kms, discovery("aws", &[ACCOUNT]), &message, &[VIRGINIA_2]);
    opens_with(&kms, discovery("aws", &["444455556666"]), &message, &[VIRGINIA_OF_OTHERS]);
    opens_with(&kms, discovery("aws", &["444455556666", ACCOUNT]), &message, &[VIRGINIA_OF_OTHERS]);
    opens_with(&kms, discovery("aws-cn", &[ACCOUNT]), &message, &[CHINA]);
    passes_over(&kms, discovery("aws", &["111122223334", "1111222233330", "11112222333"]), &message);
    passes_over(&kms, discovery("aws-us-gov", &[ACCOUNT, "444455556666"]), &message);
    // Does not apply to a KMS without regions: multi-Region keys are asked for by the name in the message.
    let of_replica = sealed_under(&kms, &[MRK_IRELAND]);
    let error = open(discovery("aws", &[ACCOUNT]), &of_replica).unwrap_err();
    assert_eq!((error.kind(), error.causes().len()), (ErrorKind::KeyRefused, 1));
    assert_eq!(kms.calls(), [format!("decrypt {MRK_IRELAND}")]);
}

#[test]
fn without_a_filter_keys_of_any_account_are_asked_for() {
    let kms = FakeKms::new("us-east-1");
    for arn in [VIRGINIA, VIRGINIA_OF_OTHERS, CHINA] {
        let message = sealed_under(&kms, &[arn]);
        opens_with(&kms, KmsKeyring::discovery_any_account(kms.clone()), &message, &[arn]);
        let there = KmsKeyring::mrk_discovery_any_account(kms.clone(), "us-east-1").unwrap();
        opens_with(&kms, there, &message, &[arn]);
    }
}

#[test]
fn parts_of_an_arn_that_no_filter_could_name_are_passed_over() {
    let kms = FakeKms::new("us-east-1");
    let odd = [
        "arn:AWS:kms:us-east-1:111122223333:key/mrk-1",
        "arn:aws:kms:us-east-1.example.com/:111122223333:key/mrk-1",
        "arn:aws:kms:us east 1:111122223333:key/mrk-1",
        "arn:aws:kms:us-east-1:1111\u{661}:key/mrk-1",
        "arn:a\nws:kms:us-east-1:111122223333:key/mrk-1",
    ];
    for arn in odd {
        let message = sealed([Box::new(Adds::key(arn)) as Box<dyn Keyring>]);
        passes_over(&kms, KmsKeyring::discovery_any_account(kms.clone()), &message);
        passes_over(&kms, KmsKeyring::discovery(kms.clone(), filter()), &message);
        passes_over(&kms, KmsKeyring::mrk_discovery_any_account(kms.clone(), "us-east-1").unwrap(), &message);
    }
}

#[test]
fn ids_that_no_key_of_aws_has_are_passed_over() {
    let kms = FakeKms::new("us-east-1");
    // A KMS over HTTP would put them in a path, a query or a header line. The ids of multi-Region keys are tried too,
    // because those are looked up in other regions.
    for id in [
        "../../../admin/keys",
        "..",
        "x/decrypt",
        "x?account=999999999999",
        "x#y",
        "x%2f..",
        "x y",
        "x\r\nX-Injected: 1",
        "x\u{0}",
        "x:y",
        "x\\y",
        "\u{ff41}",
        "\u{202e}x",
    ] {
        for id in [id.to_owned(), format!("mrk-{id}")] {
            let arn = format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{id}");
            let message = sealed([Box::new(Adds::key(&arn)) as Box<dyn Keyring>]);
            passes_over(&kms, KmsKeyring::discovery_any_account(kms.clone()), &message);
            passes_over(&kms, KmsKeyring::discovery(kms.clone(), filter()), &message);
            passes_over(&kms, KmsKeyring::mrk_discovery_any_account(kms.clone(), "us-east-1").unwrap(), &message);
            passes_over(&kms, KmsKeyring::mrk_discovery(kms.clone(), "us-east-1", filter()).unwrap(), &message);
        }
    }
}

#[test]
fn an_mrk_discovery_keyring_asks_for_multi_region_keys_in_its_own_region() {
    let virginia = FakeKms::new("us-east-1");
    let ireland = virginia.elsewhere("eu-west-1");
    let discovery = |filter| KmsKeyring::mrk_discovery(ireland.clone(), "eu-west-1", filter).unwrap();
    opens_with(&ireland, discovery(filter()), &sealed_under(&virginia, &[MRK_VIRGINIA]), &[MRK_IRELAND]);
    opens_with(&ireland, discovery(filter()), &sealed_under(&virginia, &[MRK_IRELAND]), &[MRK_IRELAND]);
    opens_with(&ireland, discovery(filter()), &sealed_under(&virginia, &[IRELAND]), &[IRELAND]);
    // Ireland has a key with that id too, but it is a different one.
    passes_over(&ireland, discovery(filter()), &sealed_under(&virginia, &[VIRGINIA]));
    let all = sealed_under(&virginia, &[VIRGINIA, MRK_VIRGINIA, MRK_IRELAND, IRELAND]);
    opens_with(&ireland, discovery(filter()), &all, &[MRK_IRELAND]);
    // The filter applies to multi-Region keys too.
    for filter in [DiscoveryFilter::new("aws-cn", [ACCOUNT]), DiscoveryFilter::new("aws", ["444455556666"])] {
        passes_over(&ireland, discovery(filter.unwrap()), &all);
    }
}

#[test]
fn filters_and_regions_are_checked() {
    let refused = |partition: &str, accounts: &[&str]| {
        let error = DiscoveryFilter::new(partition, accounts.iter().copied()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{partition:?} {accounts:?}");
    };
    for odd in ["", "AWS", "aws:kms", "a_ws", " aws", "*", "aws\n", "\u{e4}ws", "aws/"] {
        refused(odd, &[ACCOUNT]);
        refused("aws", &[ACCOUNT, odd]);
        let error = KmsKeyring::mrk_discovery(FakeKms::new("us-east-1"), odd, filter()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{odd:?}");
        let error = KmsKeyring::mrk_discovery_any_account(FakeKms::new("us-east-1"), odd).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{odd:?}");
    }
    refused("aws", &[]);
    // Accounts are a set.
    let again = DiscoveryFilter::new("aws", ["2", "1", "2"]).unwrap();
    assert_eq!(again, DiscoveryFilter::new("aws", ["1", "2"]).unwrap());
    assert!(DiscoveryFilter::new("vault", ["team-a"]).is_ok());
}

#[test]
fn discovery_keyrings_cannot_seal() {
    let kms = FakeKms::new("eu-west-1");
    for keyring in all_forms(&kms).into_iter().skip(2) {
        let shown = format!("{keyring:?}");
        let keyring = Arc::new(keyring);
        let as_child = MultiKeyring::new(raw()).child(keyring.clone());
        for error in [
            Client::new(keyring).encrypt(b"", &context()).unwrap_err(),
            Client::new(as_child).encrypt(b"", &context()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{shown}");
            assert!(error.to_string().contains("seal with KmsKeyring::new"), "{error}");
        }
        assert_eq!(kms.calls(), [""; 0], "{shown}");
    }
}

#[test]
fn every_form_checks_what_the_kms_answers() {
    let kms = FakeKms::new("eu-west-1");
    // Two data keys, so that the keyring goes on from the first to the second.
    let message = sealed_under(&kms, &[MRK_IRELAND, MRK_IRELAND]);
    let cases = [(Fault::TellsOtherArn, ErrorKind::Internal), (Fault::CutsPlaintext, ErrorKind::NoUsableDataKey)];
    for (fault, kind) in cases {
        let faulty = kms.with(fault);
        for keyring in all_forms(&faulty) {
            let shown = format!("{keyring:?}");
            let error = open(keyring, &message).unwrap_err();
            assert_eq!((error.kind(), error.causes().len()), (kind, 2), "{shown}: {error}");
            assert_eq!(faulty.calls(), vec![format!("decrypt {MRK_IRELAND}"); 2], "{shown}");
        }
    }
}

#[test]
fn after_an_error_the_next_matching_data_key_is_tried() {
    let kms = FakeKms::new("eu-west-1");
    let refused = || Box::new(Adds::key(MRK_IRELAND)) as Box<dyn Keyring>;
    let good = || Box::new(KmsKeyring::new(kms.clone(), MRK_IRELAND).unwrap()) as Box<dyn Keyring>;
    let opens = sealed([refused(), refused(), good(), refused()]);
    let fails = sealed([refused(), refused(), refused()]);
    kms.calls();
    for (one, other) in all_forms(&kms).into_iter().zip(all_forms(&kms)) {
        opens_with(&kms, one, &opens, &[MRK_IRELAND; 3]);
        let error = open(other, &fails).unwrap_err();
        assert_eq!((error.kind(), error.causes().len()), (ErrorKind::KeyRefused, 3), "{error}");
        for cause in error.causes() {
            assert!(
                cause.to_string().contains(MRK_IRELAND) && cause.to_string().contains("not a ciphertext"),
                "{cause}"
            );
        }
        kms.calls();
    }
}

#[test]
fn the_whole_context_goes_to_the_kms() {
    let kms = FakeKms::new("eu-west-1");
    let message = sealed_under(&kms, &[MRK_IRELAND]);
    for keyring in all_forms(&kms) {
        let client = Client::new(keyring);
        assert_eq!(open_every_way(&client, &message, &context().into()).unwrap().plaintext, b"hello");
        let more = EncryptionContext::new([("tenant", "acme"), ("stage", "prod")]).unwrap();
        let error = client.decrypt(&message, &more).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ContextMismatch);
        assert!(format!("{error:?}").contains("another context"), "{error:?}");
    }
}

#[test]
fn a_malformed_arn_fails_its_keyring_wherever_it_stands_and_no_other() {
    let kms = FakeKms::new("eu-west-1");
    let malformed: [&[u8]; 7] = [
        b"",
        b"mrk-7777",
        b"arn:aws:kms:eu-west-1:111122223333:alias/mrk-7777",
        b"arn:aws:kms:eu-west-1:111122223333:key/",
        b"arn:aws:kms::111122223333:key/mrk-7777",
        b"arn:aws:s3:eu-west-1:111122223333:key/mrk-7777",
        b"arn:aws:kms:eu-west-1:111122223333:key/mrk-7777\xff",
    ];
    for malformed in malformed {
        let bad = |provider: &str| Box::new(Adds::of(provider, malformed)) as Box<dyn Keyring>;
        let good = || Box::new(KmsKeyring::new(kms.clone(), MRK_IRELAND).unwrap()) as Box<dyn Keyring>;
        for message in [sealed([bad("aws-kms"), good()]), sealed([good(), bad("aws-kms")])] {
            kms.calls();
            for keyring in all_forms(&kms) {
                let shown = format!("{keyring:?} {:?}", String::from_utf8_lossy(malformed));
                let keyring = Arc::new(keyring);
                let error = open(keyring.clone(), &message).unwrap_err();
                let [cause] = error.causes() else { panic!("{shown}: {error}") };
                assert_eq!(cause.kind(), ErrorKind::Malformed, "{shown}: {error}");
                let around = MultiKeyring::without_generator(keyring).child(raw());
                assert_eq!(open(around, &message).unwrap(), b"hello", "{shown}");
                assert_eq!(kms.calls(), [""; 0], "{shown}");
            }
        }
        // A data key of another provider may have any name.
        let message = sealed([bad("aws-kms-hierarchy"), good()]);
        kms.calls();
        for keyring in all_forms(&kms) {
            opens_with(&kms, keyring, &message, &[MRK_IRELAND]);
        }
    }
}

#[test]
fn a_kms_and_its_keyrings_keep_the_contracts() {
    let virginia = FakeKms::new("us-east-1");
    for key in [VIRGINIA, "1111", MRK_VIRGINIA] {
        ready(check_kms(&virginia, key)).unwrap();
    }
    ready(check_two_keys(&virginia, VIRGINIA, VIRGINIA_2)).unwrap();
    ready(check_keyring(&KmsKeyring::new(virginia.clone(), VIRGINIA).unwrap(), ContextBinding::DataKey)).unwrap();
    ready(check_keyring(&KmsKeyring::mrk_aware(virginia, MRK_VIRGINIA).unwrap(), ContextBinding::DataKey)).unwrap();
}

#[test]
fn the_contract_of_a_kms_catches_what_breaks_it() {
    let kms = FakeKms::new("us-east-1");
    let faults = [
        (Fault::IgnoresContext, "bound to the encryption context"),
        (Fault::FoldsContext, "bound to the encryption context"),
        (Fault::TakesAnyLength, "over 4096 bytes"),
        (Fault::MakesLongDataKeys, "not as long"),
        (Fault::TellsOtherArn, "ARN that was asked for"),
        (Fault::TellsNoArn, "return the ARN of the key"),
        (Fault::CutsPlaintext, "does not decrypt"),
        (Fault::UnknownKeyIsUnavailable, "a key that does not exist"),
        (Fault::BadCiphertextIsInternal, "wrong error"),
    ];
    for (fault, says) in faults {
        let error = ready(check_kms(&kms.with(fault), VIRGINIA)).unwrap_err();
        assert!(error.kind() == ErrorKind::Internal && error.to_string().contains(says), "{fault:?}: {error}");
    }
    let error = ready(check_two_keys(&kms.with(Fault::IgnoresKey), VIRGINIA, VIRGINIA_2)).unwrap_err();
    assert!(error.to_string().contains("ciphertext of another key"), "{error}");
    assert!(ready(check_two_keys(&kms, VIRGINIA, "1111")).is_err(), "one key by two names");
}

#[cfg(feature = "local-kms")]
#[test]
fn every_form_works_over_the_embedded_kms() {
    use manila::local_kms::{CreateKey, LocalKms};

    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let other = kms.create_key(CreateKey::default()).unwrap();
    ready(check_two_keys(&kms, key.arn(), other.key_id())).unwrap();
    let filter = || DiscoveryFilter::new("aws", ["000000000000"]).unwrap();
    let keyrings = [
        KmsKeyring::new(kms.clone(), key.arn()).unwrap(),
        KmsKeyring::mrk_aware(kms.clone(), key.arn()).unwrap(),
        KmsKeyring::discovery(kms.clone(), filter()),
        KmsKeyring::discovery_any_account(kms.clone()),
        KmsKeyring::mrk_discovery(kms.clone(), "local", filter()).unwrap(),
    ];
    let sealer = Client::new(KmsKeyring::encrypt_only(kms.clone(), key.key_id()).unwrap());
    let message = sealer.encrypt(b"hello", &context()).unwrap();
    for keyring in keyrings {
        let client = Client::new(keyring);
        assert_eq!(open_every_way(&client, &message, &context().into()).unwrap().plaintext, b"hello");
    }
    for elsewhere in [
        KmsKeyring::mrk_discovery(kms.clone(), "eu-west-1", filter()),
        KmsKeyring::mrk_discovery_any_account(kms, "eu-west-1"),
    ] {
        let error = elsewhere.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("local"), "{error}");
    }
}
