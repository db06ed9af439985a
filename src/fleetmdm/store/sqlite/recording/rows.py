"""The stored verdicts of some devices, by policy, and the rows that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

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
_decode: Final = msgspec.msgpack.Decoder(tuple[list[bytes], list[bytes]]).decode

T = TypeVar("T")


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
    found = column.search.written()
    findings, groups = list(found.findings), found.groups
    if len(found.places) < len(places):
        groups = np.full(len(places), len(findings), dtype=np.int32)
        groups[np.searchsorted(places, found.places)] = found.groups
        # Rows that only say that the policy is not selected or not checked have no findings.
        findings.append(_NO_FINDINGS)
    return PolicyRows(
        policy,
        numbers[places],
        column.outcomes[places].astype(np.uint8),
        groups,
        findings,
        None if column.until is None else column.until[places],
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by column, in the order of the table that they go to; `texts` are named by `findings`."""

    devices: npt.NDArray[np.int64]
    policies: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    findings: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]
    texts: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.devices)

    def whole(self) -> list[Row]:
        """One by one."""
        return list(self.told(self.texts))

    def told(self, names: Sequence[T]) -> Iterator[tuple[int, int, str, T, str | None]]:
        """One by one, each with what stands in `names` for its findings."""
        return zip(
            self.devices.tolist(),
            self.policies.tolist(),
            map(_STATUS_TEXT.__getitem__, self.codes.tolist()),
            map(names.__getitem__, self.findings.tolist()),
            self._stamps(),
            strict=True,
        )

    def _stamps(self) -> list[str | None]:
        stamps: list[str | None] = [None] * len(self)
        for place in np.flatnonzero(self.ends != NEVER).tolist():
            stamps[place] = _stamp(int(self.ends[place]))
        return stamps

    def chosen(self, places: Sequence[int]) -> Rows:
        """Some of them, with those texts alone that they need."""
        needed, findings = np.unique(self.findings[places], return_inverse=True)
        return Rows(
            self.devices[places],
            self.policies[places],
            self.codes[places],
            findings.astype(np.int32),
            self.ends[places],
            [self.texts[number] for number in needed.tolist()],
        )


def make_rows(parts: Sequence[PolicyRows]) -> Rows:
    """The rows of several policies together."""
    texts: dict[bytes, int] = {}
    findings = [np.zeros(0, np.int32)]
    for part in parts:
        numbers = [texts.setdefault(text, len(texts)) for text in part.findings]
        findings.append(np.array(numbers, np.int32)[part.groups])
    devices = np.concatenate([np.zeros(0, np.int64), *(part.devices for part in parts)])
    policies = np.repeat(
        np.array([part.policy for part in parts], np.int64), [len(part.devices) for part in parts]
    )
    order = np.lexsort((policies, devices))
    codes = np.concatenate([np.zeros(0, np.uint8), *(part.codes for part in parts)])
    ends = np.concatenate([np.zeros(0, np.int64), *map(_ends, parts)])
    return Rows(
        devices[order],
        policies[order],
        codes[order],
        np.concatenate(findings)[order],
        ends[order],
        list(texts),
    )


def pack_rows(rows: Rows) -> bytes:
    """Rows as one value, to be handed on or put aside."""
    columns = (rows.devices, rows.policies, rows.codes, rows.findings, rows.ends)
    return _encode(([column.tobytes() for column in columns], rows.texts))


def unpack_rows(data: bytes) -> Rows:
    """What `pack_rows` wrote."""
    columns, texts = _decode(data)
    devices, policies, codes, findings, ends = columns
    return Rows(
        np.frombuffer(devices, np.int64),
        np.frombuffer(policies, np.int64),
        np.frombuffer(codes, np.uint8),
        np.frombuffer(findings, np.int32),
        np.frombuffer(ends, np.int64),
        texts,
    )


def _ends(part: PolicyRows) -> npt.NDArray[np.int64]:
    return np.full(len(part.devices), NEVER, np.int64) if part.ends is None else part.ends


def _stamp(end: int) -> str | None:
    until = decode_end(end)
    return None if until is None else encode_stamp(until)
