//! The contract of [`Kms`], as far as calls can show it.

use super::require;
use crate::context::EncryptionContext;
use crate::error::{ErrorKind, Result};
use crate::key_arn::KeyArn;
use crate::kms::{Kms, KmsRequest};

/// The lengths of data keys that the suites take.
const DATA_KEY_LENGTHS: [usize; 3] = [16, 24, 32];
/// Lengths of plaintexts: the ends of what a KMS takes, and where blocks and length fields of ciphertexts may break.
const PLAINTEXT_LENGTHS: [usize; 12] = [1, 2, 15, 16, 17, 127, 128, 255, 256, 257, 4095, 4096];
/// An id in the form that AWS gives to ids, of no key.
const NO_KEY: &str = "00000000-0000-4000-8000-000000000000";

/// Holds a KMS against the contract of [`Kms`]: `key_id` names a key that may generate, encrypt and decrypt.
///
/// Takes about 70 calls. [`check_two_keys`] goes further where there is a second key.
///
/// # Errors
/// [`ErrorKind::Internal`] with the part of the contract that is broken, or what the KMS said where it should have
/// answered.
pub async fn check_kms(kms: &dyn Kms, key_id: &str) -> Result<()> {
    let arn = check_data_keys(kms, key_id).await?;
    check_plaintexts(kms, key_id, &arn).await?;
    check_contexts(kms, key_id).await?;
    check_ciphertexts(kms, key_id).await?;
    check_unknown_key(kms, &arn).await
}

/// Holds a KMS against the contract of [`Kms`] where it needs two keys, which may generate, encrypt and decrypt.
///
/// # Errors
/// As [`check_kms`].
pub async fn check_two_keys(kms: &dyn Kms, one: &str, other: &str) -> Result<()> {
    let context = context(&[("ab", "c")])?;
    let mut arns = Vec::new();
    for (own, foreign) in [(one, other), (other, one)] {
        let made = kms.generate_data_key(KmsRequest::new(own, &context), 32).await?;
        let encrypted = kms.encrypt(KmsRequest::new(own, &context), b"plaintext").await?;
        require(made.key_arn == encrypted.key_arn, "it tells two ARNs of one key")?;
        for ciphertext in [&made.ciphertext, &encrypted.ciphertext] {
            kms.decrypt(KmsRequest::new(own, &context), ciphertext).await?;
            let opened = kms.decrypt(KmsRequest::new(foreign, &context), ciphertext).await;
            refused_key(opened, "it opens or misjudges the ciphertext of another key")?;
        }
        arns.push(made.key_arn);
    }
    arns.dedup();
    require(arns.len() == 2, "it tells one ARN of two keys")
}

/// Data keys come in all lengths, are never the same, and open. Returns the ARN of the key.
async fn check_data_keys(kms: &dyn Kms, key_id: &str) -> Result<String> {
    let context = context(&[("ab", "c")])?;
    let mut arn = String::new();
    for length in DATA_KEY_LENGTHS {
        let made = kms.generate_data_key(KmsRequest::new(key_id, &context), length).await?;
        require(made.plaintext.len() == length, "its data key is not as long as was asked for")?;
        require(KeyArn::parse(&made.key_arn).is_ok(), "it does not answer with the ARN of the key")?;
        let again = kms.generate_data_key(KmsRequest::new(key_id, &context), length).await?;
        require(made.plaintext.expose_secret() != again.plaintext.expose_secret(), "it made one data key twice")?;
        for name in [key_id, &made.key_arn] {
            let opened = kms.decrypt(KmsRequest::new(name, &context), &made.ciphertext).await?;
            let same = opened.plaintext.expose_secret() == made.plaintext.expose_secret();
            require(same, "it does not open what it generated")?;
            require(opened.key_arn == made.key_arn, "it does not answer with the ARN that was asked for")?;
        }
        arn = made.key_arn;
    }
    Ok(arn)
}

/// Plaintexts of 1 to 4096 bytes come back, under the key's id and its ARN, and no others are taken.
async fn check_plaintexts(kms: &dyn Kms, key_id: &str, arn: &str) -> Result<()> {
    let context = context(&[("ab", "c")])?;
    for length in PLAINTEXT_LENGTHS {
        let plaintext: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        let encrypted = kms.encrypt(KmsRequest::new(key_id, &context), &plaintext).await?;
        require(encrypted.key_arn == arn, "it does not answer with the ARN of the key")?;
        let opened = kms.decrypt(KmsRequest::new(arn, &context), &encrypted.ciphertext).await?;
        require(opened.plaintext.expose_secret() == plaintext, "it does not open what it encrypted")?;
        require(opened.key_arn == arn, "it does not answer with the ARN that was asked for")?;
    }
    for length in [0, 4097] {
        let taken = kms.encrypt(KmsRequest::new(key_id, &context), &vec![7; length]).await;
        let broken = "it takes a plaintext that is empty or over 4096 bytes, or refuses it as no invalid input";
        refused(taken, &[ErrorKind::InvalidInput], broken)?;
    }
    Ok(())
}

