//! Access control: every method, called by the owner, by strangers, and by the principals that policies name.

use std::fs;
use std::path::{Path, PathBuf};

use manila_core::KmsCiphertext;
use manila_core::testing::ready;
use manila_local_kms::testing::policies_parsed;
use manila_local_kms::{
    AssumeRole, CreateGrant, CreateKey, DataKeyPairRequest, DataKeyRequest, DecapsulateRequest, DecryptRequest,
    DeriveSharedSecretRequest, EncapsulateRequest, EncryptRequest, Error, ErrorKind, GrantConstraint, GrantOperation,
    KeySpec, KeyUsage, Kms, KmsRequest, LocalKms, MacAlgorithm, MacRequest, ReEncryptRequest, RootKey, SignRequest,
    SigningAlgorithm, SimulatedCall, VerifyMacRequest, VerifyRequest,
};

use crate::{both, code, context, decrypt, encrypt};

pub const OWNER: &str = "arn:aws:iam::000000000000:root";
pub const ALICE: &str = "arn:aws:iam::000000000000:user/alice";
pub const BOB: &str = "arn:aws:iam::000000000000:user/bob";
pub const STRANGER: &str = "arn:aws:iam::111122223333:user/carol";
pub const ROLE: &str = "arn:aws:iam::000000000000:role/service/app";
pub const SESSION: &str = "arn:aws:sts::000000000000:assumed-role/app/i-1";
pub const MATERIAL: [u8; 32] = *b"material that was made elsewhere";

/// A policy of a principal that allows nothing of the KMS.
const IDENTITY: &str = r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}"#;
/// A policy of a role that nobody but the owner may assume.
const TRUST: &str = r#"{"Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
    "Action": "sts:AssumeRole"}}"#;
/// A policy of a principal that allows everything.
pub const EVERYTHING: &str = r#"{"Statement": {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}}"#;

const ECDSA: SigningAlgorithm = SigningAlgorithm::EcdsaSha256;
const EVERYWHERE: &str = "eu-west-1";

/// A KMS with a key in every state that a call needs, and the arguments of the calls.
pub struct Scene {
    pub owner: LocalKms,
    pub key: String,
    pub other: String,
    pub mac_key: String,
    pub signing: String,
    pub agreeing: String,
    pub encapsulating: String,
    pub imported: String,
    pub pending: String,
    pub shared: String,
    pub grant: String,
    pub token: String,
    pub ciphertext: Vec<u8>,
    pub mac: Vec<u8>,
    pub signature: Vec<u8>,
    /// The public key of the key that agrees on secrets.
    pub public_key: Vec<u8>,
    pub encapsulated: Vec<u8>,
    pub log: PathBuf,
    /// The folder of the KMS, if it has one.
    pub home: PathBuf,
    pub folder: tempfile::TempDir,
}

impl Scene {
    /// Makes the scene. `log` is not an audit log of this KMS unless `owner` writes to it.
    pub fn new(owner: LocalKms, log: &Path) -> Self {
        let make = |request| owner.create_key(request).unwrap().arn().to_owned();
        let key = make(CreateKey::default().alias("alias/a").rotate_every_days(90).tag("stage", "test"));
        let other = make(CreateKey::default());
        let mac_key = make(CreateKey::default().spec(KeySpec::Hmac256));
        let of_curve = |usage| make(CreateKey::default().spec(KeySpec::EccNistP256).usage(usage));
        let (signing, agreeing) = (of_curve(KeyUsage::SignVerify), of_curve(KeyUsage::KeyAgreement));
        let encapsulating = make(CreateKey::default().spec(KeySpec::MlKem512));
        let imported = make(CreateKey::default().imported());
        let pending = make(CreateKey::default());
        let shared = make(CreateKey::default().multi_region());
        owner.import_key_material(&imported, &MATERIAL, None).unwrap();
        owner.schedule_key_deletion(&pending).unwrap();
        owner.replicate_key(&shared, EVERYWHERE).unwrap();
        let grant = CreateGrant::to(BOB).operation(GrantOperation::Decrypt);
        owner.put_identity_policy(BOB, "a", IDENTITY).unwrap();
        owner.put_role("job", TRUST).unwrap();
        let grant = owner.create_grant(&key, grant).unwrap();
        Self {
            token: grant.token().to_owned(),
            grant: grant.into_id(),
            ciphertext: encrypt(&owner, &key, b"secret").unwrap(),
            mac: owner.generate_mac(&mac_key, b"message").unwrap(),
            signature: owner.sign(SignRequest::new(&signing, ECDSA, b"message")).unwrap().signature,
            public_key: owner.public_key(agreeing.as_str()).unwrap().public_key,
            encapsulated: owner.encapsulate(EncapsulateRequest::new(&encapsulating)).unwrap().ciphertext,
            log: log.to_owned(),
            home: log.ancestors().find(|folder| folder.join("keys.redb").exists()).unwrap_or(Path::new(".")).to_owned(),
            folder: tempfile::tempdir().unwrap(),
            owner,
            key,
            other,
            mac_key,
            signing,
            agreeing,
            encapsulating,
            imported,
            pending,
            shared,
        }
    }

    pub fn in_memory() -> Self {
        let scene = Self::new(LocalKms::in_memory().unwrap(), Path::new(""));
        let log = scene.folder.path().join("other.log");
        fs::write(&log, "").unwrap();
        Self { log, ..scene }
    }

    /// Gives every key the policy, in all its regions.
    fn set_policy(&self, policy: &str) {
        let there = self.owner.region(EVERYWHERE).unwrap();
        let replica = self.shared.replace("local", EVERYWHERE);
        let asymmetric = [&self.signing, &self.agreeing, &self.encapsulating];
        let others = [&self.key, &self.other, &self.mac_key, &self.imported, &self.pending, &self.shared];
        for key in others.into_iter().chain(asymmetric) {
            self.owner.put_key_policy(key, policy).unwrap();
        }
        there.put_key_policy(&replica, policy).unwrap();
    }
}

type Answer = Result<(), Error>;

/// A method of `LocalKms`, and a call of it that succeeds if the caller has permission.
pub struct Method {
    pub name: &'static str,
    /// The operation's name in the audit log.
    pub operation: &'static str,
    /// The actions that policies must allow, all of them. If empty, only the owner may call the method.
    pub actions: &'static [&'static str],
    pub call: fn(&LocalKms, &Scene) -> Answer,
}

