//! Aliases: names that can move to another key, and are deleted with their key.

use manila_local_kms::testing::records_read;
use manila_local_kms::{CreateKey, ErrorKind, KeySpec, LocalKms, RootKey};

use crate::lifecycle::{alias_rows, rows};
use crate::{Folder, TestClock, both, code, decrypt, encrypt};

fn aliases(kms: &LocalKms) -> Vec<(String, String)> {
    kms.list_aliases().unwrap().iter().map(|alias| (alias.name().to_owned(), alias.key_arn().to_owned())).collect()
}

fn pair(name: &str, key_arn: &str) -> (String, String) {
    (name.to_owned(), key_arn.to_owned())
}

#[test]
fn retargeting_takes_effect_at_the_next_call_with_no_change_in_the_program() {
    for (kms, _, folder) in both() {
        let [old, new] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
        kms.create_alias("alias/app", old.arn()).unwrap();
        // The program's own handle, and one of another process.
        let mut handles = vec![kms.clone()];
        handles.extend(folder.open());
        let ciphertext = encrypt(&kms, "alias/app", b"x").unwrap();
        kms.update_alias("alias/app", new.key_id()).unwrap();
        for kms in &handles {
            assert_eq!(kms.describe_key("alias/app").unwrap(), new);
            assert_eq!(code(&decrypt(kms, "alias/app", &ciphertext).unwrap_err()), "IncorrectKeyException");
            assert_eq!(decrypt(kms, old.arn(), &ciphertext).unwrap(), b"x", "old ciphertexts are still the old key's");
        }
        let after = encrypt(&kms, "alias/app", b"x").unwrap();
        assert_eq!(decrypt(&kms, new.arn(), &after).unwrap(), b"x", "new ciphertexts are the new key's");
        assert_eq!(code(&decrypt(&kms, old.arn(), &after).unwrap_err()), "IncorrectKeyException");
        kms.update_alias("alias/app", old.arn()).unwrap();
        assert_eq!(decrypt(&kms, "alias/app", &ciphertext).unwrap(), b"x");
    }
}

#[test]
fn aliases_are_made_listed_and_deleted() {
    for (kms, _, _folder) in both() {
        let [one, two] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
        assert!(aliases(&kms).is_empty());
        for (alias, key) in [("alias/c", one.arn()), ("alias/a", two.key_id()), ("alias/b", one.key_id())] {
            kms.create_alias(alias, key).unwrap();
        }
        let named = [pair("alias/a", two.arn()), pair("alias/b", one.arn()), pair("alias/c", one.arn())];
        assert_eq!(aliases(&kms), named);
        kms.delete_alias("alias/b").unwrap();
        assert_eq!(aliases(&kms), [named[0].clone(), named[2].clone()]);
        for error in [
            kms.describe_key("alias/b").unwrap_err(),
            kms.delete_alias("alias/b").unwrap_err(),
            kms.update_alias("alias/b", one.arn()).unwrap_err(),
            kms.update_alias("alias/a", "no key").unwrap_err(),
            kms.create_alias("alias/d", "no key").unwrap_err(),
        ] {
            assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "NotFoundException"));
        }
        let error = kms.create_alias("alias/a", one.arn()).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "AlreadyExistsException"));
        assert_eq!(kms.describe_key("alias/a").unwrap(), two, "a name that is in use stays with its key");
        assert_eq!(kms.describe_key(one.arn()).unwrap(), one, "the key remains without the name");
        kms.create_alias("alias/b", two.arn()).unwrap();
        assert_eq!(kms.describe_key("alias/b").unwrap(), two);
    }
}

