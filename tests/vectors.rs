//! Messages of other implementations, good and bad, in the layout of `tests/vectors/README.md`.
//!
//! Runs the copy in `tests/vectors`, or instead every folder named in `MANILA_VECTORS` (colon-separated). A case that
//! needs a feature that is not built yet is counted as not run, never as passed. Each message is read both whole and as
//! a stream, and the results must agree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manila::cmm::RequiredContextCmm;
use manila::keyring::{Keyring, KmsKeyring, MultiKeyring, RawAesKeyring};
use manila::kms::{GeneratedDataKey, Kms, KmsCiphertext, KmsPlaintext, KmsRequest};
use manila::materials::KeyFuture;
use manila::testing::{FixedKeyKeyring, check_signature, derive_key, open_every_way};
use manila::{
    AlgorithmSuite, Client, ClientBuilder, CommitmentPolicy, ContentType, EncryptionContext, Error, ErrorKind,
    ExpectedContext, HeaderFields, UnverifiedHeader,
};
use serde_json::Value;

/// The variable that names folders of vectors, separated by colons.
const FOLDERS: &str = "MANILA_VECTORS";

const PUBLIC_KEY: &str = "aws-crypto-public-key";

/// Keyrings that are not built yet. All other cases are run.
const NOT_BUILT: &[&str] = &[
    "raw-ecdh",
    "hierarchical",
    #[cfg(not(feature = "aws-lc"))]
    "raw-rsa",
];

/// Cases where the specification is silent or contradicts every peer: the end of the case's name, and whether it works
/// here. `docs/conformance.md` gives the reasons.
const DECIDED: &[(&str, bool)] = &[
    ("context-unsorted", true),
    ("context-utf16-order", true),
    ("context-length-2-count-0", true),
    ("edk-empty-fields-first", true),
    ("edk-empty-fields-last", true),
    ("frame-iv-random", true),
    ("frame-iv-repeated", true),
    ("block-iv-random", true),
    ("frame-iv-ignored", false),
    ("frame-length-0-with-empty-final", false),
    ("frame-length-0x7fffffff", false),
    ("frame-length-0x80000000", false),
    ("frame-length-0xfffffffe", false),
    ("frame-length-0xffffffff", false),
    ("public-key-base64url", false),
    ("public-key-der", false),
    ("public-key-uncompressed", false),
    ("public-key-with-spaces", false),
    ("encrypt-reserved-prefix", false),
    ("encrypt-frame-length-0", false),
    ("encrypt-frame-length-2-31", true),
    ("encrypt-frame-length-2-32-less-1", true),
    ("encrypt-aes-name-empty", true),
    ("encrypt-aes-namespace-empty", true),
];

/// The outcome of a case.
enum Outcome {
    Passed,
    Failed(String),
    NotRun,
    /// The result of this implementation, where the specification is silent.
    Unspecified(Result<(), Error>),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    not_run: BTreeMap<String, usize>,
}

fn main() -> ExitCode {
    let mut tally = Tally::default();
    for folder in folders() {
        println!("vectors in {}", folder.display());
        let set = VectorSet::load(&folder);
        for case in set.manifest["tests"].as_array().expect("tests") {
            tally.count(case, set.run(case));
        }
        for case in set.manifest["encrypt_cases"].as_array().unwrap_or(&Vec::new()) {
            tally.count(case, set.run_encrypt(case));
        }
    }
    tally.report()
}

fn folders() -> Vec<PathBuf> {
    match std::env::var_os(FOLDERS) {
        Some(folders) => std::env::split_paths(&folders).collect(),
        None => vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")],
    }
}

