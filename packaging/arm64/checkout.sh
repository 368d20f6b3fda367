#!/bin/bash
# checkout.sh DIST: the arm64 programs in DIST set a terminal up, sell, stop, start
# again and prove the journal: on this machine through qemu-aarch64-static, on arm64
# directly.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dist=$(realpath "$1")
work=$(mktemp -d)
daemon=
cleanup() {
  [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

run=()
if [ "$(uname -m)" != aarch64 ]; then
  "$here/../tools/need.sh" qemu-aarch64-static
  run=(qemu-aarch64-static)
fi
"$here/../tools/need.sh" curl

fail() {
  echo "checkout.sh: $*" >&2
  [ ! -s "$work/log" ] || { echo "--- posd's log:" >&2; cat "$work/log" >&2; }
  exit 1
}
posctl() { "${run[@]}" "$dist/posctl" "$@" --config "$work/posd.toml"; }

# A unix socket needs no free port.
api() { curl -sS --max-time 60 --unix-socket "$work/posd.sock" -H "Authorization: Bearer $token" "$@"; }

start() {
  "${run[@]}" "$dist/posd" --config "$work/posd.toml" >>"$work/log" 2>&1 &
  daemon=$!
  for _ in $(seq 300); do
    [ "$(api -o /dev/null -w '%{http_code}' http://posd/readyz 2>/dev/null || true)" = 200 ] && return
    kill -0 "$daemon" 2>/dev/null || fail "posd ended at its start"
    sleep 0.1
  done
  fail "posd is not ready after 30 s"
}

stop() {
  local rc=0
  kill -TERM "$daemon"
  wait "$daemon" || rc=$?
  daemon=
  [ "$rc" = 0 ] || fail "posd ended with code $rc after SIGTERM"
}

sell() { # KEY BODY EXPECTED-STATUS
  local status
  status=$(api -o "$work/answer" -w '%{http_code}' -H 'Content-Type: application/json' -H "Idempotency-Key: $1" -d "$2" http://posd/v1/checkout)
  [ "$status" = "$3" ] || fail "checkout $1 answered $status, expected $3: $(cat "$work/answer")"
}

mkdir "$work/data"
cat >"$work/posd.toml" <<TOML
[terminal]
store = "s1"
id = "arm"
currency = "EUR"
time_zone = "UTC"
[tax]
A = "19"
[http]
listen = ""
socket = "$work/posd.sock"
[data]
dir = "$work/data"
segment = "256KiB"
max_bytes = "16MiB"
[limits]
expect_cpu = "0%"
expect_memory = "0B"
TOML
printf 'code,description,department,unit,price,tax\n4011,Bananas,fruit,kg,2.49,A\n' >"$work/items.csv"

posctl init >"$work/init.log" 2>&1 || fail "posctl init: $(cat "$work/init.log")"
token=$(posctl token add front | grep -oE '[A-Za-z0-9_-]{20,}' | tail -1)
posctl catalogue import "$work/items.csv" >"$work/import.log" 2>&1 || fail "posctl catalogue import: $(cat "$work/import.log")"

start
sale='{"lines":[{"item":"4011","quantity":"1.5"}],"tenders":[{"kind":"cash","amount":500}]}'
sell k1 "$sale" 201
grep -q '"total": *374' "$work/answer" || fail "1.5 kg at 2.49 are not 3.74: $(cat "$work/answer")"
cp "$work/answer" "$work/first"
sell k1 "$sale" 200 # a retry is answered, not sold again
cmp -s "$work/first" "$work/answer" || fail "the retry got another answer: $(cat "$work/answer")"
sell k1 '{"lines":[{"item":"4011"}],"tenders":[{"kind":"cash","amount":500}]}' 409
stop
start
sell k1 "$sale" 200 # also after a restart
cmp -s "$work/first" "$work/answer" || fail "the answer changed with the restart: $(cat "$work/answer")"
sell k2 "$sale" 201
stop
posctl verify >"$work/verify.log" 2>&1 || fail "posctl verify: $(cat "$work/verify.log")"
sales=$(posctl dump | grep -c '"sale.completed"' || true)
[ "$sales" = 2 ] || fail "the journal holds $sales sales, expected 2"

# The proof must be able to fail: a changed cent has to be found.
segment=$(ls "$work"/data/journal/*.seg | head -1)
offset=$(grep -abo '"total":374' "$segment" | head -1 | cut -d: -f1)
[ -n "$offset" ] || fail "the total was not found in $segment"
printf 5 | dd of="$segment" bs=1 seek=$((offset + 10)) conv=notrunc status=none
posctl verify >"$work/verify.log" 2>&1 && fail "posctl verify did not see a changed total"
echo "arm64: 2 sales, 2 retries, 1 conflict, 1 restart; the journal is proved, a changed cent is found"