const fn method(
    name: &'static str,
    operation: &'static str,
    actions: &'static [&'static str],
    call: fn(&LocalKms, &Scene) -> Answer,
) -> Method {
    Method { name, operation, actions, call }
}

fn done<T>(answer: Result<T, Error>) -> Answer {
    answer.map(drop)
}

fn re_encrypt(kms: &LocalKms, scene: &Scene) -> Result<KmsCiphertext, Error> {
    let (from, to) = (context(&[("a", "b")]), context(&[("c", "d")]));
    let (from, to) = (KmsRequest::new(&scene.key, &from), KmsRequest::new(&scene.other, &to));
    kms.re_encrypt(&scene.ciphertext, from, to)
}

/// Every method that takes a handle. [`the_table_is_complete`] fails if one is missing.
#[rustfmt::skip]
pub const METHODS: &[Method] = &[
    method("create_key", "CreateKey", &[], |kms, _| done(kms.create_key(CreateKey::default()))),
    method("list_keys", "ListKeys", &[], |kms, _| done(kms.list_keys())),
    method("list_aliases", "ListAliases", &[], |kms, _| done(kms.list_aliases())),
    method("generate_random", "GenerateRandom", &[], |kms, _| done(kms.generate_random(8))),
    method("put_identity_policy", "PutIdentityPolicy", &[], |kms, _| kms.put_identity_policy(ALICE, "b", IDENTITY)),
    method("identity_policy", "GetIdentityPolicy", &[], |kms, _| done(kms.identity_policy(BOB, "a"))),
    method("list_identity_policies", "ListIdentityPolicies", &[], |kms, _| done(kms.list_identity_policies(BOB))),
    method("delete_identity_policy", "DeleteIdentityPolicy", &[], |kms, _| kms.delete_identity_policy(BOB, "a")),
    method("put_user", "PutUser", &[], |kms, _| kms.put_user("dave")),
    method("put_role", "PutRole", &[], |kms, _| kms.put_role("job", TRUST)),
    method("set_principal_tags", "SetPrincipalTags", &[], |kms, _| kms.set_principal_tags(BOB, [("team", "a")])),
    method("describe_principal", "DescribePrincipal", &[], |kms, _| done(kms.describe_principal(BOB))),
    method("list_roles", "ListRoles", &[], |kms, _| done(kms.list_roles())),
    method("list_users", "ListUsers", &[], |kms, _| done(kms.list_users())),
    method("delete_role", "DeleteRole", &[], |kms, _| kms.delete_role("job")),
    method("delete_user", "DeleteUser", &[], |kms, _| kms.delete_user("bob")),
    method("simulate", "Simulate", &[], |kms, _| done(kms.simulate(ALICE, "ListKeys", None, &SimulatedCall::default()))),
    method("assume_role", "AssumeRole", &[], |kms, _| done(kms.assume_role(AssumeRole::new("job", "j-1")))),
    method("list_retirable_grants", "ListRetirableGrants", &[], |kms, _| done(kms.list_retirable_grants(BOB))),
    method("retire_grant_by_token", "RetireGrant", &[], |kms, scene| kms.retire_grant_by_token(&scene.token)),
    method("retire_grant", "RetireGrant", &[], |kms, scene| kms.retire_grant(&scene.key, &scene.grant)),
    method("backup", "Backup", &[], |kms, scene| kms.backup(scene.folder.path().join("backup"))),
    method("purge", "Purge", &[], |kms, _| done(kms.purge())),
    method("change_root_key", "ChangeRootKey", &[], |kms, _| done(kms.change_root_key(RootKey::from_bytes(&[7; 32])))),
    method("change_root_key_and_rotate", "ChangeRootKey", &[], |kms, _| {
        done(kms.change_root_key_and_rotate(RootKey::from_bytes(&[7; 32])))
    }),
    method("change_root_key_in", "ChangeRootKey", &[], |kms, scene| done(kms.change_root_key_in(&scene.home))),
    method("change_root_key_in_and_rotate", "ChangeRootKey", &[], |kms, scene| {
        done(kms.change_root_key_in_and_rotate(&scene.home))
    }),
    method("confirm_clock", "ConfirmClock", &[], |kms, _| kms.confirm_clock()),
    method("set_time_back", "SetTimeBack", &[], |kms, _| kms.set_time_back()),
    method("checkpoint", "Checkpoint", &[], |kms, _| kms.checkpoint()),
    method("verify_audit_log", "VerifyAuditLog", &[], |kms, scene| done(kms.verify_audit_log(&scene.log))),
    method("verify_audit_logs", "VerifyAuditLog", &[], |kms, scene| done(kms.verify_audit_logs([&scene.log]))),
    method("rotate_audit_log", "RotateAuditLog", &[], |kms, scene| {
        kms.rotate_audit_log(scene.folder.path().join("rotated"))
    }),
    method("replace_lost_audit_log", "ReplaceLostAuditLog", &[], |kms, _| kms.replace_lost_audit_log()),

    method("describe_key", "DescribeKey", &["DescribeKey"], |kms, scene| done(kms.describe_key(&scene.key))),
    method("find_or_create_key", "DescribeKey", &["DescribeKey"], |kms, _| {
        done(kms.find_or_create_key("alias/a", CreateKey::default()))
    }),
    method("update_key_description", "UpdateKeyDescription", &["UpdateKeyDescription"], |kms, scene| {
        kms.update_key_description(&scene.key, "for others")
    }),
    method("tag_key", "TagResource", &["TagResource"], |kms, scene| kms.tag_key(&scene.key, [("stage", "prod")])),
    method("untag_key", "UntagResource", &["UntagResource"], |kms, scene| kms.untag_key(&scene.key, ["stage"])),
    method("list_key_tags", "ListResourceTags", &["ListResourceTags"], |kms, scene| {
        done(kms.list_key_tags(&scene.key))
    }),
    method("enable_key", "EnableKey", &["EnableKey"], |kms, scene| kms.enable_key(&scene.key)),
    method("disable_key", "DisableKey", &["DisableKey"], |kms, scene| kms.disable_key(&scene.key)),
    method("schedule_key_deletion", "ScheduleKeyDeletion", &["ScheduleKeyDeletion"], |kms, scene| {
        done(kms.schedule_key_deletion(&scene.key))
    }),
    method("schedule_key_deletion_in", "ScheduleKeyDeletion", &["ScheduleKeyDeletion"], |kms, scene| {
        done(kms.schedule_key_deletion_in(&scene.key, 7))
    }),
    method("cancel_key_deletion", "CancelKeyDeletion", &["CancelKeyDeletion"], |kms, scene| {
        kms.cancel_key_deletion(&scene.pending)
    }),

    method("enable_key_rotation", "EnableKeyRotation", &["EnableKeyRotation"], |kms, scene| {
        kms.enable_key_rotation(&scene.key)
    }),
    method("enable_key_rotation_every", "EnableKeyRotation", &["EnableKeyRotation"], |kms, scene| {
        kms.enable_key_rotation_every(&scene.key, 100)
    }),
    method("disable_key_rotation", "DisableKeyRotation", &["DisableKeyRotation"], |kms, scene| {
        kms.disable_key_rotation(&scene.key)
    }),
    method("rotate_key_on_demand", "RotateKeyOnDemand", &["RotateKeyOnDemand"], |kms, scene| {
        kms.rotate_key_on_demand(&scene.key)
    }),
    method("key_rotation_status", "GetKeyRotationStatus", &["GetKeyRotationStatus"], |kms, scene| {
        done(kms.key_rotation_status(&scene.key))
    }),
    method("list_key_rotations", "ListKeyRotations", &["ListKeyRotations"], |kms, scene| {
        done(kms.list_key_rotations(&scene.key))
    }),
    method("import_key_material", "ImportKeyMaterial", &["ImportKeyMaterial"], |kms, scene| {
        kms.import_key_material(&scene.imported, &MATERIAL, None)
    }),
    method("delete_imported_key_material", "DeleteImportedKeyMaterial", &["DeleteImportedKeyMaterial"], |kms, scene| {
        kms.delete_imported_key_material(&scene.imported)
    }),
    method("replicate_key", "ReplicateKey", &["ReplicateKey"], |kms, scene| {
        done(kms.replicate_key(&scene.shared, "eu-west-2"))
    }),
    method("update_primary_region", "UpdatePrimaryRegion", &["UpdatePrimaryRegion"], |kms, scene| {
        kms.update_primary_region(&scene.shared, EVERYWHERE)
    }),

    method("create_alias", "CreateAlias", &["CreateAlias"], |kms, scene| kms.create_alias("alias/b", &scene.key)),
    method("update_alias", "UpdateAlias", &["UpdateAlias"], |kms, scene| kms.update_alias("alias/a", &scene.other)),
    method("delete_alias", "DeleteAlias", &["DeleteAlias"], |kms, _| kms.delete_alias("alias/a")),

    method("generate_data_key", "GenerateDataKey", &["GenerateDataKey"], |kms, scene| {
        done(ready(kms.generate_data_key(KmsRequest::new(&scene.key, &context(&[])), 32)))
    }),
    method("generate_data_key_without_plaintext", "GenerateDataKeyWithoutPlaintext",
        &["GenerateDataKeyWithoutPlaintext"], |kms, scene| {
            done(kms.generate_data_key_without_plaintext(KmsRequest::new(&scene.key, &context(&[])), 32))
        }),
    method("encrypt", "Encrypt", &["Encrypt"], |kms, scene| done(encrypt(kms, &scene.key, b"secret"))),
    method("decrypt", "Decrypt", &["Decrypt"], |kms, scene| done(decrypt(kms, &scene.key, &scene.ciphertext))),
    method("re_encrypt", "ReEncrypt", &["ReEncryptFrom", "ReEncryptTo"], |kms, scene| done(re_encrypt(kms, scene))),
    method("generate_mac", "GenerateMac", &["GenerateMac"], |kms, scene| {
        done(kms.generate_mac(&scene.mac_key, b"message"))
    }),
    method("verify_mac", "VerifyMac", &["VerifyMac"], |kms, scene| {
        kms.verify_mac(&scene.mac_key, b"message", &scene.mac)
    }),

    method("encrypt_with", "Encrypt", &["Encrypt"], |kms, scene| {
        done(kms.encrypt_with(EncryptRequest::new(&scene.key, b"secret")))
    }),
    method("decrypt_with", "Decrypt", &["Decrypt"], |kms, scene| {
        let bound = context(&[("a", "b")]);
        done(kms.decrypt_with(DecryptRequest::new(&scene.key, &scene.ciphertext).encryption_context(&bound)))
    }),
    method("re_encrypt_with", "ReEncrypt", &["ReEncryptFrom", "ReEncryptTo"], |kms, scene| {
        let bound = context(&[("a", "b")]);
        let request = ReEncryptRequest::new(&scene.ciphertext, &scene.key, &scene.other);
        done(kms.re_encrypt_with(request.source_context(&bound)))
    }),
    method("generate_mac_with", "GenerateMac", &["GenerateMac"], |kms, scene| {
        done(kms.generate_mac_with(MacRequest::new(&scene.mac_key, MacAlgorithm::HmacSha256, b"message")))
    }),
    method("verify_mac_with", "VerifyMac", &["VerifyMac"], |kms, scene| {
        let algorithm = MacAlgorithm::HmacSha256;
        done(kms.verify_mac_with(VerifyMacRequest::new(&scene.mac_key, algorithm, b"message", &scene.mac)))
    }),
    method("generate_data_key_with", "GenerateDataKey", &["GenerateDataKey"], |kms, scene| {
        done(kms.generate_data_key_with(DataKeyRequest::new(&scene.key, 32)))
    }),
    method("generate_data_key_without_plaintext_with", "GenerateDataKeyWithoutPlaintext",
        &["GenerateDataKeyWithoutPlaintext"], |kms, scene| {
            done(kms.generate_data_key_without_plaintext_with(DataKeyRequest::new(&scene.key, 32)))
        }),
    method("sign", "Sign", &["Sign"], |kms, scene| {
        done(kms.sign(SignRequest::new(&scene.signing, ECDSA, b"message")))
    }),
    method("verify", "Verify", &["Verify"], |kms, scene| {
        done(kms.verify(VerifyRequest::new(&scene.signing, ECDSA, b"message", &scene.signature)))
    }),
    method("public_key", "GetPublicKey", &["GetPublicKey"], |kms, scene| {
        done(kms.public_key(scene.signing.as_str()))
    }),
    method("generate_data_key_pair", "GenerateDataKeyPair", &["GenerateDataKeyPair"], |kms, scene| {
        done(kms.generate_data_key_pair(DataKeyPairRequest::new(&scene.key, KeySpec::EccNistP256)))
    }),
    method("generate_data_key_pair_without_plaintext", "GenerateDataKeyPairWithoutPlaintext",
        &["GenerateDataKeyPairWithoutPlaintext"], |kms, scene| {
            let request = DataKeyPairRequest::new(&scene.key, KeySpec::EccNistP256);
            done(kms.generate_data_key_pair_without_plaintext(request))
        }),
    method("derive_shared_secret", "DeriveSharedSecret", &["DeriveSharedSecret"], |kms, scene| {
        done(kms.derive_shared_secret(DeriveSharedSecretRequest::new(&scene.agreeing, &scene.public_key)))
    }),
    method("encapsulate", "Encapsulate", &["Encapsulate"], |kms, scene| {
        done(kms.encapsulate(EncapsulateRequest::new(&scene.encapsulating)))
    }),
    method("decapsulate", "Decapsulate", &["Decapsulate"], |kms, scene| {
        done(kms.decapsulate(DecapsulateRequest::new(&scene.encapsulating, &scene.encapsulated)))
    }),

    method("list_key_policies", "ListKeyPolicies", &["ListKeyPolicies"], |kms, scene| {
        done(kms.list_key_policies(&scene.key))
    }),
    method("key_policy", "GetKeyPolicy", &["GetKeyPolicy"], |kms, scene| done(kms.key_policy(&scene.key))),
    method("put_key_policy", "PutKeyPolicy", &["PutKeyPolicy"], |kms, scene| {
        kms.put_key_policy(&scene.key, &policy(&[allow(OWNER, &["*"]), allow(ALICE, &["*"])]))
    }),
    method("put_key_policy_that_may_lock_out_caller", "PutKeyPolicy", &["PutKeyPolicy"], |kms, scene| {
        kms.put_key_policy_that_may_lock_out_caller(&scene.key, &policy(&[allow(ALICE, &["*"])]))
    }),
    method("create_grant", "CreateGrant", &["CreateGrant"], |kms, scene| {
        done(kms.create_grant(&scene.key, CreateGrant::to(ALICE).operation(GrantOperation::Decrypt)))
    }),
    method("list_grants", "ListGrants", &["ListGrants"], |kms, scene| done(kms.list_grants(&scene.key))),
    method("revoke_grant", "RevokeGrant", &["RevokeGrant"], |kms, scene| kms.revoke_grant(&scene.key, &scene.grant)),

    // Answered without the store.
    method("region", "", &[], |kms, _| done(kms.region(EVERYWHERE))),
    method("as_principal", "", &[], |kms, _| done(kms.as_principal(ALICE))),
];

