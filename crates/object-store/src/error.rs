//! Errors of stores, as errors of `manila`.

use std::error::Error as StdError;
use std::io;

use manila::{Error, ErrorKind};
use object_store::path::Path;

/// Returns the error of a store that is the cause of this one, if there is one.
///
/// ```
/// # use std::sync::Arc;
/// # use manila::keyring::RawAesKeyring;
/// use manila::{Client, ErrorKind, ExpectedContext};
/// use manila_object_store::object_store::{self, memory::InMemory, path::Path};
/// use manila_object_store::{Objects, store_error};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// let objects = Objects::new(client, Arc::new(InMemory::new()));
/// let error = objects.open(&Path::from("nothing"), ExpectedContext::any()).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Io);
/// assert!(matches!(store_error(&error), Some(object_store::Error::NotFound { .. })));
/// # Ok::<(), manila::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn store_error(error: &Error) -> Option<&object_store::Error> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The source of an `io::Error` is that of the error within it, which would be passed over.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = within.map_or_else(|| error.source(), |within| Some(within));
    }
    None
}

/// Returns the error of a request that failed.
pub(crate) fn failed(what: &str, location: &Path, error: object_store::Error) -> Error {
    Error::other(ErrorKind::Io, format!("cannot {what} {:?}: {error}", location.as_ref()), error)
}

/// Returns the error for an object that is not the one that was opened.
pub(crate) fn changed(location: &Path, error: Option<object_store::Error>) -> Error {
    let detail = format!("the object {:?} was changed after it was opened: open it again", location.as_ref());
    match error {
        Some(error) => Error::other(ErrorKind::Io, detail, error),
        None => Error::new(ErrorKind::Io, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing() -> object_store::Error {
        object_store::Error::NotFound { path: "x".to_owned(), source: "gone".into() }
    }

    #[test]
    fn the_error_of_a_store_is_found_however_it_came() {
        let direct = failed("read", &Path::from("x"), missing());
        let through_io = Error::from(io::Error::from(direct.clone()));
        let of_a_stream = Error::from(io::Error::from(missing()));
        let below = Error::other(ErrorKind::Io, "cannot read", of_a_stream.clone());
        for error in [direct, through_io, of_a_stream, below] {
            let found = store_error(&error);
            assert!(matches!(found, Some(object_store::Error::NotFound { path, .. }) if path == "x"), "{error:?}");
        }
        for other in
            [Error::new(ErrorKind::Io, "x"), Error::from(io::Error::other("x")), changed(&Path::from("x"), None)]
        {
            assert!(store_error(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_name_cannot_steer_a_terminal() {
        let error = failed("read", &Path::from("a\u{1b}[2J"), missing());
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
}
