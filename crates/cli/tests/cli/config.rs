//! The configuration file: what a profile sets, what comes before it, and how mistakes are shown.

use std::fs;

use crate::desk::{Desk, Ran};

impl Desk {
    fn configure(&self, text: &str) {
        self.secret("config.toml", text);
    }

    /// Runs a command with the configuration file of the desk and no variable but these.
    fn run_configured(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(args);
        command.env_remove("MANILA_STORE").env("MANILA_CONFIG", self.path("config.toml"));
        Ran::from(command.envs(variables.iter().copied()).output().unwrap())
    }

    #[track_caller]
    fn succeed_configured(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let ran = self.run_configured(args, variables);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.errors);
        ran
    }
}

#[test]
fn an_option_comes_before_a_variable_before_a_profile_before_the_default() {
    let desk = Desk::new(b"x");
    desk.configure("[default]\nstore = 'of-default'\n\n[work]\nstore = 'of-work'\n");
    for (args, variables, store) in [
        (
            &["--store", "of-option"][..],
            &[("MANILA_STORE", "of-variable"), ("MANILA_PROFILE", "work")][..],
            "of-option",
        ),
        (&["--profile", "work"], &[("MANILA_STORE", "of-variable")], "of-variable"),
        (&["--profile", "work"], &[("MANILA_PROFILE", "none")], "of-work"),
        (&[], &[("MANILA_PROFILE", "work")], "of-work"),
        (&[], &[], "of-default"),
    ] {
        desk.succeed_configured(&[&["encrypt", "plain", "--force"], args].concat(), variables);
        assert!(desk.path(store).join("root.key").exists(), "{args:?} {variables:?}");
        fs::remove_dir_all(desk.path(store)).unwrap();
        assert_eq!(desk.names(), ["config.toml", "plain", "plain.manila"]);
    }
    // Other commands take the profile as well.
    let shown = desk.succeed_configured(&["keys", "create", "--profile", "work"], &[]);
    assert!(shown.errors.contains("of-work"), "{}", shown.errors);
}

#[cfg(target_os = "linux")]
#[test]
fn the_file_is_in_the_configuration_directory() {
    let desk = Desk::new(b"x");
    fs::create_dir_all(desk.path("configuration/manila")).unwrap();
    fs::write(desk.path("configuration/manila/config.toml"), "[default]\nstore = '../../here'\n").unwrap();
    let mut command = desk.command(&["encrypt", "plain"]);
    assert_eq!(command.env_remove("MANILA_STORE").status().unwrap().code(), Some(0));
    assert!(desk.path("here/root.key").exists(), "a path is relative to the folder of the file");
}

