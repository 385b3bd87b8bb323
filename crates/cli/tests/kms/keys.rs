//! `manila keys`.

use std::fs;

use serde_json::json;

use crate::desk::Desk;
use crate::words;

#[test]
fn the_first_key_makes_the_key_store_and_says_so() {
    let desk = Desk::new(b"x");
    assert!(desk.fails("keys list").contains("make one with manila store init"));
    let made = desk.succeed(&["keys", "create", "--alias", "alias/app", "--description", "for orders"]);
    assert!(made.errors.starts_with("made a key store in") && made.errors.lines().count() == 1, "{}", made.errors);
    assert_eq!(
        made.text(),
        "key id        ID\n\
         arn           arn:aws:kms:local:000000000000:key/ID\n\
         aliases       alias/app\n\
         state         Enabled\n\
         spec          SYMMETRIC_DEFAULT\n\
         usage         ENCRYPT_DECRYPT\n\
         origin        AWS_KMS\n\
         description   for orders\n\
         created       TIME\n\
         multi region  no\n"
    );
    assert_eq!(desk.succeed(&["keys", "create"]).errors, "");
}

#[test]
fn a_key_is_made_as_asked_and_shown_whole() {
    let desk = Desk::new(b"x");
    let line = "keys create --alias alias/a --tag team=billing --tag stage=live --rotate-every 90 --multi-region";
    let made = desk.json(line);
    let id = made["key_id"].as_str().unwrap();
    assert!(id.starts_with("mrk-"));
    let shown = desk.json("keys show alias/a");
    for (member, value) in [
        ("key_id", json!(id)),
        ("arn", json!(format!("arn:aws:kms:local:000000000000:key/{id}"))),
        ("aliases", json!(["alias/a"])),
        ("state", json!("Enabled")),
        ("description", json!("")),
        ("deletion_date", json!(null)),
        ("multi_region", json!(true)),
        ("primary_region", json!("local")),
        ("replica_regions", json!([])),
        ("tags", json!({"team": "billing", "stage": "live"})),
        ("grants", json!(0)),
        ("rotation_period_days", json!(90)),
        ("rotations", json!([])),
    ] {
        assert_eq!(shown[member], value, "{member}");
    }
    let text = desk.shows("keys show alias/a");
    assert!(text.contains("tags                  stage=live, team=billing\n"), "{text}");
    assert!(text.contains("next rotation         TIME\n"), "{text}");
    let mac = desk.json("keys create --spec HMAC_256");
    assert_eq!((&mac["spec"], &mac["usage"]), (&json!("HMAC_256"), &json!("GENERATE_VERIFY_MAC")));
    let signs = desk.json("keys create --spec ECC_NIST_P256 --usage SIGN_VERIFY");
    assert_eq!((&signs["spec"], &signs["usage"]), (&json!("ECC_NIST_P256"), &json!("SIGN_VERIFY")));
    assert!(desk.fails("keys create --spec ECC_NIST_P256").contains("You must specify a KeyUsage value"));
}

#[test]
fn a_key_is_named_by_id_arn_or_alias_everywhere() {
    let (desk, id) = Desk::with_key("alias/app");
    let arn = format!("arn:aws:kms:local:000000000000:key/{id}");
    let alias_arn = "arn:aws:kms:local:000000000000:alias/app";
    for name in [&id, &arn, "alias/app", alias_arn] {
        for (line, member, value) in [
            (format!("keys show {name}"), "key_id", json!(id)),
            (format!("keys disable {name}"), "state", json!("Disabled")),
            (format!("keys enable {name}"), "state", json!("Enabled")),
            (format!("keys delete {name} --yes --days 7"), "state", json!("PendingDeletion")),
            (format!("keys cancel-deletion {name}"), "state", json!("Disabled")),
            (format!("keys enable {name}"), "state", json!("Enabled")),
            (format!("keys rotate {name} --every 100"), "rotation_period_days", json!(100)),
            (format!("keys rotate {name} --never"), "rotation_period_days", json!(null)),
            (format!("keys describe {name} text"), "description", json!("text")),
            (format!("keys tag add {name} a=1"), "a", json!("1")),
            (format!("keys tag list {name}"), "a", json!("1")),
            (format!("keys tag remove {name} a"), "a", json!(null)),
            (format!("keys alias create alias/b {name}"), "key_arn", json!(arn)),
            (format!("keys alias update alias/b {name}"), "key_arn", json!(arn)),
            ("keys alias delete alias/b".to_owned(), "deleted", json!("alias/b")),
            (format!("keys policy show {name}"), "Version", json!("2012-10-17")),
        ] {
            assert_eq!(desk.json(&line)[member], value, "{line}");
        }
        assert_eq!(desk.json(&format!("keys alias list {name}"))[0]["alias"], "alias/app");
    }
    for (name, says) in [
        ("alias/none", "manila keys alias list"),
        ("arn:aws:kms:elsewhere:000000000000:alias/app", "manila keys alias list"),
        ("nothing", "there is no key"),
    ] {
        for command in ["show", "disable", "rotate"] {
            let error = desk.fails(&format!("keys {command} {name}"));
            assert!(error.contains(says), "{error}");
        }
    }
}

