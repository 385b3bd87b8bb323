//! The open key store of a command, and the way its answer is printed.

use manila::local_kms::{Alias, LocalKms};
use serde::Serialize;

use crate::arguments::Common;
use crate::failure::{Failure, Result};
use crate::interrupt::{Stage, stage};
use crate::place::Place;
use crate::report;

/// The key store that a command works on.
pub struct Session {
    pub kms: LocalKms,
    pub place: Place,
    json: bool,
}

impl Session {
    /// Opens the key store, which must be there.
    pub fn open(common: &Common) -> Result<Self> {
        let place = Place::of(&common.key_store)?;
        Ok(Self::over(place.open()?, place, common.json))
    }

    /// Opens the key store, and makes one if there is none.
    pub fn open_or_make(common: &Common) -> Result<Self> {
        let place = Place::of(&common.key_store)?;
        Ok(Self::over(place.open_or_make()?, place, common.json))
    }

    pub fn over(kms: LocalKms, place: Place, json: bool) -> Self {
        *stage() = Stage::Changing;
        Self { kms, place, json }
    }

    /// The same in another region, if one is given.
    pub fn in_region(self, region: Option<&str>) -> Result<Self> {
        match region {
            Some(region) => Ok(Self { kms: self.kms.region(region)?, ..self }),
            None => Ok(self),
        }
    }

    /// Prints the answer.
    pub fn print(&self, answer: &impl Serialize) -> Result<()> {
        report::print(answer, self.json)
    }

    /// Returns the id or ARN of the key of a name, which may be an alias: what changes a key takes none on AWS.
    pub fn key(&self, name: &str) -> Result<String> {
        let Some(alias) = alias_of(name) else { return Ok(name.to_owned()) };
        let none = || {
            let text =
                format!("there is no alias {alias:?} in this key store: manila keys alias list shows those there are");
            Failure::Work(text)
        };
        let found = self.kms.list_aliases()?.into_iter().find(|found| found.name() == alias).ok_or_else(none)?;
        // An ARN of another account or region is not of this alias.
        if name == alias || name == alias_arn(&found) { Ok(found.key_arn().to_owned()) } else { Err(none()) }
    }
}

/// Returns the alias that a name is, or is the ARN of.
fn alias_of(name: &str) -> Option<&str> {
    match name.strip_prefix("arn:") {
        Some(arn) => arn.find(":alias/").and_then(|at| arn.get(at.saturating_add(1)..)),
        None => name.starts_with("alias/").then_some(name),
    }
}

/// Returns the ARN of an alias, which is that of its key but for the last part.
fn alias_arn(alias: &Alias) -> String {
    let of_region = alias.key_arn().rsplit_once(':').map_or("", |(of_region, _)| of_region);
    format!("{of_region}:{}", alias.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_told_from_a_key() {
        assert_eq!(alias_of("alias/a"), Some("alias/a"));
        assert_eq!(alias_of("arn:aws:kms:local:000000000000:alias/a/b"), Some("alias/a/b"));
        for key in ["1234", "arn:aws:kms:local:000000000000:key/1234", "", "arn:", "aliases/a"] {
            assert_eq!(alias_of(key), None, "{key}");
        }
    }
}
