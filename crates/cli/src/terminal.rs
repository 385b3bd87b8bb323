//! Questions to people, on their terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::interrupt::{Stage, stage};

/// Asks before something that cannot be undone, unless it was confirmed by `--yes`.
pub fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("there is no terminal to ask on: confirm it with --yes".to_owned()));
    }
    let mut errors = io::stderr();
    write!(errors, "{question} [y/N] ")?;
    errors.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Work("not confirmed: nothing was done".to_owned())),
    }
}

/// Asks for a passphrase, without showing it.
pub fn ask_passphrase(prompt: &str) -> Result<Zeroizing<String>> {
    if !io::stderr().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask for the passphrase on: use a root key file".to_owned(),
        ));
    }
    let mut errors = io::stderr();
    write!(errors, "{prompt}: ")?;
    errors.flush()?;
    *stage() = Stage::asking();
    let answer = console::Term::stderr().read_secure_line();
    *stage() = Stage::Nothing;
    let answer = Zeroizing::new(answer.map_err(|error| Failure::Work(format!("cannot read the passphrase: {error}")))?);
    if answer.is_empty() {
        return Err(Failure::Work("the passphrase is empty: give one".to_owned()));
    }
    Ok(answer)
}

/// Asks for a new passphrase, twice.
pub fn ask_new_passphrase() -> Result<Zeroizing<String>> {
    let passphrase = ask_passphrase("New passphrase of the key store")?;
    if *ask_passphrase("The same again")? == *passphrase {
        return Ok(passphrase);
    }
    Err(Failure::Work("the two passphrases differ: try again".to_owned()))
}
