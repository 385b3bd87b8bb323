//! The examples of the crate: each is short, and prints what its first comment says it prints.

#[path = "../../../tests/support/example.rs"]
mod example;

use example::{are_short_and_show_what_they_print, prints_what_it_shows};

#[test]
fn ranges() {
    prints_what_it_shows("ranges");
}

#[test]
fn each_is_short_says_what_it_shows_and_is_run() {
    are_short_and_show_what_they_print(&["ranges"]);
}
