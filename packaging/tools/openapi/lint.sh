#!/bin/bash
# lint.sh DIR: lints posd's OpenAPI document with Redocly's linter, which is installed
# into DIR, and makes sure that the linter sees what it is there for.
set -euo pipefail
cd "$(dirname "$0")/../../.."
dir=$1
mkdir -p "$dir"
cp packaging/tools/openapi/package.json packaging/tools/openapi/package-lock.json packaging/tools/openapi/redocly.yaml "$dir/"
(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)

export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true NO_COLOR=1
lint() { node "$dir/node_modules/@redocly/cli/bin/cli.js" lint "$1" --config "$dir/redocly.yaml" --format=stylish; }

# A document with mistakes, one for each line.
node - pos/httpapi/openapi.json "$dir" <<'JS'
const fs = require('fs');
const [document, dir] = process.argv.slice(2);
const faults = {
  'operation-operationId-unique': d => { d.paths['/v1/shift'].get.operationId = d.paths['/v1/status'].get.operationId; },
  'path-parameters-defined': d => { d.paths['/v1/sales/{id}'].get.parameters = []; },
  'no-unresolved-refs': d => { d.components.responses.Problem.content['application/problem+json'].schema = {$ref: '#/components/schemas/None'}; },
  'security-defined': d => { delete d.security; },
  'no-unused-components': d => { d.components.schemas.Nobody = {type: 'object'}; },
  'struct': d => { d.components.schemas.Problem.type = 'thing'; },
};
for (const [rule, plant] of Object.entries(faults)) {
  const d = JSON.parse(fs.readFileSync(document));
  plant(d);
  fs.writeFileSync(`${dir}/fault-${rule}.json`, JSON.stringify(d));
}
JS
for fault in "$dir"/fault-*.json; do
  rule=${fault##*/fault-} rule=${rule%.json}
  # A fault may be seen by more than one rule.
  if out=$(lint "$fault" 2>&1) || ! grep -q "$rule" <<<"$out"; then
    echo "lint.sh: the linter does not see a planted fault: $rule" >&2
    echo "$out" >&2
    exit 1
  fi
  rm "$fault"
done
if ! out=$(lint pos/httpapi/openapi.json 2>&1); then
  echo "$out" >&2
  exit 1
fi
echo "lint.sh: openapi.json is in order; six planted faults were seen"
