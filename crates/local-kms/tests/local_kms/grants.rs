//! Grants: created, bound to contexts, passed on, retired and revoked.

use manila_core::testing::ready;
use manila_local_kms::testing::records_read;
use manila_local_kms::{
    CreateGrant, CreateKey, DataKeyPairRequest, DecapsulateRequest, DeriveSharedSecretRequest, EncapsulateRequest,
    EncryptRequest, EncryptionContext, Error, ErrorKind, GrantConstraint, GrantOperation, KeyMetadata, KeySpec,
    KeyUsage, Kms, KmsRequest, LocalKms, RequestContext, RootKey, SignRequest, SigningAlgorithm, VerifyRequest,
};

use crate::access::{ALICE, BOB, OWNER, ROLE, SESSION, allow, assert_refused, deny, policy, statement};
use crate::lifecycle::rows;
use crate::raw_file::records;
use crate::{Folder, TestClock, both, code, context, decrypt, encrypt};

const CAROL: &str = "arn:aws:iam::111122223333:user/carol";

fn key_of(kms: &LocalKms) -> KeyMetadata {
    kms.create_key(CreateKey::default()).unwrap()
}

/// Returns true if a principal may encrypt with these pairs.
fn may_encrypt(kms: &LocalKms, principal: &str, key: &str, pairs: &EncryptionContext) -> bool {
    let kms = kms.as_principal(principal).unwrap();
    let answer = ready(kms.encrypt(KmsRequest::new(key, pairs), b"x"));
    answer.map_err(|error| assert_refused(&error, principal)).is_ok()
}

fn not_found(error: &Error) -> bool {
    (error.kind(), code(error)) == (ErrorKind::KeyRefused, "NotFoundException")
}

#[test]
fn a_grant_allows_its_operations_on_its_key_to_its_grantee() {
    for (kms, _, folder) in both() {
        let (key, other) = (key_of(&kms), key_of(&kms));
        let request = CreateGrant::to(ALICE).operation(GrantOperation::Encrypt).operation(GrantOperation::DescribeKey);
        let id = kms.create_grant(key.arn(), request.retiring_principal(BOB)).unwrap().into_id();
        let reader = if folder.store().exists() { folder.open().unwrap() } else { kms.clone() };
        let alice = reader.as_principal(ALICE).unwrap();
        let ciphertext = encrypt(&alice, key.arn(), b"x").unwrap();
        assert!(alice.describe_key(key.arn()).is_ok());
        assert_refused(&decrypt(&alice, key.arn(), &ciphertext).unwrap_err(), "another operation");
        assert_refused(&encrypt(&alice, other.arn(), b"x").unwrap_err(), "another key");
        for other in [BOB, CAROL, "arn:aws:iam::111122223333:user/alice"] {
            assert_refused(&encrypt(&reader.as_principal(other).unwrap(), key.arn(), b"x").unwrap_err(), other);
        }
        let [grant] = reader.list_grants(key.key_id()).unwrap().try_into().unwrap();
        assert_eq!((grant.id(), grant.grantee(), grant.issuer()), (id.as_str(), ALICE, OWNER));
        assert_eq!(grant.retiring_principal(), Some(BOB));
        assert_eq!(grant.operations(), [GrantOperation::DescribeKey, GrantOperation::Encrypt]);
        assert_eq!(grant.constraint(), None);
        assert!(reader.list_grants(other.arn()).unwrap().is_empty());
    }
}

#[test]
fn principals_of_grants_are_as_long_as_on_aws() {
    let kms = LocalKms::in_memory().unwrap();
    let key = key_of(&kms);
    let of_len = |len: usize| {
        let arn = |path: usize| format!("arn:aws:iam::111122223333:user/{}/carol", "p".repeat(path));
        arn(len - arn(0).len())
    };
    let to = |grantee: String| CreateGrant::to(grantee).operation(GrantOperation::Encrypt);
    kms.create_grant(key.arn(), to(of_len(256)).retiring_principal(of_len(256))).unwrap();
    for request in [to(of_len(257)), to(of_len(256)).retiring_principal(of_len(257))] {
        let error = kms.create_grant(key.arn(), request).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"));
    }
}

