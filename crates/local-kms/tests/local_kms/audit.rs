//! The audit log: one line for each call, written before the call takes effect, and without secrets.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use manila_core::testing::ready;
use manila_local_kms::{
    AuditLog, Clock, CreateGrant, CreateKey, Error, ErrorKind, GrantConstraint, GrantOperation, KeySpec, Kms,
    KmsRequest, LocalKms, LocalKmsBuilder, RootKey,
};
use serde_json::{Value, json};
use tracing::{Metadata, Subscriber};

use crate::access::{ALICE, BOB, MATERIAL, Method, OWNER, Scene, assert_refused, methods};
use crate::heard::{Heard, listen};
use crate::{Folder, TestClock, code, context, decrypt, described, encrypt};

/// A store in a file, its root key, and its log.
pub struct Logged(pub Folder);

impl Logged {
    pub fn new() -> Self {
        let folder = Folder::new();
        fs::create_dir(folder.0.path().join("logs")).unwrap();
        Self(folder)
    }

    pub fn log(&self) -> PathBuf {
        self.0.0.path().join("logs/audit.jsonl")
    }

    pub fn create(&self, options: impl FnOnce(AuditLog) -> AuditLog) -> LocalKms {
        self.create_with(LocalKms::builder(), options)
    }

    fn create_with(&self, builder: LocalKmsBuilder, options: impl FnOnce(AuditLog) -> AuditLog) -> LocalKms {
        let root = RootKey::create_file(self.0.root()).unwrap();
        builder.audit(options(AuditLog::file(self.log()))).create(self.0.store(), root).unwrap()
    }

    /// Opens another handle that also writes to the log.
    pub fn open(&self) -> LocalKms {
        let root = RootKey::open_file(self.0.root()).unwrap();
        LocalKms::builder().audit(AuditLog::file(self.log())).open(self.0.store(), root).unwrap()
    }

    pub fn text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the lines that `work` writes.
    fn lines_of(&self, work: impl FnOnce()) -> Vec<Value> {
        let before = self.lines().len();
        work();
        self.lines().split_off(before)
    }
}

/// The methods that do not replace the log's file.
fn methods_on_one_log() -> impl Iterator<Item = &'static Method> {
    methods().filter(|method| !["RotateAuditLog", "ReplaceLostAuditLog"].contains(&method.operation))
}

/// Passes each audit event on as one text, as it happens.
fn listener(tell: impl Fn(&str) + Send + Sync + 'static) -> impl Subscriber {
    Heard(move |what: &Metadata<'_>, fields: &[(&str, String)]| {
        let mut text = what.target().to_owned();
        for (field, value) in fields {
            write!(text, " {field}={value}").unwrap();
        }
        tell(&text);
    })
}

/// Returns the events that `tracing` receives while `work` runs.
fn heard(work: impl FnOnce()) -> Vec<String> {
    let texts = Arc::new(Mutex::new(Vec::new()));
    let keep = texts.clone();
    let subscriber = listener(move |text: &str| keep.lock().unwrap().push(text.to_owned()));
    listen(subscriber, work);
    std::mem::take(&mut *texts.lock().unwrap())
}

