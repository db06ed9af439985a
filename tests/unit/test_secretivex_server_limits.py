"""What the system does not give an agent is told as that; other errors are bugs and stay."""

from __future__ import annotations

import errno
import os

import pytest

from secretivex.errors import SecretiveError
from secretivex.server.startup import told_limits


def fail(error: Exception) -> None:
    with told_limits():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        *(
            OSError(number, os.strerror(number))
            for number in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
        ),
        MemoryError(),
    ],
    ids=repr,
)
def test_what_the_system_does_not_give_is_told(error: Exception) -> None:
    with pytest.raises(SecretiveError, match="too little to run") as told:
        fail(error)
    assert told.value.code == "limit_too_low"


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), ValueError("no")], ids=repr)
def test_another_error_is_none_of_its_business(error: Exception) -> None:
    with pytest.raises(type(error), match="no") as told:
        fail(error)
    assert told.value is error
