"""Suggested limits: each has a reason, and follows from what there is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secretivex.profiles import PROFILE_NAMES
from secretivex.suggest.calibrate import Calibration, calibrate
from secretivex.suggest.limits import Machine, infer_profile, suggest

MACHINE = Machine(4, 65_536, 16 * 1024**3, 4096, ("file",))
MEASURED = Calibration(30_000, 20_000, 2.0)


def test_every_figure_has_a_reason_and_a_variable() -> None:
    for name in PROFILE_NAMES:
        result = suggest(MACHINE, name, MEASURED)
        assert result["profile"] == {"label": name, "inferred": False}
        keys = [reason.split(" = ")[0] for reason in result["reasons"]]
        assert keys == list(result["settings"])
        assert {f"SECRETIVE_{key.upper()}" for key in keys} == set(result["env"])


def test_connections_fit_descriptors_and_memory() -> None:
    few = replace(MACHINE, descriptors=164)
    assert suggest(few, "pssh", MEASURED)["max_connections"] == 320
    small = replace(MACHINE, memory_bytes=64 * 1024**2)
    assert suggest(small, "pssh", MEASURED)["max_connections"] == 2048


def test_a_slower_machine_is_given_more_time() -> None:
    quick = suggest(MACHINE, "fanout", MEASURED)["settings"]["sign_timeout_ms"]
    slow = suggest(MACHINE, "fanout", Calibration(300, 200, 2.0))["settings"]["sign_timeout_ms"]
    assert quick == 250
    assert slow == round(2000 * 1000 / (200 * 0.6 * 4))


@pytest.mark.parametrize(
    ("machine", "profile"),
    [
        (MACHINE, "fanout"),
        (replace(MACHINE, memory_bytes=512 * 1024**2), "low-memory"),
        (replace(MACHINE, cores=1), "balanced"),
    ],
)
def test_a_profile_is_inferred_from_the_machine(machine: Machine, profile: str) -> None:
    assert infer_profile(machine) == profile
    assert suggest(machine, None, MEASURED)["profile"] == {"label": profile, "inferred": True}


def test_keys_in_devices_show() -> None:
    result = suggest(replace(MACHINE, store_kinds=("file", "pkcs11")), None, MEASURED)
    assert result["pkcs11_store_present"]
    assert not result["inline_sign"]
    assert any("pkcs11 keys wait for their device" in reason for reason in result["reasons"])


def test_calibration_takes_the_time_it_is_given() -> None:
    measured = calibrate(0.05)
    assert min(measured.signatures_per_s, measured.round_trips_per_s) > 0
