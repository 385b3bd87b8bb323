//! Help, and readers that have seen enough.

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

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_not_a_failure() {
    let (desk, _) = Desk::with_key("alias/a");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for line in ["keys list", "audit show"] {
        let status = desk.command(&words(line)).stdout(writer.try_clone().unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(0), "{line}");
    }
}