#[test]
fn every_call_and_every_refusal_becomes_one_event() {
    // The time cannot be set back in this scene.
    for method in methods_on_one_log().filter(|method| method.name != "set_time_back") {
        let logged = Logged::new();
        let scene = Scene::new(logged.create(|log| log), &logged.log());
        let stranger = scene.owner.as_principal(ALICE).unwrap();
        for (kms, principal, outcome) in [(&stranger, ALICE, "AccessDeniedException"), (&scene.owner, OWNER, "ok")] {
            let mut texts = Vec::new();
            let lines = logged.lines_of(|| {
                texts = heard(|| assert_eq!((method.call)(kms, &scene).is_ok(), outcome == "ok", "{}", method.name));
            });
            // A change of the root key also rotates keys, and writes one line for each.
            let lines: Vec<_> = lines.into_iter().filter(|line| line["principal"] != "manila").collect();
            texts.retain(|text| !text.contains(" principal=\"manila\""));
            let [line] = lines.as_slice() else { panic!("{}: {lines:?}", method.name) };
            let [text] = texts.as_slice() else { panic!("{}: {texts:?}", method.name) };
            for (field, expected) in [("principal", principal), ("operation", method.operation), ("outcome", outcome)] {
                assert_eq!(line[field], expected, "{}: {line}", method.name);
                assert!(text.contains(&format!(" {field}={expected:?}")), "{}: {text}", method.name);
            }
            assert!(text.starts_with("manila::audit"), "{text}");
            // A call that concerns a key names the key.
            let of_a_key = !method.actions.is_empty() || ["CreateKey", "RetireGrant"].contains(&method.operation);
            // A ReEncrypt that is refused at its first key does not reach the other.
            let arn = line["key"].as_str().or(line["source"].as_str());
            let named = arn.is_some_and(|arn| arn.starts_with("arn:aws:kms:local:000000000000:key/"));
            assert_eq!(named, of_a_key && (method.operation, outcome) != ("CreateKey", "AccessDeniedException"));
            let cryptographic = [
                "GenerateDataKey",
                "GenerateDataKeyPair",
                "GenerateDataKeyPairWithoutPlaintext",
                "GenerateDataKeyWithoutPlaintext",
                "Encrypt",
                "Decrypt",
                "ReEncrypt",
            ];
            assert_eq!(line.get("context").is_some(), cryptographic.contains(&method.operation), "{line}");
        }
        assert!(scene.owner.verify_audit_log(logged.log()).unwrap().is_intact(), "{}", method.name);
    }
}

