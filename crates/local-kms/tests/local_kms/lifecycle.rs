//! Keys and their states, and that nothing is left of a deleted key.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use crate::access::{EVERYTHING, METHODS, OWNER, STRANGER, allow, policy};
use crate::raw_file::records;
use crate::{Folder, TestClock, both, code, context, decrypt, described, encrypt};
use manila_core::testing::ready;
use manila_local_kms::{
    Alias, AuditLog, Clock, CreateGrant, CreateKey, CreatedGrant, DataKeyPairRequest, DecapsulateRequest,
    DeriveSharedSecretRequest, EncapsulateRequest, EncryptionContext, Error, ErrorKind, GrantOperation, KeyMetadata,
    KeySpec, KeyState, KeyUsage, Kms, KmsRequest, LocalKms, RootKey, SignRequest, SigningAlgorithm, VerifyRequest,
};

const ECDSA: SigningAlgorithm = SigningAlgorithm::EcdsaSha256;
const OK: &str = "";
const DISABLED: &str = "DisabledException";
const INVALID: &str = "KMSInvalidStateException";
const DENIED: &str = "AccessDeniedException";
const UNSUPPORTED: &str = "UnsupportedOperationException";
const MATERIAL: [u8; 32] = [7; 32];
/// The region of a primary key's replica.
const EUROPE: &str = "eu-west-1";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"kms:*","Resource":"*"}]}"#;

/// The kind of key that an operation needs.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Symmetric,
    Hmac,
    Signing,
    Agreeing,
    Encapsulating,
    Imported,
    MultiRegion,
}

impl Kind {
    fn of(self, request: CreateKey) -> CreateKey {
        match self {
            Self::Symmetric | Self::Imported | Self::MultiRegion => request,
            Self::Hmac => request.spec(KeySpec::Hmac256),
            Self::Signing => request.spec(KeySpec::EccNistP256).usage(KeyUsage::SignVerify),
            Self::Agreeing => request.spec(KeySpec::EccNistP256).usage(KeyUsage::KeyAgreement),
            Self::Encapsulating => request.spec(KeySpec::MlKem512),
        }
    }
}

/// A key to call an operation on, and the results of using it beforehand.
struct Subject {
    name: String,
    alias: String,
    ciphertext: Vec<u8>,
    mac: Vec<u8>,
    /// A signature, a public key or an encapsulated secret, as the kind of key takes it.
    made: Vec<u8>,
    grant: String,
    /// A second key, which can be used.
    other: String,
}

/// An operation, and its error in each state: enabled, disabled, pending deletion, pending import, a primary key that
/// has a replica, and enabled but called by a principal of another account to whom the policy allows everything.
struct Row {
    name: &'static str,
    kind: Kind,
    call: fn(&LocalKms, &Subject) -> Result<(), Error>,
    errors: [&'static str; 6],
}

impl Row {
    /// Returns the name of the operation, without what tells its rows apart.
    fn operation(&self) -> &'static str {
        self.name.split([' ', ',']).next().unwrap_or(self.name)
    }
}

