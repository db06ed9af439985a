"""What lint says of well-formed policies, and where it keeps still."""

from __future__ import annotations

import pytest

from fleetmdm.lint import LINT_CODES, lint_files, lint_tags
from fleetmdm.policy_yaml import read_policies

TESTED = """
tests:
  - {name: p, device: {facts: {disk_encryption: {root: true}}}, expect: pass}
  - {name: f, device: {facts: {disk_encryption: {root: false}}}, expect: fail}
"""
GOOD = "id: a\nname: A\nchecks:\n  - {key: disk_encryption.root, op: eq, value: true}" + TESTED


def lint(*texts: str) -> list[tuple[str, int, str]]:
    files = [read_policies(text.encode(), name=f"{i}.yaml") for i, text in enumerate(texts)]
    found = lint_files(files)
    assert {each.code for each in found} <= set(LINT_CODES)
    return [(each.file, each.line, each.code) for each in found]


def checks(lines: str) -> str:
    return f"id: a\nname: A\nchecks:\n{lines}{TESTED}"


def test_a_good_policy_gets_no_finding() -> None:
    assert lint(GOOD) == []


def test_the_same_id_in_two_files_is_found_in_the_second() -> None:
    assert lint(GOOD, GOOD) == [("1.yaml", 1, "duplicate_id")]


def test_a_policy_without_tests_is_found() -> None:
    assert lint(GOOD.replace(TESTED, "\n")) == [("0.yaml", 1, "no_tests")]


@pytest.mark.parametrize(
    ("kept", "code"), [("expect: pass}", "no_failing_test"), ("expect: fail}", "no_passing_test")]
)
def test_both_outcomes_need_a_test(kept: str, code: str) -> None:
    lines = [line for line in GOOD.splitlines() if "expect" not in line or kept in line]
    assert lint("\n".join(lines)) == [("0.yaml", 1, code)]


def test_a_parameter_that_nothing_uses_is_found() -> None:
    assert lint(GOOD + "parameters: {p: 1}\n") == [("0.yaml", 1, "unused_parameter")]


def test_a_fact_that_no_exporter_writes_is_found_with_the_nearest() -> None:
    text = checks("  - {key: disk_encryption.rot, op: exists}\n")
    file = read_policies(text.encode(), name="p")
    (problem,) = [each for each in lint_files([file]) if each.code == "unknown_fact"]
    assert (problem.line, problem.column) == (4, 5)
    assert "'disk_encryption.root'" in problem.message


def test_findings_can_be_left_out_by_code() -> None:
    file = read_policies(checks("  - {key: my.own.fact, op: exists}\n").encode(), name="p")
    assert lint_files([file], ignore={"unknown_fact"}) == []


@pytest.mark.parametrize(
    "key",
    [
        "hostname",
        "facts.disk_encryption",
        "sshd",
        "certificates.items[0].path",
        "last_seen",
        "ansible.distribution",
        "osquery.users[*].uid",
    ],
)
def test_known_paths_are_not_found(key: str) -> None:
    assert lint(checks(f"  - {{key: '{key}', op: exists}}\n")) == []


@pytest.mark.parametrize(
    "pair",
    [
        ("op: gt, value: 5", "op: lt, value: 5"),
        ("op: gte, value: 6", "op: lte, value: 5"),
        ("op: between, value: [1, 2]", "op: gt, value: 2"),
        ("op: eq, value: 1", "op: eq, value: 2"),
        ("op: eq, value: 1", "op: ne, value: 1"),
    ],
)
def test_checks_that_exclude_each_other_are_found(pair: tuple[str, str]) -> None:
    lines = "".join(f"  - {{key: sshd.settings.maxauthtries, {each}}}\n" for each in pair)
    assert ("0.yaml", 5, "contradictory_checks") in lint(checks(lines))
    assert "contradictory_checks" not in {
        code for *_, code in lint(checks(f"  - any:\n{lines.replace('  -', '      -')}"))
    }


def test_bounds_that_leave_room_are_not_found() -> None:
    lines = (
        "  - {key: sshd.settings.maxauthtries, op: gte, value: 5}\n"
        "  - {key: sshd.settings.maxauthtries, op: lte, value: 5}\n"
    )
    assert lint(checks(lines)) == []


def test_the_same_check_twice_is_found() -> None:
    line = "  - {key: disk_encryption.root, op: eq, value: true}\n"
    assert lint(checks(line * 2)) == [("0.yaml", 5, "repeated_check")]


