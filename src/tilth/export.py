"""Write a build's plan in a trainer's format, with its manifest, datasheet and decision ledger."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from tilth.core.errors import BadRecipe
from tilth.engine.local import no_space
from tilth.io.card import card
from tilth.io.files import file_bytes
from tilth.io.manifest import write_manifest

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["export", "facts"]

TOKENIZED = ("megatron", "npy")
PREFIXED = (
    "Records of the plan are read after the text in `prefix`, which is no part of `text` and must be kept out of the "
    "loss; a trainer that reads `text` alone trains on another plan"
)
WEIGHTED = (
    "The loss of a record counts by `weight` at first, and by weight + (epoch / {end:g}) (1 - weight) until epoch "
    "{end:g}, from which all count alike"
)


def export(job: Build, name: str, folder: Path, tokenizer: str) -> None:
    """Write one format into an empty folder; ``manifest.json`` comes last.

    Args:
        name: one of the recipe's formats.
        tokenizer: path of a ``tokenizer.json`` for token formats; the pool's own when empty.
    """
    if name in TOKENIZED and job.plan.conditioning is not None:
        raise BadRecipe(
            f"The plan puts {job.plan.conditioning.tags.by} before its records, to be read and not learned, and a "
            f"{name} file cannot say what is not learned. Read the build with tilth.open_stream, or export jsonl, "
            f"parquet or hf, which keep it apart from the text as `prefix`."
        )
    if name in TOKENIZED:
        job.plan.require_plain(f"What reads a {name} file", prefixes=True)
    folder.mkdir(parents=True)
    writer = importlib.import_module(f"tilth.io.export_{name}")
    options: dict[str, Any] = {}
    told = facts(job)
    if name in TOKENIZED:
        options |= _tokenizer(job, folder, tokenizer)
    elif name == "hf":
        options["facts"] = told
    with no_space(folder):
        writer.write(job.records(), folder, job.kind, **options)
        pq.write_table(job.plan.table(), folder / "decisions.parquet", compression="zstd")
        file_bytes(folder / "datasheet.md", card(told).encode())
        write_manifest(folder, job.provenance() | {"format": name})


def _tokenizer(job: Build, folder: Path, path: str) -> dict[str, Any]:
    """The tokenizer that token shards are written with, saved beside them."""
    from tilth.models.tokenizer import Tokenizer
    from tilth.signals.quality.tokens import tokenizer_of

    if path:
        made = Tokenizer.load(job.base / path)
    elif (state := job.state_of("tokens")) is not None:
        made = tokenizer_of(state)
    else:
        raise BadRecipe("Token formats need a tokenizer: state export: [{use: megatron, tokenizer: tokenizer.json}].")
    file_bytes(folder / "tokenizer.json", made.to_json().encode())
    return {"tokenizer": made, "eod": made.eod}


def facts(job: Build) -> dict[str, Any]:
    """What the datasheet says, from the columns; what is not known is left out and reads *unknown*."""
    plan, pool = job.plan, job.pool
    kept = np.flatnonzero(plan.kept)
    licenses: dict[str, int] = {}
    for value in pool.take(kept, ["license"]).column(0).to_pylist():
        licenses[value or "unknown"] = licenses.get(value or "unknown", 0) + 1
    told: dict[str, Any] = {
        "title": f"Training set {plan.fingerprint}",
        "kind": job.kind,
        "records": int(plan.repeats.sum()),
        plan.budget.unit: plan.amount,
        "sources": {name: round(share, 4) for name, share in plan.mixture().items()},
        "requested": {name: round(share, 4) for name, share in plan.requested.items()} or None,
        "realised": {name: round(share, 4) for name, share in plan.mixture().items()},
        "licenses": dict(sorted(licenses.items())),
        "sampling": [
            *(d.note for d in plan.decisions),
            *([PREFIXED] if plan.conditioning is not None else []),
            *([WEIGHTED.format(end=plan.weights.end)] if plan.weights is not None else []),
        ],
        "steps": [f"{name}: {json.dumps(s.describe(), sort_keys=True)}" for name, s in job.signals.items()],
        "dropped": {
            f"{d.policy.get('use')}: {d.reason}": int((plan.dropped_by == i).sum())
            for i, d in enumerate(plan.decisions)
        },
        "quarantined": job.imported.origin["quarantined"],
        "raw": "yes: the inputs and their hashes are listed in manifest.json",
        "versions": "tilth build with the recipe in manifest.json; equal inputs give equal bytes",
    }
    if "contamination" in job.signals:
        told["contamination"] = "the goal's holdout; overlapping records were dropped"
    if job.proof is not None:
        told["verdict"] = job.verdict.headline
    if "pii" in pool.schema.names:
        found = pool.take(kept, ["pii.total"]).column(0).to_pylist()
        told["sensitive"] = f"{sum(1 for v in found if v)} of {len(found)} records hold matches of the pii signal"
    return {key: value for key, value in told.items() if value is not None}
