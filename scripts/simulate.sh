#!/usr/bin/env bash
# The long simulation: so many seeds (10,000 unless told), with progress, and what they covered. Exit 1 when a rule was
# broken (the seed and its shortest story are printed), or when a fault or a rule was never reached.
#   scripts/simulate.sh [SEEDS] [more arguments of `auth-engine simulate engine`]
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-10000}
shift || true
cargo build --release --quiet -p auth-engine
exec "${CARGO_TARGET_DIR:-target}/release/auth-engine" simulate engine --seeds "$seeds" "$@"
