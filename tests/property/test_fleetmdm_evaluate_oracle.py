"""The column evaluator against a naive one: device by device, check by check, straight from the page.

The oracle below shares no code with `fleetmdm.evaluate`: it reads docs/policy-language.md its own
way. Verdicts, findings and ends must agree for random policies (every operator, every operand)
over random devices (every wrong type, gaps, nulls, odd shapes).
"""

from __future__ import annotations

import ipaddress
import operator as ops
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

from fleetmdm.device import Device, encode_batch
from fleetmdm.evaluate import OPERATORS, Evaluator, compile_policies, evaluate
from fleetmdm.evaluate.table import FactBatch, FactTable, build_table
from fleetmdm.policy import (
    Combine,
    CompliancePolicy,
    Group,
    Leaf,
    Node,
    OnMissing,
    Position,
    Targets,
)
from fleetmdm.results import Finding, Status, Verdict
from fleetmdm.store.codec import encode_findings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Position(1, 1)

T, F, U, E, NA = "true", "false", "unknown", "error", "not_applicable"
GONE, NULL, EMPTY, CROOKED = (object() for _ in range(4))
"""No such member; null; an empty list under [*]; a path that leads into another shape."""


class Wrong(Exception):  # noqa: N818 - a verdict of the oracle
    def __init__(self, reason: str, until: datetime | None = None) -> None:
        super().__init__(reason)
        self.reason, self.until = reason, until


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list | tuple) else "object"


def canon(value: Any) -> Any:
    """Equal exactly where the language says equal."""
    if isinstance(value, dict):
        return ("object", tuple(sorted((name, canon(each)) for name, each in value.items())))
    if isinstance(value, list | tuple):
        return ("list", tuple(canon(each) for each in value))
    return (kind(value), value)


def member(values: Any, wanted: Any) -> bool:
    return canon(wanted) in [canon(each) for each in values]


def must(condition: object, reason: str = "wrong_type") -> None:
    if not condition:
        raise Wrong(reason)


def share_a_kind(left: Any, right: Any) -> bool:
    return not left or not right or bool({kind(x) for x in left} & {kind(y) for y in right})


def moment(text: Any) -> datetime:
    must(isinstance(text, str))
    match = re.fullmatch(r"(....-..-..)[Tt ](..:..:..)(\.\d+)?(Z|z|[+-]..:..)", text, re.ASCII)
    must(match, "invalid_value")
    assert match is not None
    try:
        base = datetime.strptime(
            f"{match[1]}T{match[2]}{match[4].upper().replace('Z', '+0000')}", "%Y-%m-%dT%H:%M:%S%z"
        )
    except ValueError:
        raise Wrong("invalid_value") from None
    return (
        base + timedelta(microseconds=int((match[3] or ".0")[1:].ljust(6, "0")[:6]))
    ).astimezone(UTC)


SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def span(text: str) -> timedelta:
    return timedelta(seconds=int(text[:-1]) * SPANS[text[-1]])


def bound(text: str) -> tuple[datetime, timedelta | None]:
    """(the moment meant, its distance from now where it moves)."""
    if text.startswith("now"):
        distance = timedelta()
        if text != "now":
            distance = span(text[4:]) * (1 if text[3] == "+" else -1)
        return NOW + distance, distance
    return (moment(text if "T" in text else f"{text}T00:00:00Z")), None