impl Tally {
    fn count(&mut self, case: &Value, outcome: Outcome) {
        let id = text(&case["id"]);
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(why) => {
                self.failed += 1;
                println!("FAILED {id}: {why}");
            }
            Outcome::Unspecified(done) => {
                let decided = DECIDED.iter().find(|(end, _)| id.ends_with(end)).map(|(_, works)| *works);
                let what =
                    done.as_ref().map_or_else(|error| format!("{:?}: {error}", error.kind()), |()| "ok".to_owned());
                println!("unspecified {id}: {what}; peers: {}", case["peer_verdict"]);
                if decided == Some(done.is_ok()) {
                    self.passed += 1;
                } else {
                    self.failed += 1;
                    println!("FAILED {id}: decided is {decided:?}");
                }
            }
            Outcome::NotRun => {
                let category = case["category"].as_str().unwrap_or("encrypt");
                *self.not_run.entry(category.to_owned()).or_default() += 1;
            }
        }
    }

    fn report(self) -> ExitCode {
        let not_run: usize = self.not_run.values().sum();
        if not_run > 0 {
            let categories = self.not_run.iter().map(|(name, count)| format!("{name} {count}"));
            println!("not run: {not_run} ({})", categories.collect::<Vec<_>>().join(", "));
        }
        let folders = if std::env::var_os(FOLDERS).is_some() {
            format!("the folders that {FOLDERS} names")
        } else {
            format!("tests/vectors alone: {FOLDERS} names no other folders")
        };
        println!("vectors: {} passed, {} failed, {not_run} not run, of {folders}", self.passed, self.failed);
        ExitCode::from(u8::from(self.failed > 0 || self.passed == 0))
    }
}

/// A folder of vectors.
struct VectorSet {
    manifest: Value,
    files: HashMap<String, Vec<u8>>,
}

impl VectorSet {
    fn load(folder: &Path) -> Self {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let manifest: Value = serde_json::from_slice(&read("manifest.json")).expect("manifest.json");
        assert_eq!(manifest["format"], "esdk-vectors-1");
        let cases = manifest["tests"].as_array().expect("tests");
        let slices = cases.iter().flat_map(|case| [&case["ciphertext"], &case["plaintext"]]);
        let mut files = HashMap::new();
        for name in slices.filter_map(|slice| slice["file"].as_str()) {
            files.entry(name.to_owned()).or_insert_with(|| read(name));
        }
        Self { manifest, files }
    }

    fn slice(&self, slice: &Value) -> Option<&[u8]> {
        let (at, len) = (number(&slice["at"])?, number(&slice["len"])?);
        Some(&self.files[slice["file"].as_str()?][at..at + len])
    }

    fn run(&self, case: &Value) -> Outcome {
        let message = self.slice(&case["ciphertext"]).expect("ciphertext");
        if let Err(why) = check_known_answers(case) {
            return Outcome::Failed(why);
        }
        if case["expect"] == "parse" {
            return passed(check_parse(case, message));
        }
        let Some(client) = self.client(case) else { return Outcome::NotRun };
        let expected = match &case["decrypt_context"] {
            Value::Object(pairs) if pairs.is_empty() => ExpectedContext::any(),
            Value::Null => ExpectedContext::any(),
            pairs => ExpectedContext::from(&context(pairs).expect("decrypt_context")),
        };
        match case["expect"].as_str() {
            Some("ok") => passed(self.check_opens(case, message, &client, &expected)),
            Some("error") => passed(check_refused(case, message, &client, &expected)),
            Some("unspecified") => match open_every_way(&client, message, &expected) {
                Ok(opened) if Some(opened.plaintext.as_slice()) == self.slice(&case["plaintext"]) => {
                    Outcome::Unspecified(Ok(()))
                }
                Ok(_) => Outcome::Failed("opens to something else".to_owned()),
                Err(error) if error.kind() == ErrorKind::Internal => Outcome::Failed(format!("{error:?}")),
                Err(error) => Outcome::Unspecified(Err(error)),
            },
            other => Outcome::Failed(format!("unknown expectation {other:?}")),
        }
    }

