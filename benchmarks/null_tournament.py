"""Does a tournament keep its word? How often it calls a candidate better or worse when all plans are random draws.

    python benchmarks/null_tournament.py --tournaments 60

On the planted_mixture world with the n-gram proof: candidates and baselines are random plans that differ only by their
seed. A tournament with any candidate called better should be one in twenty at most, since p-values are adjusted for the
candidates and the reference is the best of the baselines.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from tilth.core import Plan, Run
from tilth.engine.tournament import Entry, tournament
from tilth.policies.mix.random import Random
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tournaments", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    world = PlantedMixture().build(3000, Run())
    goal = world.goal
    assert goal is not None
    start = Plan.everything(world.pool, goal.budget)

    def drawn(seed: int) -> Entry:
        return Entry(f"random {seed}", partial(Random().revise, start, world.pool, goal.blind(), Run(seed=seed)))

    better = worse = tied = 0
    for number in range(args.tournaments):
        entries = {f"candidate {i}": drawn(1000 * number + i) for i in range(args.candidates)}
        rivals = {f"baseline {i}": drawn(1000 * number + 500 + i) for i in range(2)}
        with tempfile.TemporaryDirectory() as folder:
            found = tournament(
                Ngram(tokens=20_000), entries, rivals, world.pool, goal, Path(folder), seeds=args.seeds,
                run=Run(seed=number),
            )  # fmt: skip
        calls = [found.call(name) for name in found.comparisons]
        better += "better" in calls
        worse += "worse" in calls
        tied += len(found.tied) == args.candidates - 1
    print(
        f"{args.tournaments} tournaments of {args.candidates} random candidates: a candidate called better in {better},"
    )
    print(f"called worse in {worse}; all candidates tied with the first in {tied}")


if __name__ == "__main__":
    main()
