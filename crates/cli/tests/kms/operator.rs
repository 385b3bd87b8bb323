//! An operator's first day with the program alone: what took a program of one's own before.

use std::fs;

use serde_json::json;

use crate::desk::Desk;
use crate::words;

/// The number of files that are encrypted anew.
const FILES: usize = 10;

#[test]
fn from_the_first_store_to_another_root_key() {
    let desk = Desk::new(b"plain");

    // A store, keys and aliases.
    assert_eq!(desk.json("store init")["made"], true);
    desk.succeed(&["keys", "create", "--alias", "alias/orders", "--description", "orders", "--tag", "team=billing"]);
    assert_eq!(desk.json("keys list").as_array().unwrap().len(), 1);
    desk.shows("keys alias create alias/invoices alias/orders");
    assert!(desk.fails("keys alias create alias/orders alias/invoices").contains("is taken"));
    assert!(desk.fails("keys alias create orders alias/invoices").contains("InvalidAliasNameException"));

    // Files, rotated and encrypted anew.
    let name = |number: usize| format!("file-{number}");
    for number in 0..FILES {
        fs::write(desk.path(&name(number)), format!("contents {number}")).unwrap();
        desk.succeed(&["encrypt", &name(number), "--context", "tenant=acme"]);
    }
    assert_eq!(desk.json("keys rotate alias/file")["rotations"], 1);
    for number in 0..FILES {
        let (sealed, plain) = (format!("{}.manila", name(number)), format!("{}.plain", name(number)));
        desk.succeed(&["decrypt", &sealed, "-o", &plain, "--context", "tenant=acme"]);
        assert_eq!(fs::read_to_string(desk.path(&plain)).unwrap(), format!("contents {number}"));
        desk.succeed(&["encrypt", &plain, "-o", &sealed, "--force", "--context", "tenant=acme"]);
    }

    // A key that is disabled refuses, and the log tells of it.
    assert_eq!(desk.json("keys disable alias/file")["state"], "Disabled");
    assert!(desk.fails("decrypt file-0.manila -o no").contains("DisabledException"));
    assert!(desk.fails("encrypt plain -o no").contains("DisabledException"));
    let refused = desk.shows("audit show --risky --key alias/file");
    assert!(refused.contains("DisableKey           ok"), "{refused}");
    assert!(refused.contains("Decrypt              DisabledException"), "{refused}");
    desk.shows("keys enable alias/file");
    assert_eq!(desk.json("audit verify")[0]["intact"], true);

    // A colleague gets a grant.
    let role = "arn:aws:iam::000000000000:role/colleague";
    let grant = desk.json(&format!("keys grant create alias/orders --grantee {role} --operation Decrypt"));
    assert_eq!(desk.json("keys grant list alias/orders")[0]["grant_id"], grant["grant_id"]);

    // A backup, and back from it after the loss of the store.
    desk.shows("store backup saved.redb");
    fs::remove_file(desk.path("keys/keys.redb")).unwrap();
    assert!(desk.fails("keys list").contains("restore it from a copy"));
    assert_eq!(desk.json("store restore saved.redb")["keys"], 2);
    desk.succeed(&["decrypt", "file-1.manila", "-o", "back-1"]);

    // Another root key: the old one opens the backup and nothing else.
    let changed = desk.json("store change-root-key --yes --rotate");
    assert_eq!((&changed["purged"], changed["rotated"].as_array().unwrap().len()), (&json!(true), 2));
    let old = changed["old_root_key"].as_str().unwrap();
    desk.succeed(&["store", "verify", "saved.redb", "--root-key-file", old]);
    assert!(desk.run(&["store", "verify", "saved.redb"]).code == 1);
    desk.succeed(&["decrypt", "file-2.manila", "-o", "back-2"]);

    // Rotated, verified and purged at the end of the day.
    desk.shows("audit rotate");
    desk.shows("store purge");
    assert_eq!(desk.json("store verify")["intact"], true);
    desk.succeed(&words("keys delete alias/orders --days 7 --yes"));
    assert_eq!(desk.json("store status")["pending_deletion"], 1);
}
