//! What the search finds, against published vectors and against ring.
//!
//! Must never be satisfied with a form that the search itself made where another source gives it. Run by `cargo test`.

use crate::aes::{self, AES_128, AES_256, LAYOUTS, Layout, Schedule};
use crate::known::{Class, Known};
use crate::sha256;
use base64ct::{Base64, Encoding as _};

fn hex(text: &str) -> Vec<u8> {
    base16ct::lower::decode_vec(text).unwrap()
}

/// FIPS 197, appendix A.1.
const SHORT_KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
/// FIPS 197, appendix A.3.
const KEY: &str = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    servos_keyd::sys::random::fill(&mut random).unwrap();
    random
}

#[test]
fn the_schedules_of_fips_197_are_expanded_to_their_last_words() {
    let long = aes::expand(&hex(KEY));
    assert_eq!((long.len(), &long[32..36], &long[236..]), (240, &hex("9ba35411")[..], &hex("706c631e")[..]));
    let short = aes::expand(&hex(SHORT_KEY));
    assert_eq!((short.len(), &short[16..20], &short[172..]), (176, &hex("a0fafe17")[..], &hex("b6630ca6")[..]));
}

#[test]
fn a_schedule_is_found_in_every_layout_at_every_alignment() {
    for layout in LAYOUTS {
        let keys = [(random(16), AES_128), (random(32), AES_256), (vec![0; 16], AES_128), (vec![0; 32], AES_256)];
        for (key, size) in keys {
            let planted = aes::laid_out(&key, layout);
            assert_eq!(planted.len(), layout.bytes(size));
            for offset in [0, 1, 4, 63, 64, 1_002] {
                let mut memory = random(4_096);
                memory[offset..offset + planted.len()].copy_from_slice(&planted);
                let found = aes::schedules(&memory);
                assert!(found.contains(&Schedule { offset, size, layout, part: false }), "{layout:?} {found:?}");
                assert_eq!(found.len(), 1, "{found:?}");
            }
        }
    }
}

#[test]
fn one_wrong_bit_makes_it_no_schedule() {
    for layout in LAYOUTS {
        let planted = aes::laid_out(&random(32), layout);
        for at in (0..planted.len()).step_by(7) {
            let mut damaged = planted.clone();
            damaged[at] ^= 0x10;
            let whole = aes::schedules(&damaged).into_iter().filter(|found| !found.part).count();
            assert_eq!(whole, 0, "{layout:?}, byte {at}");
        }
    }
}

#[test]
fn what_is_left_of_a_schedule_is_found() {
    for key in [random(16), random(32)] {
        let whole = aes::expand(&key);
        let enough = key.len() + 16;
        for offset in (0..=whole.len() - enough).step_by(16) {
            let mut memory = random(512);
            memory[100..100 + enough].copy_from_slice(&whole[offset..offset + enough]);
            assert!(aes::schedules(&memory).iter().any(|found| found.part && found.offset == 100), "from {offset}");
        }
    }
}

#[test]
fn no_schedule_is_found_in_zeros_constants_counters_or_noise() {
    for byte in 0..=255 {
        assert_eq!(aes::schedules(&[byte; 1_200]), []);
    }
    let counter: Vec<u8> = (0..4_096_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(aes::schedules(&counter), []);
    assert_eq!(aes::schedules(&random(200_000)), []);
}

/// What ring's `vpaes_set_encrypt_key` and `aes_nohw_set_encrypt_key` made of the keys of FIPS 197 on x86-64.
#[test]
fn the_layouts_of_rings_other_implementations_are_as_it_has_them() {
    assert_eq!(aes::laid_out(&hex(KEY), Layout::Vpaes), hex(VPAES));
    assert_eq!(aes::laid_out(&hex(KEY), Layout::Compact), hex(COMPACT));
    assert_eq!(aes::laid_out(&hex(SHORT_KEY), Layout::Vpaes), hex(VPAES_OF_SHORT));
    assert_eq!(aes::laid_out(&hex(SHORT_KEY), Layout::Compact), hex(COMPACT_OF_SHORT));
}

const VPAES: &str = "01d1d24da5de3c0a2e1647cd69ac8ef1ac0da44151f2a34e7543c78da02d3ae969675ff281712eb91d50dbcacec3ef8d\
    d885ef9bd2f31742fca57158079d104d1daa54fcc732212a810ea183142415616633da9eefbb96884865254814cd6e9d\
    5b7a5b1ec70521241d46dbb7522f95c6b15fbbf405c976f116a10f3459613ae728213f4cb45545d1f274c594fb2a0beb\
    bcf163bfe29d4e03af99e2acad0b83d0f6cb847b19ba9acbb0ea043e10e454b466af60c5dfff758e2b55806add6d5832\
    179f7c6c5520bd83beb0e2a3f551ed33b1de88843580a6ed4574b073c3d0b3b59d0ef327850fee7d672b90b2137b0068";
const COMPACT: &str = "d00ba5e13b0ed517361ec1b772fa78875f7c1b788d30494f310263d092a110fd3b149ef5a5fb70eca91568a21a5862df\
    08ac13d49ee4d7abba19d9c94b685b95a58c3b799e82ee6e9dbef51cef448d9b95a286761892cf39ab83724a392262b7\
    c1d1faa8642a8a4428a8ddb432f0bf6b589fdee9c67b0942c9cbbb8182a3e01408cbf26396491c0d06a7db13e9e35688\
    484296ab50d059921c0ea78f252cc5383e79cc1a5a53465e1d66c6752f96791e68dafe71aea1f733855c22d307ffc2c7\
    c4b708ad52fe14a097a451d17e470759aa3a544bfaea0dd9fceade39d9c61b018e1086bdd443c0e34fd91e08604f6716";
const VPAES_OF_SHORT: &str = "2ef6a5ff74479b4faf0fa5897836b7a14c139396df5e7c93fcfec66adc7dba3e4efc8d4bcab46c7a6d7fa44eeada8383\
    c9186f5d58bfb7b46e50a76cdf99907ca609f9e1a54a32d690ae06f114a5eaf711e34270eff9f3da24e876766b1d1ffd\
    1b865d3eaf3e1913d0730094e0c0a8bf46b297f2b26f643b390a8edf8229ccbadae36e74330af9f0513e3511886f0ab8\
    f112e3a09912b2ea93432f0940268d0bb35c9aabaa0046c582776fcbd58d6fea";
const COMPACT_OF_SHORT: &str = "eb65e8627b85f9cf7211a2adfa81c034a07e481c3399ca56fa1f58b2a233620722256a3959a093f6cff9974b3578577f\
    0dd767ee3e4eadb88374143f214776384f1528fb16b5bb0d4e4a5a757b320d0a14863c7d2ac891c5ddfc8789fcbbf1b1\
    8da3b1de9b160ad3867a01f3fd480cf94ee7ff39642f6efc540f55fca8b4a44d2a13d52ab105dff9de278bdb236f8722\
    7c36a91c1819c7e07af6f12dd24255604089e995f18c366c1dafec823ec06ba0";

#[test]
fn the_compression_is_sha_256s() {
    // HMAC by hand from both states is HMAC.
    let key: [u8; 32] = random(32).try_into().unwrap();
    let finish = |pad, text: &[u8]| {
        let mut state = [0; 8];
        let words = sha256::keyed_state(&key, pad);
        state.iter_mut().zip(words.chunks_exact(4)).for_each(|(word, bytes)| {
            *word = u32::from_ne_bytes(bytes.try_into().unwrap());
        });
        let mut block = [0; 64];
        block[..text.len()].copy_from_slice(text);
        block[text.len()] = 0x80;
        block[56..].copy_from_slice(&(8 * (64 + text.len() as u64)).to_be_bytes());
        sha256::compress(&mut state, &block);
        state.map(u32::to_be_bytes).concat()
    };
    let by_hand = finish(0x5c, &finish(0x36, b"text"));
    let by_ring = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), b"text");
    assert_eq!(by_hand, by_ring.as_ref());
}

