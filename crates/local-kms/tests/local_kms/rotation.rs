//! Rotation: the newest material encrypts, every older one still decrypts, and nothing rotates twice.

use std::time::Duration;

use manila_core::testing::ready;
use manila_local_kms::{
    CiphertextOrigin, Clock, CreateKey, DataKeyPairRequest, ErrorKind, KeyRotation, KeySpec, KeyState, Kms, KmsRequest,
    LocalKms, RootKey, RotationType,
};

use crate::lifecycle::{Asked, open_at};
use crate::{Folder, TestClock, both, code, context, decrypt, encrypt};

/// Returns the number of the material that encrypted a ciphertext: a small CBOR integer after its name.
fn material_of(ciphertext: &[u8]) -> u8 {
    let name = b"material";
    let at = ciphertext.windows(name.len()).position(|window| window == name).unwrap();
    ciphertext[at + name.len()]
}

/// Returns the number of the material that encrypts now.
fn newest(kms: &LocalKms, key: &str) -> u8 {
    material_of(&encrypt(kms, key, b"x").unwrap())
}

#[test]
fn a_ciphertext_tells_the_version_that_a_rotation_made() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        for version in 1..=4 {
            let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
            let origin = CiphertextOrigin::of(&ciphertext).unwrap();
            assert_eq!((origin.key_id(), origin.key_version()), (key.key_id(), version));
            for bad in [&ciphertext[..ciphertext.len() - 1], &ciphertext[1..], &[]] {
                assert_eq!(CiphertextOrigin::of(bad), None);
            }
            kms.rotate_key_on_demand(key.arn()).unwrap();
            let made = kms.list_key_rotations(key.arn()).unwrap().last().unwrap().key_version();
            assert_eq!(made, version + 1);
        }
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 86_400)
}

#[test]
fn a_key_rotates_every_90_to_2560_days_and_every_365_if_not_said() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        for wrong in [0, 89, 2561, u32::MAX] {
            for error in [
                kms.enable_key_rotation_every(key.arn(), wrong).unwrap_err(),
                kms.create_key(CreateKey::default().rotate_every_days(wrong)).unwrap_err(),
            ] {
                assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{wrong}");
            }
        }
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().period(), None);
        kms.enable_key_rotation(key.arn()).unwrap();
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().period(), Some(days(365)));
        for right in [90, 2560] {
            kms.enable_key_rotation_every(key.arn(), right).unwrap();
            let status = kms.key_rotation_status(key.arn()).unwrap();
            assert_eq!((status.period(), status.next()), (Some(days(right)), Some(clock.now() + days(right))));
        }
        kms.disable_key_rotation(key.arn()).unwrap();
        let status = kms.key_rotation_status(key.arn()).unwrap();
        assert_eq!((status.period(), status.next()), (None, None));
        clock.advance_days(3000);
        assert_eq!(newest(&kms, key.arn()), 1);
    }
}

#[test]
fn id_and_arn_stay_and_every_older_material_still_decrypts() {
    for (kms, clock, folder) in both() {
        let key = kms.create_key(CreateKey::default().alias("alias/a").rotate_every_days(90)).unwrap();
        let mut ciphertexts = Vec::new();
        for material in 1..=6 {
            let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
            assert_eq!(material_of(&ciphertext), material);
            ciphertexts.push(ciphertext);
            // Exact to the second.
            clock.advance_secs(90 * 24 * 60 * 60 - 1);
            assert_eq!(newest(&kms, key.arn()), material);
            clock.advance_secs(1);
        }
        assert_eq!(kms.describe_key("alias/a").unwrap(), key);
        let mut handles = vec![kms];
        handles.extend(open_at(&folder, &clock));
        for kms in handles {
            for name in [key.arn(), key.key_id(), "alias/a"] {
                assert!(ciphertexts.iter().all(|ciphertext| decrypt(&kms, name, ciphertext).unwrap() == b"x"));
            }
        }
    }
}

/// A call that needs the newest material, and the number of that material if it shows.
type Use = fn(&LocalKms, &str) -> Option<u8>;

