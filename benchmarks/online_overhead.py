"""What steering costs: the step time of a training with each online policy against the same training without one.

One model, the same windows of --groups groups with one target, the policy asked every --every steps with mini-batches
of half a step's size as in `tiny_lm`, in turns in one process; the peer is the same feed with shares that stay, before
and after each. The median ratio over the rounds is printed with the least and the greatest, and beside it the goals:
dga and rb 15 %, flad 5 %. What flad_ucb1 asks of every group before the first step weighs less the longer the training.

python benchmarks/online_overhead.py --steps 200 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

from tilth import catalog
from tilth.core import Run
from tilth.models.batches import Windows, windows
from tilth.models.feeds import Mixed
from tilth.models.influence import LastLayer, influence
from tilth.models.optim import Options, precision_of
from tilth.models.train import generator, threads, train_lm
from tilth.models.transformer import Config, build
from tilth.policies.mix import flad_exp3, flad_ucb1, rb

VOCAB = 2048
GOALS = {"dga": 0.15, "rb": 0.15, "flad_exp3": 0.05, "flad_ucb1": 0.05}


def text(seed: int, tokens: int, context: int) -> Windows:
    rng = Run(seed=seed).rng("text")
    lengths = rng.integers(20, 400, max(2, tokens // 200))
    ids = rng.zipf(1.3, int(lengths.sum())).clip(1, VOCAB - 1).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return windows(offsets, ids, np.arange(lengths.size), context, 0, tokens)


def started(name: str, groups: dict[str, Windows]) -> Any:
    """A policy's state, made by hand as there is no plan: half of the goal lies in each of two groups."""
    names, equal = (*groups,), dict.fromkeys(groups, 1 / len(groups))
    goal = tuple(0.5 * (i < 2) for i in range(len(names)))
    states = {
        "dga": equal,
        "rb": rb.State(names, goal, equal),
        "flad_exp3": flad_exp3.State(names, (0.0,) * len(names)),
        "flad_ucb1": flad_ucb1.State(names),
    }
    return states[name]


def seconds(name: str | None, groups: dict[str, Windows], target: Windows, args: argparse.Namespace) -> float:
    """Of a whole training, of the processor's time where that is the CPU; without a policy where no name is given."""
    config = Config.of_depth(args.depth, VOCAB, args.context)
    options = Options(rate=config.rate, batch=args.batch, precision=precision_of("auto", args.device))
    run = Run(device=args.device)
    model = build(config, generator(run.rng("init"))).to(run.device)
    more: dict[str, Any] = {}
    if name is not None:
        look = max(1, args.batch // 2)  # as in tiny_lm
        source = LastLayer(model, groups, {"goal": target}, look, run, precision=options.precision)
        more = {"online": (catalog.build(name), started(name, groups)), "influence": influence(source)}
    feed = Mixed(groups, dict.fromkeys(groups, 1 / len(groups)), args.batch, args.steps, run, every=args.every, **more)
    clock = time.process_time if args.device == "cpu" else time.perf_counter  # one thread: others do not count
    began = clock()
    train_lm(model, feed, options)
    return clock() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field, default in {"steps": 200, "rounds": 5, "groups": 8, "every": 25, "depth": 3, "batch": 4}.items():
        parser.add_argument(f"--{field}", type=int, default=default)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    groups = {f"g{i}": text(i, args.batch * args.context * args.steps // 2, args.context) for i in range(args.groups)}
    target = text(99, 16 * args.context, args.context)
    ratios: dict[str, list[float]] = {name: [] for name in GOALS}
    with threads(1):
        seconds(None, groups, target, argparse.Namespace(**{**vars(args), "steps": 20}))
        plain = seconds(None, groups, target, args)
        for _ in range(args.rounds):
            for name, found in ratios.items():
                steered, before = seconds(name, groups, target, args), plain
                plain = seconds(None, groups, target, args)
                found.append(2 * steered / (before + plain) - 1)
    print(f"{args.groups} groups, {args.steps} steps of {args.batch} x {args.context}, asked every {args.every}")
    for name, found in ratios.items():
        middle, goal = statistics.median(found), GOALS[name]
        told = "reached" if middle <= goal else "not reached"
        print(f"{name:10} {middle:+6.1%} [{min(found):+.1%}, {max(found):+.1%}], goal {goal:.0%}: {told}")


if __name__ == "__main__":
    main()
