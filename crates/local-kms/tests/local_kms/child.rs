//! This program again, as another process: it works on a store that others also use, or is killed while it does.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The variable that tells a child that it is one, and where to work.
const FOLDER: &str = "MANILA_TEST_FOLDER";
/// The variable with everything else that a child has to know.
const ORDERS: &str = "MANILA_TEST_ORDERS";
/// The prefix of the lines that a child says. The test harness writes to the same pipe.
const MARK: &str = "@ ";

/// A process that runs one test of this program. Killed when dropped.
pub struct Process {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(test: &str, folder: &Path, orders: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(ORDERS, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, lines) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, orders, lines: BufReader::new(lines).lines() }
    }

    /// Returns the next line that the child says; `None` once it has ended.
    pub fn hear(&mut self) -> Option<String> {
        self.lines.by_ref().map(Result::unwrap).find_map(|line| line.strip_prefix(MARK).map(str::to_owned))
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
    }

    /// Kills the child, which must not have ended on its own.
    pub fn kill(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the child ended on its own");
        self.child.kill().unwrap();
        assert!(!self.child.wait().unwrap().success());
    }

    /// Waits for the child to end successfully.
    pub fn finish(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Does nothing to a process that was already waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns what this process is to do, if it is a child.
pub fn orders() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(FOLDER)?.into(), std::env::var(ORDERS).unwrap()))
}

/// Says something to the parent. Fails, and so ends the child, if the parent is gone.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{MARK}{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// `SplitMix64`, so that a seed means the same on every machine.
pub struct Random(pub u64);

impl Random {
    /// Seeds it with `MANILA_TEST_SEED`, or with a new seed, and prints the seed.
    pub fn seeded() -> Self {
        let seed = std::env::var("MANILA_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = seed.unwrap_or_else(|| u64::from(now.subsec_nanos()) ^ now.as_secs());
        println!("MANILA_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
