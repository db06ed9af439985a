"""Records of a view made to show less: the rules of an export, on what is left to see. Pure.

Rule for editors: a field that shows here would show in an export with the same redaction; tests
hold the bytes of both together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fleetmdm.evidence.records.commit import Written, write_line
from fleetmdm.evidence.records.reading import LineReader, Taken
from fleetmdm.evidence.records.values import uncarry
from fleetmdm.evidence.redact import (
    GUARDED_KINDS,
    Profile,
    Redaction,
    classify,
    fact_path,
    fits,
    identifiers_in,
    leaking_text,
    may_show,
)

MAX_KNOWN: Final = 32_768
"""Fields of which it is remembered whether they show; and sets of names."""

MAX_VALUE_BYTES: Final = 1024
"""A longer value is not remembered."""

NamesOf = Callable[[str], frozenset[str]]
"""The names of a device, by its id, that no field may give away."""

_Field = tuple[bytes, bytes, bytes]
"""Name and value as they stand in the line; of a part of a finding the finding too, else nothing."""


class _Shown(NamedTuple):
    """Whether a field shows, and what of it could give a name away."""

    is_open: bool
    text: str = ""


class _Plan(NamedTuple):
    """What is the same for all records that open the same fields."""

    fixed: tuple[_Shown | None, ...]
    """For each field whether it shows; None where that depends on its value."""
    findings: tuple[int, ...]
    """For each field the place of the finding that it is a part of; -1 for none."""
    guards: tuple[int, ...]
    """Places of the fields that name the device."""
    device_id: int | None


class Narrower:
    """Narrows the records of one file; remembers what it decided."""

    def __init__(self, redaction: Redaction, names_of: NamesOf | None) -> None:
        """`names_of` is None for records that hold the names of their device themselves."""
        self._redaction = redaction
        self._names_of = names_of
        self._reader = LineReader()
        self._plans: dict[tuple[bytes, ...], _Plan] = {}
        self._known: dict[_Field, _Shown] = {}

    def narrow(self, line: bytes) -> Written:
        """The same record with fewer fields open and the same leaf; raises `RecordError`."""
        taken = self._reader.read(line)
        plan = self._plans.get(taken.names) or self._plan(taken.names)
        values = (*taken.values, b"")
        fields = zip(taken.names, taken.values, [values[at] for at in plan.findings], strict=True)
        known, decide = self._known.get, self._decide
        shown = [
            fixed or known(field) or decide(field)
            for fixed, field in zip(plan.fixed, fields, strict=True)
        ]
        texts = "\n".join([each.text for each in shown if each.text])
        if texts:
            found = [name for name in self._names(taken, plan) if name in texts]
            if found:
                shown = [
                    _Shown(False) if any(name in each.text for name in found) else each
                    for each in shown
                ]
        return _write(taken, [each.is_open for each in shown])

    def _plan(self, names: tuple[bytes, ...]) -> _Plan:
        paths = [json.loads(b'"%b"' % name) for name in names]
        places = {path: at for at, path in enumerate(paths)}
        plan = _Plan(
            tuple([self._fix(path) for path in paths]),
            tuple([places.get(_finding_of(path), -1) for path in paths]),
            tuple([at for at, path in enumerate(paths) if classify(path).kind in GUARDED_KINDS]),
            places.get("device_id"),
        )
        _hold(self._plans, names, plan)
        return plan

    def _fix(self, path: str) -> _Shown | None:
        """What is decided of a field by its path alone."""
        if _finding_of(path):
            return None
        if not may_show(path, {}, self._redaction):
            return _Shown(False)
        looked_at = path.startswith("facts") and self._redaction.profile is not Profile.NONE
        return None if looked_at else _Shown(True)

    def _names(self, taken: Taken, plan: _Plan) -> frozenset[str]:
        if self._names_of is None:
            return identifiers_in(_read(taken.values[at]) for at in plan.guards)
        if plan.device_id is None:
            return frozenset()
        device_id = _read(taken.values[plan.device_id])
        return self._names_of(device_id) if isinstance(device_id, str) else frozenset()

    def _decide(self, field: _Field) -> _Shown:
        path: str = json.loads(b'"%b"' % field[0])
        finding = _read(field[2]) if field[2] else None
        shown = self._judge(path, _read(field[1]), finding)
        if len(field[1]) <= MAX_VALUE_BYTES:
            _hold(self._known, field, shown)
        return shown

    def _judge(self, path: str, value: Any, finding: Any) -> _Shown:
        profile = self._redaction.profile
        whole = _finding_of(path)
        if not may_show(path, {whole: finding}, self._redaction):
            return _Shown(False)
        fact = path.startswith("facts")
        if profile is Profile.NONE or not (fact or whole):
            return _Shown(True)
        seen = bool(whole) and path.endswith(".observed")
        if profile is Profile.STRICT and (fact or seen):
            of = fact_path(str(finding["key"])) if seen else path
            if not fits(value, self._redaction.classify(of).shape):
                return _Shown(False)
        return _Shown(True, leaking_text(path if fact else "", value))


def _read(value: bytes) -> Any:
    """A value as it stands in a line."""
    if value[:1] == b'"' and b"\\" not in value:
        return value[1:-1].decode()
    return uncarry(json.loads(value))


def _finding_of(path: str) -> str:
    """The field of the finding that another is a part of; "" for what is no such part."""
    whole, _, part = path.partition("].")
    return f"{whole}]" if part and path.startswith("finding[") else ""


def _write(taken: Taken, opens: list[bool]) -> Written:
    fields = zip(opens, taken.names, taken.salts, taken.values, strict=True)
    parts = [
        b'"%b":["%b",%b]' % (name, salt, value) for is_open, name, salt, value in fields if is_open
    ]
    shut = [digest for is_open, digest in zip(opens, taken.digests, strict=True) if not is_open]
    shut = sorted(shut + taken.shut)
    return Written(write_line(b",".join(parts), shut), taken.leaf, len(parts), len(shut))


def _hold(where: dict[Any, Any], key: Any, value: Any) -> None:
    if len(where) >= MAX_KNOWN:
        where.clear()
    where[key] = value