#[test]
fn each_operation_that_a_grant_names_is_the_one_it_allows() {
    use GrantOperation as Op;
    let empty = context(&[]);
    let (ecdsa, pair) = (SigningAlgorithm::EcdsaSha256, KeySpec::EccNistP256);
    for &granted in GrantOperation::ALL {
        // These are about grants themselves, or need two keys.
        if matches!(granted, Op::CreateGrant | Op::RetireGrant | Op::ReEncryptFrom | Op::ReEncryptTo) {
            continue;
        }
        let kms = LocalKms::in_memory().unwrap();
        let request = match granted {
            Op::GenerateMac | Op::VerifyMac => CreateKey::default().spec(KeySpec::Hmac256),
            Op::Sign | Op::Verify | Op::GetPublicKey => CreateKey::default().spec(pair).usage(KeyUsage::SignVerify),
            Op::DeriveSharedSecret => CreateKey::default().spec(pair).usage(KeyUsage::KeyAgreement),
            Op::Encapsulate | Op::Decapsulate => CreateKey::default().spec(KeySpec::MlKem512),
            _ => CreateKey::default(),
        };
        let key = kms.create_key(request).unwrap();
        let request = KmsRequest::new(key.arn(), &empty);
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap_or_else(|_| vec![0]);
        let mac = kms.generate_mac(key.arn(), b"x").unwrap_or_else(|_| vec![0]);
        let signed = kms.sign(SignRequest::new(key.arn(), ecdsa, b"x"));
        let signature = signed.map_or_else(|_| vec![0], |signed| signed.signature);
        let public_key = kms.public_key(key.arn()).map_or_else(|_| vec![0], |answer| answer.public_key);
        let made = kms.encapsulate(EncapsulateRequest::new(key.arn()));
        let made = made.map_or_else(|_| vec![0], |made| made.ciphertext);
        kms.create_grant(key.arn(), CreateGrant::to(ALICE).operation(granted)).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        let of_pair = DataKeyPairRequest::new(key.arn(), pair);
        let allowed = [
            (Op::Decapsulate, alice.decapsulate(DecapsulateRequest::new(key.arn(), &made)).map(drop)),
            (Op::Decrypt, decrypt(&alice, key.arn(), &ciphertext).map(drop)),
            (Op::DeriveSharedSecret, {
                alice.derive_shared_secret(DeriveSharedSecretRequest::new(key.arn(), &public_key)).map(drop)
            }),
            (Op::DescribeKey, alice.describe_key(key.arn()).map(drop)),
            (Op::Encapsulate, alice.encapsulate(EncapsulateRequest::new(key.arn())).map(drop)),
            (Op::Encrypt, encrypt(&alice, key.arn(), b"x").map(drop)),
            (Op::GenerateDataKey, ready(alice.generate_data_key(request, 8)).map(drop)),
            (Op::GenerateDataKeyPair, alice.generate_data_key_pair(of_pair).map(drop)),
            (Op::GenerateDataKeyPairWithoutPlaintext, {
                alice.generate_data_key_pair_without_plaintext(of_pair).map(drop)
            }),
            (Op::GenerateDataKeyWithoutPlaintext, alice.generate_data_key_without_plaintext(request, 8).map(drop)),
            (Op::GenerateMac, alice.generate_mac(key.arn(), b"x").map(drop)),
            (Op::GetPublicKey, alice.public_key(key.arn()).map(drop)),
            (Op::Sign, alice.sign(SignRequest::new(key.arn(), ecdsa, b"x")).map(drop)),
            (Op::Verify, alice.verify(VerifyRequest::new(key.arn(), ecdsa, b"x", &signature)).map(drop)),
            (Op::VerifyMac, alice.verify_mac(key.arn(), b"x", &mac)),
        ];
        assert_eq!(allowed.len() + 4, GrantOperation::ALL.len());
        for (operation, answer) in allowed {
            match answer {
                Ok(()) => assert_eq!(operation, granted),
                Err(error) => {
                    assert_refused(&error, "not granted");
                    assert_ne!(operation, granted);
                }
            }
        }
    }
}

#[test]
fn a_constraint_wants_the_pairs_equal_or_among_others() {
    for (kms, _, _) in both() {
        let (acme, both_pairs) = (context(&[("tenant", "acme")]), context(&[("tenant", "acme"), ("stage", "test")]));
        let rows = [
            (GrantConstraint::Equals(acme.clone()), [true, false]),
            (GrantConstraint::Equals(both_pairs.clone()), [false, true]),
            (GrantConstraint::Subset(acme.clone()), [true, true]),
            (GrantConstraint::Subset(both_pairs.clone()), [false, true]),
            (GrantConstraint::Subset(context(&[])), [true, true]),
            (GrantConstraint::Equals(context(&[])), [false, false]),
        ];
        for (constraint, expected) in rows {
            let key = key_of(&kms);
            let request =
                CreateGrant::to(ALICE).operation(GrantOperation::Encrypt).operation(GrantOperation::DescribeKey);
            kms.create_grant(key.arn(), request.constraint(constraint.clone())).unwrap();
            assert_eq!(kms.list_grants(key.arn()).unwrap()[0].constraint(), Some(&constraint));
            let may = |pairs: &EncryptionContext| may_encrypt(&kms, ALICE, key.arn(), pairs);
            assert_eq!([may(&acme), may(&both_pairs)], expected, "{constraint:?}");
            let any = matches!(&constraint, GrantConstraint::Subset(pairs) if pairs.is_empty());
            for pairs in [context(&[("tenant", "Acme")]), context(&[("Tenant", "acme")]), context(&[("stage", "test")])]
            {
                assert_eq!(may(&pairs), any, "{constraint:?} {pairs:?}");
            }
            // The constraint does not apply to calls without a context.
            assert!(kms.as_principal(ALICE).unwrap().describe_key(key.arn()).is_ok());
        }
    }
}

#[test]
fn a_denial_in_the_policy_wins_over_a_grant() {
    for (kms, _, _) in both() {
        let key = key_of(&kms);
        let request = CreateGrant::to(ALICE).operation(GrantOperation::Encrypt).operation(GrantOperation::Decrypt);
        kms.create_grant(key.arn(), request).unwrap();
        let ciphertext = encrypt(&kms.as_principal(ALICE).unwrap(), key.arn(), b"x").unwrap();
        kms.put_key_policy(key.arn(), &policy(&[allow(OWNER, &["*"]), deny("*", &["Encrypt"])])).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        assert_refused(&encrypt(&alice, key.arn(), b"x").unwrap_err(), "denied");
        assert_eq!(decrypt(&alice, key.arn(), &ciphertext).unwrap(), b"x");
    }
}

