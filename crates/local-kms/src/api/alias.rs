//! Aliases: names of keys that can be moved to other keys.

use crate::audit::Details;
use crate::call::{OnAlias, OnKey, Owner, Retargeting};
use crate::error::invalid;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::alias::{of_region, put_new, remove, retarget};
use crate::record::key::Key;
use manila_core::Result;

/// An alias and the key that it names.
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
    /// Creates an alias for a key; `target` is the key's id or ARN. For the owner alone, if the key's policy allows it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the alias is taken (`AlreadyExistsException`) or
    /// no alias name, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is pending
    /// deletion, or the caller may not.
    pub fn create_alias(&self, alias: &str, target: &str) -> Result<()> {
        let request = Details::new().text("aliasName", alias);
        self.write(Operation::CreateAlias, &OnKey::new(target), request, |tables, key, _| {
            put_new(tables, &self.location(), alias, &key.id)
        })
    }

    /// Points an alias to another key of the same kind, from the next call on. Existing ciphertexts belong to the key
    /// that encrypted them.
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
    /// For the owner alone, who needs `kms:UpdateAlias` on both keys.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such alias or key, the key is pending
    /// deletion, or the caller may not; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the one key
    /// encrypts and the other does not.
    pub fn update_alias(&self, alias: &str, target: &str) -> Result<()> {
        let subject = Retargeting { alias, target };
        self.write(Operation::UpdateAlias, &subject, Details::new(), |tables, (old, new), _| {
            if old.material.spec.mac_hash().is_some() != new.material.spec.mac_hash().is_some() {
                let message = "an alias cannot move between encryption keys and HMAC keys: name a key of the same kind";
                return Err(invalid("ValidationException", message));
            }
            retarget(tables, &self.location(), alias, &new.id)
        })
    }

    /// Deletes an alias. For the owner alone, if the key's policy allows it.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such alias or the caller may not.
    pub fn delete_alias(&self, alias: &str) -> Result<()> {
        self.write(Operation::DeleteAlias, &OnAlias(alias), Details::new(), |tables, _, _| {
            remove(tables, &self.location(), alias)
        })
    }

    /// Lists all aliases of the region, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks.
    pub fn list_aliases(&self) -> Result<Vec<Alias>> {
        self.read(Operation::ListAliases, &Owner, Details::new(), |tables, (), call| {
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
