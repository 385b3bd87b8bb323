//! The files that a command reads, and the file that it writes for each of them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::arguments::is_stdio;
use crate::failure::{Failure, Result};

/// The reading and writing of a command.
pub enum Plan {
    /// One file or stdin to one file or stdout, at least one of them a pipe.
    Stream(Step),
    /// Files to files, each written once.
    Files(Vec<Step>),
}

/// A file to read, and the one to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub input: PathBuf,
    pub target: PathBuf,
}

/// The place of the outputs, as it was asked for.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// Beside each input, or stdout for stdin.
    Beside,
    /// In a folder.
    In(&'a Path),
    /// This file, or stdout.
    At(&'a Path),
}

impl Plan {
    /// Plans what to write for each input, whose name `rename` changes if it can. Fails if two inputs would write one
    /// output, or one of them another.
    pub fn new(inputs: &[PathBuf], place: Place<'_>, rename: impl Fn(&Path) -> Option<PathBuf>) -> Result<Self> {
        match (inputs, place) {
            ([input], Place::At(output)) => Ok(Self::of_one(input, output)),
            ([input], Place::Beside) if is_stdio(input) => Ok(Self::of_one(input, input)),
            (_, Place::At(_)) => {
                Err(Failure::Usage("-o names the output of a single PATH: give --to DIR for several".to_owned()))
            }
            (inputs, _) if inputs.iter().any(|input| is_stdio(input)) => {
                Err(Failure::Usage("- stands for stdin alone, and has no name: give -o with it".to_owned()))
            }
            (inputs, place) => {
                let step = |input: &PathBuf| {
                    let nameless = || Failure::Usage(format!("{input:?} does not end in .manila: give -o OUTPUT"));
                    let renamed = rename(input).ok_or_else(nameless)?;
                    let target = match place {
                        Place::In(folder) => folder.join(renamed.file_name().ok_or_else(nameless)?),
                        _ => renamed,
                    };
                    Ok(Step { input: input.clone(), target })
                };
                let steps = inputs.iter().map(step).collect::<Result<Vec<_>>>()?;
                check(&steps)?;
                Ok(Self::Files(steps))
            }
        }
    }

    fn of_one(input: &Path, output: &Path) -> Self {
        let step = Step { input: input.to_owned(), target: output.to_owned() };
        if is_stdio(input) || is_stdio(output) { Self::Stream(step) } else { Self::Files(vec![step]) }
    }
}

/// Fails if two steps write one file, or one writes what another reads.
fn check(steps: &[Step]) -> Result<()> {
    let mut folders = HashMap::new();
    let inputs: HashSet<PathBuf> = match steps {
        [_] => HashSet::new(),
        steps => steps.iter().filter_map(|step| fs::canonicalize(&step.input).ok()).collect(),
    };
    let mut targets: HashMap<PathBuf, &Step> = HashMap::new();
    for step in steps {
        let target = real_path(&step.target, &mut folders);
        if inputs.contains(&target) {
            let Step { input, target } = step;
            let text =
                format!("{target:?} would be written from {input:?} and is read as well: give one of them, or --to");
            return Err(Failure::Usage(text));
        }
        if let Some(other) = targets.insert(one_case(target), step) {
            let (one, two, target) = (&other.input, &step.input, &step.target);
            let text =
                format!("{one:?} and {two:?} would both be written to {target:?}: give them one after the other");
            return Err(Failure::Usage(text));
        }
    }
    Ok(())
}

/// Returns the path of a file that may not exist yet, without links and detours in its folder.
fn real_path(path: &Path, folders: &mut HashMap<PathBuf, PathBuf>) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = folders.entry(parent.to_owned());
    let folder = found.or_insert_with(|| fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned()));
    folder.join(path.file_name().unwrap_or_default())
}

/// Returns one path for all that differ in case, where the system takes those for one file.
pub fn one_case(path: PathBuf) -> PathBuf {
    match cfg!(any(windows, target_os = "macos")) {
        true => path.to_string_lossy().to_lowercase().into(),
        false => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(input: &Path) -> Option<PathBuf> {
        Some(PathBuf::from(format!("{}.x", input.to_str()?)))
    }

    fn plan(inputs: &[&str], place: Place<'_>) -> Result<Vec<(String, String)>, String> {
        let inputs: Vec<_> = inputs.iter().map(PathBuf::from).collect();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        match Plan::new(&inputs, place, renamed) {
            Ok(Plan::Files(steps)) => Ok(steps.into_iter().map(|step| (text(step.input), text(step.target))).collect()),
            Ok(Plan::Stream(step)) => Ok(vec![("stream".to_owned(), text(step.target))]),
            Err(Failure::Usage(text) | Failure::Work(text)) => Err(text),
            Err(Failure::Reported) => Err(String::new()),
        }
    }

    #[test]
    fn outputs_have_their_places() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(plan(&["a", "b/c"], Place::Beside).unwrap(), [pair("a", "a.x"), pair("b/c", "b/c.x")]);
        assert_eq!(plan(&["a", "b/c"], Place::In(Path::new("d"))).unwrap(), [pair("a", "d/a.x"), pair("b/c", "d/c.x")]);
        assert_eq!(plan(&["a"], Place::At(Path::new("e"))).unwrap(), [pair("a", "e")]);
        for (input, place, target) in
            [("-", Place::Beside, "-"), ("-", Place::At(Path::new("e")), "e"), ("a", Place::At(Path::new("-")), "-")]
        {
            assert_eq!(plan(&[input], place).unwrap(), [pair("stream", target)]);
        }
    }

    #[test]
    fn one_output_has_one_input() {
        for (inputs, place, says) in [
            (&["a/c", "b/c"][..], Place::In(Path::new("d")), "\"a/c\" and \"b/c\" would both be written to \"d/c.x\""),
            (&["a", "./a"], Place::Beside, "would both be written"),
            (&["a", "b"], Place::At(Path::new("e")), "give --to DIR for several"),
            (&["a", "-"], Place::Beside, "has no name"),
            (&["-"], Place::In(Path::new("d")), "has no name"),
        ] {
            let error = plan(inputs, place).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn nothing_that_is_read_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "a.x"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
        for file in [&a, &b] {
            fs::write(file, "").unwrap();
        }
        let error = plan(&[&a, &b], Place::Beside).unwrap_err();
        assert!(error.contains("is read as well"), "{error}");
        assert!(plan(&[&a], Place::Beside).is_ok());
    }
}
