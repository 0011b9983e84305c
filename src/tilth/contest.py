"""From a recipe to a tournament: which policies take part, what they start from, and who is compared with whom."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tilth import catalog
from tilth.core.errors import BadRecipe, TilthError
from tilth.core.method import digest
from tilth.core.plan import Plan
from tilth.core.policy import OnlinePolicy, Policy
from tilth.core.records import FIELDS
from tilth.engine.local import write_atomic
from tilth.engine.tournament import Entry, Tournament, cost, tournament
from tilth.recipe import BASELINES

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["Contest", "parse_policies"]

INFORMED = ("length_matched", "worst")  # they are made from one plan, and here there are many
UNINFORMED = tuple(name for name in BASELINES if name not in INFORMED)


@dataclass
class Contest:
    """A tournament over a recipe.

    The recipe's policies before its last are *shared*: they revise the plan first, and every candidate and every
    baseline starts from what they leave. So the tournament is about the last step only.

    Attributes:
        of: the build whose pool, goal and proof are used.
        policies: candidates by name, label or ``name[field=value, ...]``; when empty those of the recipe's
            ``tournament`` section, and without one every policy that needs nothing that is not there.
        shared: how many of the recipe's policies are shared; all but the last by default.
        halving: try everyone cheaply first and only the best at full scale.
    """

    of: Build
    policies: Sequence[str] = ()
    shared: int | None = None
    halving: bool = False

    # ---- who takes part ----------------------------------------------------------------------

    @cached_property
    def _chosen(self) -> tuple[dict[str, Policy], dict[str, str]]:
        """Candidates by label, and why others do not take part."""
        recipe = self.of.recipe
        if self.policies:
            specs = {label: recipe.tournament.get(label, spec) for label, spec in parse_policies(self.policies).items()}
        elif recipe.tournament:
            specs = dict(recipe.tournament)
        else:
            return self._applicable()
        found: dict[str, Policy] = {}
        for label, spec in specs.items():
            policy = _planning(catalog.build(spec))
            if not isinstance(policy, Policy):
                raise BadRecipe(f"tournament: {policy.name()!r} is a {policy.noun()}, not a policy.")
            found[label] = policy
        return found, {}

    def _applicable(self) -> tuple[dict[str, Policy], dict[str, str]]:
        """Every policy that works with its defaults on this pool, the recipe's last one with its own settings."""
        found: dict[str, Policy] = {}
        why: dict[str, str] = {}
        for name, module in catalog.names().items():
            if not module.startswith("tilth.policies.") or name in self.baselines:
                continue
            cls = catalog.find(name)
            if not issubclass(cls, (Policy, OnlinePolicy)) or inspect.isabstract(cls):
                continue
            own = [p for p in self.of.policies[len(self.shared_policies) :] if p.name() == name]
            if issubclass(cls, OnlinePolicy) and not (self.of.proof is not None and self.of.proof.steps):
                why[name] = "decides while training, and the proof does not train step by step"
                continue
            try:
                policy = own[-1] if own else _planning(cls())
            except TilthError as error:
                why[name] = f"does not work with defaults alone: {error}"
                continue
            lacking = [column for column in policy.needs if not self._can_read(column)]
            if lacking:
                why[name] = f"needs the column {lacking[0]}, which neither the pool nor any signal makes"
                continue
            found[name] = policy
        return found, why

    def _can_read(self, column: str) -> bool:
        top = column.partition(".")[0]
        own = {"id", "source", "license", "text", *FIELDS[self.of.kind]}
        signals = {name for name, module in catalog.names().items() if module.startswith("tilth.signals.")}
        aliases = {str(spec.get("as", spec["use"])) for spec in self.of.recipe.signals}
        return column in own or top in own | signals | aliases

    @property
    def candidates(self) -> dict[str, Policy]:
        """Label -> policy."""
        return self._chosen[0]

    @cached_property
    def baselines(self) -> dict[str, Any]:
        """Name -> the baseline's recipe entry: those of the proof that need no plan to be made from."""
        proof = self.of.recipe.proof
        against = proof.against if proof is not None else UNINFORMED
        named = {spec if isinstance(spec, str) else str(spec.get("use")): spec for spec in against}
        return {name: spec for name, spec in named.items() if name not in INFORMED} or {n: n for n in UNINFORMED}

    # ---- what they start from ----------------------------------------------------------------

    @property
    def shared_policies(self) -> list[Policy]:
        """The policies that revise the plan first, for everyone."""
        count = max(0, len(self.of.policies) - 1) if self.shared is None else self.shared
        if not 0 <= count <= len(self.of.policies):
            raise BadRecipe(f"--shared is at most the number of the plan's policies, {len(self.of.policies)}.")
        return self.of.policies[:count]

    @cached_property
    def build(self) -> Build:
        """The build, with the signals that the candidates need."""
        baselines = [catalog.build(spec) for spec in self.baselines.values()]
        needs = [c for policy in (*self.candidates.values(), *baselines) for c in policy.needs]
        return replace(self.of, more_needs=tuple(dict.fromkeys([*self.of.more_needs, *needs])))

    @cached_property
    def begin(self) -> Plan:
        """What the shared policies leave, whatever its size."""
        return self.build.revised(self.build.start, self.shared_policies, "plan")

    def entry(self, policy: Policy, place: str) -> Entry:
        """A policy's place in the tournament; its plan lies in ``tournament/entries/`` under the entry's key."""
        build, prefix = self.build, self.shared_policies
        needs = {c.partition(".")[0] for p in (*prefix, policy) for c in p.needs} | {"tokens", "contamination"}
        key = digest(
            [
                "entry",
                place,
                [p.fingerprint() for p in (*prefix, policy)],
                [[n, build.pool.column_fingerprint(n)] for n in sorted(needs & {*build.signals})],
                build.pool.fingerprint,
                build.goal.fingerprint if build.goal else "",
                build.recipe.decontaminate,
                build.recipe.seed,
            ]
        )
        return Entry(key, partial(self._plan, policy, place), (policy.describe(),), lambda: self.begin)

    def _lacks(self, policy: Policy) -> str:
        """Which signal that the policy needs could not be made, and why; empty when none."""
        tops = [column.partition(".")[0] for column in policy.needs]
        return "; ".join(f"its signal {n} failed: {self.build.unmade[n]}" for n in tops if n in self.build.unmade)

    def _plan(self, policy: Policy, place: str) -> Plan:
        return self.build.planned([policy], place, self.begin, len(self.shared_policies))

    @property
    def trials(self) -> float:
        """What the trials of one seed cost at most, in trials of full scale."""
        proof = self.of.proof
        return cost(proof, len(self.candidates), len(self.baselines), self.halving) if proof is not None else 0.0

    # ---- the result --------------------------------------------------------------------------

    @cached_property
    def result(self) -> Tournament:
        """The tournament; also written as ``tournament/tournament.json`` and ``tournament/seconds.json``."""
        proof, spec = self.build.proof, self.build.recipe.proof
        if proof is None or spec is None or self.build.goal is None:
            raise BadRecipe("A tournament needs a proof: state proof: {use: ngram, seeds: 5}.")
        if not self.candidates:
            why = "; ".join(f"{name} {because}" for name, because in self._chosen[1].items())
            raise BadRecipe(f"No policy can take part ({why}). Name some with --policies a,b,c.")
        folder = self.build.out / "tournament"
        self.build.pool  # noqa: B018
        lacking = {label: why for label, policy in self.candidates.items() if (why := self._lacks(policy))}
        found = tournament(
            proof,
            {label: self.entry(p, "plan") for label, p in self.candidates.items() if label not in lacking},
            {name: self.entry(catalog.build(s), f"against {name}") for name, s in self.baselines.items()},
            self.build.pool,
            self.build.goal,
            folder,
            seeds=spec.seeds,
            run=self.build.run,
            workers=self.build.workers,
            missing=self._chosen[1] | lacking,
            halving=self.halving,
        )
        write_atomic(folder / "tournament.json", json.dumps(self._told(found), indent=1, default=str).encode())
        write_atomic(folder / "seconds.json", json.dumps(found.seconds(), indent=1).encode())
        return found

    def _told(self, found: Tournament) -> dict[str, Any]:
        return found.as_dict() | {"shared": [policy.describe() for policy in self.shared_policies]}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``: ``tournament.json`` with the seconds that each plan took."""
        return self._told(self.result) | {"seconds": self.result.seconds()}

    def finish(self) -> tuple[Tournament, Path]:
        """The tournament and the path of its page."""
        from tilth.report.tournament import write_tournament

        return self.result, write_tournament(self, self.result)


def _planning(method: Any) -> Any:
    """An online policy in a plan that it steers; anything else as it is."""
    return catalog.build({"use": "steered", "policy": method}) if isinstance(method, OnlinePolicy) else method


def parse_policies(texts: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Labels and recipe entries from ``a,b[field=1]``; what is written is the label.

    >>> parse_policies(["natural,regmix[trials=32, cap=2]"])
    {'natural': {'use': 'natural'}, 'regmix[trials=32, cap=2]': {'use': 'regmix', 'trials': 32, 'cap': 2}}

    Raises:
        BadRecipe: when brackets do not close, a setting is not ``field=value``, or a label comes twice.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for text in texts:
        for label in _split(text):
            name, bracket, inside = label.partition("[")
            if bracket and not inside.endswith("]"):
                raise BadRecipe(f"A policy with settings reads name[field=value, ...]. Got {label!r}.")
            spec: dict[str, Any] = {"use": name.strip()}
            for setting in _split(inside[:-1]) if bracket else ():
                key, equals, value = setting.partition("=")
                if not equals or not key.strip():
                    raise BadRecipe(f"A setting reads field=value. Got {setting!r} in {label!r}.")
                spec[key.strip()] = yaml.safe_load(value)
            if label in found:
                raise BadRecipe(f"{label!r} is named twice.")
            found[label] = spec
    if not found:
        raise BadRecipe("--policies names no policy; leave it out to run all that apply.")
    return found


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside brackets, braces and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    if depth or quote:
        raise BadRecipe(f"Brackets or quotes do not close in {text!r}.")
    return [part.strip() for part in parts if part.strip()]
