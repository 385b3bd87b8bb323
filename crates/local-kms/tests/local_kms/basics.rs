//! The basics: names, ciphertexts, lengths, files.

use std::path::Path;

use manila_core::testing::{check_kms, check_two_keys, ready};
use manila_local_kms::{Clock, CreateKey, EncryptionContext, ErrorKind, KeyArn, Kms, KmsRequest, LocalKms, RootKey};

use crate::{Folder, TestClock, code, decrypt, described, encrypt};

#[test]
fn it_keeps_the_contracts() {
    let folder = Folder::new();
    for kms in [LocalKms::in_memory().unwrap(), folder.create()] {
        let key = kms.create_key(CreateKey::default()).unwrap();
        ready(check_kms(&kms, key.arn())).unwrap();
        ready(check_kms(&kms, key.key_id())).unwrap();
        let other = kms.create_key(CreateKey::default()).unwrap();
        ready(check_two_keys(&kms, key.arn(), other.arn())).unwrap();
    }
}

#[test]
fn keys_go_by_four_names() {
    let clock = TestClock::new();
    let kms = LocalKms::builder().clock(clock.clone()).in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/a/b").description("for tests")).unwrap();
    let arn = KeyArn::parse(key.arn()).unwrap();
    assert_eq!((arn.partition, arn.region, arn.account, arn.key_id), ("aws", "local", "000000000000", key.key_id()));
    let alias_arn = "arn:aws:kms:local:000000000000:alias/a/b";
    for name in [key.key_id(), key.arn(), "alias/a/b", alias_arn] {
        assert_eq!(kms.describe_key(name).unwrap(), key, "{name}");
        assert_eq!(decrypt(&kms, name, &encrypt(&kms, name, b"x").unwrap()).unwrap(), b"x");
    }
    assert_eq!(key.description(), "for tests");
    assert_eq!(key.created(), clock.now());
    for name in [
        "",
        "alias/other",
        "00000000-0000-4000-8000-000000000000",
        "arn:aws:kms:local:000000000000:alias/other",
        &key.arn().replace("local", "eu-west-1"),
        &key.arn().replace("000000000000", "111122223333"),
        &key.arn().replace("aws:", "aws-cn:"),
        // A key's ARN names a key and an alias's ARN an alias, with nothing after it.
        "arn:aws:kms:local:000000000000:key/alias/a/b",
        &format!("arn:aws:kms:local:000000000000:key/x:{}", key.key_id()),
        &format!("arn:aws:kms:local:000000000000:alias/none:{}", key.key_id()),
        &format!("arn:aws:kms:local:000000000000:alias/{}", key.key_id()),
    ] {
        let error = kms.describe_key(name).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "NotFoundException"), "{name}");
    }
}

#[test]
fn aliases_are_taken_once() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    let error = kms.create_key(CreateKey::default().alias("alias/a")).unwrap_err();
    assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "AlreadyExistsException"));
    assert_eq!(described(&kms), std::slice::from_ref(&key), "the key of the failed call is not there");
    assert_eq!(code(&kms.create_alias("no-alias", key.key_id()).unwrap_err()), "InvalidAliasNameException");
    assert_eq!(code(&kms.create_alias("alias/b", "alias/none").unwrap_err()), "NotFoundException");
    kms.create_alias("alias/b", key.arn()).unwrap();
    let aliases = kms.list_aliases().unwrap();
    let named: Vec<_> = aliases.iter().map(|alias| (alias.name(), alias.key_arn())).collect();
    assert_eq!(named, [("alias/a", key.arn()), ("alias/b", key.arn())]);
}

