//! Multi-Region keys: the material is shared, everything else is per region.

use std::time::Duration;

use manila_core::testing::ready;
use manila_local_kms::{
    Clock, CreateGrant, CreateKey, ErrorKind, GrantOperation, KeySpec, KeyState, Kms, KmsRequest, LocalKms,
};

use crate::lifecycle::{alias_rows, open_at, rows};
use crate::{both, code, context, decrypt, described, encrypt};

const EUROPE: &str = "eu-west-1";
const ASIA: &str = "ap-south-1";

/// Returns views of two further regions.
fn views(kms: &LocalKms) -> (LocalKms, LocalKms) {
    (kms.region(EUROPE).unwrap(), kms.region(ASIA).unwrap())
}

#[test]
fn a_region_is_a_view_with_keys_of_its_own() {
    for (kms, clock, folder) in both() {
        let (europe, _) = views(&kms);
        let (here, there) =
            (kms.create_key(CreateKey::default()).unwrap(), europe.create_key(CreateKey::default()).unwrap());
        assert_eq!(there.arn(), format!("arn:aws:kms:eu-west-1:000000000000:key/{}", there.key_id()));
        assert_eq!((described(&kms), described(&europe)), (vec![here.clone()], vec![there.clone()]));
        let ciphertext = encrypt(&europe, there.arn(), b"x").unwrap();
        for name in [there.arn(), there.key_id()] {
            let error = decrypt(&kms, name, &ciphertext).unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "NotFoundException"));
        }
        assert_eq!(code(&decrypt(&kms, here.arn(), &ciphertext).unwrap_err()), "IncorrectKeyException");
        if let Some(kms) = open_at(&folder, &clock) {
            assert_eq!(decrypt(&kms.region(EUROPE).unwrap(), there.arn(), &ciphertext).unwrap(), b"x");
        }
        for wrong in ["", "EU", "eu west", "eu/west", "eu:west", &"a".repeat(65)] {
            assert_eq!(kms.region(wrong).unwrap_err().kind(), ErrorKind::InvalidInput, "{wrong}");
        }
    }
}

#[test]
fn what_one_region_encrypts_every_other_decrypts() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let early = encrypt(&kms, key.arn(), b"early").unwrap();
        kms.rotate_key_on_demand(key.arn()).unwrap();
        let regions = [kms.clone(), views(&kms).0, views(&kms).1];
        for (region, name) in regions.iter().zip(["local", EUROPE, ASIA]).skip(1) {
            let replica = kms.replicate_key(key.key_id(), name).unwrap();
            assert_eq!(replica, region.describe_key(replica.arn()).unwrap());
            assert_eq!(replica.arn(), key.arn().replace(":local:", &format!(":{name}:")));
            assert_eq!((replica.key_id(), replica.primary_region()), (key.key_id(), "local"));
        }
        assert_eq!(kms.describe_key(key.arn()).unwrap().replica_regions(), [EUROPE, ASIA]);
        for from in &regions {
            let ciphertext = encrypt(from, key.key_id(), b"x").unwrap();
            let bound = context(&[("a", "b")]);
            for to in &regions {
                assert_eq!(decrypt(to, key.key_id(), &ciphertext).unwrap(), b"x");
                assert_eq!(decrypt(to, key.key_id(), &early).unwrap(), b"early", "from before the replica was made");
                let opened = ready(to.decrypt(KmsRequest::new(key.key_id(), &bound), &ciphertext)).unwrap();
                assert_eq!(opened.key_arn, to.describe_key(key.key_id()).unwrap().arn(), "the ARN of its own region");
            }
        }
    }
}

#[test]
fn hmac_keys_replicate_too() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default().spec(KeySpec::Hmac384).multi_region()).unwrap();
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        let mac = kms.generate_mac(key.arn(), b"x").unwrap();
        views(&kms).0.verify_mac(replica.arn(), b"x", &mac).unwrap();
    }
}

