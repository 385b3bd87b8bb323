//! The dependencies that a build does not include.

use std::process::Command;

/// Lists the packages of a build with these features, except those of build scripts and tests.
fn packages(features: &[&str]) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"]).args(features);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.contains(&"zeroize".to_owned()), "the packages are listed");
    names
}

fn of_aws(name: &str) -> bool {
    let families = ["aws-sdk-", "aws-smithy-", "aws-config", "aws-runtime", "aws-types", "aws-sigv4", "hyper", "tokio"];
    families.iter().any(|family| name.starts_with(family))
}

#[test]
fn a_build_without_aws_carries_nothing_of_it() {
    let none: [&str; 0] = [];
    let without: [&[&str]; 3] = [&none, &["--no-default-features"], &["--features", "local-kms,aws-lc,testing"]];
    for features in without {
        let found: Vec<_> = packages(features).into_iter().filter(|name| of_aws(name)).collect();
        assert!(found.is_empty(), "{features:?}: {found:?}");
    }
    assert!(packages(&["--features", "aws-kms"]).iter().any(|name| of_aws(name)), "the check finds what is there");
}

#[test]
fn the_smallest_build_is_small() {
    let packages: std::collections::BTreeSet<_> = packages(&["--no-default-features"]).into_iter().collect();
    for big in ["aws-lc-rs", "redb", "serde", "ciborium", "tracing", "argon2"] {
        assert!(!packages.contains(big), "{big}");
    }
}

#[test]
fn asynchronous_streams_bring_the_traits_of_tokio_and_no_runtime() {
    let before = packages(&["--no-default-features"]);
    let added: std::collections::BTreeSet<_> = packages(&["--no-default-features", "--features", "tokio"])
        .into_iter()
        .filter(|name| !before.contains(name))
        .collect();
    // `bytes` comes with tokio's buffered readers.
    assert_eq!(added.into_iter().collect::<Vec<_>>(), ["bytes", "tokio"]);
}