#[test]
fn whatever_needs_the_newest_material_rotates_first() {
    let uses: [(&str, Use); 8] = [
        ("Encrypt", |kms, key| Some(newest(kms, key))),
        ("GenerateDataKey", |kms, key| {
            let answer = ready(kms.generate_data_key(KmsRequest::new(key, &context(&[])), 32)).unwrap();
            Some(material_of(&answer.ciphertext))
        }),
        ("GenerateDataKeyPair", |kms, key| {
            let request = DataKeyPairRequest::new(key, KeySpec::EccNistP256);
            Some(material_of(&kms.generate_data_key_pair(request).unwrap().encrypted_private_key))
        }),
        ("GenerateDataKeyPairWithoutPlaintext", |kms, key| {
            let request = DataKeyPairRequest::new(key, KeySpec::EccNistP256);
            Some(material_of(&kms.generate_data_key_pair_without_plaintext(request).unwrap().encrypted_private_key))
        }),
        ("GenerateDataKeyWithoutPlaintext", |kms, key| {
            let answer = kms.generate_data_key_without_plaintext(KmsRequest::new(key, &context(&[])), 32).unwrap();
            Some(material_of(&answer.ciphertext))
        }),
        ("ReEncrypt", |kms, key| {
            let other = kms.create_key(CreateKey::default()).unwrap();
            let (ciphertext, context) = (encrypt(kms, other.arn(), b"x").unwrap(), context(&[("a", "b")]));
            let (from, to) = (KmsRequest::new(other.arn(), &context), KmsRequest::new(key, &context));
            Some(material_of(&kms.re_encrypt(&ciphertext, from, to).unwrap().ciphertext))
        }),
        ("ListKeyRotations", |kms, key| u8::try_from(kms.list_key_rotations(key).unwrap().len() + 1).ok()),
        ("GetKeyRotationStatus", |_, _| None),
    ];
    for (name, needs) in uses {
        for (kms, clock, _folder) in both() {
            let key = kms.create_key(CreateKey::default().rotate_every_days(100)).unwrap();
            let created = clock.now();
            clock.advance_days(100);
            assert!(needs(&kms, key.arn()).is_none_or(|material| material == 2), "{name}");
            let status = kms.key_rotation_status(key.arn()).unwrap();
            assert_eq!(status.next(), Some(created + days(200)), "{name}");
        }
    }
}

#[test]
fn rotations_are_listed_and_several_that_were_missed_are_one() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        let created = clock.now();
        assert!(kms.list_key_rotations(key.arn()).unwrap().is_empty());
        clock.advance_days(45);
        kms.rotate_key_on_demand(key.arn()).unwrap();
        // Three and a half periods.
        clock.advance_days(270);
        assert_eq!(newest(&kms, key.arn()), 3);
        assert_eq!(newest(&kms, key.arn()), 3);
        let listed = kms.list_key_rotations(key.arn()).unwrap();
        let listed: Vec<_> = listed.iter().map(|rotation| (rotation.date(), rotation.rotation_type())).collect();
        assert_eq!(
            listed,
            [(created + days(45), RotationType::OnDemand), (created + days(315), RotationType::Automatic)]
        );
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().next(), Some(created + days(360)));
    }
}

/// The list tells under which material a ciphertext of a given day is.
#[test]
fn a_late_rotation_is_dated_to_when_it_took_place_and_the_schedule_goes_on() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        let created = clock.now();
        kms.disable_key(key.arn()).unwrap();
        clock.advance_days(140);
        kms.enable_key(key.arn()).unwrap();
        clock.advance_secs(60);
        assert_eq!(newest(&kms, key.arn()), 2);
        let [rotation] = kms.list_key_rotations(key.arn()).unwrap().try_into().unwrap();
        assert_eq!(rotation.date(), clock.now());
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().next(), Some(created + days(180)));
        clock.advance_days(40);
        assert_eq!(newest(&kms, key.arn()), 3);
    }
}