#[test]
fn an_event_says_when_who_what_with_which_key_and_context_and_how_it_went() {
    let logged = Logged::new();
    let clock = TestClock::new();
    let kms = logged.create_with(LocalKms::builder().clock(clock.clone()), |log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    clock.advance_secs(61);
    let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
    let other = context(&[("tenant", "acme")]);
    ready(kms.decrypt(KmsRequest::new(key.arn(), &other), &ciphertext)).unwrap_err();
    kms.describe_key("alias/none").unwrap_err();
    kms.create_key(CreateKey::default().alias("nonsense")).unwrap_err();
    let lines = logged.lines();
    let of = |line: &Value, fields: &[&str]| -> Vec<String> { fields.iter().map(|f| line[f].to_string()).collect() };
    let (arn, time) = (format!("{:?}", key.arn()), "\"2026-01-01T00:01:01.000Z\"");
    let fields = ["seq", "time", "operation", "key", "context", "outcome"];
    assert_eq!(of(&lines[2], &fields), ["3", time, "\"Encrypt\"", &arn, r#"{"a":"b"}"#, "\"ok\""]);
    let refused = ["4", time, "\"Decrypt\"", &arn, r#"{"tenant":"acme"}"#, "\"InvalidCiphertextException\""];
    assert_eq!(of(&lines[3], &fields), refused);
    assert_eq!(of(&lines[4], &fields), ["5", time, "\"DescribeKey\"", "null", "null", "\"NotFoundException\""]);
    assert_eq!(lines[5]["outcome"], "InvalidAliasNameException");
    assert_eq!(lines.len(), 6);
}

#[test]
fn what_could_not_be_done_is_not_logged_as_done() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let taken = logged.0.0.path().join("taken");
    fs::write(&taken, "").unwrap();
    let lines = logged.lines_of(|| {
        assert_eq!(kms.backup(&taken).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(kms.verify_audit_log("no/such/file").unwrap_err().kind(), ErrorKind::Io);
    });
    let outcomes: Vec<_> = lines.iter().map(|line| (&line["operation"], &line["outcome"])).collect();
    assert_eq!(outcomes, [(&"Backup".into(), &"Io".into()), (&"VerifyAuditLog".into(), &"Io".into())]);

    // Nor is a line written for a call that another handle prevents.
    let outdated = logged.open();
    kms.change_root_key(RootKey::from_bytes(&[1; 32])).unwrap();
    let lines = logged.lines_of(|| {
        let error = outdated.change_root_key(RootKey::from_bytes(&[2; 32])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RootKeyChanged);
    });
    assert!(lines.iter().all(|line| line["outcome"] == "RootKeyChanged"), "{lines:?}");
    assert!(kms.verify_audit_log(logged.log()).unwrap().is_intact());
}

#[test]
fn what_time_does_to_keys_is_logged_when_it_is_done_and_once() {
    let logged = Logged::new();
    let clock = TestClock::new();
    let kms = logged.create_with(LocalKms::builder().clock(clock.clone()), |log| log);
    let gone = kms.create_key(CreateKey::default()).unwrap();
    let rotating = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
    let imported = kms.create_key(CreateKey::default().multi_region().imported()).unwrap();
    let expiry = clock.now() + Duration::from_secs(30 * 86_400);
    kms.import_key_material(imported.arn(), &MATERIAL, Some(expiry)).unwrap();
    kms.replicate_key(imported.arn(), "eu-west-1").unwrap();
    kms.schedule_key_deletion_in(gone.arn(), 7).unwrap();
    clock.advance_days(90);
    let lines = logged.lines_of(|| {
        // Overdue changes are made before the call, and stand even if the call is refused.
        kms.as_principal(ALICE).unwrap().create_key(CreateKey::default()).unwrap_err();
        kms.create_alias("nonsense", rotating.arn()).unwrap_err();
        encrypt(&kms, rotating.arn(), b"x").unwrap();
        encrypt(&kms, rotating.arn(), b"x").unwrap();
        kms.create_alias("alias/a", rotating.arn()).unwrap();
    });
    let told: Vec<_> = lines
        .iter()
        .map(|line| ["principal", "operation", "outcome"].map(|field| line[field].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ["manila", "DeleteKey", "ok"],
            ["manila", "DeleteExpiredKeyMaterial", "ok"],
            [ALICE, "CreateKey", "AccessDeniedException"],
            [OWNER, "CreateAlias", "InvalidAliasNameException"],
            ["manila", "RotateKey", "ok"],
            [OWNER, "Encrypt", "ok"],
            [OWNER, "Encrypt", "ok"],
            [OWNER, "CreateAlias", "ok"],
        ]
    );
    let keys = [&lines[0]["key"], &lines[1]["key"], &lines[4]["key"]];
    assert_eq!(keys, [gone.arn(), imported.arn(), rotating.arn()]);
    assert_eq!(lines[0]["commit"], lines[1]["commit"]);
    assert!(kms.verify_audit_log(logged.log()).unwrap().is_intact());
}

/// A subscriber may call the KMS: while it handles an event, no lock is held and no transaction is open. Otherwise this
/// test hangs.
#[test]
fn a_subscriber_may_call_the_kms() {
    for method in methods() {
        let logged = Logged::new();
        let scene = Scene::new(logged.create(|log| log), &logged.log());
        let told = Arc::new(AtomicU64::new(0));
        let (count, kms, asks) = (told.clone(), scene.owner.clone(), AtomicBool::new(true));
        let ask = move |text: &str| {
            // The subscriber's own calls are events too.
            if asks.swap(false, Ordering::SeqCst) {
                kms.create_key(CreateKey::default()).unwrap();
                kms.list_keys().unwrap();
                kms.purge().unwrap();
                assert!(text.starts_with("manila::audit"), "{text}");
                count.fetch_add(u64::from(!text.contains(" principal=\"manila\"")), Ordering::SeqCst);
                asks.store(true, Ordering::SeqCst);
            }
        };
        listen(listener(ask), || {
            for kms in [&scene.owner.as_principal(ALICE).unwrap(), &scene.owner] {
                let _ = (method.call)(kms, &scene);
            }
        });
        assert_eq!(told.load(Ordering::SeqCst), 2, "{}", method.name);
    }
}

/// The same for events of overdue changes that the KMS makes itself.
#[test]
fn a_subscriber_may_call_the_kms_when_something_was_overdue() {
    let clock = TestClock::new();
    let kms = LocalKms::builder().clock(clock.clone()).in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
    let gone = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion_in(gone.arn(), 30).unwrap();
    clock.advance_days(90);
    let told = Arc::new(AtomicU64::new(0));
    let (count, of, asks) = (told.clone(), kms.clone(), AtomicBool::new(true));
    let ask = move |_: &str| {
        if asks.swap(false, Ordering::SeqCst) {
            of.purge().unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            asks.store(true, Ordering::SeqCst);
        }
    };
    listen(listener(ask), || encrypt(&kms, key.arn(), b"x").unwrap());
    assert_eq!(told.load(Ordering::SeqCst), 3, "DeleteKey, RotateKey and Encrypt");
}

/// Describes everything that can be read from a store except its times, through a handle that keeps no log.
fn told(kms: &LocalKms, ciphertext: &[u8]) -> String {
    let mut told = String::new();
    for region in ["local", "eu-west-1", "eu-west-2"] {
        let kms = kms.region(region).unwrap();
        writeln!(told, "{:?}", kms.list_aliases().unwrap()).unwrap();
        for key in described(&kms) {
            let arn = key.arn();
            let tags = kms.list_key_tags(arn).unwrap();
            let (policy, grants) = (kms.key_policy(arn).unwrap(), kms.list_grants(arn).unwrap());
            let (status, rotations) = (kms.key_rotation_status(arn).unwrap(), kms.list_key_rotations(arn).unwrap());
            let opened = decrypt(&kms, arn, ciphertext).map_err(|error| code(&error).to_owned());
            writeln!(told, "{key:?} {tags:?} {policy} {grants:?} {status:?} {rotations:?} {opened:?}").unwrap();
        }
    }
    told
}

#[cfg(unix)]
#[test]
fn a_call_whose_line_cannot_be_written_fails_and_does_nothing() {
    let breaks: [fn(&Logged); 3] = [
        |logged| fs::remove_file(logged.log()).unwrap(),
        |logged| fs::remove_dir_all(logged.log().parent().unwrap()).unwrap(),
        |logged| {
            fs::rename(logged.log(), logged.log().with_extension("old")).unwrap();
            fs::copy(logged.log().with_extension("old"), logged.log()).unwrap();
        },
    ];
    for break_log in breaks {
        let logged = Logged::new();
        let report = logged.0.0.path().join("report");
        let scene = Scene::new(logged.create(|log| log), &report);
        fs::write(&scene.log, "").unwrap();
        let silent = logged.0.open().unwrap();
        let before = told(&silent, &scene.ciphertext);
        break_log(&logged);
        for method in methods_on_one_log() {
            for kms in [&scene.owner, &scene.owner.as_principal(ALICE).unwrap()] {
                let error = (method.call)(kms, &scene).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AuditFailed, "{}: {error}", method.name);
            }
            assert_eq!(told(&silent, &scene.ciphertext), before, "{}", method.name);
            assert!(!scene.folder.path().join("backup").exists());
        }
        assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 0, "nothing is left of the backup");
    }
}

#[test]
fn no_principal_is_too_long_for_a_line() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let user = |partition: usize| {
        // Quotation marks and backslashes take twice their length in a line.
        let path = "\"\\".repeat(255) + "/";
        format!("arn:aws-{}:iam::111122223333:user/{path}{}", "a".repeat(partition), "n".repeat(64))
    };
    for partition in [29, 1 << 20] {
        let error = kms.as_principal(&user(partition)).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "InvalidArnException"));
    }
    let longest = user(28);
    let refused = || assert_refused(&kms.as_principal(&longest).unwrap().describe_key(key.arn()).unwrap_err(), "");
    let [line] = logged.lines_of(refused).try_into().unwrap();
    assert_eq!((&line["principal"], &line["outcome"]), (&json!(longest), &json!("AccessDeniedException")));
}

