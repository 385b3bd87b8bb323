//! The error type of all crates: a kind to match on, a text for people, and the causes.

mod kms_error;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::text::Escaped;
pub use crate::text::quoted;
pub use kms_error::KmsError;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of every operation.
///
/// Match on [`kind`](Self::kind); show the [`Display`](fmt::Display) text to people. Neither the kind nor the text
/// depends on a secret. The text is safe to print on a terminal or in a log line: control characters, line breaks and
/// marks that change the direction of text are escaped in `Display` and `Debug`, wherever the text came from. A
/// [`source`](StdError::source) of another crate formats itself. Cloning is cheap and keeps the causes.
///
/// `Debug` is for people too, so that a `main` that returns a [`Result`] prints a sentence: the text, and then, a line
/// each, those causes that it does not tell already. `{:#?}` shows the fields.
///
/// ```
/// use manila_core::{EncryptionContext, ErrorKind};
///
/// let error = EncryptionContext::new([("aws-crypto-mine", "x")]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert!(error.to_string().contains("reserved"));
/// assert_eq!(format!("{error:?}"), error.to_string());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    detail: Cow<'static, str>,
    causes: Vec<Error>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of errors, for programs to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not a message of this format: an unknown version or suite, an invalid field, frames out of order,
    /// or Base64 text instead of bytes.
    Malformed,
    /// The message ends before it is complete.
    Truncated,
    /// More bytes follow the end of the message.
    TrailingBytes,
    /// A length or count exceeds a limit of this client or of the format.
    LimitExceeded,
    /// The commitment policy, or `unsigned_only`, does not allow the algorithm suite.
    PolicyViolation,
    /// The encryption context is not the one that the reader expects, or the message cannot be decrypted with the
    /// expected pairs that its header lacks.
    ContextMismatch,
    /// None of the message's encrypted data keys could be decrypted with the keys of this client.
    NoUsableDataKey,
    /// A KMS refused the key or the request: not found, disabled, access denied, invalid ciphertext.
    KeyRefused,
    /// A KMS could not be reached or asks to try again later.
    Unavailable,
    /// The data key is not the one that the message commits to.
    CommitmentMismatch,
    /// An authentication tag is wrong: the header or a frame was changed, or the key is a different one.
    AuthenticationFailed,
    /// The signature at the end of the message is wrong.
    SignatureInvalid,
    /// An argument or a setting cannot be used.
    InvalidInput,
    /// A plain call was made where keys are accessed over a network: use its `_async` version.
    NeedsAsync,
    /// Reading or writing a stream or a file failed.
    Io,
    /// The file of an embedded KMS cannot be used: it is damaged, of a newer version, or sealed under another root key.
    Storage,
    /// The root key of an embedded KMS was changed by another handle: give this one the new root key with
    /// `LocalKms::reopen_with`.
    RootKeyChanged,
    /// An embedded KMS was opened read-only, and the operation would change it.
    ReadOnly,
    /// The time of an embedded KMS's clock is not plausible, so nothing was written: correct the clock, or call
    /// `LocalKms::confirm_clock` if it is right.
    ClockUnconfirmed,
    /// An embedded KMS could not write its audit log, and therefore did not carry out the operation.
    AuditFailed,
    /// A keyring, materials manager or KMS broke its contract, or the operating system has no randomness.
    Internal,
}