/// The expected errors, from the table "Key states of AWS KMS keys" of the Developer Guide, its pages on imported
/// material, and "AWS KMS permissions" for other accounts. On AWS the deletion of a primary key with replicas can be
/// scheduled, which puts it in the state `PendingReplicaDeletion`; that state does not exist here.
const TABLE: &[Row] = &[
    row(
        "CancelKeyDeletion",
        |kms, it| kms.cancel_key_deletion(&it.name),
        [INVALID, INVALID, OK, INVALID, INVALID, DENIED],
    ),
    row("CreateAlias", |kms, it| kms.create_alias("alias/new", &it.name), [OK, OK, INVALID, OK, OK, DENIED]),
    row("CreateGrant", |kms, it| grant(kms, &it.name).map(drop), [OK, DISABLED, INVALID, INVALID, OK, OK]),
    Row {
        name: "Decapsulate",
        kind: Kind::Encapsulating,
        call: |kms, it| kms.decapsulate(DecapsulateRequest::new(&it.name, &it.made)).map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
    row(
        "Decrypt",
        |kms, it| decrypt(kms, &it.name, &it.ciphertext).map(drop),
        [OK, DISABLED, INVALID, INVALID, OK, OK],
    ),
    row("DeleteAlias", |kms, it| kms.delete_alias(&it.alias), [OK, OK, OK, OK, OK, DENIED]),
    Row {
        name: "DeleteImportedKeyMaterial",
        kind: Kind::Imported,
        call: |kms, it| kms.delete_imported_key_material(&it.name),
        errors: [OK, OK, OK, OK, OK, DENIED],
    },
    Row {
        name: "DeriveSharedSecret",
        kind: Kind::Agreeing,
        call: |kms, it| kms.derive_shared_secret(DeriveSharedSecretRequest::new(&it.name, &it.made)).map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
    row("DescribeKey", |kms, it| kms.describe_key(&it.name).map(drop), [OK; 6]),
    row("DisableKey", |kms, it| kms.disable_key(&it.name), [OK, OK, INVALID, INVALID, OK, DENIED]),
    row(
        "DisableKeyRotation",
        |kms, it| kms.disable_key_rotation(&it.name),
        [OK, DISABLED, INVALID, UNSUPPORTED, OK, DENIED],
    ),
    row("EnableKey", |kms, it| kms.enable_key(&it.name), [OK, OK, INVALID, INVALID, OK, DENIED]),
    row(
        "EnableKeyRotation",
        |kms, it| kms.enable_key_rotation(&it.name),
        [OK, DISABLED, INVALID, UNSUPPORTED, OK, DENIED],
    ),
    row(
        "EnableKeyRotation every 90 days",
        |kms, it| kms.enable_key_rotation_every(&it.name, 90),
        [OK, DISABLED, INVALID, UNSUPPORTED, OK, DENIED],
    ),
    Row {
        name: "Encapsulate",
        kind: Kind::Encapsulating,
        call: |kms, it| kms.encapsulate(EncapsulateRequest::new(&it.name)).map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
    row("Encrypt", |kms, it| encrypt(kms, &it.name, b"x").map(drop), [OK, DISABLED, INVALID, INVALID, OK, OK]),
    row(
        "GenerateDataKey",
        |kms, it| ready(kms.generate_data_key(KmsRequest::new(&it.name, &EncryptionContext::empty()), 32)).map(drop),
        [OK, DISABLED, INVALID, INVALID, OK, OK],
    ),
    row(
        "GenerateDataKeyPair",
        |kms, it| {
            let request = DataKeyPairRequest::new(&it.name, KeySpec::EccNistP256);
            kms.generate_data_key_pair(request).map(drop)
        },
        [OK, DISABLED, INVALID, INVALID, OK, OK],
    ),
    row(
        "GenerateDataKeyPairWithoutPlaintext",
        |kms, it| {
            let request = DataKeyPairRequest::new(&it.name, KeySpec::EccNistP256);
            kms.generate_data_key_pair_without_plaintext(request).map(drop)
        },
        [OK, DISABLED, INVALID, INVALID, OK, OK],
    ),
    row(
        "GenerateDataKeyWithoutPlaintext",
        |kms, it| {
            let request = &EncryptionContext::empty();
            kms.generate_data_key_without_plaintext(KmsRequest::new(&it.name, request), 32).map(drop)
        },
        [OK, DISABLED, INVALID, INVALID, OK, OK],
    ),
    Row {
        name: "GenerateMac",
        kind: Kind::Hmac,
        call: |kms, it| kms.generate_mac(&it.name, b"x").map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
    row("ListKeyPolicies", |kms, it| kms.list_key_policies(&it.name).map(drop), [OK, OK, OK, OK, OK, DENIED]),
    row("GetKeyPolicy", |kms, it| kms.key_policy(&it.name).map(drop), [OK, OK, OK, OK, OK, DENIED]),
    row("GetKeyRotationStatus", |kms, it| kms.key_rotation_status(&it.name).map(drop), [OK; 6]),
    Row {
        name: "GetPublicKey",
        kind: Kind::Signing,
        call: |kms, it| kms.public_key(it.name.as_str()).map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
    Row {
        name: "ImportKeyMaterial",
        kind: Kind::Imported,
        call: |kms, it| kms.import_key_material(&it.name, &MATERIAL, None),
        errors: [OK, OK, INVALID, OK, OK, DENIED],
    },
    row("ListGrants", |kms, it| kms.list_grants(&it.name).map(drop), [OK; 6]),
    row("ListKeyRotations", |kms, it| kms.list_key_rotations(&it.name).map(drop), [OK, OK, OK, OK, OK, DENIED]),
    row("ListResourceTags", |kms, it| kms.list_key_tags(&it.name).map(drop), [OK, OK, OK, OK, OK, DENIED]),
    row("PutKeyPolicy", |kms, it| kms.put_key_policy(&it.name, POLICY), [OK, OK, OK, OK, OK, DENIED]),
    row(
        "PutKeyPolicy, locking out",
        |kms, it| kms.put_key_policy_that_may_lock_out_caller(&it.name, POLICY),
        [OK, OK, OK, OK, OK, DENIED],
    ),
    row("ReEncrypt from", |kms, it| re_encrypt(kms, it, &it.name, &it.other), [OK, DISABLED, INVALID, INVALID, OK, OK]),
    row(
        "ReEncrypt to",
        |kms, it| {
            let ciphertext = encrypt(kms, &it.other, b"x")?;
            re_encrypt(kms, &Subject { ciphertext, ..subject() }, &it.other, &it.name)
        },
        [OK, DISABLED, INVALID, INVALID, OK, OK],
    ),
    Row {
        name: "ReplicateKey",
        kind: Kind::MultiRegion,
        call: |kms, it| kms.replicate_key(&it.name, "us-west-2").map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, DENIED],
    },
    row("RetireGrant", |kms, it| kms.retire_grant(&it.name, &it.grant), [OK; 6]),
    row("RevokeGrant", |kms, it| kms.revoke_grant(&it.name, &it.grant), [OK; 6]),
    row(
        "RotateKeyOnDemand",
        |kms, it| kms.rotate_key_on_demand(&it.name),
        [OK, DISABLED, INVALID, UNSUPPORTED, OK, DENIED],
    ),
    row(
        "ScheduleKeyDeletion",
        |kms, it| kms.schedule_key_deletion(&it.name).map(drop),
        [OK, OK, INVALID, OK, INVALID, DENIED],
    ),
    row(
        "ScheduleKeyDeletion in 7 days",
        |kms, it| kms.schedule_key_deletion_in(&it.name, 7).map(drop),
        [OK, OK, INVALID, OK, INVALID, DENIED],
    ),
    Row {
        name: "Sign",
        kind: Kind::Signing,
        call: |kms, it| kms.sign(SignRequest::new(&it.name, ECDSA, b"x")).map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
    row("TagResource", |kms, it| kms.tag_key(&it.name, [("a", "b")]), [OK, OK, INVALID, OK, OK, DENIED]),
    row("UntagResource", |kms, it| kms.untag_key(&it.name, ["a"]), [OK, OK, INVALID, OK, OK, DENIED]),
    row("UpdateAlias to", |kms, it| kms.update_alias("alias/other", &it.name), [OK, OK, INVALID, OK, OK, DENIED]),
    row("UpdateAlias from", |kms, it| kms.update_alias(&it.alias, &it.other), [OK, OK, OK, OK, OK, DENIED]),
    row(
        "UpdateKeyDescription",
        |kms, it| kms.update_key_description(&it.name, "new"),
        [OK, OK, INVALID, OK, OK, DENIED],
    ),
    Row {
        name: "UpdatePrimaryRegion",
        kind: Kind::MultiRegion,
        call: |kms, it| kms.update_primary_region(&it.name, EUROPE),
        errors: [OK, DISABLED, INVALID, INVALID, OK, DENIED],
    },
    Row {
        name: "Verify",
        kind: Kind::Signing,
        call: |kms, it| kms.verify(VerifyRequest::new(&it.name, ECDSA, b"x", &it.made)).map(drop),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
    Row {
        name: "VerifyMac",
        kind: Kind::Hmac,
        call: |kms, it| kms.verify_mac(&it.name, b"x", &it.mac),
        errors: [OK, DISABLED, INVALID, INVALID, OK, OK],
    },
];

const fn row(name: &'static str, call: fn(&LocalKms, &Subject) -> Result<(), Error>, errors: [&'static str; 6]) -> Row {
    Row { name, kind: Kind::Symmetric, call, errors }
}

fn subject() -> Subject {
    let text = String::new;
    let bytes = Vec::new;
    Subject {
        name: text(),
        alias: text(),
        ciphertext: bytes(),
        mac: bytes(),
        made: bytes(),
        grant: text(),
        other: text(),
    }
}

fn grant(kms: &LocalKms, key: &str) -> Result<String, Error> {
    let grant = CreateGrant::to("arn:aws:iam::000000000000:role/app").operation(GrantOperation::DescribeKey);
    kms.create_grant(key, grant.retiring_principal(STRANGER)).map(CreatedGrant::into_id)
}

fn re_encrypt(kms: &LocalKms, it: &Subject, from: &str, to: &str) -> Result<(), Error> {
    let context = context(&[("a", "b")]);
    kms.re_encrypt(&it.ciphertext, KmsRequest::new(from, &context), KmsRequest::new(to, &context)).map(drop)
}

/// Makes a usable key and uses it. Its alias is `alias/subject`, and `alias/other` is that of the second key.
fn prepare(kms: &LocalKms, kind: Kind, imported: bool, multi_region: bool) -> (KeyMetadata, Subject) {
    for alias in kms.list_aliases().unwrap() {
        kms.delete_alias(alias.name()).unwrap();
    }
    let mut request = kind.of(CreateKey::default().alias("alias/subject"));
    if multi_region || kind == Kind::MultiRegion {
        request = request.multi_region();
    }
    let imported = imported || kind == Kind::Imported;
    if imported {
        request = request.imported();
    }
    let key = kms.create_key(request).unwrap();
    let other = kms.create_key(CreateKey::default().alias("alias/other")).unwrap();
    if imported {
        let material = match kind {
            Kind::Signing | Kind::Agreeing | Kind::Encapsulating => {
                let request = DataKeyPairRequest::new(other.arn(), key.spec());
                kms.generate_data_key_pair(request).unwrap().private_key.unwrap().expose_secret().to_vec()
            }
            _ => MATERIAL.to_vec(),
        };
        kms.import_key_material(key.arn(), &material, None).unwrap();
    }
    let (mut ciphertext, mut mac, mut made) = (Vec::new(), Vec::new(), Vec::new());
    match kind {
        Kind::Hmac => mac = kms.generate_mac(key.arn(), b"x").unwrap(),
        Kind::Signing => made = kms.sign(SignRequest::new(key.arn(), ECDSA, b"x")).unwrap().signature,
        Kind::Agreeing => made = kms.public_key(key.arn()).unwrap().public_key,
        Kind::Encapsulating => made = kms.encapsulate(EncapsulateRequest::new(key.arn())).unwrap().ciphertext,
        _ => ciphertext = encrypt(kms, key.arn(), b"x").unwrap(),
    }
    let grant = grant(kms, key.arn()).unwrap();
    let (name, other) = (key.arn().to_owned(), other.arn().to_owned());
    (key, Subject { name, alias: "alias/subject".to_owned(), ciphertext, mac, made, grant, other })
}

/// The state of a key when an operation of the table is called on it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    Of(KeyState),
    PrimaryWithReplica,
    AnotherAccount,
}

impl Case {
    /// The columns of the table.
    const ALL: [Self; 6] = [
        Self::Of(KeyState::Enabled),
        Self::Of(KeyState::Disabled),
        Self::Of(KeyState::PendingDeletion),
        Self::Of(KeyState::PendingImport),
        Self::PrimaryWithReplica,
        Self::AnotherAccount,
    ];

    fn state(self) -> KeyState {
        if let Self::Of(state) = self { state } else { KeyState::Enabled }
    }

    /// Brings a key and the one beside it into this state, and returns the handle to call with.
    fn set(self, kms: &LocalKms, key: &str, other: &str) -> LocalKms {
        match self {
            Self::Of(KeyState::Disabled) => kms.disable_key(key).unwrap(),
            Self::Of(KeyState::PendingDeletion) => drop(kms.schedule_key_deletion(key).unwrap()),
            Self::Of(KeyState::PendingImport) => kms.delete_imported_key_material(key).unwrap(),
            Self::AnotherAccount => {
                let open = policy(&[allow(OWNER, &["*"]), allow(STRANGER, &["*"])]);
                for key in [key, other] {
                    kms.put_key_policy(key, &open).unwrap();
                }
                kms.put_identity_policy(STRANGER, "all", EVERYTHING).unwrap();
                return kms.as_principal(STRANGER).unwrap();
            }
            _ => {}
        }
        kms.clone()
    }
}

#[test]
fn the_table_has_each_operation_on_a_key() {
    for method in METHODS.iter().filter(|method| !method.actions.is_empty()) {
        let has_row = TABLE.iter().any(|row| row.operation() == method.operation);
        assert!(has_row, "{} is not in TABLE of tests/local_kms/lifecycle.rs", method.operation);
    }
}

/// The operations that take an alias in place of a key id.
///
/// Source: AWS KMS API Reference, the parameter `KeyId` of each operation.
const TAKE_AN_ALIAS: [&str; 16] = [
    "Decapsulate",
    "Decrypt",
    "DeriveSharedSecret",
    "DescribeKey",
    "Encapsulate",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
];

#[test]
fn an_alias_stands_for_a_key_where_aws_lets_it() {
    // These rows name the key by the alias that they are about.
    let of_the_alias = ["DeleteAlias", "UpdateAlias from"];
    for row in TABLE.iter().filter(|row| !of_the_alias.contains(&row.name)) {
        let kms = LocalKms::in_memory().unwrap();
        let (_, subject) = prepare(&kms, row.kind, false, false);
        let done = (row.call)(&kms, &Subject { name: subject.alias.clone(), ..subject });
        if TAKE_AN_ALIAS.contains(&row.operation()) {
            assert_eq!(done.as_ref().map_or_else(code, |()| OK), row.errors[0], "{}", row.name);
        } else {
            let error = done.expect_err(row.name);
            assert_eq!(code(&error), "NotFoundException", "{}", row.name);
            assert!(error.to_string().contains("not by an alias"), "{}: {error}", row.name);
        }
    }
}

#[test]
fn each_operation_is_allowed_in_the_states_and_across_accounts_as_aws_allows_it() {
    for (kms, _, _folder) in both() {
        for row in TABLE {
            for (case, expected) in Case::ALL.into_iter().zip(row.errors) {
                let what = format!("{} of {case:?}", row.name);
                let imported = case == Case::Of(KeyState::PendingImport);
                let multi_region = case == Case::PrimaryWithReplica;
                let (key, subject) = prepare(&kms, row.kind, imported, multi_region);
                let moves = row.name == "UpdatePrimaryRegion" && case.state() != KeyState::PendingDeletion;
                if moves || multi_region {
                    kms.replicate_key(key.arn(), EUROPE).unwrap();
                }
                let caller = case.set(&kms, key.arn(), &subject.other);
                let before = kms.describe_key(key.arn()).unwrap();
                assert_eq!(before.state(), case.state(), "{what}");
                let done = (row.call)(&caller, &subject);
                assert_eq!(done.as_ref().map_or_else(code, |()| OK), expected, "{what}");
                if let Err(error) = done {
                    let kind = if expected == UNSUPPORTED { ErrorKind::InvalidInput } else { ErrorKind::KeyRefused };
                    assert_eq!(error.kind(), kind, "{what}");
                    assert_eq!(kms.describe_key(key.arn()).unwrap(), before, "{what} changed it");
                }
            }
        }
    }
}

/// Each call is the first one after the deadline: nothing else has run.
#[test]
fn from_the_deadline_on_every_operation_behaves_as_deleted() {
    let names: [fn(&KeyMetadata) -> String; 4] = [
        |key| key.arn().to_owned(),
        |key| key.key_id().to_owned(),
        |_| "alias/subject".to_owned(),
        |_| "arn:aws:kms:local:000000000000:alias/subject".to_owned(),
    ];
    for row in TABLE {
        let memory = names.iter().skip(1).map(|name| (name, in_memory()));
        let all = both().into_iter().map(|case| (&names[0], case)).chain(memory);
        for (at, (kms, clock, _folder)) in all {
            let (key, subject) = prepare(&kms, row.kind, false, false);
            kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
            clock.advance_days(7);
            let name = at(&key);
            let error = (row.call)(&kms, &Subject { name: name.clone(), ..subject }).expect_err(row.name);
            let kind = (error.kind(), code(&error));
            assert_eq!(kind, (ErrorKind::KeyRefused, "NotFoundException"), "{} of {name}", row.name);
        }
    }
}

#[test]
fn from_the_deadline_on_no_list_has_the_key() {
    for (kms, clock, _folder) in both() {
        let (key, subject) = prepare(&kms, Kind::MultiRegion, false, false);
        let replica = kms.replicate_key(key.arn(), "eu-west-1").unwrap();
        let europe = kms.region("eu-west-1").unwrap();
        europe.create_alias("alias/replica", replica.arn()).unwrap();
        europe.schedule_key_deletion_in(replica.arn(), 7).unwrap();
        clock.advance_days(7);
        assert!(kms.describe_key(key.arn()).unwrap().replica_regions().is_empty(), "the primary key names no replica");
        assert!(europe.list_keys().unwrap().is_empty());
        assert!(europe.list_aliases().unwrap().is_empty());
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
        clock.advance_days(7);
        assert_eq!(kms.list_keys().unwrap().len(), 1);
        let aliases = kms.list_aliases().unwrap();
        assert_eq!(aliases.iter().map(Alias::key_arn).collect::<Vec<_>>(), [subject.other.as_str()]);
    }
}

#[test]
fn a_key_is_what_it_was_asked_to_be() {
    for (kms, clock, _folder) in both() {
        let plain = kms.create_key(CreateKey::default()).unwrap();
        assert_eq!((plain.description(), plain.state(), plain.is_multi_region()), ("", KeyState::Enabled, false));
        assert_eq!((plain.created(), plain.deletion_date(), plain.material_expiry()), (clock.now(), None, None));
        assert_eq!((plain.primary_region(), plain.replica_regions().len()), ("local", 0));
        assert!(kms.list_key_tags(plain.arn()).unwrap().is_empty());
        assert_eq!(kms.key_rotation_status(plain.arn()).unwrap().period(), None);

        let request = CreateKey::default().description("orders").tag("b", "2").tag("a", "").multi_region();
        let key = kms.create_key(request.rotate_every_days(90).policy(POLICY)).unwrap();
        assert_eq!((key.description(), key.is_multi_region()), ("orders", true));
        let id = key.key_id().strip_prefix("mrk-").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let tags = kms.list_key_tags(key.arn()).unwrap();
        assert_eq!(tags, [("a".to_owned(), String::new()), ("b".to_owned(), "2".to_owned())]);
        assert_eq!(kms.key_rotation_status(key.arn()).unwrap().period(), Some(days(90)));
        assert_eq!(kms.key_policy(key.arn()).unwrap(), POLICY);

        let mut keys = [plain, key];
        keys.sort_by(|a, b| a.key_id().cmp(b.key_id()));
        assert_eq!(described(&kms), keys);
        let listed = kms.list_keys().unwrap().into_iter().map(|key| (key.key_id().to_owned(), key.arn().to_owned()));
        assert!(listed.eq(keys.iter().map(|key| (key.key_id().to_owned(), key.arn().to_owned()))));
    }
}

#[test]
fn descriptions_and_tags_change_within_the_limits_of_aws() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default().description("old").tag("a", "1").tag("b", "2")).unwrap();
        kms.update_key_description(key.arn(), "new").unwrap();
        kms.tag_key(key.arn(), [("b", "3"), ("c", "4")]).unwrap();
        kms.untag_key(key.arn(), ["a", "never there"]).unwrap();
        let tags = || kms.list_key_tags(key.arn()).unwrap();
        let expected = [("b".to_owned(), "3".to_owned()), ("c".to_owned(), "4".to_owned())];
        assert_eq!((kms.describe_key(key.arn()).unwrap().description(), tags()), ("new", expected.to_vec()));

        // Characters are counted, not bytes.
        kms.update_key_description(key.arn(), &"é".repeat(8192)).unwrap();
        let long = "é".repeat(8193);
        let refused = [
            (kms.update_key_description(key.arn(), &long), "ValidationException"),
            (kms.create_key(CreateKey::default().description(&long)).map(drop), "ValidationException"),
            (kms.tag_key(key.arn(), [("", "x")]), "TagException"),
            (kms.tag_key(key.arn(), [("é".repeat(129), "x")]), "TagException"),
            (kms.tag_key(key.arn(), [("aws:owner", "x")]), "TagException"),
            (kms.tag_key(key.arn(), [("x", "é".repeat(257))]), "TagException"),
            (kms.tag_key(key.arn(), (0..49).map(|n| (n.to_string(), "x"))), "TagException"),
            (kms.create_key(CreateKey::default().tag("aws:owner", "x")).map(drop), "TagException"),
        ];
        for (at, (done, expected)) in refused.into_iter().enumerate() {
            let error = done.unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, expected), "{at}");
        }
        assert_eq!(tags(), expected, "what is refused changes nothing");
        assert_eq!(kms.list_keys().unwrap().len(), 1);
        kms.tag_key(key.arn(), [("é".repeat(128), "é".repeat(256))]).unwrap();
        kms.tag_key(key.arn(), (0..47).map(|n| (n.to_string(), "x"))).unwrap();
        assert_eq!(tags().len(), 50);
        kms.tag_key(key.arn(), [("b", "also of a full key")]).unwrap();
    }
}