#[test]
fn ciphertexts_open_with_their_own_key_and_context_alone() {
    let kms = LocalKms::in_memory().unwrap();
    let (key, other) = (kms.create_key(CreateKey::default()).unwrap(), kms.create_key(CreateKey::default()).unwrap());
    let ciphertext = encrypt(&kms, key.arn(), b"secret").unwrap();
    assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"secret");
    assert_eq!(code(&decrypt(&kms, other.arn(), &ciphertext).unwrap_err()), "IncorrectKeyException");
    for at in 0..ciphertext.len() {
        let mut changed = ciphertext.clone();
        changed[at] ^= 1;
        assert!(decrypt(&kms, key.arn(), &changed).is_err(), "byte {at}");
        assert!(decrypt(&kms, key.arn(), &ciphertext[..at]).is_err(), "{at} bytes");
    }
    assert!(decrypt(&kms, key.arn(), &[&ciphertext[..], b"\0"].concat()).is_err());
    let mut loose = ciphertext.clone();
    loose.splice(11..12, [0xbf]);
    loose.push(0xff);
    assert!(decrypt(&kms, key.arn(), &loose).is_err(), "the same blob in another encoding");
    let bomb = [b"manila-kms\x01".as_slice(), &[0x9f; 6000]].concat();
    assert_eq!(code(&decrypt(&kms, key.arn(), &bomb).unwrap_err()), "InvalidCiphertextException");
    let foreign = decrypt(&kms, key.arn(), b"\x01\x02\x02\x00x\xb7 a blob of AWS").unwrap_err();
    assert_eq!(code(&foreign), "InvalidCiphertextException");
    assert!(foreign.to_string().contains("the KMS that made it"), "{foreign}");
}

#[test]
fn plaintexts_have_the_lengths_of_aws() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let largest = encrypt(&kms, key.arn(), &[7; 4096]).unwrap();
    assert!(largest.len() <= 6144);
    assert_eq!(decrypt(&kms, key.arn(), &largest).unwrap(), [7; 4096]);
    assert_eq!(code(&encrypt(&kms, key.arn(), &[]).unwrap_err()), "ValidationException");
    assert_eq!(code(&encrypt(&kms, key.arn(), &[7; 4097]).unwrap_err()), "ValidationException");
    let empty = EncryptionContext::empty();
    for length in [0, 1025] {
        let error = ready(kms.generate_data_key(KmsRequest::new(key.arn(), &empty), length)).unwrap_err();
        assert_eq!(code(&error), "ValidationException");
    }
}

#[test]
fn a_store_outlives_its_process_and_serves_several() {
    let folder = Folder::new();
    let (key, ciphertext) = {
        let kms = folder.create();
        let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
        let ciphertext = encrypt(&kms, key.arn(), b"kept").unwrap();
        (key, ciphertext)
    };
    // Neither the handle that made the store nor the other one is closed in between.
    let fresh = Folder::new();
    let maker = fresh.create();
    let made = fresh.open().unwrap().create_key(CreateKey::default()).unwrap();
    assert_eq!(maker.describe_key(made.arn()).unwrap(), made);
    let (one, two) = (folder.open().unwrap(), folder.open().unwrap());
    assert_eq!(decrypt(&one, key.arn(), &ciphertext).unwrap(), b"kept");
    let made_by_two = two.create_key(CreateKey::default()).unwrap();
    assert_eq!(one.describe_key(made_by_two.arn()).unwrap(), made_by_two);
    assert_eq!(decrypt(&one, made_by_two.arn(), &encrypt(&two, made_by_two.arn(), b"x").unwrap()).unwrap(), b"x");
}

#[test]
fn many_threads_share_a_store() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (kms, key) = (kms.clone(), &key);
            scope.spawn(move || {
                for _ in 0..25 {
                    let sealed = encrypt(&kms, key.arn(), &[thread + 1; 32]).unwrap();
                    assert_eq!(decrypt(&kms, key.arn(), &sealed).unwrap(), [thread + 1; 32]);
                }
                kms.create_key(CreateKey::default()).unwrap();
            });
        }
    });
    assert_eq!(kms.list_keys().unwrap().len(), 5);
}