#[test]
fn keys_are_listed_with_their_aliases() {
    let (desk, _) = Desk::with_key("alias/app");
    desk.shows("keys disable alias/app");
    let listed = desk.shows("keys list");
    assert_eq!(
        listed,
        "KEY ID                                STATE     SPEC               CREATED               ALIASES    DESCRIPTION\n\
         ID  Disabled  SYMMETRIC_DEFAULT  TIME  alias/app\n"
    );
    desk.shows("keys create");
    assert_eq!(desk.json("keys list").as_array().unwrap().len(), 2);
    for (state, count) in [("Disabled", 1), ("Enabled", 1), ("PendingDeletion", 0)] {
        let listed = desk.json(&format!("keys list --state {state}"));
        assert_eq!(listed.as_array().unwrap().len(), count, "{state}");
    }
    // One that the owner may not describe is listed all the same.
    let policy =
        r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:PutKeyPolicy", "Resource": "*"}]}"#;
    fs::write(desk.path("policy"), policy).unwrap();
    desk.succeed(&words("keys policy put alias/app policy"));
    let listed = desk.json("keys list");
    let of_app = listed.as_array().unwrap().iter().find(|key| key["aliases"] == json!(["alias/app"])).unwrap();
    assert_eq!(of_app["state"], json!(null));
}

#[test]
fn nothing_that_a_key_holds_steers_the_terminal() {
    let (desk, id) = Desk::with_key("alias/app");
    let nasty = "a\u{1b}[2J\u{202e}\u{9b}b\u{e9}";
    desk.succeed(&["keys", "describe", "alias/app", nasty]);
    let text = desk.shows("keys show alias/app");
    assert!(text.contains("a\\u{1b}[2J\\u{202e}\\u{9b}b\u{e9}\n"), "{text}");
    let json = desk.succeed(&["keys", "show", &id, "--json"]);
    assert!(json.output.iter().all(|byte| *byte == b'\n' || (b' '..=b'~').contains(byte)));
    assert_eq!(json.json()["description"], nasty);
}

#[test]
fn rotation_gives_new_material_and_old_files_decrypt() {
    let desk = Desk::new(b"before");
    desk.succeed(&["encrypt", "plain"]);
    let rotated = desk.json("keys rotate alias/file");
    assert_eq!((&rotated["rotations"], &rotated["next_rotation"]), (&json!(1), &json!(null)));
    assert_eq!(
        desk.shows("keys rotate alias/file"),
        "arn            arn:aws:kms:local:000000000000:key/ID\nrotations      2\nlast rotation  TIME\n"
    );
    assert_eq!(desk.json("keys show alias/file")["rotations"][1]["type"], "ON_DEMAND");
    desk.succeed(&["decrypt", "plain.manila", "-o", "back"]);
    assert_eq!(fs::read(desk.path("back")).unwrap(), b"before");
    assert!(desk.fails("keys rotate alias/file --every 1").contains("90 to 2560"));
    desk.misuses("keys rotate alias/file --every 90 --never");
}