#[test]
fn the_keys_of_a_profile_encrypt_and_decrypt() {
    let desk = Desk::new(b"x");
    for alias in ["alias/a", "alias/b"] {
        desk.succeed(&["keys", "create", "--alias", alias]);
    }
    desk.secret("backup.key", [7; 32]);
    fs::write(desk.path("rsa.pub"), include_str!("rsa-public.pem")).unwrap();
    desk.configure(
        "[default]\nstore = 'keys'\nkey = 'alias/a'\nkey_file = ['acme/backup=backup.key', 'rsa.pub']\n\
         [offline]\nkey_file = 'acme/backup=backup.key'\n",
    );
    let names = |args: &[&str], variables: &[(&str, &str)]| {
        desk.succeed_configured(&[&["encrypt", "plain", "--force"], args].concat(), variables);
        let names = desk.keys_of("plain.manila");
        names
            .into_iter()
            .map(|name| name.replace("manila/", "").split("arn:").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&[], &[("MANILA_KEY", "alias/b")]), ["aws-kms/"]);
    // Which key encrypts says nothing of those that decrypt: files from before are under others.
    desk.succeed_configured(&["decrypt", "plain.manila", "-o", "back", "--force"], &[]);
    let variable = [("MANILA_KEY", "alias/a")];
    desk.succeed_configured(&["decrypt", "plain.manila", "-o", "back", "--force"], &variable);
    desk.succeed_configured(
        &["decrypt", "plain.manila", "-o", "back", "--force", "--profile", "offline"],
        &[("MANILA_KEY", "alias/a"), ("MANILA_STORE", "keys")],
    );
    assert_eq!(names(&["--key-file", "rsa.pub"], &[("MANILA_KEY", "alias/b")]), ["rsa"]);
    assert_eq!(names(&["--profile", "offline"], &[]), ["acme/backup"]);
    assert_eq!(names(&[], &[]), ["aws-kms/", "acme/backup", "rsa"]);
    // Without the store the key in the file decrypts, and the public key is not in the way.
    for profile in ["default", "offline"] {
        desk.succeed_configured(&["decrypt", "plain.manila", "-o", "back", "--force", "--profile", profile], &[]);
        fs::rename(desk.path("keys"), desk.path(profile)).unwrap();
        let ran = desk.run_configured(&["decrypt", "plain.manila", "-o", "back", "--force", "--profile", profile], &[]);
        assert_eq!(ran.code == 0, profile == "offline", "{}", ran.errors);
        fs::rename(desk.path(profile), desk.path("keys")).unwrap();
    }
}

#[test]
fn the_context_of_a_profile_is_bound_and_required() {
    let desk = Desk::new(b"x");
    desk.configure("[default]\nstore = 'keys'\n[acme]\nstore = 'keys'\ncontext = { tenant = 'acme', year = '2026' }\n");
    desk.succeed_configured(&["encrypt", "plain", "--profile", "acme", "--context", "year=2027"], &[]);
    let shown = desk.succeed(&["inspect", "--json", "plain.manila"]).json();
    assert_eq!(shown["encryption_context"], serde_json::json!({"tenant": "acme", "year": "2027"}));
    let decrypt = ["decrypt", "plain.manila", "-o", "back", "--force"];
    let refused = desk.run_configured(&[&decrypt[..], &["--profile", "acme"]].concat(), &[]);
    assert!(refused.code == 1 && refused.errors.contains("\"year\""), "{}", refused.errors);
    desk.succeed_configured(&[&decrypt[..], &["--profile", "acme", "--context", "year=2027"]].concat(), &[]);
    desk.succeed_configured(&decrypt, &[]);
}

#[test]
fn the_root_key_of_a_profile_is_that_of_its_store_alone() {
    let desk = Desk::new(b"x");
    desk.succeed(&["store", "init", "--root-key-file", "root"]);
    desk.configure("[default]\nstore = 'keys'\nroot_key_file = 'root'\n");
    desk.succeed_configured(&["encrypt", "plain"], &[]);
    desk.succeed_configured(&["encrypt", "plain", "-o", "other", "--store", "new"], &[]);
    assert!(desk.path("new/root.key").exists());
}

