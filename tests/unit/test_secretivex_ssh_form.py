"""Times and shell lines of the command line that stands in for ssh-agent."""

from __future__ import annotations

import shlex

import pytest

from secretivex.cli.ssh_form.shell import guess_style, parse_life, render_removal, render_setting


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1W", 604800),
        ("1d2h3m4s", 93784),
        ("5s5", 10),
        ("0", 0),
    ],
)
def test_times_are_those_of_sshd_config(text: str, seconds: int) -> None:
    assert parse_life(text) == seconds


@pytest.mark.parametrize("text", ["", "-5", "5x", "m", "1.5h", "2147483648", "4000w4000w", "٣"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|lifetime"):
        parse_life(text)


def test_a_path_with_a_blank_survives_the_shell() -> None:
    line = render_setting("SSH_AUTH_SOCK", "/tmp/a b/agent", "sh")
    assert shlex.split(line)[0] == "SSH_AUTH_SOCK=/tmp/a b/agent;"


def test_csh_has_words_of_its_own() -> None:
    assert guess_style("/bin/csh") == "csh"
    assert guess_style("/bin/bash") == "sh"
    assert render_setting("A", "b", "csh") == "setenv A b;"
    assert render_removal("A", "csh") == "unsetenv A;"
