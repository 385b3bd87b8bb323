//! The keys that files are encrypted with: of the key store, in files, several at once.

use std::fs;

use crate::desk::Desk;

/// Known keys, of no use but here: 32 bytes for AES, and an RSA key pair.
const AES: [u8; 32] = [7; 32];
const PRIVATE: &str = include_str!("rsa-private.pem");
const PUBLIC: &str = include_str!("rsa-public.pem");

impl Desk {
    /// Writes a file that only its owner can read.
    pub fn secret(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
        self.set_mode(name, 0o600);
    }

    #[cfg_attr(not(unix), allow(unused_variables))]
    fn set_mode(&self, name: &str, mode: u32) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn create_key(&self, alias: &str) -> String {
        let made = self.succeed(&["keys", "create", "--alias", alias, "--json"]).json();
        made["arn"].as_str().unwrap().to_owned()
    }

    /// Returns the names of the keys that a file was encrypted under.
    pub fn keys_of(&self, name: &str) -> Vec<String> {
        let shown = self.succeed(&["inspect", "--json", name]).json();
        let keys = shown["encrypted_data_keys"].as_array().unwrap().iter();
        keys.map(|key| format!("{}/{}", key["provider_id"].as_str().unwrap(), key["key_name"].as_str().unwrap()))
            .collect()
    }

    #[track_caller]
    fn refuses(&self, code: i32, args: &[&str], says: &str) {
        let ran = self.run(args);
        assert!(ran.code == code && ran.errors.contains(says), "{args:?}: {} {}", ran.code, ran.errors);
        assert!(code == 2 || ran.errors.lines().count() == 1, "{args:?}: {}", ran.errors);
    }
}

#[test]
fn a_key_of_the_store_is_named_by_id_arn_or_alias() {
    let desk = Desk::new(b"x");
    let [arn, other] = ["alias/a", "alias/b"].map(|alias| desk.create_key(alias));
    let id = arn.rsplit_once('/').unwrap().1;
    for (n, name) in [id, &arn, "alias/a"].into_iter().enumerate() {
        let out = format!("out{n}");
        desk.succeed(&["encrypt", "plain", "-o", &out, "--key", name]);
        assert_eq!(desk.keys_of(&out), [format!("aws-kms/{arn}")]);
        desk.succeed(&["decrypt", &out, "-o", "back", "--force"]);
        desk.succeed(&["decrypt", &out, "-o", "back", "--force", "--key", name]);
        desk.refuses(1, &["decrypt", &out, "-o", "no", "--key", &other], "none of the message's encrypted data keys");
    }
    desk.refuses(1, &["encrypt", "plain", "--key", "alias/none"], "alias/none");
    assert!(!desk.path("plain.manila").exists());
    // The default key was not needed, so it was not made.
    desk.refuses(1, &["keys", "show", "alias/file"], "alias/file");
}

#[test]
fn naming_a_key_makes_no_store_unless_it_is_the_default_one() {
    let desk = Desk::new(b"x");
    desk.refuses(1, &["encrypt", "plain", "--key", "alias/a"], "there is no key store in");
    assert_eq!(desk.names(), ["plain"]);
    let made = desk.succeed(&["encrypt", "plain", "--key", "alias/file"]);
    assert!(made.errors.contains("made a key store"), "{}", made.errors);
}

#[test]
fn each_of_several_keys_decrypts_alone() {
    let desk = Desk::new(b"x");
    let [one, two] = ["alias/a", "alias/b"].map(|alias| desk.create_key(alias));
    desk.secret("aes.key", AES);
    desk.secret("rsa.pem", PRIVATE);
    fs::write(desk.path("rsa.pub"), PUBLIC).unwrap();
    let keys = ["--key", "alias/a", "--key", &two, "--key-file", "aes.key", "--key-file", "rsa.pub"];
    desk.succeed(&[&["encrypt", "plain"], &keys[..]].concat());
    let names = [format!("aws-kms/{one}"), format!("aws-kms/{two}"), "manila/aes".to_owned(), "manila/rsa".to_owned()];
    assert_eq!(desk.keys_of("plain.manila"), names);
    for key in [["--key", &one], ["--key", "alias/b"], ["--key-file", "aes.key"], ["--key-file", "rsa.pem"]] {
        desk.succeed(&[&["decrypt", "plain.manila", "-o", "back", "--force"], &key[..]].concat());
    }
    // Without an option the key store decrypts, also with the second key once the first is disabled.
    desk.succeed(&["keys", "disable", "alias/a"]);
    desk.succeed(&["decrypt", "plain.manila", "-o", "back", "--force"]);
    desk.refuses(1, &["decrypt", "plain.manila", "-o", "no", "--key", "alias/a"], "DisabledException");
}

