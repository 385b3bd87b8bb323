//! The rules of the house, as far as text can show them.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file with its path below `src`, comments and unit tests left out.
fn sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
                if name.ends_with("tests.rs") {
                    continue;
                }
                sources.push((name, code(&fs::read_to_string(path).unwrap())));
            }
        }
    }
    assert!(sources.len() > 25, "the sources were not found");
    sources
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The files that name one of `words` as a path, save those that `may`.
fn who_names(words: &[&str], may: impl Fn(&str) -> bool) -> Vec<String> {
    let names = |text: &str, word: &str| {
        text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let starts = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
            starts && text[at + word.len()..].starts_with("::")
        })
    };
    let found = sources().into_iter().filter(|(name, _)| !may(name));
    let found = found.filter(|(_, text)| words.iter().any(|word| names(text, word)));
    found.map(|(name, _)| name).collect()
}

#[test]
fn the_crypto_crates_are_named_in_crypto_alone() {
    let crates = [
        "aes_gcm",
        "aws_lc_rs",
        "argon2",
        "getrandom",
        "hkdf",
        "hmac",
        "p256",
        "p384",
        "pkcs1",
        "pkcs8",
        "rand_core",
        "sha2",
        "subtle",
    ];
    let allowed = |name: &str| name == "crypto.rs" || name.starts_with("crypto/");
    assert_eq!(who_names(&crates, allowed), [""; 0]);
    assert!(!who_names(&crates, |_| false).is_empty(), "the check finds nothing at all");
}

#[test]
fn the_aws_sdk_and_tokio_stay_in_their_rooms() {
    assert_eq!(who_names(&["aws_credential_types", "aws_sdk_kms", "aws_types"], |name| name == "kms/aws.rs"), [""; 0]);
    assert_eq!(who_names(&["tokio"], |name| name == "kms/aws.rs" || name.starts_with("stream/")), [""; 0]);
    for word in ["aws_sdk_kms", "tokio"] {
        assert!(!who_names(&[word], |_| false).is_empty(), "the check does not find {word}");
    }
}

#[test]
fn redb_and_ciborium_stay_in_the_embedded_kms() {
    let store = |name: &str| name.starts_with("kms/local/");
    assert_eq!(who_names(&["redb", "ciborium", "serde", "serde_bytes", "serde_json", "humantime"], store), [""; 0]);
    for word in ["redb", "ciborium"] {
        assert!(!who_names(&[word], |_| false).is_empty(), "the check does not find {word}");
    }
}

#[test]
fn the_message_knows_neither_keys_nor_files() {
    let of_message: Vec<_> = sources().into_iter().filter(|(name, _)| name.starts_with("message")).collect();
    assert!(of_message.len() >= 5);
    for (name, text) in of_message {
        for room in ["keyring", "cmm", "kms", "crypto", "client", "encrypt", "decrypt", "stream"] {
            assert!(!text.contains(&format!("crate::{room}")), "{name} imports {room}");
        }
        for io in ["std::fs", "std::net", "File"] {
            assert!(!text.contains(io), "{name} names {io}");
        }
    }
}

#[test]
fn keys_and_bytes_meet_in_encrypt_and_decrypt_alone() {
    // What sees plaintext names no keyring, and what sees keys names no frame.
    let sees_bytes = |name: &str| name.starts_with("stream");
    let sees_keys = |name: &str| ["cmm", "keyring", "kms"].iter().any(|room| name.starts_with(room));
    assert!(sources().iter().filter(|(name, _)| sees_bytes(name)).count() > 5, "the streams were not found");
    assert!(sources().iter().filter(|(name, _)| sees_keys(name)).count() > 20, "the keyrings were not found");
    for (name, text) in sources() {
        let (bytes, keys) = (sees_bytes(&name), sees_keys(&name));
        for room in ["cmm", "keyring", "kms"] {
            assert!(!(bytes && text.contains(&format!("crate::{room}"))), "{name} imports {room}");
        }
        for room in ["stream", "message::frame", "encrypt", "decrypt"] {
            assert!(!(keys && text.contains(&format!("crate::{room}"))), "{name} imports {room}");
        }
    }
}

#[test]
fn nothing_panics_by_name() {
    for (name, text) in sources() {
        for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!(", "unsafe {"] {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
}

#[test]
fn files_are_short_and_name_their_modules() {
    for (name, text) in sources() {
        assert!(text.lines().count() <= 600, "{name} is long");
        assert!(!name.ends_with("/mod.rs"), "{name}");
    }
}

#[test]
fn the_rsa_crate_is_never_a_dependency() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    assert!(!lock.contains("name = \"rsa\"\n"));
}
