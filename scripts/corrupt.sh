#!/usr/bin/env bash
# Flips and cuts every byte of small journals and a sample of a large one, in memory, and holds `journal verify` to it:
# found and located, or cut back to the last whole block, or a byte that means nothing. Never silently accepted.
#
#   scripts/corrupt.sh [--seed 42] [--sample 600] [--stride 1]
#
# Exit 1: damage was accepted, or located at a wrong place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

exec cargo run --release --quiet --locked -p ledger-core --example corrupt -- "$@"
