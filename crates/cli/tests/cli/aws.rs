//! Keys in AWS KMS, which is a server in this process that speaks its protocol on top of a `LocalKms`.
#![cfg(feature = "aws-kms")]

use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manila::EncryptionContext;
use manila::kms::{Kms, KmsRequest};
use manila::local_kms::{CreateKey, LocalKms};
use serde_json::{Value, json};

use crate::desk::{Desk, Ran};

/// A server that lives as long as the test program, and the calls that it was asked for: operation and key.
struct Server {
    address: SocketAddr,
    kms: LocalKms,
    calls: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kms = LocalKms::in_memory().unwrap();
        let calls = Arc::<Mutex<_>>::default();
        let server = Self { address, kms: kms.clone(), calls: calls.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kms, calls) = (kms.clone(), calls.clone());
                thread::spawn(move || serve(stream, &kms, &calls));
            }
        });
        server
    }

    fn key(&self, alias: &str) -> String {
        self.kms.create_key(CreateKey::default().alias(alias)).unwrap().arn().to_owned()
    }

    fn calls(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn run(&self, desk: &Desk, args: &[&str]) -> Ran {
        let mut command = desk.command(args);
        command.env("AWS_ENDPOINT_URL_KMS", format!("http://{}", self.address));
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.env("AWS_CONFIG_FILE", desk.path("none")).env("AWS_SHARED_CREDENTIALS_FILE", desk.path("none"));
        Ran::from(command.output().unwrap())
    }

    #[track_caller]
    fn succeed(&self, desk: &Desk, args: &[&str]) {
        let ran = self.run(desk, args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.errors);
    }
}

fn serve(stream: TcpStream, kms: &LocalKms, calls: &Mutex<Vec<(String, String)>>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut operation, mut len) = (String::new(), 0);
        for line in reader.by_ref().lines() {
            let line = line.ok()?;
            match line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value)) {
                Some((name, value)) if name == "x-amz-target" => {
                    value.trim_start_matches("TrentService.").clone_into(&mut operation);
                }
                Some((name, value)) if name == "content-length" => len = value.parse().unwrap(),
                None if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok().filter(|()| !operation.is_empty())?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        calls.lock().unwrap().push((operation.clone(), body["KeyId"].as_str().unwrap().to_owned()));
        let (status, answer) = match answer(kms, &operation, &body) {
            Ok(answer) => (200, answer),
            Err(error) => {
                let error = error.kms_error().unwrap();
                (400, json!({"__type": error.code(), "message": error.message()}))
            }
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        writer.write_all((head + &answer).as_bytes()).ok()?;
    }
}

fn answer(kms: &LocalKms, operation: &str, body: &Value) -> manila::Result<Value> {
    let pairs = body["EncryptionContext"].as_object().into_iter().flatten();
    let context = EncryptionContext::new(pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())))?;
    let key_id = body["KeyId"].as_str().unwrap();
    let request = KmsRequest::new(key_id, &context);
    let bytes = |name: &str| STANDARD.decode(body[name].as_str().unwrap()).unwrap();
    Ok(match operation {
        "GenerateDataKey" => {
            let made = ready(kms.generate_data_key(request, 32))?;
            json!({"KeyId": made.key_arn, "CiphertextBlob": STANDARD.encode(made.ciphertext),
                   "Plaintext": STANDARD.encode(made.plaintext.expose_secret())})
        }
        "Encrypt" => {
            let made = ready(kms.encrypt(request, &bytes("Plaintext")))?;
            json!({"KeyId": made.key_arn, "CiphertextBlob": STANDARD.encode(made.ciphertext)})
        }
        "Decrypt" => {
            let opened = ready(kms.decrypt(request, &bytes("CiphertextBlob")))?;
            json!({"KeyId": opened.key_arn, "Plaintext": STANDARD.encode(opened.plaintext.expose_secret())})
        }
        "DescribeKey" => {
            let key = kms.describe_key(key_id)?;
            json!({"KeyMetadata": {"KeyId": key.key_id(), "Arn": key.arn()}})
        }
        other => panic!("nobody should call {other}"),
    })
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the embedded KMS waits for nothing"),
    }
}

fn call(operation: &str, key: &str) -> (String, String) {
    (operation.to_owned(), key.to_owned())
}