#[test]
fn names_follow_the_rules_of_aws() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let longest = format!("alias/{}", "a".repeat(250));
        for good in ["alias/A-z_0/9", "alias/aws", "alias/awsx/1", &longest] {
            kms.create_alias(good, key.arn()).unwrap();
            assert_eq!(kms.describe_key(good).unwrap(), key);
        }
        let long = format!("alias/{}", "a".repeat(251));
        let alias_arn = "arn:aws:kms:local:000000000000:alias/a";
        for bad in ["", "a", "alias/", "Alias/a", "alias/a b", "alias/a:b", "alias/é", "alias/aws/s3", &long, alias_arn]
        {
            for error in [
                kms.create_alias(bad, key.arn()).unwrap_err(),
                kms.create_key(CreateKey::default().alias(bad)).unwrap_err(),
                kms.update_alias(bad, key.arn()).unwrap_err(),
                kms.delete_alias(bad).unwrap_err(),
            ] {
                let kind = (error.kind(), code(&error));
                assert_eq!(kind, (ErrorKind::InvalidInput, "InvalidAliasNameException"), "{bad}");
            }
        }
        assert_eq!(kms.list_keys().unwrap().len(), 1);
    }
}

#[test]
fn an_alias_goes_to_a_key_for_the_same_use() {
    for (kms, _, _folder) in both() {
        let make = |spec| kms.create_key(CreateKey::default().spec(spec)).unwrap();
        let (key, hmac, other) = (make(KeySpec::SymmetricDefault), make(KeySpec::Hmac256), make(KeySpec::Hmac512));
        let imported = kms.create_key(CreateKey::default().imported()).unwrap();
        kms.create_alias("alias/key", key.arn()).unwrap();
        kms.create_alias("alias/mac", hmac.arn()).unwrap();
        for error in [
            kms.update_alias("alias/key", hmac.arn()).unwrap_err(),
            kms.update_alias("alias/mac", key.arn()).unwrap_err(),
        ] {
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"));
        }
        assert_eq!(aliases(&kms), [pair("alias/key", key.arn()), pair("alias/mac", hmac.arn())]);
        kms.update_alias("alias/mac", other.arn()).unwrap();
        kms.update_alias("alias/key", imported.arn()).unwrap();
        assert_eq!(aliases(&kms), [pair("alias/key", imported.arn()), pair("alias/mac", other.arn())]);
    }
}

#[test]
fn an_alias_does_not_outlive_its_key() {
    for (kms, clock, _folder) in both() {
        let [gone, kept] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
        for alias in ["alias/a", "alias/b", "alias/moved"] {
            kms.create_alias(alias, gone.arn()).unwrap();
        }
        kms.schedule_key_deletion_in(gone.arn(), 7).unwrap();
        // While the deletion is pending, a name can be moved to another key but not to this one.
        kms.update_alias("alias/moved", kept.arn()).unwrap();
        assert_eq!(code(&kms.update_alias("alias/moved", gone.arn()).unwrap_err()), "KMSInvalidStateException");
        clock.advance_days(7);
        // This is the first call after the deadline: nothing was removed before it.
        kms.create_alias("alias/a", kept.arn()).unwrap();
        assert_eq!(aliases(&kms), [pair("alias/a", kept.arn()), pair("alias/moved", kept.arn())]);
        assert_eq!(code(&kms.describe_key("alias/b").unwrap_err()), "NotFoundException");
        let new = kms.create_key(CreateKey::default().alias("alias/b")).unwrap();
        assert_eq!(kms.describe_key("alias/b").unwrap(), new);
    }
}

#[test]
fn each_region_has_its_own_aliases() {
    for (kms, _, _folder) in both() {
        let europe = kms.region("eu-west-1").unwrap();
        let here = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
        let there = europe.create_key(CreateKey::default().alias("alias/a")).unwrap();
        assert_eq!(
            (kms.describe_key("alias/a").unwrap(), europe.describe_key("alias/a").unwrap()),
            (here.clone(), there)
        );
        assert_eq!(aliases(&kms), [pair("alias/a", here.arn())]);
        // No name refers to a key in another region.
        for error in [
            europe.create_alias("alias/b", here.arn()).unwrap_err(),
            europe.create_alias("alias/b", here.key_id()).unwrap_err(),
            europe.update_alias("alias/a", here.arn()).unwrap_err(),
            europe.describe_key("arn:aws:kms:local:000000000000:alias/a").unwrap_err(),
        ] {
            assert_eq!(code(&error), "NotFoundException");
        }
        europe.delete_alias("alias/a").unwrap();
        assert_eq!(kms.describe_key("alias/a").unwrap(), here);
    }
}

