//! The Merkle tree against the recursive definitions of RFC 6962 section 2.1, written down as they stand there, and
//! against the vectors that the implementations of certificate transparency share.

use ledger_core::keys::{Keyring, MasterKey};
use ledger_core::proof::{EMPTY_ROOT, Hash, Salts, Tree, event_leaf, leaf_hash, verify_consistency, verify_inclusion};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// The vectors' leaves.
const LEAVES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];

/// The roots of their first 0 to 8.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tree(leaves: &[Hash]) -> Tree {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

fn numbered(count: usize) -> Vec<Hash> {
    (0..count).map(|at| leaf_hash(&[&at.to_le_bytes()])).collect()
}

/// The largest power of two below `n`, as the definitions have it.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// MTH.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest(b"").into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Sha256::new()
                .chain_update([1])
                .chain_update(naive_root(left))
                .chain_update(naive_root(right))
                .finalize()
                .into()
        }
    }
}

/// PATH.
fn naive_path(at: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if at < left.len() {
        [naive_path(at, left), vec![naive_root(right)]].concat()
    } else {
        [naive_path(at - left.len(), right), vec![naive_root(left)]].concat()
    }
}

/// SUBPROOF; PROOF is the one with `whole`.
fn naive_consistency(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if old <= left.len() {
        [naive_consistency(old, left, whole), vec![naive_root(right)]].concat()
    } else {
        [naive_consistency(old - left.len(), right, false), vec![naive_root(left)]].concat()
    }
}

#[test]
fn the_published_vectors_hold() {
    let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&[leaf])).collect();
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(hex(&tree(&leaves[..size]).root()), *root, "{size} leaves");
    }
    assert_eq!(hex(&EMPTY_ROOT), ROOTS[0]);
    // From the same source: leaf 5 of 8, and the tree of 6 within the tree of 8.
    let path = |texts: [&str; 3]| -> Vec<Hash> {
        let byte = |text: &str, at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal");
        texts.iter().map(|text| std::array::from_fn(|at| byte(text, at))).collect()
    };
    let of_5 = path([
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]);
    let from_6 = path([
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]);
    let (six, eight) = (tree(&leaves[..6]).root(), tree(&leaves).root());
    assert!(verify_inclusion(&leaves[5], 5, 8, &of_5, &eight));
    assert!(verify_consistency(6, 8, &six, &eight, &from_6));
    let mut grown = Tree::new();
    let (mut leaf, mut state) = (None, None);
    for (at, hash) in leaves.iter().enumerate() {
        if at == 5 {
            leaf = Some(grown.push_marked(*hash));
            state = grown.mark_state();
        } else {
            grown.push(*hash);
        }
    }
    assert_eq!(grown.path(leaf.expect("marked")), of_5);
    assert_eq!(grown.path(state.expect("marked")), from_6);
}

#[test]
fn every_leaf_of_every_small_tree_is_shown_and_in_no_other_place() {
    let leaves = numbered(40);
    for size in 1..=leaves.len() {
        let leaves = &leaves[..size];
        let (mut grown, mut marks) = (Tree::new(), Vec::new());
        leaves.iter().for_each(|leaf| marks.push(grown.push_marked(*leaf)));
        let root = naive_root(leaves);
        assert_eq!(grown.root(), root);
        for (at, mark) in marks.into_iter().enumerate() {
            let path = grown.path(mark);
            assert_eq!(path, naive_path(at, leaves), "leaf {at} of {size}");
            for index in 0..=size as u64 {
                let right = index == at as u64;
                assert_eq!(verify_inclusion(&leaves[at], index, size as u64, &path, &root), right);
            }
            assert!(size == 1 || !verify_inclusion(&leaves[at], at as u64, size as u64, &path[1..], &root));
            let longer = [path.as_slice(), &[root]].concat();
            assert!(!verify_inclusion(&leaves[at], at as u64, size as u64, &longer, &root));
        }
    }
}