    fn check_opens(
        &self,
        case: &Value,
        message: &[u8],
        client: &Client,
        expected: &ExpectedContext,
    ) -> Result<(), String> {
        let opened = open_every_way(client, message, expected).map_err(|error| format!("{error:?}"))?;
        let (plaintext, header) = (opened.plaintext, opened.header);
        // A few official messages come without their plaintext.
        if let Some(wanted) = self.slice(&case["plaintext"])
            && wanted != plaintext
        {
            return Err("opens to another plaintext".to_owned());
        }
        check_fields(case, &header)?;
        if let Some(wanted) = case.get("encryption_context") {
            // Some official cases include the public key, others do not.
            let (found, mut wanted) = (without_public_key(header.authenticated_context()), pairs_of(wanted));
            wanted.remove(PUBLIC_KEY);
            if found != wanted {
                return Err(format!("authenticated context {found:?}"));
            }
        }
        Ok(())
    }

    /// Makes the reader of a case, or returns `None` if it needs a feature that is not built yet.
    fn client(&self, case: &Value) -> Option<Client> {
        let mut builder = match (case["kms_answers"].as_array(), case["required_context_keys"].as_array()) {
            (Some(_), _) => Client::builder(RecordedKms::keyring(case)),
            (None, None) => Client::builder(self.keyring(&case["keyring"])?),
            (None, Some(keys)) => {
                let cmm = RequiredContextCmm::new(self.keyring(&case["keyring"])?, keys.iter().map(text));
                Client::builder_with_cmm(cmm.expect("keys"))
            }
        };
        builder = builder.commitment_policy(policy(case)).max_encrypted_data_keys(u16::MAX);
        if let Some(max) = number(&case["max_encrypted_data_keys"]) {
            builder = builder.max_encrypted_data_keys(max.try_into().unwrap());
        }
        builder = builder.unsigned_only(case["unsigned_only"] == true);
        Some(builder.build().expect("client"))
    }

    fn keyring(&self, keyring: &Value) -> Option<Box<dyn Keyring>> {
        match self.try_keyring(keyring)? {
            Ok(keyring) => Some(keyring),
            Err(error) => panic!("{keyring}: {error}"),
        }
    }

    fn try_keyring(&self, keyring: &Value) -> Option<Result<Box<dyn Keyring>, Error>> {
        match keyring["type"].as_str()? {
            "static" => Some(Ok(Box::new(FixedKeyKeyring::new(&bytes(&keyring["data_key"]))))),
            "raw-aes" => {
                let key = bytes(&self.manifest["keys"][text(&keyring["key"])]["base64"]);
                let made = RawAesKeyring::new(text(&keyring["namespace"]), text(&keyring["name"]), &key);
                Some(made.map(|keyring| Box::new(keyring) as _))
            }
            #[cfg(feature = "aws-lc")]
            "raw-rsa" => Some(self.rsa_keyring(keyring).map(|keyring| Box::new(keyring) as _)),
            "multi" => {
                let mut children = keyring["children"].as_array()?.iter();
                let mut multi = match &keyring["generator"] {
                    Value::Null => MultiKeyring::without_generator(self.keyring(children.next()?)?),
                    generator => MultiKeyring::new(self.keyring(generator)?),
                };
                for child in children {
                    multi = multi.child(self.keyring(child)?);
                }
                Some(Ok(Box::new(multi)))
            }
            kind if NOT_BUILT.contains(&kind) => None,
            other => panic!("unknown keyring {other}"),
        }
    }