#[cfg(unix)]
#[test]
fn a_purge_has_its_line_before_it_touches_the_file() {
    let logged = Logged::new();
    let clock = TestClock::new();
    let kms = logged.create_with(LocalKms::builder().clock(clock.clone()), |log| log);
    let gone = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion_in(gone.arn(), 7).unwrap();
    clock.advance_days(7);
    let aside = logged.log().with_extension("aside");
    fs::rename(logged.log(), &aside).unwrap();
    let before = fs::read(logged.0.store()).unwrap();
    assert_eq!(kms.purge().unwrap_err().kind(), ErrorKind::AuditFailed);
    assert!(fs::read(logged.0.store()).unwrap() == before);
    fs::rename(&aside, logged.log()).unwrap();
    let told = |work: &dyn Fn()| -> Vec<_> {
        let lines = logged.lines_of(work);
        lines
            .iter()
            .map(|line| ["operation", "outcome"].map(|field| line[field].to_string().replace('"', "")))
            .collect()
    };
    let purged = told(&|| assert_eq!(kms.purge().unwrap(), 1));
    assert_eq!(purged, [["Purge", "ok"], ["DeleteKey", "ok"]]);
    // One that fails afterwards has another line.
    drop(kms);
    let builder = LocalKms::builder().clock(clock).audit(AuditLog::file(logged.log()));
    let kms = builder.open_read_only(logged.0.store(), RootKey::open_file(logged.0.root()).unwrap()).unwrap();
    let failed = told(&|| assert_eq!(kms.purge().unwrap_err().kind(), ErrorKind::ReadOnly));
    assert_eq!(failed, [["Purge", "ok"], ["Purge", "ReadOnly"]]);
    assert!(kms.verify_audit_log(logged.log()).unwrap().is_intact());
}