/// Returns the methods that use the store.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().filter(|method| !method.operation.is_empty())
}

pub fn policy(statements: &[String]) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(", "))
}

pub fn allow(principal: &str, actions: &[&str]) -> String {
    statement("Allow", principal, actions, "{}").replace(r#", "Condition": {}"#, "")
}

pub fn deny(principal: &str, actions: &[&str]) -> String {
    statement("Deny", principal, actions, "{}").replace(r#", "Condition": {}"#, "")
}

pub fn statement(effect: &str, principal: &str, actions: &[&str], condition: &str) -> String {
    let actions: Vec<_> = actions.iter().map(|action| format!("\"kms:{action}\"")).collect();
    format!(
        r#"{{"Effect": "{effect}", "Principal": {{"AWS": "{principal}"}}, "Action": [{}], "Resource": "*", "Condition": {condition}}}"#,
        actions.join(", ")
    )
}

pub fn assert_refused(error: &Error, what: &str) {
    assert_eq!((error.kind(), code(error)), (ErrorKind::KeyRefused, "AccessDeniedException"), "{what}: {error}");
}

#[test]
fn the_table_is_complete() {
    let mut found = 0;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        for of_kms in text.split("\nimpl LocalKms {\n").skip(1) {
            let of_kms = of_kms.split("\n}\n").next().unwrap();
            for function in of_kms.split("\n    pub fn ").skip(1) {
                let (name, arguments) = function.split_once(['(', '<']).unwrap();
                if arguments.split("->").next().unwrap().contains("&self") {
                    assert!(
                        METHODS.iter().any(|method| method.name == name),
                        "{name} is not in METHODS of tests/local_kms/access.rs"
                    );
                    found += 1;
                }
            }
        }
    }
    // The three methods of the trait are not `pub fn`s, and the two that make views are in another file.
    assert_eq!(found, METHODS.len() - 3 - 2);
}

#[test]
fn the_owner_may_do_everything_and_a_stranger_nothing() {
    for method in methods() {
        let scene = Scene::in_memory();
        let stranger = scene.owner.as_principal(ALICE).unwrap();
        let through_views = stranger.region(EVERYWHERE).unwrap().region("local").unwrap().clone();
        for kms in [stranger, through_views] {
            assert_refused(&(method.call)(&kms, &scene).unwrap_err(), method.name);
        }
        let done = (method.call)(&scene.owner, &scene);
        // The scene has neither a log nor a folder, and its clock is not behind.
        let is_out_of_place = ["checkpoint", "rotate_audit_log", "replace_lost_audit_log", "set_time_back"]
            .contains(&method.name)
            || method.name.starts_with("change_root_key_in");
        if is_out_of_place {
            assert_eq!(code(&done.unwrap_err()), "ValidationException", "{}", method.name);
        } else {
            done.unwrap_or_else(|error| panic!("{}: {error}", method.name));
        }
    }
}

#[test]
fn what_is_not_there_is_not_found_by_a_stranger_either() {
    let scene = Scene::in_memory();
    let stranger = scene.owner.as_principal(ALICE).unwrap();
    let elsewhere = stranger.region("us-east-1").unwrap();
    for (kms, name) in [(&stranger, "alias/none"), (&elsewhere, &scene.key), (&elsewhere, "alias/a")] {
        let error = kms.describe_key(name).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "NotFoundException"), "{name}");
    }
    assert_eq!(code(&stranger.delete_alias("alias/none").unwrap_err()), "NotFoundException");
    // A caller who may not ask does not learn whether a grant exists.
    for id in [scene.grant.as_str(), "none"] {
        assert_refused(&stranger.retire_grant(&scene.key, id).unwrap_err(), id);
        assert_refused(&stranger.revoke_grant(&scene.key, id).unwrap_err(), id);
    }
}