    #[cfg(feature = "aws-lc")]
    fn rsa_keyring(&self, keyring: &Value) -> Result<manila::keyring::RawRsaKeyring, Error> {
        use manila::keyring::{RawRsaKeyring, RsaPadding, RsaPrivateKey, RsaPublicKey};
        let padding = match text(&keyring["padding"]) {
            "pkcs1" => RsaPadding::Pkcs1,
            "oaep-sha1" => RsaPadding::OaepSha1,
            "oaep-sha256" => RsaPadding::OaepSha256,
            "oaep-sha384" => RsaPadding::OaepSha384,
            "oaep-sha512" => RsaPadding::OaepSha512,
            other => panic!("unknown padding {other}"),
        };
        let key = &self.manifest["keys"][text(&keyring["key"])];
        let (namespace, name) = (text(&keyring["namespace"]), text(&keyring["name"]));
        let public = || RsaPublicKey::from_pem(text(&key["public_pem"]));
        let private = || RsaPrivateKey::from_pem(text(&key["private_pem"]));
        let uses = |half: &str, field: &str| match keyring["use"].as_array() {
            Some(halves) => halves.iter().any(|used| used == half),
            None => key[field].is_string(),
        };
        let made = match (uses("public", "public_pem"), uses("private", "private_pem")) {
            (true, true) => RawRsaKeyring::pair(namespace, name, padding, public()?, private()?),
            (true, false) => RawRsaKeyring::public(namespace, name, padding, public()?),
            (false, _) => RawRsaKeyring::private(namespace, name, padding, private()?),
        };
        made.map(RawRsaKeyring::allow_pkcs1_decrypt)
    }

    fn run_encrypt(&self, case: &Value) -> Outcome {
        let Some(keyring) = self.try_keyring(&case["keyring"]) else { return Outcome::NotRun };
        let sealed = keyring.and_then(|keyring| seal(case, keyring));
        match (case["expect"].as_str(), sealed) {
            (Some("ok"), Err(error)) => Outcome::Failed(format!("{error:?}")),
            (Some("error"), Ok(())) => Outcome::Failed("seals".to_owned()),
            (Some("unspecified"), sealed) => Outcome::Unspecified(sealed),
            _ => Outcome::Passed,
        }
    }
}

/// Encrypts as a case asks, and decrypts the result. Values that this crate's types cannot represent count as refused.
fn seal(case: &Value, keyring: Box<dyn Keyring>) -> Result<(), Error> {
    let unsayable = |what: &str| Error::other(ErrorKind::InvalidInput, format!("{what} does not fit its type"), "");
    let mut builder: ClientBuilder = Client::builder(keyring).suite(suite(case)).commitment_policy(policy(case));
    let frame_length = case["frame_length"].as_i64().expect("frame_length");
    let frame_length = u32::try_from(frame_length).map_err(|_| unsayable("the frame length"))?;
    builder = builder.frame_length(frame_length).max_frame_length(u32::MAX);
    if let Some(max) = case["max_encrypted_data_keys"].as_i64() {
        builder = builder.max_encrypted_data_keys(u16::try_from(max).map_err(|_| unsayable("the limit"))?);
    }
    let context = match &case["encryption_context_repeats"] {
        Value::Null => context(&case["encryption_context"])?,
        pair => {
            let part = |part: &Value| text(&part[0]).repeat(number(&part[1]).unwrap());
            EncryptionContext::new([(part(&pair["key"]), part(&pair["value"]))])?
        }
    };
    let client = builder.build()?;
    let sealed = client.encrypt(b"plaintext", &context)?;
    assert_eq!(client.decrypt(&sealed, ExpectedContext::exactly(&context))?.plaintext, b"plaintext");
    Ok(())
}

fn check_refused(case: &Value, message: &[u8], client: &Client, expected: &ExpectedContext) -> Result<(), String> {
    if let Some(prefixes) = case["prefix_lengths"].as_array() {
        for len in prefixes {
            let prefix = &message[..number(len).expect("length")];
            match open_every_way(client, prefix, expected) {
                Ok(_) => return Err(format!("its first {len} bytes open")),
                Err(error) if error.kind() != ErrorKind::Truncated => {
                    return Err(format!("its first {len} bytes: {error:?}"));
                }
                Err(_) => {}
            }
        }
        return Ok(());
    }
    let error = open_every_way(client, message, expected).err().ok_or("opens")?;
    match case["error_kind"].as_str().and_then(kinds_for) {
        _ if error.kind() == ErrorKind::Internal => Err(format!("{error:?}")),
        Some(kinds) if !kinds.contains(&error.kind()) => Err(format!("{:?}: {error:?}", error.kind())),
        _ => Ok(()),
    }
}

