//! Grant tokens: the name of a grant and a MAC under a key that only its record has.

use crate::error::refused;
use crate::location::Location;
use crate::record::grant::GrantRecord;
use crate::record::grants::load_in;
use crate::store::Tables;
use manila_core::Result;
use manila_core::internal::crypto::{self, MacHash};

const NONCE_LEN: usize = 16;
/// The maximum length of a token, as on AWS.
const MAX_LEN: usize = 8192;
/// The maximum number of tokens of a call, as on AWS.
pub(crate) const MAX_TOKENS: usize = 10;

/// The name of a grant in a token.
pub(crate) struct Named<'a> {
    pub(crate) key_id: &'a str,
    pub(crate) grant_id: &'a str,
}

/// Returns a new token of a grant.
pub(crate) fn new(location: &Location<'_>, key_id: &str, grant_id: &str, grant: &GrantRecord) -> Result<String> {
    let nonce = crypto::hex(&crypto::random_array::<NONCE_LEN>()?);
    let name = format!("{}/{key_id}/{grant_id}/{nonce}", location.region);
    let mac = crypto::hex(&crypto::mac(MacHash::Sha256, grant.token_key(), &[name.as_bytes()])?);
    Ok(format!("{name}/{mac}"))
}

/// Returns the grant that a token of this region names, if the token is valid.
///
/// # Errors
/// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) (`InvalidGrantTokenException`) if it is not, as is the case
/// once the grant is gone.
pub(crate) fn read<'a>(tables: &impl Tables, location: &Location<'_>, token: &'a str) -> Result<Named<'a>> {
    let parts: Vec<_> = if token.len() <= MAX_LEN { token.split('/').collect() } else { Vec::new() };
    let [region, key_id, grant_id, _, mac] = parts.as_slice() else { return Err(invalid_token()) };
    if *region != location.region {
        return Err(invalid_token());
    }
    let grant = load_in(tables, location, key_id, grant_id)?.ok_or_else(invalid_token)?;
    let name = token.strip_suffix(mac).and_then(|name| name.strip_suffix('/')).unwrap_or_default();
    let expected = crypto::hex(&crypto::mac(MacHash::Sha256, grant.token_key(), &[name.as_bytes()])?);
    if grant.token_key().is_empty() || !crypto::equal(expected.as_bytes(), mac.as_bytes()) {
        return Err(invalid_token());
    }
    Ok(Named { key_id, grant_id })
}

pub(crate) fn invalid_token() -> manila_core::Error {
    refused("InvalidGrantTokenException", "the grant token is not valid, or its grant was retired or revoked")
}
