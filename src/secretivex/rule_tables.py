"""The tables of `policy.rules` and the flat keys beside them, made into one policy.

Rule for editors: a table that cannot be understood is a problem, never a rule that asks for less:
types and unknown keys are judged by `secretivex.config`, and what entries mean is judged here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from secretivex.config.rows.stores import STORE_TYPES
from secretivex.context.signed_data import DataKind
from secretivex.policy import Effect, Matcher, Rate, Rule, SigningPolicy
from secretivex.policy.matchers import (
    Ancestors,
    Details,
    Fingerprints,
    Forwarded,
    Hosts,
    KeyBlobs,
    Kinds,
    Numbers,
    Texts,
    comments_matcher,
    parse_globs,
)
from secretivex.policy.sense import exclusive_conditions
from secretivex.policy.window import DAYS, Window
from secretivex.policy_keys import (
    FLAT_KEYS,
    MAX_ENTRIES,
    EntryError,
    EntryProblem,
    check_comment,
    check_pattern,
    parse_fingerprint,
    parse_flat_policy,
    parse_key_blob,
)
from sshwire.algorithms import KEY_ALGORITHMS
from sshwire.keyblob import read_algorithm
from sshwire.wire import Reader

MAX_RULES = 10_000

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")
_GLOB_CHARS = "*?["


def parse_policy(
    values: Mapping[str, Sequence[Any]],
) -> tuple[SigningPolicy, tuple[EntryProblem, ...]]:
    """The rules of the flat keys and of `rules` in `values`, and everything that is invalid.

    The policy must not be used when there are problems.
    """
    flat = {key: value for key, value in values.items() if key != "rules"}
    policy, found = parse_flat_policy(flat)
    rules, problems = list(policy.rules), list(found)
    tables = values.get("rules", ())
    if len(tables) > MAX_RULES:
        reason = f"there are more than {MAX_RULES} rules"
        return policy, (*found, EntryProblem("rules", None, reason, "put keys into lists"))
    names = {row.name for row in FLAT_KEYS}
    for number, table in enumerate(tables):
        faults: list[EntryProblem] = []
        rule = _parse_rule(number, table, faults)
        if rule.name in names:
            hint = "give each rule a name of its own"
            faults.append(_problem(number, "name", f"the name {rule.name!r} is taken", hint))
        names.add(rule.name)
        rules.append(rule)
        problems += faults
    return SigningPolicy(tuple(rules)), tuple(problems)


def _problem(number: int, key: str, reason: str, hint: str = "", *at: int) -> EntryProblem:
    return EntryProblem("rules", number, reason, hint, (key, *at) if key else at)


def _parse_rule(number: int, table: Mapping[str, Any], faults: list[EntryProblem]) -> Rule:
    """One rule; `faults` gets what is wrong with it."""
    name = table.get("name", f"rule {number + 1}")
    if not str(name).strip() or not str(name).isprintable():
        faults.append(
            _problem(number, "name", "is blank or cannot be printed", "name it in a word")
        )
    effect = _EFFECTS.get(table.get("effect", ""))
    if effect is None:
        hint = f"add effect = one of: {', '.join(_EFFECTS)}"
        faults.append(_problem(number, "effect", "the rule has no effect", hint))
    matchers = [*_list_matchers(number, table, faults)]
    matchers += _parse_forwarded(table)
    matchers += _parse_window(number, table, faults)
    try:
        matchers += _parse_rate(table, str(name), effect)
    except EntryError as error:
        faults.append(_problem(number, "rate", str(error), error.hint))
    if not (matchers or faults) and effect in (Effect.ALLOW, Effect.PIN):
        reason = f"a rule that {effect.value}s everything says nothing"
        faults.append(_problem(number, "effect", reason, "name what it is to match"))
    if not faults and (names := exclusive_conditions(matchers)):
        reason = f"no signature can fit {' and '.join(names)}: the rule never matches"
        faults.append(_problem(number, names[-1], reason, "make a rule of each"))
    return Rule(str(name), effect or Effect.DENY, tuple(matchers))


_EFFECTS = {effect.value: effect for effect in Effect}


def _list_matchers(
    number: int, table: Mapping[str, Any], faults: list[EntryProblem]
) -> Iterator[Matcher]:
    for key, (check, build) in _LISTS.items():
        if key not in table:
            continue
        entries = table[key]
        found = [*_check_list(number, key, entries, check)]
        faults += found
        if not found:
            yield build(key, [check(entry) for entry in entries])


def _check_list(
    number: int, key: str, entries: Sequence[Any], check: Callable[[Any], object]
) -> Iterator[EntryProblem]:
    if not entries:
        hint = "leave the key out for any, or name what is to match"
        yield _problem(number, key, "the list is empty", hint)
    if len(entries) > MAX_ENTRIES:
        reason = f"the list has more than {MAX_ENTRIES} entries"
        yield _problem(number, key, reason, "match by patterns instead")
        return
    for index, entry in enumerate(entries):
        try:
            check(entry)
        except EntryError as error:
            yield _problem(number, key, str(error), error.hint, index)


def _check_text(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise EntryError("is blank or holds a null character", "remove it, or name a text")
    return check_pattern(text)


def _check_path(text: str) -> str:
    if not text.startswith(("/", "*")) and not re.match(r"[A-Za-z]:\\", text):
        raise EntryError(f"{text!r} is no whole path", "begin it with / or *")
    return _check_text(text)


def _parse_host(text: str) -> bytes:
    blob = parse_key_blob(text)
    if read_algorithm(Reader(blob)).is_certificate:
        hint = "name the host's plain key, or the key of the authority that signed it"
        raise EntryError("is a certificate: no host is known by one", hint)
    return blob


def _check_among(words: Sequence[str], what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        is_glob = any(char in text for char in _GLOB_CHARS)
        fits = parse_globs((text,)).fit
        if not (any(map(fits, words)) if is_glob else text in words):
            raise EntryError(f"{text!r} is no {what}", f"one of: {', '.join(words)}")
        return text

    return check


def _check_store(text: str) -> str:
    """A store's name is its kind, with a number from the second of a kind on."""
    kind = re.sub(r"-([2-9]|[1-9]\d+)$", "", text)
    if kind not in _STORES and not any(char in text for char in _GLOB_CHARS):
        raise EntryError(f"{text!r} is no store", f"one of: {', '.join(_STORES)}")
    return _check_text(text)


