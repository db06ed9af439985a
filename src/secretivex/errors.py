"""SecretiveX's error codes: one table, documented in docs/errors.md.

Rule for editors: rows are sorted by code; a code is a promise and never changes its meaning.
"""

from __future__ import annotations

from typing import ClassVar

from clikit.errors import COMMON_ROWS, ErrorRow, ErrorTable, Exit, Failure

CODES = ErrorTable(
    (
        *COMMON_ROWS,
        ErrorRow("agent_unavailable", Exit.UNAVAILABLE, "no agent answers at the given address"),
        ErrorRow("audit_failed", Exit.UNAVAILABLE, "the audit log cannot be opened or written"),
        ErrorRow("audit_invalid", Exit.FOUND, "the audit log was altered, cut or reordered"),
        ErrorRow("change_refused", Exit.REFUSED, "the agent would not change what it holds"),
        ErrorRow(
            "command_failed", Exit.UNAVAILABLE, "the program to run beside the agent cannot start"
        ),
        ErrorRow("control_unavailable", Exit.UNAVAILABLE, "no control socket answers"),
        ErrorRow("input_not_found", Exit.NOT_FOUND, "a file to read does not exist"),
        ErrorRow("input_unreadable", Exit.INVALID, "a file to read cannot be read"),
        ErrorRow("key_ambiguous", Exit.NOT_FOUND, "more than one key matches; name one of them"),
        ErrorRow("key_not_found", Exit.NOT_FOUND, "no key matches"),
        ErrorRow(
            "limit_too_low",
            Exit.UNAVAILABLE,
            "the system gives the agent too few descriptors or processes, or too little memory",
        ),
        ErrorRow(
            "load_ceiling",
            Exit.UNAVAILABLE,
            "the load tool was too busy itself for its figures to be the agent's",
        ),
        ErrorRow("load_failed", Exit.FOUND, "requests of a load failed, or there were none"),
        ErrorRow(
            "memory_not_locked", Exit.UNAVAILABLE, "the system does not keep memory out of swap"
        ),
        ErrorRow(
            "metrics_unavailable", Exit.UNAVAILABLE, "the agent tells no figures about itself"
        ),
        ErrorRow("policy_invalid", Exit.INVALID, "a rule of the signing policy is invalid"),
        ErrorRow("preflight_failed", Exit.FOUND, "something here would make a fan-out fail"),
        ErrorRow("protocol_error", Exit.UNAVAILABLE, "what answers does not keep to the protocol"),
        ErrorRow(
            "service_exists", Exit.REFUSED, "a service file that we did not write is in the way"
        ),
        ErrorRow("service_failed", Exit.UNAVAILABLE, "the system's service manager would not"),
        ErrorRow("sign_refused", Exit.REFUSED, "the agent would not sign"),
        ErrorRow("signature_bad", Exit.FOUND, "the signature is not the key's over these bytes"),
        ErrorRow("slo_missed", Exit.FOUND, "a target of a service level was missed"),
        ErrorRow("socket_failed", Exit.UNAVAILABLE, "the agent's socket cannot be made"),
        ErrorRow("socket_in_use", Exit.UNAVAILABLE, "a live agent listens at this address"),
        ErrorRow("socket_path_taken", Exit.UNAVAILABLE, "something not a socket is in the way"),
        ErrorRow("socket_path_too_long", Exit.INVALID, "the operating system limits socket paths"),
        ErrorRow("store_cannot", Exit.INVALID, "stores of this kind cannot do what was asked"),
        ErrorRow("store_not_found", Exit.NOT_FOUND, "no configured store has this name"),
        ErrorRow("store_unavailable", Exit.UNAVAILABLE, "a key store cannot be opened"),
        ErrorRow("unhealthy", Exit.FOUND, "the agent answers and something is wrong with it"),
        ErrorRow("user_not_found", Exit.NOT_FOUND, "this system has no user of that name"),
    )
)


class SecretiveError(Failure):
    """The root of every error that SecretiveX raises on purpose."""

    table: ClassVar[ErrorTable] = CODES
