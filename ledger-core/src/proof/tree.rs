//! A tree that only grows, kept as the roots of its perfect subtrees: at most one a level, so that 48 bits of leaves
//! take 48 hashes. Leaves that are to be proved are marked; their audit paths come together while the tree grows, and
//! nothing is read twice.

use super::merkle::{EMPTY_ROOT, Hash, node_hash};

/// Names a leaf, or an older state of the tree, that was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

#[derive(Clone, Debug)]
struct Subtree {
    hash: Hash,
    level: u32,
    /// What was marked and lies in it: places in `Tree::paths`.
    marks: Vec<usize>,
}

/// A growing Merkle tree.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    /// From left to right, so of falling levels: the set bits of `size` from the top.
    subtrees: Vec<Subtree>,
    paths: Vec<Vec<Hash>>,
}

impl Tree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree whose [`Tree::size`] and [`Tree::subtrees`] these were; none when there are not as many subtrees as a
    /// tree of that size has.
    pub fn resume(size: u64, hashes: &[Hash]) -> Option<Self> {
        let levels: Vec<u32> = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1).collect();
        if levels.len() != hashes.len() {
            return None;
        }
        let subtree = |(hash, level): (&Hash, u32)| Subtree { hash: *hash, level, marks: Vec::new() };
        Some(Self { size, subtrees: hashes.iter().zip(levels).map(subtree).collect(), paths: Vec::new() })
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its perfect subtrees, from left to right: all that is needed to go on.
    pub fn subtrees(&self) -> impl Iterator<Item = &Hash> {
        self.subtrees.iter().map(|subtree| &subtree.hash)
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.grow(leaf, Vec::new());
    }

    /// Adds a leaf whose audit path will be asked for.
    pub fn push_marked(&mut self, leaf: Hash) -> Mark {
        self.paths.push(Vec::new());
        let mark = self.paths.len() - 1;
        self.grow(leaf, vec![mark]);
        Mark(mark)
    }

    /// Marks the tree as it is now, so that its consistency with a later state can be shown. None without leaves.
    pub fn mark_state(&mut self) -> Option<Mark> {
        // The smallest subtree and its audit path show all others; a tree that is one subtree is known by its root.
        let whole = self.subtrees.len() == 1;
        let last = self.subtrees.last_mut()?;
        self.paths.push(if whole { Vec::new() } else { vec![last.hash] });
        let mark = self.paths.len() - 1;
        last.marks.push(mark);
        Some(Mark(mark))
    }

    /// The root.
    pub fn root(&self) -> Hash {
        let mut from_right = self.subtrees.iter().rev();
        let Some(last) = from_right.next() else { return EMPTY_ROOT };
        from_right.fold(last.hash, |right, left| node_hash(&left.hash, &right))
    }

    /// What shows the marked leaf, or the marked state, to be in the tree as it is now: the proof of RFC 6962 section
    /// 2.1.1 or 2.1.2. For a marked state only once the tree has grown beyond it.
    pub fn path(&self, mark: Mark) -> Vec<Hash> {
        let mut path = self.paths.get(mark.0).cloned().unwrap_or_default();
        let holds = |subtree: &Subtree| subtree.marks.contains(&mark.0);
        let mut from_right = self.subtrees.iter().rev();
        let Some(last) = from_right.next() else { return path };
        let (mut right, mut within) = (last.hash, holds(last));
        for left in from_right {
            match (holds(left), within) {
                (true, _) => path.push(right),
                (false, true) => path.push(left.hash),
                (false, false) => {}
            }
            within |= holds(left);
            right = node_hash(&left.hash, &right);
        }
        path
    }

    fn grow(&mut self, leaf: Hash, marks: Vec<usize>) {
        let mut node = Subtree { hash: leaf, level: 0, marks };
        while let Some(left) = self.subtrees.pop_if(|left| left.level == node.level) {
            let hash = node_hash(&left.hash, &node.hash);
            for (marks, sibling) in [(&left.marks, node.hash), (&node.marks, left.hash)] {
                for mark in marks {
                    if let Some(path) = self.paths.get_mut(*mark) {
                        path.push(sibling);
                    }
                }
            }
            let mut marks = left.marks;
            marks.append(&mut node.marks);
            node = Subtree { hash, level: node.level + 1, marks };
        }
        self.subtrees.push(node);
        self.size += 1;
    }
}