#[test]
fn a_grant_to_a_role_is_for_its_sessions() {
    for (kms, _, _) in both() {
        let key = key_of(&kms);
        let grant = |to: &str| CreateGrant::to(to).operation(GrantOperation::Encrypt);
        let id = kms.create_grant(key.arn(), grant(ROLE).retiring_principal(ROLE)).unwrap().into_id();
        let pairs = context(&[]);
        let other_session = SESSION.replace("i-1", "i-2");
        assert!(may_encrypt(&kms, ROLE, key.arn(), &pairs));
        assert!(may_encrypt(&kms, SESSION, key.arn(), &pairs) && may_encrypt(&kms, &other_session, key.arn(), &pairs));
        for other in [SESSION.replace("/app/", "/web/"), SESSION.replace("000000000000", "111122223333")] {
            assert!(!may_encrypt(&kms, &other, key.arn(), &pairs), "{other}");
        }
        kms.as_principal(SESSION).unwrap().retire_grant(key.arn(), &id).unwrap();
        // A session is neither another session nor the role.
        kms.create_grant(key.arn(), grant(SESSION)).unwrap();
        assert!(may_encrypt(&kms, SESSION, key.arn(), &pairs));
        assert!(!may_encrypt(&kms, &other_session, key.arn(), &pairs) && !may_encrypt(&kms, ROLE, key.arn(), &pairs));
    }
}

#[test]
fn a_grant_to_create_grants_passes_on_no_more_than_itself() {
    use GrantOperation::{CreateGrant as Create, Decrypt, Encrypt};
    for (kms, _, _) in both() {
        let key = key_of(&kms);
        let (acme, both_pairs) = (context(&[("tenant", "acme")]), context(&[("tenant", "acme"), ("stage", "test")]));
        let to = |principal: &str, operations: &[GrantOperation]| {
            operations.iter().fold(CreateGrant::to(principal), |request, operation| request.operation(*operation))
        };
        let own = to(ALICE, &[Create, Encrypt]).constraint(GrantConstraint::Subset(acme.clone()));
        kms.create_grant(key.arn(), own).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        let pass_on = |operations: &[GrantOperation], constraint: Option<GrantConstraint>| {
            let request = to(BOB, operations);
            let request = constraint.into_iter().fold(request, CreateGrant::constraint);
            alice.create_grant(key.arn(), request).map(manila_local_kms::CreatedGrant::into_id)
        };
        let (equals, subset) = (GrantConstraint::Equals, GrantConstraint::Subset);
        let wrong = [
            (vec![Decrypt], Some(subset(acme.clone()))),
            (vec![Encrypt, Decrypt], Some(subset(acme.clone()))),
            (vec![Encrypt], None),
            (vec![Encrypt], Some(subset(context(&[])))),
            (vec![Encrypt], Some(subset(context(&[("stage", "test")])))),
            (vec![Encrypt], Some(equals(context(&[("tenant", "initech")])))),
        ];
        for (operations, constraint) in wrong {
            let error = pass_on(&operations, constraint).unwrap_err();
            assert_refused(&error, &format!("{operations:?}"));
        }
        assert_eq!(kms.list_grants(key.arn()).unwrap().len(), 1);
        for constraint in [subset(acme.clone()), subset(both_pairs.clone()), equals(acme.clone()), equals(both_pairs)] {
            pass_on(&[Encrypt], Some(constraint)).unwrap();
        }
        let passed_on = pass_on(&[Create, Encrypt], Some(equals(acme.clone()))).unwrap();
        let grants = kms.list_grants(key.arn()).unwrap();
        assert_eq!(grants.iter().find(|grant| grant.id() == passed_on).unwrap().issuer(), ALICE);
        assert!(may_encrypt(&kms, BOB, key.arn(), &acme));
        // Passing a grant on again does not widen it either.
        let bob = kms.as_principal(BOB).unwrap();
        let wider = to(CAROL, &[Encrypt]).constraint(subset(acme.clone()));
        assert_refused(&bob.create_grant(key.arn(), wider).unwrap_err(), "a constraint of equality passed on");
        bob.create_grant(key.arn(), to(CAROL, &[Encrypt]).constraint(equals(acme.clone()))).unwrap();
        let carol = kms.as_principal(CAROL).unwrap();
        let more = to(BOB, &[Encrypt]).constraint(equals(acme));
        assert_refused(&carol.create_grant(key.arn(), more).unwrap_err(), "not passed on to Carol");
    }
}

#[test]
fn any_one_grant_of_several_can_be_passed_on() {
    use GrantOperation::{CreateGrant as Create, Decrypt, Encrypt};
    // Grants have random ids, and are found in a random order.
    for _ in 0..8 {
        let kms = LocalKms::in_memory().unwrap();
        let key = key_of(&kms);
        for operation in [Encrypt, Decrypt] {
            let own = CreateGrant::to(ALICE).operation(Create).operation(operation);
            kms.create_grant(key.arn(), own).unwrap();
        }
        let alice = kms.as_principal(ALICE).unwrap();
        for operation in [Encrypt, Decrypt] {
            alice.create_grant(key.arn(), CreateGrant::to(BOB).operation(operation)).unwrap();
        }
        let joined = CreateGrant::to(BOB).operation(Encrypt).operation(Decrypt);
        assert_refused(&alice.create_grant(key.arn(), joined).unwrap_err(), "no one grant covers both");
    }
}

