//! Keys in AWS KMS, if the program was built with the feature `aws-kms`.

#[cfg(feature = "aws-kms")]
mod waiting;

use manila::keyring::Keyring;

use crate::failure::{Failure, Result};

/// The use of a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Encrypt,
    Decrypt,
}

/// Returns a keyring of each key, which calls AWS KMS for that key alone.
#[cfg(feature = "aws-kms")]
pub fn keyrings(arns: &[String], usage: Use) -> Result<Vec<Box<dyn Keyring>>> {
    use manila::keyring::KmsKeyring;
    use manila::kms::KeyArn;

    let named = |arn: &String| match KeyArn::parse_any(arn) {
        Ok((parts, kind)) => Ok((arn.clone(), parts.region.to_owned(), kind == "alias")),
        Err(error) => Err(Failure::Usage(format!("{error}: give the ARN of a key or alias in AWS KMS"))),
    };
    let named = arns.iter().map(named).collect::<Result<Vec<_>>>()?;
    let Some((_, region, _)) = named.first() else { return Ok(Vec::new()) };
    let aws = waiting::Aws::connect(region)?;
    let keyring = |(arn, region, is_alias): (String, String, bool)| -> Result<Box<dyn Keyring>> {
        let kms = aws.kms(region);
        match (is_alias, usage) {
            (false, _) => Ok(Box::new(KmsKeyring::mrk_aware(kms, arn)?)),
            (true, Use::Encrypt) => Ok(Box::new(KmsKeyring::encrypt_only(kms, arn)?)),
            (true, Use::Decrypt) => {
                let arn = kms.key_of(&arn)?;
                Ok(Box::new(KmsKeyring::mrk_aware(kms, arn)?))
            }
        }
    };
    named.into_iter().map(keyring).collect()
}

/// Fails if there is a key: this program cannot call AWS KMS.
#[cfg(not(feature = "aws-kms"))]
pub fn keyrings(arns: &[String], _: Use) -> Result<Vec<Box<dyn Keyring>>> {
    match arns {
        [] => Ok(Vec::new()),
        _ => Err(Failure::Usage(
            "this program was built without AWS KMS: install it with cargo install manila-cli --features aws-kms"
                .to_owned(),
        )),
    }
}
