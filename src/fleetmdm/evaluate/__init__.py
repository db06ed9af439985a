"""The evaluator: column batches in, verdicts out. Pure; knows no store, no clock, no file.

Read `run` first. Meaning: docs/policy-language.md, tested cell by cell; `operators` is the table.
"""

from fleetmdm.evaluate.operators import OPERATORS
from fleetmdm.evaluate.run import Evaluator, compile_policies, evaluate, run_programs
from fleetmdm.evaluate.verdicts import VerdictBatch

EVALUATOR_VERSION = 1
"""Raised with every change that lets any verdict or finding come out otherwise: then runs judge
everything again instead of building on what the version before found."""

__all__ = [
    "EVALUATOR_VERSION",
    "OPERATORS",
    "Evaluator",
    "VerdictBatch",
    "compile_policies",
    "evaluate",
    "run_programs",
]
