//! Several files: where their outputs go, what is done when some fail, and what is reported.

use std::fs;

use serde_json::Value;

use crate::desk::{Desk, Ran, pattern};

impl Desk {
    /// Writes files, each with its name as its content.
    fn write(&self, names: &[&str]) {
        for name in names {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), name).unwrap();
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Returns the lines of JSON that a command printed, in the order of their inputs.
fn reports(ran: &Ran) -> Vec<Value> {
    let text = String::from_utf8(ran.output.clone()).unwrap();
    let mut reports: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    reports.sort_by_key(|report| report["input"].as_str().unwrap().to_owned());
    reports
}

#[test]
fn several_files_go_there_and_back() {
    let desk = Desk::new(b"");
    let names = ["a", "b", "c/d", "e", "f", "g"];
    desk.write(&names);
    for jobs in [&[][..], &["--jobs", "1"], &["--jobs", "4", "--threads", "2"]] {
        desk.succeed(&[&["encrypt", "--force"], &names[..], jobs].concat());
        let sealed = names.map(|name| format!("{name}.manila"));
        for name in names {
            fs::remove_file(desk.path(name)).unwrap();
        }
        desk.succeed(&[&["decrypt"], &sealed.each_ref().map(String::as_str)[..], jobs].concat());
        assert_eq!(names.map(|name| desk.read(name)), names);
    }
}

#[test]
fn outputs_go_into_a_folder_that_is_made() {
    let desk = Desk::new(b"");
    desk.write(&["a", "b/c"]);
    desk.succeed(&["encrypt", "a", "b/c", "--to", "new/sealed"]);
    desk.succeed(&["decrypt", "new/sealed/a.manila", "new/sealed/c.manila", "--to", "back"]);
    assert_eq!(["back/a", "back/c"].map(|name| desk.read(name)), ["a", "b/c"]);
    assert!(!desk.path("a.manila").exists());
}

#[test]
fn nothing_is_written_if_two_inputs_would_write_one_output() {
    let desk = Desk::new(b"");
    desk.write(&["a/x", "b/x", "y", "y.manila"]);
    for (args, says) in [
        (&["a/x", "b/x", "--to", "out"][..], "\"a/x\" and \"b/x\" would both be written to \"out/x.manila\""),
        (&["y", "./y"], "would both be written"),
        (&["y", "y.manila", "--force"], "\"y.manila\" would be written from \"y\" and is read as well"),
        (&["a/x", "y", "-o", "out"], "give --to DIR for several"),
        (&["y", "-"], "has no name"),
        (&["y", "-o", "out", "--to", "out"], "cannot be used with"),
        (&["y", "--jobs", "0"], "invalid value"),
        (&["y", "-o", "-", "--json"], "--json prints on stdout"),
    ] {
        let ran = desk.run(&[&["encrypt"], args].concat());
        assert!(ran.code == 2 && ran.errors.contains(says), "{args:?}: {}", ran.errors);
        assert_eq!(desk.names(), ["a", "b", "plain", "y", "y.manila"]);
    }
}

#[test]
fn the_failure_of_one_file_does_not_stop_the_others() {
    let desk = Desk::new(b"");
    desk.write(&["a", "b", "c", "taken", "taken.manila"]);
    fs::create_dir(desk.path("folder")).unwrap();
    let ran = desk.run(&["encrypt", "a", "missing", "b", "folder", "taken", "c", "--jobs", "1"]);
    assert_eq!(ran.code, 1);
    let errors: Vec<_> = ran.errors.lines().filter(|line| !line.contains("made a key store")).collect();
    assert_eq!(
        errors,
        [
            "error: cannot read \"missing\": No such file or directory (os error 2)",
            "error: \"folder\" is a folder: give -r to take everything in it",
            "error: \"taken\": \"taken.manila\" exists: replace it with --force, or give another -o",
        ]
    );
    assert_eq!(desk.read("taken.manila"), "taken.manila");
    // Of messages too, where the fault is only found in the middle.
    let mut sealed = fs::read(desk.path("b.manila")).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    fs::write(desk.path("b.manila"), sealed).unwrap();
    let ran = desk.run(&["decrypt", "a.manila", "b.manila", "c.manila", "--to", "back"]);
    assert_eq!((ran.code, ran.errors.lines().count()), (1, 1), "{}", ran.errors);
    assert!(ran.errors.starts_with("error: \"b.manila\": ") && ran.errors.contains("authenticate"), "{}", ran.errors);
    let mut back: Vec<_> = fs::read_dir(desk.path("back"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    back.sort();
    assert_eq!(back, ["a", "c"]);
}

#[test]
fn nothing_is_made_if_no_file_can_be_read() {
    let desk = Desk::new(b"");
    let ran = desk.run(&["encrypt", "one", "two", "--to", "out"]);
    assert_eq!((ran.code, ran.errors.lines().count()), (1, 2), "{}", ran.errors);
    assert_eq!(desk.names(), ["plain"], "neither a key store nor a folder");
}

#[test]
fn each_file_is_reported_as_a_line_of_json() {
    let desk = Desk::new(b"");
    desk.write(&["a", "bb"]);
    let ran = desk.run(&["encrypt", "a", "bb", "missing", "--to", "out", "--json"]);
    assert_eq!(ran.code, 1);
    let sealed = reports(&ran);
    assert_eq!(sealed.len(), 3);
    for (report, name) in sealed.iter().zip(["a", "bb"]) {
        let output = format!("out/{name}.manila");
        let shown = desk.succeed(&["inspect", "--json", &output]).json();
        let output_bytes = fs::metadata(desk.path(&output)).unwrap().len();
        let expected = serde_json::json!({
            "input": name, "input_bytes": name.len(), "output": output, "output_bytes": output_bytes,
            "message_id": shown["message_id"], "error": null,
        });
        assert_eq!(*report, expected);
    }
    let error = "cannot read \"missing\": No such file or directory (os error 2)";
    let expected = serde_json::json!({
        "input": "missing", "input_bytes": null, "output": "out/missing.manila", "output_bytes": null,
        "message_id": null, "error": error,
    });
    assert_eq!(sealed[2], expected);
    let opened = reports(&desk.succeed(&["decrypt", "out/a.manila", "-o", "back", "--json"]));
    assert_eq!(opened[0]["message_id"], sealed[0]["message_id"]);
    assert_eq!((&opened[0]["output"], &opened[0]["output_bytes"]), (&Value::from("back"), &Value::from(1)));
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    let desk = Desk::new(&pattern(1000));
    desk.write(&["a"]);
    let ran = desk.run(&["encrypt", "plain", "a", "missing", "--to", "out", "--dry-run"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        String::from_utf8(ran.output).unwrap(),
        "INPUT  BYTES  OUTPUT            OUTPUT BYTES\n\
         plain  1000   out/plain.manila\n\
         a      1      out/a.manila\n"
    );
    let errors: Vec<_> = ran.errors.lines().collect();
    assert!(errors.len() == 2 && errors[0].starts_with("note: a key store would be made in "), "{errors:?}");
    assert_eq!(errors[1], "error: cannot read \"missing\": No such file or directory (os error 2)");
    assert_eq!(desk.names(), ["a", "plain"]);
    // It checks what it can: keys, context, folders, the messages.
    desk.succeed(&["encrypt", "plain", "a"]);
    let decrypt = desk.succeed(&["decrypt", "plain.manila", "--to", "back", "--dry-run", "--json"]);
    let shown = reports(&decrypt);
    assert_eq!((&shown[0]["output"], &shown[0]["output_bytes"]), (&Value::from("back/plain"), &Value::from(1000)));
    fs::write(desk.path("damaged.manila"), b"hello").unwrap();
    let before = desk.names();
    for (args, code, says) in [
        (&["decrypt", "damaged.manila"][..], 1, "\"damaged.manila\": "),
        (&["decrypt", "a.manila"], 1, "\"a\" exists"),
        (&["decrypt", "a.manila", "-o", "none/a"], 1, "there is no folder for \"none/a\""),
        (&["decrypt", "a.manila", "-o", "b", "--store", "none"], 1, "there is no key store"),
        (&["encrypt", "a", "-o", "b", "--key", "alias/a", "--store", "none"], 1, "there is no key store"),
        (&["encrypt", "a", "-o", "b", "--key-file", "none"], 1, "cannot read the key in \"none\""),
        (&["encrypt", "a", "-o", "b", "--context", "aws-crypto-a=b"], 2, "reserved"),
        (&["encrypt", "-", "-o", "a"], 1, "\"a\" exists"),
    ] {
        let ran = desk.run(&[args, &["--dry-run"]].concat());
        assert!(ran.code == code && ran.errors.contains(says), "{args:?}: {}", ran.errors);
        assert_eq!(desk.names(), before);
    }
    let log = fs::read(desk.path("keys/audit.jsonl")).unwrap();
    desk.succeed(&["decrypt", "a.manila", "-o", "b", "--dry-run"]);
    assert_eq!(fs::read(desk.path("keys/audit.jsonl")).unwrap(), log, "no key was used");
}

#[test]
fn several_files_are_inspected_one_after_the_other() {
    let desk = Desk::new(b"");
    desk.write(&["a", "b"]);
    desk.succeed(&["encrypt", "a", "b"]);
    let ran = desk.run(&["inspect", "a.manila", "missing", "b.manila"]);
    assert_eq!(
        (ran.code, ran.errors.as_str()),
        (1, "error: cannot read \"missing\": No such file or directory (os error 2)\n")
    );
    let text = String::from_utf8(ran.output).unwrap();
    let files: Vec<_> = text.lines().filter(|line| line.starts_with("file ")).collect();
    assert_eq!(files, ["file         \"a.manila\"", "file         \"b.manila\""]);
    let json = String::from_utf8(desk.succeed(&["inspect", "--json", "a.manila", "b.manila"]).output).unwrap();
    let values: Vec<Value> = serde_json::Deserializer::from_str(&json).into_iter().map(Result::unwrap).collect();
    assert_eq!(values.iter().map(|value| &value["file"]).collect::<Vec<_>>(), ["a.manila", "b.manila"]);
}
