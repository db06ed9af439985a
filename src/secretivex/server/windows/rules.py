"""What the Windows service and its named pipe are made of: names, and the pipe's access rules.

Specification: Security Descriptor Definition Language, CreateNamedPipe. Rule for editors: nothing
here calls Windows; what does lies behind the ports.
"""

from __future__ import annotations

import re

from secretivex.errors import SecretiveError

SERVICE_NAME = "SecretiveXAgent"
DISPLAY_NAME = "SecretiveX SSH agent"

PIPE_PREFIX = "\\\\.\\pipe\\"

PIPE_ACCESS_DUPLEX = 0x00000003
FILE_FLAG_FIRST_PIPE_INSTANCE = 0x00080000
FILE_FLAG_OVERLAPPED = 0x40000000
PIPE_REJECT_REMOTE_CLIENTS = 0x00000008
"""Flags of CreateNamedPipe: winbase.h."""

MAX_PIPE_NAME = 256
"""CreateNamedPipe: of the whole name."""

SYSTEM_SID = "S-1-5-18"

_SID = re.compile(r"S-1-\d{1,14}(-\d{1,10}){1,15}")
"""MS-DTYP 2.4.2.1, with a decimal identifier authority."""


_ACCOUNT = re.compile(r"S-1-5-(18|19|20)|S-1-5-(21|80|82|83)(-\d+){4,}|S-1-12-1(-\d+){4}")
"""Accounts: the system's three, of a machine or domain, of services and machines, of Entra."""

_GROUP = re.compile(r"S-1-5-21(-\d+){3}-(49\d|50[5-9]|5[1-9]\d)")
"""What a domain has from its beginning (MS-DTYP 2.4.2.4): there only 500 to 504 are accounts."""


def check_sid(sid: str) -> str:
    """The SID, if it is one and names one account rather than everybody in a group.

    Whether a name that a domain's administrators gave later is a group's, its SID does not tell.
    """
    if not _SID.fullmatch(sid):
        raise SecretiveError("config_invalid", f"{sid!r} is not a security identifier")
    if _GROUP.fullmatch(sid) or not _ACCOUNT.fullmatch(sid):
        hint = "name the account whose keys the agent holds"
        raise SecretiveError("config_invalid", f"{sid} is no account: many may be in it", hint=hint)
    return sid


def pipe_name(text: str) -> str:
    """The full name of a pipe, given as a bare name or with any of the usual beginnings."""
    plain = text.replace("/", "\\")
    for beginning in (PIPE_PREFIX, "\\pipe\\", "pipe\\"):
        if plain.lower().startswith(beginning):
            plain = plain[len(beginning) :]
            break
    if not plain or "\\" in plain or len(PIPE_PREFIX + plain) > MAX_PIPE_NAME:
        raise SecretiveError(
            "config_invalid",
            f"{text!r} is no name of a pipe",
            hint=f"write a bare name or {PIPE_PREFIX}NAME, of {MAX_PIPE_NAME} characters in all",
        )
    return PIPE_PREFIX + plain


def pipe_sddl(owner_sid: str, maker_sid: str) -> str:
    """Access to the pipe: all of it for the owner and SYSTEM, none for others; not inherited.

    A protected list that names two accounts denies everybody else, the network included. Clients
    open the pipe for GENERIC_WRITE, which is one with the right to make instances of it; so the owner
    has that too, and only the flag of the first instance keeps others' programs off the name. The
    pipe itself belongs to the account that makes it: a process may give what it makes to nobody else
    (ERROR_INVALID_OWNER), SYSTEM included, unless it has turned SeRestorePrivilege on.
    """
    owner, maker = check_sid(owner_sid), check_sid(maker_sid)
    return f"O:{maker}G:{maker}D:P(A;;GA;;;{SYSTEM_SID})(A;;GA;;;{owner})"


def pipe_open_mode(*, is_first: bool) -> int:
    """`dwOpenMode`: only the first instance may claim the name, so that a squatter is noticed."""
    mode = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED
    return mode | FILE_FLAG_FIRST_PIPE_INSTANCE if is_first else mode