#[test]
fn what_changes_a_key_takes_no_alias() {
    // As on AWS: retargeting an alias never causes the wrong key to be deleted.
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    for name in ["alias/a", "arn:aws:kms:local:000000000000:alias/a"] {
        for (operation, refused) in [
            ("ScheduleKeyDeletion", kms.schedule_key_deletion(name).map(|_| ())),
            ("CancelKeyDeletion", kms.cancel_key_deletion(name)),
            ("EnableKey", kms.enable_key(name)),
            ("DisableKey", kms.disable_key(name)),
            ("RotateKeyOnDemand", kms.rotate_key_on_demand(name)),
            ("EnableKeyRotation", kms.enable_key_rotation(name)),
            ("UpdateKeyDescription", kms.update_key_description(name, "x")),
            ("TagResource", kms.tag_key(name, [("a", "b")])),
            ("PutKeyPolicy", kms.put_key_policy(name, &kms.key_policy(key.arn()).unwrap())),
            ("ReplicateKey", kms.replicate_key(name, "eu-west-1").map(|_| ())),
            ("CreateAlias", kms.create_alias("alias/b", name)),
            ("UpdateAlias", kms.update_alias("alias/a", name)),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(code(&error), "NotFoundException", "{operation}");
            assert!(error.to_string().contains("not by an alias"), "{error}");
        }
    }
    assert_eq!(kms.describe_key("alias/a").unwrap(), key);
}

/// Returns how many records the first call after the deadline of ten keys with two aliases each reads, if another key
/// has `others` aliases.
fn read_by_a_sweep(others: usize) -> u64 {
    let clock = TestClock::new();
    let kms = LocalKms::builder().clock(clock.clone()).in_memory().unwrap();
    let kept = kms.create_key(CreateKey::default()).unwrap();
    (0..others).for_each(|n| kms.create_alias(&format!("alias/kept-{n}"), kept.arn()).unwrap());
    for n in 0..10 {
        let key = kms.create_key(CreateKey::default().alias(format!("alias/gone-{n}"))).unwrap();
        kms.create_alias(&format!("alias/also-gone-{n}"), key.arn()).unwrap();
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
    }
    clock.advance_days(7);
    let before = records_read(&kms);
    encrypt(&kms, kept.arn(), b"x").unwrap();
    let read = records_read(&kms) - before;
    assert_eq!(aliases(&kms).len(), others, "the deleted keys' aliases are gone");
    read
}

#[test]
fn the_deletion_of_a_key_reads_no_aliases_of_others() {
    assert_eq!(read_by_a_sweep(0), read_by_a_sweep(300));
}

#[test]
fn the_aliases_of_a_key_are_found_after_each_change_of_them_and_of_the_root_key() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let kms = folder.create_at(&clock);
    let [gone, kept] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
    for n in 0..6 {
        kms.create_alias(&format!("alias/{n}"), gone.arn()).unwrap();
    }
    kms.update_alias("alias/0", kept.arn()).unwrap();
    kms.delete_alias("alias/1").unwrap();
    kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap();
    kms.update_alias("alias/2", kept.arn()).unwrap();
    kms.delete_alias("alias/3").unwrap();
    kms.update_alias("alias/0", gone.arn()).unwrap();
    kms.schedule_key_deletion_in(gone.arn(), 7).unwrap();
    clock.advance_days(7);
    assert_eq!(aliases(&kms), [pair("alias/2", kept.arn())]);
    assert!(rows(&folder, gone.key_id()).is_empty(), "no record of it is left");
    assert_eq!(alias_rows(&folder), 1, "nor of its aliases");
    // Not even a record that only a new alias of the same name would find.
    for name in ["alias/0", "alias/1", "alias/3", "alias/4", "alias/5"] {
        kms.create_alias(name, kept.arn()).unwrap();
    }
    assert_eq!(aliases(&kms).len(), 6);
}
