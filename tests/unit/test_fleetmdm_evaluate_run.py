"""The evaluator by example: lattice, on_missing, targets, wildcards, findings, sharing of codes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fleetmdm.device import Device
from fleetmdm.evaluate import evaluate
from fleetmdm.evaluate.fact_path import PathError, parse_path, render_path
from fleetmdm.policy_yaml import parse_policies
from fleetmdm.results import Status, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEAVES = {
    "T": "{key: t, op: exists}",
    "F": "{key: t, op: not_exists}",
    "U": "{key: missing, op: eq, value: 1}",
    "E": "{key: t, op: eq, value: text}",
    "N": "{key: missing, op: eq, value: 1, on_missing: not_applicable}",
}
STATES = {
    "T": Status.PASS,
    "F": Status.FAIL,
    "U": Status.UNKNOWN,
    "E": Status.ERROR,
    "N": Status.NOT_APPLICABLE,
}


def device(facts: dict[str, Any] | None = None, **fields: Any) -> Device:
    known = {"device_id": "d", "hostname": "h", "os": "linux", "os_version": "12", "serial": None}
    return Device(**{**known, **fields}, last_seen=NOW, facts=facts or {"t": 1})


def judge(body: str, *devices: Device) -> list[Verdict]:
    policies = parse_policies(f"id: p\nname: P\n{body}\n".encode(), name="p.yaml")
    return list(evaluate(devices or [device()], policies, NOW))


def status(body: str, *devices: Device) -> Status:
    (verdict,) = judge(body, *devices)
    return verdict.status


def compose(how: str, members: str) -> str:
    return f"checks: [{{{how}: [{', '.join(LEAVES[each] for each in members)}]}}]"


@pytest.mark.parametrize(
    ("how", "members", "wanted"),
    [
        *[("all", pair, pair[0]) for pair in ("FE", "FU", "FT", "FN", "EU", "ET", "EN")],
        *[("all", pair, pair[0]) for pair in ("UT", "UN", "TN", "TT", "NN")],
        *[("any", pair, pair[0]) for pair in ("TE", "TU", "TF", "TN", "EU", "EF", "EN")],
        *[("any", pair, pair[0]) for pair in ("UF", "UN", "FN", "FF", "NN")],
        *[("none", pair, "F") for pair in ("TE", "TU", "TF", "TN")],
        *[("none", pair, pair[0]) for pair in ("EU", "EF", "EN", "UF", "UN", "NN")],
        ("none", "FF", "T"),
        ("none", "FN", "T"),
    ],
)
def test_compositions_follow_the_documented_order(how: str, members: str, wanted: str) -> None:
    for order in (members, members[::-1]):
        assert status(compose(how, order)) is STATES[wanted]


@pytest.mark.parametrize(("member", "wanted"), ["TF", "FT", "UU", "EE", "NN"])
def test_not_turns_over_what_is_known(member: str, wanted: str) -> None:
    assert status(f"checks: [{{not: {LEAVES[member]}}}]") is STATES[wanted]


@pytest.mark.parametrize(("when", "wanted"), ["TF", "FN", "NN", "UU", "EE"])
def test_when_decides_whether_a_check_applies(when: str, wanted: str) -> None:
    guarded = LEAVES["F"][:-1] + f", when: {LEAVES[when]}}}"
    assert status(f"checks: [{guarded}]") is STATES[wanted]


@pytest.mark.parametrize("wish", ["pass", "fail", "unknown", "not_applicable"])
@pytest.mark.parametrize("shape", ["{LEAF}", "{{not: {LEAF}}}", "{{not: {{none: [{LEAF}]}}}}"])
@pytest.mark.parametrize("level", ["leaf", "policy"])
def test_on_missing_speaks_of_the_policy_whatever_stands_above(
    wish: str, shape: str, level: str
) -> None:
    own = f", on_missing: {wish}" if level == "leaf" else ""
    body = "checks: [" + shape.format(LEAF=f"{{key: m, op: eq, value: 1{own}}}") + "]"
    if level == "policy":
        body += f"\non_missing: {wish}"
    assert status(body).value.replace("notapplicable", "not_applicable") == wish


def test_the_policys_on_missing_does_not_reach_its_conditions() -> None:
    body = "on_missing: pass\nchecks: [{key: t, op: exists}]\n"
    assert status(body + "targets: {where: {key: m, op: eq, value: 1}}") is Status.UNKNOWN


@pytest.mark.parametrize(
    ("targets", "wanted"),
    [
        ("{os: [macos, LINUX]}", Status.PASS),
        ("{os: windows}", Status.NOT_APPLICABLE),
        ("{tags: [WEB]}", Status.PASS),
        ("{tags: [db]}", Status.NOT_APPLICABLE),
        ("{os_version: {op: version_gte, value: '13', scheme: dpkg}}", Status.NOT_APPLICABLE),
        ("{os_version: {op: version_gte, value: '1.2.3', scheme: semver}}", Status.ERROR),
        ("{where: {key: t, op: eq, value: 2}}", Status.NOT_APPLICABLE),
        ("{where: {key: m, op: eq, value: 2}}", Status.UNKNOWN),
        ("{where: {key: m, op: eq, value: 2, on_missing: fail}}", Status.NOT_APPLICABLE),
        ("{where: {key: m, op: eq, value: 2, on_missing: pass}}", Status.PASS),
        ("{os: windows, where: {key: m, op: eq, value: 2}}", Status.NOT_APPLICABLE),
    ],
)
def test_targets_decide_whether_a_policy_applies(targets: str, wanted: Status) -> None:
    body = f"checks: [{{key: t, op: exists}}]\ntargets: {targets}"
    assert status(body, device(tags=("web",))) is wanted


def test_a_policy_that_is_off_is_not_selected() -> None:
    assert status("checks: [{key: t, op: exists}]\nenabled: false") is Status.NOT_SELECTED


DISKS = "checks: [{key: 'disks[*].encrypted', op: eq, value: true}]"


@pytest.mark.parametrize(
    ("disks", "wanted", "key", "message"),
    [
        ([{"encrypted": True}], Status.PASS, "", ""),
        (
            [{"encrypted": True}, {"encrypted": False}],
            Status.FAIL,
            "disks[1].encrypted",
            "(1 of 2 elements)",
        ),
        ([{}, {"encrypted": True}], Status.UNKNOWN, "disks[0].encrypted", "(1 of 2 elements)"),
        ([{"encrypted": "yes"}, {}], Status.ERROR, "disks[0].encrypted", "(1 of 2 elements)"),
        ([], Status.UNKNOWN, "disks[*].encrypted", ""),
        ({"encrypted": True}, Status.ERROR, "disks[*].encrypted", ""),
        ([True], Status.ERROR, "disks[0].encrypted", ""),
    ],
)
def test_a_wildcard_holds_for_every_element(
    disks: Any, wanted: Status, key: str, message: str
) -> None:
    (verdict,) = judge(DISKS, device({"disks": disks}))
    assert verdict.status is wanted
    assert [finding.key for finding in verdict.findings] == ([key] if key else [])
    assert all(finding.message.endswith(message) for finding in verdict.findings)


def test_values_that_python_takes_for_equal_are_told_apart() -> None:
    batch = [
        device({"v": value}, device_id=str(place))
        for place, value in enumerate([1, True, 1.0, "1", [1], [True], None, {"a": 1}])
    ]
    verdicts = judge("checks: [{key: v, op: eq, value: 1}]", *batch)
    assert [verdict.status.value for verdict in verdicts] == [
        "pass",
        "error",
        "pass",
        "error",
        "error",
        "error",
        "unknown",
        "error",
    ]
    assert verdicts[1].findings[0].observed is True


def test_findings_say_what_was_seen_and_what_was_wanted() -> None:
    (verdict,) = judge(
        "checks:\n  - {key: a, op: lte, value: 4, message: too many}\n  - {key: b, op: exists}\n"
        "  - not: {key: c, op: eq, value: x}",
        device({"a": 6, "c": "x"}),
    )
    said = [(f.check, f.key, f.observed, f.reason) for f in verdict.findings]
    assert said == [
        ("checks[0]", "a", 6, "mismatch"),
        ("checks[1]", "b", None, "missing"),
        ("checks[2].not", "c", "x", "unwanted"),
    ]
    assert verdict.findings[0].message == "too many"


def test_a_long_observed_text_is_cut() -> None:
    (verdict,) = judge("checks: [{key: a, op: eq, value: x}]", device({"a": "y" * 60_000}))
    assert len(verdict.findings[0].observed) == 1024


def test_members_of_any_that_did_not_matter_are_not_named() -> None:
    body = "checks: [{any: [{key: a, op: exists}, {key: t, op: exists}]}, {key: b, op: exists}]"
    (verdict,) = judge(body)
    assert [finding.key for finding in verdict.findings] == ["b"]


def test_a_batch_of_verdicts_is_a_sequence() -> None:
    policies = parse_policies(
        b"id: b\nname: B\nchecks: [{key: t, op: exists}]\n---\n"
        b"id: a\nname: A\nchecks: [{key: m, op: exists}]\n",
        name="p",
    )
    verdicts = evaluate([device(device_id="x"), device(device_id="y")], policies, NOW)
    listed = [(each.device_id, each.policy_id) for each in verdicts]
    assert listed == [("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")]
    assert len(verdicts) == 4
    assert [verdicts[place] for place in range(4)] == list(verdicts) == list(verdicts[:])
    assert verdicts[-1] == verdicts[3]
    with pytest.raises(IndexError):
        verdicts[4]
    assert list(verdicts.states()) == [
        ("x", [Status.FAIL, Status.PASS]),
        ("y", [Status.FAIL, Status.PASS]),
    ]


def test_nothing_comes_of_nothing() -> None:
    assert list(evaluate([], [], NOW)) == []
    assert list(evaluate([device()], [], NOW)) == []


@pytest.mark.parametrize(
    ("key", "facts"),
    [
        ("hostname", {}),
        ("facts.hostname", {"hostname": "h"}),
        ('sysctl."net.ipv4.ip_forward"', {"sysctl": {"net.ipv4.ip_forward": "h"}}),
        ('"a\\"b\\\\c"', {'a"b\\c': "h"}),
        ("l[1][0]", {"l": [0, ["h"]]}),
        ("a-b.c/d:e@f+g", {"a-b": {"c/d:e@f+g": "h"}}),
        ("ünïcode", {"ünïcode": "h"}),
    ],
)
def test_keys_reach_their_facts(key: str, facts: dict[str, Any]) -> None:
    body = f"checks: [{{key: '{key}', op: eq, value: h}}]"
    assert status(body, device(facts)) is Status.PASS
    assert render_path(parse_path(key).steps) == key


_BAD_KEYS = [
    *("", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a[1234567]", "[0]", "a b", "a[0]b"),
    *('"a', "a[*", "a.[0]", "$.a", "a\n"),
]


@pytest.mark.parametrize(
    "key",
    [*_BAD_KEYS, "a." * 40 + "a", "a" * 600],
)
def test_a_key_that_cannot_be_read_is_refused(key: str) -> None:
    with pytest.raises(PathError):
        parse_path(key)
