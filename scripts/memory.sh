#!/usr/bin/env bash
# Hostile 34: repeats, unknown cards, reversals of nothing and half-open connections, round after round, and the
# engine's resident memory after each, which must be flat once the window of repeats (a minute here) is full. The
# reversals are the same in every round: each new one is remembered for seven days.
#
#   scripts/memory.sh [MINUTES]        10 unless given; an hour says more
#
# Needs python3. Exit 1 when the memory is not flat.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z "${AUTH_ENGINE_BIN:-}" ]]; then
  cargo build --quiet --release -p auth-engine
  AUTH_ENGINE_BIN="${CARGO_TARGET_DIR:-target}/release/auth-engine"
fi
WORK="$(mktemp -d "${TMPDIR:-/tmp}/auth-engine-memory.XXXXXX")"
trap 'rm -rf "$WORK"' EXIT
PYTHONDONTWRITEBYTECODE=1 python3 scripts/memory/flood.py "$AUTH_ENGINE_BIN" "$WORK" "${1:-10}"
