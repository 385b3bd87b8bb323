//! The examples: each is short, and prints what its first comment says it prints.

#[path = "support/example.rs"]
mod example;

use example::{are_short_and_show_what_they_print, prints_what_it_shows};

/// The example that needs AWS KMS, and so is only compiled here.
const WANTS_AWS: &str = "aws_kms";
/// The examples that are run here.
const RUN: [&str; 8] =
    ["cached", "custom_keyring", "custom_kms", "inspect", "local_kms", "seek", "stream_file", "warm_up"];

#[test]
#[cfg(all(feature = "cache", feature = "local-kms"))]
fn cached() {
    prints_what_it_shows("cached");
}

#[test]
fn custom_keyring() {
    prints_what_it_shows("custom_keyring");
}

#[test]
fn custom_kms() {
    prints_what_it_shows("custom_kms");
}

#[test]
fn inspect() {
    prints_what_it_shows("inspect");
}

#[test]
#[cfg(feature = "local-kms")]
fn local_kms() {
    prints_what_it_shows("local_kms");
}

#[test]
fn seek() {
    prints_what_it_shows("seek");
}

#[test]
fn stream_file() {
    prints_what_it_shows("stream_file");
}

#[test]
fn warm_up() {
    prints_what_it_shows("warm_up");
}

#[test]
#[cfg(feature = "aws-kms")]
fn aws_kms_says_how_it_is_called() {
    let output = example::run(WANTS_AWS);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("usage: aws_kms KEY_ARN"), "{errors}");
}

#[test]
fn each_is_short_says_what_it_shows_and_is_run() {
    are_short_and_show_what_they_print(&[&RUN[..], &[WANTS_AWS]].concat());
}