/// Returns the kinds that match a vector's hint, if the hint is precise.
fn kinds_for(hint: &str) -> Option<&'static [ErrorKind]> {
    use ErrorKind as Kind;
    Some(match hint {
        "header-parse" => &[Kind::Malformed],
        "sequence" => &[Kind::Malformed, Kind::Truncated],
        "truncated" => &[Kind::Truncated, Kind::Malformed, Kind::LimitExceeded],
        // With PKCS #1 v1.5, a data key that cannot be unwrapped fails later, as a wrong one does.
        "unwrap" => &[Kind::NoUsableDataKey, Kind::CommitmentMismatch, Kind::AuthenticationFailed],
        "commitment" => &[Kind::CommitmentMismatch],
        // A changed header may break a rule or a limit before anything can be authenticated.
        "header-auth" => &[Kind::AuthenticationFailed, Kind::LimitExceeded, Kind::Malformed, Kind::ContextMismatch],
        "body-auth" => &[Kind::AuthenticationFailed],
        "signature" => &[Kind::SignatureInvalid, Kind::Truncated],
        "policy" => &[Kind::PolicyViolation],
        "limit" => &[Kind::LimitExceeded],
        "trailing" => &[Kind::TrailingBytes, Kind::Truncated],
        "context" => &[Kind::ContextMismatch, Kind::NoUsableDataKey, Kind::Malformed, Kind::AuthenticationFailed],
        _ => return None,
    })
}

/// A KMS that returns recorded answers, each only to the request it was recorded for.
#[derive(Debug)]
struct RecordedKms {
    answers: Vec<(String, Vec<u8>, Vec<u8>)>,
    context: BTreeMap<String, String>,
}

impl RecordedKms {
    fn keyring(case: &Value) -> KmsKeyring<Self> {
        let answers = case["kms_answers"].as_array().expect("kms_answers").iter().map(|answer| {
            (text(&answer["key_arn"]).to_owned(), bytes(&answer["ciphertext_blob"]), bytes(&answer["plaintext"]))
        });
        let answers: Vec<_> = answers.collect();
        let arn = answers[0].0.clone();
        KmsKeyring::new(Self { answers, context: pairs_of(&case["kms_context"]) }, arn).expect("key ARN")
    }
}

impl Kms for RecordedKms {
    fn generate_data_key<'a>(&'a self, _: KmsRequest<'a>, _: usize) -> KeyFuture<'a, GeneratedDataKey> {
        unreachable!("only Decrypt was recorded")
    }

