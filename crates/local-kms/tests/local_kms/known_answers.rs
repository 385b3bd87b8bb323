//! Key operations, checked against known answers and the limits of AWS.

use manila_core::testing::ready;
use manila_local_kms::{CreateKey, EncryptionContext, ErrorKind, KeySpec, Kms, KmsRequest, LocalKms};

use crate::{both, code, context, decrypt, encrypt};

const SPECS: [(KeySpec, usize); 4] =
    [(KeySpec::Hmac224, 28), (KeySpec::Hmac256, 32), (KeySpec::Hmac384, 48), (KeySpec::Hmac512, 64)];

/// A test case of RFC 4231, with its MACs for SHA-224, 256, 384 and 512.
struct Known {
    key: &'static [u8],
    message: &'static [u8],
    macs: [&'static str; 4],
}

const COUNTED: [u8; 25] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25];

/// Test cases 1 to 4. Their keys are shorter than the KMS allows, but HMAC pads keys with zeros anyway.
const SHORT_KEYS: [Known; 4] = [
    Known {
        key: &[0x0b; 20],
        message: b"Hi There",
        macs: [
            "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ],
    },
    Known {
        key: b"Jefe",
        message: b"what do ya want for nothing?",
        macs: [
            "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ],
    },
    Known {
        key: &[0xaa; 20],
        message: &[0xdd; 50],
        macs: [
            "7fb3cb3588c6c1f6ffa9694d7d6ad2649365b0c1f65d69d1ec8333ea",
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
            "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
        ],
    },
    Known {
        key: &COUNTED,
        message: &[0xcd; 50],
        macs: [
            "6c11506874013cac6a2abc1bb382627cec6a90d86efc012de7afec5a",
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb",
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
        ],
    },
];

/// The hashes of the key of test cases 6 and 7, 131 bytes of 0xaa: HMAC itself hashes keys that are longer than a
/// block.
const LONG_KEYS: [&str; 4] = [
    "89f0bf9d18e36866b9198d9d1ba99f4ca7cb839cf97cd971e3ef416c",
    "45ad4b37c6e2fc0a2cfcc1b5da524132ec707615c2cae1dbbc43c97aa521db81",
    "ad51ddb780484ec6ceb496bcc1e24ef82320e2e2687d6cbaef37cf9f47c5a6fddae519e96c986f45975dbc31b8099137",
    "e1b52c4ff8ce9c4b60bd8ec785ab7bf3dffc7023f7c51588f96b94eeba80ca3b9b9ed05ab2ac8797bb7039d681f2e41fcfe6dddab2e95122d9c716c2b8406bd4",
];
const CASE_6: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";
const CASE_6_MACS: [&str; 4] = [
    "95e9a0db962095adaebe9b2d6f0dbce2d499f112f2d2b7273fa6870e",
    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
    "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
];
const CASE_7: &[u8] = b"This is a test using a larger than block-size key and a larger than block-size data. \
    The key needs to be hashed before being used by the HMAC algorithm.";
const CASE_7_MACS: [&str; 4] = [
    "3a854166ac5d9f023f54d517d0b39dbd946770db9c2b95c9f6f565d1",
    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e",
    "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58",
];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Makes a key with known material.
fn hmac_key(kms: &LocalKms, spec: KeySpec, material: &[u8]) -> String {
    let key = kms.create_key(CreateKey::default().spec(spec).imported()).unwrap();
    kms.import_key_material(key.arn(), material, None).unwrap();
    key.arn().to_owned()
}

#[test]
fn codes_are_those_of_rfc_4231() {
    for (kms, _, _folder) in both() {
        for (at, (spec, len)) in SPECS.into_iter().enumerate() {
            let check = |key: &str, message: &[u8], mac: &str| {
                let mac = unhex(mac);
                assert_eq!((kms.generate_mac(key, message).unwrap(), mac.len()), (mac.clone(), len), "{spec:?}");
                kms.verify_mac(key, message, &mac).unwrap();
            };
            for known in SHORT_KEYS {
                let mut material = known.key.to_vec();
                material.resize(len, 0);
                check(&hmac_key(&kms, spec, &material), known.message, known.macs[at]);
            }
            let key = hmac_key(&kms, spec, &unhex(LONG_KEYS[at]));
            check(&key, CASE_6, CASE_6_MACS[at]);
            check(&key, CASE_7, CASE_7_MACS[at]);
        }
    }
}

#[test]
fn a_code_is_good_for_its_key_and_message_alone() {
    for (kms, _, _folder) in both() {
        for (spec, len) in SPECS {
            let [key, other] = [(); 2].map(|()| kms.create_key(CreateKey::default().spec(spec)).unwrap());
            let mac = kms.generate_mac(key.arn(), b"message").unwrap();
            assert_eq!(mac.len(), len);
            kms.verify_mac(key.key_id(), b"message", &mac).unwrap();
            let mut wrong: Vec<_> = (1..len).map(|cut| mac[..cut].to_vec()).collect();
            wrong.push([&mac[..], b"\0"].concat());
            wrong.extend((0..len).map(|at| {
                let mut changed = mac.clone();
                changed[at] ^= 1;
                changed
            }));
            let mut errors: Vec<_> =
                wrong.iter().map(|mac| kms.verify_mac(key.arn(), b"message", mac).unwrap_err()).collect();
            errors.push(kms.verify_mac(key.arn(), b"massage", &mac).unwrap_err());
            errors.push(kms.verify_mac(other.arn(), b"message", &mac).unwrap_err());
            for error in errors {
                assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, "KMSInvalidMacException"));
            }
        }
    }
}

