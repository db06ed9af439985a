"""What the agent answers: a pure function of a request, its peer, the key table and the policy.

`handle` gives a `Reply`, a `SignJob` that the server runs when its turn comes and brings back to
`complete`, a `ConfirmJob` that a person answers and `go_on` takes further, or a `Change` that the
supervisor makes and that `settle` answers. Specification: RFC
9987, PROTOCOL.agent. Rule for editors: every request gets exactly one reply, every failure is one
frame, and each has a word for why; nothing here does I/O or reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, Protocol

from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.context.destinations import refuse_sight, refuse_use
from secretivex.context.purpose import purpose_of
from secretivex.context.signed_data import DataKind, classify
from secretivex.key_table import EMPTY_TABLE, KeyTable, TableEntry
from secretivex.lock import MAX_PASSPHRASE_BYTES
from secretivex.peer import UNKNOWN_CALLER, Peer
from secretivex.policy import Charge, Decision, Facet, SignQuery
from sshwire.agent.connection import encode_frame
from sshwire.agent.constraints import SK_PROVIDER
from sshwire.agent.destinations import SESSION_BIND
from sshwire.agent.numbers import RequestNumber
from sshwire.agent.replies import (
    ExtensionFailure,
    ExtensionResponse,
    Failure,
    Success,
    encode_reply,
    encode_sign_frame,
)
from sshwire.agent.requests import (
    AddRequest,
    AddSmartcardRequest,
    ExtensionRequest,
    ListRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    RemoveSmartcardRequest,
    Request,
    Ssh1RemoveAllRequest,
    UnknownRequest,
    UnlockRequest,
    cut_sign,
    parse_request,
)
from sshwire.errors import WireError
from sshwire.privkey import parse_private_fields
from sshwire.wire import Reader, encode_text

KNOWN_SIGN_FLAGS = 2 | 4
"""RFC 9987 section 5.6: a request with any other flag must fail."""

SERVED_SIGN_FLAGS = (0, 2, 4, 6)

_OTHER_SIGN_FLAGS = ~KNOWN_SIGN_FLAGS

_SIGN_REQUEST = int(RequestNumber.SIGN_REQUEST)


ChangeRequest = (
    AddRequest
    | RemoveRequest
    | RemoveAllRequest
    | AddSmartcardRequest
    | RemoveSmartcardRequest
    | LockRequest
    | UnlockRequest
)


class Reply(NamedTuple):
    """A whole frame, and a stable word for its outcome. A tuple, for it is made per request."""

    frame: bytes
    outcome: str
    bindings: Bindings | None = None
    """What the connection is bound to from now on; None for no change."""
    rule: str = ""
    """The rule of the policy that refused, if one did."""


class SignJob(NamedTuple):
    """A signature that may be made. A tuple, for it is made per request."""

    entry: TableEntry
    data: bytes
    flags: int
    peer: Peer
    generation: int
    bindings: Bindings = UNBOUND
    is_confirmed: bool = False
    rule: str = ""
    """The rule of the policy that allowed it, if one did."""


ALLOWANCE: Final = 3
"""In a job, the fields from there on tell who may have a signature and why."""


class ConfirmJob(NamedTuple):
    """A signature that a person is to allow first; nothing signs for it until `go_on` says so."""

    sign: SignJob
    rule: str = ""
    """The rule that wants it so; "" where the key does."""


class Change(NamedTuple):
    """A request that changes what every connection sees; the server has it made, then `settle`s."""

    request: ChangeRequest


_new = tuple.__new__
"""Makes a job or a reply of all its fields: the constructor of a named tuple is one more function."""

SignOutcome = bytes | str
"""What came of a job: the signature, or the word for why there is none."""


class Decide(Protocol):
    """The signing policy, as the engine asks it."""

    def __call__(self, query: SignQuery, /) -> Decision:
        """Whether a signature may be made."""
        ...


_FAILURE_FRAME = encode_frame(encode_reply(Failure()))
_SUCCESS = Reply(encode_frame(encode_reply(Success())), "ok")

_EXTENSION_FAILURE_FRAME = encode_frame(encode_reply(ExtensionFailure()))

_SERVED_EXTENSIONS = encode_text("query") + encode_text(SESSION_BIND)
"""RFC 9987 section 5.8.1: the names of the extensions that are served, back to back."""

_QUERY_FRAMES: Mapping[str, bytes] = {
    "rfc9987": encode_frame(encode_reply(ExtensionResponse("query", _SERVED_EXTENSIONS))),
    # SUCCESS and the names, as in drafts of the RFC: the request does not tell who wants which.
    "draft": encode_frame(encode_reply(Success(_SERVED_EXTENSIONS))),
}

_LOCAL_ONLY = (
    AddRequest
    | RemoveRequest
    | RemoveAllRequest
    | AddSmartcardRequest
    | RemoveSmartcardRequest
    | LockRequest
    | UnlockRequest
)
"""What nobody may ask for over a forwarded connection. RFC 9987 section 5.4 would have REMOVE_ALL
honoured; a host that an agent is forwarded to could then disarm all others that it serves."""

_INTERNAL = encode_text("internal")

_NOT_SERVED: Mapping[type[Request], str] = {
    # RFC 9987 section 5.8: an extension that is not supported is a plain FAILURE.
    ExtensionRequest: "unsupported_extension",
    UnlockRequest: "not_locked",
    UnknownRequest: "unknown_message",
}


class Terms(NamedTuple):
    """What an engine answers by, beside its keys and its policy.

    `facts` are what the policy asks about: nothing else is found out. `charge` counts a signature
    that is about to be made, and says whether there was room for it. `decide_charged` decides on one
    that was counted already; None if no rule counts. `could_sign` says which keys are listed; None
    for all of them.
    """

    is_open: bool = False
    """Whether the policy has no rule, so that it need not be asked."""
    facts: frozenset[Facet] = frozenset(Facet)
    charge: Callable[[tuple[Charge, ...]], bool] = lambda _: True
    decide_charged: Decide | None = None
    could_sign: Callable[[SignQuery], bool] | None = None
    query_reply: str = "rfc9987"
    is_read_only: bool = False
    """Whether clients may only list and sign."""


_OPEN = Decision(allowed=True, rule="", reason="no_rules")

MAX_TRIES = 4
"""Decisions on one request, each after another process took the last room of a count."""


def failure(outcome: str, rule: str = "") -> Reply:
    """SSH_AGENT_FAILURE, for a reason that only we get to know."""
    return Reply(_FAILURE_FRAME, outcome, rule=rule)


def _is_out_of_reach(request: Request, bindings: Bindings) -> bool:
    """Whether a request may not come over this connection.

    Loading code is refused on any that was ever bound: ssh-agent does so since CVE-2023-38408.
    """
    if bindings.is_remote and isinstance(request, _LOCAL_ONLY):
        return True
    return bindings.is_attempted and _loads_code(request)


def _loads_code(request: Request) -> bool:
    """Whether a request names a library; the FIDO support of OpenSSH itself is called `internal`."""
    if not isinstance(request, AddRequest):
        return isinstance(request, AddSmartcardRequest)
    return any(
        one.name == SK_PROVIDER and one.body != _INTERNAL for one in request.constraints.extensions
    )


def _bind(bindings: Bindings, body: bytes) -> Reply:
    """Bind a connection, locked or not; a failure of a known extension has a number of its own."""
    result = bind(bindings, body)
    frame = _EXTENSION_FAILURE_FRAME if result.refusal else _SUCCESS.frame
    return Reply(frame, result.refusal or "ok", result.bindings)


def _answer_locked(request: Request) -> Reply | Change:
    """RFC 9987 section 5.7: a locked agent lists nothing and does nothing but unlock."""
    if isinstance(request, UnlockRequest):
        return _begin_change(request)
    if isinstance(request, ListRequest):
        return Reply(EMPTY_TABLE.list_frame, "locked")
    return failure("locked")


def _answer_other(request: Request, query_reply: str) -> Reply | Change:
    """What needs neither keys nor policy."""
    if isinstance(request, ChangeRequest) and not isinstance(request, UnlockRequest):
        return _begin_change(request)
    if isinstance(request, Ssh1RemoveAllRequest):
        return _SUCCESS
    if isinstance(request, ExtensionRequest) and request.name == "query":
        return Reply(_QUERY_FRAMES[query_reply], "ok")
    return failure(_NOT_SERVED.get(type(request), "unsupported_message"))


def _begin_change(request: ChangeRequest) -> Reply | Change:
    if isinstance(request, LockRequest | UnlockRequest):
        if not request.passphrase:
            return failure("empty_passphrase")
        if len(request.passphrase) > MAX_PASSPHRASE_BYTES:
            return failure("passphrase_too_long")
    return Change(request)


class Engine:
    """One key table and one policy at a time; both are replaced whole."""

    def __init__(self, decide: Decide, table: KeyTable = EMPTY_TABLE) -> None:
        self._decide = decide
        self._table = table
        self._is_locked = False
        self._terms = Terms()
        self._is_open = self._terms.is_open
        self._is_timed = False
        self._narrowed = 0

    def replace(
        self,
        decide: Decide,
        table: KeyTable,
        *,
        is_locked: bool = False,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> None:
        """From now on answer from this table under this policy."""
        self._terms = terms
        self._is_open = terms.is_open
        self._is_timed = not terms.is_open and Facet.TIME in terms.facts
        self._decide = decide
        self._table = table
        self._is_locked = is_locked

    def narrow(self, table: KeyTable) -> None:
        """From now on answer from this table of fewer keys; all else stays.

        It gets a generation that no other has, so that signatures under way are decided again.
        """
        self._narrowed -= 1
        self._table = replace(table, generation=self._narrowed)

    def handle(
        self,
        payload: bytes,
        peer: Peer,
        now: float,
        bindings: Bindings = UNBOUND,
    ) -> Reply | SignJob | ConfirmJob | Change:
        """The answer to one request, or what is to be done first; `now` in seconds since 1970."""
        if not payload or payload[0] != _SIGN_REQUEST:
            return self._handle_other(payload, peer, now, bindings)
        try:
            key_blob, data, flags = cut_sign(payload)
        except WireError:
            return failure("malformed")
        if self._is_locked:
            return failure("locked")
        table = self._table
        entry = table.entries.get(key_blob)
        if entry is None:
            return failure("key_not_found")
        if flags & _OTHER_SIGN_FLAGS:
            return failure("unsupported_flags")
        fields = (entry, data, flags, peer, table.generation, bindings, False, "")
        job = _new(SignJob, fields)
        return job if entry.is_free and self._is_open else self._judge(job, now)

    def _handle_other(
        self, payload: bytes, peer: Peer, now: float, bindings: Bindings
    ) -> Reply | Change:
        """Anything but a request to sign."""
        try:
            request = parse_request(payload)
        except WireError:
            return failure("malformed")
        return self._answer_read(request, peer, now, bindings)

    def _answer_read(
        self, request: Request, peer: Peer, now: float, bindings: Bindings
    ) -> Reply | Change:
        """The same of one that could be read."""
        if isinstance(request, ExtensionRequest) and request.name == SESSION_BIND:
            # Locked or not: what came by a forwarded connection stays remote after an unlock.
            return _bind(bindings, request.body)
        if _is_out_of_reach(request, bindings):
            return failure("remote_connection")
        if self._terms.is_read_only and isinstance(request, ChangeRequest):
            return failure("read_only")
        if self._is_locked:
            return _answer_locked(request)
        if isinstance(request, ListRequest):
            return Reply(self._list(peer, now, bindings), "ok")
        return self._refuse_unseen(request, peer, now, bindings) or _answer_other(
            request, self._terms.query_reply
        )

    def go_on(self, job: ConfirmJob, now: float, refusal: str = "") -> Reply | SignJob:
        """What follows once a person has answered; decided again, for they took their time.

        `refusal` is the word for why they did not allow it; "" if they did.
        """
        if refusal:
            return failure(refusal)
        if self._is_locked:
            return failure("locked")
        entry = self._table.find(job.sign.entry.identity.key_blob)
        if entry is None:
            return failure("key_gone")
        generation = self._table.generation
        confirmed = job.sign._replace(entry=entry, generation=generation, is_confirmed=True)
        answer = self._judge(confirmed, now)
        return answer.sign if isinstance(answer, ConfirmJob) else answer

    def complete(
        self,
        job: SignJob,
        outcome: SignOutcome,
        now: float,
    ) -> Reply:
        """The reply to a sign request; decided again if keys, rules or hours may be others by now."""
        if isinstance(outcome, str):
            return failure(outcome)
        if self._is_locked:
            return failure("locked")
        if job.generation != self._table.generation or self._is_timed:
            entry = self._table.find(job.entry.identity.key_blob)
            if entry is None:
                return failure("key_gone")
            again = self._decide_again(job._replace(entry=entry), now)
            if isinstance(again, Reply):
                return again
            if (again.confirm or entry.must_confirm) and not job.is_confirmed:
                return failure("not_confirmed", again.confirm)
        return _new(Reply, (encode_sign_frame(outcome), "ok", None, ""))

    def settle(self, outcome: str) -> Reply:
        """The reply to a change, from the word for what came of it."""
        return _SUCCESS if outcome == "ok" else failure(outcome)

    def _refuse_unseen(
        self, request: Request, peer: Peer, now: float, bindings: Bindings
    ) -> Reply | None:
        """A key that a connection may not see it may not replace or remove either."""
        if isinstance(request, RemoveRequest):
            entry = self._table.find(request.key_blob)
            if entry and not self._shows(entry, peer, bindings, now):
                return failure("key_hidden")
        elif isinstance(request, AddRequest):
            blob = self._added_blob(request)
            entry = None if blob is None else self._table.find(blob)
        else:
            return None
        refusal = entry and refuse_sight(entry.destinations, bindings, now)
        return failure(refusal) if refusal else None

    def _shows(self, entry: TableEntry, peer: Peer, bindings: Bindings, now: float) -> bool:
        """Whether the policy lets a caller see a key: any request with it might be signed."""
        could_sign = self._terms.could_sign
        if could_sign is None:
            return True
        query = _query_of(entry, peer, bindings, now)
        if Facet.FORMAT not in self._terms.facts:
            return could_sign(query())
        return any(
            could_sign(query(signature_format=entry.format_of(flags), flags=flags))
            for flags in SERVED_SIGN_FLAGS
        )

    def _added_blob(self, request: AddRequest) -> bytes | None:
        """The blob that an added key would have, where it matters who may replace it."""
        if self._table.is_same_for_all:
            return None
        try:
            reader = Reader(request.private_fields)
            return parse_private_fields(reader, request.algorithm).public.blob
        except WireError:
            return None

    def _judge(self, job: SignJob, now: float) -> Reply | SignJob | ConfirmJob:
        """Refuse, or have a person asked, or let it be signed and count it."""
        for _ in range(MAX_TRIES):
            decision = self._decide_by(self._decide, job, now)
            if isinstance(decision, Reply):
                return decision
            if (decision.confirm or job.entry.must_confirm) and not job.is_confirmed:
                return ConfirmJob(job, decision.confirm)
            if not decision.charges or self._terms.charge(decision.charges):
                rule = decision.rule or decision.confirm
                return job._replace(rule=rule) if rule else job
        return failure("policy_rate_contended")

    def _decide_again(self, job: SignJob, now: float) -> Reply | Decision:
        """Of a signature that is made and counted: whether it may be given away."""
        return self._decide_by(self._terms.decide_charged or self._decide, job, now)

    def _decide_by(self, decide: Decide, job: SignJob, now: float) -> Reply | Decision:
        """The refusal that the key's constraints or policy demand, if they do."""
        entry = job.entry
        if entry.destinations or entry.is_ssh_only:
            refusal = _refuse_data(entry, job, now)
            if refusal:
                return failure(refusal)
        if self._terms.is_open:
            return _OPEN
        decision = decide(self._query(job, now))
        if decision.allowed:
            return decision
        return failure(f"policy_{decision.reason}", decision.rule)

    def _query(self, job: SignJob, now: float) -> SignQuery:
        """What the policy may ask about a signature; what it never asks is left out."""
        facts, entry = self._terms.facts, job.entry
        purpose = purpose_of(job.data, job.bindings, now) if Facet.PURPOSE in facts else None
        return _query_of(entry, job.peer, job.bindings, now)(
            purpose=purpose,
            signature_format=entry.format_of(job.flags) if Facet.FORMAT in facts else None,
            flags=job.flags,
        )

    def _list(self, peer: Peer, now: float, bindings: Bindings) -> bytes:
        if self._terms.could_sign is None:
            return self._table.list_for(bindings, now)
        return self._table.list_for(
            bindings, now, lambda entry: self._shows(entry, peer, bindings, now)
        )


def _query_of(
    entry: TableEntry, peer: Peer, bindings: Bindings, now: float
) -> Callable[..., SignQuery]:
    """What is known before there is anything to sign; call it with the rest."""
    identity, caller = entry.identity, peer.caller or UNKNOWN_CALLER
    return partial(
        SignQuery,
        key_blob=identity.key_blob,
        fingerprint_sha256=entry.sha256,
        fingerprint_sha512=entry.sha512,
        comment=identity.comment,
        algorithm=identity.algorithm,
        store=identity.store,
        peer_uid=peer.uid,
        peer_gid=peer.gid,
        executable=caller.executable,
        ancestors=caller.ancestors,
        is_forwarded=bindings.is_remote,
        now_s=now,
    )


def _refuse_data(entry: TableEntry, job: SignJob, now: float) -> str | None:
    """Why a key with constraints may not sign these data here."""
    signed = classify(job.data)
    if entry.is_ssh_only and signed.kind not in (DataKind.USERAUTH, DataKind.SSHSIG):
        return "not_for_ssh"
    key_blob = entry.identity.key_blob
    return refuse_use(entry.destinations, job.bindings, key_blob, signed.userauth, now)