#[test]
fn only_the_right_root_key_opens_a_store() {
    let folder = Folder::new();
    drop(folder.create());
    let kind = |root| LocalKms::open(folder.store(), root).unwrap_err().kind();
    assert_eq!(kind(RootKey::from_bytes(&[0; 32])), ErrorKind::Storage);
    assert_eq!(kind(RootKey::from_passphrase("guess")), ErrorKind::Storage);
    assert!(folder.open().is_ok());
}

#[test]
fn a_passphrase_can_be_the_root_key() {
    let folder = Folder::new();
    let kms = LocalKms::create(folder.store(), RootKey::from_passphrase("correct horse")).unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    drop(kms);
    let error = LocalKms::open(folder.store(), RootKey::from_passphrase("wrong horse")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    let error = LocalKms::open(folder.store(), RootKey::from_bytes(&[0; 32])).unwrap_err();
    assert!(error.to_string().contains("passphrase"), "{error}");
    let kms = LocalKms::open(folder.store(), RootKey::from_passphrase("correct horse")).unwrap();
    assert_eq!(described(&kms), [key]);
}

#[test]
fn nothing_is_overwritten_and_what_is_missing_is_said() {
    let folder = Folder::new();
    drop(folder.create());
    let before = std::fs::read(folder.root()).unwrap();
    assert_eq!(RootKey::create_file(folder.root()).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(std::fs::read(folder.root()).unwrap(), before);
    let error = LocalKms::create(folder.store(), RootKey::from_bytes(&[0; 32])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(folder.open().is_ok());
    assert_eq!(RootKey::open_file("no/such/file").unwrap_err().kind(), ErrorKind::Io);
    let error = LocalKms::open("no/such/file", RootKey::from_bytes(&[0; 32])).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("no/such/file"), "{error:?}");
    let left: Vec<_> = std::fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    for len in [0, 31, 33] {
        let path = folder.0.path().join("other.key");
        let _ = std::fs::remove_file(&path);
        RootKey::create_file(&path).unwrap();
        std::fs::write(&path, vec![0; len]).unwrap();
        assert_eq!(RootKey::open_file(path).unwrap_err().kind(), ErrorKind::Storage, "{len}");
    }
}

#[cfg(unix)]
#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    drop(folder.create());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.root()), mode(&folder.store())), (0o600, 0o600));
}

#[test]
fn the_file_shows_no_secret_and_no_description() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default().alias("alias/a").description("launch codes")).unwrap();
    drop(kms);
    let file = std::fs::read(folder.store()).unwrap();
    let holds = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
    assert!(holds(key.key_id().as_bytes()), "the key is stored under its id");
    assert!(!holds(b"launch codes"));
    assert!(!holds(b"secret"), "the name of a field of a record");
    assert!(!holds(&std::fs::read(folder.root()).unwrap()));
}

#[test]
fn damage_to_the_file_is_refused_and_never_panics() {
    let folder = Folder::new();
    let kms = folder.create();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    drop(kms);
    let intact = std::fs::read(folder.store()).unwrap();
    let attempt = || {
        let kms = folder.open()?;
        let sealed = encrypt(&kms, "alias/a", b"x")?;
        decrypt(&kms, key.arn(), &sealed)
    };
    assert_eq!(attempt().unwrap(), b"x");
    let intact_now = intact.clone();
    // Every 97th byte of the file, changed or cut.
    for at in (0..intact_now.len()).step_by(97) {
        let mut damaged = intact_now.clone();
        damaged[at] ^= 0x10;
        std::fs::write(folder.store(), &damaged).unwrap();
        match attempt() {
            Ok(plaintext) => assert_eq!(plaintext, b"x"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::KeyRefused), "{at}: {error:?}");
            }
        }
    }
    for len in [0, 1, 100, 4096, intact_now.len() / 2, intact_now.len() - 1] {
        std::fs::write(folder.store(), &intact_now[..len]).unwrap();
        if let Err(error) = attempt() {
            assert!(matches!(error.kind(), ErrorKind::Storage), "{len}: {error:?}");
        }
    }
}
