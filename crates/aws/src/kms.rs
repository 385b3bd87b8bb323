//! [`AwsKms`]: AWS KMS through the client of the AWS SDK.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Builder;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_types::sdk_ua_metadata::FrameworkMetadata;
use manila_core::internal::text::escaped_up_to;
use manila_core::{
    EncryptionContext, Error, ErrorKind, GeneratedDataKey, KeyFuture, Kms, KmsCiphertext, KmsError, KmsPlaintext,
    KmsRequest, Result, SecretBytes,
};
use zeroize::Zeroizing;

/// Error codes that ask to try again: throttling under each of its names, whether or not the SDK has a type for it, and
/// failures inside the service.
const UNAVAILABLE: [&str; 21] = [
    "BandwidthLimitExceeded",
    "DependencyTimeoutException",
    "EC2ThrottledException",
    "InternalFailure",
    "InternalServerError",
    "KMSInternalException",
    "KeyUnavailableException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// Error codes about the caller's permissions, the key's state or the ciphertext.
const REFUSED: [&str; 8] = [
    "AccessDenied",
    "AccessDeniedException",
    "DisabledException",
    "IncorrectKeyException",
    "InvalidCiphertextException",
    "KMSInvalidStateException",
    "NotFoundException",
    "UnrecognizedClientException",
];

/// AWS KMS, over the client of the AWS SDK. Cheap to clone: clones share the client.
///
/// Retries, timeouts, credentials and endpoint are those of the client. Its futures must be awaited inside a tokio
/// runtime.
///
/// ```no_run
/// # async fn connect() {
/// use manila_aws::AwsKms;
///
/// let config = aws_config::load_from_env().await;
/// let kms = AwsKms::new(aws_sdk_kms::Client::new(&config));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AwsKms {
    client: Client,
}

impl AwsKms {
    /// Calls AWS KMS with `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Returns the client of the SDK, for the operations that [`Kms`] does not have.
    #[must_use]
    pub fn as_client(&self) -> &Client {
        &self.client
    }
}

impl From<Client> for AwsKms {
    fn from(client: Client) -> Self {
        Self::new(client)
    }
}

impl Kms for AwsKms {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        Box::pin(async move {
            check_runtime()?;
            let length = i32::try_from(length).map_err(|_| {
                Error::new(ErrorKind::InvalidInput, "AWS KMS does not generate data keys of that length")
            })?;
            let call = (self.client)
                .generate_data_key()
                .key_id(request.key_id)
                .number_of_bytes(length)
                .set_encryption_context(pairs(request.encryption_context))
                .set_grant_tokens(grant_tokens(request));
            let answer = call.customize().config_override(user_agent()).send().await.map_err(failed)?;
            let plaintext = secret(answer.plaintext)?;
            Ok(GeneratedDataKey { plaintext, ciphertext: blob(answer.ciphertext_blob)?, key_arn: text(answer.key_id)? })
        })
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        Box::pin(async move {
            check_runtime()?;
            let call = (self.client)
                .encrypt()
                .key_id(request.key_id)
                .plaintext(Blob::new(plaintext))
                .set_encryption_context(pairs(request.encryption_context))
                .set_grant_tokens(grant_tokens(request));
            let answer = call.customize().config_override(user_agent()).send().await.map_err(failed)?;
            Ok(KmsCiphertext { ciphertext: blob(answer.ciphertext_blob)?, key_arn: text(answer.key_id)? })
        })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        Box::pin(async move {
            check_runtime()?;
            let call = (self.client)
                .decrypt()
                .key_id(request.key_id)
                .ciphertext_blob(Blob::new(ciphertext))
                .set_encryption_context(pairs(request.encryption_context))
                .set_grant_tokens(grant_tokens(request));
            let answer = call.customize().config_override(user_agent()).send().await.map_err(failed)?;
            Ok(KmsPlaintext { plaintext: secret(answer.plaintext)?, key_arn: text(answer.key_id)? })
        })
    }

    fn region(&self) -> Option<&str> {
        self.client.config().region().map(AsRef::as_ref)
    }
}

/// Fails outside of a tokio runtime: the SDK's timers and connections need one, and panic without it.
fn check_runtime() -> Result<()> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return Ok(());
    }
    let detail = "there is no tokio runtime here, which calls to AWS KMS need: await the call inside one, for instance under \
                  #[tokio::main]";
    Err(Error::new(ErrorKind::InvalidInput, detail))
}