#[test]
fn a_policy_on_create_grant_lets_a_principal_pass_on_anything_within_its_conditions() {
    for (kms, _, _) in both() {
        let acme = r#"{"StringEquals": {"kms:EncryptionContext:tenant": "acme"}}"#;
        let json = policy(&[allow(OWNER, &["*"]), statement("Allow", ALICE, &["CreateGrant"], acme)]);
        let key = kms.create_key(CreateKey::default().policy(json)).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        let request = || CreateGrant::to(BOB).operation(GrantOperation::Encrypt);
        let bound = |tenant| request().constraint(GrantConstraint::Subset(context(&[("tenant", tenant)])));
        assert_refused(&alice.create_grant(key.arn(), request()).unwrap_err(), "unbound");
        assert_refused(&alice.create_grant(key.arn(), bound("initech")).unwrap_err(), "bound to another");
        alice.create_grant(key.arn(), bound("acme")).unwrap();
        assert!(may_encrypt(&kms, BOB, key.arn(), &context(&[("tenant", "acme")])));
        assert!(!may_encrypt(&kms, ALICE, key.arn(), &context(&[("tenant", "acme")])), "Alice may not encrypt");
    }
}

#[test]
fn a_grant_is_retired_by_its_retiring_principal_or_the_owner() {
    for (kms, _, _) in both() {
        let key = key_of(&kms);
        let pairs = context(&[]);
        let grant = || CreateGrant::to(ALICE).operation(GrantOperation::Encrypt);
        let retire = |principal: &str, id: &str| kms.as_principal(principal).unwrap().retire_grant(key.arn(), id);

        let plain = kms.create_grant(key.arn(), grant()).unwrap().into_id();
        let named = kms.create_grant(key.arn(), grant().retiring_principal(BOB)).unwrap().into_id();
        let own = kms.create_grant(key.arn(), grant().operation(GrantOperation::RetireGrant)).unwrap().into_id();
        for (principal, id) in [(ALICE, &plain), (ALICE, &named), (BOB, &plain), (BOB, &own), (CAROL, &named)] {
            assert_refused(&retire(principal, id).unwrap_err(), principal);
        }
        // A policy does not extend the permission to anyone else, but can deny it to those it names.
        let json = policy(&[allow(OWNER, &["*"]), allow(CAROL, &["RetireGrant"]), deny(BOB, &["RetireGrant"])]);
        kms.put_key_policy(key.arn(), &json).unwrap();
        for principal in [CAROL, BOB] {
            assert_refused(&retire(principal, &named).unwrap_err(), principal);
        }
        kms.put_key_policy(key.arn(), &policy(&[allow(OWNER, &["*"])])).unwrap();
        retire(BOB, &named).unwrap();
        retire(ALICE, &own).unwrap();
        assert!(may_encrypt(&kms, ALICE, key.arn(), &pairs), "one grant is left");
        kms.retire_grant(key.arn(), &plain).unwrap();
        assert!(!may_encrypt(&kms, ALICE, key.arn(), &pairs));
        assert!(kms.list_grants(key.arn()).unwrap().is_empty());
        assert!(not_found(&kms.retire_grant(key.arn(), &plain).unwrap_err()));
        assert_refused(&retire(BOB, &named).unwrap_err(), "the second time");
    }
}

#[test]
fn a_revoked_grant_allows_nothing_from_the_next_call_on() {
    for (kms, _, folder) in both() {
        let (key, other) = (key_of(&kms), key_of(&kms));
        let id =
            kms.create_grant(key.arn(), CreateGrant::to(ALICE).operation(GrantOperation::Encrypt)).unwrap().into_id();
        let reader = if folder.store().exists() { folder.open().unwrap() } else { kms.clone() };
        assert!(may_encrypt(&reader, ALICE, key.arn(), &context(&[])));
        assert_refused(&kms.as_principal(ALICE).unwrap().revoke_grant(key.arn(), &id).unwrap_err(), "the grantee");
        assert!(not_found(&kms.revoke_grant(other.arn(), &id).unwrap_err()), "it is on another key");
        kms.revoke_grant(key.arn(), &id).unwrap();
        assert!(!may_encrypt(&reader, ALICE, key.arn(), &context(&[])));
        assert!(not_found(&kms.revoke_grant(key.arn(), &id).unwrap_err()));
    }
}

#[test]
fn re_encrypt_by_grants_needs_one_for_each_half_and_its_context() {
    for (kms, _, _) in both() {
        let (from, to) = (key_of(&kms), key_of(&kms));
        let (old, new) = (context(&[("tenant", "old")]), context(&[("tenant", "new")]));
        let sealed = ready(kms.encrypt(KmsRequest::new(from.arn(), &old), b"x")).unwrap().ciphertext;
        let alice = kms.as_principal(ALICE).unwrap();
        let attempt = |pairs: &EncryptionContext| {
            alice.re_encrypt(&sealed, KmsRequest::new(from.arn(), &old), KmsRequest::new(to.arn(), pairs))
        };
        let half = |key: &KeyMetadata, operation, pairs: &EncryptionContext| {
            let request = CreateGrant::to(ALICE).operation(operation);
            kms.create_grant(key.arn(), request.constraint(GrantConstraint::Equals(pairs.clone()))).unwrap().into_id()
        };
        // Permission to Decrypt and Encrypt does not include ReEncrypt.
        half(&from, GrantOperation::Decrypt, &old);
        half(&to, GrantOperation::Encrypt, &new);
        assert_refused(&attempt(&new).unwrap_err(), "no half");
        half(&from, GrantOperation::ReEncryptFrom, &old);
        assert_refused(&attempt(&new).unwrap_err(), "the first half");
        half(&to, GrantOperation::ReEncryptTo, &old);
        assert_refused(&attempt(&new).unwrap_err(), "the second half under the context of the first");
        let second = half(&to, GrantOperation::ReEncryptTo, &new);
        let first = ready(kms.decrypt(KmsRequest::new(to.arn(), &new), &attempt(&new).unwrap().ciphertext)).unwrap();
        assert_eq!(first.plaintext.expose_secret(), b"x");
        kms.revoke_grant(to.arn(), &second).unwrap();
        assert_refused(&attempt(&new).unwrap_err(), "revoked");
    }
}

