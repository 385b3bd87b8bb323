//! The file of a store as redb reads and writes it, whoever else has it open.

use std::path::Path;

use redb::{Builder, ConcurrencyMode, Database, ReadableDatabase, ReadableTable, TableDefinition};

pub(crate) const TABLES: [&str; 12] = [
    "keys",
    "materials",
    "aliases",
    "key-aliases",
    "grants",
    "grantees",
    "retirers",
    "grant-counts",
    "deadlines",
    "audit",
    "identities",
    "sessions",
];

pub(crate) fn database(store: &Path) -> Database {
    Builder::new().set_concurrency_mode(ConcurrencyMode::MultiWriter).open(store).unwrap()
}

pub(crate) const fn table(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// Returns all records with their tables and ids, sealed as they are in the file.
pub(crate) fn records(store: &Path) -> Vec<(&'static str, String, Vec<u8>)> {
    let database = database(store);
    let reading = database.begin_read().unwrap();
    let mut records = Vec::new();
    for name in TABLES {
        let rows = match reading.open_table(table(name)) {
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            opened => opened.unwrap(),
        };
        for row in rows.iter().unwrap() {
            let (id, record) = row.unwrap();
            records.push((name, String::from_utf8(id.value().to_vec()).unwrap(), record.value().to_vec()));
        }
    }
    records
}

/// Replaces a record, or removes it.
pub(crate) fn set_record(store: &Path, name: &str, id: &str, record: Option<&[u8]>) {
    let database = database(store);
    let writing = database.begin_write().unwrap();
    {
        let mut rows = writing.open_table(table(name)).unwrap();
        match record {
            Some(record) => drop(rows.insert(id.as_bytes(), record).unwrap()),
            None => drop(rows.remove(id.as_bytes()).unwrap()),
        }
    }
    writing.commit().unwrap();
}
