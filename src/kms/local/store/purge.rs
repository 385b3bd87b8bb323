//! Leaving nothing behind of what was removed.

use std::sync::PoisonError;

use redb::{CompactionError, Database, TableDefinition};

use crate::error::{Error, ErrorKind, Result};
use crate::kms::local::root_key::io_error;
use crate::kms::local::store::Store;
use crate::kms::local::store::codec::storage_error;

/// Takes up free pages for a moment, so that they are written over.
const FILLER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("filler");
/// Fills most of a page of 4096 bytes, alone.
const FILLER_ROW: [u8; 3000] = [0; 3000];

impl Store {
    /// Gives back the space of what was removed, and writes over what is left of it.
    pub(in crate::kms::local) fn purge(&self) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        compact(&mut state.database)?;
        if let Some(path) = &self.path {
            let len = || path.metadata().map(|file| file.len()).map_err(|error| io_error("read", path, error));
            overwrite_free_pages(&state.database, len)?;
            compact(&mut state.database)?;
        }
        Ok(())
    }
}

fn compact(database: &mut Database) -> Result<()> {
    match database.compact() {
        Ok(_) => Ok(()),
        Err(CompactionError::TransactionInProgress) => {
            let detail = "the key store cannot be compacted while another process uses it: try again";
            Err(Error::new(ErrorKind::Storage, detail))
        }
        Err(error) => Err(storage_error(error)),
    }
}

/// A database asks for more room only when no free page is left: once the file has grown, all of them are written.
fn overwrite_free_pages(database: &Database, len: impl Fn() -> Result<u64>) -> Result<()> {
    let before = len()?;
    let filling = database.begin_write().map_err(storage_error)?;
    {
        let mut filler = filling.open_table(FILLER).map_err(storage_error)?;
        // Twice as many as there can be free pages: whose length that is that does not grow, it is not the store's.
        for row in 0.. {
            filler.insert(row, FILLER_ROW.as_slice()).map_err(storage_error)?;
            if len()? > before {
                break;
            }
            if row > before >> 11 {
                let detail = "the file of the key store was moved while it was open: open it where it is, and purge it";
                return Err(Error::new(ErrorKind::Storage, detail));
            }
        }
    }
    filling.commit().map_err(storage_error)?;
    let emptying = database.begin_write().map_err(storage_error)?;
    emptying.delete_table(FILLER).map_err(storage_error)?;
    emptying.commit().map_err(storage_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_are_written_over() {
        // Without compacting, which leaves few free pages to look at.
        const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("table");
        const SECRET: &[u8] = b"what was removed";
        fn write(database: &Database, work: impl FnOnce(&mut redb::Table<'_, u64, &[u8]>)) {
            let transaction = database.begin_write().unwrap();
            work(&mut transaction.open_table(TABLE).unwrap());
            transaction.commit().unwrap();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let database = Database::create(file.path()).unwrap();
        write(&database, |table| {
            (0..200).for_each(|row| drop(table.insert(row, SECRET.repeat(40).as_slice()).unwrap()));
        });
        write(&database, |table| table.retain(|_, _| false).unwrap());
        // Pages are free once no commit before their removal can be read any more.
        (0..3).for_each(|_| write(&database, |_| ()));
        let holds = || std::fs::read(file.path()).unwrap().windows(SECRET.len()).any(|window| window == SECRET);
        assert!(holds());
        overwrite_free_pages(&database, || Ok(file.path().metadata().unwrap().len())).unwrap();
        assert!(!holds());
    }
}
