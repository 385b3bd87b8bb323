//! Everything that the embedded KMS decodes: arbitrary bytes as store file, record, ciphertext and policy end in typed
//! errors, and a damaged store never gives a wrong answer.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use manila::kms::{Kms, KmsRequest};
use manila::local_kms::{CreateKey, LocalKms, RootKey};
use manila::testing::{open_store, read_ciphertext, read_policy, read_record, ready};
use manila::{EncryptionContext, ErrorKind};

/// A store's file, and what it is to decrypt.
struct Subject {
    file: Vec<u8>,
    key_arn: String,
    ciphertext: Vec<u8>,
}

const PLAINTEXT: &[u8] = b"what was encrypted";

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice % 5 {
        0 => _ = read_record(rest),
        1 => _ = read_ciphertext(&[b"manila-kms\x01", rest].concat()),
        2 => {
            let context = EncryptionContext::new([("AppName", "x"), ("appname", "y"), ("b", "")]).unwrap();
            let text = String::from_utf8_lossy(rest);
            if let Err(error) = read_policy(&text, &context) {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            }
        }
        3 => {
            let error = open_store(rest, root()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::Io), "{error}");
        }
        _ => use_damaged(rest),
    }
});

fn root() -> RootKey {
    RootKey::from_bytes(&[7; 32])
}

/// Opens the store with bytes of its file replaced, and decrypts: what was encrypted, or a typed error.
fn use_damaged(changes: &[u8]) {
    let subject = subject();
    let mut file = subject.file.clone();
    for change in changes.chunks_exact(4) {
        let at = (usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2])) % file.len();
        file[at] = change[3];
    }
    match open_store(&file, root()) {
        Ok(kms) => match decrypt(&kms, subject) {
            Ok(plaintext) => assert_eq!(plaintext, PLAINTEXT),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Storage), "{error}"),
        },
        Err(error) => {
            let kinds = [ErrorKind::Storage, ErrorKind::Io, ErrorKind::RootKeyChanged];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    }
}

fn decrypt(kms: &LocalKms, subject: &Subject) -> manila::Result<Vec<u8>> {
    let context = EncryptionContext::empty();
    let opened = ready(kms.decrypt(KmsRequest::new(&subject.key_arn, &context), &subject.ciphertext))?;
    Ok(opened.plaintext.expose_secret().to_vec())
}

fn subject() -> &'static Subject {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    SUBJECT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let kms = LocalKms::create(&path, root()).unwrap();
        let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
        let context = EncryptionContext::empty();
        let request = KmsRequest::new(key.arn(), &context);
        let ciphertext = ready(kms.encrypt(request, PLAINTEXT)).unwrap().ciphertext;
        kms.purge().unwrap();
        drop(kms);
        Subject { file: std::fs::read(path).unwrap(), key_arn: key.arn().to_owned(), ciphertext }
    })
}