#[test]
fn a_disabled_key_neither_encrypts_nor_decrypts_until_it_is_enabled() {
    for (kms, _, folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        kms.disable_key(key.arn()).unwrap();
        for _ in 0..2 {
            assert_eq!(code(&decrypt(&kms, key.arn(), &ciphertext).unwrap_err()), DISABLED);
            assert_eq!(code(&encrypt(&kms, key.arn(), b"x").unwrap_err()), DISABLED);
        }
        if let Ok(other) = folder.open() {
            assert_eq!(code(&decrypt(&other, key.arn(), &ciphertext).unwrap_err()), DISABLED);
        }
        kms.enable_key(key.arn()).unwrap();
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
    }
}

#[test]
fn a_deletion_takes_7_to_30_days_and_30_if_not_said() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        for wrong in [0, 6, 31, u32::MAX] {
            let error = kms.schedule_key_deletion_in(key.arn(), wrong).unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{wrong}");
        }
        for (length, scheduled) in [
            (7, kms.schedule_key_deletion_in(key.arn(), 7)),
            (30, kms.create_key(CreateKey::default()).and_then(|key| kms.schedule_key_deletion(key.arn()))),
        ] {
            assert_eq!(scheduled.unwrap(), clock.now() + days(length));
        }
        let described = kms.describe_key(key.arn()).unwrap();
        assert_eq!(
            (described.state(), described.deletion_date()),
            (KeyState::PendingDeletion, Some(clock.now() + days(7)))
        );
        // Exact to the second.
        clock.advance_secs(7 * 24 * 60 * 60 - 1);
        assert_eq!(kms.describe_key(key.arn()).unwrap().state(), KeyState::PendingDeletion);
        clock.advance_secs(1);
        assert_eq!(code(&kms.describe_key(key.arn()).unwrap_err()), "NotFoundException");
    }
}