#[cfg(unix)]
#[test]
fn calls_go_on_when_the_log_is_back_in_its_place() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let aside = logged.log().with_extension("aside");
    fs::rename(logged.log(), &aside).unwrap();
    assert_eq!(kms.create_key(CreateKey::default()).unwrap_err().kind(), ErrorKind::AuditFailed);
    fs::rename(&aside, logged.log()).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    assert_eq!(described(&kms), [key]);
    assert!(kms.verify_audit_log(logged.log()).unwrap().is_intact());
    // The log's file cannot be opened or written at all.
    for path in ["/dev/full", "/no/such/folder/log"] {
        let error = LocalKms::builder().audit(AuditLog::file(path)).in_memory().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{path}");
    }
}

#[cfg(unix)]
#[test]
fn at_best_effort_calls_go_on_without_their_lines() {
    for method in methods_on_one_log().filter(|method| !["checkpoint", "set_time_back"].contains(&method.name)) {
        let logged = Logged::new();
        let report = logged.0.0.path().join("report");
        let scene = Scene::new(logged.create(AuditLog::best_effort), &report);
        fs::write(&scene.log, "").unwrap();
        let lines = logged.lines().len();
        assert!(lines > 10, "it is written while it can be");
        let aside = logged.log().with_extension("aside");
        fs::rename(logged.log(), &aside).unwrap();
        let texts = heard(|| {
            (method.call)(&scene.owner, &scene).unwrap_or_else(|error| panic!("{}: {error}", method.name));
        });
        assert!(texts.iter().any(|text| text.contains("missing from the audit log")), "{texts:?}");
        fs::rename(&aside, logged.log()).unwrap();
        assert_eq!(logged.lines().len(), lines);
    }
}

/// The forms in which a secret could appear in a text.
fn forms(secret: &[u8]) -> [String; 4] {
    let mut hex = String::new();
    for byte in secret {
        write!(hex, "{byte:02x}").unwrap();
    }
    let list = format!("{secret:?}");
    let escaped = secret.escape_ascii().to_string();
    [hex, BASE64_STANDARD.encode(secret), list.trim_matches(['[', ']']).to_owned(), escaped]
}

#[test]
fn no_secret_is_in_a_line_or_in_tracing() {
    let logged = Logged::new();
    let secrets =
        Mutex::new(vec![MATERIAL.to_vec(), b"a plaintext to keep".to_vec(), b"a message to vouch for".to_vec()]);
    let texts = heard(|| {
        let kms = logged.create(|log| log);
        let keep = |secret: &[u8]| secrets.lock().unwrap().push(secret.to_vec());
        keep(&fs::read(logged.0.root()).unwrap());
        let key = kms.create_key(CreateKey::default()).unwrap();
        let mac_key = kms.create_key(CreateKey::default().spec(KeySpec::Hmac256).imported()).unwrap();
        kms.import_key_material(mac_key.arn(), &MATERIAL[1..], None).unwrap_err();
        kms.import_key_material(mac_key.arn(), &MATERIAL, None).unwrap();
        kms.import_key_material(mac_key.arn(), &[9; 32], None).unwrap_err();
        keep(&MATERIAL[1..]);
        keep(&[9; 32]);
        let pairs = context(&[("tenant", "acme")]);
        let request = KmsRequest::new(key.arn(), &pairs);
        let data_key = ready(kms.generate_data_key(request, 32)).unwrap();
        keep(data_key.plaintext.expose_secret());
        keep(&data_key.ciphertext);
        ready(kms.decrypt(request, &data_key.ciphertext)).unwrap();
        kms.re_encrypt(&data_key.ciphertext, request, request).unwrap();
        let ciphertext = ready(kms.encrypt(request, b"a plaintext to keep")).unwrap().ciphertext;
        ready(kms.decrypt(request, &ciphertext)).unwrap();
        ready(kms.decrypt(request, &ciphertext[1..])).unwrap_err();
        keep(&ciphertext[1..]);
        let mac = kms.generate_mac(mac_key.arn(), b"a message to vouch for").unwrap();
        kms.verify_mac(mac_key.arn(), b"a message to vouch for", &mac).unwrap();
        kms.verify_mac(mac_key.arn(), b"a message to vouch for", &[8; 32]).unwrap_err();
        keep(&mac);
        keep(&kms.generate_random(32).unwrap());
        kms.rotate_key_on_demand(key.arn()).unwrap();
        kms.change_root_key(RootKey::from_passphrase("a passphrase to keep")).unwrap();
        keep(b"a passphrase to keep");
        kms.describe_key(key.arn()).unwrap();
    });
    let text = logged.text() + &texts.join("\n");
    assert!(text.contains("acme") && text.contains("ChangeRootKey") && texts.len() > 15, "{text}");
    let secrets = secrets.into_inner().unwrap();
    assert_eq!(secrets.len(), 12);
    for secret in secrets {
        for form in forms(&secret) {
            assert!(!text.contains(&form), "{form}");
        }
    }
}

