//! The subjects of calls: the owner, a key, an alias, or two keys at once.

use crate::access::Permission;
use crate::audit::Details;
use crate::call::Call;
use crate::error::invalid;
use crate::location::Location;
use crate::lookup;
use crate::operation::Operation;
use crate::policy::{check_principal, means};
use crate::record::alias::check_alias;
use crate::record::grants;
use crate::record::identity::{self, IdentityRecord};
use crate::record::key::Key;
use crate::record::token;
use crate::store::Tables;
use manila_core::{EncryptionContext, KmsRequest, Result};

/// The subject of a call, which determines who must permit it.
pub(crate) trait Subject {
    /// The keys that the work of the call gets.
    type Found;

    /// Returns the encryption context for the line.
    fn context(&self) -> Option<&EncryptionContext> {
        None
    }

    /// Returns the grant tokens of the request.
    fn tokens(&self) -> &[String] {
        &[]
    }

    /// Adds the names that the caller gave to the members of the line's `request`.
    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a>;

    /// Finds the keys that the names denote, records them for the line, and fails unless the caller may make the call.
    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<Self::Found>;
}

/// The subject of calls that are not about a single key. Only the owner of the account may make them.
pub(crate) struct Owner;

impl Subject for Owner {
    type Found = ();

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request
    }

    fn find(&self, call: &mut Call<'_>, _: &impl Tables) -> Result<()> {
        call.check_owner()
    }
}

/// The subject of calls about the account that its owner may make, and principals whose policies allow it.
pub(crate) struct OfAccount;

impl Subject for OfAccount {
    type Found = ();

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<()> {
        call.access.now = call.now;
        call.access.check_of_account(tables, call.operation, call.kms.region_name())
    }
}

/// A role that is assumed. The work gets its record.
pub(crate) struct Assuming<'a>(pub(crate) &'a str);

impl Subject for Assuming<'_> {
    type Found = IdentityRecord;

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request.text("roleArn", self.0)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<IdentityRecord> {
        check_principal(self.0)?;
        call.access.now = call.now;
        // Callers without permission must not learn whether a role exists.
        let role = identity::load(tables, self.0)?.unwrap_or_else(|| IdentityRecord::new(self.0, call.now));
        call.access.check_may_assume(tables, &role)?;
        Ok(role)
    }
}

/// One key by its name, with an encryption context if the operation has one.
pub(crate) struct OnKey<'a> {
    name: &'a str,
    context: Option<&'a EncryptionContext>,
    tokens: &'a [String],
}

impl<'a> OnKey<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        Self { name, context: None, tokens: &[] }
    }

    pub(crate) fn of(request: &KmsRequest<'a>) -> Self {
        Self { name: request.key_id, context: Some(request.encryption_context), tokens: request.grant_tokens }
    }

    pub(crate) fn with_tokens(self, tokens: &'a [String]) -> Self {
        Self { tokens, ..self }
    }
}

impl Subject for OnKey<'_> {
    type Found = Key;

    fn context(&self) -> Option<&EncryptionContext> {
        self.context
    }

    fn tokens(&self) -> &[String] {
        self.tokens
    }

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request.text("keyId", self.name)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<Key> {
        call.permitted(call.operation, self.context, tables, self.name).map(|(key, _)| key)
    }
}

/// A key on which a grant is created. As on AWS, its policy sees the pairs of the constraint as the encryption context
/// of the call. The work gets the source of the permission: a caller who is allowed only by a grant can pass on no more
/// than that grant allows.
pub(crate) struct PassingOn<'a> {
    pub(crate) key: &'a str,
    pub(crate) constraint: Option<&'a EncryptionContext>,
}

impl Subject for PassingOn<'_> {
    type Found = (Key, Permission);

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request.text("keyId", self.key)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<(Key, Permission)> {
        call.permitted(call.operation, self.constraint, tables, self.key)
    }
}

/// A grant that is retired: by its retiring principal, by its grantee if the grant allows it, or by the owner. As on
/// AWS, a policy cannot allow this to anyone else, but can deny it.
pub(crate) struct Retiring<'a> {
    pub(crate) key: &'a str,
    pub(crate) grant: &'a str,
}

impl Subject for Retiring<'_> {
    type Found = Key;

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request.text("keyId", self.key).text("grantId", self.grant)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<Key> {
        let key = call.find(call.operation, tables, self.key)?;
        call.key_arn = Some(key.arn.clone());
        let caller = call.kms.principal();
        call.access.now = call.now;
        let may = match grants::load(tables, &key, self.grant) {
            Ok(grant) => {
                call.kms.is_owner()
                    || grant.retiring.as_deref().is_some_and(|retiring| means(retiring, caller))
                    || grant.allows(caller, call.operation, None, call.access.grant_user().source_arn)?
                    || call.is_of_retiring_account(&grant) && call.access.may_retire_for_account(tables, &key)?
            }
            Err(missing) if call.kms.is_owner() => return Err(missing),
            // Callers without permission must not learn whether a grant exists.
            Err(_) => false,
        };
        if !may {
            return Err(call.access.nothing_allows(call.operation));
        }
        call.access.check_not_denied(tables, &key, call.operation)?;
        Ok(key)
    }
}

