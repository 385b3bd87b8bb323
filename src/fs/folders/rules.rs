//! [`Rules`]: which entries an encrypted folder may have. Checked when a folder is encrypted, and again before anything
//! is decrypted: a manifest can be written by anyone who has the keys.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::{Component, Path};

use manila_core::{Error, ErrorKind, Result};
use unicode_normalization::UnicodeNormalization;

use super::entry::{Entry, order};
use super::layout::{MAX_NAME, PARTIAL};

/// Length in bytes of the longest path and of the longest target of a link: Linux's `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// The things that the caller allows although some systems cannot hold it, or although it is a risk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowed {
    pub(super) similar_names: bool,
    pub(super) outside_links: bool,
}

/// Checks the entries of a folder, which come in the order of their paths: each folder before what is in it.
///
/// Memory does not grow with their number, except that the names of a folder are kept while what is in it comes.
#[derive(Debug)]
pub(super) struct Rules {
    allowed: Allowed,
    /// The folders that the last entry is in, outermost first.
    open: Vec<Open>,
    last: Option<String>,
}

/// A folder whose entries are coming.
#[derive(Debug)]
struct Open {
    path: String,
    /// Its names so far, as a system sees them that knows neither case nor Unicode's normalisation forms.
    names: HashSet<String>,
}

impl Rules {
    pub(super) fn new(allowed: Allowed) -> Self {
        let root = Open { path: String::new(), names: HashSet::new() };
        Self { allowed, open: vec![root], last: None }
    }

    /// Checks the next entry.
    pub(super) fn check(&mut self, entry: &Entry) -> Result<()> {
        let path = entry.path();
        self.check_file(path)?;
        match entry {
            Entry::Folder(_) => self.open.push(Open { path: path.to_owned(), names: HashSet::new() }),
            Entry::Link(link) => self.check_link(path, &link.target).map_err(|why| refused(path, why))?,
            Entry::File(_) => {}
        }
        Ok(())
    }

    /// Checks the path of the next entry, which suffices if it is a file.
    pub(super) fn check_file(&mut self, path: &str) -> Result<()> {
        check_path(path).map_err(|why| refused(path, why))?;
        self.check_order(path).map_err(|why| refused(path, why))?;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        while self.open.last().is_some_and(|open| open.path != parent) {
            self.open.pop();
        }
        let Some(open) = self.open.last_mut() else {
            return Err(refused(path, "is in a folder that is not listed before it"));
        };
        if !self.allowed.similar_names && !open.names.insert(folded(name)) {
            let why = "has the name of another entry of its folder but for upper and lower case or the form of its \
                       Unicode characters: rename one of them, or allow similar names";
            return Err(refused(path, why));
        }
        Ok(())
    }

    fn check_link(&self, path: &str, target: &str) -> Result<(), &'static str> {
        if target.is_empty() || target.len() > MAX_PATH || target.contains('\0') {
            return Err("is a symbolic link whose target is not a path");
        }
        if self.allowed.outside_links || stays_inside(path, target) {
            return Ok(());
        }
        Err("is a symbolic link that can lead out of the folder: remove it, or allow links to the outside")
    }

    fn check_order(&mut self, path: &str) -> Result<(), &'static str> {
        let last = self.last.replace(path.to_owned());
        match last.map(|last| order(&last, path)) {
            None | Some(Ordering::Less) => Ok(()),
            Some(Ordering::Equal) => Err("is listed twice"),
            Some(Ordering::Greater) => Err("is not in the order of names"),
        }
    }
}

fn refused(path: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{path:?} {why}"))
}

/// Checks that a path leads to something within its folder, on this system.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH {
        return Err("is longer than 4096 bytes");
    }
    if path.split('/').next() == Some(PARTIAL) {
        return Err("is a rest of an unfinished decryption: finish that, or remove it");
    }
    path.split('/').try_for_each(check_name)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("has an empty name in it");
    }
    if name.len() > MAX_NAME {
        return Err("has a name longer than 255 bytes");
    }
    if name.contains('\0') {
        return Err("has a NUL byte in it");
    }
    // On Windows, `\` divides names and `C:` begins a path.
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(()),
        _ => Err("has a name in it that is not the name of a file"),
    }
}

/// Returns whether a link at `path` can only lead to something in the folder, if all its other links do so too.
///
/// `..` may stand only at the start: there it leads from folder to folder. After the name of another link it would lead
/// to the parent of what that link leads to.
fn stays_inside(path: &str, target: &str) -> bool {
    let mut depth = path.split('/').count().saturating_sub(1);
    let mut below = false;
    for component in Path::new(target).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => below = true,
            Component::ParentDir if depth > 0 && !below => depth = depth.saturating_sub(1),
            _ => return false,
        }
    }
    true
}

