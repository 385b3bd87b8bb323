//! Checks of the contract of [`Kms`] by calls.

use super::require;
use crate::context::EncryptionContext;
use crate::error::{ErrorKind, Result};
use crate::key_arn::KeyArn;
use crate::kms::{Kms, KmsRequest};

/// The data key lengths of the algorithm suites.
const DATA_KEY_LENGTHS: [usize; 3] = [16, 24, 32];
/// Lengths of plaintexts: the limits of a KMS, and lengths around blocks and length fields of ciphertexts.
const PLAINTEXT_LENGTHS: [usize; 12] = [1, 2, 15, 16, 17, 127, 128, 255, 256, 257, 4095, 4096];
/// An id in AWS's form that no key has.
const NO_KEY: &str = "00000000-0000-4000-8000-000000000000";

/// Checks a KMS against the contract of [`Kms`]: `key_id` names a key that may generate, encrypt and decrypt.
///
/// Makes about 70 calls. [`check_two_keys`] checks more with a second key.
///
/// # Errors
/// [`ErrorKind::Internal`] with the part of the contract that is broken, or the error of the KMS where it should have
/// succeeded.
pub async fn check_kms(kms: &dyn Kms, key_id: &str) -> Result<()> {
    let arn = check_data_keys(kms, key_id).await?;
    check_plaintexts(kms, key_id, &arn).await?;
    check_contexts(kms, key_id).await?;
    check_ciphertexts(kms, key_id).await?;
    check_unknown_key(kms, &arn).await
}

/// Checks the part of the contract of [`Kms`] that needs two keys, which may generate, encrypt and decrypt.
///
/// # Errors
/// The same as [`check_kms`].
pub async fn check_two_keys(kms: &dyn Kms, one: &str, other: &str) -> Result<()> {
    let context = context(&[("ab", "c")])?;
    let mut arns = Vec::new();
    for (own, foreign) in [(one, other), (other, one)] {
        let made = kms.generate_data_key(KmsRequest::new(own, &context), 32).await?;
        let encrypted = kms.encrypt(KmsRequest::new(own, &context), b"plaintext").await?;
        require(made.key_arn == encrypted.key_arn, "it returns two ARNs for one key")?;
        for ciphertext in [&made.ciphertext, &encrypted.ciphertext] {
            kms.decrypt(KmsRequest::new(own, &context), ciphertext).await?;
            let opened = kms.decrypt(KmsRequest::new(foreign, &context), ciphertext).await;
            refused_key(opened, "it decrypts the ciphertext of another key, or fails with the wrong error")?;
        }
        arns.push(made.key_arn);
    }
    arns.dedup();
    require(arns.len() == 2, "it returns one ARN for two keys")
}

/// Checks that data keys come in all lengths, differ, and can be decrypted. Returns the ARN of the key.
async fn check_data_keys(kms: &dyn Kms, key_id: &str) -> Result<String> {
    let context = context(&[("ab", "c")])?;
    let mut arn = String::new();
    for length in DATA_KEY_LENGTHS {
        let made = kms.generate_data_key(KmsRequest::new(key_id, &context), length).await?;
        require(made.plaintext.len() == length, "its data key is not as long as was asked for")?;
        require(KeyArn::parse(&made.key_arn).is_ok(), "it does not return the ARN of the key")?;
        let again = kms.generate_data_key(KmsRequest::new(key_id, &context), length).await?;
        require(
            made.plaintext.expose_secret() != again.plaintext.expose_secret(),
            "it generated the same data key twice",
        )?;
        for name in [key_id, &made.key_arn] {
            let opened = kms.decrypt(KmsRequest::new(name, &context), &made.ciphertext).await?;
            let same = opened.plaintext.expose_secret() == made.plaintext.expose_secret();
            require(same, "it does not decrypt the data key that it generated")?;
            require(opened.key_arn == made.key_arn, "it does not return the ARN that was asked for")?;
        }
        arn = made.key_arn;
    }
    Ok(arn)
}

/// Checks that plaintexts of 1 to 4096 bytes survive, under the key's id and its ARN, and others are refused.
async fn check_plaintexts(kms: &dyn Kms, key_id: &str, arn: &str) -> Result<()> {
    let context = context(&[("ab", "c")])?;
    for length in PLAINTEXT_LENGTHS {
        let plaintext: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        let encrypted = kms.encrypt(KmsRequest::new(key_id, &context), &plaintext).await?;
        require(encrypted.key_arn == arn, "it does not return the ARN of the key")?;
        let opened = kms.decrypt(KmsRequest::new(arn, &context), &encrypted.ciphertext).await?;
        require(opened.plaintext.expose_secret() == plaintext, "it does not decrypt what it encrypted")?;
        require(opened.key_arn == arn, "it does not return the ARN that was asked for")?;
    }
    for length in [0, 4097] {
        let taken = kms.encrypt(KmsRequest::new(key_id, &context), &vec![7; length]).await;
        let broken = "it accepts a plaintext that is empty or over 4096 bytes, or does not refuse it as invalid input";
        refused(taken, &[ErrorKind::InvalidInput], broken)?;
    }
    Ok(())
}

/// Checks that ciphertexts are bound to their whole context and to nothing else.
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
        require(opened.plaintext.expose_secret() == b"plaintext", "it does not decrypt what it encrypted")?;
        for other in others {
            let opened = kms.decrypt(KmsRequest::new(key_id, &context(other)?), &encrypted.ciphertext).await;
            refused_key(
                opened,
                "its ciphertexts are not bound to the encryption context, or it fails with the wrong error",
            )?;
        }
    }
    Ok(())
}

/// Checks that changed ciphertexts are refused.
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
        refused_key(opened, "it decrypts a changed ciphertext, or fails with the wrong error")?;
    }
    let opened = kms.decrypt(KmsRequest::new(key_id, &context), &[]).await;
    // AWS KMS finds the request at fault.
    let kinds = [ErrorKind::KeyRefused, ErrorKind::InvalidInput];
    refused(opened, &kinds, "it decrypts an empty ciphertext, or fails with the wrong error")
}

/// Checks that a missing key is refused, with an error that does not ask to try again.
async fn check_unknown_key(kms: &dyn Kms, arn: &str) -> Result<()> {
    let context = context(&[("ab", "c")])?;
    let made = kms.generate_data_key(KmsRequest::new(arn, &context), 32).await?;
    let parts = KeyArn::parse(arn)?;
    let unknown = format!("arn:{}:kms:{}:{}:key/{NO_KEY}", parts.partition, parts.region, parts.account);
    let request = KmsRequest::new(&unknown, &context);
    let broken = "it uses a key that does not exist, or fails with the wrong error";
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
