//! The hashes of RFC 6962 section 2.1 and the two checks of RFC 9162 section 2.1: is this leaf in that tree, and does
//! that tree begin with this one.
//!
//! It must never trust a length or an index: all of them come from whoever wants to be believed.

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// The root of the tree without leaves: the hash of nothing.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

// Two prefixes, so that no inner node can be passed off as a leaf.
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// The hash of a leaf whose input is these parts, one after the other.
pub fn leaf_hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(LEAF);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The hash of an inner node.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix(NODE).chain_update(left).chain_update(right).finalize().into()
}

/// Whether the leaf with this hash stands at `index` in the tree of `size` leaves with this root.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    // Where the node at hand and the last node stand on their level.
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // A last node without a right sibling rises until it is one itself.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether the tree of `size` leaves begins with the tree of `old_size` leaves: nothing in it was changed since, only
/// added to. A tree without leaves begins every tree and proves nothing, so it is refused.
#[must_use]
pub fn verify_consistency(old_size: u64, size: u64, old_root: &Hash, root: &Hash, path: &[Hash]) -> bool {
    if old_size == 0 || old_size > size {
        return false;
    }
    if old_size == size {
        return path.is_empty() && old_root == root;
    }
    // A whole old tree is itself the node that the path starts from.
    let (first, rest) = match path.split_first() {
        _ if old_size.is_power_of_two() => (old_root, path),
        Some(split) => split,
        None => return false,
    };
    let (mut at, mut last) = (old_size - 1, size - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node_hash(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == *old_root && new == *root
}
