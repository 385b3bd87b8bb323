//! The life of a key in an embedded KMS: created, rotated, shared by a grant, disabled, and scheduled for deletion.
//!
//! ```text
//! arn:aws:kms:...:key/... is Enabled
//! rotated 1 time, and decrypts what it encrypted before: hello
//! the grantee decrypts: hello
//! after the grant: ... AccessDeniedException...
//! while disabled: ... DisabledException...
//! arn:aws:kms:...:key/... is PendingDeletion
//! the audit log has ... calls and is intact: true
//! ```

use manila::keyring::KmsKeyring;
use manila::local_kms::{AuditLog, CreateGrant, CreateKey, GrantOperation, LocalKms, RootKey};
use manila::{Client, EncryptionContext, Result};

const AUDITOR: &str = "arn:aws:iam::000000000000:role/auditor";

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let root_key = RootKey::create_file(path("root.key"))?;
    let kms = LocalKms::builder().audit(AuditLog::file(path("audit.jsonl"))).create(path("keys.redb"), root_key)?;
    let key = kms.create_key(CreateKey::default().alias("alias/app").tag("team", "billing").rotate_every_days(365))?;
    println!("{} is {:?}", key.arn(), key.state());

    let client = Client::new(KmsKeyring::new(kms.clone(), key.arn())?);
    let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?)?;
    let decrypt = |client: &Client| -> Result<_> {
        let decrypted = client.decrypt(&message, &EncryptionContext::new([("tenant", "acme")])?)?;
        Ok(String::from_utf8_lossy(&decrypted.plaintext).into_owned())
    };
    kms.rotate_key_on_demand(key.arn())?;
    let rotations = kms.list_key_rotations(key.arn())?.len();
    println!("rotated {rotations} time, and decrypts what it encrypted before: {}", decrypt(&client)?);

    let grant = kms.create_grant(key.arn(), CreateGrant::to(AUDITOR).operation(GrantOperation::Decrypt))?.into_id();
    let grantee = Client::new(KmsKeyring::new(kms.as_principal(AUDITOR)?, key.arn())?);
    println!("the grantee decrypts: {}", decrypt(&grantee)?);
    kms.revoke_grant(key.arn(), &grant)?;
    println!("after the grant: {}", decrypt(&grantee).unwrap_err());

    kms.disable_key(key.arn())?;
    println!("while disabled: {}", decrypt(&client).unwrap_err());
    kms.schedule_key_deletion_in(key.arn(), 7)?;
    println!("{} is {:?}", key.arn(), kms.describe_key(key.arn())?.state());
    let report = kms.verify_audit_log(path("audit.jsonl"))?;
    println!("the audit log has {} calls and is intact: {}", report.events(), report.is_intact());
    Ok(())
}
