"""Message numbers and limits of the SSH agent protocol: RFC 9987 section 6, PROTOCOL.agent.

Rule for editors: a limit carries its unit in its name and cites who else has it.
"""

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Final

MAX_FRAME_BYTES: Final = 262144
"""Longest message without its length field: OpenSSH's AGENT_MAX_LEN and MAX_AGENT_REPLY_LEN."""

MAX_IDENTITIES: Final = 2048
"""Most identities a client takes in one answer: OpenSSH's MAX_AGENT_IDENTITIES."""

MAX_COMMENT_BYTES: Final = 4096
"""Longest comment of an added key: ours, a longest path; a client's list has to hold it."""

FRAME_HEADER_BYTES: Final = 4
"""A uint32 length stands before every message: RFC 9987 section 4."""


class RequestNumber(IntEnum):
    """First byte of a message from client to agent."""

    SSH1_REMOVE_ALL = 9
    """SSH_AGENTC_REMOVE_ALL_RSA_IDENTITIES of the SSH 1 protocol: agents still say success."""
    REQUEST_IDENTITIES = 11
    SIGN_REQUEST = 13
    ADD_IDENTITY = 17
    REMOVE_IDENTITY = 18
    REMOVE_ALL_IDENTITIES = 19
    ADD_SMARTCARD_KEY = 20
    REMOVE_SMARTCARD_KEY = 21
    LOCK = 22
    UNLOCK = 23
    ADD_ID_CONSTRAINED = 25
    ADD_SMARTCARD_KEY_CONSTRAINED = 26
    EXTENSION = 27


REQUEST_WORDS: Final[Mapping[int, str]] = {
    RequestNumber.SSH1_REMOVE_ALL: "remove_all_ssh1",
    RequestNumber.REQUEST_IDENTITIES: "list",
    RequestNumber.SIGN_REQUEST: "sign",
    RequestNumber.ADD_IDENTITY: "add",
    RequestNumber.REMOVE_IDENTITY: "remove",
    RequestNumber.REMOVE_ALL_IDENTITIES: "remove_all",
    RequestNumber.ADD_SMARTCARD_KEY: "add_smartcard",
    RequestNumber.REMOVE_SMARTCARD_KEY: "remove_smartcard",
    RequestNumber.LOCK: "lock",
    RequestNumber.UNLOCK: "unlock",
    RequestNumber.ADD_ID_CONSTRAINED: "add",
    RequestNumber.ADD_SMARTCARD_KEY_CONSTRAINED: "add_smartcard",
    RequestNumber.EXTENSION: "extension",
}
"""What a request asks for, in a word: records and counts call it so."""


class ReplyNumber(IntEnum):
    """First byte of a message from agent to client."""

    FAILURE = 5
    SUCCESS = 6
    IDENTITIES_ANSWER = 12
    SIGN_RESPONSE = 14
    EXTENSION_FAILURE = 28
    EXTENSION_RESPONSE = 29


OTHER_FAILURES: Final = frozenset({30, 102})
"""Failure numbers of SSH.com's agents, which OpenSSH's client takes for FAILURE too."""


class ConstraintNumber(IntEnum):
    """First byte of a key constraint: RFC 9987 section 5.2.6."""

    LIFETIME = 1
    CONFIRM = 2
    EXTENSION = 255


class SignFlag(IntFlag):
    """Flags of a sign request: RFC 9987 section 5.6; they concern RSA keys only."""

    RSA_SHA2_256 = 2
    RSA_SHA2_512 = 4
