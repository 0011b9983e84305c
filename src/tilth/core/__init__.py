"""The nouns. Nothing in this package knows any method; a method needs nothing but this package."""

from tilth.core.goal import Budget, Goal
from tilth.core.limits import Limits, Room
from tilth.core.method import Method
from tilth.core.plan import Conditioning, Decision, Groups, Plan, Steering, Weights, groups, take_budget, take_budgets
from tilth.core.policy import Influence, OnlinePolicy, Policy
from tilth.core.pool import Fragment, Pool, TablePool
from tilth.core.probe import Probe, World
from tilth.core.proof import Curve, CurveProof, Losses, MixtureProof, PhaseProof, Phases, Proof, mixture_losses
from tilth.core.records import KINDS, Kind, Record
from tilth.core.run import Run
from tilth.core.signal import Columns, PureSignal, Signal, Training
from tilth.core.transform import Transform

__all__ = [
    "KINDS",
    "Budget",
    "Columns",
    "Conditioning",
    "Curve",
    "CurveProof",
    "Decision",
    "Fragment",
    "Goal",
    "Groups",
    "Influence",
    "Kind",
    "Limits",
    "Losses",
    "Method",
    "MixtureProof",
    "OnlinePolicy",
    "PhaseProof",
    "Phases",
    "Plan",
    "Policy",
    "Pool",
    "Probe",
    "Proof",
    "PureSignal",
    "Record",
    "Room",
    "Run",
    "Signal",
    "Steering",
    "TablePool",
    "Training",
    "Transform",
    "Weights",
    "World",
    "groups",
    "mixture_losses",
    "take_budget",
    "take_budgets",
]
