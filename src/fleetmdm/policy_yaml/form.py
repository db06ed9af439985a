"""A policy that was read from its source once, as bytes that are read again in microseconds.

Derived from the source alone and kept beside it under `FORM_VERSION`; whoever has no form, or one of
another version, reads the source. Rule for editors: raise `FORM_VERSION` with every change that lets
any source be read otherwise, a new refusal included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from fleetmdm.policy import (
    Combine,
    CompliancePolicy,
    Group,
    Leaf,
    Node,
    OnMissing,
    PolicyTest,
    Position,
    Question,
    Reference,
    Targets,
)
from fleetmdm.results import Severity, Status

FORM_VERSION: Final = 1

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


def encode_form(policy: CompliancePolicy) -> bytes:
    """The bytes of a policy that was read from exactly its `source`."""
    return _encode(
        {
            "id": policy.id,
            "name": policy.name,
            "check": _write_node(policy.check),
            "description": policy.description,
            "severity": policy.severity.value,
            "rationale": policy.rationale,
            "remediation": policy.remediation,
            "references": [(one.framework, one.control, one.url) for one in policy.references],
            "tags": policy.tags,
            "enabled": policy.enabled,
            "targets": _write_targets(policy.targets),
            "parameters": dict(policy.parameters),
            "on_missing": policy.on_missing.value,
            "tests": [_write_test(test) for test in policy.tests],
            "attestation": policy.attestation
            and (policy.attestation.text, _write_span(policy.attestation.period)),
            "grace": _write_span(policy.grace),
            "position": _write_position(policy.position),
        }
    )


def decode_form(data: bytes, source: bytes) -> CompliancePolicy:
    """The policy of a source of which `encode_form` wrote the bytes."""
    form: dict[str, Any] = _decode(data)
    question = form["attestation"]
    return CompliancePolicy(
        id=form["id"],
        name=form["name"],
        check=_read_group(form["check"]),
        source=source,
        sha256=hashlib.sha256(source).hexdigest(),
        description=form["description"],
        severity=Severity(form["severity"]),
        rationale=form["rationale"],
        remediation=form["remediation"],
        references=tuple(Reference(*each) for each in form["references"]),
        tags=tuple(form["tags"]),
        enabled=form["enabled"],
        targets=_read_targets(form["targets"]),
        parameters=form["parameters"],
        on_missing=OnMissing(form["on_missing"]),
        tests=tuple(map(_read_test, form["tests"])),
        attestation=question and Question(question[0], _read_span(question[1])),
        grace=_read_span(form["grace"]),
        position=Position(*form["position"]),
    )


def _write_node(node: Node | None) -> Any:
    if node is None:
        return None
    if isinstance(node, Group):
        members = list(map(_write_node, node.members))
        return node.path, node.combine.value, members, _write_position(node.position)
    return (
        node.path,
        node.key,
        node.op,
        node.value,
        _write_position(node.position),
        node.message,
        node.on_missing,
        node.scheme,
        node.severity,
    )


_GROUP_ITEMS: Final = 4
"""A leaf has more."""


def _read_node(form: list[Any]) -> Node:
    if len(form) == _GROUP_ITEMS:
        return _read_group(form)
    path, key, op, value, position, message, on_missing, scheme, severity = form
    return Leaf(
        path,
        key,
        op,
        value,
        Position(*position),
        message,
        on_missing and OnMissing(on_missing),
        scheme,
        severity and Severity(severity),
    )


def _read_group(form: list[Any]) -> Group:
    path, combine, members, position = form
    return Group(path, Combine(combine), tuple(map(_read_node, members)), Position(*position))


def _write_targets(targets: Targets) -> Any:
    return (
        targets.os,
        targets.tags,
        _write_node(targets.os_version),
        _write_node(targets.where),
    )


def _read_targets(form: list[Any]) -> Targets:
    os, tags, os_version, where = form
    version = None if os_version is None else _read_node(os_version)
    assert version is None or isinstance(version, Leaf)  # noqa: S101 - as it was written
    return Targets(tuple(os), tuple(tags), version, None if where is None else _read_node(where))


def _write_test(test: PolicyTest) -> Any:
    as_of = test.as_of and test.as_of.isoformat()
    return test.name, dict(test.device), test.expect.value, _write_position(test.position), as_of


def _read_test(form: list[Any]) -> PolicyTest:
    name, device, expect, position, as_of = form
    moment = as_of and datetime.fromisoformat(as_of)
    return PolicyTest(name, _read_device(device), Status(expect), Position(*position), moment)


def _read_device(device: dict[str, Any]) -> Mapping[str, Any]:
    if "tags" in device:
        device["tags"] = tuple(device["tags"])
    return device


def _write_position(position: Position) -> tuple[int, int]:
    return position.line, position.column


def _write_span(span: timedelta) -> tuple[int, int, int]:
    return span.days, span.seconds, span.microseconds


def _read_span(form: list[int]) -> timedelta:
    days, seconds, microseconds = form
    return timedelta(days, seconds, microseconds)
