#!/usr/bin/env bash
# One tap in flight beside the floor (TCP echo + append + fdatasync of the same bytes), interleaved in one run.
#
#   scripts/floor.sh [SAMPLES] [more arguments of `benches latency`, such as --json]
#
# Needs cargo and nothing else: no fixed port, no file outside the build's own directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

samples=4000
if [[ "${1-}" =~ ^[0-9]+$ ]]; then
  samples=$1
  shift
fi

cargo build --release -p auth-engine -p benches
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# The kernel kills the harness's children when it ends, however it ends; what an interrupt leaves behind lies here.
work=$(mktemp -d "$target/floor.XXXXXX")
harness=
cleanup() {
  status=$?
  trap - EXIT
  if [[ -n "$harness" ]]; then
    kill "$harness" 2>/dev/null || true
    wait "$harness" 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$target/release/benches" latency --samples "$samples" --work "$work" "$@" &
harness=$!
status=0
wait "$harness" || status=$?
harness=
exit "$status"