/// Ciphertexts are bound to all of their context and to nothing else.
async fn check_contexts(kms: &dyn Kms, key_id: &str) -> Result<()> {
    type Pairs = &'static [(&'static str, &'static str)];
    const CASES: [(Pairs, &[Pairs]); 4] = [
        // Serialised carelessly, these contexts look alike.
        (&[("ab", "c")], &[&[("a", "bc")], &[("AB", "c")], &[("ab", "C")], &[("ab", "c"), ("d", "e")], &[]]),
        (&[("a", "1"), ("b", "2")], &[&[("a", "2"), ("b", "1")], &[("a", "1")], &[("b", "2")], &[("a", "1, b: 2")]]),
        // By UTF-16 these keys come in another order than by UTF-8. The others look alike to people and in ASCII.
        (
            &[("\u{10000}", "2"), ("\u{ff61}", "1"), ("caf\u{e9}", "\u{df}")],
            &[
                &[("\u{10000}", "2"), ("\u{ff61}", "1"), ("cafe\u{301}", "\u{df}")],
                &[("\u{10000}", "2"), ("\u{ff61}", "1"), ("caf\u{e8}", "\u{df}")],
                &[("\u{10000}", "1"), ("\u{ff61}", "2"), ("caf\u{e9}", "\u{df}")],
            ],
        ),
        (&[], &[&[("a", "1")]]),
    ];
    for (bound, others) in CASES {
        let bound_context = context(bound)?;
        let encrypted = kms.encrypt(KmsRequest::new(key_id, &bound_context), b"plaintext").await?;
        let turned: Vec<_> = bound.iter().rev().copied().collect();
        let opened = kms.decrypt(KmsRequest::new(key_id, &context(&turned)?), &encrypted.ciphertext).await?;
        require(opened.plaintext.expose_secret() == b"plaintext", "it does not open what it encrypted")?;
        for other in others {
            let opened = kms.decrypt(KmsRequest::new(key_id, &context(other)?), &encrypted.ciphertext).await;
            refused_key(opened, "its ciphertexts are not bound to the encryption context, or it misjudges that")?;
        }
    }
    Ok(())
}

/// What the KMS did not make does not open.
async fn check_ciphertexts(kms: &dyn Kms, key_id: &str) -> Result<()> {
    let context = context(&[("ab", "c")])?;
    let encrypted = kms.encrypt(KmsRequest::new(key_id, &context), b"plaintext").await?.ciphertext;
    let all_changed: Vec<u8> = encrypted.iter().map(|byte| byte ^ 0x55).collect();
    let (mut last_changed, mut cut) = (encrypted.clone(), encrypted.clone());
    cut.pop();
    if let Some(last) = last_changed.last_mut() {
        *last ^= 1;
    }
    let longer = [encrypted.as_slice(), b"\0"].concat();
    let garbage = vec![0x5a; 200];
    for ciphertext in [all_changed, last_changed, cut, longer, garbage] {
        let opened = kms.decrypt(KmsRequest::new(key_id, &context), &ciphertext).await;
        refused_key(opened, "it opens or misjudges a changed ciphertext")?;
    }
    let opened = kms.decrypt(KmsRequest::new(key_id, &context), &[]).await;
    // AWS KMS finds the request at fault.
    let kinds = [ErrorKind::KeyRefused, ErrorKind::InvalidInput];
    refused(opened, &kinds, "it opens or misjudges an empty ciphertext")
}

/// A key that is not there is refused, as an answer that trying again does not change.
async fn check_unknown_key(kms: &dyn Kms, arn: &str) -> Result<()> {
    let context = context(&[("ab", "c")])?;
    let made = kms.generate_data_key(KmsRequest::new(arn, &context), 32).await?;
    let parts = KeyArn::parse(arn)?;
    let unknown = format!("arn:{}:kms:{}:{}:key/{NO_KEY}", parts.partition, parts.region, parts.account);
    let request = KmsRequest::new(&unknown, &context);
    let broken = "it uses or misjudges a key that is not there";
    refused_key(kms.generate_data_key(request, 32).await, broken)?;
    refused_key(kms.encrypt(request, b"plaintext").await, broken)?;
    refused_key(kms.decrypt(request, &made.ciphertext).await, broken)
}

fn context(pairs: &[(&str, &str)]) -> Result<EncryptionContext> {
    EncryptionContext::new(pairs.iter().copied())
}

fn refused_key<T>(answer: Result<T>, broken: &'static str) -> Result<()> {
    refused(answer, &[ErrorKind::KeyRefused], broken)
}

fn refused<T>(answer: Result<T>, kinds: &[ErrorKind], broken: &'static str) -> Result<()> {
    require(answer.is_err_and(|error| kinds.contains(&error.kind())), broken)
}