/// The operations for which AWS also checks the permissions of the account: on an alias, or for a new key in another
/// region.
const OF_THE_ACCOUNT_TOO: [&str; 4] = ["CreateAlias", "DeleteAlias", "ReplicateKey", "UpdateAlias"];

#[test]
fn a_policy_lets_a_principal_do_what_it_allows_and_no_more() {
    for method in methods() {
        let everything = [allow(OWNER, &["*"]), allow(ALICE, &["*"])];
        let alice = |scene: &Scene| scene.owner.as_principal(ALICE).unwrap();
        // No policy can allow an operation that is the owner's alone, and a key's denial applies to the owner too.
        if method.actions.is_empty() || OF_THE_ACCOUNT_TOO.contains(&method.operation) {
            let scene = Scene::in_memory();
            scene.set_policy(&policy(&everything));
            assert_refused(&(method.call)(&alice(&scene), &scene).unwrap_err(), method.name);
            for action in method.actions {
                scene.set_policy(&policy(&[deny(OWNER, &[action]), everything[0].clone()]));
                assert_refused(&(method.call)(&scene.owner, &scene).unwrap_err(), method.name);
            }
            continue;
        }
        let scene = Scene::in_memory();
        scene.set_policy(&policy(&[allow(OWNER, &["*"]), allow(ALICE, method.actions)]));
        for other in methods().filter(|other| other.actions != method.actions) {
            assert_refused(&(other.call)(&alice(&scene), &scene).unwrap_err(), other.name);
        }
        (method.call)(&alice(&scene), &scene).unwrap_or_else(|error| panic!("{}: {error}", method.name));
        // Denying one action is enough, even for the owner.
        for action in method.actions {
            let scene = Scene::in_memory();
            let denied = deny(ALICE, &[action]);
            scene.set_policy(&policy(&[denied.as_str(), &everything[0], &everything[1]].map(str::to_owned)));
            assert_refused(&(method.call)(&alice(&scene), &scene).unwrap_err(), method.name);
            if *action != "PutKeyPolicy" {
                scene.set_policy(&policy(&[deny(OWNER, &[action]), everything[0].clone()]));
                assert_refused(&(method.call)(&scene.owner, &scene).unwrap_err(), method.name);
            }
        }
    }
}