#[test]
fn messages_and_plaintexts_have_1_to_4096_bytes() {
    for (kms, _, _folder) in both() {
        let hmac = kms.create_key(CreateKey::default().spec(KeySpec::Hmac256)).unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        for len in [1, 4096] {
            let message = vec![1; len];
            let mac = kms.generate_mac(hmac.arn(), &message).unwrap();
            kms.verify_mac(hmac.arn(), &message, &mac).unwrap();
            assert_eq!(decrypt(&kms, key.arn(), &encrypt(&kms, key.arn(), &message).unwrap()).unwrap(), message);
        }
        for len in [0, 4097] {
            let message = vec![1; len];
            for error in [
                kms.generate_mac(hmac.arn(), &message).unwrap_err(),
                kms.verify_mac(hmac.arn(), &message, &[0; 32]).unwrap_err(),
                encrypt(&kms, key.arn(), &message).unwrap_err(),
            ] {
                assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{len}");
            }
        }
    }
}

#[test]
fn data_keys_and_random_bytes_are_1_to_1024_and_never_the_same() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let bound = context(&[("a", "b")]);
        let request = KmsRequest::new(key.arn(), &bound);
        for len in [1, 16, 32, 1024] {
            let made = ready(kms.generate_data_key(request, len)).unwrap();
            let sealed = kms.generate_data_key_without_plaintext(request, len).unwrap();
            let plaintext = made.plaintext.expose_secret().to_vec();
            assert_eq!((made.key_arn.as_str(), sealed.key_arn.as_str()), (key.arn(), key.arn()));
            assert_eq!(decrypt(&kms, key.arn(), &made.ciphertext).unwrap(), plaintext);
            let unseen = decrypt(&kms, key.arn(), &sealed.ciphertext).unwrap();
            let random = kms.generate_random(len).unwrap();
            assert_eq!([plaintext.len(), unseen.len(), random.len()], [len; 3]);
            assert_ne!(made.ciphertext, sealed.ciphertext);
            if len > 1 {
                assert!(plaintext != unseen && unseen != random && random != kms.generate_random(len).unwrap());
            }
        }
        for len in [0, 1025] {
            for error in [
                ready(kms.generate_data_key(request, len)).unwrap_err(),
                kms.generate_data_key_without_plaintext(request, len).unwrap_err(),
                kms.generate_random(len).unwrap_err(),
            ] {
                assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"), "{len}");
            }
        }
    }
}

