"""Random operations over several connections and workers, against the model of agent_model.

Here the agent is a function; tests/peers/server has the same for real processes.
"""

from __future__ import annotations

import os

import pytest
from agent_model import OPERATIONS, Checker, Op, write_key_file
from hypothesis import given, settings
from hypothesis import strategies as st
from local_agent import LocalAgent, setup_of

from secretivex.loading import AgentSetup

SEQUENCES = 600
LONG_SEQUENCES = 10_000


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> AgentSetup:
    return setup_of(write_key_file(tmp_path_factory.mktemp("model")))


def run(setup: AgentSetup, operations: list[Op]) -> None:
    checker = Checker(LocalAgent(setup))
    for operation in operations:
        checker.do(operation)


@given(operations=st.lists(OPERATIONS, min_size=10, max_size=25))
@settings(max_examples=max(SEQUENCES, int(os.environ.get("FUZZ_EXAMPLES", "0"))))
def test_every_connection_agrees_with_the_model(setup: AgentSetup, operations: list[Op]) -> None:
    run(setup, operations)


@pytest.mark.long
@given(operations=st.lists(OPERATIONS, max_size=60))
@settings(max_examples=LONG_SEQUENCES)
def test_thousands_of_long_sequences_agree_with_the_model(
    setup: AgentSetup, operations: list[Op]
) -> None:
    run(setup, operations)
