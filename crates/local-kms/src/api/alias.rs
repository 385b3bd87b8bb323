//! Aliases: names that can be moved from key to key.

use crate::audit::Details;
use crate::call::{OfAccount, OnAlias, OnKey, Retargeting};
use crate::error::invalid;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::alias::{of_region, put_new, remove, retarget};
use crate::record::key::Key;
use manila_core::Result;

/// An alias and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alias {
    pub(crate) name: String,
    pub(crate) key_arn: String,
}

impl Alias {
    /// Returns the name, such as `alias/app`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the ARN of the key.
    #[must_use]
    pub fn key_arn(&self) -> &str {
        &self.key_arn
    }
}

impl LocalKms {
    /// Creates an alias for a key; `target` is the key's id or ARN.
    ///
    /// The caller needs `kms:CreateAlias` for the key and, unless they are the owner, a policy that allows it for the
    /// alias.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the alias already exists
    /// (`AlreadyExistsException`) or is not valid, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is
    /// no such key, it is pending deletion, or the caller lacks permission.
    pub fn create_alias(&self, alias: &str, target: &str) -> Result<()> {
        let request = Details::new().text("aliasName", alias);
        self.write(Operation::CreateAlias, &OnKey::new(target), request, |tables, key, _| {
            put_new(tables, &self.location(), alias, &key.id)
        })
    }

    /// Moves an alias to another key of the same kind, with effect from the next call. Existing ciphertexts still need
    /// the key that encrypted them.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let old = kms.create_key(CreateKey::default().alias("alias/app"))?;
    /// let new = kms.create_key(CreateKey::default())?;
    /// kms.update_alias("alias/app", new.key_id())?;
    /// assert_eq!(kms.describe_key("alias/app")?.arn(), new.arn());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// The caller needs `kms:UpdateAlias` for both keys and, unless they are the owner, a policy that allows it for the
    /// alias.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such alias or key, the key is pending
    /// deletion, or the caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the
    /// keys differ in usage, or one is asymmetric and the other is not.
    pub fn update_alias(&self, alias: &str, target: &str) -> Result<()> {
        let subject = Retargeting { alias, target };
        self.write(Operation::UpdateAlias, &subject, Details::new(), |tables, (old, new), _| {
            // Source: AWS KMS API Reference, UpdateAlias.
            let kind = |key: &Key| (key.material.usage(), key.material.spec.key_pair().is_some());
            if kind(&old) != kind(&new) {
                let message = "an alias cannot move to a key of another usage, nor between symmetric and asymmetric keys: \
                               name a key of the same kind";
                return Err(invalid("ValidationException", message));
            }
            retarget(tables, &self.location(), alias, &new.id)
        })
    }

    /// Deletes an alias.
    ///
    /// The caller needs `kms:DeleteAlias` for the key and, unless they are the owner, a policy that allows it for the
    /// alias.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such alias or the caller lacks
    /// permission.
    pub fn delete_alias(&self, alias: &str) -> Result<()> {
        self.write(Operation::DeleteAlias, &OnAlias(alias), Details::new(), |tables, _, _| {
            remove(tables, &self.location(), alias)
        })
    }

    /// Lists all aliases of the region, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller lacks permission.
    pub fn list_aliases(&self) -> Result<Vec<Alias>> {
        self.read(Operation::ListAliases, &OfAccount, Details::new(), |tables, (), call| {
            let location = self.location();
            let mut aliases = Vec::new();
            for (name, record) in of_region(tables, &location)? {
                if Key::load(tables, &location, &record.key_id)?.is_some_and(|key| !key.is_deleted(call.now)) {
                    aliases.push(Alias { name, key_arn: location.key_arn(&record.key_id) });
                }
            }
            Ok(aliases)
        })
    }
}
