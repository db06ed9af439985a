#!/bin/sh
# The demo, after set-up; where .venv cannot be built, the one part that needs only Python.
set -eu
cd "$(dirname "$0")/.."

status=0
./tools/setup.sh demo || status=$?
if [ "$status" -eq 0 ]; then
    exec .venv/bin/python demo/run.py
fi
echo 'demo: without .venv only the exporter can run: this machine as a device document' >&2
PYTHONPATH=src python3 -m fleetmdm.exporters.linux --device-id this-machine --pretty
echo 'demo: not shown: the agent, collection, policies, drift, evidence' >&2
exit "$status"
