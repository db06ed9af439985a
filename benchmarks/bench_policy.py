"""What one decision of the signing policy costs at 500 rules of all kinds.

A decision is timed as the engine makes it: from a login request to the verdict, the data taken apart
included, for callers and hosts that were seen before. What costs more is reported beside it: a host
seen for the first time, a rule that counts, and facts that cannot be determined. Where every rule
counts, what is paid for is the counts that the request may need, not all of them.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

from ratio import ROUNDS, bound, finish, read_options
from secretivex.context.bindings import UNBOUND
from secretivex.context.purpose import purpose_of
from secretivex.policy import CompiledPolicy, SignQuery
from secretivex.rule_tables import parse_policy
from secretivex.server.judging.rates import RateTable
from sshwire.pubkey import fingerprint
from sshwire.wire import encode_boolean, encode_byte, encode_string, encode_text

RULES = 500
AT_MOST_US = 20.0
HOSTS = 1000


def blob_of(name: str) -> bytes:
    """A public key blob; nothing asks whether it is a point."""
    return encode_text("ssh-ed25519") + encode_string(hashlib.sha256(name.encode()).digest())


def line_of(name: str) -> str:
    """The same as in a .pub file."""
    return f"ssh-ed25519 {base64.b64encode(blob_of(name)).decode()}"


def make_rules(count: int) -> list[dict[str, Any]]:
    """Every kind of condition in its turn; the last rule allows what is asked for."""
    kinds: list[Callable[[int], dict[str, Any]]] = [
        lambda n: {"effect": "deny", "fingerprints": [fingerprint(blob_of(f"old {n}"))]},
        lambda n: {"effect": "deny", "comments": [f"*@retired-{n}"]},
        lambda n: {"effect": "deny", "executables": [f"/opt/tool-{n}/*"], "kinds": ["sshsig"]},
        lambda n: {"effect": "deny", "hosts": [line_of(f"bad {n}")]},
        lambda n: {"effect": "confirm", "users": [f"admin-{n}"], "forwarded": True},
        lambda n: {"effect": "deny", "namespaces": [f"ns-{n}"], "uids": [2000 + n]},
        lambda n: {"effect": "allow", "hosts": [line_of(f"host {n}")], "users": ["deploy"]},
        lambda n: {"effect": "deny", "ancestors": [f"/usr/lib/*/cron-{n}"]},
        lambda n: {"effect": "deny", "hours": "03:00-03:30", "users": [f"batch-{n}"]},
        lambda n: {"effect": "deny", "algorithms": ["ssh-rsa"], "gids": [3000 + n]},
    ]
    rules = [kinds[number % len(kinds)](number) for number in range(count - 1)]
    return [*rules, {"effect": "allow", "users": ["root"], "uids": [1000]}]


def limit_of(number: int) -> dict[str, Any]:
    """A rule that counts what one key signs; the first is of the key that is asked for."""
    name = f"key {number}" if number else "key"
    rate = {"over": 10**6, "per_s": 3600}
    return {"effect": "deny", "fingerprints": [fingerprint(blob_of(name))], "rate": rate}


def login_of(host: str, user: str = "root") -> bytes:
    """What ssh has signed to log in to a host: PROTOCOL, section 3.1."""
    return (
        encode_string(hashlib.sha256(b"session").digest())
        + encode_byte(50)
        + encode_text(user)
        + encode_text("ssh-connection")
        + encode_text("publickey-hostbound-v00@openssh.com")
        + encode_boolean(True)
        + encode_text("ssh-ed25519")
        + encode_string(blob_of("key"))
        + encode_string(blob_of(host))
    )


KEY = blob_of("key")
SHA256, SHA512 = fingerprint(KEY), fingerprint(KEY, "sha512")
ANCESTORS = ("/usr/bin/bash", "/usr/bin/tmux", "/usr/lib/systemd/systemd")


def query_of(data: bytes, *, is_known: bool = True) -> SignQuery:
    """As the engine makes it."""
    return SignQuery(
        key_blob=KEY,
        fingerprint_sha256=SHA256,
        fingerprint_sha512=SHA512,
        comment="ada@laptop",
        algorithm="ssh-ed25519",
        store="file",
        peer_uid=1000,
        peer_gid=1000,
        executable="/usr/bin/ssh" if is_known else "",
        ancestors=ANCESTORS if is_known else None,
        is_forwarded=False,
        purpose=purpose_of(data, UNBOUND, 0.0) if is_known else None,
        signature_format="ssh-ed25519",
        flags=0,
        now_s=1_800_000_000.0,
    )


def microseconds(work: Callable[[], object], calls: int) -> float:
    """Processor time of one call: others share the machine."""
    begun = time.thread_time()
    for _ in range(calls):
        work()
    return (time.thread_time() - begun) / calls * 1e6


def main() -> None:
    """Measure and judge."""
    options = read_options(rules=RULES, calls=5000, rounds=ROUNDS + 2)
    tables = make_rules(options.rules)
    policy, problems = parse_policy({"rules": tables})
    counting, more = parse_policy(
        {"rules": [*tables[:-1], {**tables[-1], "rate": {"at_most": 10**6, "per_s": 3600}}]}
    )
    limited, still_more = parse_policy({"rules": [limit_of(n) for n in range(options.rules)]})
    if problems or more or still_more:
        raise SystemExit(f"the rules are not valid: {problems or more or still_more}")
    compiled, counted, rates = CompiledPolicy(policy), CompiledPolicy(counting), RateTable()
    limits = CompiledPolicy(limited)
    seen = cycle([login_of(f"host {number}") for number in range(HOSTS)])
    fresh = iter([login_of(f"new {n}") for n in range((options.rounds + 1) * options.calls // 10)])

    def charge() -> None:
        rates.charge(counted.decide(query_of(next(seen)), rates).charges)

    known = query_of(next(seen))
    rates.charge(limits.decide(known, rates).charges)
    if not compiled.decide(known).allowed:
        raise SystemExit("the request that is measured is refused")
    works: dict[str, tuple[Callable[[], object], int, float | None]] = {
        "login to one of 1000 known hosts": (
            lambda: compiled.decide(query_of(next(seen))),
            options.calls,
            AT_MOST_US,
        ),
        "of which the rules": (
            lambda: compiled.decide(known),
            options.calls,
            None,
        ),
        "login to a host never seen": (
            lambda: compiled.decide(query_of(next(fresh))),
            options.calls // 10,
            None,
        ),
        "login that a rule counts": (charge, options.calls, None),
        "every rule counts the logins of a key": (
            lambda: limits.decide(query_of(next(seen)), rates),
            options.calls,
            AT_MOST_US,
        ),
        "nothing can be determined": (
            lambda: compiled.decide(query_of(b"", is_known=False)),
            options.calls,
            AT_MOST_US,
        ),
    }
    rows = []
    for name, (work, calls, limit) in works.items():
        microseconds(work, calls // 10)
        values = [microseconds(work, calls) for _ in range(options.rounds)]
        rows.append(bound(f"{options.rules} rules: {name}", values, at_most=limit, unit="us"))
    finish(rows, options)


if __name__ == "__main__":
    main()
