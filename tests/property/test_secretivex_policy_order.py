"""Adding a deny, a pin or a question to any policy never allows more; an invalid rule never starts.

The compiled policy is held to the plain one: same decision, same rule, same counts.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clikit.config import parse_config
from secretivex.config import ConfigInput
from secretivex.context.purpose import Purpose
from secretivex.context.signed_data import DataKind
from secretivex.errors import SecretiveError
from secretivex.loading import make_setup
from secretivex.policy import (
    Charge,
    CompiledPolicy,
    Effect,
    Matcher,
    Rate,
    Rule,
    SigningPolicy,
    SignQuery,
    decide,
)
from secretivex.policy.matchers import (
    Ancestors,
    Details,
    Fingerprints,
    Forwarded,
    Hosts,
    KeyBlobs,
    Kinds,
    Numbers,
    Texts,
    comments_matcher,
    parse_globs,
)
from secretivex.policy.window import Window
from secretivex.rule_tables import parse_policy

BLOBS = st.sampled_from([b"blob-a", b"blob-b", b"blob-c"])
FINGERPRINTS = st.sampled_from(["SHA256:a", "SHA256:b", "SHA512:a", "SHA512:b"])
COMMENTS = st.sampled_from(["alice", "bob", "Alice ", "al*", "*", "[ab]*"])
PATHS = st.sampled_from(["/usr/bin/ssh", "/usr/bin/git", "/usr/bin/*", "/bin/sh"])
WORDS = st.sampled_from(["git", "file", "root", "ad*", "*"])
RATES = st.builds(
    Rate,
    st.just("rate"),
    st.integers(1, 3),
    st.just(60),
    st.sampled_from(["rule", "key", "caller"]),
    is_over=st.booleans(),
)


def texts(key: str, words: st.SearchStrategy[str]) -> st.SearchStrategy[Matcher]:
    return st.lists(words, min_size=1).map(lambda found: Texts(key, parse_globs(tuple(found))))


def details(key: str) -> st.SearchStrategy[Matcher]:
    return st.lists(WORDS, min_size=1).map(lambda found: Details(key, parse_globs(tuple(found))))


def matchers() -> st.SearchStrategy[Matcher]:
    return st.one_of(
        st.frozensets(BLOBS).map(KeyBlobs),
        st.frozensets(FINGERPRINTS).map(Fingerprints),
        st.lists(COMMENTS).map(lambda entries: comments_matcher(tuple(entries))),
        texts("stores", st.sampled_from(["file", "mem*"])),
        texts("executables", PATHS),
        texts("algorithms", st.sampled_from(["ssh-ed25519", "rsa-*"])),
        st.lists(PATHS, min_size=1).map(lambda found: Ancestors(parse_globs(tuple(found)))),
        *(
            st.frozensets(st.integers(0, 2)).map(partial(Numbers, key))
            for key in ("uids", "gids", "flags")
        ),
        st.booleans().map(Forwarded),
        st.frozensets(st.sampled_from(DataKind)).map(Kinds),
        *(details(key) for key in ("namespaces", "payload_types", "users")),
        st.frozensets(BLOBS).map(Hosts),
        st.builds(Window, hours=st.sampled_from([None, (0, 3600), (80_000, 100)])),
        RATES,
    )


def rules(effects: st.SearchStrategy[Effect]) -> st.SearchStrategy[Rule]:
    return st.builds(
        Rule,
        st.sampled_from(["one", "two", "three"]),
        effects,
        st.lists(matchers(), max_size=3).map(tuple),
    )


POLICIES = st.lists(rules(st.sampled_from(Effect)), max_size=5).map(
    lambda found: SigningPolicy(tuple(found))
)
PURPOSES = st.builds(
    Purpose,
    st.sampled_from(DataKind),
    st.sampled_from(["", "git", "file"]),
    st.sampled_from(["", "root", "ada"]),
    st.none() | BLOBS,
    st.just(b"") | BLOBS,
)
QUERIES = st.builds(
    SignQuery,
    key_blob=BLOBS,
    fingerprint_sha256=st.sampled_from([None, "SHA256:a", "SHA256:b"]),
    fingerprint_sha512=st.sampled_from([None, "SHA512:a", "SHA512:b"]),
    comment=st.sampled_from([None, "alice", "BOB", "carol"]),
    algorithm=st.just("ssh-ed25519"),
    store=st.sampled_from([None, "file", "memory"]),
    peer_uid=st.none() | st.integers(0, 2),
    peer_gid=st.none() | st.integers(0, 2),
    executable=st.sampled_from([None, "", "/usr/bin/ssh", "/bin/sh"]),
    ancestors=st.none() | st.lists(st.sampled_from(["", "/usr/bin/git"]), max_size=2).map(tuple),
    is_forwarded=st.none() | st.booleans(),
    purpose=st.none() | PURPOSES,
    signature_format=st.sampled_from([None, "ssh-ed25519", "rsa-sha2-256"]),
    flags=st.sampled_from([None, 0, 2]),
    now_s=st.none() | st.floats(0, 2e9),
)


class Counts:
    """The same count for everybody; None for one that cannot be told."""

    def __init__(self, used: int | None) -> None:
        self._used = used

    def used(self, _charge: Charge, /) -> int | None:
        return self._used


COUNTS = st.builds(Counts, st.none() | st.integers(0, 4))
RANK = {True: 2, False: 0}


def freedom(policy: SigningPolicy, query: SignQuery, counts: Counts) -> int:
    """2 for a signature without a question, 1 for one after a question, 0 for none."""
    decision = decide(policy, query, counts)
    return RANK[decision.allowed] - bool(decision.allowed and decision.confirm)


@given(
    POLICIES,
    rules(st.sampled_from([Effect.DENY, Effect.PIN, Effect.CONFIRM])),
    QUERIES,
    COUNTS,
    st.integers(0, 5),
)
def test_a_deny_a_pin_or_a_question_more_never_allows_more(
    policy: SigningPolicy, extra: Rule, query: SignQuery, counts: Counts, place: int
) -> None:
    more = SigningPolicy((*policy.rules[:place], extra, *policy.rules[place:]))
    assert freedom(more, query, counts) <= freedom(policy, query, counts)


@given(POLICIES, QUERIES, COUNTS)
def test_the_order_of_rules_does_not_change_the_verdict(
    policy: SigningPolicy, query: SignQuery, counts: Counts
) -> None:
    shuffled = SigningPolicy(tuple(reversed(policy.rules)))
    assert freedom(policy, query, counts) == freedom(shuffled, query, counts)


@given(POLICIES, st.lists(QUERIES, min_size=1, max_size=4), COUNTS)
def test_the_compiled_policy_decides_as_the_plain_one(
    policy: SigningPolicy, queries: list[SignQuery], counts: Counts
) -> None:
    compiled = CompiledPolicy(policy)
    for query in queries * 2:
        assert compiled.decide(query, counts) == decide(policy, query, counts)


@given(POLICIES, QUERIES, QUERIES, COUNTS)
def test_nothing_is_remembered_of_one_query_for_its_neighbour(
    policy: SigningPolicy, query: SignQuery, other: SignQuery, counts: Counts
) -> None:
    """Each differs from the first in one fact alone."""
    compiled = CompiledPolicy(policy)
    for name in SignQuery._fields:
        neighbour = query._replace(**{name: getattr(other, name)})
        for asked in (query, neighbour):
            assert compiled.decide(asked, counts) == decide(policy, asked, counts), name


@given(POLICIES, QUERIES)
def test_a_key_that_signs_is_listed(policy: SigningPolicy, query: SignQuery) -> None:
    if decide(policy, query).allowed:
        assert CompiledPolicy(policy).could_sign(query)


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(
        ["", "allow", "deny", "mon", "08:00-09:00", "+01:00", "ssh-ed25519", "*", "/x"]
    ),
    st.lists(st.sampled_from(["", "git", "sshsig", "/usr/bin/ssh", "mon", "*"]), max_size=2),
    st.lists(st.integers(-1, 5), max_size=2),
    st.dictionaries(
        st.sampled_from(["at_most", "over", "per_s", "each", "more"]),
        st.sampled_from([0, 1, 60, "key", "x"]),
        max_size=3,
    ),
)
KEYS = st.sampled_from(
    [
        *("name", "effect", "key_blobs", "fingerprints", "comments", "key_types", "stores"),
        *("executables", "ancestors", "hosts", "users", "kinds", "namespaces", "payload_types"),
        *("algorithms", "days", "uids", "gids", "flags", "forwarded", "hours", "utc_offset"),
        *("not_before", "not_after", "rate", "unknown"),
    ]
)


def as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + " }"
    return str(value) if isinstance(value, int) else f'"{value}"'


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=3))
def test_a_rule_that_is_not_understood_never_starts(tables: list[dict[str, Any]]) -> None:
    """Either everything is refused with the line, or each table became a rule with all its keys."""
    text = "".join(
        "[[policy.rules]]\n"
        + "".join(f"{key} = {as_toml(value)}\n" for key, value in table.items())
        for table in tables
    )
    file = parse_config(text.encode(), name="agent.toml", syntax="toml")
    flags = {"socket_path": "/nowhere"}
    refusal: SecretiveError | None = None
    try:
        setup = make_setup(ConfigInput(flags, {}, file, 1, Path("/"), ()))
    except SecretiveError as error:
        refusal = error
    if refusal is not None:
        assert refusal.details["problems"]
        assert all(one["where"].startswith("agent.toml:") for one in refusal.details["problems"])
        return
    assert len(setup.policy.rules) == len(tables)
    for rule, table in zip(setup.policy.rules, tables, strict=True):
        conditions = table.keys() - {"name", "effect", "utc_offset"}
        times = conditions & {"hours", "days", "not_before", "not_after"}
        assert len(rule.matchers) == len(conditions - times) + bool(times)
    assert parse_policy(setup.config.rule_lists) == (setup.policy, ())
