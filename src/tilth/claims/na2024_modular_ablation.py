"""Data ablation by merging (Na et al. 2024, arXiv 2410.15661): an average of weights stands for joint training.

Eight real sources, a model of 0.1 M parameters. One copy of a common model goes on with each source; all 28 pairs and
12 of the triples are scored as averages of copies and, for comparison, trained for real on the sources together. The
measure is Pearson's correlation of the two losses on text of other sources, as in the paper. The negative control
gives every copy initial weights of its own. It took 12 minutes on two cores that had four times as much to do, and goes
on where it was stopped. What it printed is in docs/claims/na2024_modular_ablation.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from scipy.stats import spearmanr

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.local import Workers
from tilth.io.streams import blocks, lines
from tilth.proofs.merged import Merged

__all__ = ["PAPER", "PROOF", "run"]

PAPER = "scalable_data_ablation_approximations_for_language"
FOLDER = "A_text"
PARTS = (
    "chat_irc_ubuntu",
    "encyclopedia_factbook",
    "fiction_novels",
    "health_medquad",
    "law_german",
    "math_stacks",
    "science_arxiv_2025",
    "techdocs_peps",
)
OUTSIDE = ("dialogue_sgd", "encyclopedia_simplewiki", "newsletter_twir", "web_html_boost", "web_pages_text")
FOREIGN = "languages_udhr"
"""Declarations in hundreds of languages, most in letters that no part uses: losses there are several times as large as
elsewhere and say which model unlearnt most. In a mean they would drown the rest, as a first run showed, so it is shown
with and without them."""
RECORDS, LONGEST = 400, 2000
ITEMS, ITEM = 16, 800
TRIPLES = 12
WANTED = 0.9
PROOF = Merged(depth=2, seed_tokens=150_000, part_tokens=40_000, vocab=1024, gentle=0.5, longest=ITEM)
WORK = Path("build") / "claims" / "na2024_modular_ablation"

Floats = npt.NDArray[np.float64]


def run(data: Path | None, proof: Merged = PROOF) -> list[dict[str, Any]]:
    """One row per statement. Finished models are kept in build/claims until all rows are there.

    Raises:
        UsageError: when a source's file is missing.
    """
    names = (*PARTS, *OUTSIDE, FOREIGN)
    if data is None or not all(_file(data, name).exists() for name in names):
        raise UsageError(
            f"This claim needs text of {len(names)} sources: give --data FOLDER (or set TILTH_DATA) with {FOLDER}/ in "
            f"it that has NAME.jsonl.zst, each line with a text, for {', '.join(names)}."
        )
    pool, goal = _world(data)
    plan = Plan.everything(pool, goal.budget)
    pairs, triples = _shares(2), _shares(3)
    chosen = Run().rng(WORK.name, "triples").permutation(len(triples))[:TRIPLES]
    shares = np.vstack([pairs, triples[np.sort(chosen)]])
    control = proof.model_copy(update={"shared_seed": False})
    with Workers(2, Run().progress) as workers:
        here = Run(scratch=WORK, mapper=workers.map)
        merged, joint = (m(shares, plan.sources, plan, pool, goal, here) for m in (proof.mixtures, proof.joint))
        apart = control.mixtures(shares, plan.sources, plan, pool, goal, here)
    shutil.rmtree(WORK, ignore_errors=True)
    return _rows(merged, joint, apart, np.array(goal.holdout.column("source").to_pylist()), len(pairs))


def _rows(merged: Floats, joint: Floats, apart: Floats, domain: npt.NDArray[Any], pairs: int) -> list[dict[str, Any]]:
    two, three = slice(0, pairs), slice(pairs, None)
    rows = []

    def on(losses: Floats, *names: str) -> Floats:
        """The mean loss of each mixture: of a domain over its items, then over the domains."""
        means = [losses[:, domain == name].mean(1) for name in names]
        return np.asarray(np.mean(means, 0))

    def row(what: str, wanted: str, here: float, holds: bool | None) -> None:
        told = {True: "yes", False: "no", None: "-"}[holds]
        rows.append({"statement": what, "wanted": wanted, "here": round(float(here), 3), "holds": told})

    outside = [on(losses, *OUTSIDE) for losses in (merged, joint, apart)]
    for what, some in ((f"{pairs} pairs", two), (f"{len(merged) - pairs} triples", three)):
        r = _r(outside[0][some], outside[1][some])
        row(f"other sources, {what}: r of merged and joint", f"at least {WANTED}", r, r >= WANTED)
    for name in OUTSIDE:
        row(f"... on {name}, pairs", "-", _r(on(merged, name)[two], on(joint, name)[two]), None)
    more = {
        f"{FOREIGN}": (FOREIGN,),
        f"other sources and {FOREIGN}": (*OUTSIDE, FOREIGN),
        "held-out text of the parts": PARTS,
    }
    for what, names in more.items():
        row(f"{what}, pairs: r", "-", _r(on(merged, *names)[two], on(joint, *names)[two]), None)
    rank = spearmanr(outside[0][two], outside[1][two]).statistic
    row("other sources, pairs: rank correlation", "-", rank, None)
    found = int((outside[1][two] < outside[1][two][np.argmin(outside[0][two])]).sum()) + 1
    row("joint rank of the pair that merges best", "at most 3", found, found <= 3)
    for what, losses in zip(("merged", "joint"), outside, strict=False):
        row(f"pairs, {what}: mean loss, bits per byte", "-", losses[two].mean(), None)
        row(f"pairs, {what}: worst minus best", "-", np.ptp(losses[two]), None)
    harm = outside[2] - outside[0]
    row("no common weights: smallest harm, bits per byte", "above 0.3", harm.min(), bool(harm.min() > 0.3))
    r = _r(outside[2][two], outside[1][two])
    row("no common weights, pairs: r with joint", "below 0.3", r, r < 0.3)
    return rows


def _r(x: Floats, y: Floats) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def _shares(size: int) -> Floats:
    """Equal shares of every choice of `size` parts."""
    chosen = [*combinations(range(len(PARTS)), size)]
    shares = np.zeros((len(chosen), len(PARTS)))
    for row, parts in zip(shares, chosen, strict=True):
        row[list(parts)] = 1 / size
    return shares


def _world(data: Path) -> tuple[TablePool, Goal]:
    """The parts' records, and held-out items of every source; a document is in one of the two."""
    pool: list[tuple[str, str]] = []
    held: list[tuple[str, str]] = []
    for name in (*PARTS, *OUTSIDE, FOREIGN):
        texts = [t for t in _texts(_file(data, name)) if len(t) >= ITEM // 2]
        order = Run().rng(WORK.name, name).permutation(len(texts))
        held += [(name, texts[i][:ITEM]) for i in order[:ITEMS]]
        if name in PARTS:
            pool += [(name, texts[i][:LONGEST]) for i in order[ITEMS : ITEMS + RECORDS]]
    items = _table(held)
    # The budget only bounds how often a part may be read; every part is larger than what its copy reads.
    return _table(pool), Goal(items, items, Budget(1))


def _table(rows: list[tuple[str, str]]) -> TablePool:
    return TablePool(
        pa.table(
            {
                "id": [f"{name}:{i}" for i, (name, _) in enumerate(rows)],
                "text": [text for _, text in rows],
                "source": [name for name, _ in rows],
                "tokens": pa.array([{"count": len(text) // 3} for _, text in rows], pa.struct([("count", pa.int32())])),
            }
        )
    )


def _texts(file: Path) -> Iterator[str]:
    for _, line, _ in lines(blocks(file)):
        yield orjson.loads(line)["text"]


def _file(data: Path, name: str) -> Path:
    return data / FOLDER / f"{name}.jsonl.zst"
