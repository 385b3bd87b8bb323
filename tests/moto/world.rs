//! Moto as a process of this test, its keys, and the official SDKs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use manila::aws::AwsKms;
use manila::keyring::{DiscoveryFilter, Keyring, KmsKeyring, RegionalClients};
use manila::kms::KmsError;
use manila::{Client, EncryptionContext, Error};

use crate::peer::Peer;

pub const VIRGINIA: &str = "us-east-1";
pub const IRELAND: &str = "eu-west-1";
/// The one account that moto has.
pub const ACCOUNT: &str = "123456789012";

pub struct World {
    moto: Moto,
    pub python: Mutex<Peer>,
    pub javascript: Mutex<Peer>,
}

impl World {
    pub fn start(folder: &Path) -> Self {
        let moto = Moto::start(folder);
        Self { moto, python: Mutex::new(Peer::python(folder)), javascript: Mutex::new(Peer::javascript(folder)) }
    }

    pub fn endpoint(&self) -> &str {
        &self.moto.endpoint
    }

    pub fn client(&self, region: &str) -> AwsKms {
        client(self.endpoint(), region)
    }

    pub fn clients(&self) -> RegionalClients<AwsKms> {
        let endpoint = self.endpoint().to_owned();
        RegionalClients::new(move |region| Ok(client(&endpoint, region)))
    }

    /// Creates a key, and returns its ARN.
    pub async fn key(&self, region: &str) -> String {
        let made = self.client(region).as_client().create_key().send().await.unwrap();
        made.key_metadata.unwrap().arn.unwrap()
    }

    /// Creates a multi-Region key in Virginia and its replica in Ireland, and returns their ARNs.
    pub async fn multi_region_key(&self) -> (String, String) {
        let made = self.client(VIRGINIA).as_client().create_key().multi_region(true).send().await.unwrap();
        let primary = made.key_metadata.unwrap().arn.unwrap();
        let replicate = self.client(VIRGINIA).as_client().replicate_key().key_id(&primary).replica_region(IRELAND);
        let replica = replicate.send().await.unwrap().replica_key_metadata.unwrap().arn.unwrap();
        assert_eq!(replica, primary.replace(VIRGINIA, IRELAND));
        (primary, replica)
    }

    pub fn strict(&self, arn: &str) -> Client {
        Client::new(KmsKeyring::new(self.client(region_of(arn)), arn).unwrap())
    }
}

/// Makes a client without timeouts.
fn client(endpoint: &str, region: &str) -> AwsKms {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests())
        .region(Region::new(region.to_owned()))
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .endpoint_url(endpoint);
    AwsKms::new(aws_sdk_kms::Client::from_conf(config.build()))
}

pub fn region_of(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap()
}

pub fn filter() -> DiscoveryFilter {
    DiscoveryFilter::new("aws", [ACCOUNT]).unwrap()
}

/// Pairs that sort differently by bytes and by UTF-16, and pairs that look alike.
pub const PAIRS: [(&str, &str); 5] = [
    ("tenant", "acme"),
    ("\u{1f511}", "key"),
    ("\u{ffe6}", "below it by bytes, above it by UTF-16"),
    ("ß", "\u{1f600}"),
    ("cafe\u{301}", "caf\u{e9}"),
];

pub fn context() -> EncryptionContext {
    EncryptionContext::new(PAIRS).unwrap()
}

pub async fn seal(keyring: impl Keyring + 'static) -> Vec<u8> {
    Client::new(keyring).encrypt_async(b"hello", &context()).await.unwrap()
}

pub async fn open(keyring: impl Keyring + 'static, message: &[u8]) -> Result<(), Error> {
    let opened = Client::new(keyring).decrypt_async(message, context()).await?;
    assert_eq!(opened.plaintext, b"hello");
    Ok(())
}

/// Returns the KMS's answer beneath an error or its only cause.
pub fn answer(error: &Error) -> &KmsError {
    assert!(error.causes().len() < 2, "{error:?}");
    error.kms_error().unwrap_or_else(|| panic!("no answer of a KMS is beneath {error:?}"))
}

/// Moto on a free port of the loopback interface. It is stopped on drop, and exits when its standard input closes if
/// this process is killed.
struct Moto {
    child: Child,
    endpoint: String,
}

impl Moto {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aws/moto.sh"));
        command.env("ESDK_INTEROP_DIR", folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().unwrap();
        let mut moto = Self { child, endpoint: String::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").expect("moto started (MOTO_LOG=/dev/stderr shows why not)");
        moto.endpoint = format!("http://127.0.0.1:{port}");
        moto
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