#[test]
fn a_key_in_aws_needs_no_key_store() {
    let (desk, server) = (Desk::new(b"x"), Server::start());
    let arn = server.key("alias/a");
    server.succeed(&desk, &["encrypt", "plain", "--aws-key", &arn, "--context", "tenant=acme"]);
    assert_eq!(desk.keys_of("plain.manila"), [format!("aws-kms/{arn}")]);
    server.succeed(&desk, &["decrypt", "plain.manila", "-o", "back", "--aws-key", &arn]);
    assert_eq!(fs::read(desk.path("back")).unwrap(), b"x");
    assert_eq!(server.calls(), [call("GenerateDataKey", &arn), call("Decrypt", &arn)]);
    assert_eq!(desk.names(), ["back", "plain", "plain.manila"]);
}

#[test]
fn only_keys_that_were_named_are_asked_for() {
    let (desk, server) = (Desk::new(b"x"), Server::start());
    let [one, two, other] = ["alias/a", "alias/b", "alias/c"].map(|alias| server.key(alias));
    server.succeed(&desk, &["encrypt", "plain", "--aws-key", &one, "--aws-key", &two]);
    assert_eq!(server.calls(), [call("GenerateDataKey", &one), call("Encrypt", &two)]);
    server.succeed(&desk, &["decrypt", "plain.manila", "-o", "back", "--aws-key", &two]);
    assert_eq!(server.calls(), [call("Decrypt", &two)]);
    // Neither with another key, nor with the key store, whose keys have ARNs of the same kind.
    let refused = server.run(&desk, &["decrypt", "plain.manila", "-o", "no", "--aws-key", &other]);
    assert!(refused.code == 1 && refused.errors.contains("none of the message's"), "{}", refused.errors);
    desk.succeed(&["keys", "create"]);
    assert_eq!(server.run(&desk, &["decrypt", "plain.manila", "-o", "no"]).code, 1);
    assert_eq!(server.calls(), []);
}

#[test]
fn an_alias_in_aws_stands_for_its_key() {
    let (desk, server) = (Desk::new(b"x"), Server::start());
    let arn = server.key("alias/a");
    let alias = arn.replace(arn.rsplit_once(':').unwrap().1, "alias/a");
    server.succeed(&desk, &["encrypt", "plain", "--aws-key", &alias]);
    assert_eq!(desk.keys_of("plain.manila"), [format!("aws-kms/{arn}")]);
    server.succeed(&desk, &["decrypt", "plain.manila", "-o", "back", "--aws-key", &alias]);
    let calls = [call("GenerateDataKey", &alias), call("DescribeKey", &alias), call("Decrypt", &arn)];
    assert_eq!(server.calls(), calls);
    let none = alias.replace("alias/a", "alias/none");
    let missing = server.run(&desk, &["decrypt", "plain.manila", "-o", "no", "--aws-key", &none]);
    assert!(missing.errors.starts_with("error: cannot find the key of \"arn:aws:kms:"), "{}", missing.errors);
    assert!(missing.code == 1 && missing.errors.contains("NotFoundException"), "{}", missing.errors);
}

#[test]
fn keys_of_all_kinds_go_together() {
    let (desk, server) = (Desk::new(b"x"), Server::start());
    let arn = server.key("alias/a");
    desk.secret("aes.key", [7; 32]);
    let keys = ["--aws-key", &arn, "--key-file", "aes.key", "--key", "alias/file"];
    server.succeed(&desk, &[&["encrypt", "plain"], &keys[..]].concat());
    assert_eq!(desk.keys_of("plain.manila").len(), 3);
    for key in [&["--aws-key", &arn][..], &["--key-file", "aes.key"], &[]] {
        server.succeed(&desk, &[&["decrypt", "plain.manila", "-o", "back", "--force"], key].concat());
    }
}

#[test]
fn refusals_of_aws_are_said() {
    let (desk, server) = (Desk::new(b"x"), Server::start());
    let arn = server.key("alias/a");
    server.succeed(&desk, &["encrypt", "plain", "--aws-key", &arn]);
    server.kms.disable_key(&arn).unwrap();
    for args in [["encrypt", "plain", "-o", "no"], ["decrypt", "plain.manila", "-o", "no"]] {
        let ran = server.run(&desk, &[&args[..], &["--aws-key", &arn]].concat());
        assert!(ran.code == 1 && ran.errors.contains("DisabledException"), "{}", ran.errors);
        assert_eq!(ran.errors.lines().count(), 1, "{}", ran.errors);
    }
    let wrong = server.run(&desk, &["encrypt", "plain", "-o", "no", "--aws-key", "alias/a"]);
    assert!(wrong.code == 2 && wrong.errors.contains("give the ARN of a key or alias"), "{}", wrong.errors);
    assert_eq!(desk.names(), ["plain", "plain.manila"]);
}