#[test]
fn no_principal_given_means_the_owner() {
    for (kms, _, _) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let as_owner = kms.as_principal(OWNER).unwrap();
        assert_eq!(as_owner.describe_key(key.arn()).unwrap(), key);
        assert_eq!(as_owner.list_keys().unwrap(), kms.list_keys().unwrap());
        // The owner of another partition's account, or of another account, is not this owner.
        for other in ["arn:aws-cn:iam::000000000000:root", "arn:aws:iam::111122223333:root"] {
            assert_refused(&kms.as_principal(other).unwrap().list_keys().unwrap_err(), other);
            assert_refused(&kms.as_principal(other).unwrap().describe_key(key.arn()).unwrap_err(), other);
        }
    }
}

/// Whoever holds a view can choose its principal: principals are not a security boundary.
#[test]
fn a_view_is_the_last_principal_that_was_named() {
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    let alice = kms.as_principal(ALICE).unwrap();
    assert_refused(&alice.describe_key(key.arn()).unwrap_err(), "alice");
    assert!(alice.as_principal(OWNER).unwrap().describe_key(key.arn()).is_ok());
    assert_refused(&alice.describe_key(key.arn()).unwrap_err(), "a view changes no other");
    assert!(kms.describe_key(key.arn()).is_ok());
    for name in ["", "alice", "*", "arn:aws:iam::000000000000:user/*"] {
        let error = kms.as_principal(name).unwrap_err();
        assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "InvalidArnException"), "{name}");
    }
}

#[test]
fn a_policy_binds_from_the_next_call_on_and_in_other_handles() {
    for (kms, _, folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let other = if folder.store().exists() { folder.open().unwrap() } else { kms.clone() };
        let alice = other.as_principal(ALICE).unwrap();
        assert_refused(&encrypt(&alice, key.arn(), b"x").unwrap_err(), "before");
        let json = policy(&[allow(OWNER, &["*"]), allow(ALICE, &["Encrypt", "GenerateDataKey*"])]);
        kms.put_key_policy(key.arn(), &json).unwrap();
        assert_eq!(kms.key_policy(key.arn()).unwrap(), json);
        let ciphertext = encrypt(&alice, key.arn(), b"x").unwrap();
        assert!(alice.generate_data_key_without_plaintext(KmsRequest::new(key.arn(), &context(&[])), 8).is_ok());
        assert_refused(&decrypt(&alice, key.arn(), &ciphertext).unwrap_err(), "what is not allowed is refused");
        kms.put_key_policy(key.arn(), &policy(&[allow(OWNER, &["*"])])).unwrap();
        assert_refused(&encrypt(&alice, key.arn(), b"x").unwrap_err(), "after");
    }
}

#[test]
fn a_policy_is_parsed_once_until_it_is_another_whoever_writes_it() {
    for (kms, _, folder) in both() {
        let opened = [allow(OWNER, &["*"]), allow(ALICE, &["Encrypt"])];
        let (open, closed) = (policy(&opened), policy(&opened[..1]));
        let key = kms.create_key(CreateKey::default().policy(&open)).unwrap();
        let other = if folder.store().exists() { folder.open().unwrap() } else { kms.clone() };
        let alice = kms.as_principal(ALICE).unwrap();
        let may = || {
            let before = policies_parsed(&kms);
            let may = encrypt(&alice, key.arn(), b"x").is_ok();
            assert!(encrypt(&kms, key.key_id(), b"x").is_ok(), "by another name, for another caller");
            (may, policies_parsed(&kms) - before)
        };
        assert_eq!(may(), (true, 1));
        assert_eq!(may(), (true, 0));
        kms.update_key_description(key.arn(), "a write that leaves it as it is").unwrap();
        assert_eq!(may(), (true, 0));
        // A change applies from the next call on, also if another handle of the file made it.
        for (json, expected) in [(&closed, false), (&open, true)] {
            other.put_key_policy(key.arn(), json).unwrap();
            assert_eq!(may().0, expected);
            assert_eq!(may(), (expected, 0));
        }
        // A write that is refused leaves nothing of the policy that it would have set.
        assert!(other.put_key_policy(key.arn(), &policy(&[allow(BOB, &["*"])])).is_err());
        assert_eq!(may(), (true, 0));
        kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap();
        kms.put_key_policy(key.arn(), &closed).unwrap();
        assert!(!may().0);
    }
}