def test_a_test_whose_result_depends_on_the_day_is_found() -> None:
    text = (
        "id: a\nname: A\nchecks: [{key: last_seen, op: within, value: 14d}]\ntests:\n"
        "  - {name: p, as_of: '2026-01-02T00:00:00Z', expect: pass,"
        " device: {last_seen: '2026-01-01T00:00:00Z'}}\n"
        "  - {name: f, expect: fail, device: {last_seen: '2020-01-01T00:00:00Z'}}\n"
    )
    assert lint(text) == [("0.yaml", 6, "undated_test")]


def test_what_makes_a_file_unusable_is_a_finding_too() -> None:
    assert ("0.yaml", 1, "missing_key") in lint("id: a\n")


# What a policy can come to at all. The last places are where the finding stands.

ROOT = "{key: disk_encryption.root, op: eq, value: true}"
MEM = "key: users.count"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # Never fails.
        (f"  - any: [{ROOT}, {{key: disk_encryption.root, op: ne, value: true}}]\n", "never_fails"),
        ("  - {key: users.uid0, op: length_gte, value: 0}\n", "never_fails"),
        ("  - {key: kernel.release, op: regex, value: '.*'}\n", "never_fails"),
        ("  - none: [{key: kernel.release, op: not_regex, value: '^'}]\n", "never_fails"),
        # Passes only where facts are missing.
        ("  - {key: tpm.present, op: not_exists}\n", "passes_only_on_absent_data"),
        ("  - not: {key: tpm.present, op: exists}\n", "passes_only_on_absent_data"),
        (
            f"  - {{{MEM}, op: length_lt, value: 0, on_missing: pass}}\n",
            "passes_only_on_absent_data",
        ),
        # Never holds, or never asked.
        (
            f"  - {{{MEM}, op: gt, value: 5}}\n  - any: [{{{MEM}, op: lt, value: 3}}, {ROOT}]\n",
            "unreachable_check",
        ),
        (
            (
                f"  - {{{MEM}, op: gt, value: 5, when: {{all: [{{key: a, op: gt, value: 2}},"
                " {key: a, op: lt, value: 2}]}}\n"
            ),
            "unreachable_check",
        ),
        (
            (
                f"  - {{{MEM}, op: gt, value: 5, when: {{key: os, op: eq, value: windows}}}}\n"
                "targets: {os: [Linux]}\n"
            ),
            "unreachable_check",
        ),
        # Presence and comparison.
        (
            "  - {key: tpm.version, op: not_exists}\n  - {key: tpm.version, op: eq, value: 2}\n",
            "contradictory_checks",
        ),
        # A severity where no verdict names it.
        (
            (
                f"  - {{{MEM}, op: gt, value: 5, when:"
                " {key: tpm.present, op: eq, value: true, severity: low}}\n"
            ),
            "severity_without_effect",
        ),
        (
            f"  - {ROOT}\ntargets: {{where: {{key: tpm.version, op: exists, severity: low}}}}\n",
            "severity_without_effect",
        ),
    ],
)
def test_what_can_never_be_is_found(lines: str, expected: str) -> None:
    assert expected in {code for _, _, code in lint(checks(lines))}


SOUND = {
    "never_fails",
    "passes_only_on_absent_data",
    "unreachable_check",
    "severity_without_effect",
}


@pytest.mark.parametrize(
    "lines",
    [
        f"  - {ROOT}\n",
        # Either is enough, or the fact is of another element.
        f"  - any: [{ROOT}, {{key: tpm.present, op: not_exists}}]\n",
        "  - any: [{key: 'a[*].b', op: eq, value: 1}, {key: 'a[*].b', op: ne, value: 1}]\n",
        # The bounds leave something between them.
        f"  - any: [{{{MEM}, op: lt, value: 3}}, {{{MEM}, op: gt, value: 5}}]\n",
        f"  - {{{MEM}, op: gt, value: 3, when: {{{MEM}, op: lt, value: 5}}}}\n",
        # Below `not`, what never holds may be meant.
        f"  - not: {{all: [{{{MEM}, op: gt, value: 5}}, {ROOT}]}}\n",
        "  - {key: users.uid0, op: length_gte, value: 1, severity: critical}\n",
        (
            f"  - {{{MEM}, op: gt, value: 3, when: {{key: os, op: in, value: [linux, macos]}}}}\n"
            "targets: {os: [Linux]}\n"
        ),
    ],
)
def test_what_may_well_be_right_is_left_alone(lines: str) -> None:
    assert not SOUND & {code for _, _, code in lint(checks(lines))}


def test_a_tag_that_no_device_has_is_found() -> None:
    file = read_policies(f"{GOOD}targets: {{tags: [Web, gone]}}\n".encode(), name="p")
    assert [(one.code, "'gone'" in one.message) for one in lint_tags(file, {"web", "db"})] == [
        ("unmatched_tag", True)
    ]