impl Error {
    /// Returns an error, for implementations of keyrings, materials managers and KMSs.
    ///
    /// `detail` is shown to people: say what failed and what to do, and put no secret into it.
    pub fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::build(kind, detail.into(), Vec::new(), None)
    }

    /// Returns an error with the error that caused it as its [`source`](StdError::source).
    pub fn other(
        kind: ErrorKind,
        detail: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::build(kind, detail.into(), Vec::new(), Some(source.into()))
    }

    #[doc(hidden)]
    pub fn with_causes(kind: ErrorKind, detail: impl Into<Cow<'static, str>>, causes: Vec<Error>) -> Self {
        Self::build(kind, detail.into(), causes, None)
    }

    fn build(
        kind: ErrorKind,
        detail: Cow<'static, str>,
        causes: Vec<Error>,
        source: Option<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, detail, causes, source }))
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the error that a KMS answered with, under AWS's name: the first one among the sources and causes. `None`
    /// if no KMS answered, for instance because it could not be reached.
    ///
    /// ```
    /// use manila_core::{Error, ErrorKind, KmsError};
    ///
    /// let answer = KmsError::new("NotFoundException", "there is no such key");
    /// let error = Error::other(ErrorKind::KeyRefused, "the KMS refused", answer);
    /// assert_eq!(error.kms_error().unwrap().code(), "NotFoundException");
    /// ```
    #[must_use]
    pub fn kms_error(&self) -> Option<&KmsError> {
        let of_source = self.0.source.as_deref().and_then(|source| kms_error_beneath(source));
        of_source.or_else(|| self.0.causes.iter().find_map(Self::kms_error))
    }

    /// Returns a cause for each encrypted data key that was tried and could not be decrypted; empty for other errors.
    #[must_use]
    pub fn causes(&self) -> &[Error] {
        &self.0.causes
    }
}

