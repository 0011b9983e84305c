"""Recipes: one YAML file from pools to a proven training set.

The whole of a recipe::

    sources:                                   # name: path, or what is known about it
      web:  {path: data/web/*.jsonl.zst, license: CC-BY-4.0}
      docs: data/docs/**/*.md
    goal:
      target: target.jsonl
      holdout: holdout.jsonl
      budget: 20M tokens
      limits: {repeats: 4, floor: {docs: 0.1}, ceiling: {web: 0.6}, licenses: [CC-BY-4.0, MIT]}
    signals: [quality, {use: minhash, threshold: 0.8}]
    plan:
      - keep: "not minhash.duplicate"          # a policy's first field may be given directly
      - {use: regmix, trials: 64}
    proof: {use: ngram, seeds: 5, against: [random, natural]}
    tournament:                                # candidates of `tilth tournament`, each in place of the plan's last
      small: {use: regmix, trials: 32}
      flat: stratified
    export: [jsonl, {use: parquet}]
    seed: 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tilth.core.errors import BadRecipe
from tilth.core.goal import Budget
from tilth.core.limits import Limits
from tilth.core.records import Kind

__all__ = ["ExportSpec", "GoalSpec", "ProofSpec", "Recipe", "SourceSpec", "override", "parse"]

EXPORTS = ("jsonl", "parquet", "hf", "megatron", "npy")
BASELINES = ("random", "natural", "stratified", "length_matched", "worst")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSpec(_Strict):
    """One source: files, and what is known about them."""

    path: str | list[str] = Field(description="file, folder or glob, relative to the recipe")
    license: str | None = Field(None, description="licence of records that do not state their own")
    kind: Kind | None = Field(None, description="kind of records; detected when absent")
    fields: dict[str, str] = Field({}, description="our field -> the input's name for it; detected when absent")

    @property
    def paths(self) -> list[str]:
        """The patterns as a list."""
        return [self.path] if isinstance(self.path, str) else self.path


class TargetSpec(_Strict):
    """One of several goals: its examples and its weight."""

    path: str
    weight: float = Field(1.0, gt=0)


class LimitsSpec(_Strict):
    """What every mixture must keep to."""

    repeats: float | None = Field(None, ge=1, description="most epochs of a source")
    kl: float | None = Field(None, gt=0, description="most KL(mixture || natural shares), in nats")
    floor: dict[str, float] = Field({}, description="source -> least share")
    ceiling: dict[str, float] = Field({}, description="source -> most share")
    licenses: list[str] | None = Field(None, description="licences records may have; others are left out")


class GoalSpec(_Strict):
    """What for, and how much."""

    target: str | dict[str, TargetSpec | str] = Field(description="examples policies may look at")
    holdout: str | dict[str, TargetSpec | str] = Field(description="examples only the proof may see")
    budget: str | int = Field(description="such as 20M tokens or 5000 records")
    limits: LimitsSpec = Field(LimitsSpec(), description="bounds on sources' shares, epochs and licences")

    @property
    def bounds(self) -> Limits:
        """The limits, checked against each other."""
        return Limits.of(self.limits.model_dump())

    @field_validator("budget")
    @classmethod
    def _readable(cls, value: str | int) -> str | int:
        Budget.parse(value)
        return value

    def files(self, part: Literal["target", "holdout"]) -> dict[str, TargetSpec]:
        """Goal name -> file and weight."""
        value = getattr(self, part)
        named = {"goal": value} if isinstance(value, str) else value
        return {n: TargetSpec(path=v) if isinstance(v, str) else v for n, v in named.items()}


class ProofSpec(_Strict):
    """Which proof, with how many seeds, against which baselines."""

    method: dict[str, Any]
    seeds: int = Field(5, ge=2, le=1000)
    against: list[str | dict[str, Any]] = list(BASELINES)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """``{use: ngram, seeds: 5, order: 3}``: what is not ours belongs to the method."""
        if isinstance(value, str):
            value = {"use": value}
        if not isinstance(value, dict) or "method" in value:
            return value
        ours = {k: v for k, v in value.items() if k in ("seeds", "against")}
        return ours | {"method": {k: v for k, v in value.items() if k not in ours}}


class ExportSpec(_Strict):
    """One format to write."""

    use: Literal["jsonl", "parquet", "hf", "megatron", "npy"]
    tokenizer: str = Field("", description="tokenizer.json for token shards; trained on the pool when empty")


class Recipe(_Strict):
    """Everything a build depends on."""

    sources: dict[str, SourceSpec] = Field(min_length=1)
    goal: GoalSpec | None = None
    signals: list[dict[str, Any]] = []
    plan: list[dict[str, Any]] = []
    proof: ProofSpec | None = None
    tournament: dict[str, dict[str, Any]] = Field({}, description="label -> policy, for `tilth tournament`")
    export: list[ExportSpec] = []
    decontaminate: bool = Field(True, description="drop records that overlap the holdout from the plan and its rivals")
    seed: int = Field(0, ge=0)

    @field_validator("sources", mode="before")
    @classmethod
    def _sources(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: {"path": v} if isinstance(v, (str, list)) else v for k, v in value.items()}
        return value

    @field_validator("export", mode="before")
    @classmethod
    def _exports(cls, value: Any) -> Any:
        items = [value] if isinstance(value, (str, dict)) else value
        return [{"use": v} if isinstance(v, str) else v for v in items] if isinstance(items, list) else items

    @field_validator("signals", "plan", mode="before")
    @classmethod
    def _methods(cls, value: Any) -> Any:
        return [_method(v) for v in value] if isinstance(value, list) else value

    @field_validator("tournament", mode="before")
    @classmethod
    def _labelled(cls, value: Any) -> Any:
        if isinstance(value, list):
            named = [
                (str(method["use"]) if isinstance(method, dict) else v, v) for v in value for method in [_method(v)]
            ]
            if len({label for label, _ in named}) < len(named):
                raise ValueError("a policy is listed twice; give each a label: {label: {use: ..., ...}}")
            value = dict(named)
        return {str(k): _method(v) for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.goal:
            _ = self.goal.bounds
            for name in [*self.goal.limits.floor, *self.goal.limits.ceiling]:
                if name not in self.sources:
                    raise ValueError(
                        f"goal.limits name {name!r}, which is none of the sources {', '.join(self.sources)}"
                    )
        if self.proof and not self.goal:
            raise ValueError("a proof needs a goal: state goal: {target: ..., holdout: ..., budget: ...}")
        if self.plan and not self.goal:
            raise ValueError("a plan needs a goal with a budget: state goal: {target: ..., holdout: ..., budget: ...}")
        return self


def _method(value: Any) -> Any:
    """``name`` | ``{use: name, ...}`` | ``{name: value of its first field}`` | ``{name: {field: value}}``."""
    if isinstance(value, str):
        return {"use": value}
    if isinstance(value, dict) and "use" not in value and len(value) == 1:
        ((name, given),) = value.items()
        if isinstance(given, dict):
            return {"use": name, **given}
        from tilth import catalog

        first = next(iter(catalog.find(name).model_fields), None)
        if first is None:
            raise ValueError(f"{name} has no field that {given!r} could be the value of")
        return {"use": name, first: given}
    return value


def parse(text: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from YAML and ``key=value`` overrides.

    Raises:
        BadRecipe: naming the key, what was expected and the nearest right one.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadRecipe(f"The recipe is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise BadRecipe("A recipe is a YAML mapping with at least `sources:`. `tilth init` writes one.")
    for text_override in overrides:
        override(raw, text_override)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise BadRecipe(_explain(error)) from None


def override(raw: dict[str, Any], text: str) -> None:
    """Apply ``goal.budget=5M`` or ``plan.1.trials=32`` to the raw mapping, in place."""
    path, equals, value = text.partition("=")
    if not equals:
        raise BadRecipe(f"An override reads key=value, such as goal.budget=5M. Got {text!r}.")
    where: Any = raw
    keys: list[str | int] = [int(k) if k.isdigit() else k for k in path.split(".")]
    try:
        for key in keys[:-1]:
            where = where.setdefault(key, {}) if isinstance(where, dict) else where[key]
        where[keys[-1]] = yaml.safe_load(value)
    except (KeyError, IndexError, TypeError) as error:
        raise BadRecipe(f"There is nothing at {path!r} in the recipe to override ({error}).") from None


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a file."""
    return parse(read(path), overrides)


def read(path: Path) -> str:
    """A recipe's text.

    Raises:
        BadRecipe: when there is no such file.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(f"Cannot read the recipe {path}: {error}. `tilth init` writes one for your files.") from None


_MODELS: Mapping[str, type[BaseModel]] = {
    "goal": GoalSpec,
    "limits": LimitsSpec,
    "sources": SourceSpec,
    "export": ExportSpec,
}


def _explain(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        where = ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            at = item["loc"]
            model = _MODELS.get(str(at[-2]), _MODELS.get(str(at[0]), Recipe)) if len(at) > 1 else Recipe
            near = get_close_matches(str(item["loc"][-1]), [*model.model_fields], n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(model.model_fields)}."
            parts.append(f"Unknown key {where!r}. {hint}")
        elif item["type"] == "missing":
            parts.append(f"Missing key {where!r}.")
        else:
            parts.append(f"{where or 'recipe'}: {item['msg'].removeprefix('Value error, ')}.")
    return " ".join(parts)