#[test]
fn context_values_can_be_reduced_to_their_keys() {
    let logged = Logged::new();
    let kms = logged.create(AuditLog::context_keys_only);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let pairs = context(&[("tenant", "acme"), ("stage", "test")]);
    let texts = heard(|| drop(ready(kms.encrypt(KmsRequest::new(key.arn(), &pairs), b"x")).unwrap()));
    assert_eq!(logged.lines()[2]["context"], serde_json::json!(["stage", "tenant"]));
    assert!(!(logged.text() + &texts.join("")).contains("acme"));
    assert!(kms.verify_audit_log(logged.log()).unwrap().is_intact());
}

#[test]
fn waiting_for_the_disk_is_a_choice_that_changes_no_line() {
    let logged = Logged::new();
    let kms = logged.create(AuditLog::sync_each_call);
    kms.create_key(CreateKey::default()).unwrap();
    let report = kms.verify_audit_log(logged.log()).unwrap();
    assert!(report.is_intact() && report.events() == 2, "{report:?}");
}

#[test]
fn a_store_in_memory_keeps_a_log_too() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let kms = LocalKms::builder().audit(AuditLog::file(&log)).in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    kms.as_principal(ALICE).unwrap().describe_key(key.arn()).unwrap_err();
    kms.checkpoint().unwrap();
    assert!(kms.verify_audit_log(&log).unwrap().is_intact());
    fs::write(&log, "").unwrap();
    assert_eq!(kms.describe_key(key.arn()).unwrap_err().kind(), ErrorKind::AuditFailed);
}

#[test]
fn re_encryption_is_logged_with_both_keys() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let [from, to] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
    let pairs = context(&[("a", "b")]);
    let ciphertext = encrypt(&kms, from.arn(), b"x").unwrap();
    let lines = logged.lines_of(|| {
        let request = |key| KmsRequest::new(key, &pairs);
        kms.re_encrypt(&ciphertext, request(from.arn()), request(to.arn())).unwrap();
        kms.disable_key(from.arn()).unwrap();
        kms.re_encrypt(&ciphertext, request(from.arn()), request(to.arn())).unwrap_err();
    });
    assert_eq!((&lines[0]["source"], &lines[0]["key"]), (&from.arn().into(), &to.arn().into()));
    assert_eq!(lines[1].get("source"), None, "{:?}", lines[1]);
    // Refused at the first key, which the line names; the second key was not reached.
    assert_eq!((&lines[2]["source"], lines[2].get("key")), (&from.arn().into(), None));
    assert_eq!(lines[2]["outcome"], "DisabledException");
}

/// Returns the `request` of the last line, and its outcome.
fn asked(logged: &Logged) -> (Value, String) {
    let line = logged.lines().pop().unwrap();
    (line["request"].clone(), line["outcome"].as_str().unwrap().to_owned())
}