#[test]
fn what_stands_in_zeros_is_found_at_every_place_also_if_it_begins_with_zeros_itself() {
    for zeros in [0, 1, 7, 8, 12] {
        let mut key = [0xa5; 32];
        key[..zeros].fill(0);
        let mut known = Known::default();
        known.add_key("k", &key);
        for before in [0, 1, 15, 4_080, 4_088, 4_089, 4_090, 4_095, 4_096, 4_097, 8_178, 8_185, 12_288] {
            let memory = [&vec![0; before][..], &key, &[0; 9_000]].concat();
            let raw: Vec<usize> =
                known.find(&memory).iter().filter(|(.., name)| *name == "k, raw").map(|(offset, ..)| *offset).collect();
            assert!(raw.contains(&before) && raw.contains(&(before + 16)), "{zeros} behind {before}: {raw:?}");
        }
    }
}

#[test]
fn a_key_is_found_as_it_is_as_text_and_by_its_halves() {
    let key: [u8; 32] = random(32).try_into().unwrap();
    let mut known = Known::default();
    known.add_key("k", &key);
    let found_in = |bytes: &[u8], form: &str| {
        let memory = [&random(333)[..], bytes, &random(100)].concat();
        let found = known.find(&memory);
        assert!(found.iter().all(|(_, class, _)| *class == Class::Key));
        assert!(found.iter().any(|(_, _, name)| name.contains(form)), "{form}: {found:?}");
    };
    found_in(&key, "raw");
    found_in(&key[..16], "raw");
    found_in(&key[16..], "raw");
    found_in(&key.iter().rev().copied().collect::<Vec<_>>(), "whole");
    found_in(&key.chunks(4).flat_map(|word| word.iter().rev().copied()).collect::<Vec<_>>(), "by 4");
    found_in(&key.chunks(8).flat_map(|word| word.iter().rev().copied()).collect::<Vec<_>>(), "by 8");
    found_in(base16ct::lower::encode_string(&key).as_bytes(), "hex");
    found_in(base16ct::upper::encode_string(&key).as_bytes(), "HEX");
    for before in 0..3 {
        let text = Base64::encode_string(&[&vec![7; before], &key[..]].concat());
        found_in(text.as_bytes(), "base64");
    }
    found_in(&sha256::keyed_state(&key, 0x36), "HMAC inner state");
    found_in(&sha256::keyed_state(&key, 0x5c), "HMAC outer state");
    assert_eq!(known.find(&random(100_000)), []);
}

#[test]
fn a_piece_of_a_plaintext_is_found_and_one_that_goes_on_is_found_once() {
    let marker: [u8; 16] = random(16).try_into().unwrap();
    let mut known = Known::default();
    known.add_marker("m", &marker);
    let plaintext: Vec<u8> = marker.iter().copied().cycle().take(1_000).collect();
    for within in [0..1_000, 5..21, 900..917] {
        // The byte before the piece must not happen to go on with it, as one
        // random byte of two hundred and fifty-six does: the piece would
        // truly begin one byte earlier. The marker goes round: what comes
        // before a piece is the byte fifteen places after its first.
        let piece = &plaintext[within.clone()];
        let other = [!plaintext[(within.start + 15) % 16]];
        let memory = [&random(76)[..], &other, piece, &random(99), &other, piece].concat();
        let found: Vec<usize> = known.find(&memory).iter().map(|(offset, ..)| *offset).collect();
        assert_eq!(found, [77, 177 + piece.len()]);
    }
}
