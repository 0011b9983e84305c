"""Does the verdict keep its word? False calls between plans that differ only by seed, and power at the stated effect.

    python benchmarks/null_and_power.py --comparisons 200
    python benchmarks/null_and_power.py --proof tiny_lm --comparisons 60 --power 0

On the sample that ships with tilth, with 5 seeds: (1) pairs of random plans drawn with different seeds must be called
different in about 5 % of cases; the number may lie in the central 95 % of a binomial distribution; (2) plans improved
so much that their effect equals the detectable effect announced from two random plans must be found in at least 80 %.
`tiny_lm` is as small as still learns: what is tested is the statistics on a neural trial's noise, not the model.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from tilth.build import Build
from tilth.core import Goal, Plan, Pool, Proof, Run
from tilth.engine.local import Workers
from tilth.engine.statistics import compare, detectable
from tilth.policies.mix.random import Random
from tilth.proofs.ngram import Ngram
from tilth.proofs.tiny_lm import TinyLm
from tilth.recipe import parse

DATA = Path(__file__).parents[1] / "examples" / "data"
NAMES = ("chat", "encyclopedia", "fiction", "health", "languages", "law", "science", "techdocs")
PROOFS: dict[str, Proof] = {
    "ngram": Ngram(),
    "tiny_lm": TinyLm(depth=1, tokens=20_000, vocab=512, context=64, batch=2, points=1, longest=300),
}


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a random plan, or natural shares improved by `extra` health text."""

    seed: int
    name: str
    extra: float | None = None


def trials(proof: Proof, start: Plan, pool: Pool, goal: Goal, seeds: int, side: Side) -> npt.NDArray[np.float64]:
    """Losses (seeds, items) of the side's plan."""
    run = Run(seed=side.seed)
    if side.extra is None:
        plan = Random().revise(start, pool, goal.blind(), run.at(side.name))
    else:
        extra, natural = side.extra, start.mixture()
        shares = {n: s * (1 - extra) + (extra if n == "health" else 0.0) for n, s in natural.items()}
        keys = run.uniform(start.ids, "better")
        plan = start.mixed({"use": "planted"}, "planted", shares, start.sources, keys)
    pieces = [plan.part(s, seeds, run.at("seeds")) for s in range(seeds)]
    return np.stack([proof.trial(p, pool, goal, run.at("trial", s)) for s, p in enumerate(pieces)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proof", choices=[*PROOFS], default="ngram")
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--power", type=int, default=100, help="comparisons per strength of the planted improvement")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    began = time.monotonic()
    sources = "\n".join(f"  {n}: {n}.jsonl.zst" for n in NAMES)
    goal = "goal: {target: target.jsonl.zst, holdout: holdout.jsonl.zst, budget: 100k tokens}"
    with tempfile.TemporaryDirectory() as folder, Workers(args.workers, Run().progress) as workers:
        job = Build(parse(f"sources:\n{sources}\n{goal}"), DATA, Path(folder), workers)
        whole = job.goal
        assert whole is not None
        task = partial(trials, PROOFS[args.proof], job.start, job.pool, whole, args.seeds)

        null = [Side(seed, name) for seed in range(args.comparisons) for name in ("one", "two")]
        losses = workers.map(task, null, "null comparisons")
        pairs = [compare(a, b) for a, b in zip(losses[::2], losses[1::2], strict=True)]
        called = sum(pair.call() != "no difference" for pair in pairs)
        low, high = (int(binom.ppf(q, args.comparisons, 0.05)) for q in (0.025, 0.975))
        print(
            f"null, {args.proof}: {called} of {args.comparisons} called different "
            f"({called / args.comparisons:.1%}; {low} to {high} is the binomial band of 5 %); "
            f"mean effect {np.mean([p.effect for p in pairs]):+.5f}, standard deviation "
            f"{np.std([p.effect for p in pairs]):.5f} bits per byte, mean loss {np.mean(losses):.3f}, "
            f"{args.seeds} seeds x {whole.holdout.count} items, {(time.monotonic() - began) / 60:.1f} minutes",
            flush=True,
        )
        if args.power:
            print("\n| extra health text | effect | detectable | found |\n|---|---|---|---|")
        for extra in (0.1, 0.2, 0.3, 0.4, 0.5) if args.power else ():
            seeds = range(1000, 1000 + args.power)
            sides = [s for n in seeds for s in (Side(n, "one"), Side(n, "two"), Side(n, "better", extra))]
            losses = workers.map(task, sides, f"power at {extra:.0%}")
            triples = [*zip(losses[::3], losses[1::3], losses[2::3], strict=True)]
            results = [compare(better, base) for base, _, better in triples]
            stated = [detectable(compare(base, other)) for base, other, _ in triples]
            found = sum(result.call() == "better" for result in results)
            effect = np.mean([result.effect for result in results])
            print(
                f"| {extra:.0%} | {effect:.4f} | {np.mean(stated):.4f} | {found / args.power:.0%} |",
                flush=True,
            )
    return int(not low <= called <= high)


if __name__ == "__main__":
    sys.exit(main())
