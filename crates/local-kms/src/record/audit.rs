//! The store's records about its audit log.

use std::fmt;

use manila_core::Result;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::audit::{Checkpoint, EndOfLog, Found, Head, LineKey, Memory, Word};
use crate::store::{Seal, Table, Tables, WriteTxn, damaged};

/// The row of the record of the current log.
const AUDIT: &str = "log";
/// The beginning of the rows of logs that were rotated.
const END: &str = "end/";

/// The record of the current log.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct AuditRecord {
    /// The keys of lines that were written under earlier root keys.
    past: Vec<PastKey>,
    checkpoint: Option<CheckpointRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CheckpointRecord {
    lines: u64,
    /// The MAC of the last line.
    #[serde(with = "serde_bytes")]
    mac: Vec<u8>,
    /// The length of the file, in bytes.
    len: u64,
    /// The last line of the log that the file continues.
    begins: Option<HeadRecord>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct PastKey {
    #[zeroize(skip)]
    epoch: u64,
    #[serde(with = "serde_bytes")]
    secret: Vec<u8>,
}

impl fmt::Debug for PastKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl AuditRecord {
    pub(crate) fn load(tables: &impl Tables) -> Result<Self> {
        Ok(tables.get(Table::Audit, AUDIT)?.unwrap_or_default())
    }

    pub(crate) fn put(&self, tables: &mut WriteTxn<'_>) -> Result<()> {
        tables.put(Table::Audit, AUDIT, self)
    }

    pub(crate) fn set_checkpoint(&mut self, Checkpoint { head, len, begins }: Checkpoint) {
        let begins = begins.as_ref().map(HeadRecord::new);
        self.checkpoint = Some(CheckpointRecord { lines: head.lines, mac: head.mac.to_vec(), len, begins });
    }

    pub(crate) fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let Some(CheckpointRecord { lines, mac, len, begins }) = &self.checkpoint else { return Ok(None) };
        let head = Head { lines: *lines, mac: mac.as_slice().try_into().map_err(|_| damaged())? };
        let begins = begins.as_ref().map(HeadRecord::head).transpose()?;
        Ok(Some(Checkpoint { head, len: *len, begins }))
    }
}

/// The end of a log that was rotated, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndRecord {
    start: u64,
    last: HeadRecord,
    cut: Option<HeadRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HeadRecord {
    lines: u64,
    #[serde(with = "serde_bytes")]
    mac: Vec<u8>,
}

impl HeadRecord {
    fn new(head: &Head) -> Self {
        Self { lines: head.lines, mac: head.mac.to_vec() }
    }

    fn head(&self) -> Result<Head> {
        Ok(Head { lines: self.lines, mac: self.mac.as_slice().try_into().map_err(|_| damaged())? })
    }
}

/// Stores the end of a log that was rotated. Each rotation has its own row.
///
/// A rotation that is repeated finds the same end again, but may no longer find that the log was cut off. That is kept.
pub(crate) fn put_end(tables: &mut WriteTxn<'_>, end: &EndOfLog) -> Result<()> {
    let EndOfLog { start, last, cut } = end;
    // Hashed, so that the file does not reveal the number of lines.
    let hidden = tables.seal().hide(Table::Audit, &format!("{END}{}/{start}", last.lines))?;
    let row = format!("{END}{hidden}");
    let known: Option<EndRecord> = tables.get(Table::Audit, &row)?;
    let cut = known.and_then(|known| known.cut).or_else(|| cut.as_ref().map(HeadRecord::new));
    tables.put(Table::Audit, &row, &EndRecord { start: *start, last: HeadRecord::new(last), cut })
}

/// Returns what the store has recorded about its logs, for verification.
pub(crate) fn memory(tables: &impl Tables) -> Result<Memory> {
    let checkpoint = AuditRecord::load(tables)?.checkpoint()?;
    let mut ends = Vec::new();
    for (_, record) in tables.all::<EndRecord>(Table::Audit, END)? {
        let cut = record.cut.as_ref().map(HeadRecord::head).transpose()?;
        ends.push(EndOfLog { start: record.start, last: record.last.head()?, cut });
    }
    ends.sort_by_key(|end| end.last.lines);
    Ok(Memory { checkpoint, ends, named: tables.named() })
}

/// Returns the state of the store that a call finds.
pub(crate) fn found(tables: &impl Tables) -> Found {
    Found { copy: tables.copy(), commit: tables.commit_number(), named: tables.named() }
}

/// Returns the state of the store for the log, under the root key with this number.
pub(crate) fn word(tables: &impl Tables, epoch: u64, holds: bool) -> Result<Word> {
    let begins = AuditRecord::load(tables)?.checkpoint()?.and_then(|checkpoint| checkpoint.begins);
    Ok(Word { found: found(tables), epoch, begins, holds })
}

/// Returns the keys of the lines of a store's audit log, oldest first.
pub(crate) fn line_keys(tables: &impl Tables) -> Result<Vec<LineKey>> {
    let record = AuditRecord::load(tables)?;
    let mut keys = Vec::with_capacity(record.past.len().saturating_add(1));
    for past in &record.past {
        let secret = past.secret.as_slice().try_into().map_err(|_| damaged())?;
        keys.push(LineKey { epoch: past.epoch, secret: Zeroizing::new(secret) });
    }
    let seal = tables.seal();
    keys.push(LineKey { epoch: seal.epoch(), secret: seal.audit_key()? });
    Ok(keys)
}

/// Keeps the key of the lines so far, before the root key changes.
pub(crate) fn remember_key(tables: &mut WriteTxn<'_>, old: &Seal) -> Result<()> {
    let mut record = AuditRecord::load(tables)?;
    record.past.push(PastKey { epoch: old.epoch(), secret: old.audit_key()?.to_vec() });
    record.put(tables)
}