#[test]
fn deleting_a_key_asks_and_can_be_cancelled() {
    let desk = Desk::new(b"kept");
    desk.succeed(&["encrypt", "plain"]);
    let refused = desk.misuses("keys delete alias/file");
    assert!(refused.contains("--yes") && refused.contains("Usage: manila keys delete"), "{refused}");
    assert_eq!(desk.json("keys show alias/file")["state"], "Enabled");
    assert!(desk.fails("keys delete alias/file --yes --days 3").contains("7 to 30 days"));
    let deleted = desk.shows("keys delete alias/file --yes");
    assert!(deleted.contains("state          PendingDeletion\ndeletion date  TIME\n"), "{deleted}");
    assert!(desk.fails("decrypt plain.manila -o back").contains("is pending deletion"));
    desk.shows("keys cancel-deletion alias/file");
    assert!(desk.fails("decrypt plain.manila -o back").contains("DisabledException"));
    desk.shows("keys enable alias/file");
    desk.succeed(&["decrypt", "plain.manila", "-o", "back"]);
}

#[test]
fn aliases_move_to_other_keys() {
    let (desk, old) = Desk::with_key("alias/app");
    let new = desk.json("keys create")["key_id"].as_str().unwrap().to_owned();
    assert!(desk.fails(&format!("keys alias create alias/app {new}")).contains("is taken"));
    assert_eq!(
        desk.shows(&format!("keys alias update alias/app {new}")),
        "alias    alias/app\nkey arn  arn:aws:kms:local:000000000000:key/ID\n"
    );
    desk.shows(&format!("keys alias create alias/old {old}"));
    assert_eq!(
        desk.shows("keys alias list"),
        "ALIAS      KEY ARN\n\
         alias/app  arn:aws:kms:local:000000000000:key/ID\n\
         alias/old  arn:aws:kms:local:000000000000:key/ID\n"
    );
    assert_eq!(desk.json(&format!("keys alias list {new}"))[0]["alias"], "alias/app");
    desk.shows("keys alias delete alias/old");
    assert_eq!(desk.json("keys alias list").as_array().unwrap().len(), 1);
    assert!(desk.fails("keys alias delete alias/old").contains("NotFoundException"));
}

#[test]
fn policies_are_replaced_and_printed_as_they_are() {
    let (desk, _) = Desk::with_key("alias/app");
    let policy = desk.json("keys policy show alias/app");
    assert_eq!(policy["Statement"][0]["Action"], "kms:*");
    let mut stricter = policy.clone();
    stricter["Id"] = json!("stricter");
    fs::write(desk.path("policy.json"), stricter.to_string()).unwrap();
    desk.succeed(&words("keys policy put alias/app policy.json"));
    assert_eq!(desk.json("keys policy show alias/app"), stricter);
    // Printed and put again.
    fs::write(desk.path("again"), desk.succeed(&words("keys policy show alias/app")).output).unwrap();
    desk.succeed(&words("keys policy put alias/app again"));

    let lockout = r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*"}]}"#;
    fs::write(desk.path("lockout"), lockout).unwrap();
    for line in ["keys policy put alias/app lockout", "keys create --policy lockout"] {
        assert!(desk.fails(line).contains("keep its caller from changing it again"));
    }
    desk.succeed(&words("keys policy put alias/app lockout --allow-lockout"));
    assert!(desk.fails("keys policy show alias/app").contains("AccessDeniedException"));
    assert!(desk.fails("keys policy put alias/app none").contains("cannot read the policy \"none\""));
    fs::write(desk.path("broken"), "{").unwrap();
    assert!(desk.fails("keys create --policy broken").contains("MalformedPolicyDocumentException"));
}