    fn encrypt<'a>(&'a self, _: KmsRequest<'a>, _: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        unreachable!("only Decrypt was recorded")
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        let given: BTreeMap<_, _> =
            request.encryption_context.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert_eq!(given, self.context);
        let (key_arn, _, plaintext) = self
            .answers
            .iter()
            .find(|(arn, blob, _)| arn == request.key_id && blob == ciphertext)
            .expect("a request that was recorded");
        let answer = KmsPlaintext { plaintext: manila::materials::DataKey::new(plaintext), key_arn: key_arn.clone() };
        Box::pin(async { Ok(answer) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

fn check_known_answers(case: &Value) -> Result<(), String> {
    // For messages that must fail, they hold the claims of the header, not what follows from the data key.
    let Some(answers) = case.get("known_answers").filter(|_| case["expect"] == "ok") else { return Ok(()) };
    let (data_key, message_id) = (bytes(&case["keyring"]["data_key"]), bytes(&answers["message-id"]));
    let (key, commitment) = derive_key(suite(case), &data_key, &message_id).map_err(|error| error.to_string())?;
    if answers["content-encryption-key"].as_str().is_some_and(|wanted| STANDARD.encode(&key) != wanted) {
        return Err("another content encryption key is derived".to_owned());
    }
    if commitment.map(Vec::from) != Some(bytes(&answers["commitment"])) {
        return Err("another commitment is derived".to_owned());
    }
    Ok(())
}

/// Checks a message that only a KMS could decrypt: its fields, its structure and its signature.
fn check_parse(case: &Value, message: &[u8]) -> Result<(), String> {
    let fail = |error: Error| error.to_string();
    let header = UnverifiedHeader::parse(message).map_err(fail)?;
    check_fields(case, &header)?;
    let parsed = &case["parsed"];
    let summary = header.summarize_body(&message[header.len()..]).map_err(fail)?;
    let keys = header.encrypted_data_keys().iter();
    let keys: Vec<_> = keys
        .map(|key| (key.provider_id.clone(), STANDARD.encode(&key.provider_info), STANDARD.encode(&key.ciphertext)))
        .collect();
    let wanted = parsed["edks"].as_array().expect("edks").iter();
    let wanted: Vec<_> =
        wanted.map(|key| (text(&key[0]).to_owned(), text(&key[1]).to_owned(), text(&key[2]).to_owned())).collect();
    let message_id = header.message_id().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let same = [
        ("message id", message_id == text(&parsed["message_id"])),
        ("header length", Some(header.len()) == number(&parsed["header_length"])),
        ("number of frames", Some(summary.frames() as usize) == number(&parsed["frames"])),
        ("footer", Some(header.len() + to_usize(summary.body_len())) == number(&parsed["footer_at"])),
        ("encrypted data keys", keys == wanted),
        ("context", without_public_key(header.encryption_context()) == pairs_of(&case["encryption_context"])),
        ("bytes", header.to_bytes().map_err(fail)? == message[..header.len()]),
    ];
    if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
        return Err(format!("another {what}"));
    }
    check_signature(message).map_err(fail)
}

fn check_fields(case: &Value, header: &HeaderFields) -> Result<(), String> {
    if header.suite() != suite(case) {
        return Err(format!("suite {}", header.suite()));
    }
    let frame_length = match header.content_type() {
        ContentType::Framed(length) => length as usize,
        ContentType::NonFramed => 0,
    };
    // The official manifests state the requested length, which not all writers respected.
    let ours = case.get("origin").is_none();
    if ours && number(&case["frame_length"]).is_some_and(|wanted| wanted != frame_length) {
        return Err(format!("frame length {frame_length}"));
    }
    let keys = header.encrypted_data_keys().len();
    if number(&case["edk_count"]).is_some_and(|wanted| wanted != keys) {
        return Err(format!("{keys} encrypted data keys"));
    }
    Ok(())
}

fn passed(result: Result<(), String>) -> Outcome {
    result.map_or_else(Outcome::Failed, |()| Outcome::Passed)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("a length")
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().map(to_usize)
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(text(value)).expect("Base64")
}

fn suite(case: &Value) -> AlgorithmSuite {
    let id = u16::from_str_radix(text(&case["suite"]).trim_start_matches("0x"), 16).expect("suite");
    AlgorithmSuite::from_id(id).expect("suite")
}

fn policy(case: &Value) -> CommitmentPolicy {
    match text(&case["commitment_policy"]) {
        "ForbidEncryptAllowDecrypt" => CommitmentPolicy::ForbidEncryptAllowDecrypt,
        "RequireEncryptAllowDecrypt" => CommitmentPolicy::RequireEncryptAllowDecrypt,
        "RequireEncryptRequireDecrypt" => CommitmentPolicy::RequireEncryptRequireDecrypt,
        other => panic!("unknown policy {other}"),
    }
}

fn pairs_of(pairs: &Value) -> BTreeMap<String, String> {
    let pairs = pairs.as_object().expect("pairs").iter();
    pairs.map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

fn context(pairs: &Value) -> Result<EncryptionContext, Error> {
    EncryptionContext::new(pairs.as_object().expect("pairs").iter().map(|(key, value)| (key, text(value))))
}

fn without_public_key(context: &EncryptionContext) -> BTreeMap<String, String> {
    let pairs = context.iter().filter(|(key, _)| *key != PUBLIC_KEY);
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
