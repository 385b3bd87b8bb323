//! The rules of `docs/architecture.md` that the compiler does not check, as far as text can show them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The source folder of each crate.
const CRATES: [(&str, &str); 7] = [
    ("manila", "src"),
    ("manila-core", "crates/core/src"),
    ("manila-lanes", "crates/lanes/src"),
    ("manila-local-kms", "crates/local-kms/src"),
    ("manila-aws", "crates/aws/src"),
    ("manila-object-store", "crates/object-store/src"),
    ("manila-cli", "crates/cli/src"),
];
/// The maximum length of a source file in lines, including comments but not unit tests.
const LONGEST_FILE: usize = 500;

/// A source file, with the path that identifies it within its crate.
struct Source {
    package: &'static str,
    /// The path below `src`, such as `message/frame.rs`.
    name: String,
    /// The text without comments and unit tests.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for (package, folder) in CRATES {
        let folder = root().join(folder);
        let mut left: Vec<PathBuf> = vec![folder.clone()];
        while let Some(next) = left.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                    continue;
                }
                let name = path.strip_prefix(&folder).unwrap().to_string_lossy().replace('\\', "/");
                let is_source = path.extension().is_some_and(|extension| extension == "rs");
                if is_source && !name.ends_with("tests.rs") {
                    sources.push(Source { package, name, code: code(&fs::read_to_string(path).unwrap()) });
                }
            }
        }
    }
    for (package, _) in CRATES {
        assert!(sources.iter().any(|source| source.package == package), "{package} was not found");
    }
    sources
}

fn of(package: &str) -> Vec<Source> {
    sources().into_iter().filter(|source| source.package == package).collect()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap()
}

fn code(text: &str) -> String {
    let lines = without_tests(text).lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns true if a text names `word` as the beginning of a path.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        starts && text[at + word.len()..].starts_with("::")
    })
}

/// Lists the files that name one of `words`, except those that `may`.
fn files_naming(words: &[&str], may: impl Fn(&Source) -> bool) -> Vec<String> {
    let found = sources().into_iter().filter(|source| words.iter().any(|word| names(&source.code, word)));
    found.filter(|source| !may(source)).map(|source| format!("{}: {}", source.package, source.name)).collect()
}

#[test]
fn the_cryptographic_crates_are_named_in_one_place() {
    let crates = [
        "aes_gcm",
        "aws_lc_rs",
        "argon2",
        "ed25519_dalek",
        "getrandom",
        "hkdf",
        "hmac",
        "k256",
        "ml_dsa",
        "ml_kem",
        "p256",
        "p384",
        "p521",
        "pkcs1",
        "pkcs8",
        "rand_core",
        "sha2",
        "subtle",
    ];
    let may = |source: &Source| {
        source.package == "manila-core" && source.name.starts_with("crypto") || source.package == "manila-lanes"
    };
    assert_eq!(files_naming(&crates, may), [""; 0]);
    assert!(!files_naming(&crates, |_| false).is_empty(), "the check finds nothing at all");
}

#[test]
fn tokio_stays_in_the_streams_and_in_the_crates_for_networks() {
    let may = |source: &Source| {
        ["manila-aws", "manila-object-store"].contains(&source.package)
            || source.package == "manila" && source.name.starts_with("stream/")
            || source.package == "manila-cli" && source.name.starts_with("keys_for_files/aws/")
    };
    assert_eq!(files_naming(&["tokio"], may), [""; 0]);
    assert!(!files_naming(&["tokio"], |_| false).is_empty(), "the check finds nothing at all");
}

#[test]
fn the_message_knows_neither_keys_nor_files() {
    let of_message: Vec<_> = of("manila").into_iter().filter(|source| source.name.starts_with("message/")).collect();
    assert!(of_message.len() >= 5);
    for Source { name, code, .. } in of_message {
        for module in ["keyring", "cmm", "kms", "client", "encrypt", "decrypt", "stream", "materials"] {
            assert!(!code.contains(&format!("crate::{module}")), "{name} imports {module}");
        }
        for io in ["std::fs", "std::net", "File", "AeadKey"] {
            assert!(!code.contains(io), "{name} names {io}");
        }
    }
}