#[test]
fn grants_are_on_a_key_of_one_region_and_go_with_it() {
    for (kms, clock, _) in both() {
        let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let there = kms.region("eu-west-1").unwrap();
        let grant = || CreateGrant::to(ALICE).operation(GrantOperation::Encrypt);
        let replica = kms.replicate_key(key.arn(), "eu-west-1").unwrap();
        kms.create_grant(key.arn(), grant()).unwrap();
        assert!(!may_encrypt(&there, ALICE, replica.arn(), &context(&[])));
        there.create_grant(replica.arn(), grant()).unwrap();
        assert!(may_encrypt(&there, ALICE, replica.arn(), &context(&[])));
        // A replica made again under the same id has no grants.
        there.schedule_key_deletion_in(replica.arn(), 7).unwrap();
        clock.advance_days(7);
        assert!(not_found(&encrypt(&there.as_principal(ALICE).unwrap(), replica.arn(), b"x").unwrap_err()));
        let again = kms.replicate_key(key.arn(), "eu-west-1").unwrap();
        assert_eq!(again.arn(), replica.arn());
        assert!(there.list_grants(again.arn()).unwrap().is_empty());
        assert!(!may_encrypt(&there, ALICE, again.arn(), &context(&[])));
        assert!(may_encrypt(&kms, ALICE, key.arn(), &context(&[])));
    }
}

#[test]
fn a_grant_that_makes_no_sense_is_refused() {
    for (kms, _, _) in both() {
        let key = key_of(&kms);
        let mac_key = kms.create_key(CreateKey::default().spec(KeySpec::Hmac256)).unwrap();
        let encrypts = |to: &str| CreateGrant::to(to).operation(GrantOperation::Encrypt);
        let mac = || CreateGrant::to(ALICE).operation(GrantOperation::VerifyMac);
        let rows = [
            (key.arn(), encrypts("alice"), "InvalidArnException"),
            (key.arn(), encrypts("*"), "InvalidArnException"),
            (key.arn(), encrypts(ALICE).retiring_principal("bob"), "InvalidArnException"),
            (key.arn(), CreateGrant::to(ALICE), "ValidationException"),
            (key.arn(), mac(), "ValidationException"),
            (mac_key.arn(), encrypts(ALICE), "ValidationException"),
            (mac_key.arn(), mac().constraint(GrantConstraint::Subset(context(&[]))), "ValidationException"),
        ];
        for (key, request, expected) in rows {
            let error = kms.create_grant(key, request.clone()).unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, expected), "{request:?}");
            assert!(kms.list_grants(key).unwrap().is_empty());
        }
        assert!(not_found(&kms.create_grant("alias/none", encrypts(ALICE)).unwrap_err()));
    }
}

#[test]
fn a_grant_is_not_retired_by_an_alias_of_its_key() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
    let grant = kms.create_grant(key.arn(), CreateGrant::to(ALICE).operation(GrantOperation::Decrypt)).unwrap();
    assert_eq!(code(&kms.retire_grant("alias/a", grant.id()).unwrap_err()), "NotFoundException");
    kms.retire_grant(key.arn(), grant.id()).unwrap();
}

#[test]
fn a_request_that_is_repeated_with_its_name_makes_one_grant() {
    for (kms, _, _) in both() {
        let key = key_of(&kms);
        let request = || {
            let request = CreateGrant::to(ALICE).operation(GrantOperation::Encrypt).name("app:1/main_x-y");
            request.constraint(GrantConstraint::Subset(context(&[("a", "b")])))
        };
        let first = kms.create_grant(key.arn(), request()).unwrap();
        let again = kms.create_grant(key.arn(), request()).unwrap();
        assert_eq!(first.id(), again.id());
        assert_ne!(first.token(), again.token());
        let [grant] = kms.list_grants(key.arn()).unwrap().try_into().unwrap();
        assert_eq!((grant.name(), grant.key_arn()), (Some("app:1/main_x-y"), key.arn()));
        let others = [
            request().name("another"),
            request().operation(GrantOperation::Decrypt),
            request().retiring_principal(BOB),
            request().constraint(GrantConstraint::Equals(context(&[("a", "b")]))),
            request().source_arn("arn:aws:s3:::bucket"),
        ];
        let mut ids = vec![first.id().to_owned()];
        for other in others {
            let made = kms.create_grant(key.arn(), other).unwrap().into_id();
            assert!(!ids.contains(&made));
            ids.push(made);
        }
        // Without a name each request makes a grant, and so does each key.
        let plain = || CreateGrant::to(ALICE).operation(GrantOperation::Encrypt);
        let [one, two] = [(); 2].map(|()| kms.create_grant(key.arn(), plain()).unwrap());
        assert_ne!(one.id(), two.id());
        assert_ne!(kms.create_grant(key_of(&kms).arn(), request()).unwrap().id(), first.id());
        // Both tokens are of the one grant.
        kms.retire_grant_by_token(again.token()).unwrap();
        assert_eq!(code(&kms.retire_grant_by_token(first.token()).unwrap_err()), "InvalidGrantTokenException");
        for name in ["", "a b", "\u{e4}", &"n".repeat(257)] {
            assert_eq!(code(&kms.create_grant(key.arn(), plain().name(name)).unwrap_err()), "ValidationException");
        }
    }
}

