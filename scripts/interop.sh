#!/usr/bin/env bash
# Plays foreign implementations against the engine. First a story with PyPI's pyiso8583 on two links with two specs,
# through a kill -9 and a restart; then OpenSSL on links with TLS; then generated messages with pyiso8583, cardutil and
# npm's iso_8583, both ways, on links and through `decode` and `encode`. Exit 0 when all is as documented, 1 on any
# difference, 2 when it cannot run.
#
#   scripts/interop.sh [MESSAGES]             builds the release binary, then plays; 10,000 messages unless given
#   AUTH_ENGINE_BIN=path scripts/interop.sh   plays against that binary
#
# Needs python3 with venv; openssl for TLS, and node with npm for iso_8583, which are left out aloud where missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# Pinned: a check of this engine must not fail because the other side changed.
PYISO8583=4.0.1
CARDUTIL=0.7.3
NPM_ISO_8583=2.6.7
TARGET="${CARGO_TARGET_DIR:-target}"
VENV="$TARGET/interop/venv"

if [[ -z "${AUTH_ENGINE_BIN:-}" ]]; then
  cargo build --quiet --release -p auth-engine
  AUTH_ENGINE_BIN="$TARGET/release/auth-engine"
fi
[[ -x "$AUTH_ENGINE_BIN" ]] || { echo "interop: $AUTH_ENGINE_BIN is no executable; set AUTH_ENGINE_BIN" >&2; exit 2; }

MODULES="$TARGET/interop/node"

installed() {
  "$VENV/bin/python" -c "import importlib.metadata as m, sys; sys.exit([m.version(n) for n in ('pyiso8583', 'cardutil')] != ['$PYISO8583', '$CARDUTIL'])" 2>/dev/null
}
if ! installed; then
  rm -rf "$VENV"
  python3 -m venv "$VENV" || { echo "interop: python3 with its venv module is needed" >&2; exit 2; }
  "$VENV/bin/pip" install --quiet --disable-pip-version-check "pyiso8583==$PYISO8583" "cardutil==$CARDUTIL" \
    || { echo "interop: pyiso8583 $PYISO8583 and cardutil $CARDUTIL cannot be installed" >&2; exit 2; }
fi
if [[ ! -d "$MODULES/node_modules/iso_8583" ]]; then
  mkdir -p "$MODULES"
  if ! npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$MODULES" "iso_8583@$NPM_ISO_8583" >/dev/null 2>&1; then
    echo "interop: npm's iso_8583 cannot be installed: its messages are left out" >&2
  fi
fi

DATA="$(mktemp -d "${TMPDIR:-/tmp}/auth-engine-interop.XXXXXX")"
trap 'rm -rf "$DATA"' EXIT
export PYTHONDONTWRITEBYTECODE=1
"$VENV/bin/python" scripts/interop/play.py "$AUTH_ENGINE_BIN" "$DATA"
if command -v openssl >/dev/null; then
  mkdir "$DATA/secured"
  "$VENV/bin/python" scripts/interop/secured.py "$AUTH_ENGINE_BIN" "$DATA/secured"
else
  echo "interop: no openssl: links with TLS are left out" >&2
fi
mkdir "$DATA/exchange"
"$VENV/bin/python" scripts/interop/exchange.py "$AUTH_ENGINE_BIN" "$DATA/exchange" "$MODULES/node_modules" "${1:-10000}"