#[test]
fn a_cancelled_deletion_leaves_the_key_disabled_and_never_takes_place() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
        kms.cancel_key_deletion(key.arn()).unwrap();
        let described = kms.describe_key(key.arn()).unwrap();
        assert_eq!((described.state(), described.deletion_date()), (KeyState::Disabled, None));
        // After it is scheduled again, the earlier deadline no longer counts.
        kms.schedule_key_deletion_in(key.arn(), 30).unwrap();
        clock.advance_days(29);
        kms.create_key(CreateKey::default()).unwrap();
        kms.cancel_key_deletion(key.arn()).unwrap();
        clock.advance_days(100);
        kms.enable_key(key.arn()).unwrap();
        assert_eq!(decrypt(&kms, key.arn(), &ciphertext).unwrap(), b"x");
    }
}

/// A call that a program makes to the KMS.
pub(crate) type Asked = fn(&LocalKms, &str) -> Result<(), Error>;

/// The calls of which each may be the only one made while the key was past its deadline.
const WITNESSES: [(&str, Asked); 5] = [
    ("the key", |kms, key| kms.describe_key(key).map(drop)),
    ("the list of keys", |kms, _| kms.list_keys().map(drop)),
    ("the list of aliases", |kms, _| kms.list_aliases().map(drop)),
    ("random bytes", |kms, _| kms.generate_random(1).map(drop)),
    ("a call that is refused", |kms, _| kms.enable_key("no key")),
];