#[test]
fn a_key_in_a_file_needs_no_key_store() {
    let base64 = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
    for (key, name) in [
        (AES.to_vec(), "manila/aes"),
        (AES[..24].to_vec(), "manila/aes"),
        (AES[..16].to_vec(), "manila/aes"),
        (base64.into(), "manila/aes"),
        (PRIVATE.into(), "manila/rsa"),
    ] {
        let desk = Desk::new(b"x");
        desk.secret("key", key);
        desk.succeed(&["encrypt", "plain", "--key-file", "key"]);
        assert_eq!(desk.keys_of("plain.manila"), [name]);
        desk.succeed(&["decrypt", "plain.manila", "-o", "back", "--key-file", "key"]);
        assert_eq!(desk.names(), ["back", "key", "plain", "plain.manila"]);
        desk.refuses(1, &["decrypt", "plain.manila", "-o", "no"], "there is no key store in");
    }
    // The bytes and their base64 are one key.
    let desk = Desk::new(b"x");
    desk.secret("bytes", AES);
    desk.secret("text", base64);
    desk.succeed(&["encrypt", "plain", "--key-file", "bytes"]);
    desk.succeed(&["decrypt", "plain.manila", "-o", "back", "--key-file", "text"]);
}

#[test]
fn a_key_in_a_file_has_the_names_that_it_is_given() {
    let desk = Desk::new(b"x");
    desk.secret("a=b", AES);
    desk.succeed(&["encrypt", "plain", "--key-file", "acme/backup/2026=a=b"]);
    assert_eq!(desk.keys_of("plain.manila"), ["acme/backup/2026"]);
    desk.succeed(&["decrypt", "plain.manila", "-o", "back", "--key-file", "acme/backup/2026=a=b"]);
    for other in ["./a=b", "acme/backup=a=b", "other/backup/2026=a=b"] {
        desk.refuses(1, &["decrypt", "plain.manila", "-o", "no", "--key-file", other], "none of the message's");
    }
    desk.refuses(2, &["encrypt", "plain", "--key-file", "a=b"], "as ./FILE");
    desk.refuses(2, &["encrypt", "plain", "--key-file", "a/=b"], "none of them empty");
    desk.refuses(1, &["encrypt", "plain", "-o", "no", "--key-file", "aws-kms/a=a=b"], "reserved for AWS KMS");
}

#[test]
fn a_file_that_holds_no_key_is_refused() {
    let desk = Desk::new(b"x");
    for (bytes, says) in [
        (&[7; 33][..], "holds no key"),
        (b"", "holds no key"),
        (b"BwcHBwcHBwcHBwcHBwcHBw==", "is a key of 24 bytes or the base64 of one of 16"),
        (b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH", "is a key of 32 bytes or the base64 of one of 24"),
        (b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", "holds no RSA key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no RSA key"),
    ] {
        desk.secret("key", bytes);
        desk.refuses(1, &["encrypt", "plain", "--key-file", "key"], says);
    }
    desk.refuses(1, &["encrypt", "plain", "--key-file", "none"], "cannot read the key in \"none\"");
    fs::write(desk.path("rsa.pub"), PUBLIC).unwrap();
    desk.succeed(&["encrypt", "plain", "--key-file", "rsa.pub"]);
    desk.refuses(1, &["decrypt", "plain.manila", "-o", "no", "--key-file", "rsa.pub"], "give the private key");
    assert_eq!(desk.names(), ["key", "plain", "plain.manila", "rsa.pub"]);
}

#[cfg(unix)]
#[test]
fn a_secret_key_that_others_can_read_is_refused() {
    let desk = Desk::new(b"x");
    for (key, is_secret) in [(&AES[..], true), (PRIVATE.as_bytes(), true), (PUBLIC.as_bytes(), false)] {
        desk.secret("key", key);
        desk.set_mode("key", 0o644);
        match is_secret {
            true => desk.refuses(1, &["encrypt", "plain", "--key-file", "key"], "0644: chmod 600"),
            false => drop(desk.succeed(&["encrypt", "plain", "--key-file", "key"])),
        }
    }
}

#[cfg(not(feature = "aws-kms"))]
#[test]
fn a_program_without_aws_says_how_to_get_one_with_it() {
    let desk = Desk::new(b"x");
    let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    desk.succeed(&["encrypt", "plain"]);
    for args in [["encrypt", "plain", "-o", "no"], ["decrypt", "plain.manila", "-o", "no"]] {
        desk.refuses(2, &[&args[..], &["--aws-key", arn]].concat(), "cargo install manila-cli --features aws-kms");
    }
}
