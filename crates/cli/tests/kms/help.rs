//! Help, completions and man pages.

use std::fs;

use crate::desk::Desk;
use crate::words;

const GROUPS: [&str; 3] = ["keys", "store", "audit"];

#[test]
fn every_command_has_help() {
    let desk = Desk::new(b"x");
    for group in GROUPS {
        let help = desk.shows(&format!("{group} --help"));
        let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        let names: Vec<_> = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
        assert!(names.len() >= 5, "{help}");
        for name in names.iter().filter(|name| !name.is_empty() && **name != "help") {
            let help = desk.shows(&format!("{group} {name} --help"));
            assert!(help.contains(&format!("Usage: manila {group} {name}")), "{help}");
            assert!(help.contains("--store <DIR>") && help.contains("--json"), "{help}");
            assert!(!help.lines().next().unwrap().is_empty(), "{help}");
        }
    }
}

#[test]
fn completions_are_for_each_shell() {
    let desk = Desk::new(b"x");
    for (shell, has) in [
        ("bash", "_manila()"),
        ("zsh", "#compdef manila"),
        ("fish", "complete -c manila"),
        ("powershell", "manila;keys;rotate"),
        ("elvish", "manila;keys;rotate"),
    ] {
        let script = desk.shows(&format!("completions {shell}"));
        assert!(script.contains(has), "{shell}: {script}");
        for part in ["encrypt", "change-root-key", "cancel-deletion", "dry-run", "key-file", "profile"] {
            assert!(script.contains(part), "{shell} {part}");
        }
    }
    assert!(desk.misuses("completions cmd").contains("possible values"));
}

#[test]
fn man_pages_are_for_each_command() {
    let desk = Desk::new(b"x");
    assert!(desk.shows("man").contains(".TH manila 1"));
    assert!(desk.shows("man keys rotate").contains(".TH manila-keys-rotate 1"));
    let page = desk.shows("man encrypt");
    for part in [".SH KEYS", "\\-\\-key\\-file", "[NAMESPACE/NAME=]FILE", "\\-\\-to", "MANILA_STORE"] {
        assert!(page.to_uppercase().contains(&part.to_uppercase()), "{part}: {page}");
    }
    assert!(desk.misuses("man keys make").contains("there is no command keys make"));
    desk.succeed(&words("man --to pages"));
    let names: Vec<_> = fs::read_dir(desk.path("pages")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for page in ["manila.1", "manila-encrypt.1", "manila-keys-alias-create.1", "manila-audit-follow.1"] {
        assert!(names.iter().any(|name| name == page), "{page} in {names:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_not_a_failure() {
    let (desk, _) = Desk::with_key("alias/a");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for line in ["keys list", "audit show", "completions bash"] {
        let status = desk.command(&words(line)).stdout(writer.try_clone().unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{line}");
    }
}
