"""The tests that a policy carries: example devices, judged by the policy alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fleetmdm.device import Device
from fleetmdm.evaluate.run import evaluate
from fleetmdm.policy import CompliancePolicy, PolicyTest
from fleetmdm.results import Verdict
from fleetmdm.rfc3339 import parse_time

EXAMPLE_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The `as_of` of a test that names none."""


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """One test that was run."""

    __test__ = False

    policy: CompliancePolicy
    test: PolicyTest
    verdict: Verdict

    @property
    def passed(self) -> bool:
        """The verdict is the expected one."""
        return self.verdict.status is self.test.expect


def run_tests(policy: CompliancePolicy) -> tuple[TestOutcome, ...]:
    """Run every test of a policy."""
    return tuple(_run_test(policy, test) for test in policy.tests)


def _run_test(policy: CompliancePolicy, test: PolicyTest) -> TestOutcome:
    now = test.as_of or EXAMPLE_MOMENT
    (verdict,) = evaluate([example_device(policy, test)], [policy], now)
    return TestOutcome(policy, test, verdict)


def example_device(policy: CompliancePolicy, test: PolicyTest) -> Device:
    """The device of a test; what it leaves out is chosen so that the targets' os and tags match."""
    given, targets = test.device, policy.targets
    last_seen = given.get("last_seen")
    return Device(
        device_id=given.get("device_id", "example"),
        hostname=given.get("hostname", "example"),
        os=given.get("os", targets.os[0] if targets.os else "linux"),
        os_version=given.get("os_version", ""),
        serial=given.get("serial"),
        last_seen=parse_time(last_seen) if last_seen else (test.as_of or EXAMPLE_MOMENT),
        facts=given.get("facts", {}),
        tags=tuple(given.get("tags", targets.tags[:1])),
    )
