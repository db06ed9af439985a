#!/bin/sh
# A quick walk through FleetMDM on a throw-away database; fails at the first surprise.
set -eu
BIN=${BIN:-.venv/bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export FLEETMDM_DB="$work/fleet.db" HOME="$work"

"$BIN/fleetmdm" init
"$BIN/fleetmdm" export-collector linux >"$work/exporter.py"
"$BIN/python" "$work/exporter.py" --device-id here >"$work/here.json"
"$BIN/fleetmdm" ingest "$work/here.json"
"$BIN/fleetmdm" policy add --library all
"$BIN/fleetmdm" check
"$BIN/fleetmdm" check
"$BIN/fleetmdm" report --top 5
"$BIN/fleetmdm" drift
# A failing path must be one JSON document with a code.
if "$BIN/fleetmdm" device show nobody --format json >"$work/error.json" 2>/dev/null; then
    echo "smoke: an unknown device was found" >&2
    exit 1
fi
grep -q '"code": "device_not_found"' "$work/error.json"
echo "smoke: fine"
