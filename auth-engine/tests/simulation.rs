//! The short simulation: a few seeds of `auth-engine simulate engine`. The long one is `scripts/simulate.sh`.

use auth_engine::simulate::engine::{draw, run, shrink, story};

/// Steps of a run, behind its beginning.
const STEPS: usize = 60;

#[test]
fn seeds_find_nothing() {
    for seed in 1..=40 {
        let plan = draw(seed, STEPS);
        let outcome = run(&plan);
        if outcome.violation.is_some() {
            let (plan, outcome) = shrink(&plan, &outcome);
            panic!(
                "alone: auth-engine simulate engine --from {seed} --seeds 1 --steps {STEPS}\n{}",
                story(&plan, &outcome)
            );
        }
    }
}

#[test]
fn a_seed_is_the_same_run_bit_for_bit() {
    for seed in [3, 71, 1_000_003] {
        let (first, again) = (run(&draw(seed, STEPS)), run(&draw(seed, STEPS)));
        assert_eq!(first.trace, again.trace, "seed {seed}");
        assert_eq!(first, again, "seed {seed}");
    }
}
