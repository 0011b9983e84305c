"""Keep 5, 10 and 30 %: every selection policy on real instructions and on a real labelled set.

    python benchmarks/selection_tournament.py instruction --data ../shared/data --out build/selection
    python benchmarks/selection_tournament.py labelled --data ../shared/data --out build/selection

*instruction*: Dolly, GSM8K, competition mathematics and short word problems; the goal is held-out GSM8K, judged by the
`sft` proof in nats per byte of answer. *labelled*: CLINC150 (150 intents), judged by the `classify` proof on held-out
records. For each share one tournament: random records, natural shares and equal shares of the sources (of the labels,
where there are labels) are the baselines, and every candidate is compared besides with random records of its own
lengths. Printed: one table of all shares. Killed and started again it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from keep_thirty import apart, clinc, read, write

from tilth.build import Build
from tilth.contest import Contest
from tilth.core import Plan, Run
from tilth.engine.local import Workers
from tilth.engine.prove import Trials, length_matched, losses_of
from tilth.engine.statistics import Comparison, compare
from tilth.engine.tournament import Tournament
from tilth.recipe import load

LM = {"model": "lm", "seeds": 2, "passes": 3, "tokens": 150_000, "longest": 600, "depth": 1}
FILES = {"dolly": "dolly_subset", "gsm8k": "gsm8k_train", "math": "math_competition", "word": "mawps_asdiv"}
ANYWHERE: dict[str, dict[str, Any]] = {
    "mig": {"use": "mig"},
    "diversify_and_conquer, one round": {"use": "diversify_and_conquer", "rounds": 1},
    "kshot": {"use": "kshot"},
    "gio": {"use": "gio"},
    "facility_location": {"use": "facility_location"},
    "k_center": {"use": "k_center"},
    "small_to_large": {"use": "small_to_large"},
    "perplexity_pruning, middle": {"use": "perplexity_pruning", "part": "middle"},
}
INSTRUCTION: dict[str, dict[str, Any]] = ANYWHERE | {
    "diversify_and_conquer": {"use": "diversify_and_conquer"},
    "importance, top": {"use": "sample", "by": "importance.per_token"},
    "importance, drawn": {"use": "sample", "by": "importance.per_token", "temperature": 1.0},
    "teacher_student_gap, top": {"use": "sample", "by": "teacher_student_gap.excess"},
    "data_diet": {"use": "data_diet", "by": "el2n.score", "balance": "source"},
    "salt": {"use": "salt"},
    "long_output": {"use": "long_output", "least": 60},
    "moment_weights": {"use": "moment_weights", "moments": ["tokens.count=160"]},
    "weighted_pool": {"use": "weighted_pool", "toward": "gsm8k", "features": ["tokens.count", "importance.per_token"]},
    "meta_rater": {
        "use": "meta_rater",
        "columns": ["importance.per_token", "el2n.score", "perplexity.bits_per_byte", "tokens.count"],
    },
}
LABELLED: dict[str, dict[str, Any]] = ANYWHERE | {
    "mig, tags = labels": {"use": "mig", "tags": "label"},
    "data_diet": {"use": "data_diet"},
    "data_diet, as many of each label": {"use": "data_diet", "quota": "equal"},
    "data_diet, easy": {"use": "data_diet", "prefer": "easy"},
    "llkd": {"use": "llkd"},
    "adversarial_rounds": {"use": "adversarial_rounds"},
    "el2n, hard": {"use": "sample", "by": "el2n.score"},
    "el2n, hard, in each label": {"use": "sample", "by": "el2n.score", "stratify": "label"},
}


def instruction(data: Path, out: Path, size: int) -> dict[str, Any]:
    """Four instruction sets and a goal of one of them; the longest answers are cut off, not cut short."""
    rng = np.random.default_rng(0)
    sources = {}
    for name, file in FILES.items():
        rows = [
            {"instruction": row["instruction"], "input": row["input"], "output": row["output"]}
            for row in read(data / "B_instruction" / f"{file}.jsonl.zst")
            if len(row["instruction"]) + len(row["input"]) + len(row["output"]) < 1200
        ]
        rows = [rows[i] for i in rng.permutation(len(rows))]
        if name == "gsm8k":
            for row in rows[:220]:
                row["text"] = row["instruction"]
            target, holdout = apart(rows[:100], rows[100:220]), rows[100:220]
            for part_name, part in (("target", target), ("holdout", holdout)):
                plain = [{k: v for k, v in row.items() if k != "text"} for row in part]
                write(out / f"{part_name}.jsonl", [row | {"id": f"{part_name}{i}"} for i, row in enumerate(plain)])
            rows = rows[220:]
        write(out / f"{name}.jsonl", [row | {"id": f"{name}{i}"} for i, row in enumerate(rows[: size // 4])])
        sources[name] = f"{name}.jsonl"
    learners = {
        "learning_percentage": {"learner": LM},
        "el2n": {"learner": LM},
        "teacher_student_gap": {"teacher": {**LM, "seeds": 1}, "student": {**LM, "seeds": 1, "passes": 1}},
    }
    proof = {"use": "sft", "depth": 1, "tokens": 120_000, "vocab": 1024, "context": 256, "batch": 4, "seeds": 4}
    return recipe(sources, INSTRUCTION, learners, proof, "source", "1 tokens")


def labelled(data: Path, out: Path, size: int) -> dict[str, Any]:
    """CLINC150 as it is, each record once."""
    target, holdout, pool = clinc(data, np.random.default_rng(0))
    pool = pool[:size]
    for name, part in (("target", target), ("holdout", holdout), ("pool", pool)):
        write(out / f"{name}.jsonl", [row | {"id": f"{name}{i}"} for i, row in enumerate(part)])
    learners = {"learning_percentage": {"learner": {"seeds": 3, "passes": 6}}}
    return recipe({"pool": "pool.jsonl"}, LABELLED, learners, {"use": "classify", "seeds": 4}, "label", "1 records")


def recipe(
    sources: dict[str, str],
    candidates: Mapping[str, Mapping[str, Any]],
    learners: Mapping[str, Any],
    proof: dict[str, Any],
    by: str,
    budget: str,
) -> dict[str, Any]:
    against = ["random", "natural", {"use": "stratified", "by": by}]
    return {
        "sources": sources,
        "goal": {"target": "target.jsonl", "holdout": "holdout.jsonl", "budget": budget},
        "signals": [{"use": name, **given} for name, given in learners.items()],
        "plan": ["random"],
        "proof": {**proof, "against": against},
        "tournament": dict(candidates),
    }


def against_lengths(contest: Contest, found: Tournament) -> dict[str, Comparison]:
    """Each candidate against random records of its own lengths, in trials of the same seeds."""
    build = contest.build
    goal, proof, spec = build.goal, build.proof, build.recipe.proof
    if goal is None or proof is None or spec is None:
        raise ValueError("the recipe states a goal and a proof")
    folder = build.out / "tournament"
    plans = {}
    for name in found.comparisons:
        chosen = Plan.load(folder / "entries" / contest.entry(contest.candidates[name], "plan").key)
        plans[name] = length_matched(chosen, contest.begin, build.run.at("lengths", name))
    trials = Trials(proof, build.pool, goal, folder, spec.seeds, build.run, build.workers)
    rivals = losses_of(trials.outcomes(plans))
    return {name: compare(found.losses[name], rivals[name], found.weights) for name in rivals}


def table(found: Tournament, lengths: Mapping[str, Comparison]) -> list[str]:
    rows = []
    for name in sorted(found.losses, key=found.loss):
        told = f"| {name} | {found.loss(name):.4f} "
        if name in found.comparisons:
            c, own = found.comparisons[name], lengths[name]
            told += f"| {c.effect:+.4f} | [{c.low:+.4f}, {c.high:+.4f}] | {found.call(name)} "
            told += f"| {own.effect:+.4f} [{own.low:+.4f}, {own.high:+.4f}] | {found.planned[name].seconds:.0f} |"
        else:
            told += "| | | baseline | | |"
        rows.append(told)
    return rows + [f"| {name} | not tried: {why} | | | | | |" for name, why in found.missing.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["instruction", "labelled"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/selection"))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.3])
    parser.add_argument("--size", type=int, default=14_000, help="records of the pool at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    folder = args.out / args.which
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    if not path.exists():
        made = {"instruction": instruction, "labelled": labelled}[args.which](args.data, folder, args.size)
        path.write_text(json.dumps(made, indent=1))
    with Workers(args.workers, Run().progress) as workers:
        whole = Build(load(path, ()), folder, folder / "out", workers).start
        size, unit = int(whole.sizes.sum()), whole.budget.unit
        for share in args.shares:
            began = time.monotonic()
            given = load(path, [f"goal.budget={round(share * size)} {unit}"])
            contest = Contest(Build(given, folder, folder / "out", workers))
            with contest.build.session():
                found = contest.result
                rows = table(found, against_lengths(contest, found))
            print(f"\n{share:.0%}: {found.budget} of {size:,}; {found.headline}\n")
            print("| plan | loss | gain | 95 % interval | it is | over random records of its lengths | seconds |")
            print("|---|---:|---:|---|---|---|---:|")
            print("\n".join(rows))
            for line in found.trust():
                print(f"- {line}")
            print(f"{(time.monotonic() - began) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
