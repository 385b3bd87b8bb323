//! Sizes of the parts of an upload.
//!
//! Source: "Amazon S3 multipart upload limits" in the S3 User Guide. Other stores take the same, and some (Cloudflare
//! R2) only parts of one size, except for the last.

use manila::{Error, ErrorKind, Result};

const MIB: u64 = 1 << 20;
/// The maximum number of parts.
pub(crate) const MAX_PARTS: u64 = 10_000;
/// Length in bytes of the shortest part, except for the last.
pub(crate) const SHORTEST: u64 = 5 * MIB;
/// Length in bytes of the longest part: 5 GiB.
pub(crate) const LONGEST: u64 = 5 * 1024 * MIB;
/// Length in bytes of a part by default: enough for 78 GiB.
pub(crate) const USUAL: u64 = 8 * MIB;

/// Returns the length of the parts of a message of `len` bytes: `wanted`, unless it would need too many of them.
pub(crate) fn of_message(len: u64, wanted: u64) -> Result<u64> {
    let needed = len.div_ceil(MAX_PARTS).max(wanted);
    let rounded = if needed > wanted { needed.next_multiple_of(MIB) } else { wanted };
    if rounded <= LONGEST {
        return Ok(rounded);
    }
    let detail = format!("a message of {len} bytes is too long for {MAX_PARTS} parts of at most 5 GiB: divide it");
    Err(Error::new(ErrorKind::LimitExceeded, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_parts_that_a_store_takes() {
        let lens = [0, 1, SHORTEST, USUAL, USUAL * MAX_PARTS, USUAL * MAX_PARTS + 1, 5 << 40, LONGEST * MAX_PARTS];
        for len in lens {
            for wanted in [SHORTEST, USUAL, USUAL + 1, LONGEST] {
                let part = of_message(len, wanted).unwrap();
                assert!((wanted..=LONGEST).contains(&part) && len.div_ceil(part) <= MAX_PARTS, "{len} {wanted} {part}");
                assert!(part == wanted || len.div_ceil(wanted) > MAX_PARTS, "no more than is needed: {len} {wanted}");
            }
        }
        assert_eq!(of_message(USUAL * MAX_PARTS + 1, USUAL).unwrap(), 9 * MIB);
        for len in [LONGEST * MAX_PARTS + 1, u64::MAX] {
            assert_eq!(of_message(len, USUAL).unwrap_err().kind(), ErrorKind::LimitExceeded);
        }
    }
}