#[test]
fn a_key_can_be_made_with_a_policy() {
    for (kms, _, _) in both() {
        let json = policy(&[allow(OWNER, &["*"]), allow(ROLE, &["DescribeKey"])]);
        let key = kms.create_key(CreateKey::default().policy(json)).unwrap();
        // A role includes its sessions, but no other role.
        for (principal, may) in [(ROLE, true), (SESSION, true), (BOB, false), (&SESSION.replace("app", "web"), false)] {
            let described = kms.as_principal(principal).unwrap().describe_key(key.arn());
            assert_eq!(described.is_ok(), may, "{principal}");
        }
        let default = kms.create_key(CreateKey::default()).unwrap();
        let starts_with = kms.key_policy(default.arn()).unwrap();
        kms.put_key_policy(default.arn(), &starts_with).unwrap();
        assert!(encrypt(&kms, default.arn(), b"x").is_ok());
        assert_refused(&kms.as_principal(ALICE).unwrap().describe_key(default.arn()).unwrap_err(), "the default");
    }
}

#[test]
fn an_account_that_is_allowed_is_its_owner_and_one_that_is_denied_everyone_in_it() {
    let kms = LocalKms::in_memory().unwrap();
    let in_the_account = [ALICE, ROLE, SESSION];
    for account in [OWNER, "000000000000"] {
        let key = kms.create_key(CreateKey::default().policy(policy(&[allow(account, &["*"])]))).unwrap();
        assert!(kms.describe_key(key.arn()).is_ok());
        for principal in in_the_account {
            let kms = kms.as_principal(principal).unwrap();
            assert_refused(&kms.describe_key(key.arn()).unwrap_err(), principal);
        }

        let statements = [allow(OWNER, &["*"]), allow("*", &["DescribeKey"]), deny(account, &["DescribeKey"])];
        let key = kms.create_key(CreateKey::default().policy(policy(&statements))).unwrap();
        for principal in [&in_the_account[..], &[OWNER]].concat() {
            let kms = kms.as_principal(principal).unwrap();
            assert_refused(&kms.describe_key(key.arn()).unwrap_err(), principal);
        }
        kms.put_identity_policy(STRANGER, "all", EVERYTHING).unwrap();
        kms.as_principal(STRANGER).unwrap().describe_key(key.arn()).unwrap();
    }
    // Another account can be denied a key that is open to everyone, and no grant overrides the denial.
    for account in ["arn:aws:iam::111122223333:root", "111122223333"] {
        let statements = [allow(OWNER, &["*"]), allow("*", &["Encrypt"]), deny(account, &["*"])];
        let key = kms.create_key(CreateKey::default().policy(policy(&statements))).unwrap();
        kms.create_grant(key.arn(), CreateGrant::to(STRANGER).operation(GrantOperation::Encrypt)).unwrap();
        let session = "arn:aws:sts::111122223333:assumed-role/app/i-1";
        for principal in [STRANGER, "arn:aws:iam::111122223333:root", session] {
            let error = encrypt(&kms.as_principal(principal).unwrap(), key.arn(), b"x").unwrap_err();
            assert_refused(&error, principal);
        }
        assert!(encrypt(&kms.as_principal(ALICE).unwrap(), key.arn(), b"x").is_ok());
    }
}

/// The operations here for which AWS's documentation says "Cross-account use: Yes".
///
/// Source: AWS KMS Developer Guide, "AWS KMS permissions".
const ACROSS_ACCOUNTS: [&str; 21] = [
    "CreateGrant",
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
    "GetKeyRotationStatus",
    "GetPublicKey",
    "ListGrants",
    "ReEncrypt",
    "RetireGrant",
    "RevokeGrant",
    "Sign",
    "Verify",
    "VerifyMac",
];

#[test]
fn another_account_is_allowed_what_aws_allows_across_accounts_and_no_more() {
    for method in methods() {
        let scene = Scene::in_memory();
        scene.set_policy(&policy(&[allow(OWNER, &["*"]), allow("*", &["*"])]));
        let retirable = CreateGrant::to(BOB).operation(GrantOperation::Decrypt).retiring_principal(STRANGER);
        let grant = scene.owner.create_grant(&scene.key, retirable).unwrap();
        let scene = Scene { token: grant.token().to_owned(), grant: grant.into_id(), ..scene };
        scene.owner.put_identity_policy(STRANGER, "all", EVERYTHING).unwrap();
        for principal in [STRANGER, "arn:aws:iam::111122223333:root", "arn:aws-cn:iam::000000000000:user/alice"] {
            let done = (method.call)(&scene.owner.as_principal(principal).unwrap(), &scene);
            if !ACROSS_ACCOUNTS.contains(&method.operation) {
                assert_refused(&done.unwrap_err(), method.name);
            } else if principal == STRANGER {
                done.unwrap_or_else(|error| panic!("{}: {error}", method.name));
            }
        }
    }
}

#[test]
fn another_account_does_not_learn_which_keys_there_are() {
    let scene = Scene::in_memory();
    scene.owner.put_key_policy(&scene.other, &policy(&[allow(OWNER, &["*"]), deny(STRANGER, &["*"])])).unwrap();
    let none = scene.key.replace(|c: char| c.is_ascii_hexdigit(), "0");
    let refusals = |kms: &LocalKms, key: &str| {
        let grant = CreateGrant::to(BOB).operation(GrantOperation::Decrypt);
        let refused = [
            done(encrypt(kms, key, b"x")),
            done(kms.describe_key(key)),
            done(kms.key_rotation_status(key)),
            done(kms.create_grant(key, grant)),
            kms.retire_grant(key, &scene.grant),
            kms.disable_key(key),
            kms.delete_alias("alias/a"),
            kms.delete_alias("alias/none"),
        ];
        refused.map(|refused| {
            let error = refused.unwrap_err();
            assert_refused(&error, key);
            error.to_string()
        })
    };
    for principal in [STRANGER, "arn:aws:iam::111122223333:root", "arn:aws-cn:iam::000000000000:user/alice"] {
        let stranger = scene.owner.as_principal(principal).unwrap();
        let of_none = refusals(&stranger, &none);
        assert_eq!(of_none[6], of_none[7]);
        for key in [&scene.key, &scene.other, &scene.pending] {
            assert_eq!(refusals(&stranger, key), of_none, "{principal} {key}");
        }
        let by_alias = ["alias/a", "alias/none"].map(|name| encrypt(&stranger, name, b"x").unwrap_err().to_string());
        assert!(by_alias.iter().all(|refusal| *refusal == of_none[0]));
    }
}