/// Nor do policies apply to the owner's maintenance of the store.
#[test]
fn a_change_of_the_root_key_rotates_under_any_policy_and_uses_up_no_rotation_on_demand() {
    let kms = LocalKms::in_memory().unwrap();
    let owner = r#"{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"kms:*","Resource":"*"}"#;
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"kms:RotateKeyOnDemand","Resource":"*"}"#;
    let denied = CreateKey::default().policy(format!(r#"{{"Statement":[{owner},{deny}]}}"#));
    let [key, denied] = [CreateKey::default(), denied].map(|request| kms.create_key(request).unwrap());
    let change = kms.change_root_key_and_rotate(RootKey::from_bytes(&[7; 32])).unwrap();
    assert!([&key, &denied].into_iter().all(|key| change.rotated().iter().any(|arn| arn == key.arn())));
    assert_eq!(code(&kms.rotate_key_on_demand(denied.arn()).unwrap_err()), "AccessDeniedException");
    (0..25).for_each(|_| kms.rotate_key_on_demand(key.arn()).unwrap());
    assert_eq!(code(&kms.rotate_key_on_demand(key.arn()).unwrap_err()), "LimitExceededException");
    let types: Vec<_> = kms.list_key_rotations(key.arn()).unwrap().iter().map(KeyRotation::rotation_type).collect();
    assert_eq!((types[0], types.len()), (RotationType::RootKeyChange, 26));
}

#[test]
fn on_demand_leaves_the_schedule_and_works_25_times() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        let next = clock.now() + days(90);
        let first = encrypt(&kms, key.arn(), b"x").unwrap();
        for n in 0..24 {
            kms.rotate_key_on_demand(key.arn()).unwrap();
            assert_eq!(kms.key_rotation_status(key.arn()).unwrap().next(), Some(next), "{n}");
        }
        clock.advance_days(90);
        kms.rotate_key_on_demand(key.arn()).unwrap();
        for _ in 0..2 {
            let error = kms.rotate_key_on_demand(key.arn()).unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "LimitExceededException"));
        }
        // Automatic rotations do not count towards the limit, and continue.
        let listed = kms.list_key_rotations(key.arn()).unwrap();
        let on_demand = listed.iter().filter(|rotation| rotation.rotation_type() == RotationType::OnDemand);
        assert_eq!((listed.len(), on_demand.count()), (26, 25));
        assert!(listed.is_sorted_by_key(KeyRotation::date), "oldest first: {listed:?}");
        clock.advance_days(90);
        assert_eq!(kms.list_key_rotations(key.arn()).unwrap().len(), 27);
        assert_eq!(decrypt(&kms, key.arn(), &first).unwrap(), b"x");
    }
}

#[test]
fn no_change_of_the_schedule_loses_a_rotation_that_is_due() {
    let changes: [Asked; 3] = [
        |kms, key| kms.disable_key_rotation(key),
        |kms, key| kms.enable_key_rotation_every(key, 2560),
        |kms, key| kms.enable_key_rotation(key),
    ];
    for change in changes {
        for (kms, clock, _folder) in both() {
            let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
            clock.advance_days(90);
            change(&kms, key.arn()).unwrap();
            assert_eq!(newest(&kms, key.arn()), 2);
            assert_eq!(kms.list_key_rotations(key.arn()).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_new_period_counts_from_the_last_rotation() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        let created = clock.now();
        clock.advance_days(100);
        kms.enable_key_rotation_every(key.arn(), 200).unwrap();
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().next(), Some(created + days(290)));
        // Turned off and on again, the period starts from that moment.
        kms.disable_key_rotation(key.arn()).unwrap();
        clock.advance_days(10);
        kms.enable_key_rotation_every(key.arn(), 200).unwrap();
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().next(), Some(created + days(310)));
    }
}

#[test]
fn a_key_that_cannot_be_used_does_not_rotate_until_it_can() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        kms.disable_key(key.arn()).unwrap();
        clock.advance_days(90);
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().period(), Some(days(90)), "the setting stays");
        assert!(kms.list_key_rotations(key.arn()).unwrap().is_empty());
        kms.enable_key(key.arn()).unwrap();
        assert_eq!(newest(&kms, key.arn()), 2);

        kms.schedule_key_deletion_in(key.arn(), 30).unwrap();
        let status = kms.key_rotation_status(key.arn()).unwrap();
        assert_eq!((status.period(), status.next()), (None, None), "off while the deletion is pending");
        clock.advance_days(29);
        kms.cancel_key_deletion(key.arn()).unwrap();
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().period(), Some(days(90)), "on again");
        kms.enable_key(key.arn()).unwrap();
        assert_eq!(newest(&kms, key.arn()), 2);
        clock.advance_days(61);
        assert_eq!(newest(&kms, key.arn()), 3);
    }
}

