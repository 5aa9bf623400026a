#!/usr/bin/env bash
# Runs the generated Wireshark dissectors under tshark: on a capture made of every message in fixtures/messages, and,
# where packets may be captured, on the engine's own port. What tshark says of each element is held to what `decode`
# says. Exit 0 when all is alike, 1 when not, 2 when it cannot run.
#
#   scripts/dissector.sh        needs tshark (Debian: apt install tshark) and python3
set -euo pipefail
cd "$(dirname "$0")/.."

command -v tshark >/dev/null || { echo "dissector: tshark is needed (Debian: apt install tshark)" >&2; exit 2; }
if [[ -z "${AUTH_ENGINE_BIN:-}" ]]; then
  cargo build --quiet --release -p auth-engine
  AUTH_ENGINE_BIN="${CARGO_TARGET_DIR:-target}/release/auth-engine"
fi
WORK="$(mktemp -d "${TMPDIR:-/tmp}/auth-engine-dissector.XXXXXX")"
trap 'rm -rf "$WORK"' EXIT
PYTHONDONTWRITEBYTECODE=1 python3 scripts/dissector/check.py "$AUTH_ENGINE_BIN" "$WORK"