def _check_number(number: int) -> int:
    if not 0 <= number < 2**32:
        raise EntryError(f"{number} is no such number", "0 to 4294967295")
    return number


def _check_flags(number: int) -> int:
    if number not in (0, 2, 4, 6):
        raise EntryError(f"{number} is no flags of a request that is served", "0, 2, 4 or 6")
    return number


def _check_word(words: Sequence[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise EntryError(f"{text!r} is not known", f"one of: {', '.join(words)}")
        return text

    return check


_STORES = (*STORE_TYPES, "memory")
"""Kinds of stores; `memory` has the keys that clients add."""
_KEY_TYPES = tuple(KEY_ALGORITHMS)
_FORMATS = tuple(
    dict.fromkeys(name for row in KEY_ALGORITHMS.values() for name in row.signature_formats)
)


def _globs(key: str, entries: Sequence[str]) -> Matcher:
    return Texts(key, parse_globs(tuple(entries)))


def _details(key: str, entries: Sequence[str]) -> Matcher:
    return Details(key, parse_globs(tuple(entries)))


def _numbers(key: str, entries: Sequence[int]) -> Matcher:
    return Numbers(key, frozenset(entries))


_LISTS: Mapping[str, tuple[Callable[[Any], Any], Callable[[str, Sequence[Any]], Matcher]]] = {
    "key_blobs": (parse_key_blob, lambda _, blobs: KeyBlobs(frozenset(blobs))),
    "fingerprints": (parse_fingerprint, lambda _, found: Fingerprints(frozenset(found))),
    "comments": (check_comment, lambda _, texts: comments_matcher(tuple(texts))),
    "key_types": (_check_among(_KEY_TYPES, "key type"), _globs),
    "stores": (_check_store, _globs),
    "uids": (_check_number, _numbers),
    "gids": (_check_number, _numbers),
    "executables": (_check_path, _globs),
    "ancestors": (_check_path, lambda _, texts: Ancestors(parse_globs(tuple(texts)))),
    "hosts": (_parse_host, lambda _, blobs: Hosts(frozenset(blobs))),
    "users": (_check_text, _details),
    "kinds": (
        _check_word(tuple(DataKind)),
        lambda _, words: Kinds(frozenset(map(DataKind, words))),
    ),
    "namespaces": (_check_text, _details),
    "payload_types": (_check_text, _details),
    "algorithms": (_check_among(_FORMATS, "signature algorithm"), _globs),
    "flags": (_check_flags, _numbers),
}
"""What checks an entry, and what makes a matcher of the checked ones."""


def _parse_forwarded(table: Mapping[str, Any]) -> list[Matcher]:
    return [Forwarded(table["forwarded"])] if isinstance(table.get("forwarded"), bool) else []


def _parse_window(
    number: int, table: Mapping[str, Any], faults: list[EntryProblem]
) -> list[Matcher]:
    """Hours, days and moments; `faults` gets what is wrong with each."""
    found: dict[str, Any] = {}
    for key, parse in _WINDOW.items():
        try:
            found[key] = parse(table[key]) if key in table else None
        except EntryError as error:
            faults.append(_problem(number, key, str(error), error.hint))
    if "utc_offset" in table and not {"hours", "days"} & table.keys():
        fault = "there are no hours or days"
        faults.append(_problem(number, "utc_offset", fault, "add hours or days"))
    if not (table.keys() & _WINDOW.keys()) - {"utc_offset"}:
        return []
    if len(found) < len(_WINDOW):
        return []
    first, last = found["not_before"], found["not_after"]
    if first is not None and last is not None and first >= last:
        fault = "is not after not_before: the rule never matches"
        faults.append(_problem(number, "not_after", fault, "swap them"))
    window = Window(found["hours"], found["days"], found["utc_offset"] or 0, first, last)
    return [window]


def _parse_hours(text: str) -> tuple[int, int]:
    found = _HOURS.fullmatch(text)
    hour, minute, end_hour, end_minute = map(int, found.groups()) if found else (0, 0, 0, 0)
    start, end = hour * 3600 + minute * 60, end_hour * 3600 + end_minute * 60
    if found is None or start == end or end > 86_400:
        raise EntryError(f"{text!r} is no span of hours", "for example 08:00-18:30")
    return start, end


def _parse_days(words: Sequence[str]) -> frozenset[int]:
    unknown = [word for word in words if word not in DAYS]
    if unknown or not words:
        reason = f"{unknown[0]!r} is no day" if unknown else "the list is empty"
        raise EntryError(reason, f"of: {', '.join(DAYS)}")
    return frozenset(map(DAYS.index, words))


def _parse_offset(text: str) -> int:
    found = _OFFSET.fullmatch(text)
    if found is None:
        raise EntryError(f"{text!r} is no offset", "for example +01:00")
    seconds = int(found[2]) * 3600 + int(found[3]) * 60
    return -seconds if found[1] == "-" else seconds


def _parse_moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - without a zone, so that it is refused below
    if moment.tzinfo is None:
        hint = "for example 2026-12-01T00:00:00Z"
        raise EntryError(f"{text!r} is no moment with its zone", hint)
    if moment.timestamp() % 1:
        raise EntryError(f"{text!r} has a part of a second", "name a whole second")
    return moment.timestamp()


_WINDOW: Mapping[str, Callable[[Any], Any]] = {
    "hours": _parse_hours,
    "days": _parse_days,
    "utc_offset": _parse_offset,
    "not_before": _parse_moment,
    "not_after": _parse_moment,
}
"""The keys of a window of time, and what reads each."""


def _parse_rate(table: Mapping[str, Any], name: str, effect: Effect | None) -> list[Matcher]:
    """`at_most` for what permits, `over` for what forbids: each matches in the way it reads."""
    rate = table.get("rate")
    if rate is None:
        return []
    wanted = "over" if effect in (Effect.DENY, Effect.CONFIRM) else "at_most"
    other = "at_most" if wanted == "over" else "over"
    if other in rate or wanted not in rate or "per_s" not in rate:
        word = effect.value if effect else "such"
        raise EntryError(
            f"a rate of a {word} rule has {wanted} and per_s",
            f"for example {{ {wanted} = 100, per_s = 60 }}",
        )
    each = rate.get("each", "rule")
    return [Rate(name, rate[wanted], rate["per_s"], each, is_over=wanted == "over")]
