//! The operations of the embedded KMS: their names, and the states of a key that each is allowed in.

pub(super) mod alias;
mod audit_log;
mod cipher;
mod grant;
mod import;
mod lifecycle;
mod maintenance;
mod policy;
mod replica;
pub(super) mod rotation;

use crate::error::Result;
use crate::kms::local::answer::refused;

/// What a key can be used for at the moment.
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

macro_rules! operations {
    ($($name:ident)*) => {
        /// What can be asked of the embedded KMS, under AWS's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation { $($name),* }

        impl Operation {
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The name in policies.
            pub(super) const fn action(self) -> &'static str {
                match self { $(Self::$name => concat!("kms:", stringify!($name))),* }
            }
        }
    };
}

operations! {
    Backup CancelKeyDeletion ChangeRootKey Checkpoint CreateAlias CreateGrant CreateKey Decrypt DeleteAlias DeleteKey DeleteImportedKeyMaterial DescribeKey
    DisableKey DisableKeyRotation EnableKey EnableKeyRotation Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext
    GenerateMac GenerateRandom GetKeyPolicy GetKeyRotationStatus ImportKeyMaterial ListAliases ListGrants
    ListKeyRotations ListKeys ListResourceTags Purge PutKeyPolicy ReEncrypt ReEncryptFrom ReEncryptTo ReplicateKey Restore
    RetireGrant RevokeGrant RotateKey RotateKeyOnDemand ScheduleKeyDeletion TagResource UntagResource UpdateAlias
    UpdateKeyDescription UpdatePrimaryRegion VerifyAuditLog VerifyMac
}

impl Operation {
    /// Fails with AWS's error unless the operation is allowed in a state.
    pub(super) fn check_state(self, state: KeyState) -> Result<()> {
        use KeyState::{Disabled, Enabled, PendingDeletion, PendingImport};
        let allowed: &[KeyState] = match self {
            Self::CancelKeyDeletion => &[PendingDeletion],
            Self::EnableKey | Self::DisableKey => &[Enabled, Disabled],
            // A key that awaits material takes imported material, which does not rotate: these tell that themselves.
            Self::DisableKeyRotation | Self::EnableKeyRotation | Self::RotateKeyOnDemand => &[Enabled, PendingImport],
            Self::CreateAlias
            | Self::ImportKeyMaterial
            | Self::ScheduleKeyDeletion
            | Self::TagResource
            | Self::UntagResource
            | Self::UpdateAlias
            | Self::UpdateKeyDescription => &[Enabled, Disabled, PendingImport],
            Self::DeleteAlias
            | Self::DeleteImportedKeyMaterial
            | Self::DescribeKey
            | Self::GetKeyPolicy
            | Self::GetKeyRotationStatus
            | Self::ListGrants
            | Self::ListKeyRotations
            | Self::ListResourceTags
            | Self::PutKeyPolicy
            | Self::RetireGrant
            | Self::RevokeGrant => return Ok(()),
            _ => &[Enabled],
        };
        if allowed.contains(&state) {
            return Ok(());
        }
        let name = self.name();
        Err(match state {
            Disabled if self != Self::CancelKeyDeletion => {
                refused("DisabledException", format!("the key is disabled, so {name} is refused"))
            }
            _ => refused("KMSInvalidStateException", format!("the key is {state:?}, and {name} is refused then")),
        })
    }

    /// Whether the operation takes a key by an alias too, as on AWS: what uses a key does, what changes one does not, so
    /// that a retargeted alias never has another key deleted than was meant.
    pub(super) fn takes_alias(self) -> bool {
        matches!(
            self,
            Self::Decrypt
                | Self::DeleteAlias
                | Self::DescribeKey
                | Self::Encrypt
                | Self::GenerateDataKey
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::GenerateMac
                | Self::ReEncryptFrom
                | Self::ReEncryptTo
                | Self::VerifyMac
        )
    }

    /// Whether the operation uses the newest key material, so that a rotation that is due comes first.
    pub(super) fn uses_newest_material(self) -> bool {
        matches!(
            self,
            Self::Encrypt
                | Self::GenerateDataKey
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::ReEncryptTo
                | Self::GetKeyRotationStatus
                | Self::ListKeyRotations
        )
    }
}
