"""Installing the Windows service: above the service control manager's port, over a stand-in."""

from __future__ import annotations

import pytest

from secretivex.errors import SecretiveError
from secretivex.server.windows.rules import SERVICE_NAME
from secretivex.service.scm import MARK, InstalledService, WindowsManager

OWNER = "S-1-5-21-1-2-3-1001"
COMMAND = [r"C:\Program Files\agent\secretive-agent.exe", "run"]


class StandInScm:
    """Services by name, and what was asked in order."""

    def __init__(self) -> None:
        self.services: dict[str, InstalledService] = {}
        self.asked: list[str] = []
        self.denies = False

    def find(self, name: str) -> InstalledService | None:
        return self.services.get(name)

    def create(self, name: str, display_name: str, command_line: str, description: str) -> None:
        if self.denies:
            raise PermissionError(13, "access is denied")
        assert display_name
        self.asked.append("create")
        self.services[name] = InstalledService(command_line, description, "stopped")

    def set_command(self, name: str, command_line: str) -> None:
        self.asked.append("set_command")
        self.services[name] = self.services[name]._replace(command_line=command_line)

    def start(self, name: str) -> None:
        self.asked.append("start")
        self.services[name] = self.services[name]._replace(state="running")

    def stop(self, name: str) -> None:
        self.asked.append("stop")
        self.services[name] = self.services[name]._replace(state="stopped")

    def delete(self, name: str) -> None:
        self.asked.append("delete")
        del self.services[name]


def test_doing_it_twice_is_doing_it_once_and_a_new_command_is_taken() -> None:
    port = StandInScm()
    manager = WindowsManager(port, OWNER)
    assert manager.install(COMMAND, start=True) == (SERVICE_NAME,)
    assert manager.install(COMMAND, start=True) == (SERVICE_NAME,)
    assert port.asked == ["create", "start"]
    line = port.services[SERVICE_NAME].command_line
    assert line == f'"{COMMAND[0]}" run --as-service --owner-sid {OWNER}'
    assert manager.status().is_running
    manager.install([*COMMAND, "--config", r"C:\agent.toml"], start=True)
    assert port.asked[2:] == ["stop", "set_command", "start"]
    assert manager.uninstall() == (SERVICE_NAME,)
    assert manager.uninstall() == ()
    assert (port.services, manager.status().said) == ({}, "not installed")


def test_a_service_of_somebody_else_is_left_alone() -> None:
    port = StandInScm()
    theirs = InstalledService("other.exe", "something else", "running")
    port.services[SERVICE_NAME] = theirs
    manager = WindowsManager(port, OWNER)
    with pytest.raises(SecretiveError) as found:
        manager.install(COMMAND, start=True)
    assert found.value.code == "service_exists"
    assert manager.uninstall() == ()
    assert not manager.status().is_running
    assert (port.services[SERVICE_NAME], port.asked) == (theirs, [])


def test_no_start_leaves_it_stopped_and_a_refusal_says_what_to_do() -> None:
    port = StandInScm()
    WindowsManager(port, OWNER).install(COMMAND, start=False)
    assert port.services[SERVICE_NAME] == InstalledService(
        port.services[SERVICE_NAME].command_line, MARK, "stopped"
    )
    denied = StandInScm()
    denied.denies = True
    with pytest.raises(SecretiveError) as found:
        WindowsManager(denied, OWNER).install(COMMAND, start=True)
    assert (found.value.code, "elevated" in found.value.hint) == ("service_failed", True)


def test_a_service_is_for_one_account() -> None:
    with pytest.raises(SecretiveError):
        WindowsManager(StandInScm(), "S-1-1-0")
