//! The files of an audit log: which there are, and whether they are intact.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use manila::local_kms::{AuditReport, LocalKms};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::time;

/// Returns the files of the audit log that is being written to `log`, oldest first: those that were rotated under the
/// names of [`rotated_name`], and `log` itself.
pub fn files(log: &Path) -> Result<Vec<PathBuf>> {
    let folder = log.parent().unwrap_or(log);
    let entries = fs::read_dir(folder).map_err(|error| Failure::file("cannot read", folder, error))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| is_rotated(log, path)).collect();
    files.sort();
    files.extend(log.exists().then(|| log.to_owned()));
    Ok(files)
}

/// Returns the name of a log that is rotated now, which sorts behind those before it.
pub fn rotated_name(log: &Path) -> PathBuf {
    let now = time::shown(SystemTime::now()).replace([':', '-'], "");
    log.with_file_name(format!("{}{now}{}", prefix(log), suffix(log)))
}

fn prefix(log: &Path) -> String {
    format!("{}-", log.file_stem().unwrap_or_default().to_string_lossy())
}

fn suffix(log: &Path) -> String {
    format!(".{}", log.extension().unwrap_or_default().to_string_lossy())
}

/// Returns whether a path is one that [`rotated_name`] gives.
fn is_rotated(log: &Path, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let time = name.strip_prefix(&prefix(log)).and_then(|rest| rest.strip_suffix(&suffix(log)));
    time.is_some_and(|time| {
        time.len() == "20261122T043641Z".len()
            && time.bytes().all(|byte| byte.is_ascii_digit() || b"TZ".contains(&byte))
    })
}

/// The findings in a file of an audit log.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    file: String,
    intact: bool,
    lines: u64,
    first: u64,
    last: u64,
    faults: Vec<String>,
}

impl Verified {
    fn new(file: &Path, report: &AuditReport) -> Self {
        Self {
            file: file.display().to_string(),
            intact: report.is_intact(),
            lines: report.events(),
            first: report.first(),
            last: report.last(),
            faults: report.faults().iter().map(ToString::to_string).collect(),
        }
    }

    pub fn is_intact(&self) -> bool {
        self.intact
    }
}

/// Verifies files of an audit log, oldest first and the one that is being written last.
pub fn verify(kms: &LocalKms, files: &[PathBuf]) -> Result<Vec<Verified>> {
    let reports = kms.verify_audit_logs(files)?;
    Ok(files.iter().zip(&reports).map(|(file, report)| Verified::new(file, report)).collect())
}

/// Verifies one file of an audit log, whichever it is.
pub fn verify_one(kms: &LocalKms, file: &Path) -> Result<Verified> {
    Ok(Verified::new(file, &kms.verify_audit_log(file)?))
}

/// Fails unless all files are intact.
pub fn check(verified: &[Verified]) -> Result<()> {
    match verified.iter().find(|file| !file.intact) {
        None => Ok(()),
        Some(file) => {
            let text =
                format!("the audit log {:?} is not intact: look at its faults and find out who made them", file.file);
            Err(Failure::Work(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_logs_are_told_from_other_files_and_sort_by_age() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.jsonl");
        let [old, new] =
            ["audit-20261122T043641Z.jsonl", "audit-20270101T000000Z.jsonl"].map(|name| folder.path().join(name));
        for other in ["audit-.jsonl", "audit-2026.jsonl", "audit-20261122T043641Z.json", "keys.redb"] {
            fs::write(folder.path().join(other), "").unwrap();
        }
        for file in [&new, &log, &old] {
            fs::write(file, "").unwrap();
        }
        assert_eq!(files(&log).unwrap(), [old, new, log.clone()]);
        assert!(is_rotated(&log, &rotated_name(&log)));
    }
}