#[test]
fn a_line_says_what_was_asked_for_and_what_was_made() -> Result<(), Error> {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let ok = |request: Value| assert_eq!(asked(&logged), (request, "ok".to_owned()));
    let response = || logged.lines().pop().unwrap()["response"].clone();
    let policy = crate::access::policy(&[crate::access::allow(OWNER, &["*"])]);

    let made = CreateKey::default().alias("alias/payments").description("for Eve").tag("stage", "hidden");
    let key = kms.create_key(made.rotate_every_days(90).multi_region().policy(&policy))?;
    let (mut request, _) = asked(&logged);
    let sha256 = request["policySha256"].take();
    assert_eq!(sha256.as_str().map(str::len), Some(64));
    assert_eq!(
        request,
        json!({"keySpec": "SYMMETRIC_DEFAULT", "origin": "AWS_KMS", "multiRegion": true, "aliasName": "alias/payments",
               "tagKeys": ["stage"], "rotationPeriodInDays": 90, "policySha256": null,
               "bypassPolicyLockoutSafetyCheck": false})
    );
    assert_eq!(response(), json!({"keyId": key.arn()}));
    kms.put_key_policy(key.arn(), &policy)?;
    ok(json!({"policySha256": sha256, "bypassPolicyLockoutSafetyCheck": false, "keyId": key.arn()}));

    let pairs = context(&[("tenant", "acme")]);
    let grant = CreateGrant::to(ALICE).operation(GrantOperation::Decrypt).operation(GrantOperation::Encrypt);
    let grant = grant.retiring_principal(BOB).constraint(GrantConstraint::Subset(pairs.clone()));
    let grant = kms.create_grant(key.arn(), grant)?.into_id();
    ok(json!({"granteePrincipal": ALICE, "retiringPrincipal": BOB, "operations": ["Decrypt", "Encrypt"],
              "encryptionContextSubset": {"tenant": "acme"}, "keyId": key.arn()}));
    assert_eq!(response(), json!({"grantId": grant}));
    kms.revoke_grant(key.arn(), &grant)?;
    ok(json!({"grantId": grant, "keyId": key.arn()}));

    let other = kms.create_key(CreateKey::default())?;
    kms.update_alias("alias/payments", other.arn())?;
    ok(json!({"aliasName": "alias/payments", "targetKeyId": other.arn()}));
    let line = logged.lines().pop().unwrap();
    assert_eq!((&line["source"], &line["key"]), (&json!(key.arn()), &json!(other.arn())));
    kms.delete_alias("alias/payments")?;
    ok(json!({"aliasName": "alias/payments"}));
    assert_eq!(logged.lines().pop().unwrap()["key"], other.arn());

    let replica = kms.replicate_key(key.arn(), "eu-west-1")?;
    ok(json!({"replicaRegion": "eu-west-1", "keyId": key.arn()}));
    assert_eq!(response(), json!({"keyId": replica.arn()}));
    kms.schedule_key_deletion_in(other.arn(), 7)?;
    ok(json!({"pendingWindowInDays": 7, "keyId": other.arn()}));
    assert!(response()["deletionDate"].as_str().unwrap().ends_with('Z'));
    kms.backup(logged.0.0.path().join("copy"))?;
    ok(json!({"path": logged.0.0.path().join("copy").to_str()}));

    let sealed = ready(kms.encrypt(KmsRequest::new(key.arn(), &pairs), b"x"))?.ciphertext;
    let to = context(&[("stage", "test")]);
    kms.re_encrypt(&sealed, KmsRequest::new(key.arn(), &pairs), KmsRequest::new(key.arn(), &to))?;
    ok(json!({"sourceKeyId": key.arn(), "sourceEncryptionContext": {"tenant": "acme"},
              "destinationKeyId": key.arn()}));
    assert_eq!(logged.lines().pop().unwrap()["context"], json!({"stage": "test"}));

    // The name is logged even if nothing has it.
    let missing = |name: &str| assert_eq!(asked(&logged), (json!({"keyId": name}), "NotFoundException".to_owned()));
    kms.describe_key("11111111-2222-3333-4444-555555555555").unwrap_err();
    missing("11111111-2222-3333-4444-555555555555");
    kms.as_principal(ALICE)?.describe_key("alias/guess").unwrap_err();
    missing("alias/guess");
    // A name of any length leaves room for the rest of its line.
    let long = "x".repeat(3 << 20);
    assert_eq!(code(&kms.describe_key(&long).unwrap_err()), "NotFoundException");
    assert_eq!(asked(&logged).0["keyId"], format!("{}... (3145728 bytes)", "x".repeat(4096)));
    // Values that the store seals are not logged.
    assert!(!logged.text().contains("Eve") && !logged.text().contains("hidden"));
    Ok(())
}

