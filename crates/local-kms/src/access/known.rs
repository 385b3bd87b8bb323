//! The stored properties and policies of a caller, and the end of a session.

use crate::access::question::Document;
use crate::caller::Caller;
use crate::error::refused;
use crate::policy::{PolicyKind, Who, is_service, role_of};
use crate::record::identity::{self, IdentityRecord};
use crate::store::Tables;
use manila_core::Result;
use manila_core::internal::quoted;

/// The stored properties and policies of a caller.
#[derive(Default)]
pub(super) struct Known {
    pub(super) who: Who,
    /// The policies of the caller, or of a session's role.
    pub(super) documents: Vec<Document<'static>>,
}

impl Known {
    /// Loads what there is about a caller. Fails if the caller is a session that has ended.
    pub(super) fn load(tables: &impl Tables, caller: &Caller<'_>, now: u64) -> Result<Self> {
        let principal = caller.principal;
        if caller.is_owner || is_service(principal) {
            return Ok(Self::default());
        }
        let of = |record: Option<IdentityRecord>| record.map(Self::of).unwrap_or_default();
        let Some(role) = role_of(principal) else { return Ok(of(identity::load(tables, principal)?)) };
        let (record, session) = (identity::load(tables, &role)?, identity::session(tables, principal)?);
        let is_role = record.as_ref().is_some_and(|record| record.trust.is_some());
        if !is_role && session.is_none() {
            // The role is not in the store, which knows nothing of its sessions.
            return Ok(of(record));
        }
        let (Some(record), Some(session)) = (record, session.filter(|session| session.expiry > now)) else {
            let message =
                format!("the session {} does not exist or has ended: assume the role again", quoted(principal));
            return Err(refused("ExpiredTokenException", message));
        };
        let role_arn = Some(record.arn.clone());
        let mut known = Self::of(record);
        known.who.role_arn = role_arn;
        known.who.issued = Some(session.issued);
        known.who.tags.extend(session.tags);
        Ok(known)
    }

    fn of(record: IdentityRecord) -> Self {
        let IdentityRecord { arn, tags, policies, .. } = record;
        let document = |(name, json): (String, String)| Document {
            name: format!("{arn} {name}").into(),
            json: json.into(),
            kind: PolicyKind::Identity,
        };
        let documents = policies.into_iter().map(document).collect();
        Self { who: Who { tags, ..Who::default() }, documents }
    }
}