#[test]
fn grants_come_and_go() {
    let (desk, _) = Desk::with_key("alias/app");
    let role = "arn:aws:iam::000000000000:role/app";
    let create = format!("keys grant create alias/app --grantee {role} --operation Decrypt --operation DescribeKey");
    let first = desk.json(&format!("{create} --context-subset tenant=acme"))["grant_id"].as_str().unwrap().to_owned();
    let second = desk.json(&format!("{create} --retiring-principal {role}"))["grant_id"].as_str().unwrap().to_owned();
    let listed = desk.json("keys grant list alias/app");
    let of = |id: &str| listed.as_array().unwrap().iter().find(|grant| grant["grant_id"] == id).unwrap();
    assert_eq!(of(&first)["context_subset"], json!(["tenant=acme"]));
    assert_eq!(of(&first)["operations"], json!(["Decrypt", "DescribeKey"]));
    assert_eq!((&of(&second)["grantee"], &of(&second)["retiring_principal"]), (&json!(role), &json!(role)));
    assert!(desk.shows("keys grant list alias/app").starts_with("GRANT ID"));
    assert_eq!(desk.json("keys show alias/app")["grants"], 2);
    assert_eq!(desk.shows(&format!("keys grant retire alias/app {first}")), format!("ended  {first}\n"));
    desk.shows(&format!("keys grant revoke alias/app {second}"));
    assert_eq!(desk.json("keys grant list alias/app"), json!([]));
    desk.fails(&format!("keys grant revoke alias/app {second}"));
    assert!(
        desk.misuses(&format!("keys grant create alias/app --grantee {role} --operation decrypt")).contains("Decrypt")
    );
    desk.misuses(&format!("{create} --context-subset a=b --context-equals a=b"));
}

#[test]
fn material_is_imported_and_deleted() {
    let desk = Desk::new(b"x");
    let made = desk.json("keys create --imported --alias alias/own");
    assert_eq!((&made["state"], &made["origin"]), (&json!("PendingImport"), &json!("EXTERNAL")));
    fs::write(desk.path("material"), [7; 32]).unwrap();
    fs::write(desk.path("short"), [7; 31]).unwrap();
    fs::write(desk.path("other"), [8; 32]).unwrap();
    assert!(desk.fails("keys import alias/own short").contains("32 to 32, not 31"));
    let imported = desk.json("keys import alias/own material --expires 30days");
    assert_eq!(imported["state"], "Enabled");
    assert!(imported["material_expiry"].is_string());
    desk.misuses("keys delete-material alias/own");
    assert_eq!(desk.json("keys delete-material alias/own --yes")["state"], "PendingImport");
    assert!(desk.fails("keys import alias/own other").contains("IncorrectKeyMaterialException"));
    assert_eq!(desk.json("keys import alias/own material")["material_expiry"], json!(null));
    assert!(desk.fails("keys import alias/own none").contains("cannot read the key material \"none\""));
    assert!(desk.misuses("keys import alias/own material --expires soon").contains("90days"));
    desk.succeed(&["encrypt", "plain"]);
    assert!(desk.fails("keys import alias/file material").contains("UnsupportedOperationException"));
}

#[test]
fn a_key_is_replicated_into_another_region() {
    let desk = Desk::new(b"x");
    let made = desk.json("keys create --multi-region --alias alias/a");
    let id = made["key_id"].as_str().unwrap();
    let replica = desk.json("keys replicate alias/a eu-west-1");
    assert_eq!(replica["arn"], format!("arn:aws:kms:eu-west-1:000000000000:key/{id}"));
    assert_eq!(desk.json("keys list --region eu-west-1").as_array().unwrap().len(), 1);
    assert_eq!(desk.json("keys set-primary-region alias/a eu-west-1")["primary_region"], "eu-west-1");
    assert_eq!(desk.json(&format!("keys --region eu-west-1 show {id}"))["replica_regions"], json!(["local"]));
    // An alias is of one region.
    assert!(desk.fails("keys show alias/a --region eu-west-1").contains("there is no alias"));
}

#[test]
fn wrong_command_lines_change_nothing() {
    let desk = Desk::new(b"x");
    for line in [
        "keys",
        "keys make",
        "keys create --spec AES",
        "keys create --spec RSA_2048 --usage SIGN",
        "keys create --tag no-value",
        "keys create --rotate-every soon",
        "keys create --allow-lockout",
        "keys alias create alias/a",
        "keys tag add key",
        "keys grant create key --grantee arn",
    ] {
        desk.misuses(line);
    }
    assert_eq!(desk.names(), ["plain"]);
    desk.shows("store init");
    assert!(desk.fails("keys create --alias app").contains("InvalidAliasNameException"));
    assert_eq!(desk.json("keys list"), json!([]));
}
