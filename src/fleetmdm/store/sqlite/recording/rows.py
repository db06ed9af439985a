"""The stored verdicts of some devices, by policy, and the rows that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from fleetmdm.evaluate import VerdictBatch
from fleetmdm.evaluate.operators.times import NEVER, decode_end
from fleetmdm.evaluate.verdicts import STATES, PolicyColumn
from fleetmdm.results import SILENT
from fleetmdm.store.codec import encode_findings, encode_stamp

Row = tuple[int, int, str, bytes, str | None]
"""Device, policy, status, encoded findings, the stamp until which it stands."""

_STORED: Final = np.array([state not in SILENT for state in STATES])
"""By the code of a state: whether it has a row."""
_STATUS_TEXT: Final = tuple(state.value for state in STATES)
_NO_FINDINGS: Final = encode_findings(())
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Row]).decode


@dataclass(frozen=True, slots=True)
class PolicyRows:
    """The rows of one policy, as columns with an item for each row; devices ascend."""

    policy: int
    devices: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    groups: npt.NDArray[np.int32]
    """Which of `findings` are the row's."""
    findings: Sequence[bytes]
    ends: npt.NDArray[np.int64] | None


def rows_of(
    handles: Sequence[int], verdicts: VerdictBatch, policies: Mapping[str, int]
) -> Iterator[PolicyRows]:
    """The stored verdicts on a batch."""
    numbers = np.array(handles, dtype=np.int64)
    for column in verdicts.columns:
        places = np.flatnonzero(_STORED[column.outcomes])
        if len(places):
            yield _of_column(column, numbers, places, policies[column.policy_id])


def _of_column(
    column: PolicyColumn,
    numbers: npt.NDArray[np.int64],
    places: npt.NDArray[np.intp],
    policy: int,
) -> PolicyRows:
    # Rows that only say that the policy is not selected or not checked have no findings.
    groups = np.zeros(len(places), dtype=np.int32)
    groups[np.searchsorted(places, column.found.places)] = column.found.groups + 1
    return PolicyRows(
        policy,
        numbers[places],
        column.outcomes[places].astype(np.uint8),
        groups,
        [_NO_FINDINGS, *map(encode_findings, column.found.findings)],
        None if column.until is None else column.until[places],
    )


def make_rows(parts: Sequence[PolicyRows]) -> list[Row]:
    """The rows in the order of the table that they go to."""
    if not parts:
        return []
    devices = np.concatenate([part.devices for part in parts])
    policies = np.repeat([part.policy for part in parts], [len(part.devices) for part in parts])
    status = [_STATUS_TEXT[code] for part in parts for code in part.codes.tolist()]
    findings = [part.findings[group] for part in parts for group in part.groups.tolist()]
    stamps = [stamp for part in parts for stamp in _stamps(part)]
    columns = (devices.tolist(), policies.tolist(), status, findings, stamps)
    rows = list(zip(*columns, strict=True))
    return [rows[place] for place in np.lexsort((policies, devices)).tolist()]


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Rows as one value, to be handed on or put aside."""
    return _encode(rows)


def unpack_rows(data: bytes) -> list[Row]:
    """What `pack_rows` wrote."""
    return _decode(data)


def _stamps(part: PolicyRows) -> list[str | None]:
    if part.ends is None:
        return [None] * len(part.devices)
    return [None if end == NEVER else _stamp(end) for end in part.ends.tolist()]


def _stamp(end: int) -> str | None:
    until = decode_end(end)
    return None if until is None else encode_stamp(until)
