//! The operations of the embedded KMS, in one table: for each operation the key states in which it is allowed, the
//! names that it takes, and the principals that can be allowed to call it.

use crate::error::refused;
use crate::record::kind::KeyUsage;
use manila_core::Result;

/// The state of a key, which determines what it can be used for.
///
/// Source: AWS KMS Developer Guide, "Key states of AWS KMS keys".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// The key can be used.
    Enabled,
    /// The key cannot be used until it is enabled again.
    Disabled,
    /// The key cannot be used, and is deleted at its deadline unless the deletion is cancelled before.
    PendingDeletion,
    /// The key cannot be used until key material is imported.
    PendingImport,
}

impl KeyState {
    /// Returns AWS's name.
    ///
    /// ```
    /// use manila_local_kms::KeyState;
    ///
    /// assert_eq!(KeyState::PendingDeletion.name(), "PendingDeletion");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingImport => "PendingImport",
        }
    }
}

/// The subject of an operation, which determines whose policies decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A key, or two.
    Key,
    /// The account: policies of principals decide.
    Account,
    /// The store, which is its owner's. AWS does not have such operations, or has them elsewhere.
    Store,
}

/// The rules of an operation for its key and its caller, a row of the table.
struct Rules {
    /// The key states in which it is allowed.
    states: &'static [KeyState],
    name: Name,
    grants: Grants,
    accounts: Accounts,
    permits: Permits,
    material: Material,
    usage: Usage,
}

/// The names by which an operation takes a key, as on AWS. Operations that use a key also take an alias. Operations
/// that change a key do not, so a retargeted alias never causes the wrong key to be deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Id,
    IdOrAlias,
}

/// The effect of grants: one can allow the operation, or never can.
///
/// Source: AWS KMS Developer Guide, "Grants in AWS KMS", grant operations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grants {
    Never,
    Grantable,
}

/// The accounts whose principals can be allowed the operation: only the key's own, or all.
///
/// Source: AWS KMS Developer Guide, "AWS KMS permissions", cross-account use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accounts {
    Own,
    All,
}

/// The permissions that the operation needs: the key's, or also the account's, which comes from a policy of the caller,
/// for the alias or for creating keys in the other region, and never from a key's policy.
///
/// Source: AWS KMS Developer Guide, "AWS KMS permissions", and "Control access to aliases" there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permits {
    Key,
    KeyAndAccount,
}

/// The key material that the operation uses or describes. A rotation that is due is performed before the newest
/// material is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Material {
    Any,
    Newest,
}

/// The keys that the operation is for, by their usage.
///
/// Source: AWS KMS API Reference, the parameter `KeyId` of each operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Usage {
    Any,
    /// Any key: decrypting determines itself whether it is the right one.
    Decrypt,
    Encrypt,
    Mac,
    Sign,
    Agree,
    Encapsulate,
    /// Keys that have a public key.
    Public,
}

/// Operations without a key, and operations whose keys are checked under
/// other names.
const NO_KEY: &[KeyState] = &[];
const ENABLED: &[KeyState] = &[KeyState::Enabled];
const ON_OR_OFF: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled];
/// A key that awaits material takes imported material, which is not rotated; these operations return that error
/// themselves.
const ON_OR_EMPTY: &[KeyState] = &[KeyState::Enabled, KeyState::PendingImport];
const NOT_DELETED: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport];
const DELETED: &[KeyState] = &[KeyState::PendingDeletion];
const ALL: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport, KeyState::PendingDeletion];

macro_rules! operations {
    ($(
        $operation:ident: $states:ident $name:ident $grants:ident $accounts:ident $permits:ident $material:ident
            $usage:ident,
    )*) => {
        /// The operations of the embedded KMS, under AWS's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation { $($operation),* }

        impl Operation {
            pub(super) const TABLE: &[Self] = &[$(Self::$operation),*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$operation => stringify!($operation)),* }
            }

            /// Returns the name in policies.
            pub(super) const fn action(self) -> &'static str {
                match self { $(Self::$operation => concat!("kms:", stringify!($operation))),* }
            }

            const fn rules(self) -> Rules {
                match self {
                    $(Self::$operation => Rules {
                        states: $states,
                        name: Name::$name,
                        grants: Grants::$grants,
                        accounts: Accounts::$accounts,
                        permits: Permits::$permits,
                        material: Material::$material,
                        usage: Usage::$usage,
                    }),*
                }
            }
        }
    };
}

