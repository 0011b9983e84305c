"""One sequence of records, whoever reads it: every layout of ranks and workers, broken off or not, one hash.

    python scripts/stream_matrix.py

On the sample that ships with tilth: 1, 2 and 4 worker processes, 1, 2 and 3 ranks, undisturbed and broken off at five
random steps, after each of which another layout goes on from the saved state. Printed: the hash of records and ids of
every reading, and whether all are one. Ends with 1 if they are not.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tilth.core import Budget, Plan, TablePool
from tilth.engine.stream import PACKINGS, Packing, Stream
from tilth.io.streams import blocks, lines
from tilth.models.tokenizer import Tokenizer

DATA = Path(__file__).parents[1] / "examples" / "data"
NAMES = ("chat", "encyclopedia", "fiction", "health", "languages", "law", "science", "techdocs")
BATCH = 12


@dataclass(frozen=True)
class Layout:
    """How many processes read."""

    ranks: int
    workers: int


def sample() -> TablePool:
    """The sample's texts and sources."""
    rows: dict[str, list[Any]] = {"text": [], "source": []}
    for name in NAMES:
        for _, line, _ in lines(blocks(DATA / f"{name}.jsonl.zst")):
            rows["text"].append(orjson.loads(line)["text"])
            rows["source"].append(name)
    tokens = pa.array([{"count": len(text) // 4 + 1} for text in rows["text"]])
    return TablePool(pa.table(rows).append_column("tokens", tokens))


def read(settings: Mapping[str, Any], layouts: Sequence[Layout], cuts: Sequence[int]) -> str:
    """The hash of what is read when a layout reads up to each cut and the next goes on."""
    h = hashlib.sha256()
    state: dict[str, Any] | None = None
    for layout, stop in zip(itertools.cycle(layouts), [*cuts, 1 << 60], strict=False):
        parts: list[list[Mapping[str, Any]]] = []
        for rank in range(layout.ranks):
            stream = Stream(**settings, rank=rank, world=layout.ranks)
            if state is not None:
                stream.load_state_dict(state)
            mine = []
            if stream.step < min(stop, stream.steps):
                for step in stream.loader(layout.workers):
                    mine.append(step)
                    if step["step"] + 1 >= stop:
                        break
            parts.append(mine)
            after = json.loads(json.dumps(stream.state_dict()))
        state = after
        for ranks in zip(*parts, strict=True):
            h.update(np.concatenate([step["records"].numpy() for step in ranks]).tobytes())
            for step in ranks:  # without windows of nothing but filling, which every rank has at its own end
                h.update(step["input_ids"].numpy()[(step["segment_ids"].numpy() >= 0).any(1)].tobytes())
    return h.hexdigest()[:16]


def main() -> int:
    pool = sample()
    plan = Plan.everything(pool, Budget(1 << 40))
    plan = plan.mixed(
        {"use": "matrix"}, "n", dict.fromkeys(NAMES, 1.0), plan.sources, np.arange(len(plan), dtype=float)
    )
    tokenizer = Tokenizer.train(pool.column("text").to_pylist()[:500], vocab=2048)
    layouts = [Layout(ranks, workers) for ranks in (1, 2, 3) for workers in (1, 2, 4)]
    found: dict[Packing, set[str]] = {packing: set() for packing in PACKINGS}
    began, readings = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as cache:
        for packing in PACKINGS:
            settings = {
                "plan": plan, "pool": pool, "tokenizer": tokenizer, "batch": BATCH, "context": 512, "packing": packing,
                "cache": cache, "prefetch": 0,
            }  # fmt: skip
            steps = Stream(**settings).steps
            rng = np.random.default_rng(0)
            for number, layout in enumerate(layouts if packing == "best_fit" else layouts[4:5]):
                whole = read(settings, [layout], [])
                cuts = sorted(rng.choice(np.arange(1, steps), 5, replace=False).tolist())
                others = [layout, *(layouts[(number + 1 + k) % len(layouts)] for k in range(5))]
                broken = read(settings, others, cuts)
                found[packing] |= {whole, broken}
                readings += 2
                print(
                    f"{packing}, {layout.ranks} ranks x {layout.workers} workers: {whole}; broken off at "
                    f"{', '.join(map(str, cuts))} of {steps} and resumed by others: {broken}",
                    flush=True,
                )
    alike = all(len(hashes) == 1 for hashes in found.values())
    print(
        f"{readings} readings in {time.monotonic() - began:.0f} s: "
        f"{'one sequence for each packing' if alike else 'NOT one sequence'}"
    )
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
