//! Both backends on the same inputs: what one encrypts the other decrypts, and what one refuses the other refuses.

use super::{Refused, aws_lc, random_array, rustcrypto};
use crate::crypto::{Curve, IV_LEN, TAG_LEN};

/// Lengths around the block sizes of AES and of its wide implementations.
const LENGTHS: [usize; 14] = [0, 1, 15, 16, 17, 31, 32, 33, 127, 128, 129, 4096, 5000, 65_536];

#[test]
fn both_seal_to_the_same_bytes_and_open_each_other() {
    for key_len in [16, 24, 32] {
        let key = &random_array::<32>().unwrap()[..key_len];
        let (one, other) = (aws_lc::AeadKey::new(key).unwrap(), rustcrypto::AeadKey::new(key).unwrap());
        for len in LENGTHS {
            for aad_len in [0, 1, 16, 79, 1000] {
                let iv: [u8; IV_LEN] = random_array().unwrap();
                let (plaintext, aad) = (vec![0x5a; len], vec![0xa5; aad_len]);
                let (mut by_one, mut by_other) = (vec![0; len], vec![0; len]);
                let tag = one.seal(iv, &aad, &plaintext, &mut by_one).unwrap();
                assert_eq!(other.seal(iv, &aad, &plaintext, &mut by_other), Ok(tag));
                assert_eq!(by_one, by_other);
                let mut opened = vec![0; len];
                one.open(iv, &aad, &by_other, &tag, &mut opened).unwrap();
                assert_eq!(opened, plaintext);
                opened.fill(0);
                other.open(iv, &aad, &by_one, &tag, &mut opened).unwrap();
                assert_eq!(opened, plaintext);
                one.open_in_place(iv, &aad, &mut by_other, &tag).unwrap();
                other.open_in_place(iv, &aad, &mut by_one, &tag).unwrap();
                assert_eq!((by_one, by_other), (plaintext.clone(), plaintext));
            }
        }
    }
}

#[test]
fn both_refuse_the_same() {
    let key = random_array::<32>().unwrap();
    let (one, other) = (aws_lc::AeadKey::new(&key).unwrap(), rustcrypto::AeadKey::new(&key).unwrap());
    let iv = [1; IV_LEN];
    let mut sealed = vec![0; 100];
    let tag = one.seal(iv, b"aad", &[7; 100], &mut sealed).unwrap();
    let mut wrong_tag = tag;
    wrong_tag[TAG_LEN - 1] ^= 1;
    let mut wrong_content = sealed.clone();
    wrong_content[50] ^= 0x80;
    let mut wrong_iv = iv;
    wrong_iv[0] ^= 1;
    let mut out = vec![0; 100];
    for (iv, aad, content, tag) in [
        (iv, &b"aad"[..], &sealed, &wrong_tag),
        (iv, b"aad", &wrong_content, &tag),
        (iv, b"aae", &sealed, &tag),
        (wrong_iv, b"aad", &sealed, &tag),
    ] {
        assert_eq!(one.open(iv, aad, content, tag, &mut out), Err(Refused));
        assert_eq!(other.open(iv, aad, content, tag, &mut out), Err(Refused));
    }
    assert_eq!(one.open_in_place(iv, b"aad", &mut sealed.clone(), &wrong_tag), Err(Refused));
    assert_eq!(other.open_in_place(iv, b"aad", &mut sealed.clone(), &wrong_tag), Err(Refused));
    // Mismatched lengths.
    assert_eq!(one.open(iv, b"aad", &sealed, &tag, &mut out[1..]), Err(Refused));
    assert_eq!(other.open(iv, b"aad", &sealed, &tag, &mut out[1..]), Err(Refused));
    for len in [0, 15, 17, 31, 33, 64] {
        assert!(aws_lc::AeadKey::new(&vec![0; len]).is_err());
        assert!(rustcrypto::AeadKey::new(&vec![0; len]).is_err());
    }
}

#[test]
fn signatures_of_each_verify_with_the_other() {
    for curve in [Curve::P256, Curve::P384] {
        let (one, other) =
            (aws_lc::SigningKey::generate(curve).unwrap(), rustcrypto::SigningKey::generate(curve).unwrap());
        let digests = |message: &[u8]| {
            let (mut one, mut other) = (aws_lc::Hasher::new(curve), rustcrypto::Hasher::new(curve));
            for piece in message.chunks(7) {
                one.update(piece);
                other.update(piece);
            }
            (one.finish(), other.finish())
        };
        let (one_digest, other_digest) = digests(b"a message that is longer than one piece of it");
        assert_eq!(one_digest.as_ref(), other_digest);
        let (one_forged, other_forged) = digests(b"another message");
        for (public_key, signature) in [
            (one.public_key().unwrap(), one.sign(&one_digest).unwrap()),
            (other.public_key().unwrap(), other.sign(&other_digest).unwrap()),
        ] {
            assert_eq!(public_key.len(), curve.compressed_point_len());
            let one_key = aws_lc::VerifyingKey::new(curve, &public_key).unwrap();
            let other_key = rustcrypto::VerifyingKey::new(curve, &public_key).unwrap();
            assert_eq!(one_key.verify(&one_digest, &signature), Ok(()));
            assert_eq!(other_key.verify(&other_digest, &signature), Ok(()));
            assert_eq!(one_key.verify(&one_forged, &signature), Err(Refused));
            assert_eq!(other_key.verify(&other_forged, &signature), Err(Refused));
            for at in 0..signature.len() {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                let (by_one, by_other) =
                    (one_key.verify(&one_digest, &changed), other_key.verify(&other_digest, &changed));
                assert_eq!((by_one, by_other), (Err(Refused), Err(Refused)), "byte {at}");
            }
        }
    }
}

#[test]
fn both_take_the_same_public_keys() {
    let points = [
        vec![2; 33],
        [&[2][..], &[0xff; 32]].concat(),
        [&[3][..], &[0; 32]].concat(),
        [&[5][..], &[1; 32]].concat(),
        vec![0],
        vec![],
    ];
    for point in points {
        let one = aws_lc::VerifyingKey::new(Curve::P256, &point).is_ok();
        let other = rustcrypto::VerifyingKey::new(Curve::P256, &point).is_ok();
        assert_eq!(one, other, "{point:?}");
    }
}

#[test]
fn both_tell_what_is_equal() {
    for (a, b) in [(&b"same"[..], &b"same"[..]), (b"same", b"sane"), (b"same", b"sam"), (b"", b""), (b"", b"x")] {
        assert_eq!((aws_lc::equal(a, b), rustcrypto::equal(a, b)), (a == b, a == b));
    }
}