/// A grant that is [retired](Retiring) by a token. The work gets the key and the id of the grant.
pub(crate) struct RetiringByToken<'a>(pub(crate) &'a str);

impl Subject for RetiringByToken<'_> {
    type Found = (Key, String);

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<(Key, String)> {
        let named = token::read(tables, &call.kms.location(), self.0)?;
        let key = Retiring { key: named.key_id, grant: named.grant_id }.find(call, tables)?;
        Ok((key, named.grant_id.to_owned()))
    }
}

/// An existing alias and its key.
pub(crate) struct OnAlias<'a>(pub(crate) &'a str);

impl Subject for OnAlias<'_> {
    type Found = Key;

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request.text("aliasName", self.0)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<Key> {
        check_alias(self.0)?;
        call.permitted(call.operation, None, tables, self.0).map(|(key, _)| key)
    }
}

/// An alias that moves from its key, in any state, to another. The work gets both keys, the old one first.
pub(crate) struct Retargeting<'a> {
    pub(crate) alias: &'a str,
    pub(crate) target: &'a str,
}

impl Subject for Retargeting<'_> {
    type Found = (Key, Key);

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request.text("aliasName", self.alias).text("targetKeyId", self.target)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<(Key, Key)> {
        check_alias(self.alias)?;
        let old = call.named(call.operation, tables, self.alias)?;
        call.source_arn = Some(old.arn.clone());
        call.permission(tables, &old, call.operation, None, None)?;
        let (new, _) = call.permitted(call.operation, None, tables, self.target)?;
        Ok((old, new))
    }
}

/// The two keys of `ReEncrypt`, each with its own context. The work gets both, first the one that decrypts.
pub(crate) struct ReEncrypting<'a> {
    pub(crate) from: KmsRequest<'a>,
    pub(crate) to: KmsRequest<'a>,
}

impl Subject for ReEncrypting<'_> {
    type Found = (Key, Key);

    fn context(&self) -> Option<&EncryptionContext> {
        Some(self.to.encryption_context)
    }

    fn tokens(&self) -> &[String] {
        // AWS has one list for both halves.
        if self.from.grant_tokens.is_empty() { self.to.grant_tokens } else { self.from.grant_tokens }
    }

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request
            .text("sourceKeyId", self.from.key_id)
            .context("sourceEncryptionContext", self.from.encryption_context)
            .text("destinationKeyId", self.to.key_id)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<(Key, Key)> {
        let (from, to) = (&self.from, &self.to);
        let location = call.kms.location();
        let id_of = |name| lookup::key_id(tables, &location, name);
        call.access.on_same_key = Some(id_of(from.key_id)? == id_of(to.key_id)?);
        let (old, _) = call.permitted(Operation::ReEncryptFrom, Some(from.encryption_context), tables, from.key_id)?;
        let (new, _) = call.permitted(Operation::ReEncryptTo, Some(to.encryption_context), tables, to.key_id)?;
        Ok((old, new))
    }
}

/// A multi-Region primary key and its replica in a region, which is to become the primary key. The work gets the
/// primary key.
pub(crate) struct PrimaryAndReplica<'a> {
    pub(crate) key: &'a str,
    pub(crate) region: &'a str,
}

impl Subject for PrimaryAndReplica<'_> {
    type Found = Key;

    fn describe<'a>(&'a self, request: Details<'a>) -> Details<'a> {
        request.text("keyId", self.key).text("primaryRegion", self.region)
    }

    fn find(&self, call: &mut Call<'_>, tables: &impl Tables) -> Result<Key> {
        let (primary, _) = call.permitted(call.operation, None, tables, self.key)?;
        check_primary(&primary)?;
        let location = Location { region: self.region, account: call.kms.account() };
        let there = Key::load(tables, &location, &primary.id)?.ok_or_else(|| lookup::not_found(self.key))?;
        let replica = call.existing(there, self.key)?;
        call.permission(tables, &replica, call.operation, None, None)?;
        call.operation.check_state(&replica.arn, replica.state(call.now))?;
        Ok(primary)
    }
}

/// Fails unless a key is the primary key of its regions.
pub(crate) fn check_primary(key: &Key) -> Result<()> {
    if key.is_multi_region() && key.is_primary() {
        return Ok(());
    }
    let message = "the key is not a multi-Region primary key: make one with CreateKey::multi_region";
    Err(invalid("UnsupportedOperationException", message))
}
