//! An HTTP server that speaks enough of AWS KMS's protocol for three operations, on top of a `LocalKms`, and misbehaves
//! on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use manila::Error;
use manila::kms::{Kms, KmsRequest};
use manila::local_kms::LocalKms;
use manila::testing::{context_with_reserved, ready};

use crate::patience::Silence;

/// A fault of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// An error status, with AWS's name for the error.
    Refuse(u16, &'static str),
    /// An error status without a readable body.
    Status(u16),
    /// The connection stays open, and no answer comes.
    Silence,
    /// Calls of the operation are answered once this many are waiting.
    Together(&'static str, usize),
    /// The connection ends in the middle of the answer.
    Cut,
    /// The connection ends before the answer.
    HangUp,
    /// The answer names a different key.
    OtherKey,
    /// The plaintext has this many bytes.
    PlaintextLen(usize),
    /// The body is not valid JSON.
    Garbage,
    /// The body is JSON without the expected fields.
    Empty,
}

/// A server on a port of the loopback interface, stopped on drop.
pub struct Server {
    pub address: SocketAddr,
    pub silence: Arc<Silence>,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    kms: LocalKms,
    fault: Mutex<(Fault, usize)>,
    calls: Mutex<Vec<Call>>,
    silence: Arc<Silence>,
    waiting: Mutex<usize>,
    all_wait: Condvar,
    ended: AtomicBool,
}

/// A received request.
#[derive(Clone, Debug)]
pub struct Call {
    pub operation: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Server {
    pub fn new(kms: LocalKms) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            kms,
            fault: Mutex::new((Fault::None, 0)),
            calls: Mutex::default(),
            silence: Arc::default(),
            waiting: Mutex::default(),
            all_wait: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let accepted = shared.clone();
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if accepted.ended.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), shared) = (stream, accepted.clone()) else { continue };
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, silence: shared.silence.clone(), shared, accepting: Some(accepting) }
    }

    /// Answers with this fault from now on.
    pub fn misbehave(&self, fault: Fault) {
        self.misbehave_times(fault, usize::MAX);
    }

    /// Answers with this fault a number of times.
    pub fn misbehave_times(&self, fault: Fault, times: usize) {
        *self.shared.fault.lock().unwrap() = (fault, times);
    }

    /// Returns the requests so far, and clears them.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        self.accepting.take().unwrap().join().unwrap();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(call) = read_call(&mut reader)? {
            self.calls.lock().unwrap().push(call.clone());
            let fault = self.next_fault();
            match fault {
                Fault::Silence => {
                    self.silence.keep();
                    continue;
                }
                Fault::Together(operation, count) if call.operation == operation => self.wait_for(count),
                _ => {}
            }
            let (status, body) = self.answer(&call, fault);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\
                 x-amzn-requestid: request-of-the-test\r\n\r\n",
                body.len()
            );
            match fault {
                Fault::HangUp => return Ok(()),
                Fault::Cut => {
                    writer.write_all(head.as_bytes())?;
                    return writer.write_all(&body[..body.len() / 2]);
                }
                _ => writer.write_all(&[head.as_bytes(), &body].concat())?,
            }
        }
        Ok(())
    }

    fn wait_for(&self, count: usize) {
        let mut waiting = self.waiting.lock().unwrap();
        *waiting += 1;
        self.all_wait.notify_all();
        drop(self.all_wait.wait_while(waiting, |waiting| *waiting < count).unwrap());
    }

    fn next_fault(&self) -> Fault {
        let mut fault = self.fault.lock().unwrap();
        if fault.1 == 0 {
            return Fault::None;
        }
        fault.1 -= 1;
        fault.0
    }

    fn answer(&self, call: &Call, fault: Fault) -> (u16, Vec<u8>) {
        let refusal = |status, code: &str, message: &str| {
            (status, serde_json::to_vec(&json!({"__type": code, "message": message})).unwrap())
        };
        match fault {
            Fault::Refuse(status, code) => return refusal(status, code, "so the test wants it"),
            Fault::Status(status) => return (status, Vec::new()),
            Fault::Garbage => return (200, b"{\"KeyId\": \"arn:aws:kms:unquoted}".to_vec()),
            Fault::Empty => return (200, b"{}".to_vec()),
            _ => {}
        }
        match self.perform(call) {
            Ok(mut answer) => {
                if fault == Fault::OtherKey {
                    answer["KeyId"] = json!("arn:aws:kms:local:000000000000:key/another");
                }
                if let Fault::PlaintextLen(len) = fault {
                    answer["Plaintext"] = json!(STANDARD.encode(vec![7; len]));
                }
                (200, serde_json::to_vec(&answer).unwrap())
            }
            Err(error) => {
                let source = error.kms_error();
                let (code, message) = source.map_or(("KMSInternalException", "?"), |e| (e.code(), e.message()));
                refusal(if source.is_some() { 400 } else { 500 }, code, message)
            }
        }
    }

    fn perform(&self, call: &Call) -> Result<Value, Error> {
        let pairs = call.body["EncryptionContext"].as_object().cloned().unwrap_or_default();
        let pairs = pairs.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()));
        // The SDK's requests carry contexts with keys that begin with aws-crypto-.
        let context = context_with_reserved(pairs)?;
        let key_id = call.body["KeyId"].as_str().expect("every call names its key");
        let request = KmsRequest::new(key_id, &context);
        let bytes = |field: &str| STANDARD.decode(call.body[field].as_str().unwrap_or_default()).unwrap();
        Ok(match call.operation.as_str() {
            "GenerateDataKey" => {
                let len = usize::try_from(call.body["NumberOfBytes"].as_u64().unwrap()).unwrap();
                let made = ready(self.kms.generate_data_key(request, len))?;
                json!({
                    "KeyId": made.key_arn,
                    "Plaintext": STANDARD.encode(made.plaintext.expose_secret()),
                    "CiphertextBlob": STANDARD.encode(made.ciphertext),
                })
            }
            "Encrypt" => {
                let made = ready(self.kms.encrypt(request, &bytes("Plaintext")))?;
                json!({"KeyId": made.key_arn, "CiphertextBlob": STANDARD.encode(made.ciphertext)})
            }
            "Decrypt" => {
                let opened = ready(self.kms.decrypt(request, &bytes("CiphertextBlob")))?;
                json!({"KeyId": opened.key_arn, "Plaintext": STANDARD.encode(opened.plaintext.expose_secret())})
            }
            other => panic!("nobody should call {other}"),
        })
    }
}

/// Reads the next request on a connection, if there is one.
fn read_call(reader: &mut impl BufRead) -> std::io::Result<Option<Call>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let operation = headers["x-amz-target"].trim_start_matches("TrentService.").to_owned();
    Ok(Some(Call { operation, headers, body: serde_json::from_slice(&body).unwrap() }))
}
