//! Encrypted folders and targets that somebody changed: refused by name, and nothing is written elsewhere.

use std::fs;
use std::path::PathBuf;

use manila::fs::Folders;
use manila::{Client, Error, ErrorKind};

use crate::{Desk, client, content, tenant};

/// Makes a fault in `sealed`, and returns the error of decrypting it and the paths that failed.
fn fault(make: impl FnOnce(&Desk, &Client)) -> (Error, Vec<String>) {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    make(&desk, &client);
    let (error, failed) = desk.refusal(&client);
    if failed.is_empty() {
        assert!(!desk.path("copy").exists(), "{error}");
    } else {
        // The rest is done.
        assert_eq!(fs::read(desk.path("copy/b.manila/c")).unwrap(), content(300_000));
        assert!(!desk.path("copy/.manila-partial").exists());
    }
    (error, failed)
}

#[test]
fn a_file_that_is_missing_or_another_is_left_out_by_name() {
    let (error, failed) = fault(|desk, _| fs::remove_file(desk.path("sealed/files/a/2.manila")).unwrap());
    assert!(error.to_string().contains("one entry of") && error.to_string().contains("is missing"), "{error}");
    assert_eq!((error.kind(), failed.as_slice()), (ErrorKind::Io, ["a/2".to_owned()].as_slice()));

    let (error, failed) = fault(|desk, _| {
        let [one, other] = ["a/1", "a/2"].map(|name| desk.path(&format!("sealed/files/{name}.manila")));
        fs::rename(&one, desk.path("away")).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(desk.path("away"), &other).unwrap();
    });
    assert_eq!(
        (error.kind(), failed.as_slice()),
        (ErrorKind::ContextMismatch, ["a/1", "a/2"].map(str::to_owned).as_slice())
    );

    let (error, failed) = fault(|desk, _| {
        let path = desk.path("sealed/files/b.manila");
        assert!(path.is_dir(), "the file `b` is elsewhere, because a folder has its name");
        fs::write(path.join("more.manila"), "added").unwrap();
    });
    assert!(error.to_string().contains("is not in the manifest"), "{error}");
    assert!(failed[0].ends_with("more.manila"), "{failed:?}");

    let (error, _) = fault(|desk, _| {
        let path = desk.path("sealed/files/a/2.manila");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);

    let (error, _) = fault(|desk, client| {
        // A message of this folder that was made by someone with the keys.
        let path = desk.path("sealed/files/a/2.manila");
        let context = client.decrypt(&fs::read(&path).unwrap(), &tenant()).unwrap().header.encryption_context().clone();
        fs::write(&path, client.encrypt(b"more than there was", &context).unwrap()).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::ContextMismatch);
}

#[cfg(unix)]
#[test]
fn links_and_devices_in_an_encrypted_folder_are_not_followed() {
    use std::os::unix::fs::symlink;
    for target in ["/dev/zero", "2.moved"] {
        let (error, failed) = fault(|desk, _| {
            let path = desk.path("sealed/files/a/2.manila");
            fs::rename(&path, desk.path("2.moved")).unwrap();
            symlink(if target.starts_with('/') { PathBuf::from(target) } else { desk.path(target) }, path).unwrap();
        });
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
        assert_eq!(failed, ["a/2"]);
    }
}

#[test]
fn a_manifest_that_is_missing_or_another_is_refused_before_anything_is_written() {
    let (error, _) = fault(|desk, _| fs::remove_file(desk.path("sealed/manifest.manila")).unwrap());
    assert!(error.to_string().contains("is missing"), "{error}");
    let (error, _) = fault(|desk, _| {
        let path = desk.path("sealed/manifest.manila");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::Truncated);
    let (error, _) = fault(|desk, _| {
        fs::copy(desk.path("sealed/files/a/2.manila"), desk.path("sealed/manifest.manila")).unwrap();
    });
    assert!(error.to_string().contains("is a message that is not the manifest"), "{error}");

    let (error, failed) = {
        let (desk, client) = (Desk::new(), client(1));
        desk.encrypt(&client);
        Folders::new(&client).encrypt(desk.path("plain"), desk.path("other"), &tenant()).unwrap();
        fs::copy(desk.path("other/manifest.manila"), desk.path("sealed/manifest.manila")).unwrap();
        desk.refusal(&client)
    };
    // All files but the hidden ones, which are missing under their names in the other folder.
    assert_eq!((error.kind(), failed.len()), (ErrorKind::ContextMismatch, 6), "{failed:?}");
}

#[test]
fn a_forged_manifest_writes_nothing() {
    let attributes = r#""attributes":{"mode":493,"modified":[0,0]}"#;
    let digest = "0".repeat(64);
    let file = |path: &str| {
        format!(r#"{{"file":{{"path":"{path}",{attributes},"len":5,"digest":"{digest}","hidden":null}}}}"#)
    };
    let folder = |path: &str| format!(r#"{{"folder":{{"path":"{path}",{attributes}}}}}"#);
    let link = |path: &str, target: &str| format!(r#"{{"link":{{"path":"{path}","target":"{target}"}}}}"#);
    let long = "n".repeat(70_000);
    for lines in [
        vec![file("../out")],
        vec![file("/tmp/manila-out")],
        vec![file("")],
        vec![file("x"), file("x")],
        vec![folder("x"), file("x/y"), file("x")],
        vec![file("X"), file("x")],
        vec![file("e\u{301}"), file("\u{e9}")],
        vec![file(&"n".repeat(256))],
        vec![file(&long)],
        vec![file(".manila-partial/x")],
        vec![link("x", "/etc")],
        vec![link("x", "../x")],
        vec![link("x", ".."), file("x/out")],
        vec![format!(r#"{{"device":{{"path":"x",{attributes}}}}}"#)],
        vec![file("x").replace("null", "\"../../../../../../../../out/of/it\"")],
        vec![file("x").replace("null", "\"..\"")],
        vec![file("x").replace(&digest, "")],
        vec!["not JSON".to_owned()],
    ] {
        let (error, failed) = fault(|desk, client| {
            desk.forge(client, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        });
        assert!(failed.is_empty(), "{failed:?}");
        assert!(matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Malformed), "{error}");
        assert!(error.to_string().contains("manifest.manila"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_links_in_the_target() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    for folder in ["copy", "outside"] {
        fs::create_dir(desk.path(folder)).unwrap();
    }
    std::os::unix::fs::symlink(desk.path("outside"), desk.path("copy/a")).unwrap();
    std::os::unix::fs::symlink(desk.path("victim"), desk.path("copy/b")).unwrap();
    let folders = Folders::new(&client).replace(true);
    let error = folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("6 entries"), "{error}");
    assert_eq!(fs::read_dir(desk.path("outside")).unwrap().count(), 0);
    assert!(!desk.path("victim").exists());
    assert_eq!(fs::read(desk.path("copy/b.manila/c")).unwrap(), content(300_000));

    std::os::unix::fs::symlink(desk.path("outside"), desk.path("link")).unwrap();
    assert!(folders.decrypt(desk.path("sealed"), desk.path("link"), &tenant()).is_err());
    assert!(folders.encrypt(desk.path("plain"), desk.path("link"), &tenant()).is_err());
    assert_eq!(fs::read_dir(desk.path("outside")).unwrap().count(), 0);
}

#[test]
fn a_target_that_someone_else_prepared_is_not_continued() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    fs::create_dir_all(desk.path("copy/.manila-partial")).unwrap();
    fs::create_dir(desk.path("copy/a")).unwrap();
    let folders = Folders::new(&client);
    for source in [None, Some("something else")] {
        if let Some(source) = source {
            fs::write(desk.path("copy/.manila-partial/source"), source).unwrap();
        }
        assert!(folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).is_err());
    }
    // Nothing but a folder for temporary files is as good as an empty one.
    fs::remove_dir(desk.path("copy/a")).unwrap();
    fs::remove_file(desk.path("copy/.manila-partial/source")).unwrap();
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
}

#[cfg(unix)]
#[test]
fn a_lock_that_is_a_link_or_a_pipe_is_refused() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    let lock = desk.path("sealed/.lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(desk.path("made"), &lock).unwrap();
    let folders = Folders::new(&client).replace(true);
    let error = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("cannot lock"), "{error}");
    assert!(!desk.path("made").exists());
    fs::remove_file(&lock).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&lock).status().unwrap();
    assert!(made.success());
    let error = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("cannot lock"), "{error}");
}

#[test]
fn a_journal_with_the_last_number_is_refused_and_the_manifest_stays() {
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    fs::create_dir(desk.path("sealed/partial")).unwrap();
    fs::write(desk.path(&format!("sealed/partial/journal.{}", u64::MAX)), "planted").unwrap();
    let folders = Folders::new(&client).replace(true);
    let error = folders.encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap_err();
    assert!(error.to_string().contains("no number left"), "{error}");
    folders.decrypt(desk.path("sealed"), desk.path("copy"), &tenant()).unwrap();
}

#[cfg(unix)]
#[test]
fn messages_with_names_that_are_not_unicode_are_removed_too() {
    use std::os::unix::ffi::OsStrExt;
    let (desk, client) = (Desk::new(), client(1));
    desk.encrypt(&client);
    let stray = desk.path("sealed/files").join(std::ffi::OsStr::from_bytes(b"\xff.manila"));
    fs::write(&stray, "stray").unwrap();
    Folders::new(&client).replace(true).encrypt(desk.path("plain"), desk.path("sealed"), &tenant()).unwrap();
    assert!(!stray.exists());
}