#[test]
fn a_token_lets_a_grant_count_at_once_and_one_that_is_not_valid_is_refused() {
    let clock = TestClock::new();
    let delay = std::time::Duration::from_secs(300);
    let kms = LocalKms::builder().clock(clock.clone()).grant_delay(delay).in_memory().unwrap();
    let (key, pairs) = (key_of(&kms), context(&[]));
    let grant = || CreateGrant::to(ALICE).operation(GrantOperation::Encrypt);
    let made = kms.create_grant(key.arn(), grant()).unwrap();
    let alice = kms.as_principal(ALICE).unwrap();
    let with = |kms: &LocalKms, tokens: &[String]| {
        ready(kms.encrypt(KmsRequest::new(key.arn(), &pairs).with_grant_tokens(tokens), b"x")).map(drop)
    };
    let token = [made.token().to_owned()];
    assert_refused(&with(&alice, &[]).unwrap_err(), "too new");
    with(&alice, &token).unwrap();
    with(&alice.with_grant_tokens(token.clone()), &[]).unwrap();
    assert_refused(&with(&kms.as_principal(BOB).unwrap(), &token).unwrap_err(), "a token is for its grantee");
    clock.advance_secs(299);
    assert_refused(&with(&alice, &[]).unwrap_err(), "too new");
    clock.advance_secs(1);
    with(&alice, &[]).unwrap();
    // Every kind of request carries them.
    let request = EncryptRequest::new(key.arn(), b"x").encryption_context(&pairs).grant_tokens(&token);
    clock.advance_secs(1);
    alice.encrypt_with(request).unwrap();
    // Of the token each part counts, and so does each token.
    let parts: Vec<_> = token[0].split('/').collect();
    let mut wrong: Vec<_> = (0..parts.len())
        .map(|n| {
            parts.iter().enumerate().map(|(at, part)| if at == n { "0" } else { part }).collect::<Vec<_>>().join("/")
        })
        .collect();
    wrong.extend([String::new(), "x".repeat(10_000), format!("{}/", token[0]), token[0].to_uppercase()]);
    for wrong in wrong {
        let is_possible = (1..=8192).contains(&wrong.len());
        let expected = if is_possible { "InvalidGrantTokenException" } else { "ValidationException" };
        for tokens in [vec![wrong.clone()], vec![token[0].clone(), wrong.clone()]] {
            assert_eq!(code(&with(&alice, &tokens).unwrap_err()), expected, "{wrong}");
            assert_eq!(code(&with(&kms, &tokens).unwrap_err()), expected, "the owner too");
        }
        let view = kms.with_grant_tokens([wrong.as_str()]);
        assert_eq!(code(&with(&view, &[]).unwrap_err()), "InvalidGrantTokenException", "{wrong}");
        assert_eq!(code(&kms.retire_grant_by_token(&wrong).unwrap_err()), "InvalidGrantTokenException");
    }
    assert_eq!(code(&with(&alice, &vec![token[0].clone(); 11]).unwrap_err()), "ValidationException");
    with(&alice, &vec![token[0].clone(); 10]).unwrap();
    // A stranger learns nothing of tokens.
    assert_refused(&with(&kms.as_principal(CAROL).unwrap(), &["x".to_owned()]).unwrap_err(), "a stranger");
    let elsewhere = kms.region("eu-west-1").unwrap();
    assert_eq!(code(&elsewhere.retire_grant_by_token(&token[0]).unwrap_err()), "InvalidGrantTokenException");
    // A token retires for those who may retire its grant.
    let second = kms.create_grant(key.arn(), grant().retiring_principal(BOB)).unwrap();
    assert_refused(&alice.retire_grant_by_token(second.token()).unwrap_err(), "not the grantee");
    kms.as_principal(BOB).unwrap().retire_grant_by_token(second.token()).unwrap();
    kms.revoke_grant(key.arn(), made.id()).unwrap();
    assert_eq!(code(&with(&kms, &token).unwrap_err()), "InvalidGrantTokenException");
}