/// Such a policy is evaluated outside any transaction: the call ends its own and starts again.
#[test]
fn a_policy_that_takes_long_to_evaluate_gives_the_same_answer() {
    for (kms, _, _) in both() {
        let frozen: Vec<_> = (0..1_000).map(|n| format!("\"*frozen {n}*\"")).collect();
        let frozen = format!(r#"{{"StringLike": {{"kms:EncryptionContext:stage": [{}]}}}}"#, frozen.join(","));
        let json = policy(&[allow("*", &["*"]), statement("Deny", "*", &["Encrypt", "ReEncrypt*"], &frozen)]);
        let key = kms.create_key(CreateKey::default().policy(&json)).unwrap();
        let other = kms.create_key(CreateKey::default().policy(json)).unwrap();
        let long = "x".repeat(10_000);
        let (fine, bad) = (context(&[("stage", &long)]), format!("{long} frozen 999 {long}"));
        let bad = context(&[("stage", &bad)]);
        kms.put_identity_policy(STRANGER, "all", EVERYTHING).unwrap();
        for principal in [OWNER, ALICE, STRANGER] {
            let kms = kms.as_principal(principal).unwrap();
            let ciphertext = ready(kms.encrypt(KmsRequest::new(key.arn(), &fine), b"x")).unwrap().ciphertext;
            assert_refused(&ready(kms.encrypt(KmsRequest::new(key.arn(), &bad), b"x")).unwrap_err(), principal);
            let from = || KmsRequest::new(key.arn(), &fine);
            kms.re_encrypt(&ciphertext, from(), KmsRequest::new(other.arn(), &fine)).unwrap();
            let error = kms.re_encrypt(&ciphertext, from(), KmsRequest::new(other.arn(), &bad)).unwrap_err();
            assert_refused(&error, principal);
            let grant = CreateGrant::to(BOB).operation(GrantOperation::Decrypt);
            let error =
                kms.create_grant(key.arn(), grant.constraint(GrantConstraint::Subset(bad.clone()))).unwrap_err();
            assert_eq!(code(&error), "ValidationException", "permitted, and too long for a grant");
        }
    }
}

#[test]
fn conditions_look_at_the_context_and_the_caller_of_a_call() {
    for (kms, _, _) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let acme = r#"{"StringEquals": {"kms:EncryptionContext:tenant": "acme", "kms:CallerAccount": "000000000000"},
            "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["tenant", "stage"]}}"#;
        let frozen = r#"{"StringLike": {"kms:EncryptionContext:stage": "frozen*"}}"#;
        let statements = [
            allow(OWNER, &["*"]),
            statement("Allow", "*", &["GenerateDataKey"], acme),
            statement("Deny", "*", &["GenerateDataKey"], frozen),
        ];
        kms.put_key_policy(key.arn(), &policy(&statements)).unwrap();
        let may = |principal: &str, pairs: &[(&str, &str)]| {
            let kms = kms.as_principal(principal).unwrap();
            let answer = ready(kms.generate_data_key(KmsRequest::new(key.arn(), &context(pairs)), 32));
            answer.map_err(|error| assert_refused(&error, principal)).is_ok()
        };
        assert!(may(ALICE, &[("tenant", "acme")]));
        assert!(may(BOB, &[("tenant", "acme"), ("stage", "test")]));
        assert!(!may(ALICE, &[("tenant", "acme"), ("stage", "frozen-1")]));
        assert!(!may(ALICE, &[("tenant", "initech")]));
        assert!(!may(ALICE, &[("tenant", "acme"), ("other", "1")]));
        assert!(!may(ALICE, &[]));
        assert!(!may("arn:aws:iam::111122223333:user/alice", &[("tenant", "acme")]));
        assert!(!may("arn:aws-cn:iam::000000000000:user/alice", &[("tenant", "acme")]));
        assert!(may(OWNER, &[]) && !may(OWNER, &[("stage", "frozen")]));
    }
}

