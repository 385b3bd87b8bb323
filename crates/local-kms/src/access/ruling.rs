//! Rulings: what the opinions of all policies that apply to a request come to.

use crate::policy::Opinion;

/// The account of a caller, as seen from that of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The same account.
    Own,
    /// Another account.
    Other,
    /// An AWS service, which has no account and no policies of its own.
    Service,
}

/// A caller, as far as rulings differ by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) side: Side,
    /// True of an account's owner, who may do in their account what it is given.
    pub(super) is_root: bool,
}

/// A statement, by the index of its document and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) document: usize,
    pub(super) statement: usize,
}

/// The opinions about a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opinions {
    /// The first denial of any policy.
    denied: Option<At>,
    /// A statement of the key's policy that names the caller, or everyone.
    direct: Option<At>,
    /// A statement of the key's policy that names the caller's account.
    delegated: Option<At>,
    /// A statement of a policy of the caller.
    identity: Option<At>,
}

impl Opinions {
    pub(super) fn add_key(&mut self, document: usize, opinion: Opinion) {
        let at = |statement| At { document, statement };
        self.denied = self.denied.or(opinion.denied.map(at));
        self.direct = opinion.allowed.map(at);
        self.delegated = opinion.delegated.map(at);
    }

    pub(super) fn add_identity(&mut self, document: usize, opinion: Opinion) {
        let at = |statement| At { document, statement };
        self.denied = self.denied.or(opinion.denied.map(at));
        self.identity = self.identity.or(opinion.allowed.map(at));
    }
}

/// The ruling on a request for a key, before grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    Denied(At),
    /// Allowed by the key's policy and, if the second is there, a policy of the caller.
    Allowed(At, Option<At>),
    /// The key's policy does not allow it.
    NotByKey,
    /// The key's policy leaves it to the caller's account, whose policies do not allow it.
    NotByIdentity(At),
}

impl Opinions {
    /// Rules on a request for a key.
    ///
    /// Source: AWS KMS Developer Guide, "Troubleshooting AWS KMS permissions", "Default key policy" and "Allowing users
    /// in other accounts to use a KMS key".
    pub(super) fn on_key(&self, standing: Standing) -> Ruling {
        if let Some(at) = self.denied {
            return Ruling::Denied(at);
        }
        // In the key's account, being named is enough. From another one, the caller's account must agree.
        let is_enough = match standing.side {
            Side::Own | Side::Service => self.direct,
            Side::Other => None,
        };
        if let Some(at) = is_enough {
            return Ruling::Allowed(at, None);
        }
        match self.direct.or(self.delegated) {
            Some(at) if standing.is_root => Ruling::Allowed(at, None),
            Some(at) => match self.identity {
                Some(identity) => Ruling::Allowed(at, Some(identity)),
                None => Ruling::NotByIdentity(at),
            },
            None => Ruling::NotByKey,
        }
    }

    /// Rules on a request that is for the policies of the caller alone, who is of the same account: the statement that
    /// allows or denies it.
    pub(super) fn on_account(&self) -> Result<Option<At>, At> {
        self.denied.map_or(Ok(self.identity), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order in which policies count, as a table: each of the four opinions, and the ruling for each caller.
    #[test]
    #[rustfmt::skip]
    fn policies_count_in_the_order_of_aws() {
        use Ruling::{Allowed, Denied, NotByIdentity, NotByKey};
        let at = |document, statement| At { document, statement };
        let (key, account, own) = (at(0, 1), at(0, 2), at(1, 3));
        let own_user = Standing { side: Side::Own, is_root: false };
        let other_user = Standing { side: Side::Other, is_root: false };
        let other_root = Standing { side: Side::Other, is_root: true };
        let service = Standing { side: Side::Service, is_root: false };
        let rows = [
            // The key's policy names the caller, names the account; a policy of the caller: own user, other account's
            // user, other account's root, service.
            ((F, F, F), [NotByKey, NotByKey, NotByKey, NotByKey]),
            ((F, F, T), [NotByKey, NotByKey, NotByKey, NotByKey]),
            ((F, T, F), [NotByIdentity(account), NotByIdentity(account), Allowed(account, None), NotByIdentity(account)]),
            ((F, T, T), [Allowed(account, Some(own)), Allowed(account, Some(own)), Allowed(account, None),
                         Allowed(account, Some(own))]),
            ((T, F, F), [Allowed(key, None), NotByIdentity(key), Allowed(key, None), Allowed(key, None)]),
            ((T, F, T), [Allowed(key, None), Allowed(key, Some(own)), Allowed(key, None), Allowed(key, None)]),
            ((T, T, F), [Allowed(key, None), NotByIdentity(key), Allowed(key, None), Allowed(key, None)]),
            ((T, T, T), [Allowed(key, None), Allowed(key, Some(own)), Allowed(key, None), Allowed(key, None)]),
        ];
        for ((direct, delegated, identity), expected) in rows {
            let of = |denies_key: bool, denies_own: bool| {
                let mut opinions = Opinions::default();
                opinions.add_key(0, Opinion {
                    denied: denies_key.then_some(8),
                    allowed: direct.then_some(1),
                    delegated: delegated.then_some(2),
                });
                opinions.add_identity(1, Opinion {
                    denied: denies_own.then_some(9),
                    allowed: identity.then_some(3),
                    delegated: None,
                });
                opinions
            };
            for (standing, expected) in [own_user, other_user, other_root, service].into_iter().zip(expected) {
                let what = format!("{direct} {delegated} {identity} {standing:?}");
                assert_eq!(of(F, F).on_key(standing), expected, "{what}");
                assert_eq!(of(T, F).on_key(standing), Denied(at(0, 8)), "{what}");
                assert_eq!(of(F, T).on_key(standing), Denied(at(1, 9)), "{what}");
            }
            assert_eq!(of(F, F).on_account(), Ok(identity.then_some(own)));
            assert_eq!(of(F, T).on_account(), Err(at(1, 9)));
        }
    }

    const T: bool = true;
    const F: bool = false;
}
