"""The shape of a device document and the one way in: `parse_device`. Pure.

Shape of the JSON: `device_id hostname os os_version serial last_seen facts{...} tags[...]`;
`serial` may be null, `last_seen` is RFC 3339 with an offset, `facts` is nested JSON, `tags` are
labels that policies select by. `facts.tags`, if a source writes it, is a fact like any other.
Rule for editors: an unknown key is refused; a value is never repaired, only refused with a remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from clikit.nearest import nearest
from fleetmdm.device.values import DeviceLimits, ValueFault, check_text, check_value, render_path
from fleetmdm.errors import FleetError
from fleetmdm.rfc3339 import encode_time, parse_time

DEFAULT_LIMITS = DeviceLimits()

_PLAIN = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)
"""Identifiers that need no further look."""

_SHORT = 64
_FIVE_PLAIN = re.compile(
    rf"(?:[A-Za-z0-9._:-]{{1,{_SHORT}}}\n){{4}}[A-Za-z0-9._:-]{{1,{_SHORT}}}", re.ASCII
)
"""Five of them, a line each."""

REQUIRED = ("device_id", "hostname", "os", "os_version", "last_seen")
OPTIONAL = ("serial", "facts", "tags")


@dataclass(frozen=True, slots=True)
class Device:
    """One parsed device document. `last_seen` is aware and in UTC."""

    device_id: str
    hostname: str
    os: str
    os_version: str
    serial: str | None
    last_seen: datetime
    facts: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    """Trimmed, lower case, each once, sorted."""


def parse_device(
    document: Any, *, now: datetime, limits: DeviceLimits = DEFAULT_LIMITS, sound: bool = False
) -> Device:
    """A device from decoded JSON; `sound` says that it is what `decode_sound` gave.

    Raises `inventory_invalid` whose details are `path`, `reason` (a stable lower_snake word) and,
    where it could be read, `device_id`.
    """
    try:
        return _parse(document, now, limits, sound=sound)
    except ValueFault as fault:
        raise _invalid(fault, document) from None


def _parse(document: Any, now: datetime, limits: DeviceLimits, *, sound: bool) -> Device:
    if type(document) is not dict:
        raise ValueFault("wrong_type", "a device document is a JSON object")
    _check_keys(document)
    facts = _member(document, "facts", dict, {})
    if not sound:
        try:
            check_value(facts, limits)
        except ValueFault as fault:
            raise fault.at("facts") from None
    serial = document.get("serial")
    if are_plain([document[key] for key in REQUIRED[:4]], serial, limits):
        return Device(
            document["device_id"],
            document["hostname"],
            document["os"],
            document["os_version"],
            serial,
            _last_seen(document, now, limits),
            facts,
            parse_tag_list(_member(document, "tags", list, []), limits),
        )
    return Device(
        device_id=_identifier(document, "device_id", limits),
        hostname=_identifier(document, "hostname", limits),
        os=_identifier(document, "os", limits),
        os_version=_identifier(document, "os_version", limits),
        serial=None if serial is None else _identifier(document, "serial", limits),
        last_seen=_last_seen(document, now, limits),
        facts=facts,
        tags=parse_tag_list(_member(document, "tags", list, []), limits),
    )


def _check_keys(document: dict[Any, Any]) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for key in document:
        if key not in known:
            near = nearest(str(key)[:80], known)
            remedy = f"did you mean '{near}'?" if near else "put what you know below 'facts'"
            raise ValueFault("unknown_key", "not a key of a device document", remedy).at(str(key))
    for key in REQUIRED:
        if key not in document:
            raise ValueFault("missing", "the key is required").at(key)


def _member(document: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    value = document.get(key, default)
    if type(value) is not kind:
        found, wanted = type(value).__name__, _JSON_NAMES[kind]
        raise ValueFault("wrong_type", f"{wanted} is required, not {found}").at(key)
    return value


_JSON_NAMES: Mapping[type, str] = {dict: "an object", list: "a list of text", str: "text"}


def _identifier(document: dict[str, Any], key: str, limits: DeviceLimits) -> str:
    text: str = _member(document, key, str, None)
    if 0 < len(text) <= limits.max_identifier_chars and _PLAIN.fullmatch(text):
        return text
    try:
        check_text(text, limits.max_identifier_chars)
    except ValueFault as fault:
        raise fault.at(key) from None
    if not text or text != text.strip():
        remedy = "use null for an unknown serial" if key == "serial" else ""
        raise ValueFault("blank", "empty, or blanks at an end", remedy).at(key)
    if not text.isprintable():
        raise ValueFault("control_character", "the text has a control character").at(key)
    return text


def are_plain(texts: Sequence[Any], serial: Any, limits: DeviceLimits) -> bool:
    """Whether four identifiers and the serial are short and plain, as they mostly are, at one look."""
    try:
        text = "\n".join((*texts, "-" if serial is None else serial))
    except TypeError:
        return False
    return limits.max_identifier_chars >= _SHORT and _FIVE_PLAIN.fullmatch(text) is not None


def _last_seen(document: dict[str, Any], now: datetime, limits: DeviceLimits) -> datetime:
    text: str = _member(document, "last_seen", str, None)
    try:
        moment = parse_time(text)
    except ValueError as error:
        raise ValueFault("bad_time", str(error)).at("last_seen") from None
    if moment - now > timedelta(seconds=limits.max_clock_skew_s):
        message = f"{encode_time(moment)} lies more than {limits.max_clock_skew_s} s in the future"
        remedy = "set the clock of the device, or of this machine"
        raise ValueFault("clock_skew", message, remedy).at("last_seen")
    return moment


def parse_tags(tags: Sequence[str], limits: DeviceLimits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """Labels as a document has them: trimmed, lower case, sorted. Raises `inventory_invalid`."""
    document = {"tags": list(tags)}
    try:
        return parse_tag_list(_member(document, "tags", list, []), limits)
    except ValueFault as fault:
        raise _invalid(fault, document) from None


def parse_tag_list(tags: Sequence[Any], limits: DeviceLimits) -> tuple[str, ...]:
    """Labels of a document, each clean and once. Raises `ValueFault`."""
    if len(tags) > limits.max_tags:
        raise ValueFault("too_many_values", f"at most {limits.max_tags} tags").at("tags")
    return tuple(sorted({_tag(tag, index, limits) for index, tag in enumerate(tags)}))


def _tag(tag: Any, index: int, limits: DeviceLimits) -> str:
    try:
        if type(tag) is not str:
            raise ValueFault("wrong_type", f"a tag is text, not {type(tag).__name__}")
        check_text(tag, limits.max_tag_chars)
        clean = tag.strip().lower()
        if not clean or not clean.isprintable():
            raise ValueFault("blank", "a tag is empty or has a control character")
    except ValueFault as fault:
        raise fault.at(index).at("tags") from None
    return clean


def _invalid(fault: ValueFault, document: Any) -> FleetError:
    path = render_path(fault.path)
    details = {"path": path, "reason": fault.reason}
    device_id = document.get("device_id") if isinstance(document, dict) else None
    if isinstance(device_id, str) and device_id.isprintable():
        details["device_id"] = device_id[: DEFAULT_LIMITS.max_identifier_chars]
    message = f"{path}: {fault.message}" if path else fault.message
    return FleetError("inventory_invalid", message, hint=fault.remedy, details=details)
