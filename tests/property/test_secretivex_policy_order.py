"""Adding a deny, or a pin, to any policy never allows a signature that was refused before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from secretivex.policy import (
    Effect,
    Fingerprints,
    KeyBlobs,
    Matcher,
    Rule,
    SigningPolicy,
    SignQuery,
    comments_matcher,
    decide,
)

BLOBS = st.sampled_from([b"blob-a", b"blob-b", b"blob-c"])
FINGERPRINTS = st.sampled_from(["SHA256:a", "SHA256:b", "SHA512:a", "SHA512:b"])
COMMENTS = st.sampled_from(["alice", "bob", "Alice ", "al*", "*", "[ab]*"])


def matchers() -> st.SearchStrategy[Matcher]:
    return st.one_of(
        st.frozensets(BLOBS).map(KeyBlobs),
        st.frozensets(FINGERPRINTS).map(Fingerprints),
        st.lists(COMMENTS).map(lambda entries: comments_matcher(tuple(entries))),
    )


def rules(effects: st.SearchStrategy[Effect]) -> st.SearchStrategy[Rule]:
    return st.builds(Rule, st.just("rule"), effects, matchers())


POLICIES = st.lists(rules(st.sampled_from(Effect)), max_size=4).map(
    lambda found: SigningPolicy(tuple(found))
)
QUERIES = st.builds(
    SignQuery,
    key_blob=BLOBS,
    fingerprint_sha256=st.sampled_from([None, "SHA256:a", "SHA256:b"]),
    fingerprint_sha512=st.sampled_from([None, "SHA512:a", "SHA512:b"]),
    comment=st.sampled_from([None, "alice", "BOB", "carol"]),
    algorithm=st.just("ssh-ed25519"),
    store=st.none(),
    peer_uid=st.none(),
)


@given(POLICIES, rules(st.sampled_from([Effect.DENY, Effect.PIN])), QUERIES, st.integers(0, 4))
def test_a_deny_or_pin_more_never_allows_more(
    policy: SigningPolicy, extra: Rule, query: SignQuery, place: int
) -> None:
    more = SigningPolicy((*policy.rules[:place], extra, *policy.rules[place:]))
    assert decide(policy, query).allowed or not decide(more, query).allowed


@given(POLICIES, QUERIES)
def test_the_order_of_rules_does_not_change_the_verdict(
    policy: SigningPolicy, query: SignQuery
) -> None:
    shuffled = SigningPolicy(tuple(reversed(policy.rules)))
    assert decide(policy, query).allowed == decide(shuffled, query).allowed
