#!/usr/bin/env bash
# The figures of the ledger and the journal on this machine: speed and memory of the book in memory, bytes of a tap,
# replay, snapshots. Prints them; nothing is judged here but by the tables' own words.
#
#   scripts/journal-figures.sh [CARDS]        CARDS of the large book and the snapshot, 10 million unless given
#
# Needs cargo, 20 GiB of memory and 25 GiB of disk for ten million cards. Removes what it makes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cards=${1:-10000000}
cargo build --release -p auth-engine -p benches
cargo build --release -p ledger-core --example book
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
book="$target/release/examples/book"

echo "== the book in memory: cards, open holds, window of repeats in seconds, taps that fetch ahead together"
for arguments in "10000 10000 3600 16" "10000 100000 3600 16" "10000 2000000 3600 16" "$cards 100000 3600 16"; do
  echo "-- book $arguments"
  # shellcheck disable=SC2086 # four numbers
  for _ in 1 2 3; do "$book" $arguments | tail -n 1; done
done
echo "-- idle cards and open holds without repeats"
"$book" 1000000 1000000

echo "== bytes of a tap"
"$target/release/benches" tap-bytes

echo "== replay of a million cards"
work=$(mktemp -d "$target/figures.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$target/release/benches" recover --work "$work"

echo "== snapshot of $cards cards"
"$target/release/benches" snapshots --cards "$cards" --work "$work"