#[test]
fn every_name_of_a_key_does_in_every_operation() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default().alias("alias/a")).unwrap();
        let hmac = kms.create_key(CreateKey::default().spec(KeySpec::Hmac256).alias("alias/mac")).unwrap();
        let names = |key: &manila_local_kms::KeyMetadata, alias: &str| {
            let arn = format!("arn:aws:kms:local:000000000000:{alias}");
            [key.key_id().to_owned(), key.arn().to_owned(), alias.to_owned(), arn]
        };
        let bound = context(&[("a", "b")]);
        let of_key = names(&key, "alias/a");
        for (at, name) in of_key.iter().enumerate() {
            let next = KmsRequest::new(&of_key[(at + 1) % of_key.len()], &bound);
            let request = KmsRequest::new(name, &bound);
            let made = ready(kms.generate_data_key(request, 32)).unwrap();
            let sealed = ready(kms.encrypt(request, made.plaintext.expose_secret())).unwrap();
            let again = kms.re_encrypt(&sealed.ciphertext, request, next).unwrap();
            let unseen = kms.generate_data_key_without_plaintext(request, 32).unwrap();
            // The answer names the key's ARN, whichever name was given.
            for arn in [&made.key_arn, &sealed.key_arn, &again.key_arn, &unseen.key_arn] {
                assert_eq!(arn, key.arn(), "{name}");
            }
            let opened = ready(kms.decrypt(next, &again.ciphertext)).unwrap();
            assert_eq!(opened.plaintext.expose_secret(), made.plaintext.expose_secret());
            assert_eq!(opened.key_arn, key.arn());
        }
        for name in names(&hmac, "alias/mac") {
            kms.verify_mac(&name, b"x", &kms.generate_mac(&name, b"x").unwrap()).unwrap();
        }
    }
}

#[test]
fn a_context_is_bound_pair_by_pair() {
    for (kms, _, _folder) in both() {
        let key = kms.create_key(CreateKey::default()).unwrap();
        let contexts = [
            context(&[("ab", "c")]),
            context(&[("a", "bc")]),
            context(&[("abc", "")]),
            context(&[("a", "b"), ("c", "d")]),
            context(&[("a", "bcd")]),
            context(&[("A", "bc")]),
            EncryptionContext::empty(),
        ];
        for (at, bound) in contexts.iter().enumerate() {
            let request = KmsRequest::new(key.arn(), bound);
            let sealed = [
                ready(kms.encrypt(request, b"x")).unwrap().ciphertext,
                ready(kms.generate_data_key(request, 16)).unwrap().ciphertext,
                kms.generate_data_key_without_plaintext(request, 16).unwrap().ciphertext,
            ];
            for (other, asked) in contexts.iter().enumerate() {
                for ciphertext in &sealed {
                    let opened = ready(kms.decrypt(KmsRequest::new(key.arn(), asked), ciphertext));
                    assert_eq!(opened.is_ok(), at == other, "{bound:?} asked for as {asked:?}");
                    assert!(opened.is_ok() || code(&opened.unwrap_err()) == "InvalidCiphertextException");
                }
            }
        }
    }
}

#[test]
fn re_encryption_moves_to_another_key_and_context() {
    for (kms, _, _folder) in both() {
        let [old, new] = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap());
        let (bound, rebound) = (context(&[("a", "b")]), context(&[("c", "d")]));
        let (from, to) = (KmsRequest::new(old.arn(), &bound), KmsRequest::new(new.arn(), &rebound));
        let ciphertext = ready(kms.encrypt(from, b"x")).unwrap().ciphertext;
        let moved = kms.re_encrypt(&ciphertext, from, to).unwrap();
        assert_eq!(moved.key_arn, new.arn());
        let opened = ready(kms.decrypt(to, &moved.ciphertext)).unwrap();
        assert_eq!((opened.plaintext.expose_secret(), opened.key_arn.as_str()), (&b"x"[..], new.arn()));
        assert!(ready(kms.decrypt(KmsRequest::new(new.arn(), &bound), &moved.ciphertext)).is_err());
        assert_eq!(
            ready(kms.decrypt(from, &ciphertext)).unwrap().plaintext.expose_secret(),
            b"x",
            "the old ciphertext still decrypts"
        );
        // Under the same key, with a different context.
        let here = KmsRequest::new(old.arn(), &rebound);
        let stayed = kms.re_encrypt(&ciphertext, from, here).unwrap();
        assert_eq!(ready(kms.decrypt(here, &stayed.ciphertext)).unwrap().plaintext.expose_secret(), b"x");
        for (refused, expected) in [
            (kms.re_encrypt(&ciphertext, here, to), "InvalidCiphertextException"),
            (kms.re_encrypt(&ciphertext, to, from), "IncorrectKeyException"),
            (kms.re_encrypt(b"no ciphertext", from, to), "InvalidCiphertextException"),
            (kms.re_encrypt(&ciphertext, from, KmsRequest::new("alias/none", &bound)), "NotFoundException"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!((error.kind(), code(&error)), (ErrorKind::KeyRefused, expected));
        }
    }
}