#[test]
fn rotation_is_the_primarys_and_reaches_all() {
    for (kms, clock, _folder) in both() {
        let (europe, _) = views(&kms);
        let key = kms.create_key(CreateKey::default().multi_region().rotate_every_days(90)).unwrap();
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        for error in [
            europe.enable_key_rotation(replica.arn()).unwrap_err(),
            europe.disable_key_rotation(replica.arn()).unwrap_err(),
            europe.rotate_key_on_demand(replica.arn()).unwrap_err(),
        ] {
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "UnsupportedOperationException"));
        }
        let old = encrypt(&europe, replica.arn(), b"old").unwrap();
        clock.advance_days(90);
        // If a rotation is due when the replica is first used, it is still one rotation of both.
        let new = encrypt(&europe, replica.arn(), b"new").unwrap();
        for (view, arn) in [(&kms, key.arn()), (&europe, replica.arn())] {
            assert_eq!(view.list_key_rotations(arn).unwrap().len(), 1);
            let next = view.key_rotation_status(arn).unwrap().next();
            assert_eq!(next, Some(clock.now() + Duration::from_secs(90 * 86_400)));
            assert_eq!(decrypt(view, arn, &old).unwrap(), b"old");
            assert_eq!(decrypt(view, arn, &new).unwrap(), b"new");
        }
        kms.rotate_key_on_demand(key.arn()).unwrap();
        assert_eq!(europe.list_key_rotations(replica.arn()).unwrap().len(), 2);

        // Only an enabled primary rotates; the replica continues with the existing material.
        kms.disable_key(key.arn()).unwrap();
        clock.advance_days(90);
        let kept = encrypt(&europe, replica.arn(), b"kept").unwrap();
        assert_eq!(europe.list_key_rotations(replica.arn()).unwrap().len(), 2);
        kms.enable_key(key.arn()).unwrap();
        encrypt(&europe, replica.arn(), b"x").unwrap();
        assert_eq!(europe.list_key_rotations(replica.arn()).unwrap().len(), 3);
        assert_eq!(decrypt(&kms, key.arn(), &kept).unwrap(), b"kept");
    }
}

#[test]
fn state_alias_policy_and_the_like_are_per_region() {
    for (kms, _, _folder) in both() {
        let (europe, _) = views(&kms);
        let request = CreateKey::default().multi_region().alias("alias/a").description("here").tag("a", "b");
        let key = kms.create_key(request).unwrap();
        let role = "arn:aws:iam::000000000000:role/app";
        kms.create_grant(key.arn(), CreateGrant::to(role).operation(GrantOperation::Encrypt)).unwrap();
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        assert_eq!((replica.description(), replica.state()), ("", KeyState::Enabled));
        assert!(europe.list_key_tags(replica.arn()).unwrap().is_empty());
        assert!(europe.list_aliases().unwrap().is_empty());
        assert!(europe.list_grants(replica.arn()).unwrap().is_empty());
        assert!(encrypt(&kms.as_principal(role).unwrap(), key.arn(), b"x").is_ok());
        let error = encrypt(&europe.as_principal(role).unwrap(), replica.arn(), b"x").unwrap_err();
        assert_eq!(code(&error), "AccessDeniedException");

        let (there, here) = (europe.key_policy(replica.arn()).unwrap(), kms.key_policy(key.arn()).unwrap());
        let other = here.replace("\"kms:*\"", "[\"kms:*\",\"kms:Encrypt\"]");
        europe.put_key_policy(replica.arn(), &other).unwrap();
        assert_eq!((there, kms.key_policy(key.arn()).unwrap()), (here.clone(), here));
        europe.update_key_description(replica.arn(), "there").unwrap();
        europe.disable_key(replica.arn()).unwrap();
        let primary = kms.describe_key(key.arn()).unwrap();
        assert_eq!((primary.description(), primary.state()), ("here", KeyState::Enabled));
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        assert_eq!(code(&decrypt(&europe, replica.arn(), &ciphertext).unwrap_err()), "DisabledException");
        europe.enable_key(replica.arn()).unwrap();
        kms.disable_key(key.arn()).unwrap();
        assert_eq!(decrypt(&europe, replica.arn(), &ciphertext).unwrap(), b"x");
    }
}

