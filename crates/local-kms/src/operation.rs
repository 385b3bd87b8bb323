//! The operations of the embedded KMS, in one table: the states of a key that each is allowed in, the names that it
//! takes, and whom it can be allowed.

use crate::error::refused;
use manila_core::Result;

/// The state of a key, which determines what it can be used for.
///
/// Source: AWS KMS Developer Guide, "Key states of AWS KMS keys".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Everything.
    Enabled,
    /// Nothing, until it is enabled again.
    Disabled,
    /// Nothing; at its deadline it is deleted, unless that is cancelled before.
    PendingDeletion,
    /// Nothing, until key material is imported.
    PendingImport,
}

/// The rules of an operation for its key and its caller: a row of the table.
struct Rules {
    /// The states of a key that it is allowed in.
    states: &'static [KeyState],
    name: Name,
    grants: Grants,
    accounts: Accounts,
    permits: Permits,
    material: Material,
}

/// The names of a key that an operation takes, as on AWS: what uses a key takes an alias too, what changes one does
/// not, so that a retargeted alias never has another key deleted than was meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Id,
    IdOrAlias,
}

/// True if a grant can allow the operation.
///
/// Source: AWS KMS Developer Guide, "Grants in AWS KMS", grant operations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grants {
    Never,
    Grantable,
}

/// The accounts whose principals may be allowed the operation: the key's own, or others too.
///
/// Source: AWS KMS Developer Guide, "AWS KMS permissions", cross-account use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accounts {
    Own,
    All,
}

/// The permissions that the operation needs: the key's, by its policy or a grant, or the account's too. On AWS that is
/// an IAM policy on the alias, or one on making keys in the other region; no key's policy can give it. Here the owner
/// alone has it.
///
/// Source: AWS KMS Developer Guide, "AWS KMS permissions", and "Control access to aliases" there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permits {
    Key,
    KeyAndAccount,
}

/// The key material that the operation uses or describes. A rotation that is due comes before the use of the newest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Material {
    Any,
    Newest,
}

/// Operations on no key, for the owner of the account alone, and those whose keys are asked for under other names.
const NO_KEY: &[KeyState] = &[];
const ENABLED: &[KeyState] = &[KeyState::Enabled];
const ON_OR_OFF: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled];
/// A key that awaits material takes imported material, which does not rotate: these operations tell that themselves.
const ON_OR_EMPTY: &[KeyState] = &[KeyState::Enabled, KeyState::PendingImport];
const NOT_DELETED: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport];
const DELETED: &[KeyState] = &[KeyState::PendingDeletion];
const ALL: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport, KeyState::PendingDeletion];

macro_rules! operations {
    ($($operation:ident: $states:ident $name:ident $grants:ident $accounts:ident $permits:ident $material:ident,)*) => {
        /// The operations of the embedded KMS, under AWS's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation { $($operation),* }

        impl Operation {
            #[cfg(test)]
            pub(super) const TABLE: &[Self] = &[$(Self::$operation),*];

            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$operation => stringify!($operation)),* }
            }

            /// The name in policies.
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
                    }),*
                }
            }
        }
    };
}

