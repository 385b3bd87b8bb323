//! The caller of an operation.

use crate::request_context::RequestContext;

/// The principal that calls, and the account whose keys it asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    /// ARN of the principal, or the name of a service.
    pub(super) principal: &'a str,
    /// Account of the keys.
    pub(super) account: &'a str,
    /// Region of the call.
    pub(super) region: &'a str,
    /// True if the principal is the root principal of that account.
    pub(super) is_owner: bool,
    /// The circumstances of the call.
    pub(super) context: &'a RequestContext,
}
