"""Keys of PKCS#11 modules in the supervisor's hands, and on their way there."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from secretivex.identity import AddRules
from secretivex.server.client_keys import ClientKeys
from secretivex.stores.token.loaded import (
    LoadedModule,
    encode_loaded_module,
    parse_loaded_module,
)
from secretivex.stores.token.tools import TokenTools
from sshwire.agent.constraints import (
    ASSOCIATED_CERTS,
    RESTRICT_DESTINATION,
    SK_PROVIDER,
    ConstraintExtension,
    Constraints,
)
from sshwire.agent.requests import AddSmartcardRequest
from sshwire.errors import WireError
from sshwire.privkey import PrivateKey
from sshwire.pubkey import PublicKey
from sshwire.token.pkcs11_helper import TokenKey
from sshwire.wire import (
    encode_boolean,
    encode_string,
    encode_text,
    encode_uint32,
    encode_uint64,
)

MODULE = "/usr/lib/module.so"


def ed25519() -> PrivateKey:
    secret = Ed25519PrivateKey.generate()
    point = secret.public_key().public_bytes_raw()
    blob = encode_text("ssh-ed25519") + encode_string(point)
    return PrivateKey(PublicKey("ssh-ed25519", blob), "", secret)


def certificate_of(key: PrivateKey, authority: PrivateKey) -> bytes:
    """PROTOCOL.certkeys, with nothing in it but what must be."""
    body = (
        encode_text("ssh-ed25519-cert-v01@openssh.com")
        + encode_string(bytes(32))
        + key.public.blob[len(encode_text("ssh-ed25519")) :]
        + encode_uint64(0)
        + encode_uint32(1)
        + encode_text("id")
        + encode_string(b"")
        + encode_uint64(0)
        + encode_uint64(2**64 - 1)
        + encode_string(b"") * 3
        + encode_string(authority.public.blob)
    )
    return body + encode_string(authority.sign(body))


def loaded(*keys: TokenKey, constraints: Constraints | None = None) -> LoadedModule:
    request = AddSmartcardRequest(MODULE, b"1234", constraints or Constraints())
    return LoadedModule(request, keys)


def client_keys(max_keys: int = 9) -> ClientKeys:
    return ClientKeys(AddRules(), TokenTools(), max_keys=max_keys)


def with_certificates(*certificates: bytes, only: bool) -> Constraints:
    body = encode_boolean(only) + encode_string(b"".join(map(encode_string, certificates)))
    return Constraints(extensions=(ConstraintExtension(ASSOCIATED_CERTS, body),))


def test_a_module_s_keys_are_held_without_secrets_and_with_what_opens_the_module() -> None:
    keys, one = client_keys(), ed25519()
    assert keys.add_module(loaded(TokenKey(one.public.blob, "label")), 0.0) == "ok"
    (record,) = keys.merge(())
    assert (record.identity.key_blob, record.identity.comment) == (one.public.blob, "label")
    assert record.private_fields == b""
    assert (record.restrictions.provider, record.restrictions.pin) == (MODULE, b"1234")
    assert "1234" not in repr(record)


def test_a_key_without_a_label_is_called_after_its_module() -> None:
    keys = client_keys()
    keys.add_module(loaded(TokenKey(ed25519().public.blob, "")), 0.0)
    assert keys.merge(())[0].identity.comment == MODULE


def test_a_module_that_brings_no_new_key_is_refused() -> None:
    keys, one = client_keys(), ed25519()
    offer = loaded(TokenKey(one.public.blob, "label"))
    assert keys.add_module(offer, 0.0) == "ok"
    assert keys.add_module(offer, 0.0) == "no_new_key"
    assert keys.add_module(loaded(), 0.0) == "no_new_key"


def test_a_module_is_removed_with_its_keys_and_nothing_else() -> None:
    keys, one = client_keys(), ed25519()
    keys.add_module(loaded(TokenKey(one.public.blob, "label")), 0.0)
    assert keys.remove_module("/usr/lib/other.so") == "ok"
    assert len(keys.merge(())) == 1
    assert keys.remove_module(MODULE) == "ok"
    assert keys.merge(()) == ()
    assert keys.add_module(loaded(TokenKey(one.public.blob, "label")), 0.0) == "ok"


def test_a_module_s_keys_have_the_lifetime_that_the_client_gave() -> None:
    keys, one = client_keys(), ed25519()
    offer = loaded(TokenKey(one.public.blob, "label"), constraints=Constraints(lifetime_s=5))
    keys.add_module(offer, 100.0)
    assert keys.next_expiry == 105.0
    assert keys.expire(105.0) == (one.public.blob,)


def test_no_more_keys_are_held_than_there_is_room_for() -> None:
    keys = client_keys(max_keys=2)
    offer = loaded(*(TokenKey(ed25519().public.blob, str(number)) for number in range(3)))
    assert keys.add_module(offer, 0.0) == "ok"
    assert len(keys.merge(())) == 2


@pytest.mark.parametrize("only", [False, True])
def test_certificates_that_come_along_are_offered_with_the_key_they_are_of(only: bool) -> None:
    keys, one, other, authority = client_keys(), ed25519(), ed25519(), ed25519()
    mine, foreign = certificate_of(one, authority), certificate_of(other, authority)
    constraints = with_certificates(foreign, mine, only=only)
    assert keys.add_module(loaded(TokenKey(one.public.blob, "k"), constraints=constraints), 0.0)
    blobs = [record.identity.key_blob for record in keys.merge(())]
    assert blobs == ([mine] if only else [one.public.blob, mine])


@pytest.mark.parametrize(
    ("extension", "outcome"),
    [
        (ConstraintExtension(SK_PROVIDER, encode_text("internal")), "unsupported_constraint"),
        (ConstraintExtension(RESTRICT_DESTINATION, encode_string(b"x")), "bad_key"),
        (ConstraintExtension(ASSOCIATED_CERTS, b"\1" + encode_string(b"xxxx")), "bad_key"),
    ],
)
def test_a_constraint_that_cannot_be_enforced_refuses_the_whole_module(
    extension: ConstraintExtension, outcome: str
) -> None:
    keys = client_keys()
    constraints = Constraints(extensions=(extension,))
    offer = loaded(TokenKey(ed25519().public.blob, "k"), constraints=constraints)
    assert keys.add_module(offer, 0.0) == outcome
    assert keys.merge(()) == ()


def test_keys_travel_to_the_supervisor_as_they_were_found() -> None:
    offer = loaded(TokenKey(b"blob", "label"), constraints=Constraints(lifetime_s=5))
    assert parse_loaded_module(encode_loaded_module(offer)) == offer
    assert "1234" not in repr(offer)


@given(st.binary(max_size=64))
def test_noise_on_that_way_is_a_wire_error(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_loaded_module(body)