#[test]
fn every_state_of_a_small_tree_is_shown_to_begin_every_later_one() {
    let leaves = numbered(40);
    for old in 1..=leaves.len() {
        let mut grown = tree(&leaves[..old]);
        let (mark, old_root) = (grown.mark_state().expect("it has leaves"), grown.root());
        for size in old..=leaves.len() {
            if size > old {
                grown.push(leaves[size - 1]);
            }
            let (path, root) = (if size == old { Vec::new() } else { grown.path(mark) }, grown.root());
            assert_eq!(path, naive_consistency(old, &leaves[..size], true), "{old} to {size}");
            let check =
                |a: u64, b: u64, old_root: &Hash, path: &[Hash]| verify_consistency(a, b, old_root, &root, path);
            let (a, b) = (old as u64, size as u64);
            assert!(check(a, b, &old_root, &path));
            assert!(!check(a, b, &leaves[0], &path) || old == 1);
            assert!(!check(a + 1, b, &old_root, &path), "{old} to {size}");
            assert!(!check(0, b, &EMPTY_ROOT, &path));
            assert!(!check(a, b, &old_root, &[path.as_slice(), &[root]].concat()));
            assert!(path.is_empty() || !check(a, b, &old_root, &path[..path.len() - 1]));
        }
    }
}

#[test]
fn a_salt_depends_on_the_place_and_on_the_journal() {
    let ring = |seed: u8| Keyring::create(&MasterKey::from_bytes([1; 32]), &[seed; 64]);
    let salts = Salts::new(&ring(1));
    let salt = salts.of(7, 1);
    assert_eq!(salt, Salts::new(&ring(1)).of(7, 1), "the same at every start");
    assert!([salts.of(8, 1), salts.of(7, 2), Salts::new(&ring(2)).of(7, 1)].iter().all(|other| *other != salt));
    assert_eq!(format!("{salts:?}"), "Salts(****)");
    let leaf = event_leaf(&salt, 7, -5, 1, b"event");
    for other in [
        event_leaf(&salts.of(8, 1), 7, -5, 1, b"event"),
        event_leaf(&salt, 8, -5, 1, b"event"),
        event_leaf(&salt, 7, -6, 1, b"event"),
        event_leaf(&salt, 7, -5, 2, b"event"),
        event_leaf(&salt, 7, -5, 1, b"Event"),
    ] {
        assert_ne!(other, leaf);
    }
}

proptest! {
    #[test]
    fn a_grown_or_resumed_tree_is_the_defined_one(size in 1usize..700, cut in 0usize..700, wanted in 0usize..700) {
        let leaves = numbered(size);
        let (cut, wanted) = (cut % size, wanted % size);
        let before = tree(&leaves[..cut]);
        let kept: Vec<Hash> = before.subtrees().copied().collect();
        prop_assert_eq!(kept.len(), cut.count_ones() as usize);
        prop_assert!(Tree::resume(cut as u64, &[kept.as_slice(), &[EMPTY_ROOT]].concat()).is_none());
        let mut resumed = Tree::resume(cut as u64, &kept).expect("as many as its size has");
        let state = resumed.mark_state();
        let mut mark = None;
        for (at, leaf) in leaves.iter().enumerate().skip(cut) {
            if at == wanted {
                mark = Some(resumed.push_marked(*leaf));
            } else {
                resumed.push(*leaf);
            }
        }
        let root = naive_root(&leaves);
        prop_assert_eq!((resumed.root(), resumed.size()), (root, size as u64));
        if let Some(mark) = mark {
            let path = resumed.path(mark);
            prop_assert_eq!(&path, &naive_path(wanted, &leaves));
            prop_assert!(verify_inclusion(&leaves[wanted], wanted as u64, size as u64, &path, &root));
        }
        if let Some(state) = state {
            let path = resumed.path(state);
            prop_assert_eq!(&path, &naive_consistency(cut, &leaves, true));
            prop_assert!(verify_consistency(cut as u64, size as u64, &before.root(), &root, &path));
        }
    }

    #[test]
    fn no_path_of_anything_shows_anything(
        numbers in prop::array::uniform3(any::<u64>()), path in prop::collection::vec(any::<Hash>(), 0..70), root: Hash
    ) {
        let [a, b, c] = numbers;
        for (at, size) in [(a, b), (a % 9, b % 9), (a.min(b), c)] {
            prop_assert!(!verify_inclusion(&EMPTY_ROOT, at, size, &path, &root));
            prop_assert!(!verify_consistency(at, size, &EMPTY_ROOT, &root, &path));
        }
    }
}
