//! A header that is accepted is written back to the very bytes it was read from.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use manila::{HeaderLimits, UnverifiedHeader};

fuzz_target!(|data: &[u8]| {
    let limits = HeaderLimits { max_encrypted_data_keys: u16::MAX, ..HeaderLimits::default() };
    let parsed = UnverifiedHeader::parse_within(data, limits);
    let read = UnverifiedHeader::read_within(OneByteAtATime(data), limits);
    match (parsed, read) {
        (Ok(parsed), Ok(read)) => {
            let wire = &data[..parsed.len()];
            assert_eq!(parsed.as_bytes(), wire);
            // Fields and the context's own bytes, in whatever order its writer put the pairs.
            assert_eq!(parsed.to_bytes().unwrap(), wire);
            assert_eq!(parsed, read);
            assert!(!parsed.encrypted_data_keys().is_empty());
            assert_eq!(UnverifiedHeader::parse_within(wire, limits).unwrap(), parsed);
            assert!(UnverifiedHeader::parse_within(&wire[..wire.len() - 1], limits).is_err());
            let _ = parsed.summarize_body(&data[parsed.len()..]);
        }
        (Err(parsed), Err(read)) => assert_eq!(parsed.to_string(), read.to_string()),
        (parsed, read) => panic!("parse and read disagree: {parsed:?} and {read:?}"),
    }
});

struct OneByteAtATime<'a>(&'a [u8]);

impl Read for OneByteAtATime<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = buf.len().min(1);
        self.0.read(&mut buf[..len])
    }
}
