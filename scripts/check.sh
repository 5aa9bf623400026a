#!/usr/bin/env bash
# Everything a change has to pass, in the order in which it fails soonest. Stops at the first failure.
#
#   scripts/check.sh            all of it
#   scripts/check.sh --quick    format, clippy and tests only
#
# On a new machine it installs what it needs: rustup brings the pinned toolchain with rustfmt and clippy, cargo-deny
# goes to target/tools, the interop peers go to their own virtual environment. Nothing outside target/ is written but
# what cargo and rustup keep for themselves.
set -euo pipefail
cd "$(dirname "$0")/.."

quick=
case "${1:-}" in
  "") ;;
  --quick) quick=1 ;;
  *) echo "usage: scripts/check.sh [--quick]" >&2; exit 2 ;;
esac

# Incremental files cost disk and time where nothing is built twice.
export CARGO_INCREMENTAL=0
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-always}"
target="${CARGO_TARGET_DIR:-target}"
tools="$target/tools"
began=$SECONDS
current=
rows=()

# Printed however the script ends.
closing() {
  local status=$?
  if [ -n "$current" ]; then rows+=("FAILED|$((SECONDS - step_began))|$current"); fi
  printf '\n%-8s %8s  %s\n' result seconds step
  local row result seconds name
  for row in "${rows[@]}"; do
    IFS='|' read -r result seconds name <<<"$row"
    printf '%-8s %8s  %s\n' "$result" "$seconds" "$name"
  done
  printf '%-8s %8s  %s\n' "$([ "$status" -eq 0 ] && echo ok || echo FAILED)" "$((SECONDS - began))" 'all'
  exit "$status"
}
trap closing EXIT

# step NAME COMMAND...: a heading, the command, a row of the closing table.
step() {
  current=$1
  shift
  step_began=$SECONDS
  verdict=ok
  printf '\n== %s\n' "$current"
  "$@"
  rows+=("$verdict|$((SECONDS - step_began))|$current")
  printf -- '-- %s: %s s\n' "$current" "$((SECONDS - step_began))"
  current=
}

# skip NAME WHY: said aloud here and again in the closing table.
skip() {
  printf '\n== %s: skipped: %s\n' "$1" "$2"
  rows+=("skipped|0|$1 ($2)")
}

toolchain() {
  command -v cargo >/dev/null || { echo "cargo is not installed: see https://rustup.rs" >&2; return 1; }
  command -v cc >/dev/null || { echo "no C compiler (cc): install gcc or clang" >&2; return 1; }
  # rust-toolchain.toml names the version and components; rustup brings both at the first use.
  cargo --version
  if ! cargo fmt --version || ! cargo clippy --version; then
    rustup component add rustfmt clippy
  fi
}

documentation() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
}

# cargo-deny is a convenience for whoever reviews a new dependency: what cannot be built in time is skipped aloud.
deny=
find_deny() {
  local version=0.20.2
  if command -v cargo-deny >/dev/null; then
    deny=cargo-deny
  elif [ -x "$tools/bin/cargo-deny" ]; then
    deny="$tools/bin/cargo-deny"
  else
    # A debug build, two minutes on two cores: it runs for seconds, so optimizing it would cost more than it gives.
    echo "building cargo-deny $version into $tools"
    if CARGO_PROFILE_DEV_DEBUG=0 timeout 420 cargo install --quiet --debug --locked cargo-deny --version "$version" \
      --root "$tools" --target-dir "$tools/build"; then
      deny="$tools/bin/cargo-deny"
      rm -rf "$tools/build"
    fi
  fi
}

dependencies() {
  "$deny" --locked check --hide-inclusion-graph bans licenses sources
}

# A new advisory is no fault of the change that is being checked: it is told, and fails nothing.
advisories() {
  "$deny" --locked check --hide-inclusion-graph advisories || verdict=WARNING
}

install_tshark() {
  DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y --no-install-recommends tshark >/dev/null 2>&1
}

demo_once() {
  cargo run --release --locked -- demo --once
}

step 'toolchain' toolchain
step 'format: cargo fmt --check' cargo fmt --all -- --check
step 'clippy, warnings are errors' cargo clippy --workspace --all-targets --locked -- -D warnings
step 'tests: cargo test --workspace' cargo test --workspace --locked
if [ -n "$quick" ]; then exit 0; fi

step 'documentation, warnings are errors' documentation
step 'demo --once' demo_once
step 'interop: scripts/interop.sh' scripts/interop.sh
if command -v tshark >/dev/null || { [ "$(id -u)" -eq 0 ] && install_tshark; }; then
  step 'dissectors under tshark: scripts/dissector.sh' scripts/dissector.sh
else
  skip 'dissectors under tshark' 'tshark is not installed and cannot be: apt install tshark'
fi
step 'simulation: scripts/simulate.sh 900' scripts/simulate.sh 900
step 'crash: scripts/crash.sh 8' scripts/crash.sh 8
step 'corruption: scripts/corrupt.sh, one byte in 31' scripts/corrupt.sh --stride 31 --sample 100

step 'cargo-deny, when it can be had' find_deny
if [ -z "$deny" ]; then
  skip 'licences, bans, sources' 'cargo-deny could not be installed in 7 minutes'
else
  step 'licences, bans, sources' dependencies
  if timeout 60 "$deny" --locked fetch db >/dev/null 2>&1; then
    step 'advisories' advisories
  else
    skip 'advisories' 'the advisory database cannot be fetched from here'
  fi
fi
