#!/usr/bin/env bash
# Plays a foreign ISO 8583 implementation (PyPI's pyiso8583) against `auth-engine serve`, on two links with two specs,
# through a kill -9 and a restart. Exit 0 when every reply is as documented, 1 on any difference, 2 when it cannot run.
#
#   scripts/interop.sh                        builds the release binary, then plays
#   AUTH_ENGINE_BIN=path scripts/interop.sh   plays against that binary
set -euo pipefail
cd "$(dirname "$0")/.."

# Pinned: a check of this engine must not fail because the other side changed.
PYISO8583=4.0.1
TARGET="${CARGO_TARGET_DIR:-target}"
VENV="$TARGET/interop/venv"

if [[ -z "${AUTH_ENGINE_BIN:-}" ]]; then
  cargo build --quiet --release -p auth-engine
  AUTH_ENGINE_BIN="$TARGET/release/auth-engine"
fi
[[ -x "$AUTH_ENGINE_BIN" ]] || { echo "interop: $AUTH_ENGINE_BIN is no executable; set AUTH_ENGINE_BIN" >&2; exit 2; }

if ! "$VENV/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('pyiso8583') != '$PYISO8583')" 2>/dev/null; then
  rm -rf "$VENV"
  python3 -m venv "$VENV" || { echo "interop: python3 with its venv module is needed" >&2; exit 2; }
  "$VENV/bin/pip" install --quiet --disable-pip-version-check "pyiso8583==$PYISO8583" \
    || { echo "interop: pyiso8583 $PYISO8583 cannot be installed" >&2; exit 2; }
fi

DATA="$(mktemp -d "${TMPDIR:-/tmp}/auth-engine-interop.XXXXXX")"
trap 'rm -rf "$DATA"' EXIT
PYTHONDONTWRITEBYTECODE=1 "$VENV/bin/python" scripts/interop/play.py "$AUTH_ENGINE_BIN" "$DATA"
