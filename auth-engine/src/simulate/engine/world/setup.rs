//! How a run begins: its shape drawn from the seed, its disk, keys, policy and links. It must never do what is not in
//! the plan.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use ledger_core::book::Policy;
use ledger_core::journal::archive::Shelves;
use ledger_core::journal::file::Disk;
use ledger_core::journal::{KeySource, Options, SpareMaking, SyncMode};
use ledger_core::keys::MasterKey;
use ledger_core::time::Timestamp;

use super::{ARCHIVE, BUDGET_US, Checkpoint, DIR, World};
use crate::engine::{LinkSetup, Settings};
use crate::shard::clock::ShardClock;
use crate::simulate::engine::coverage::Coverage;
use crate::simulate::engine::disk::SimulatedDisk;
use crate::simulate::engine::frames;
use crate::simulate::engine::model::{Desk, Model};
use crate::simulate::engine::plan::Shape;

impl World {
    pub(in crate::simulate::engine) fn new(seed: u64, shape: &Shape) -> Self {
        let model = Model::new(shape);
        Self {
            shape: shape.clone(),
            seed,
            disk: SimulatedDisk::new(shape.direct),
            engine: None,
            clock: ShardClock::start(Timestamp(0), 0, 0),
            mono: 1_000_000,
            wall_ahead: shape.begins_us,
            checkpoints: vec![Checkpoint { seq: 0, model: model.clone(), hash: None }],
            model,
            desk: Desk::default(),
            next_conn: 0,
            behind: BTreeMap::new(),
            coming: BTreeMap::new(),
            comings: 0,
            expected: VecDeque::new(),
            asks: VecDeque::new(),
            calls: VecDeque::new(),
            rebuilt: VecDeque::new(),
            generations: BTreeMap::new(),
            asked_again: VecDeque::new(),
            first: BTreeMap::new(),
            first_calls: BTreeMap::new(),
            approvals: BTreeMap::new(),
            rotten: false,
            coverage: Coverage::default(),
            seen: BTreeSet::new(),
            trace: blake3::Hasher::new(),
            effects: Vec::new(),
        }
    }

    pub(in crate::simulate::engine) fn dir() -> &'static Path {
        Path::new(DIR)
    }

    pub(in crate::simulate::engine) fn options(&self) -> Options {
        Options {
            segment_bytes: self.shape.segment_bytes,
            mode: SyncMode::Auto,
            max_batch_bytes: self.shape.max_batch_bytes,
            spares: SpareMaking::Inline,
            pace: std::time::Duration::ZERO,
            disk: self.journal_disk(),
            ..Options::new(PathBuf::from(DIR))
        }
    }

    /// The disk as the journal sees it: with its archive where there is one.
    pub(in crate::simulate::engine) fn journal_disk(&self) -> std::sync::Arc<dyn Disk> {
        let disk = std::sync::Arc::new(self.disk.clone());
        if self.shape.archives { std::sync::Arc::new(Shelves::new(disk, DIR, ARCHIVE)) } else { disk }
    }

    pub(in crate::simulate::engine) fn keys(&self) -> KeySource {
        let byte = self.seed.to_le_bytes()[0];
        KeySource::new(MasterKey::from_bytes([5; 32]), std::array::from_fn(|at| byte ^ at.to_le_bytes()[0]))
    }

    pub(in crate::simulate::engine) fn policy(&self) -> Policy {
        let eur = ledger_core::money::Currency::EUR;
        Policy {
            dedup_max: self.shape.dedup_max,
            fx_max: self.shape.fx_max.map(|most| (eur, most)).into_iter().collect(),
            ..Policy::default()
        }
    }

    pub(in crate::simulate::engine) fn most_in_flight(&self) -> [usize; 3] {
        [4_096, 4_096, self.shape.max_in_flight]
    }

    pub(in crate::simulate::engine) fn settings(&self) -> Settings {
        let most = self.most_in_flight();
        let link = |at: usize| LinkSetup {
            name: format!("link{at}"),
            spec_name: frames::SPECS[at].to_owned(),
            spec: frames::spec(at),
            budget_us: BUDGET_US,
            require_sign_on: at == 1,
            max_in_flight: most[at],
            sign_on: false,
            network_elements: Vec::new(),
            answer_within_us: BUDGET_US,
        };
        Settings {
            links: (0..3).map(link).collect(),
            decision_timeout_us: 500_000,
            dedup_window_us: self.shape.dedup_window_us,
            max_asks: self.shape.max_asks,
        }
    }
}