#[test]
fn contexts_in_requests_can_be_reduced_to_their_keys_too() -> Result<(), Error> {
    let logged = Logged::new();
    let kms = logged.create(AuditLog::context_keys_only);
    let key = kms.create_key(CreateKey::default())?;
    let pairs = context(&[("tenant", "acme")]);
    let request = KmsRequest::new(key.arn(), &pairs);
    let sealed = ready(kms.encrypt(request, b"x"))?.ciphertext;
    let texts = heard(|| {
        kms.re_encrypt(&sealed, request, request).unwrap();
        assert_eq!(asked(&logged).0["sourceEncryptionContext"], json!(["tenant"]));
        let grant = CreateGrant::to(ALICE).operation(GrantOperation::Decrypt);
        kms.create_grant(key.arn(), grant.constraint(GrantConstraint::Equals(pairs.clone()))).unwrap();
        assert_eq!(asked(&logged).0["encryptionContextEquals"], json!(["tenant"]));
    });
    assert!(!(logged.text() + &texts.join("")).contains("acme"));
    Ok(())
}

#[test]
fn opening_and_closing_are_logged() -> Result<(), Error> {
    let logged = Logged::new();
    let told = |line: &Value| (line["operation"].clone(), line["request"].clone(), line["outcome"].clone());
    let expected = |operation: &str, request: Value| (json!(operation), request, json!("ok"));
    let texts = heard(|| drop(logged.create(|log| log)));
    assert_eq!(texts.len(), 2, "{texts:?}");
    drop(logged.open());
    let backup = logged.0.0.path().join("copy");
    logged.0.open()?.backup(&backup)?;
    let root = RootKey::open_file(logged.0.root())?;
    let restored = logged.0.0.path().join("restored");
    drop(LocalKms::builder().audit(AuditLog::file(logged.log())).restore(&backup, &restored, root)?);
    let lines = logged.lines();
    let lines: Vec<_> = lines.iter().map(told).collect();
    assert_eq!(
        lines,
        [
            expected("OpenStore", json!({"mode": "create"})),
            (json!("CloseStore"), Value::Null, json!("ok")),
            expected("OpenStore", json!({"mode": "open"})),
            (json!("CloseStore"), Value::Null, json!("ok")),
            expected("OpenStore", json!({"mode": "restore"})),
            (json!("Restore"), Value::Null, json!("ok")),
            (json!("CloseStore"), Value::Null, json!("ok")),
        ]
    );
    let kms = LocalKms::open(restored, RootKey::open_file(logged.0.root())?)?;
    assert!(kms.verify_audit_log(logged.log())?.is_intact());
    // Without the root key a line cannot be authenticated, so only `tracing` receives the event.
    let before = logged.text();
    let texts = heard(|| {
        let log = AuditLog::file(logged.log());
        LocalKms::builder().audit(log).open(logged.0.store(), RootKey::from_bytes(&[1; 32])).unwrap_err();
    });
    assert_eq!(logged.text(), before);
    assert!(matches!(&texts[..], [text] if text.contains("OpenStore") && text.contains("Storage")), "{texts:?}");
    Ok(())
}

#[test]
fn nothing_in_a_line_steers_a_terminal() -> Result<(), Error> {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default())?;
    let text = "\u{9b}2J\u{9b}31mall is well\u{7f}\u{202e}\u{2066}\u{2028}\u{85}\u{e0041}";
    let pairs = context(&[("tenant", text)]);
    let texts = heard(|| {
        ready(kms.encrypt(KmsRequest::new(key.arn(), &pairs), b"x")).unwrap();
        kms.describe_key(text).unwrap_err();
    });
    for c in text.chars().filter(|c| !c.is_ascii_graphic() && *c != ' ') {
        assert!(!logged.text().contains(c) && !texts.join("").contains(c), "{c:?}");
    }
    let lines = logged.lines();
    assert_eq!((&lines[2]["context"]["tenant"], &lines[3]["request"]["keyId"]), (&json!(text), &json!(text)));
    assert!(kms.verify_audit_log(logged.log())?.is_intact());
    Ok(())
}