#[test]
fn a_clock_set_back_never_revives() {
    for (what, witness) in WITNESSES {
        for (kms, clock, folder) in both() {
            let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
            let ciphertext = encrypt(&kms, key.arn(), b"x").unwrap();
            kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
            clock.advance_days(7);
            let _ = witness(&kms, key.arn());
            clock.set_back_days(7);
            let mut handles = vec![kms];
            handles.extend(open_at(&folder, &clock));
            for kms in handles {
                assert!(kms.list_keys().unwrap().is_empty(), "{what}");
                for error in [
                    kms.describe_key(key.arn()).unwrap_err(),
                    kms.cancel_key_deletion(key.arn()).unwrap_err(),
                    decrypt(&kms, key.arn(), &ciphertext).unwrap_err(),
                    kms.describe_key("alias/a").unwrap_err(),
                ] {
                    assert_eq!(code(&error), "NotFoundException", "{what}");
                }
            }
        }
    }
}

#[test]
fn time_does_not_run_backwards_past_what_was_written() {
    for (kms, clock, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        clock.advance_days(5);
        let latest = clock.now();
        kms.update_key_description(key.arn(), "written").unwrap();
        clock.advance_days(5);
        kms.describe_key(key.arn()).unwrap();
        clock.set_back_days(9);
        assert_eq!(kms.schedule_key_deletion_in(key.arn(), 7).unwrap(), latest + days(7), "a read leaves no trace");
        assert_eq!(kms.create_key(CreateKey::default()).unwrap().created(), latest);
    }
}

