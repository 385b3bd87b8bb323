//! Finding the keys of a call: by their names, for those who may, in a state that allows the operation.

use crate::access::Permission;
use crate::call::Call;
use crate::deadlines;
use crate::error::{invalid, refused};
use crate::lookup;
use crate::operation::Operation;
use crate::policy::{is_account_owner, is_of_account, share_account};
use crate::record::grant::GrantRecord;
use crate::record::key::Key;
use crate::record::token::{self, MAX_TOKENS};
use crate::store::Tables;
use manila_core::{EncryptionContext, ErrorKind, Result};

impl Call<'_> {
    /// Finds the key that a name denotes, records it for the line, and makes the checks of every operation on a key.
    pub(super) fn permitted(
        &mut self,
        operation: Operation,
        context: Option<&EncryptionContext>,
        tables: &impl Tables,
        name: &str,
    ) -> Result<(Key, Permission)> {
        let key = self.find(operation, tables, name)?;
        match operation {
            Operation::ReEncryptFrom => self.source_arn = Some(key.arn.clone()),
            _ => self.key_arn = Some(key.arn.clone()),
        }
        let alias = lookup::alias_in(name).filter(|_| !operation.needs_account());
        let has_valid_tokens = operation.is_grantable().then(|| self.read_tokens(tables)).transpose()?;
        let permission = self.permission(tables, &key, operation, context, alias.as_deref())?;
        if has_valid_tokens == Some(false) {
            return Err(token::invalid_token());
        }
        operation.check_state(&key.arn, key.state(self.now))?;
        if operation.checks_usage() {
            key.check_usage(operation)?;
        }
        // While the clock is in doubt nothing is rotated, and keys are used with their present material.
        if operation.uses_newest_material()
            && !self.is_doubted
            && deadlines::due_rotation(tables, &key.id, &key.material, self.now)?.is_some()
        {
            self.due.push(key.id.clone());
        }
        Ok((key, permission))
    }

    /// Returns the source of the permission for an operation on a key, which the caller may have named by an alias.
    pub(super) fn permission(
        &mut self,
        tables: &impl Tables,
        key: &Key,
        operation: Operation,
        context: Option<&EncryptionContext>,
        alias: Option<&str>,
    ) -> Result<Permission> {
        self.access.now = self.now;
        self.access.permission(tables, key, operation, context, alias)
    }

    /// Reads the grant tokens of the call, and returns whether all of them are valid.
    pub(super) fn read_tokens(&mut self, tables: &impl Tables) -> Result<bool> {
        let tokens = self.kms.grant_tokens().iter().chain(self.tokens);
        let location = self.kms.location();
        self.access.with_tokens.clear();
        let mut all = true;
        for (number, token) in tokens.enumerate() {
            if number == MAX_TOKENS {
                let message = format!("a call has at most {MAX_TOKENS} grant tokens");
                return Err(invalid("ValidationException", message));
            }
            match token::read(tables, &location, token) {
                Ok(named) => self.access.with_tokens.push(named.grant_id.to_owned()),
                Err(error) if error.kind() == ErrorKind::KeyRefused => all = false,
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Returns whether the caller is of an account that may retire a grant: the key's, or the retiring principal if
    /// that is an account.
    pub(super) fn is_of_retiring_account(&self, grant: &GrantRecord) -> bool {
        let caller = self.kms.principal();
        let retiring = grant.retiring.as_deref().filter(|retiring| is_account_owner(retiring));
        is_of_account(caller, self.kms.account()) || retiring.is_some_and(|retiring| share_account(retiring, caller))
    }

    /// Finds the key that a name denotes, without a check of permission.
    pub(super) fn find(&self, operation: Operation, tables: &impl Tables, name: &str) -> Result<Key> {
        if lookup::is_alias(name) && !operation.takes_alias() {
            let message = format!("{} takes a key by its id or ARN, not by an alias", operation.name());
            return Err(refused("NotFoundException", message));
        }
        self.named(operation, tables, name)
    }

    /// Finds the key that a name or alias denotes. Callers who may not learn of the key get the same error whether or
    /// not it exists.
    pub(super) fn named(&self, operation: Operation, tables: &impl Tables, name: &str) -> Result<Key> {
        self.access.check_account(operation)?;
        let found = lookup::find(tables, &self.kms.location(), name).and_then(|key| self.existing(key, name));
        found.map_err(|error| self.access.missing(operation, error))
    }

    pub(super) fn existing(&self, key: Key, name: &str) -> Result<Key> {
        if key.is_deleted(self.now) { Err(lookup::not_found(name)) } else { Ok(key) }
    }
}
