//! The official SDKs as programs that answer requests in JSON, one per line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A peer's program, kept for many requests; it exits when its standard input closes.
pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    pub fn python(folder: &Path) -> Self {
        let mut command = Command::new(folder.join("venv/bin/python"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/peer.py"));
        Self::start(command, folder)
    }

    pub fn javascript(folder: &Path) -> Self {
        let mut command = Command::new("node");
        let version = Command::new("node").arg("--version").output().expect("node").stdout;
        if version.starts_with(b"v20.") {
            command.arg("--security-revert=CVE-2023-46809");
        }
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/peer.mjs"));
        Self::start(command, folder)
    }

    fn start(mut command: Command, folder: &Path) -> Self {
        command.env("ESDK_INTEROP_DIR", folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// Returns the answer to a request, or why there is none.
    pub fn ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.stdin.as_mut().unwrap(), "{request}").map_err(|error| error.to_string())?;
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Err("the peer ended".to_owned());
            }
            // Node may print a warning first.
            if line.starts_with('{') {
                let answer: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
                return if answer["ok"] == true { Ok(answer) } else { Err(format!("the peer refuses: {line}")) };
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.wait();
    }
}
