"""Does the verdict keep its word? False calls between plans that differ only by seed, and power at the stated effect.

    python benchmarks/null_and_power.py --comparisons 200

On the sample that ships with tilth, with the n-gram proof and 5 seeds: (1) pairs of random plans drawn with different
seeds must be called different in about 5 % of cases (2 to 8 % allowed for 200); (2) plans improved so much that their
effect equals the detectable effect announced from two random plans must be found in at least 80 %.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tilth.build import Build
from tilth.core import Plan, Run
from tilth.engine.local import Workers
from tilth.engine.statistics import compare, detectable
from tilth.policies.mix.random import Random
from tilth.proofs.ngram import Ngram
from tilth.recipe import parse

DATA = Path(__file__).parents[1] / "examples" / "data"
NAMES = ("chat", "encyclopedia", "fiction", "health", "languages", "law", "science", "techdocs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--power", type=int, default=100, help="comparisons per strength of the planted improvement")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    sources = "\n".join(f"  {n}: {n}.jsonl.zst" for n in NAMES)
    goal = "goal: {target: target.jsonl.zst, holdout: holdout.jsonl.zst, budget: 100k tokens}"
    with tempfile.TemporaryDirectory() as folder:
        quiet = Workers(1, Run().progress)
        job = Build(parse(f"sources:\n{sources}\n{goal}"), DATA, Path(folder), quiet)
        pool, start, whole = job.pool, job.start, job.goal
        assert whole is not None
        proof = Ngram()

        def trials(plan: Plan, seed: int) -> npt.NDArray[np.float64]:
            run = Run(seed=seed)
            pieces = [plan.part(s, args.seeds, run.at("seeds")) for s in range(args.seeds)]
            return np.stack([proof.trial(p, pool, whole, run.at("trial", s)) for s, p in enumerate(pieces)])

        def random(seed: int, name: str) -> Plan:
            return Random().revise(start, pool, whole.blind(), Run(seed=seed).at(name))

        called = 0
        effects = []
        for seed in range(args.comparisons):
            pair = compare(trials(random(seed, "one"), seed), trials(random(seed, "two"), seed))
            called += pair.call() != "no difference"
            effects.append(pair.effect)
        print(
            f"null: {called} of {args.comparisons} called different ({called / args.comparisons:.1%}); "
            f"mean effect {np.mean(effects):+.5f}, standard deviation {np.std(effects):.5f} bits per byte"
        )

        natural = start.mixture()
        print("\n| extra health text | effect | detectable | found |\n|---|---|---|---|")
        for extra in (0.1, 0.2, 0.3, 0.4):
            shares = {n: s * (1 - extra) + (extra if n == "health" else 0.0) for n, s in natural.items()}
            found, effect, stated = 0, [], []
            for seed in range(args.power):
                run = Run(seed=1000 + seed)
                keys = run.uniform(start.ids, "better")
                better = start.mixed({"use": "planted"}, "planted", shares, start.sources, keys)
                base = trials(random(1000 + seed, "one"), seed)
                other = trials(random(1000 + seed, "two"), seed)
                result = compare(trials(better, seed), base)
                found += result.call() == "better"
                effect.append(result.effect)
                stated.append(detectable(compare(base, other)))
            print(
                f"| {extra:.0%} | {np.mean(effect):.4f} | {np.mean(stated):.4f} | {found / args.power:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