#[test]
fn only_a_multi_region_primary_replicates_and_once_per_region() {
    for (kms, _, _folder) in both() {
        let (europe, _) = views(&kms);
        let single = kms.create_key(CreateKey::default()).unwrap();
        let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        for (refused, expected) in [
            (kms.replicate_key(single.arn(), EUROPE), "UnsupportedOperationException"),
            (europe.replicate_key(replica.arn(), ASIA), "UnsupportedOperationException"),
            (kms.replicate_key(key.arn(), EUROPE), "AlreadyExistsException"),
            (kms.replicate_key(key.arn(), "local"), "AlreadyExistsException"),
            (kms.replicate_key(key.arn(), "no/region"), "ValidationException"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, expected));
        }
        assert_eq!(kms.describe_key(key.arn()).unwrap().replica_regions(), [EUROPE]);
    }
}

#[test]
fn a_primary_with_replicas_cannot_be_deleted() {
    for (kms, clock, _folder) in both() {
        let (europe, _) = views(&kms);
        let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        let refused = || {
            let error = kms.schedule_key_deletion_in(key.arn(), 7).unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "KMSInvalidStateException"));
            assert_eq!(kms.describe_key(key.arn()).unwrap().state(), KeyState::Enabled);
        };
        refused();
        // The replica can be deleted, and until it is gone it still counts, also against a second replica in its
        // region.
        europe.schedule_key_deletion_in(replica.arn(), 7).unwrap();
        refused();
        assert_eq!(code(&kms.replicate_key(key.arn(), EUROPE).unwrap_err()), "AlreadyExistsException");
        clock.advance_days(7);
        assert_eq!(code(&europe.describe_key(replica.arn()).unwrap_err()), "NotFoundException");
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x", "the material stays with the primary");
        // A new replica is a new key, with the same material.
        let again = kms.replicate_key(key.arn(), EUROPE).unwrap();
        assert_eq!((again.created(), again.state()), (clock.now(), KeyState::Enabled));
        assert_eq!(decrypt(&europe, again.arn(), &ciphertext).unwrap(), b"x");
        europe.schedule_key_deletion_in(again.arn(), 7).unwrap();
        clock.advance_days(7);
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
        assert_eq!(code(&kms.replicate_key(key.arn(), EUROPE).unwrap_err()), "KMSInvalidStateException");
        clock.advance_days(7);
        assert_eq!(code(&decrypt(&kms, key.arn(), &ciphertext).unwrap_err()), "NotFoundException");
    }
}

#[test]
fn the_last_region_takes_the_material_along() {
    let [_, (kms, clock, folder)] = both();
    let (europe, _) = views(&kms);
    let key = kms.create_key(CreateKey::default().multi_region().alias("alias/a")).unwrap();
    let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
    europe.create_alias("alias/a", replica.arn()).unwrap();
    europe.schedule_key_deletion_in(replica.arn(), 7).unwrap();
    clock.advance_days(7);
    kms.purge().unwrap();
    assert_eq!(rows(&folder, key.key_id()).len(), 2, "the primary and the material");
    assert_eq!((rows(&folder, "alias/a").len(), alias_rows(&folder)), (1, 1), "the primary's");
    kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
    clock.advance_days(7);
    kms.purge().unwrap();
    assert!(rows(&folder, key.key_id()).is_empty() && rows(&folder, "alias/a").is_empty());
    assert_eq!(alias_rows(&folder), 0);
}

