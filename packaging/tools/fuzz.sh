#!/bin/bash
# fuzz.sh TIME [PACKAGE...]: runs every fuzz test of the packages (default: all) for TIME.
set -euo pipefail
time=$1
shift
[ $# -gt 0 ] || set -- ./...
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz PACKAGE NAME: at the end of the time the go tool now and then fails with
# "context deadline exceeded" and no input. Such a run is done again.
fuzz() {
  for _ in 1 2 3; do
    # Minimizing an interesting input takes a minute by default, during which nothing
    # new is tried.
    if go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 1s "$1" 2>&1 | tee "$log"; then return 0; fi
    if grep -q 'Failing input written' "$log" || ! grep -q '^ *context deadline exceeded' "$log"; then return 1; fi
    echo "fuzz.sh: the go tool ran out of time by itself; once more"
  done
  return 1
}

ran=0
failed=()
while read -r package dir; do
  # A name listed here is a fuzz test for sure: the test binary itself is asked.
  names=$(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
  for name in $names; do
    ran=$((ran + 1))
    echo "== $package $name"
    fuzz "$package" "$name" || failed+=("$package $name ($dir/testdata/fuzz/$name)")
  done
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' "$@" | grep .)
[ "$ran" -gt 0 ] || { echo "fuzz.sh: no fuzz test was found in $*" >&2; exit 1; }
if [ ${#failed[@]} -gt 0 ]; then
  printf 'fuzz.sh: failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "fuzz.sh: $ran fuzz tests of $time each found nothing"