#[test]
fn the_next_write_removes_the_material_even_if_it_is_refused() {
    let writes: [Asked; 3] = [
        |kms, _| kms.create_key(CreateKey::default()).map(drop),
        |kms, _| kms.enable_key("no key"),
        |kms, _| kms.describe_key("no key").map(drop),
    ];
    for write in writes {
        let (folder, clock) = (Folder::new(), TestClock::new());
        let log = folder.0.path().join("audit.jsonl");
        let builder = LocalKms::builder().clock(clock.clone()).audit(AuditLog::file(&log));
        let kms = builder.create(folder.store(), RootKey::create_file(folder.root()).unwrap()).unwrap();
        let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
        grant(&kms, key.arn()).unwrap();
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
        let what = "the key, its material, a grant, its grantee and retiring principal, the count, a deadline";
        assert_eq!(rows(&folder, key.key_id()).len(), 7, "{what}");
        assert_eq!(alias_rows(&folder), 1);
        clock.advance_days(7);
        assert_eq!(rows(&folder, key.key_id()).len(), 7, "nothing runs by itself");
        let _ = write(&kms, key.arn());
        assert!(rows(&folder, key.key_id()).is_empty());
        assert!(rows(&folder, "alias/a").is_empty());
        assert_eq!(alias_rows(&folder), 0);
        kms.create_key(CreateKey::default()).unwrap();
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(log.matches("\"DeleteKey\"").count(), 1, "{log}");
        let deleted = log.lines().find(|line| line.contains("\"DeleteKey\"")).unwrap();
        assert!(deleted.contains(key.arn()), "{deleted}");
    }
}