fn kms_error_beneath<'a>(mut source: &'a (dyn StdError + 'static)) -> Option<&'a KmsError> {
    loop {
        if let Some(error) = source.downcast_ref::<Error>() {
            return error.kms_error();
        }
        match source.downcast_ref() {
            Some(answer) => return Some(answer),
            None => source = source.source()?,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped here and not where texts are made: they quote messages, services and streams.
        write!(f, "{}", Escaped(&self.0.detail))?;
        for (n, cause) in self.0.causes.iter().enumerate() {
            write!(f, "{} {cause}", if n == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// Returns the text of an error, without its list of causes, and the texts of its causes and sources that none before
/// them contains. Each is escaped.
fn chain(error: &Error) -> (String, Vec<String>) {
    let text = Escaped(&error.0.detail).to_string();
    let mut told = Vec::new();
    for cause in &error.0.causes {
        add_untold(&text, &mut told, cause);
    }
    if let Some(source) = &error.0.source {
        add_untold(&text, &mut told, source.as_ref());
    }
    (text, told)
}

fn add_untold(text: &str, told: &mut Vec<String>, error: &(dyn StdError + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        // Errors of other crates may hold text of a message or a service as it came.
        let cause = Escaped(&error.to_string()).to_string();
        if !text.contains(&cause) && !told.iter().any(|before| before.contains(&cause)) {
            told.push(cause);
        }
        next = error.source();
    }
}

/// Shows the text and the causes as `anyhow` does.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            let (text, causes) = chain(self);
            f.write_str(&text)?;
            return match causes.as_slice() {
                [] => Ok(()),
                [cause] => write!(f, "\n\nCaused by:\n    {cause}"),
                causes => {
                    f.write_str("\n\nCaused by:")?;
                    causes.iter().enumerate().try_for_each(|(n, cause)| write!(f, "\n    {n}: {cause}"))
                }
            };
        }
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("detail", &self.0.detail);
        if !self.0.causes.is_empty() {
            out.field("causes", &self.0.causes);
        }
        if let Some(source) = &self.0.source {
            out.field("source", &format_args!("{}", Escaped(&format!("{source:?}"))));
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => self.0.causes.first().map(|cause| cause as &(dyn StdError + 'static)),
        }
    }
}

impl From<io::Error> for Error {
    /// Returns the [`Error`] that was converted into this `io::Error`, or wraps an error of the stream itself.
    fn from(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => Self::other(ErrorKind::Io, format!("reading or writing failed: {error}"), error),
        }
    }
}

impl From<Error> for io::Error {
    /// Converts for `Read` and `Write`; `Error::from` converts back.
    ///
    /// The kind is never [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), which callers of
    /// [`read_exact`](io::Read::read_exact) take for a regular end: a truncated message is
    /// [`InvalidData`](io::ErrorKind::InvalidData), and so is one whose source ended with that error.
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::NeedsAsync => io::ErrorKind::InvalidInput,
            ErrorKind::Io => (error.0.source.as_ref())
                .and_then(|source| source.downcast_ref::<io::Error>())
                .map_or(io::ErrorKind::Other, io::Error::kind),
            _ => io::ErrorKind::InvalidData,
        };
        let kind = if kind == io::ErrorKind::UnexpectedEof { io::ErrorKind::InvalidData } else { kind };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_through_io() {
        let error = Error::new(ErrorKind::Truncated, "cut short");
        let through = io::Error::from(error);
        assert_eq!(through.kind(), io::ErrorKind::InvalidData);
        assert_eq!(Error::from(through).kind(), ErrorKind::Truncated);
    }

    #[test]
    fn no_error_looks_like_a_clean_end() {
        let of_the_source = || Error::from(io::Error::from(io::ErrorKind::UnexpectedEof));
        assert_eq!(of_the_source().kind(), ErrorKind::Io);
        for error in [Error::new(ErrorKind::Truncated, "cut short"), of_the_source()] {
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn an_io_error_keeps_its_kind_and_is_the_source() {
        let error = Error::from(io::Error::new(io::ErrorKind::BrokenPipe, "gone"));
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.source().is_some_and(|source| source.to_string() == "gone"));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn debug_tells_the_chain_and_nothing_twice() {
        let error = Error::new(ErrorKind::Truncated, "cut short");
        assert_eq!(format!("{error:?}"), "cut short");

        // The source that the text quotes is not told again, and one that it does not quote is.
        let quoted = Error::from(io::Error::other("gone"));
        assert_eq!(format!("{quoted:?}"), "reading or writing failed: gone");
        let unquoted = Error::other(ErrorKind::Storage, "the store cannot be read", quoted.clone());
        assert_eq!(
            format!("{unquoted:?}"),
            "the store cannot be read\n\nCaused by:\n    reading or writing failed: gone"
        );

        let causes = vec![error, unquoted];
        let several = Error::with_causes(ErrorKind::NoUsableDataKey, "no data key could be decrypted", causes);
        let lines = [
            "no data key could be decrypted",
            "",
            "Caused by:",
            "    0: cut short",
            "    1: the store cannot be read",
            "    2: reading or writing failed: gone",
        ];
        assert_eq!(format!("{several:?}"), lines.join("\n"));
        assert!(format!("{several:#?}").contains("kind: NoUsableDataKey"));
    }

    #[test]
    fn no_text_can_steer_a_terminal() {
        /// An error of another crate, which shows its text unchanged.
        struct Raw(&'static str);

        impl fmt::Debug for Raw {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }

        impl fmt::Display for Raw {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0)
            }
        }

        impl StdError for Raw {}

        // A text as a keyring, a service or a stream might write it.
        let said = "a\x1b[2J\u{9b}31m\u{202e}b\r\n\u{2066}c";
        let cause = Error::from(io::Error::other(Raw(said)));
        let error = Error::with_causes(ErrorKind::NoUsableDataKey, said, vec![cause]);
        let answer = KmsError::new(said, said).with_request_id(said).to_string();
        // The only line breaks are those between the causes.
        let debug = format!("{error:?}");
        let [first, "", "Caused by:", last] = *debug.lines().collect::<Vec<_>>() else { panic!("{debug:?}") };
        let of_io = io::Error::from(error.clone());
        let fields = format!("{error:#?}").replace('\n', "");
        let shown = [error.to_string(), of_io.to_string(), answer, first.to_owned(), last.to_owned(), fields];
        for text in shown {
            assert!(text.contains("a\\u{1b}[2J") && !text.contains(crate::text::steers), "{text:?}");
        }
    }
}