#[test]
fn a_service_uses_a_grant_for_its_resource() {
    for (kms, _, _) in both() {
        let key = key_of(&kms);
        let service = "rds.amazonaws.com";
        let request =
            CreateGrant::to(service).operation(GrantOperation::Encrypt).retiring_principal("ec2.amazonaws.com");
        let id =
            kms.create_grant(key.arn(), request.source_arn("arn:aws:rds:local:000000000000:db:x")).unwrap().into_id();
        let of = |service: &str, arn: Option<&str>| {
            let context = arn.into_iter().fold(RequestContext::default(), RequestContext::source_arn);
            let view = kms.as_principal(service).unwrap().with_context(context);
            encrypt(&view, key.arn(), b"x").map_err(|error| assert_refused(&error, service)).is_ok()
        };
        assert!(of(service, Some("arn:aws:rds:local:000000000000:db:x")));
        assert!(!of(service, Some("arn:aws:rds:local:000000000000:db:y")) && !of(service, None));
        assert!(!of("s3.amazonaws.com", Some("arn:aws:rds:local:000000000000:db:x")));
        assert_eq!(kms.list_grants(key.arn()).unwrap()[0].source_arn(), Some("arn:aws:rds:local:000000000000:db:x"));
        kms.as_principal("ec2.amazonaws.com").unwrap().retire_grant(key.arn(), &id).unwrap();
        for wrong in ["", "rds", "arn:aws:rds"] {
            let request = CreateGrant::to(service).operation(GrantOperation::Encrypt).source_arn(wrong);
            assert_eq!(code(&kms.create_grant(key.arn(), request).unwrap_err()), "InvalidArnException");
        }
    }
}

#[test]
fn constraints_are_as_large_as_on_aws() {
    let kms = LocalKms::in_memory().unwrap();
    let key = key_of(&kms);
    let with = |pairs: usize, len: usize| {
        let pairs = (0..pairs).map(|n| (n.to_string(), "\u{e4}".repeat(len)));
        let constraint = GrantConstraint::Subset(EncryptionContext::new(pairs).unwrap());
        let request = CreateGrant::to(ALICE).operation(GrantOperation::Encrypt).constraint(constraint);
        kms.create_grant(key.arn(), request).map(drop)
    };
    with(8, 384).unwrap();
    for (pairs, len) in [(9, 1), (1, 385)] {
        assert_eq!(code(&with(pairs, len).unwrap_err()), "ValidationException");
    }
}

#[test]
fn the_grants_of_a_retiring_principal_are_listed_in_its_region() {
    for (kms, clock, folder) in both() {
        let key = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let (other, doomed) = (key_of(&kms), key_of(&kms));
        let grant =
            |retiring: &str| CreateGrant::to(ALICE).operation(GrantOperation::Encrypt).retiring_principal(retiring);
        let europe = kms.region("eu-west-1").unwrap();
        let replica = kms.replicate_key(key.arn(), "eu-west-1").unwrap();
        let make = |kms: &LocalKms, key: &KeyMetadata, retiring| kms.create_grant(key.arn(), grant(retiring)).unwrap();
        let first = make(&kms, &key, BOB);
        let second = make(&kms, &other, BOB);
        make(&kms, &other, ROLE);
        make(&kms, &doomed, BOB);
        let there = make(&europe, &replica, BOB);
        kms.create_grant(key.arn(), CreateGrant::to(BOB).operation(GrantOperation::Encrypt)).unwrap();
        kms.schedule_key_deletion_in(doomed.arn(), 7).unwrap();
        let listed = |kms: &LocalKms, principal: &str| {
            let mut found: Vec<_> = kms.list_retirable_grants(principal).unwrap();
            found.sort_by(|one, two| (one.key_arn(), one.id()).cmp(&(two.key_arn(), two.id())));
            found.iter().map(|grant| (grant.key_arn().to_owned(), grant.id().to_owned())).collect::<Vec<_>>()
        };
        let of =
            |key: &KeyMetadata, grant: &manila_local_kms::CreatedGrant| (key.arn().to_owned(), grant.id().to_owned());
        assert_eq!(listed(&kms, BOB).len(), 3);
        clock.advance_days(7);
        let mut expected = vec![of(&key, &first), of(&other, &second)];
        expected.sort();
        assert_eq!(listed(&kms, BOB), expected, "before the key is removed");
        kms.update_key_description(key.arn(), "a write").unwrap();
        assert_eq!(listed(&kms, BOB), expected);
        assert_eq!(listed(&europe, BOB), [of(&replica, &there)]);
        assert_eq!((listed(&kms, ROLE).len(), listed(&kms, ALICE).len()), (1, 0));
        if folder.store().exists() {
            kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap();
            assert_eq!(listed(&kms, BOB), expected);
        }
        kms.revoke_grant(key.arn(), first.id()).unwrap();
        kms.as_principal(BOB).unwrap().retire_grant(other.arn(), second.id()).unwrap();
        assert!(listed(&kms, BOB).is_empty());
        assert_eq!(code(&kms.list_retirable_grants("bob").unwrap_err()), "InvalidArnException");
        let own = r#"{"Statement": {"Effect": "Allow", "Action": "kms:ListRetirableGrants", "Resource": "*"}}"#;
        kms.put_identity_policy(ALICE, "p", own).unwrap();
        kms.as_principal(ALICE).unwrap().list_retirable_grants(BOB).unwrap();
    }
}

