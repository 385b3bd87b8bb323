//! Headers of the maximum size, with a wrong tag.

use manila::{EncryptedDataKey, UnverifiedHeader};

/// Returns the message with 15 more data keys in its header, 1 MiB in all, which belong to nobody.
pub fn with_junk(message: &[u8], n: u64) -> Vec<u8> {
    let header = UnverifiedHeader::parse(message).unwrap();
    let len = |key: &EncryptedDataKey| 6 + key.provider_id.len() + key.provider_info.len() + key.ciphertext.len();
    let keys: usize = header.encrypted_data_keys().iter().map(len).sum();
    // Version, suite and id, then the length of the context and the context.
    let count = 35 + 2 + usize::from(u16::from_be_bytes([message[35], message[36]]));
    let mut junk = vec![0xaa; 65_535];
    junk[..8].copy_from_slice(&n.to_be_bytes());
    let key = [&[0, 1, b'j', 0, 0, 0xff, 0xff], &junk[..]].concat();
    let (head, rest) = (&message[..count], &message[count + 2..]);
    [head, &16_u16.to_be_bytes(), &rest[..keys], &key.repeat(15), &rest[keys..]].concat()
}
