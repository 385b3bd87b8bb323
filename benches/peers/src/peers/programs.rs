//! The official SDKs for Python and JavaScript, as programs that measure themselves: `peers.py`, `peers.mjs`.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{KEY_NAME, NAMESPACE, Peer, TEST_KEY, Work, ours};
use crate::cells::{Cell, Direction, Shape};

/// A program that answers requests in JSON, one per line. It ends when its standard input closes.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// Returns the answer to a request.
    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.stdin.as_mut().unwrap(), "{request}").unwrap();
        let mut line = String::new();
        while !line.starts_with('{') {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the program ended: its errors are above");
        }
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.wait();
    }
}

/// An official SDK in another language.
struct Sdk {
    name: &'static str,
    program: Rc<RefCell<Program>>,
    desk: PathBuf,
}

/// Those that are installed.
pub fn all(desk: &Path) -> Vec<Box<dyn Peer>> {
    let Some(folder) = std::env::var_os("MANILA_INTEROP").map(PathBuf::from) else { return Vec::new() };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(folder.join("venv/bin/python"));
    python.arg(here.join("peers.py")).env("PYTHONPATH", here.join("../../tests/interop"));
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut node = Command::new("node");
    node.arg(here.join("peers.mjs")).env("ESDK_INTEROP_DIR", folder);
    let sdk = |name, command| {
        let program = Rc::new(RefCell::new(Program::start(command)));
        Box::new(Sdk { name, program, desk: desk.to_owned() }) as Box<dyn Peer>
    };
    vec![sdk("aws-encryption-sdk (Python)", python), sdk("@aws-crypto/client-node (Node.js)", node)]
}

impl Peer for Sdk {
    fn name(&self, _: Cell) -> String {
        self.name.to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        let (input, output) = (self.desk.join("input"), self.desk.join("output"));
        match cell.direction {
            Direction::Encrypt => fs::write(&input, plaintext).unwrap(),
            Direction::Decrypt => fs::write(&input, ours::message(cell, plaintext)).unwrap(),
        }
        self.program.borrow_mut().ask(&json!({
            "op": "start",
            "encrypt": cell.direction == Direction::Encrypt,
            "stream": cell.shape == Shape::Stream,
            "suite": cell.suite_id(),
            "frame_length": cell.frame_length,
            "namespace": NAMESPACE,
            "name": KEY_NAME,
            "test_key": TEST_KEY,
            "input": input,
            "output": output,
        }));
        let output = fs::read(&output).unwrap();
        match cell.direction {
            Direction::Encrypt => assert!(ours::opens(cell, &output, plaintext), "{}", self.name),
            Direction::Decrypt => assert!(output == **plaintext, "{}", self.name),
        }
        let program = self.program.clone();
        Some(Box::new(move |count| {
            let answer = program.borrow_mut().ask(&json!({ "op": "run", "count": count }));
            Duration::from_secs_f64(answer["seconds"].as_f64().unwrap())
        }))
    }
}