#[test]
fn after_a_purge_no_sealed_byte_is_left_in_the_file() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let kms = folder.create_at(&clock);
    let kept = kms.create_key(CreateKey::default()).unwrap();
    let kept_ciphertext = encrypt(&kms, kept.arn(), b"kept").unwrap();
    let mut secrets = Vec::new();
    for n in 0..20 {
        let alias = format!("alias/secret-{n}");
        let key = kms.create_key(CreateKey::default().alias(alias).description("d".repeat(2000))).unwrap();
        // Rotation seals the material again: the older row must be gone too.
        secrets.extend(rows(&folder, key.key_id()));
        kms.rotate_key_on_demand(key.arn()).unwrap();
        secrets.extend(rows(&folder, key.key_id()));
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
        secrets.extend(rows(&folder, key.key_id()));
    }
    let imported = kms.create_key(CreateKey::default().imported()).unwrap();
    kms.import_key_material(imported.arn(), &MATERIAL, Some(clock.now() + days(1))).unwrap();
    let with_material = rows(&folder, imported.key_id());
    assert!(secrets.iter().any(|secret| holds(&folder, secret)), "otherwise the test looks for the wrong bytes");
    assert_eq!(kms.purge().unwrap(), 0);
    assert!(secrets.iter().any(|secret| holds(&folder, secret)), "keys before their deadline stay");
    clock.advance_days(7);
    assert_eq!(kms.purge().unwrap(), 20);
    let without_material = rows(&folder, imported.key_id());
    secrets.extend(with_material.into_iter().filter(|row| !without_material.contains(row)));
    assert_eq!(without_material.len(), 2, "a key that awaits its material");
    let file = std::fs::read(folder.store()).unwrap();
    let windows: HashSet<_> = file.windows(16).collect();
    for part in secrets.iter().flat_map(|secret| secret.chunks_exact(16)) {
        assert!(!windows.contains(part), "{part:?}");
    }
    assert!(!holds(&folder, b"alias/secret-"));
    assert_eq!(kms.purge().unwrap(), 0);
    for kms in [kms, open_at(&folder, &clock).unwrap()] {
        assert_eq!(decrypt(&kms, kept.arn(), &kept_ciphertext).unwrap(), b"kept");
    }
}