#[test]
fn another_region_can_become_the_primary() {
    for (kms, clock, _folder) in both() {
        let (europe, asia) = views(&kms);
        let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        let [there, far] = [EUROPE, ASIA].map(|region| kms.replicate_key(key.arn(), region).unwrap());
        for (refused, expected) in [
            (europe.update_primary_region(there.arn(), EUROPE), "UnsupportedOperationException"),
            (kms.update_primary_region(key.arn(), "us-east-1"), "NotFoundException"),
        ] {
            assert_eq!(code(&refused.unwrap_err()), expected);
        }
        europe.disable_key(there.arn()).unwrap();
        assert_eq!(code(&kms.update_primary_region(key.arn(), EUROPE).unwrap_err()), "DisabledException");
        europe.enable_key(there.arn()).unwrap();
        kms.update_primary_region(key.arn(), EUROPE).unwrap();
        for (view, arn) in [(&kms, key.arn()), (&europe, there.arn()), (&asia, far.arn())] {
            let described = view.describe_key(arn).unwrap();
            assert_eq!((described.arn(), described.primary_region()), (arn, EUROPE));
            assert_eq!(described.replica_regions(), ["local", ASIA]);
            assert_eq!(decrypt(view, arn, &ciphertext).unwrap(), b"x");
        }
        // The other key is now the primary in every respect, and the first region can be given up.
        assert_eq!(code(&kms.rotate_key_on_demand(key.arn()).unwrap_err()), "UnsupportedOperationException");
        europe.rotate_key_on_demand(there.arn()).unwrap();
        assert_eq!(code(&europe.schedule_key_deletion(there.arn()).unwrap_err()), "KMSInvalidStateException");
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
        clock.advance_days(7);
        assert_eq!(europe.describe_key(there.arn()).unwrap().replica_regions(), [ASIA]);
        assert_eq!(decrypt(&asia, far.arn(), &ciphertext).unwrap(), b"x");
    }
}

#[test]
fn a_new_primary_needs_permission_in_both_regions() {
    for (kms, _, _folder) in both() {
        let (europe, _) = views(&kms);
        let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        let policy = kms.key_policy(key.arn()).unwrap();
        let admin = "arn:aws:iam::000000000000:role/admin";
        let open = policy.replace("{\"AWS\":", &format!("{{\"AWS\":[\"{admin}\",")).replace("root\"", "root\"]");
        let view = kms.as_principal(admin).unwrap();
        for (policies, allowed) in [((&policy, &open), false), ((&open, &policy), false), ((&open, &open), true)] {
            kms.put_key_policy(key.arn(), policies.0).unwrap();
            europe.put_key_policy(replica.arn(), policies.1).unwrap();
            let done = view.update_primary_region(key.arn(), EUROPE);
            assert_eq!(done.as_ref().map_or_else(code, |()| ""), if allowed { "" } else { "AccessDeniedException" });
        }
        assert_eq!(kms.describe_key(key.arn()).unwrap().primary_region(), EUROPE);
    }
}

#[test]
fn imported_material_is_shared_and_expires_everywhere() {
    for (kms, clock, _folder) in both() {
        let (europe, _) = views(&kms);
        let key = kms.create_key(CreateKey::default().multi_region().imported()).unwrap();
        assert_eq!(code(&kms.replicate_key(key.arn(), EUROPE).unwrap_err()), "KMSInvalidStateException");
        let expiry = clock.now() + Duration::from_secs(20 * 86_400);
        kms.import_key_material(key.arn(), &[7; 32], Some(expiry)).unwrap();
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        assert_eq!((replica.state(), replica.material_expiry()), (KeyState::Enabled, Some(expiry)));
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        assert_eq!(decrypt(&europe, replica.arn(), &ciphertext).unwrap(), b"x");
        // A deleted replica takes neither the material nor its expiry along.
        europe.schedule_key_deletion_in(replica.arn(), 7).unwrap();
        clock.advance_days(7);
        let replica = kms.replicate_key(key.arn(), EUROPE).unwrap();
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
        clock.advance_days(13);
        for (view, arn) in [(&europe, replica.arn()), (&kms, key.arn())] {
            assert_eq!(view.describe_key(arn).unwrap().state(), KeyState::PendingImport);
        }
        // Only the primary can import or delete material, which takes effect in all regions.
        for refused in [
            europe.import_key_material(replica.arn(), &[7; 32], None).unwrap_err(),
            europe.delete_imported_key_material(replica.arn()).unwrap_err(),
        ] {
            assert_eq!((refused.kind(), code(&refused)), (ErrorKind::InvalidInput, "UnsupportedOperationException"));
        }
        kms.import_key_material(key.arn(), &[7; 32], None).unwrap();
        assert_eq!(decrypt(&europe, replica.arn(), &ciphertext).unwrap(), b"x");
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
    }
}

#[test]
fn a_key_is_in_at_most_64_regions() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
    for n in 1..64 {
        kms.replicate_key(key.arn(), &format!("region-{n}")).unwrap();
    }
    let error = kms.replicate_key(key.arn(), "region-64").unwrap_err();
    assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "LimitExceededException"));
}
