"""A full check, recorded, beside DuckDB, Polars and Rego that only find the same states.

The peers have the same documents loaded before the clock starts, and the same twenty policies
translated by hand; their states must be ours, device by device. Rego gets fewer documents, and our
check of as few.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench_check import check
from fleet import NOW, make_documents, make_policies
from fleetmdm.device import parse_device
from fleetmdm.results import Status
from fleetmdm.store.sqlite import SqliteStore, open_store
from peers import in_duckdb, in_polars, in_rego
from peers.rules import ERROR, FALSE, POLICIES, TRUE, UNKNOWN
from ratio import compare, finish, read_options

CODES = {
    Status.FAIL: FALSE,
    Status.ERROR: ERROR,
    Status.UNKNOWN: UNKNOWN,
}


def fill(folder: Path, devices: int) -> tuple[Path, Path]:
    """A store of ours and a file of the same documents."""
    source, path = folder / f"{devices}.ndjson", folder / f"{devices}.db"
    documents = list(make_documents(devices))
    source.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in documents))
    with closing(open_store(path, create=True, now=NOW)) as store:
        store.put_devices((parse_device(one, now=NOW) for one in documents), now=NOW)
        store.put_policies(make_policies(), now=NOW)
    return source, path


def our_states(store: SqliteStore) -> dict[str, list[int]]:
    """By device, the code of its state under each policy, as the newest run found it."""
    places = {f"bench.{name}": place for place, name in enumerate(POLICIES)}
    states = {device.device_id: [TRUE] * len(places) for device in store.devices()}
    for row in store.results(next(store.runs(limit=1)).run_id):
        states[row.device_id][places[row.policy_id]] = CODES[row.status]
    return states


def agree(name: str, theirs: dict[str, list[int]], ours: dict[str, list[int]]) -> None:
    """Stop where a device has another state."""
    for device, states in ours.items():
        if theirs.get(device) != states:
            raise SystemExit(f"{name} says otherwise of {device}: {theirs.get(device)}, {states}")
    print(f"{name}: the same states on {len(ours)} devices under {len(POLICIES)} policies")


def main() -> None:
    """Time each beside ours."""
    options = read_options(devices=20_000, rego=100)
    with tempfile.TemporaryDirectory() as name:
        source, path = fill(Path(name), options.devices)
        few, few_path = fill(Path(name), options.rego)
        with (
            closing(open_store(path, now=NOW)) as store,
            closing(open_store(few_path, now=NOW)) as small,
        ):
            check(store)
            check(small)
            ours, table, frame = our_states(store), in_duckdb.load(source), in_polars.load(source)
            in_duckdb.check(table)
            agree("DuckDB", in_duckdb.states(table), ours)
            agree("Polars", in_polars.states(in_polars.check(frame)), ours)
            rego = in_rego.load(few)
            agree("Rego", in_rego.check(rego), our_states(small))
            rows = [
                compare(
                    f"full check of {options.devices} devices, recorded",
                    f"DuckDB {version('duckdb')}, states into a table",
                    lambda: check(store),
                    lambda: in_duckdb.check(table),
                    at_most=1,
                ),
                compare(
                    f"full check of {options.devices} devices, recorded",
                    f"Polars {version('polars')}, states in memory",
                    lambda: check(store),
                    lambda: in_polars.check(frame),
                    at_most=1,
                ),
                compare(
                    f"full check of {options.rego} devices, recorded",
                    "Rego (rego-cpp), states in memory",
                    lambda: check(small),
                    lambda: in_rego.check(rego),
                    at_most=1,
                ),
            ]
    finish(rows, options)


if __name__ == "__main__":
    main()