#[test]
fn mistakes_are_shown_with_file_and_line() {
    let desk = Desk::new(b"x");
    for (text, says) in [
        (
            "[default]\nstore = 'keys'\nkeys = 'a'\n",
            "config.toml\", line 3: \"keys\" is not a setting: there are store,",
        ),
        ("# nothing\nstore = 'keys'\n", "line 2: \"store\" is not a profile: begin one with [default]"),
        ("[default]\n\nstore = 3\n", "line 3: this value is not a text: put it in quotes"),
        ("[default]\nkey = ['a',\n  true]\n", "line 3: this value is not a text"),
        ("[default]\npassphrase = 'x'\n", "line 2: passphrase is true or false"),
        ("[default]\ncontext = 'a=b'\n", "line 2: context is a table"),
        ("[default]\nkey_file = 'a=b'\n", "line 2: give it as NAMESPACE/NAME=FILE"),
        ("[default]\nstore = 'a'\nstore = 'b'\n", "line 3: duplicate key"),
        ("[default]\nstore = keys\n", "line 2: "),
        ("[default\n", "line 1: "),
        // Also in a profile that is not used.
        ("[default]\nstore = 'a'\n[work]\ncolour = 'b'\n", "line 4: \"colour\" is not a setting"),
    ] {
        desk.configure(text);
        let ran = desk.run_configured(&["encrypt", "plain"], &[]);
        assert!(ran.code == 1 && ran.errors.contains(says), "{text}: {}", ran.errors);
        assert_eq!(ran.errors.lines().count(), 1, "{}", ran.errors);
        assert_eq!(desk.names(), ["config.toml", "plain"]);
    }
    desk.configure("[work]\n[play]\n");
    let unknown = desk.run_configured(&["encrypt", "plain", "--profile", "holiday"], &[]);
    assert!(
        unknown.errors.contains("no profile \"holiday\" in ")
            && unknown.errors.contains("which has \"play\", \"work\"")
    );
    fs::remove_file(desk.path("config.toml")).unwrap();
    let missing = desk.run_configured(&["encrypt", "plain"], &[]);
    assert!(missing.code == 1 && missing.errors.contains("cannot read the configuration"), "{}", missing.errors);
    let nowhere = desk.run(&["encrypt", "plain", "--profile", "work"]);
    assert!(nowhere.code == 1 && nowhere.errors.contains("no profile \"work\": write it into"), "{}", nowhere.errors);
    assert_eq!(desk.names(), ["plain"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_write_is_refused() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let desk = Desk::new(b"x");
    desk.configure("[default]\nstore = 'here'\n");
    let file = desk.path("config.toml");
    let refused = |says: &str| {
        let ran = desk.run_configured(&["encrypt", "plain"], &[]);
        assert!(ran.code == 1 && ran.errors.contains(says), "{}", ran.errors);
        assert_eq!((ran.errors.lines().count(), desk.names().len()), (1, 2), "{}", ran.errors);
    };
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        refused("chmod go-w it");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    // Only root can give files away.
    if file.metadata().unwrap().uid() == 0 {
        chown(&file, Some(1000), None).unwrap();
        refused("belongs to another user, number 1000");
        chown(&file, Some(0), None).unwrap();
    }
    desk.succeed_configured(&["encrypt", "plain"], &[]);
}

#[cfg(unix)]
#[test]
fn nothing_waits_for_the_writer_of_a_pipe() {
    let desk = Desk::new(b"x");
    for name in ["config.toml", "key"] {
        assert!(std::process::Command::new("mkfifo").arg(desk.path(name)).status().unwrap().success());
    }
    let ran = desk.run_configured(&["encrypt", "plain"], &[]);
    assert!(ran.code == 1 && ran.errors.contains("config.toml\": it is not a regular file"), "{}", ran.errors);
    let ran = desk.run(&["encrypt", "plain", "--key-file", "key"]);
    assert!(ran.code == 1 && ran.errors.contains("\"key\": it is not a regular file"), "{}", ran.errors);
}

#[test]
fn a_tilde_is_the_home_directory() {
    let desk = Desk::new(b"x");
    fs::create_dir(desk.path("home")).unwrap();
    desk.secret("home/backup.key", [7; 32]);
    desk.configure(
        "[default]\nstore = '~/keys'\n[offline]\nkey_file = 't/backup=~/backup.key'\n\
         [other]\nroot_key_file = '~/none'\n",
    );
    desk.succeed_configured(&["encrypt", "plain"], &[]);
    assert!(desk.path("home/keys/root.key").exists());
    desk.succeed_configured(&["encrypt", "plain", "--force", "--profile", "offline"], &[]);
    assert_eq!(desk.keys_of("plain.manila"), ["t/backup"]);
    assert_eq!(desk.names(), ["config.toml", "home", "plain", "plain.manila"]);
}