#[test]
fn conditions_see_what_a_grant_is_for() {
    let kms = LocalKms::in_memory().unwrap();
    let condition = r#"{"StringEquals": {"kms:GranteeServicePrincipal": "rds.amazonaws.com",
        "kms:GrantConstraintType": "EncryptionContextSubset"},
        "ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt", "Decrypt"]},
        "ArnLike": {"kms:GrantConstraintSourceArn": "arn:aws:rds:*:*:db:*"}}"#;
    let json = policy(&[allow(OWNER, &["*"]), statement("Allow", ALICE, &["CreateGrant"], condition)]);
    let key = kms.create_key(CreateKey::default().policy(json)).unwrap();
    let alice = kms.as_principal(ALICE).unwrap();
    let subset = || GrantConstraint::Subset(context(&[("a", "b")]));
    let good = || {
        let request = CreateGrant::to("rds.amazonaws.com").operation(GrantOperation::Encrypt).constraint(subset());
        request.source_arn("arn:aws:rds:local:000000000000:db:x")
    };
    alice.create_grant(key.arn(), good()).unwrap();
    let wrong = [
        good().operation(GrantOperation::DescribeKey),
        good().source_arn("arn:aws:s3:::bucket"),
        good().constraint(GrantConstraint::Equals(context(&[("a", "b")]))),
        CreateGrant::to(BOB).operation(GrantOperation::Encrypt).constraint(subset()).source_arn("arn:aws:rds:a:b:db:x"),
    ];
    for wrong in wrong {
        assert_refused(&alice.create_grant(key.arn(), wrong).unwrap_err(), "another grant");
    }
}

#[test]
fn a_call_reads_no_grants_of_others() {
    let kms = LocalKms::in_memory().unwrap();
    let key = key_of(&kms);
    let pairs = context(&[]);
    let read = |principal: &str, may: bool| {
        let before = records_read(&kms);
        assert_eq!(may_encrypt(&kms, principal, key.arn(), &pairs), may, "{principal}");
        records_read(&kms) - before
    };
    let grant = |to: &str| {
        let request = CreateGrant::to(to).operation(GrantOperation::Encrypt);
        kms.create_grant(key.arn(), request).unwrap().into_id()
    };
    let without = read(BOB, false);
    for n in 0..100 {
        grant(&format!("arn:aws:iam::000000000000:role/r{n}"));
    }
    assert_eq!(read(BOB, false), without, "a stranger");
    grant(ALICE);
    assert_eq!(read(ALICE, true), without + 2, "one grant, and the record by which it is found");
    grant(ROLE);
    grant(SESSION);
    assert_eq!(read(ROLE, true), without + 2, "a role");
    assert_eq!(read(&SESSION.replace("i-1", "i-2"), true), without + 2, "a session by its role's");
    assert_eq!(read(SESSION, true), without + 4, "a session by its role's and its own");
    assert_eq!(read(BOB, false), without, "a stranger still");
    // An operation that no grant can allow reads no grants.
    let before = records_read(&kms);
    assert_refused(&kms.as_principal(ALICE).unwrap().disable_key(key.arn()).unwrap_err(), "not grantable");
    assert!(records_read(&kms) - before <= without, "{} records", records_read(&kms) - before);
}

#[test]
fn grants_are_found_and_removed_after_a_change_of_root_key() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let kms = folder.create_at(&clock);
    let key = key_of(&kms);
    let grant = |to: &str| {
        let request = CreateGrant::to(to).operation(GrantOperation::Encrypt);
        kms.create_grant(key.arn(), request).unwrap().into_id()
    };
    let (before, _) = (grant(ALICE), grant(ROLE));
    kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap();
    let after = grant(ALICE);
    let pairs = context(&[]);
    let may = |principal: &str| may_encrypt(&kms, principal, key.arn(), &pairs);
    assert!(may(ALICE) && may(SESSION) && !may(BOB));
    kms.revoke_grant(key.arn(), &before).unwrap();
    assert!(may(ALICE));
    kms.retire_grant(key.arn(), &after).unwrap();
    assert!(!may(ALICE) && may(SESSION));
    assert_eq!(rows(&folder, key.key_id()).len(), 5, "the key, its material, a grant, its grantee and the count");
    kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
    clock.advance_days(7);
    kms.purge().unwrap();
    assert!(rows(&folder, key.key_id()).is_empty());
}

#[test]
fn the_file_does_not_reveal_grantees_or_the_keys_of_aliases() {
    let folder = Folder::new();
    let kms = folder.create();
    let keys: Vec<_> = (0..2).map(|_| key_of(&kms)).collect();
    for key in &keys {
        kms.create_grant(key.arn(), CreateGrant::to(ROLE).operation(GrantOperation::Encrypt)).unwrap();
    }
    kms.create_alias("alias/whose", keys[0].arn()).unwrap();
    let hidden: Vec<_> = keys.iter().map(|key| row_ids(&folder, "grantees", key.key_id())).collect();
    let grantee = |ids: &Vec<String>| ids[0].split('/').nth(2).unwrap().to_owned();
    assert_ne!(grantee(&hidden[0]), grantee(&hidden[1]), "one principal has another name on each key");
    let [of_alias] = row_ids(&folder, "key-aliases", "").try_into().unwrap();
    assert!(!of_alias.contains("whose") && !of_alias.contains(keys[0].key_id()), "{of_alias}");
    let file = std::fs::read(folder.store()).unwrap();
    for part in [ROLE, "role/app", "service/app"] {
        assert!(!file.windows(part.len()).any(|window| window == part.as_bytes()), "{part}");
    }
}

/// Returns the ids of a table's rows that contain `part`, as stored in the file.
fn row_ids(folder: &Folder, table: &str, part: &str) -> Vec<String> {
    let found = records(&folder.store()).into_iter().filter(|(name, id, _)| *name == table && id.contains(part));
    found.map(|(_, id, _)| id).collect()
}
