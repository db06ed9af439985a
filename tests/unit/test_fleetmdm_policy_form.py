"""A policy that was read once is the same when it is read from its form."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pytest

from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policies, parse_policy
from fleetmdm.policy_yaml.form import FORM_VERSION, decode_form, encode_form

EVERYTHING = b"""\
id: all.of-it
name: Everything that the language has
description: d
severity: critical
rationale: r
remediation: fix it
references: [{framework: CIS, control: "1.1"}, {framework: NIST, control: AC-2, url: "https://x.example/"}]
tags: [a, b]
enabled: true
on_missing: fail
grace: 36h
targets:
  os: [linux]
  tags: [web]
  os_version: {op: version_gte, value: "12.1", scheme: dpkg}
  where: {any: [{key: a.b, op: exists}, {key: 'disks[*]."odd name"', op: in, value: [1, 1.5, x, true]}]}
parameters: {limit: 5, words: [x, y]}
checks:
  - {key: n, op: lte, value: "${limit}", message: "over ${limit}", severity: low, on_missing: pass}
  - all:
      - {not: {key: w, op: in, value: "${words}"}}
      - {none: [{key: z, op: eq, value: 1.0}, {key: z, op: eq, value: 1}]}
    when: {key: os, op: eq, value: linux}
  - {key: seen, op: within, value: 14d}
tests:
  - {name: good, device: {os: linux, tags: [web], facts: {n: 1, deep: {m: [null, 1.0]}}}, expect: pass}
  - {name: later, device: {facts: {}}, as_of: "2026-01-02T03:04:05+02:00", expect: notapplicable}
"""
ASKED = b"id: q\nname: Q\nattestation: {question: Is it?, period: 90d}\nenabled: false\n"

LIBRARY = [
    parse_policy(policy.source, name=policy.id)
    for path in files("fleetmdm.policies").iterdir()
    if path.name.endswith(".yaml")
    for policy in parse_policies(path.read_bytes(), name=path.name)
]
ODD = [parse_policy(source, name="p") for source in (EVERYTHING, ASKED)]


@pytest.mark.parametrize("policy", [*LIBRARY, *ODD], ids=lambda each: str(each.id))
def test_a_form_is_the_policy_that_its_source_is_read_as(policy: CompliancePolicy) -> None:
    again = decode_form(encode_form(policy), policy.source)
    assert again == policy
    # Equal values of other types, such as 1 and 1.0, are told apart by what they look like.
    assert repr(again) == repr(policy)


def test_what_is_read_otherwise_is_another_version() -> None:
    """Where this fails, sources are read otherwise than before: raise `FORM_VERSION`."""
    digests = {hashlib.sha256(encode_form(policy)).hexdigest()[:16] for policy in ODD}
    assert (FORM_VERSION, sorted(digests)) == (1, ["83468c872c27df83", "943bd52ba5b652fd"])
