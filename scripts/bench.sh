#!/usr/bin/env bash
# Every measurement in turn, one results file, one report; at the end the table of targets.
#
#   scripts/bench.sh [--full] [PART...]      parts: latency rates closed cpu throughput webhook recover growth
#                                                   compare attacks path (default: all, in this order)
#
# Takes under 10 minutes besides the build and the seeding; --full runs each part longer. What a part says goes to
# the terminal, its results to target/bench/PART.json, all of them together to target/bench/results.json and
# target/bench/report.html. A part that cannot run is said aloud and marked as failed, and the next one goes on.
#
# Exit: 0 every part ran, whatever its figures (a missed target is told, not an error); 1 a part could not run or
# the report could not be written; 2 wrong usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=(latency rates closed cpu throughput webhook recover growth compare attacks path)
parts=()
full=
for argument in "$@"; do
  case "$argument" in
    --full) full=1 ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *)
      if [[ " ${all[*]} " != *" $argument "* ]]; then
        echo "there is no part $argument; usage: scripts/bench.sh [--full] [PART...], parts: ${all[*]}" >&2
        exit 2
      fi
      parts+=("$argument")
      ;;
  esac
done
[[ ${#parts[@]} -gt 0 ]] || parts=("${all[@]}")

export CARGO_INCREMENTAL=0
cargo build --release --locked -p auth-engine -p benches
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
benches=$target/release/benches
out=$target/bench
mkdir -p "$out"
# Of a run of single parts, what the others found before stays in the report.
for part in "${parts[@]}"; do rm -f "$out/$part.json"; done

# The kernel kills the harness's children when it ends, however it ends; what an interrupt leaves behind lies here.
work=$(mktemp -d "$target/bench.XXXXXX")
# A database that refuses to run as root must be able to pass through.
chmod 711 "$work"
running=
cleanup() {
  status=$?
  trap - EXIT
  if [[ -n "$running" ]]; then
    kill "$running" 2>/dev/null || true
    wait "$running" 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What is left of a line in a JSON string: printable ASCII without quote and backslash.
plain() { LC_ALL=C tr -cd ' !#-[]-~' | cut -c 1-300; }

# The reason that the last run gave: its last line that says error, else its last line.
reason() { { grep -a '^error' "$work/said" || cat "$work/said"; } | tail -n 1; }

# failure WHAT WHY: said aloud, and a row of the report.
failure() {
  printf 'FAILED: %s: %s\n' "$1" "$2" >&2
  printf '{"results":[{"name":"%s","group":"parts","shape":"failed","void":"%s"}]}\n' \
    "$(plain <<<"$1")" "$(plain <<<"$2")" >>"$out/$part.json"
  failed=1
}

# start COMMAND...: one run of the harness, in the background so that an interrupt is not held up by it.
start() {
  local status=0
  printf '\n-- benches %s\n' "$*"
  "$benches" "$@" 2> >(tee "$work/said" >&2) &
  running=$!
  wait "$running" || status=$?
  running=
  # The copy of what it said is written beside it: that gets a moment to end.
  [[ $status -eq 0 ]] || sleep 0.2
  return "$status"
}

# run COMMAND...: one run, its results appended to those of the part. Exit 1 says that something in it is void or not
# as promised: the results tell that, and the run has been.
run() {
  local status=0 one=$work/one.json
  rm -f "$one"
  start "$@" --work "$work" --out "$one" || status=$?
  if [[ -s "$one" ]]; then
    cat "$one" >>"$out/$part.json"
    printf '\n' >>"$out/$part.json"
  fi
  if [[ $status -gt 1 || ! -s "$one" ]]; then
    failure "benches $*" "exit $status: $(reason)"
  fi
}

# seeded NAME [OPTION...]: a directory of a million cards, made once.
data=$target/bench-data
seeded() {
  local name=$1
  shift
  if [[ -e "$data/$name.ready" ]]; then return 0; fi
  rm -rf "${data:?}/$name"
  mkdir -p "$data"
  local from=$SECONDS status=0
  start seed --data "$data/$name" --cards 1000000 --holds 100000 "$@" || status=$?
  seeding=$((seeding + SECONDS - from))
  if [[ $status -eq 0 ]]; then
    touch "$data/$name.ready"
  else
    failure "benches seed" "$(reason)"
    return 1
  fi
}

if [[ -n "$full" ]]; then
  length=60s samples=20000 seconds=600 rounds=5 quick=
else
  length=10s samples=4000 seconds=90 rounds=2 quick=--quick
fi

part_latency() { run latency --samples "$samples"; }
part_rates() { run latency --rates 20000,100000,200000 --length "$length"; }
part_closed() { run latency --in-flight 512 --length "$length"; }
part_cpu() { run cpu; }
part_throughput() { run throughput; }
part_webhook() {
  run webhook
  run webhook --rates 20000 --length "$length"
}
# Its first start has no read model yet, and its other starts only what that one came to.
part_recover() { if seeded million; then run recover --data "$data/million" --rounds "$rounds"; fi; }
part_growth() { if seeded folded --read-model; then run growth --data "$data/folded" --samples "$samples"; fi; }
part_compare() { run compare --seconds "$seconds"; }
# Word by word: --quick or nothing.
# shellcheck disable=SC2086
part_attacks() { run attacks $quick; }
# Counts, not times: what it prints is kept, and its exit code is the verdict.
part_path() {
  local status=0 got met
  start path --no-allocations --work "$work" | tee "$out/path.txt" || status=$?
  case "$status" in
    0) got=none met=true ;;
    1) got=$(reason | plain) met=false ;;
    *) failure "benches path" "exit $status: $(reason)"; return 0 ;;
  esac
  printf '{"results":[{"name":"path of a tap in memory","group":"allocations","target":{"asked":"%s","got":"%s","met":%s}}]}\n' \
    "0 allocations per tap in decode, decide, apply, append, encode" "$got" "$met" >>"$out/$part.json"
}

began=$SECONDS
seeding=0 seeded_in=0
failed=
rows=()
for part in "${parts[@]}"; do
  part_began=$SECONDS
  before=$failed
  failed=
  printf '\n== %s\n' "$part"
  "part_$part"
  rows+=("${failed:+FAILED}|$((SECONDS - part_began - seeding))|$part")
  [[ $seeding -eq 0 ]] || rows+=("|$seeding|its seeding")
  seeded_in=$((seeded_in + seeding)) seeding=0
  failed=$before$failed
done

# In the order of the parts, whichever of them ran today.
: >"$out/results.json"
for part in "${all[@]}"; do
  if [[ -s "$out/$part.json" ]]; then cat "$out/$part.json" >>"$out/results.json"; fi
done
printf '\n== report\n'
"$benches" report "$out/results.json" --html "$out/report.html" || failed=1

printf '\n%-8s %8s  %s\n' result seconds part
for row in "${rows[@]}"; do
  IFS='|' read -r result seconds name <<<"$row"
  printf '%-8s %8s  %s\n' "${result:-ran}" "$seconds" "$name"
done
printf '%-8s %8s  %s\n' "$([[ -z "$failed" ]] && echo ran || echo FAILED)" "$((SECONDS - began - seeded_in))" "all, without seeding"
[[ -z "$failed" ]]
