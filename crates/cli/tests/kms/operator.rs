//! An operator's first day with the program alone: what took a program of one's own before.

use std::fs;

use serde_json::json;

use crate::desk::Desk;
use crate::words;

/// The number of files that are re-encrypted.
const FILES: usize = 100;

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

    // Files, re-encrypted after a rotation.
    let names: Vec<_> = (0..FILES).map(|number| format!("file-{number}")).collect();
    for name in &names {
        fs::write(desk.path(name), format!("contents of {name}")).unwrap();
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    desk.succeed(&[&["encrypt", "--context", "tenant=acme"], &names[..]].concat());
    assert_eq!(desk.json("keys rotate alias/file")["rotations"], 1);
    let versions = |desk: &Desk| -> Vec<_> {
        let census = desk.json("reencrypt -r . --census");
        let groups = census["keys"].as_array().unwrap();
        groups.iter().map(|group| (group["key_version"].clone(), group["files"].clone())).collect()
    };
    assert_eq!(versions(&desk), [(json!(1), json!(FILES))]);
    let report = desk.json("reencrypt -r . --older-than last --context tenant=acme");
    assert_eq!((&report["done"], &report["skipped"], &report["failed"]), (&json!(FILES), &json!(0), &json!(0)));
    assert_eq!(versions(&desk), [(json!(2), json!(FILES))]);
    assert_eq!(desk.json("reencrypt -r . --older-than last")["skipped"], FILES);
    let sealed: Vec<_> = names.iter().map(|name| format!("{name}.manila")).collect();
    let sealed: Vec<_> = sealed.iter().map(String::as_str).collect();
    desk.succeed(&[&["decrypt", "--to", "plain-again", "--context", "tenant=acme"], &sealed[..]].concat());
    for name in names {
        let plain = fs::read_to_string(desk.path("plain-again").join(name)).unwrap();
        assert_eq!(plain, format!("contents of {name}"));
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
