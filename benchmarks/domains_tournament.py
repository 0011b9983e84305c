"""Does a tournament of real sources find what was planted? Mixing policies on the `domains` world, judged by tiny_lm.

    python benchmarks/domains_tournament.py --data FOLDER --out build/domains_tournament

FOLDER holds one .jsonl or .jsonl.zst file per source; `--sources` picks some of them. The goal is a known mixture of
held-out pieces of three sources that the world's seed draws, .6 .3 .1. Random, natural and stratified plans are the
uninformed baselines; temperature_mix and RegMix, with n-grams and with small transformers as its trials, are the
candidates. Printed: the table with each plan's L1 distance to the planted mixture, RegMix against every uninformed
plan, and how the two proxies rank the same mixtures. Killed and started again it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tilth import catalog
from tilth.core import Goal, Plan, Pool, Proof, Run, World, groups, mixture_losses
from tilth.core.method import digest
from tilth.core.policy import Policy
from tilth.engine.local import Workers, write_atomic
from tilth.engine.statistics import compare, spearman
from tilth.engine.tournament import Entry, Tournament, tournament
from tilth.policies.mix.climb import Climb
from tilth.policies.mix.cmr import Cmr
from tilth.policies.mix.dmt import Dmt
from tilth.policies.mix.exact_ngram_mix import ExactNgramMix
from tilth.policies.mix.interaction_mix import InteractionMix
from tilth.policies.mix.l1_amtrl import L1Amtrl
from tilth.policies.mix.mixture_law import MixtureLaw
from tilth.policies.mix.modular_merge import ModularMerge
from tilth.policies.mix.natural import Natural
from tilth.policies.mix.opt_iml import OptIml
from tilth.policies.mix.random import Random
from tilth.policies.mix.regmix import RegMix
from tilth.policies.mix.steered import Steered
from tilth.policies.mix.stratified import Stratified
from tilth.policies.mix.temperature_mix import TemperatureMix
from tilth.policies.mix.two_phase import TwoPhase
from tilth.probes.domains import Domains
from tilth.proofs.ngram import Ngram
from tilth.proofs.tiny_lm import TinyLm
from tilth.report.tournament import render_tournament

ONLINE = ("dga", "rb", "skill_it", "flad_exp3", "flad_ucb1", "doremi")
UNINFORMED: dict[str, Policy] = {"random": Random(), "natural": Natural(), "stratified": Stratified()}


@dataclass(frozen=True)
class Mixture:
    """One mixture tried by one proof; `key` is what its result is remembered under."""

    key: str
    shares: tuple[float, ...]


def candidates(args: argparse.Namespace, wanted: list[str]) -> dict[str, Policy]:
    """What takes part; policies that must be told sources are told those that the goal is made of, largest first."""
    small = TinyLm(depth=1, tokens=args.trial_tokens, vocab=1024, context=128)
    found: dict[str, Policy] = {
        "temperature_mix": TemperatureMix(),
        "regmix, ngram": RegMix(),
        "regmix, tiny_lm": RegMix(trials=args.trials, proof=small),
    }
    if args.all:
        found |= {
            "exact_ngram_mix": ExactNgramMix(),
            "mixture_law": MixtureLaw(),
            "climb": Climb(by="source"),
            "climb, own domains": Climb(),
            "l1_amtrl": L1Amtrl(),
            "opt_iml": OptIml(),
            "modular_merge": ModularMerge(),
            "interaction_mix": InteractionMix(),
            "cmr": Cmr(domain=wanted[0]),
            "dmt": Dmt(skills=tuple(wanted)),
            "two_phase": TwoPhase(late=tuple(wanted), after=0.9),
        }
        found |= {f"steered, {name}": Steered(policy=catalog.build(name)) for name in ONLINE}
    return found


def world_of(args: argparse.Namespace, run: Run) -> tuple[Domains, World]:
    """The world over the chosen sources, which are linked into a folder of their own."""
    with tempfile.TemporaryDirectory() as place:
        found = {file.name.split(".")[0]: file for file in sorted(args.data.iterdir())}
        for name in args.sources or found:
            (Path(place) / found[name].name).symlink_to(found[name].resolve())
        probe = Domains(path=place, items=args.items)
        return probe, probe.build(args.records, run)


def mean_loss(proof: Proof, start: Plan, pool: Pool, goal: Goal, run: Run, mixture: Mixture) -> float:
    shares = np.array([mixture.shares])
    return float(mixture_losses(proof, shares, groups(pool, "source"), start, pool, goal, run).mean())


def judged(args: argparse.Namespace, seed: int, workers: Workers) -> None:
    began = time.monotonic()
    run = Run(seed=seed, progress=workers.progress)
    out = args.out / f"world{seed}"
    probe, world = world_of(args, run)
    goal, pool = world.goal, world.pool
    assert goal is not None
    start = Plan.everything(pool, goal.budget)
    planted = goal.target.shares("source")

    def entry(name: str, policy: Policy) -> Entry:
        key = digest([policy.fingerprint(), name, pool.fingerprint, goal.fingerprint, seed])
        make = partial(policy.revise, start, pool, goal.blind(), run.at("plan", name))
        return Entry(key, make, (policy.describe(),))

    judge = TinyLm(depth=args.depth, tokens=args.tokens)
    tried = candidates(args, sorted(planted, key=planted.__getitem__, reverse=True))
    found = tournament(
        judge,
        {name: entry(name, policy) for name, policy in tried.items()},
        {name: entry(name, policy) for name, policy in UNINFORMED.items()},
        pool, goal, out, seeds=args.seeds, run=run, workers=workers,
    )  # fmt: skip
    write_atomic(out / "tournament.html", render_tournament(found, []).encode())
    plans = {name: Plan.load(out / "entries" / entry(name, p).key) for name, p in (UNINFORMED | tried).items()}
    told = ", ".join(f"{name} {share:.0%}" for name, share in planted.items())
    print(f"\nworld {seed}: {pool.count:,} records of {len(args.sources or pool.shares('source'))} sources, {told}")
    print(f"goal {goal.holdout.count} items, budget {goal.budget}; judge {judge.describe()}, {args.seeds} seeds\n")
    table(found, {name: 2 * (1 - probe.grade(world, plan)) for name, plan in plans.items()})
    against(found)
    proxies(args, plans, found, planted, start, world, run, workers, out)
    for line in found.trust():
        print(f"- {line}")
    print(f"page {out / 'tournament.html'}, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def table(found: Tournament, distance: dict[str, float]) -> None:
    print(found.headline)
    print("\n| plan | loss | gain over the best baseline | 95 % interval | it is | L1 to the planted mixture |")
    print("|---|---:|---:|---:|---|---:|")
    for name in sorted(found.losses, key=found.loss):
        told = "|  |  | baseline"
        if name in found.comparisons:
            c = found.comparisons[name]
            told = f"| {c.effect:+.4f} | [{c.low:+.4f}, {c.high:+.4f}] | {found.call(name)}"
        print(f"| {name} | {found.loss(name):.4f} {told} | {distance[name]:.2f} |")
    for name, why in found.missing.items():
        print(f"| {name} | not tried: {why} |")


def against(found: Tournament) -> None:
    """RegMix against each uninformed plan, temperature_mix among them."""
    print()
    for name in found.ranking:
        if not name.startswith("regmix"):
            continue
        rivals = [*found.baselines, *(n for n in found.comparisons if n == "temperature_mix")]
        each = {n: compare(found.losses[name], found.losses[n], found.weights) for n in rivals}
        won = [n for n, c in each.items() if c.low > 0]
        least = min(each.values(), key=lambda c: c.effect)
        print(
            f"{name} beats {len(won)} of {len(each)} uninformed plans with an interval above 0; smallest gain "
            f"{least.effect:+.4f} [{least.low:+.4f}, {least.high:+.4f}]"
        )


def proxies(
    args: argparse.Namespace, plans: dict[str, Plan], found: Tournament, planted: dict[str, float], start: Plan,
    world: World, run: Run, workers: Workers, out: Path,
) -> None:  # fmt: skip
    """Spearman of n-grams and transformers over random mixtures of the sources and over the tournament's plans."""
    goal, pool = world.goal, world.pool
    assert goal is not None
    names = groups(pool, "source").names
    rng = run.rng("mixtures")
    natural = np.array([start.mixture()[n] for n in names])
    shares = np.stack(
        [rng.dirichlet(len(names) * (natural + 1 / len(names)) * s) for s in rng.choice([0.1, 0.5, 2], args.mixtures)]
    )
    truth = np.abs(shares - np.array([planted.get(n, 0.0) for n in names])).sum(1)
    proofs: dict[str, Proof] = {"ngram": Ngram(), "tiny_lm": TinyLm(depth=args.depth, tokens=args.tokens // 2)}
    losses: dict[str, Any] = {}
    for name, proof in proofs.items():
        made = [proof.fingerprint(), pool.fingerprint, goal.fingerprint, run.seed]
        work = [Mixture(digest([*made, row.tolist()]), tuple(row.tolist())) for row in shares]
        task = partial(mean_loss, proof, start, pool, goal, Run(seed=run.seed))
        losses[name] = workers.map(task, work, f"mixtures by {name}", out / "mixtures")
    counted = {n: float(Ngram().trial(p, pool, goal, run.at("counted")).mean()) for n, p in plans.items()}
    both = [n for n in found.losses if n in counted]
    print(
        f"rank correlation of ngram and tiny_lm: {spearman(losses['ngram'], losses['tiny_lm']):.2f} over "
        f"{args.mixtures} mixtures, {spearman([counted[n] for n in both], [found.loss(n) for n in both]):.2f} over "
        f"the {len(both)} plans; with the L1 distance to the planted mixture: ngram "
        f"{spearman(losses['ngram'], truth):.2f}, tiny_lm {spearman(losses['tiny_lm'], truth):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "examples" / "data")
    parser.add_argument(
        "--sources", type=lambda text: text.split(","), help="names of files without suffix; default all"
    )
    parser.add_argument("--out", type=Path, default=Path("build/domains_tournament"))
    parser.add_argument("--records", type=int, default=4000, help="records of the pool")
    parser.add_argument("--items", type=int, default=40, help="items of target and holdout, each")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--depth", type=int, default=2, help="of the judge")
    parser.add_argument("--tokens", type=int, default=150_000, help="that the judge reads in a trial")
    parser.add_argument("--trials", type=int, default=32, help="of RegMix with tiny_lm")
    parser.add_argument("--trial-tokens", type=int, default=40_000, help="that such a trial reads")
    parser.add_argument("--mixtures", type=int, default=30, help="on which the two proxies are compared")
    parser.add_argument("--all", action="store_true", help="every mixing policy, not RegMix alone")
    parser.add_argument("--worlds", type=int, default=1, help="each plants another three sources")
    parser.add_argument("--first", type=int, default=0, help="seed of the first world")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    with Workers(args.workers, Run().progress) as workers:
        for seed in range(args.first, args.first + args.worlds):
            judged(args, seed, workers)


if __name__ == "__main__":
    main()