#[test]
fn keys_and_bytes_meet_in_encrypt_and_decrypt_alone() {
    // Modules that see plaintext do not name a keyring, and modules that see keys do not name a frame.
    let sees_bytes = |name: &str| name.starts_with("stream");
    let sees_keys = |name: &str| ["cmm", "keyring"].iter().any(|module| name.starts_with(module));
    let sources = of("manila");
    assert!(sources.iter().filter(|source| sees_bytes(&source.name)).count() > 5, "the streams were not found");
    assert!(sources.iter().filter(|source| sees_keys(&source.name)).count() > 15, "the keyrings were not found");
    for Source { name, code, .. } in sources {
        for module in ["cmm", "keyring", "kms"] {
            assert!(!(sees_bytes(&name) && code.contains(&format!("crate::{module}"))), "{name} imports {module}");
        }
        for module in ["stream", "message::frame", "encrypt", "decrypt"] {
            assert!(!(sees_keys(&name) && code.contains(&format!("crate::{module}"))), "{name} imports {module}");
        }
    }
}

/// Adds the paths that a text begins with, listing each name of a group separately.
fn expand(prefix: &str, text: &str, found: &mut Vec<String>) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    let Some(group) = text[end..].strip_prefix('{') else {
        found.push(path);
        return;
    };
    let (mut depth, mut begin) = (1, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            expand(&path, group[begin..at].trim(), found);
            begin = at + 1;
        }
        if depth == 0 {
            return;
        }
    }
}

/// Returns the files of its crate that a file imports: for each import, the longest module path that is a file.
fn imports(source: &Source, files: &BTreeSet<String>) -> BTreeSet<String> {
    let above = source.name.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.replace('/', "::") + "::");
    let code = source.code.replace("super::", &format!("crate::{above}"));
    let mut paths = Vec::new();
    for (at, word) in code.match_indices("crate::") {
        expand("", &code[at + word.len()..], &mut paths);
    }
    let mut found = BTreeSet::new();
    for path in paths {
        let mut parts: Vec<_> = path.split("::").filter(|part| !part.is_empty()).collect();
        while !parts.is_empty() {
            let file = format!("{}.rs", parts.join("/"));
            if files.contains(&file) {
                found.insert(file);
                break;
            }
            parts.pop();
        }
    }
    found.remove(&source.name);
    found
}

/// Returns the files that import each other in a cycle and the files that import those, each with its imports among
/// them.
fn circles(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let files: BTreeSet<_> = sources.iter().map(|source| source.name.clone()).collect();
    // A file and the folder of the same name count as one module: its parts may name what it declares.
    let mut left: BTreeMap<_, _> =
        sources.iter().map(|source| (source.name.clone(), imports(source, &files))).collect();
    for (name, imported) in &mut left {
        imported.retain(|other| !name.starts_with(&format!("{}/", other.trim_end_matches(".rs"))));
    }
    loop {
        let done: Vec<_> =
            left.iter().filter(|(_, imports)| imports.is_empty()).map(|(name, _)| name.clone()).collect();
        if done.is_empty() {
            return left;
        }
        left.retain(|name, _| !done.contains(name));
        for imports in left.values_mut() {
            imports.retain(|name| !done.contains(name));
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for (package, _) in CRATES {
        let found = circles(&of(package));
        assert!(found.is_empty(), "{package}: {found:#?}");
    }
}

#[test]
fn circles_are_found_however_an_import_is_written() {
    let found = |imported: &str| {
        let source = |name: &str, code: &str| Source { package: "", name: name.to_owned(), code: code.to_owned() };
        let back = source("a/two.rs", "use crate::a::one::One;");
        let room = source("a.rs", "mod one;\nmod two;");
        !circles(&[room, source("a/one.rs", imported), back]).is_empty()
    };
    for circle in
        ["use crate::a::two::Two;", "use crate::a::{Room, two};", "use super::two;", "fn f() -> crate::a::two::T"]
    {
        assert!(found(circle), "{circle}");
    }
    let written = [
        "use crate::a::two::Two;",
        "use crate::a::{Room, two};",
        "use crate::{\n    a::{Room, two::{self, Two}},\n};",
        "use super::two;",
        "use super::{Room, two};",
        "fn f() -> crate::a::two::T",
    ];
    for circle in written {
        assert!(found(circle), "{circle}");
    }
    for none in ["use crate::a::Room;", "use super::Room;", "use crate::{a, b};", "use std::two;"] {
        assert!(!found(none), "{none}");
    }
}

#[test]
fn nothing_panics_by_name() {
    for Source { package, name, code } in sources() {
        for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!(", "unsafe {"] {
            assert!(!code.contains(word), "{package}: {name} has {word}");
        }
    }
}

#[test]
fn files_are_short_and_name_their_modules() {
    for Source { package, name, code } in sources() {
        assert!(code.lines().count() <= LONGEST_FILE, "{package}: {name} is long");
        assert!(!name.ends_with("/mod.rs"), "{package}: {name}");
    }
}

#[test]
fn the_rsa_crate_is_never_a_dependency() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(!lock.contains("name = \"rsa\"\n"));
}