#[test]
fn hmac_keys_and_imported_material_do_not_rotate() {
    for (kms, clock, _folder) in both() {
        let hmac = kms.create_key(CreateKey::default().spec(KeySpec::Hmac384)).unwrap();
        let imported = kms.create_key(CreateKey::default().imported()).unwrap();
        kms.import_key_material(imported.arn(), &[1; 32], None).unwrap();
        for key in [hmac, imported] {
            for error in [
                kms.enable_key_rotation(key.arn()).unwrap_err(),
                kms.disable_key_rotation(key.arn()).unwrap_err(),
                kms.rotate_key_on_demand(key.arn()).unwrap_err(),
            ] {
                let kind = (error.kind(), code(&error));
                assert_eq!(kind, (ErrorKind::InvalidInput, "UnsupportedOperationException"));
            }
            assert_eq!(kms.key_rotation_status(key.arn()).unwrap().period(), None);
            assert!(kms.list_key_rotations(key.arn()).unwrap().is_empty());
        }
        clock.advance_days(3000);
        for request in [CreateKey::default().spec(KeySpec::Hmac224), CreateKey::default().imported()] {
            let error = kms.create_key(request.rotate_every_days(90)).unwrap_err();
            assert_eq!(code(&error), "UnsupportedOperationException");
        }
        assert_eq!(kms.list_keys().unwrap().len(), 2);
    }
}

#[test]
fn two_processes_rotate_once() {
    for round in 0..10 {
        let (folder, clock, later) = (Folder::new(), TestClock::new(), TestClock::new());
        let one = folder.create_at(&clock);
        let root = RootKey::open_file(folder.root()).unwrap();
        let two = LocalKms::builder().clock(later.clone()).open(folder.store(), root).unwrap();
        let key = one.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        clock.advance_days(90);
        later.advance_secs(90 * 24 * 60 * 60 + round);
        let materials: Vec<_> = std::thread::scope(|scope| {
            let both = [&one, &two, &one, &two].map(|kms| scope.spawn(|| newest(kms, key.arn())));
            both.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(materials, [2; 4]);
        assert_eq!(one.list_key_rotations(key.arn()).unwrap().len(), 1);
        assert_eq!(one.list_key_rotations(key.arn()).unwrap(), two.list_key_rotations(key.arn()).unwrap());
    }
}

#[test]
fn a_process_whose_clock_is_behind_uses_what_the_other_rotated() {
    let (folder, clock, behind) = (Folder::new(), TestClock::new(), TestClock::new());
    let one = folder.create_at(&clock);
    let root = RootKey::open_file(folder.root()).unwrap();
    let two = LocalKms::builder().clock(behind.clone()).open(folder.store(), root).unwrap();
    let key = one.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
    let old = encrypt(&two, key.arn(), b"x").unwrap();
    clock.advance_days(90);
    assert_eq!((newest(&one, key.arn()), newest(&two, key.arn())), (2, 2));
    assert_eq!(decrypt(&two, key.arn(), &old).unwrap(), b"x");
    // It adopts the other's time, so that its own rotation is not dated before it.
    behind.advance_days(10);
    two.rotate_key_on_demand(key.arn()).unwrap();
    let listed = one.list_key_rotations(key.arn()).unwrap();
    assert_eq!(listed.iter().map(KeyRotation::date).collect::<Vec<_>>(), [clock.now(); 2]);
    assert_eq!(newest(&one, key.arn()), 3);
}

#[test]
fn rotations_of_two_processes_at_once_are_all_kept() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let one = folder.create_at(&clock);
    let two = folder.open().unwrap();
    let key = one.create_key(CreateKey::default()).unwrap();
    std::thread::scope(|scope| {
        for kms in [&one, &two] {
            scope.spawn(|| {
                for _ in 0..10 {
                    kms.rotate_key_on_demand(key.arn()).unwrap();
                    let ciphertext = encrypt(kms, key.arn(), b"x").unwrap();
                    assert_eq!(decrypt(kms, key.arn(), &ciphertext).unwrap(), b"x");
                }
            });
        }
    });
    assert_eq!(one.list_key_rotations(key.arn()).unwrap().len(), 20);
    assert_eq!((newest(&one, key.arn()), newest(&two, key.arn())), (21, 21));
}

#[test]
fn a_clock_set_back_never_takes_a_rotation_back() {
    for (kms, clock, folder) in both() {
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        clock.advance_days(90);
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        clock.set_back_days(90);
        let mut handles = vec![kms];
        handles.extend(open_at(&folder, &clock));
        for kms in handles {
            assert_eq!(newest(&kms, key.arn()), 2);
            assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
            assert_eq!(kms.describe_key(key.arn()).unwrap().state(), KeyState::Enabled);
        }
    }
}
