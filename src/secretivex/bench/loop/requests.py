"""The requests of a scenario, no two with the same data, and the check of a sample of replies."""

from __future__ import annotations

from typing import Final

from secretivex.bench.scenario import Scenario
from secretivex.bench.tally import Sample
from sshwire.agent.connection import encode_frame
from sshwire.agent.numbers import ReplyNumber
from sshwire.agent.replies import IdentitiesAnswer, SignResponse, parse_reply
from sshwire.agent.requests import ListRequest, SignRequest, encode_request
from sshwire.errors import WireError
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

SERIAL_BYTES: Final = 8
FLAGS_BYTES: Final = 4


class Requests:
    """Makes frames and judges replies; `filler` is what the data are padded with."""

    def __init__(self, scenario: Scenario, filler: bytes) -> None:
        self._is_list = scenario.mode == "list"
        self._key_blob = scenario.key_blob
        self._tail = filler[: max(0, scenario.payload_bytes - SERIAL_BYTES)]
        self.expected = int(
            ReplyNumber.IDENTITIES_ANSWER if self._is_list else ReplyNumber.SIGN_RESPONSE
        )
        if self._is_list:
            self._head, self._rest = encode_frame(encode_request(ListRequest())), b""
        else:
            data = bytes(SERIAL_BYTES) + self._tail
            frame = encode_frame(encode_request(SignRequest(self._key_blob, data, scenario.flags)))
            at = len(frame) - FLAGS_BYTES - len(data)
            self._head, self._rest = frame[:at], frame[at + SERIAL_BYTES :]

    def frame(self, serial: int) -> bytes:
        """The bytes to send for the request of this number."""
        if self._is_list:
            return self._head
        return self._head + serial.to_bytes(SERIAL_BYTES, "big") + self._rest

    def is_good(self, sample: Sample) -> bool:
        """Whether a reply is what was asked for: a signature that verifies, or a list."""
        try:
            reply = parse_reply(sample.reply)
            if self._is_list:
                return isinstance(reply, IdentitiesAnswer)
            if not isinstance(reply, SignResponse):
                return False
            data = sample.serial.to_bytes(SERIAL_BYTES, "big") + self._tail
            verify_signature(parse_public_key(self._key_blob), reply.signature, data)
        except WireError:
            return False
        return True