// Every operation has a row, and every row has every column, so no rule applies by default.
operations! {
    // operation                       states       name       grants     accounts permits        material usage
    AssumeRole:                          NO_KEY       Id         Never      All      Key            Any      Any,
    Backup:                              NO_KEY       Id         Never      Own      Key            Any      Any,
    CancelKeyDeletion:                   DELETED      Id         Never      Own      Key            Any      Any,
    ChangeRootKey:                       NO_KEY       Id         Never      Own      Key            Any      Any,
    Checkpoint:                          NO_KEY       Id         Never      Own      Key            Any      Any,
    CloseStore:                          NO_KEY       Id         Never      Own      Key            Any      Any,
    ConfirmClock:                        NO_KEY       Id         Never      Own      Key            Any      Any,
    CreateAlias:                         NOT_DELETED  Id         Never      Own      KeyAndAccount  Any      Any,
    CreateGrant:                         ENABLED      Id         Grantable  All      Key            Any      Any,
    CreateKey:                           NO_KEY       Id         Never      Own      Key            Any      Any,
    Decapsulate:                         ENABLED      IdOrAlias  Grantable  All      Key            Any      Encapsulate,
    Decrypt:                             ENABLED      IdOrAlias  Grantable  All      Key            Any      Decrypt,
    DeleteAlias:                         ALL          IdOrAlias  Never      Own      KeyAndAccount  Any      Any,
    DeleteExpiredKeyMaterial:            NO_KEY       Id         Never      Own      Key            Any      Any,
    DeleteIdentityPolicy:                NO_KEY       Id         Never      Own      Key            Any      Any,
    DeleteImportedKeyMaterial:           ALL          Id         Never      Own      Key            Any      Any,
    DeleteKey:                           NO_KEY       Id         Never      Own      Key            Any      Any,
    DeleteRole:                          NO_KEY       Id         Never      Own      Key            Any      Any,
    DeleteUser:                          NO_KEY       Id         Never      Own      Key            Any      Any,
    DeriveSharedSecret:                  ENABLED      IdOrAlias  Grantable  All      Key            Any      Agree,
    DescribeKey:                         ALL          IdOrAlias  Grantable  All      Key            Any      Any,
    DescribePrincipal:                   NO_KEY       Id         Never      Own      Key            Any      Any,
    DisableKey:                          ON_OR_OFF    Id         Never      Own      Key            Any      Any,
    DisableKeyRotation:                  ON_OR_EMPTY  Id         Never      Own      Key            Any      Any,
    EnableKey:                           ON_OR_OFF    Id         Never      Own      Key            Any      Any,
    EnableKeyRotation:                   ON_OR_EMPTY  Id         Never      Own      Key            Any      Any,
    Encapsulate:                         ENABLED      IdOrAlias  Grantable  All      Key            Any      Encapsulate,
    Encrypt:                             ENABLED      IdOrAlias  Grantable  All      Key            Newest   Encrypt,
    GenerateDataKey:                     ENABLED      IdOrAlias  Grantable  All      Key            Newest   Encrypt,
    GenerateDataKeyPair:                 ENABLED      IdOrAlias  Grantable  All      Key            Newest   Encrypt,
    GenerateDataKeyPairWithoutPlaintext: ENABLED      IdOrAlias  Grantable  All      Key            Newest   Encrypt,
    GenerateDataKeyWithoutPlaintext:     ENABLED      IdOrAlias  Grantable  All      Key            Newest   Encrypt,
    GenerateMac:                         ENABLED      IdOrAlias  Grantable  All      Key            Any      Mac,
    GenerateRandom:                      NO_KEY       Id         Never      Own      Key            Any      Any,
    GetIdentityPolicy:                   NO_KEY       Id         Never      Own      Key            Any      Any,
    GetKeyPolicy:                        ALL          Id         Never      Own      Key            Any      Any,
    GetKeyRotationStatus:                ALL          Id         Never      All      Key            Newest   Any,
    GetPublicKey:                        ENABLED      IdOrAlias  Grantable  All      Key            Any      Public,
    ImportKeyMaterial:                   NOT_DELETED  Id         Never      Own      Key            Any      Any,
    ListAliases:                         NO_KEY       Id         Never      Own      Key            Any      Any,
    ListGrants:                          ALL          Id         Never      All      Key            Any      Any,
    ListIdentityPolicies:                NO_KEY       Id         Never      Own      Key            Any      Any,
    ListKeyPolicies:                     ALL          Id         Never      Own      Key            Any      Any,
    ListKeyRotations:                    ALL          Id         Never      Own      Key            Newest   Any,
    ListKeys:                            NO_KEY       Id         Never      Own      Key            Any      Any,
    ListResourceTags:                    ALL          Id         Never      Own      Key            Any      Any,
    ListRetirableGrants:                 NO_KEY       Id         Never      Own      Key            Any      Any,
    ListRoles:                           NO_KEY       Id         Never      Own      Key            Any      Any,
    ListUsers:                           NO_KEY       Id         Never      Own      Key            Any      Any,
    OpenStore:                           NO_KEY       Id         Never      Own      Key            Any      Any,
    Purge:                               NO_KEY       Id         Never      Own      Key            Any      Any,
    PutIdentityPolicy:                   NO_KEY       Id         Never      Own      Key            Any      Any,
    PutKeyPolicy:                        ALL          Id         Never      Own      Key            Any      Any,
    PutRole:                             NO_KEY       Id         Never      Own      Key            Any      Any,
    PutUser:                             NO_KEY       Id         Never      Own      Key            Any      Any,
    ReEncrypt:                           NO_KEY       Id         Never      Own      Key            Any      Any,
    ReEncryptFrom:                       ENABLED      IdOrAlias  Grantable  All      Key            Any      Decrypt,
    ReEncryptTo:                         ENABLED      IdOrAlias  Grantable  All      Key            Newest   Encrypt,
    ReplaceLostAuditLog:                 NO_KEY       Id         Never      Own      Key            Any      Any,
    ReplicateKey:                        ENABLED      Id         Never      Own      KeyAndAccount  Any      Any,
    Restore:                             NO_KEY       Id         Never      Own      Key            Any      Any,
    RetireGrant:                         ALL          Id         Grantable  All      Key            Any      Any,
    RevokeGrant:                         ALL          Id         Never      All      Key            Any      Any,
    RotateAuditLog:                      NO_KEY       Id         Never      Own      Key            Any      Any,
    RotateKey:                           NO_KEY       Id         Never      Own      Key            Any      Any,
    RotateKeyOnDemand:                   ON_OR_EMPTY  Id         Never      Own      Key            Any      Any,
    ScheduleKeyDeletion:                 NOT_DELETED  Id         Never      Own      Key            Any      Any,
    SetPrincipalTags:                    NO_KEY       Id         Never      Own      Key            Any      Any,
    SetTimeBack:                         NO_KEY       Id         Never      Own      Key            Any      Any,
    Sign:                                ENABLED      IdOrAlias  Grantable  All      Key            Any      Sign,
    Simulate:                            NO_KEY       Id         Never      Own      Key            Any      Any,
    TagResource:                         NOT_DELETED  Id         Never      Own      Key            Any      Any,
    UntagResource:                       NOT_DELETED  Id         Never      Own      Key            Any      Any,
    UpdateAlias:                         NOT_DELETED  Id         Never      Own      KeyAndAccount  Any      Any,
    UpdateKeyDescription:                NOT_DELETED  Id         Never      Own      Key            Any      Any,
    UpdatePrimaryRegion:                 ENABLED      Id         Never      Own      Key            Any      Any,
    Verify:                              ENABLED      IdOrAlias  Grantable  All      Key            Any      Sign,
    VerifyAuditLog:                      NO_KEY       Id         Never      Own      Key            Any      Any,
    VerifyMac:                           ENABLED      IdOrAlias  Grantable  All      Key            Any      Mac,
}