// Every operation has its row, and every row every column: there is nothing that an operation is by default.
operations! {
    // operation                   states       name       grants     accounts permits        material
    Backup:                          NO_KEY       Id         Never      Own      Key            Any,
    CancelKeyDeletion:               DELETED      Id         Never      Own      Key            Any,
    ChangeRootKey:                   NO_KEY       Id         Never      Own      Key            Any,
    Checkpoint:                      NO_KEY       Id         Never      Own      Key            Any,
    CloseStore:                      NO_KEY       Id         Never      Own      Key            Any,
    ConfirmClock:                    NO_KEY       Id         Never      Own      Key            Any,
    CreateAlias:                     NOT_DELETED  Id         Never      Own      KeyAndAccount  Any,
    CreateGrant:                     ENABLED      Id         Grantable  All      Key            Any,
    CreateKey:                       NO_KEY       Id         Never      Own      Key            Any,
    Decrypt:                         ENABLED      IdOrAlias  Grantable  All      Key            Any,
    DeleteAlias:                     ALL          IdOrAlias  Never      Own      KeyAndAccount  Any,
    DeleteImportedKeyMaterial:       ALL          Id         Never      Own      Key            Any,
    DeleteKey:                       NO_KEY       Id         Never      Own      Key            Any,
    DescribeKey:                     ALL          IdOrAlias  Grantable  All      Key            Any,
    DisableKey:                      ON_OR_OFF    Id         Never      Own      Key            Any,
    DisableKeyRotation:              ON_OR_EMPTY  Id         Never      Own      Key            Any,
    EnableKey:                       ON_OR_OFF    Id         Never      Own      Key            Any,
    EnableKeyRotation:               ON_OR_EMPTY  Id         Never      Own      Key            Any,
    Encrypt:                         ENABLED      IdOrAlias  Grantable  All      Key            Newest,
    GenerateDataKey:                 ENABLED      IdOrAlias  Grantable  All      Key            Newest,
    GenerateDataKeyWithoutPlaintext: ENABLED      IdOrAlias  Grantable  All      Key            Newest,
    GenerateMac:                     ENABLED      IdOrAlias  Grantable  All      Key            Any,
    GenerateRandom:                  NO_KEY       Id         Never      Own      Key            Any,
    GetKeyPolicy:                    ALL          Id         Never      Own      Key            Any,
    GetKeyRotationStatus:            ALL          Id         Never      All      Key            Newest,
    ImportKeyMaterial:               NOT_DELETED  Id         Never      Own      Key            Any,
    ListAliases:                     NO_KEY       Id         Never      Own      Key            Any,
    ListGrants:                      ALL          Id         Never      All      Key            Any,
    ListKeyRotations:                ALL          Id         Never      Own      Key            Newest,
    ListKeys:                        NO_KEY       Id         Never      Own      Key            Any,
    ListResourceTags:                ALL          Id         Never      Own      Key            Any,
    OpenStore:                       NO_KEY       Id         Never      Own      Key            Any,
    Purge:                           NO_KEY       Id         Never      Own      Key            Any,
    PutKeyPolicy:                    ALL          Id         Never      Own      Key            Any,
    ReEncrypt:                       NO_KEY       Id         Never      Own      Key            Any,
    ReEncryptFrom:                   ENABLED      IdOrAlias  Grantable  All      Key            Any,
    ReEncryptTo:                     ENABLED      IdOrAlias  Grantable  All      Key            Newest,
    ReplaceLostAuditLog:             NO_KEY       Id         Never      Own      Key            Any,
    ReplicateKey:                    ENABLED      Id         Never      Own      KeyAndAccount  Any,
    Restore:                         NO_KEY       Id         Never      Own      Key            Any,
    RetireGrant:                     ALL          Id         Grantable  All      Key            Any,
    RevokeGrant:                     ALL          Id         Never      All      Key            Any,
    RotateAuditLog:                  NO_KEY       Id         Never      Own      Key            Any,
    RotateKey:                       NO_KEY       Id         Never      Own      Key            Any,
    RotateKeyOnDemand:               ON_OR_EMPTY  Id         Never      Own      Key            Any,
    ScheduleKeyDeletion:             NOT_DELETED  Id         Never      Own      Key            Any,
    SetTimeBack:                     NO_KEY       Id         Never      Own      Key            Any,
    TagResource:                     NOT_DELETED  Id         Never      Own      Key            Any,
    UntagResource:                   NOT_DELETED  Id         Never      Own      Key            Any,
    UpdateAlias:                     NOT_DELETED  Id         Never      Own      KeyAndAccount  Any,
    UpdateKeyDescription:            NOT_DELETED  Id         Never      Own      Key            Any,
    UpdatePrimaryRegion:             ENABLED      Id         Never      Own      Key            Any,
    VerifyAuditLog:                  NO_KEY       Id         Never      Own      Key            Any,
    VerifyMac:                       ENABLED      IdOrAlias  Grantable  All      Key            Any,
}

impl Operation {
    /// Fails with AWS's error unless the operation is allowed in a state.
    pub(super) fn check_state(self, state: KeyState) -> Result<()> {
        if self.rules().states.contains(&state) {
            return Ok(());
        }
        let name = self.name();
        Err(match state {
            KeyState::Disabled if self != Self::CancelKeyDeletion => {
                refused("DisabledException", format!("the key is disabled, so {name} is refused"))
            }
            _ => refused("KMSInvalidStateException", format!("the key is {state:?}, so {name} is refused")),
        })
    }

    /// Returns whether the operation takes a key by an alias too.
    pub(super) fn takes_alias(self) -> bool {
        self.rules().name == Name::IdOrAlias
    }

    /// Returns whether a grant can allow the operation.
    pub(super) fn is_grantable(self) -> bool {
        self.rules().grants == Grants::Grantable
    }

    /// Returns whether principals of other accounts than the key's can be allowed the operation.
    pub(super) fn crosses_accounts(self) -> bool {
        self.rules().accounts == Accounts::All
    }

    /// Returns whether the account must permit the operation beside the key.
    pub(super) fn needs_account(self) -> bool {
        self.rules().permits == Permits::KeyAndAccount
    }

    /// Returns whether the operation uses the newest key material, so that a rotation that is due comes first.
    pub(super) fn uses_newest_material(self) -> bool {
        self.rules().material == Material::Newest
    }
}