/// Adds this crate to the user agent of the SDK.
fn user_agent() -> Builder {
    match FrameworkMetadata::new("manila", Some(env!("CARGO_PKG_VERSION"))) {
        Ok(ours) => Builder::new().framework_metadata(ours),
        Err(_) => Builder::new(),
    }
}

fn pairs(context: &EncryptionContext) -> Option<std::collections::HashMap<String, String>> {
    let pairs = context.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    (!context.is_empty()).then(|| pairs.collect())
}

fn grant_tokens(request: KmsRequest<'_>) -> Option<Vec<String>> {
    (!request.grant_tokens.is_empty()).then(|| request.grant_tokens.to_vec())
}

fn secret(plaintext: Option<Blob>) -> Result<SecretBytes> {
    let bytes = Zeroizing::new(blob(plaintext)?);
    Ok(SecretBytes::new(&bytes))
}

fn blob(blob: Option<Blob>) -> Result<Vec<u8>> {
    blob.map(Blob::into_inner).filter(|bytes| !bytes.is_empty()).ok_or_else(incomplete)
}

fn text(text: Option<String>) -> Result<String> {
    text.ok_or_else(incomplete)
}

fn incomplete() -> Error {
    Error::new(ErrorKind::Internal, "the answer of AWS KMS is incomplete")
}

/// Converts an error of the SDK, with the answer of the service as its source. The SDK's own error is not kept: it
/// holds the bytes of the answer, and shows them.
#[expect(clippy::needless_pass_by_value, reason = "used with `map_err`")]
fn failed<E>(error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let code = error.code().map(str::to_owned);
    let kind = kind(&error, code.as_deref());
    let message = error.message().map_or_else(|| texts(&error), str::to_owned);
    let code = code.map_or_else(|| name(&error).to_owned(), |code| printable(&code));
    let answer = KmsError::new(code, printable(&message));
    let answer = match error.request_id() {
        Some(id) => answer.with_request_id(printable(id)),
        None => answer,
    };
    Error::other(kind, format!("AWS KMS: {answer}"), answer)
}

fn kind<E: StdError + 'static>(error: &SdkError<E, HttpResponse>, code: Option<&str>) -> ErrorKind {
    match (error, code) {
        (_, Some(code)) if UNAVAILABLE.contains(&code) => ErrorKind::Unavailable,
        (_, Some(code)) if REFUSED.contains(&code) => ErrorKind::KeyRefused,
        (SdkError::ServiceError(context), _) if context.raw().status().is_server_error() => ErrorKind::Unavailable,
        (SdkError::ServiceError(context), None) if context.raw().status().is_success() => ErrorKind::Internal,
        (SdkError::ServiceError(_) | SdkError::ConstructionFailure(_), _) => ErrorKind::InvalidInput,
        (SdkError::DispatchFailure(failure), _) if failure.is_user() || lacks_credentials(error) => {
            ErrorKind::InvalidInput
        }
        (SdkError::TimeoutError(_) | SdkError::DispatchFailure(_), _) => ErrorKind::Unavailable,
        // The connection ended before the answer did; a complete answer that cannot be read is another matter.
        (SdkError::ResponseError(context), _) if context.raw().body().bytes().is_none() => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// Returns a name for an error to which the service gave none.
fn name<E: StdError + 'static>(error: &SdkError<E, HttpResponse>) -> &'static str {
    match error {
        SdkError::ConstructionFailure(_) => "ConstructionFailure",
        SdkError::TimeoutError(_) => "Timeout",
        SdkError::DispatchFailure(_) if lacks_credentials(error) => "NoCredentials",
        SdkError::DispatchFailure(_) => "ConnectionFailure",
        SdkError::ResponseError(_) => "UnreadableAnswer",
        _ => "ServiceError",
    }
}

/// Returns whether the program has no credentials for AWS, which trying again does not change.
fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref()).any(|cause| {
        matches!(cause, CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_))
    })
}

/// Iterates over an error and its sources.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

fn texts(error: &(dyn StdError + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Escapes and shortens text that came over the network.
fn printable(text: &str) -> String {
    const LONGEST: usize = 1000;
    escaped_up_to(text, LONGEST)
}