/// Returns a name as a system sees it that knows neither case nor normalisation forms.
fn folded(name: &str) -> String {
    name.nfd().flat_map(char::to_lowercase).nfd().collect()
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Attributes, Digest, FileEntry, FolderEntry, LinkEntry};
    use super::*;

    fn attributes() -> Attributes {
        Attributes::of(&std::env::temp_dir().metadata().unwrap())
    }

    fn file(path: &str) -> Entry {
        let digest = Digest::of(&[0; 32]);
        Entry::File(FileEntry { path: path.to_owned(), attributes: attributes(), len: 0, digest, hidden: None })
    }

    fn folder(path: &str) -> Entry {
        Entry::Folder(FolderEntry { path: path.to_owned(), attributes: attributes() })
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry::Link(LinkEntry { path: path.to_owned(), target: target.to_owned() })
    }

    /// Returns the error of the last entry, which is the only one with an error.
    fn refusal(allowed: Allowed, entries: &[Entry]) -> Option<String> {
        let mut rules = Rules::new(allowed);
        let (last, before) = entries.split_last().unwrap();
        for entry in before {
            rules.check(entry).unwrap();
        }
        rules.check(last).err().map(|error| error.to_string())
    }

    #[test]
    fn a_folder_as_people_have_them_passes() {
        let entries = [
            folder("a"),
            file("a/.hidden"),
            folder("a/b"),
            link("a/b/link", "../.././a/c"),
            file("a/c"),
            file("a file"),
            file("a.txt"),
            link("link", "a/b"),
            file("\u{e9}\n\\"),
        ];
        // Windows has no file of the last name.
        let entries = &entries[..if cfg!(windows) { 8 } else { 9 }];
        assert_eq!(refusal(Allowed::default(), entries), None);
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        let long = "a".repeat(256);
        let deep = "a/".repeat(2048) + "a";
        for path in ["", "/", "/a", "..", "../a", "a/..", "a/../../b", ".", "./a", "a//b", "a/", "a\0", &long, &deep] {
            assert!(refusal(Allowed::default(), &[folder("a"), file(path)]).is_some(), "{path:?}");
        }
        assert!(refusal(Allowed::default(), &[file(&format!("{PARTIAL}/a"))]).is_some());
        if cfg!(windows) {
            assert!(refusal(Allowed::default(), &[file("C:a")]).is_some());
            assert!(refusal(Allowed::default(), &[file("..\\a")]).is_some());
        }
    }

    #[test]
    fn entries_come_once_and_in_order_and_behind_their_folders() {
        for (entries, why) in [
            (vec![file("a"), file("a")], "is listed twice"),
            (vec![file("b"), file("a")], "is not in the order"),
            (vec![folder("a"), file("a/b"), file("b"), file("a/c")], "is not in the order"),
            (vec![file("a/b")], "is in a folder that is not listed"),
            (vec![file("a"), file("a/b")], "is in a folder that is not listed"),
            (vec![folder("a"), file("a/b/c")], "is in a folder that is not listed"),
        ] {
            let refusal = refusal(Allowed::default(), &entries).unwrap();
            assert!(refusal.contains(why), "{refusal}");
        }
    }

    #[test]
    fn similar_names_of_one_folder_are_refused_unless_they_are_allowed() {
        for (one, other) in [("A", "a"), ("e\u{301}", "\u{e9}"), ("\u{c9}", "\u{e9}")] {
            let entries = [folder("x"), file(&format!("x/{one}")), file(&format!("x/{other}"))];
            assert!(refusal(Allowed::default(), &entries).is_some(), "{one} {other}");
            assert_eq!(refusal(Allowed { similar_names: true, outside_links: false }, &entries), None);
        }
        let in_two_folders = [folder("x"), file("x/a"), folder("y"), file("y/A")];
        assert_eq!(refusal(Allowed::default(), &in_two_folders), None);
    }

    #[test]
    fn links_stay_inside_unless_they_are_allowed_out() {
        for target in ["/etc/passwd", "..", "../../a", "b/../../a", "x/..", "./../../a"] {
            let entries = [folder("a"), link("a/link", target)];
            let refusal_by_default = refusal(Allowed::default(), &entries);
            assert_eq!(refusal_by_default.is_some(), target != "..", "{target}");
            assert_eq!(refusal(Allowed { similar_names: false, outside_links: true }, &entries), None);
        }
        for target in ["", "a\0b"] {
            assert!(refusal(Allowed { similar_names: false, outside_links: true }, &[link("link", target)]).is_some());
        }
    }
}