#[test]
fn a_restored_backup_drops_keys_past_their_deadline_and_says_how_many() {
    let (folder, clock) = (Folder::new(), TestClock::new());
    let kms = folder.create_at(&clock);
    let keys: Vec<_> = (0..3).map(|_| kms.create_key(CreateKey::default()).unwrap()).collect();
    kms.schedule_key_deletion_in(keys[0].arn(), 7).unwrap();
    kms.schedule_key_deletion_in(keys[1].arn(), 8).unwrap();
    let backup = folder.0.path().join("backup.redb");
    kms.backup(&backup).unwrap();
    for (day, expected) in [(6, 0), (7, 1), (8, 2)] {
        let clock = TestClock::new();
        clock.advance_days(day);
        let path = folder.0.path().join(format!("restored-{day}.redb"));
        let root = RootKey::open_file(folder.root()).unwrap();
        let (kms, dropped) = LocalKms::builder().clock(clock).restore(&backup, &path, root).unwrap();
        assert_eq!((dropped, kms.list_keys().unwrap().len()), (expected, 3 - expected), "day {day}");
        drop(kms);
        // A deleted key does not come back under another clock.
        let early = LocalKms::builder().clock(TestClock::new());
        let kms = early.open(&path, RootKey::open_file(folder.root()).unwrap()).unwrap();
        assert_eq!(kms.list_keys().unwrap().len(), 3 - expected, "day {day}");
    }
}

fn in_memory() -> (LocalKms, TestClock, Folder) {
    let clock = TestClock::new();
    (LocalKms::builder().clock(clock.clone()).in_memory().unwrap(), clock, Folder::new())
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

impl Folder {
    pub(crate) fn create_at(&self, clock: &TestClock) -> LocalKms {
        let root = RootKey::create_file(self.root()).unwrap();
        LocalKms::builder().clock(clock.clone()).create(self.store(), root).unwrap()
    }
}

/// Opens another handle of the store in a folder, with its own clock that shows the same time; returns `None` if there
/// is no store.
pub(crate) fn open_at(folder: &Folder, clock: &TestClock) -> Option<LocalKms> {
    #[derive(Debug)]
    struct Still(SystemTime);
    impl Clock for Still {
        fn now(&self) -> SystemTime {
            self.0
        }
    }
    let root = RootKey::open_file(folder.root()).ok()?;
    Some(LocalKms::builder().clock(Still(clock.now())).open(folder.store(), root).unwrap())
}

/// Counts the records that list aliases by key. Their ids are digests.
pub(crate) fn alias_rows(folder: &Folder) -> usize {
    records(&folder.store()).iter().filter(|(table, ..)| *table == "key-aliases").count()
}

/// Returns the sealed records in the file whose id contains `part`.
pub(crate) fn rows(folder: &Folder, part: &str) -> Vec<Vec<u8>> {
    let found = records(&folder.store()).into_iter().filter(|(_, id, _)| id.contains(part));
    found.map(|(.., record)| record).collect()
}

fn holds(folder: &Folder, part: &[u8]) -> bool {
    let file = std::fs::read(folder.store()).unwrap();
    file.windows(part.len()).any(|window| window == part)
}

#[test]
fn tags_may_come_from_the_kms_itself() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let other = || kms.create_key(CreateKey::default()).unwrap().key_id().to_owned();
        kms.tag_key(key.key_id(), std::iter::once_with(|| ("successor", other()))).unwrap();
        assert_eq!(kms.list_key_tags(key.key_id()).unwrap().len(), 1);
        let names = std::iter::once_with(|| kms.tag_key(key.key_id(), [("a", "b")]).map(|()| "a").unwrap());
        kms.untag_key(key.key_id(), names).unwrap();
        assert_eq!(kms.list_key_tags(key.key_id()).unwrap().len(), 1);
    }
}
