#!/usr/bin/env bash
# Kills the engine under load, again and again, and checks every acknowledged answer, every balance and every hash.
#
#   scripts/crash.sh [ROUNDS] [more arguments of `benches crash`, such as --seed 42]
#
# Needs cargo and nothing else: no fixed port, no file outside the build's own directory. Exit 1: a promise was broken,
# and what lies in the data directory is kept for a look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=20
if [[ "${1-}" =~ ^[0-9]+$ ]]; then
  rounds=$1
  shift
fi

cargo build --release -p auth-engine -p benches
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# The harness removes its directory and the kernel kills its children when it ends, however it ends; what an
# interrupt leaves behind lies here.
work=$(mktemp -d "$target/crash.XXXXXX")
harness=
cleanup() {
  status=$?
  trap - EXIT
  if [[ -n "$harness" ]]; then
    kill "$harness" 2>/dev/null || true
    wait "$harness" 2>/dev/null || true
  fi
  # Exit 1 says that something was found: then the evidence stays.
  if [[ $status -eq 1 ]]; then
    rmdir "$work" 2>/dev/null || true
  else
    rm -rf "$work"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$target/release/benches" crash --rounds "$rounds" --work "$work" "$@" &
harness=$!
status=0
wait "$harness" || status=$?
harness=
exit "$status"