def version(text: Any, scheme: str) -> Any:
    must(isinstance(text, str))
    try:
        if scheme == "pep440":
            return Pep440(text)
        match = re.fullmatch(r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", text, re.ASCII)
        must(match, "invalid_value")
        assert match is not None
        return tuple(map(int, match.groups()))
    except InvalidVersion:
        raise Wrong("invalid_value") from None


COMPARE: dict[str, Callable[[Any, Any], bool]] = dict(
    zip(
        ["eq", "ne", "lt", "lte", "gt", "gte"],
        (ops.eq, ops.ne, ops.lt, ops.le, ops.gt, ops.ge),
        strict=True,
    )
)
SECOND = timedelta(microseconds=1)


def judge(op: str, fact: Any, want: Any, scheme: str | None) -> tuple[bool, datetime | None]:
    """One present fact: whether it holds and when time would change that."""
    if op in ("before", "after", "within"):
        return judge_time(op, fact, want)
    return judge_plain(op, fact, want, scheme), None


def judge_time(op: str, fact: Any, want: str) -> tuple[bool, datetime | None]:
    seen = moment(fact)
    if op == "within":
        if seen > NOW + timedelta(days=1):
            raise Wrong("in_future", seen - timedelta(days=1))
        held = seen >= NOW - span(want)
        return held, seen + span(want) + SECOND if held else None
    limit, distance = bound(want)
    if op == "before":
        held = seen < limit
        return held, None if held or distance is None else seen - distance + SECOND
    held = seen > limit
    return held, seen - distance if held and distance is not None else None


def judge_plain(op: str, fact: Any, want: Any, scheme: str | None) -> bool:  # noqa: PLR0911 - a plain list of cases is what an oracle should be
    if op in ("eq", "ne"):
        must(kind(fact) == kind(want))
        return bool(canon(fact) == canon(want)) == (op == "eq")
    if op in ("lt", "lte", "gt", "gte"):
        must(kind(fact) == "number")
        return COMPARE[op](fact, want)
    if op == "between":
        must(kind(fact) == "number")
        return not (fact < want[0] or fact > want[1])
    if op in ("in", "not_in"):
        must(kind(fact) in {kind(each) for each in want})
        return member(want, fact) == (op == "in")
    if op in ("contains", "not_contains"):
        return has(fact, [want], [want])[0] == (op == "contains")
    if op == "any_of":
        return any(has(fact, want, want))
    if op == "all_of":
        return all(has(fact, want, want))
    if op in ("subset_of", "superset_of"):
        must(kind(fact) == "list")
        must(share_a_kind(fact, want))
        small, large = (fact, want) if op == "subset_of" else (want, fact)
        return all(member(large, each) for each in small)
    if op.startswith("length_"):
        must(kind(fact) in ("list", "text", "object"))
        return COMPARE[op[7:]](len(fact), want)
    if op.startswith("version_"):
        return COMPARE[op[8:]](version(fact, scheme or ""), version(want, scheme or ""))
    must(kind(fact) == "text")
    if op == "starts_with":
        return bool(fact[: len(want)] == want)
    if op == "ends_with":
        return bool(fact[-len(want) :] == want)
    if op in ("regex", "not_regex"):
        return bool(re.search(want, fact)) == (op == "regex")
    assert op == "cidr"
    try:
        inside = ipaddress.ip_interface(fact).network
    except ValueError:
        raise Wrong("invalid_value") from None
    nets = [ipaddress.ip_network(each) for each in ([want] if isinstance(want, str) else want)]
    return any(
        inside.version == net.version
        and int(net.network_address) <= int(inside.network_address)
        and int(inside.broadcast_address) <= int(net.broadcast_address)
        for net in nets
    )


def has(fact: Any, wanted: list[Any], kinds: list[Any]) -> list[bool]:
    if kind(fact) == "text":
        must(all(kind(each) == "text" for each in wanted))
        return [each in fact for each in wanted]
    must(kind(fact) == "list")
    must(share_a_kind(fact, kinds))
    return [member(fact, each) for each in wanted]


def split(key: str) -> list[str]:
    return re.findall(r"[a-z_]+|\[\d+\]|\[\*\]", key)


def look(value: Any, steps: list[str], place: str) -> Iterator[tuple[str, Any]]:
    """(the key with its indexes filled in, what stands there), for each element that [*] finds."""
    whole = "".join([place, *(step if step[0] == "[" else f".{step}" for step in steps)])
    if value is None or value is GONE:
        yield whole.lstrip("."), NULL if value is None else GONE
        return
    if not steps:
        yield place.lstrip("."), value
        return
    step, rest = steps[0], steps[1:]
    if step[0] != "[":
        if isinstance(value, dict):
            yield from look(value.get(step, GONE), rest, f"{place}.{step}")
        else:
            yield whole.lstrip("."), CROOKED
    elif not isinstance(value, list):
        yield whole.lstrip("."), CROOKED
    elif step != "[*]":
        index = int(step[1:-1])
        yield from look(value[index] if index < len(value) else GONE, rest, f"{place}{step}")
    elif not value:
        yield whole.lstrip("."), EMPTY
    else:
        for index, element in enumerate(value):
            yield from look(element, rest, f"{place}[{index}]")


REASONS = {id(GONE): "missing", id(NULL): "null", id(EMPTY): "empty_list"}
FLIP = {T: F, F: T, U: U, E: E, NA: NA}
MISSING = dict(zip(OnMissing, (U, T, F, NA), strict=True))


class Seen:
    """One node of one device, decided."""

    def __init__(self, outcome: str, ends: list[datetime], findings: list[Finding]) -> None:
        self.outcome, self.ends, self.findings = outcome, ends, findings


def one(leaf: Leaf, value: Any, wish: OnMissing, negated: bool) -> tuple[str, str, datetime | None]:
    if value is CROOKED:
        return E, "wrong_type", None
    gone = id(value) in REASONS
    if leaf.op in ("exists", "not_exists"):
        held = gone == (leaf.op == "not_exists")
        return (T, "unwanted", None) if held else (F, REASONS.get(id(value), "present"), None)
    if gone:
        outcome = MISSING[leaf.on_missing or wish]
        return FLIP[outcome] if negated else outcome, REASONS[id(value)], None
    try:
        held, until = judge(leaf.op, value, leaf.value, leaf.scheme)
    except Wrong as wrong:
        return E, wrong.reason, wrong.until
    return (T, "unwanted", until) if held else (F, "mismatch", until)


def lowest(outcomes: list[str]) -> str:
    left = [each for each in outcomes if each != NA]
    for first in (F, E, U):
        if first in left:
            return first
    return T if left else NA


def see_leaf(device: dict[str, Any], leaf: Leaf, wish: OnMissing, negated: bool) -> Seen:
    found = list(look(device, split(leaf.key), ""))
    decided = [(where, value, *one(leaf, value, wish, negated)) for where, value in found]
    outcome = lowest([each[2] for each in decided])
    ends = [each[4] for each in decided if each[4] is not None]
    good = F if negated else T
    if outcome in (good, NA):
        return Seen(outcome, ends, [])
    wrong = [each for each in decided if each[2] == outcome]
    where, value, _, reason, _ = wrong[0]
    observed = None if id(value) in REASONS or value is CROOKED else value
    count = f" ({len(wrong)} of {len(found)} elements)" if len(found) > 1 else ""
    said = Finding(leaf.path, where, leaf.op, leaf.value, observed, reason, f"said{count}")
    return Seen(outcome, ends, [said])


def see(device: dict[str, Any], node: Node, wish: OnMissing, negated: bool) -> Seen:
    if isinstance(node, Leaf):
        return see_leaf(device, node, wish, negated)
    if node.combine is Combine.WHEN:
        condition = see(device, node.members[0], OnMissing.UNKNOWN, False)
        check = see(device, node.members[1], wish, negated)
        ends = condition.ends + check.ends
        if condition.outcome == T:
            return Seen(check.outcome, ends, check.findings)
        if condition.outcome in (F, NA):
            return Seen(NA, ends, [])
        return Seen(condition.outcome, ends, condition.findings)
    inside = negated != (node.combine in (Combine.NOT, Combine.NONE))
    members = [see(device, each, wish, inside) for each in node.members]
    states = [each.outcome for each in members]
    if node.combine is Combine.ALL:
        outcome = lowest(states)
    else:
        outcome = lowest([FLIP[each] for each in states])
        outcome = FLIP[outcome] if node.combine is Combine.ANY else outcome
    findings = [finding for each in members for finding in each.findings]
    if outcome in (F if negated else T, NA):
        findings = []
    return Seen(outcome, [end for each in members for end in each.ends], findings)


RESULT = {T: Status.PASS, F: Status.FAIL, U: Status.UNKNOWN, E: Status.ERROR, NA: None}


def oracle(device: Device, policy: CompliancePolicy) -> Verdict:
    silent = Verdict(device.device_id, policy.id, Status.NOT_APPLICABLE)
    targets = policy.targets
    if not policy.enabled:
        return Verdict(device.device_id, policy.id, Status.NOT_SELECTED)
    if targets.os and device.os.lower() not in [each.lower() for each in targets.os]:
        return silent
    if targets.tags and not {each.lower() for each in targets.tags} & {
        each.lower() for each in device.tags
    }:
        return silent
    document = {
        **device.facts,
        "os": device.os,
        "os_version": device.os_version,
        "hostname": device.hostname,
        "serial": device.serial,
    }
    root: Node = policy.check
    conditions = [each for each in (targets.os_version, targets.where) if each is not None]
    check = see(document, root, policy.on_missing, False)
    outcome, ends, findings = check.outcome, check.ends, check.findings
    if conditions:
        scopes = [see(document, each, OnMissing.UNKNOWN, False) for each in conditions]
        scope = lowest([each.outcome for each in scopes])
        ends = ends + [end for each in scopes for end in each.ends]
        if scope in (F, NA):
            outcome, findings = NA, []
        elif scope != T:
            outcome = scope
            findings = [finding for each in scopes for finding in each.findings]
    status = RESULT[outcome] or Status.NOT_APPLICABLE
    return Verdict(device.device_id, policy.id, status, tuple(findings), min(ends, default=None))


# --- random policies and devices ------------------------------------------------------------------

KEYS = [
    "a",
    "b",
    "os_version",
    "serial",
    "o.a",
    "o.b.c",
    "l[0]",
    "l[*]",
    "d[*].e",
    "d[1].e",
    "d[*].m[*]",
    "d[*].m[*].e",
]
TIMES = [
    "2026-02-28T12:00:00Z",
    "2026-03-01T12:00:00Z",
    "2026-03-02T12:00:00Z",
    "2026-03-02T12:00:00.000001Z",
    "2020-01-01T00:00:00+02:00",
    "2030-06-01 00:00:00.5z",
    "2026-02-30T00:00:00Z",
]
VERSIONS = ["1.2.3", "1.10.0", "2.0.0", "v1.2.3", "1.2", "01.2.3", "1.0rc1"]
ADDRESSES = ["10.0.0.1", "10.1.2.0/24", "192.168.1.7", "::1", "fe80::1", "10.0.0.300"]
TEXTS = ["", "a", "abc", "no", "yes", "1", "Ab c", "é", *TIMES, *VERSIONS, *ADDRESSES]
numbers = st.sampled_from([0, 1, -1, 2, 3, 1.0, 2.5, 2**53, 2**63 - 1, -0.0])
scalars = st.one_of(st.booleans(), numbers, st.sampled_from(TEXTS))
plain = st.one_of(
    st.none(),
    scalars,
    st.lists(st.one_of(scalars, st.none()), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b"]), scalars, max_size=2),
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object that has some of these members, or something else altogether."""
    return st.one_of(plain, st.fixed_dictionaries({}, optional=fields))


def several(element: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(plain, st.lists(element, max_size=3))


many_shapes = several(some(e=plain, m=several(some(e=plain))))
members = {"a": plain, "b": plain, "o": some(a=plain, b=some(c=plain)), "l": several(plain)}
facts_of_a_device = st.fixed_dictionaries({}, optional={**members, "d": many_shapes})
devices = st.lists(
    st.builds(
        lambda facts, os, tags, version, serial: Device(
            "", "host", os, version, serial, NOW, facts, tuple(tags)
        ),
        facts_of_a_device,
        st.sampled_from(["linux", "Linux", "macos"]),
        st.lists(st.sampled_from(["web", "DB"]), max_size=2),
        st.sampled_from(VERSIONS),
        st.sampled_from([None, "abc"]),
    ),
    max_size=6,
)

scalar_lists = st.lists(scalars, min_size=1, max_size=3)
sizes = st.integers(0, 4)
DURATIONS = ["0s", "1d", "24h", "90m", "52w"]
FIXED = [text for text in TIMES if "30T" not in text and " " not in text]
moments = st.sampled_from(["now", "now+1d", "now-24h", "now+0s", "2026-03-01", *FIXED])


def operand(op: str) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - a plain list of cases
    if op in ("exists", "not_exists"):
        return st.none()
    if op in ("eq", "ne"):
        return plain.filter(lambda value: value is not None)
    if op in ("lt", "lte", "gt", "gte"):
        return numbers
    if op == "between":
        return st.tuples(numbers, numbers).map(lambda pair: [min(pair), max(pair)])
    if op in ("in", "not_in", "any_of", "all_of"):
        return scalar_lists
    if op in ("subset_of", "superset_of"):
        return st.lists(plain.filter(lambda value: value is not None), min_size=1, max_size=3)
    if op in ("contains", "not_contains"):
        return scalars
    if op in ("starts_with", "ends_with"):
        return st.sampled_from(["a", "abc", "é", "1", "2026"])
    if op in ("regex", "not_regex"):
        return st.sampled_from(["a", "^a", "c$", "[0-9]+", "^(no|yes)$", "(?i)AB", "é", ""])
    if op.startswith("length_"):
        return sizes
    if op == "within":
        return st.sampled_from(DURATIONS)
    if op in ("before", "after"):
        return moments
    if op == "cidr":
        nets = ["10.0.0.0/8", "10.0.0.1/32", "::/0", "192.168.0.0/16"]
        listed = st.lists(st.sampled_from(nets), min_size=1, max_size=2)
        return st.one_of(st.sampled_from(nets), listed)
    assert op.startswith("version_")
    return st.sampled_from(["1.2.3", "1.10.0", "2.0.0"])


@st.composite
def leaves(draw: st.DrawFn) -> Leaf:
    op = draw(st.sampled_from(list(OPERATORS)))
    return Leaf(
        path="",
        key=draw(st.sampled_from(KEYS)),
        op=op,
        value=draw(operand(op)),
        position=HERE,
        message="said",
        on_missing=draw(st.one_of(st.none(), st.sampled_from(list(OnMissing)))),
        scheme=draw(st.sampled_from(["semver", "pep440"])) if op.startswith("version_") else None,
    )


def group(combine: Combine, members: list[Node]) -> Group:
    return Group("", combine, tuple(members), HERE)


def compose(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    many = st.lists(children, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda members: group(Combine.ALL, members), many),
        st.builds(lambda members: group(Combine.ANY, members), many),
        st.builds(lambda members: group(Combine.NONE, members), many),
        st.builds(lambda member: group(Combine.NOT, [member]), children),
        st.builds(lambda one, two: group(Combine.WHEN, [one, two]), children, children),
    )


nodes: st.SearchStrategy[Node] = st.recursive(leaves(), compose, max_leaves=6)


def numbered(node: Node, path: str) -> Node:
    """The same tree with a place in every node."""
    if isinstance(node, Leaf):
        return replace(node, path=path)
    members = (numbered(each, f"{path}.{i}") for i, each in enumerate(node.members))
    return Group(path, node.combine, tuple(members), node.position)


@st.composite
def policies(draw: st.DrawFn) -> list[CompliancePolicy]:
    made = []
    for place in range(draw(st.integers(0, 3))):
        check = numbered(group(Combine.ALL, draw(st.lists(nodes, min_size=1, max_size=2))), "c")
        assert isinstance(check, Group)
        version_leaf = Leaf("v", "os_version", "version_gte", "1.2.3", HERE, "said", None, "semver")
        targets = Targets(
            os=tuple(draw(st.lists(st.sampled_from(["linux", "MACOS"]), max_size=1))),
            tags=tuple(draw(st.lists(st.sampled_from(["WEB", "db"]), max_size=1))),
            os_version=draw(st.sampled_from([None, None, version_leaf])),
            where=draw(st.one_of(st.none(), nodes.map(lambda node: numbered(node, "w")))),
        )
        made.append(
            CompliancePolicy(
                id=f"p{place}",
                name="",
                check=check,
                source=b"",
                sha256="",
                enabled=draw(st.sampled_from([True, True, True, False])),
                targets=targets,
                on_missing=draw(st.sampled_from(list(OnMissing))),
            )
        )
    return made


def shown(verdict: Verdict) -> Any:
    """A verdict so that True and 1 look different where the language says so."""
    findings = [
        (
            replace(each, expected=None, observed=None),
            None if each.observed is None else canon(each.observed),
        )
        for each in verdict.findings
    ]
    return replace(verdict, findings=()), findings, [each.expected for each in verdict.findings]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(devices, policies())
def test_columns_and_the_naive_loop_agree(
    drawn: list[Device], rules: list[CompliancePolicy]
) -> None:
    named = [replace(device, device_id=f"d{at}") for at, device in enumerate(drawn)]
    expected = [shown(oracle(device, policy)) for device in named for policy in rules]
    assert [shown(verdict) for verdict in evaluate(named, rules, NOW)] == expected
    evaluator, batch = Evaluator(compile_policies(rules), NOW), encode_batch(named)
    table = FactTable(len(batch), build_table(list(map(msgspec.json.decode, batch.facts))))
    for each in (batch, FactBatch(batch.device_ids, batch.last_seen, (), (), table)):
        judged = evaluator.judge(each)
        assert [shown(verdict) for verdict in judged] == expected
        for column in judged.columns:
            found, written = column.found, column.search.written()
            assert list(map(encode_findings, found.findings)) == list(written.findings)
            for one, other in ((found.places, written.places), (found.groups, written.groups)):
                assert one.tolist() == other.tolist()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(devices, policies())
def test_a_batch_says_the_same_as_each_device_alone(
    batch: list[Device], rules: list[CompliancePolicy]
) -> None:
    together = [shown(verdict) for verdict in evaluate(batch, rules, NOW)]
    alone = [shown(each) for device in batch for each in evaluate([device], rules, NOW)]
    assert together == alone


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(devices, policies())
def test_nothing_changes_before_a_verdict_ends(
    batch: list[Device], rules: list[CompliancePolicy]
) -> None:
    tick = timedelta(microseconds=1)
    for verdict in evaluate(batch[:1], rules, NOW):
        if verdict.valid_until is None:
            later = NOW + timedelta(days=400)
        else:
            assert verdict.valid_until > NOW
            later = verdict.valid_until - tick
        judged = evaluate(batch[:1], rules, later)
        again = next(each for each in judged if each.policy_id == verdict.policy_id)
        assert again.status == verdict.status
