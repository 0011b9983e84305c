"""`tilth init`: a commented recipe for the files somebody has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from tilth.core.errors import BadInput
from tilth.io.detect import detect
from tilth.io.importer import sample
from tilth.io.reader import expand

__all__ = ["starter"]

MANY = 30


def starter(paths: Sequence[str], budget: str) -> str:
    """A recipe as YAML text. Files named like ``*target*`` and ``*holdout*`` become the goal.

    Raises:
        BadInput: when a path matches nothing or its kind cannot be told.
    """
    target, holdout = "target.jsonl", "holdout.jsonl"
    pools: dict[str, str] = {}
    kinds = []
    for pattern in paths:
        found = expand(pattern, Path())
        # a handful of files are a source each; a folder of many is one
        for path, files in [(str(p), [p]) for p in found] if len(found) <= MANY else [(pattern, found)]:
            name = Path(path).name.partition(".")[0].replace("*", "all") or "pool"
            if "target" in name:
                target = path
            elif "holdout" in name:
                holdout = path
            else:
                kinds.append(detect(sample(files[0])).kind)
                pools[name if name not in pools else f"{name}_{len(pools)}"] = path
    if not pools:
        raise BadInput("None of these files can be a source; name at least one that is not the target or holdout.")
    if len(set(kinds)) > 1:
        raise BadInput(
            f"These files hold different kinds of records ({', '.join(sorted(set(kinds)))}): one recipe each."
        )
    sources = "".join(f"  {_quoted(n)}: {{path: {_quoted(p)}, license: unknown}}\n" for n, p in pools.items())
    mix = (
        "  - {use: regmix, trials: 64}"
        if len(pools) > 1
        else "  - {use: sample, by: importance.per_token, temperature: 1}"
    )
    return f"""\
# Written by `tilth init`. Run it with: tilth build recipe.yaml      (--dry-run first tells what it will take)
# `tilth list` names every method, `tilth show NAME` explains one.
sources:                    # {kinds[0]} records; state the licence of each
{sources}
goal:
  target: {_quoted(target)}    # examples of what the model should be good at; policies look at these
  holdout: {_quoted(holdout)}  # other examples of it; only the proof looks at these
  budget: {budget}

signals:                    # measured for every record, nothing is dropped yet
  - quality
  - exact_duplicate
  - {{use: minhash, threshold: 0.8}}

plan:                       # decided in this order
  - keep: "not exact_duplicate.duplicate and not minhash.duplicate"
{mix}

proof: {{use: ngram, seeds: 5}}   # against: [random, natural, stratified, length_matched, worst]
export: [jsonl]
seed: 0
"""


def _quoted(text: str) -> str:
    """A YAML scalar that reads back as this text, whatever is in it."""
    return yaml.safe_dump(text, default_style='"', width=10_000).strip()