#[test]
fn what_is_not_implemented_is_refused_by_name_when_the_policy_is_put() {
    for (kms, _, _) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let before = kms.key_policy(key.arn()).unwrap();
        let good = policy(&[statement("Allow", OWNER, &["*"], r#"{"Bool": {"aws:PrincipalArn": "true"}}"#)]);
        let rows = [
            ("\"Bool\"", "\"DateLess\"", "DateLess"),
            ("aws:PrincipalArn", "aws:SourceIpAddress", "aws:SourceIpAddress"),
            ("\"Principal\"", "\"Principals\"", "Principals"),
            ("\"Action\"", "\"Actions\"", "Actions"),
            ("\"AWS\"", "\"Federated\"", "Federated"),
            ("kms:*", "kms:Explode", "kms:Explode"),
        ];
        for (from, to, name) in rows {
            let json = good.replace(from, to);
            assert_ne!(json, good);
            for error in [
                kms.put_key_policy(key.arn(), &json).unwrap_err(),
                kms.put_key_policy_that_may_lock_out_caller(key.arn(), &json).unwrap_err(),
                kms.create_key(CreateKey::default().policy(&json)).unwrap_err(),
            ] {
                let found = (error.kind(), code(&error));
                assert_eq!(found, (ErrorKind::InvalidInput, "MalformedPolicyDocumentException"), "{name}");
                assert!(error.to_string().contains(name), "{error}");
            }
        }
        assert_eq!(kms.key_policy(key.arn()).unwrap(), before);
        assert_eq!(kms.list_keys().unwrap().len(), 1);
    }
}

#[test]
fn a_policy_that_locks_its_caller_out_is_refused_unless_asked_for() {
    for (kms, _, _) in both() {
        let alice = kms.as_principal(ALICE).unwrap();
        let conditional = r#"{"Null": {"kms:EncryptionContextKeys": "false"}}"#;
        for (caller, arn, other) in [(&kms, OWNER, ALICE), (&alice, ALICE, OWNER)] {
            let lockouts = [
                policy(&[allow(other, &["*"])]),
                policy(&[allow(arn, &["Decrypt"])]),
                policy(&[allow(arn, &["*"]), deny("*", &["Put*"])]),
                policy(&[allow(arn, &["*"]), deny("000000000000", &["Put*"])]),
                policy(&[statement("Allow", arn, &["*"], conditional)]),
                policy(&[allow("arn:aws:iam::111122223333:root", &["*"])]),
                policy(&[allow(arn, &["*"])])
                    .replace(r#""Resource": "*""#, r#""Resource": "arn:aws:kms:*:*:key/none""#),
            ];
            for json in &lockouts {
                let both_may = policy(&[allow(OWNER, &["*"]), allow(ALICE, &["*"])]);
                let key = kms.create_key(CreateKey::default().policy(&both_may)).unwrap();
                let mut errors = vec![caller.put_key_policy(key.arn(), json).unwrap_err()];
                if arn == OWNER {
                    errors.push(kms.create_key(CreateKey::default().policy(json)).unwrap_err());
                    let asked_for = CreateKey::default().policy(json).policy_may_lock_out_caller();
                    let locked = kms.create_key(asked_for).unwrap();
                    let error = kms.put_key_policy(locked.arn(), &both_may).unwrap_err();
                    assert_refused(&error, json);
                }
                for error in errors {
                    let found = (error.kind(), code(&error));
                    assert_eq!(found, (ErrorKind::InvalidInput, "MalformedPolicyDocumentException"), "{json}");
                    assert!(error.to_string().contains(arn), "{error}");
                }
                assert_eq!(caller.key_policy(key.arn()).unwrap(), both_may, "it stays as it was");
                caller.put_key_policy_that_may_lock_out_caller(key.arn(), json).unwrap();
                assert_refused(&caller.put_key_policy(key.arn(), &both_may).unwrap_err(), json);
            }
            // A caller who can change the policy afterwards may lock everyone else out.
            let both_may = policy(&[allow(OWNER, &["*"]), allow(ALICE, &["*"])]);
            let key = kms.create_key(CreateKey::default().policy(both_may)).unwrap();
            caller.put_key_policy(key.arn(), &policy(&[allow(arn, &["PutKeyPolicy"])])).unwrap();
            assert_refused(&caller.describe_key(key.arn()).unwrap_err(), "bound by the policy too");
            caller.put_key_policy(key.arn(), &policy(&[allow(arn, &["*"])])).unwrap();
            assert!(caller.describe_key(key.arn()).is_ok());
        }
    }
}

#[test]
fn re_encrypt_needs_both_halves_each_with_its_own_context() {
    for (kms, _, _) in both() {
        let make = |json: &[String]| kms.create_key(CreateKey::default().policy(policy(json))).unwrap();
        let owner = allow(OWNER, &["*"]);
        let half = |action: &str, tenant: &str| {
            let condition = format!(r#"{{"StringEquals": {{"kms:EncryptionContext:tenant": "{tenant}"}}}}"#);
            statement("Allow", ALICE, &[action], &condition)
        };
        let from = make(&[owner.clone(), half("ReEncryptFrom", "old")]);
        let to = make(&[owner.clone(), half("ReEncryptTo", "new")]);
        let (old, new) = (context(&[("tenant", "old")]), context(&[("tenant", "new")]));
        let alice = kms.as_principal(ALICE).unwrap();
        for (tenant, pairs) in [("old", &old), ("new", &new)] {
            let sealed = ready(kms.encrypt(KmsRequest::new(from.arn(), pairs), tenant.as_bytes())).unwrap().ciphertext;
            for to_pairs in [&old, &new] {
                let (first, second) = (KmsRequest::new(from.arn(), pairs), KmsRequest::new(to.arn(), to_pairs));
                let answer = alice.re_encrypt(&sealed, first, second);
                if (pairs, to_pairs) == (&old, &new) {
                    let answer = answer.unwrap();
                    assert_eq!(answer.key_arn, to.arn());
                    let opened = ready(kms.decrypt(second, &answer.ciphertext)).unwrap();
                    assert_eq!(opened.plaintext.expose_secret(), b"old");
                } else {
                    assert_refused(&answer.unwrap_err(), tenant);
                }
                // Permission for one half does not extend to the other.
                let swapped = alice.re_encrypt(&sealed, second, first).unwrap_err();
                assert_refused(&swapped, "swapped");
            }
        }
    }
}

#[test]
fn each_alias_and_each_region_asks_its_own_keys() {
    for (kms, _, _) in both() {
        let make = |json: &[String]| kms.create_key(CreateKey::default().policy(policy(json))).unwrap();
        let (owner, mine) = (allow(OWNER, &["*"]), allow(ALICE, &["*"]));
        let (own, foreign) = (make(&[owner.clone(), mine.clone()]), make(std::slice::from_ref(&owner)));
        kms.create_alias("alias/own", own.arn()).unwrap();
        kms.create_alias("alias/foreign", foreign.arn()).unwrap();
        let alice = kms.as_principal(ALICE).unwrap();
        // An alias can neither be taken from another's key nor be given to it.
        assert_refused(&alice.update_alias("alias/foreign", own.arn()).unwrap_err(), "taken");
        assert_refused(&alice.update_alias("alias/own", foreign.arn()).unwrap_err(), "given");
        assert_refused(&alice.create_alias("alias/new", foreign.arn()).unwrap_err(), "made");
        assert_refused(&alice.delete_alias("alias/foreign").unwrap_err(), "deleted");
        assert_refused(&alice.describe_key("alias/foreign").unwrap_err(), "by alias");
        assert!(alice.describe_key("alias/own").is_ok());

        // A replica starts with the default policy.
        let json = policy(&[owner, mine]);
        let shared = kms.create_key(CreateKey::default().multi_region().policy(json)).unwrap();
        let replica = kms.replicate_key(shared.arn(), EVERYWHERE).unwrap();
        assert!(alice.describe_key(shared.arn()).is_ok());
        let error = alice.region(EVERYWHERE).unwrap().describe_key(replica.arn()).unwrap_err();
        assert_refused(&error, "in another region");
        assert_refused(&alice.update_primary_region(shared.arn(), EVERYWHERE).unwrap_err(), "the new primary");
        assert_eq!(kms.describe_key(shared.arn()).unwrap().primary_region(), "local");
    }
}
