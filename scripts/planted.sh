#!/usr/bin/env bash
# Bugs planted one at a time in a copy of this tree, each of which the simulator must find: prints the seed and the
# shortest story of each. Exit 1 when a patch does not apply, does not build, or is not found in so many seeds.
#   scripts/planted.sh [SEEDS]
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
seeds=${1:-2000}
copy=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$copy/tree" >/dev/null 2>&1 || true; rm -rf "$copy"' EXIT
git worktree add --quiet --detach "$copy/tree" HEAD
# One target directory for all of them: a patch changes one file, and the rest is built once.
export CARGO_TARGET_DIR=${PLANTED_TARGET_DIR:-$copy/target}
missed=0
for patch in auth-engine/tests/planted/*.patch; do
    name=$(basename "$patch" .patch)
    echo "== $name"
    if ! git -C "$copy/tree" apply "$root/$patch"; then
        echo "the patch does not apply: bring it up to date"
        missed=1
        continue
    fi
    if ! (cd "$copy/tree" && cargo build --quiet -p auth-engine --bin auth-engine); then
        echo "it does not build"
        missed=1
    else
        status=0
        "$CARGO_TARGET_DIR/debug/auth-engine" simulate engine --seeds "$seeds" >"$copy/found" 2>/dev/null || status=$?
        if [ "$status" = 1 ] && grep -q '^found, alone by' "$copy/found"; then
            sed -n '/^found, alone by/,$p' "$copy/found"
        else
            echo "NOT FOUND in $seeds seeds"
            missed=1
        fi
    fi
    git -C "$copy/tree" checkout --quiet .
done
[ "$missed" = 0 ] && echo "every planted bug was found"
exit "$missed"