impl Operation {
    /// Fails with AWS's error unless the operation is allowed on a key in this state. Clients compare its words.
    pub(super) fn check_state(self, key_arn: &str, state: KeyState) -> Result<()> {
        if self.rules().states.contains(&state) {
            return Ok(());
        }
        let invalid = |what: &str| Err(refused("KMSInvalidStateException", format!("{key_arn} is {what}.")));
        match state {
            _ if self == Self::CancelKeyDeletion => invalid("not pending deletion"),
            KeyState::Disabled => Err(refused("DisabledException", format!("{key_arn} is disabled."))),
            KeyState::PendingDeletion => invalid("pending deletion"),
            KeyState::PendingImport => invalid("pending import"),
            // A state that is not allowed is one of the others.
            KeyState::Enabled => invalid("enabled"),
        }
    }

    /// Returns the operation of this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::TABLE.iter().copied().find(|operation| operation.name() == name)
    }

    /// Returns what the operation is about.
    pub(super) fn scope(self) -> Scope {
        match self {
            Self::CreateKey | Self::GenerateRandom | Self::ListAliases | Self::ListKeys | Self::ListRetirableGrants => {
                Scope::Account
            }
            _ if self.rules().states.is_empty() => Scope::Store,
            _ => Scope::Key,
        }
    }

    /// Returns whether the operation is about a key.
    pub(super) fn is_about_a_key(self) -> bool {
        self.scope() == Scope::Key
    }

    /// Returns whether the operation also takes a key by an alias.
    pub(super) fn takes_alias(self) -> bool {
        self.rules().name == Name::IdOrAlias
    }

    /// Returns whether a grant can allow the operation.
    pub(super) fn is_grantable(self) -> bool {
        self.rules().grants == Grants::Grantable
    }

    /// Returns whether principals of accounts other than the key's can be allowed the operation.
    pub(super) fn crosses_accounts(self) -> bool {
        self.rules().accounts == Accounts::All
    }

    /// Returns whether the operation needs the account's permission in addition to the key's.
    pub(super) fn needs_account(self) -> bool {
        self.rules().permits == Permits::KeyAndAccount
    }

    /// Returns whether the operation uses an encryption algorithm.
    pub(super) fn encrypts(self) -> bool {
        let name = self.name();
        let verbs = ["Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt"];
        verbs.iter().any(|verb| name.starts_with(verb))
    }

    /// Returns whether the operation is for keys of this usage.
    pub(super) fn takes_usage(self, usage: KeyUsage) -> bool {
        match self.rules().usage {
            Usage::Any => true,
            Usage::Decrypt | Usage::Encrypt => usage == KeyUsage::EncryptDecrypt,
            Usage::Mac => usage == KeyUsage::GenerateVerifyMac,
            Usage::Sign => usage == KeyUsage::SignVerify,
            Usage::Agree => usage == KeyUsage::KeyAgreement,
            Usage::Encapsulate => usage == KeyUsage::EncapsulateDecapsulate,
            Usage::Public => usage != KeyUsage::GenerateVerifyMac,
        }
    }

    /// Returns whether a key of another usage is refused for that. The two that are not refuse it otherwise: what
    /// decrypts does not know the key, and what has no public key does not support the operation.
    pub(super) fn checks_usage(self) -> bool {
        !matches!(self.rules().usage, Usage::Any | Usage::Decrypt | Usage::Public)
    }

    /// Returns whether the operation uses the newest key material, so that a rotation that is due must be performed
    /// first.
    pub(super) fn uses_newest_material(self) -> bool {
        self.rules().material == Material::Newest
    }
}
