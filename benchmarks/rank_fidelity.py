"""Do cheap proofs rank mixtures as a larger model trained for longer does? And what does each cost?

    python benchmarks/rank_fidelity.py --data ../shared/data --out build/rank_fidelity

Forty random mixtures of ten real sources, three goals: held-out pieces of three of the sources ("inside"), texts of an
encyclopedia that is no source ("encyclopedia"), and instructions with their answers ("questions"). The truth is a
transformer of 1.5 M parameters outside the embedding that reads 4 M tokens of a mixture; the first `--truths` of the
mixtures are trained so, some of them twice, which says how well the truth agrees with itself. Each proof ranks all
mixtures, but the dearest those of the truth alone. Printed: for each goal the rank correlation with the truth, its 95 %
interval (bootstrap of the mixtures), the share of pairs ordered alike, how far the proof's favourite is from the
truth's, and processor seconds. Killed and started again it goes on where it was; more truths can be added later.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import torch

from tilth.core import Budget, Goal, MixtureProof, Plan, Proof, Run, TablePool, groups, mixture_losses
from tilth.core.method import digest
from tilth.engine.evidence.agreement import decision_accuracy
from tilth.engine.local import Workers
from tilth.engine.statistics import spearman
from tilth.io.streams import blocks, lines
from tilth.proofs.merged import Merged
from tilth.proofs.ngram import Ngram
from tilth.proofs.tiny_lm import TinyLm

SOURCES = (
    "chat_irc_ubuntu", "dialogue_sgd", "encyclopedia_factbook", "fiction_novels", "health_medquad", "law_german",
    "math_stacks", "newsletter_twir", "science_arxiv_2025", "techdocs_peps",
)  # fmt: skip
INSIDE = {"science_arxiv_2025": 0.5, "health_medquad": 0.3, "chat_irc_ubuntu": 0.2}
GOALS = ("inside", "encyclopedia", "questions")
BYTES = 7_000_000  # of a source at most; the encyclopedia has a little less
PIECE = 700

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """Mixtures tried by one proof at once; `key` is what their result is remembered under."""

    key: str
    proof: Proof
    shares: Floats
    seed: int


@dataclass(frozen=True)
class World:
    pool: TablePool
    goal: Goal
    start: Plan


def tried(world: World, work: Work) -> tuple[Floats, float]:
    """Losses (mixtures, items), and processor seconds; one thread whatever the proof."""
    torch.set_num_threads(1)
    began = time.process_time()
    by = groups(world.pool, "source")
    found = mixture_losses(work.proof, work.shares, by, world.start, world.pool, world.goal, Run(seed=work.seed))
    return found, time.process_time() - began


def world_of(data: Path, items: int, tokens: int) -> World:
    """All sources cut to one size, and held-out items of the three goals from other documents."""
    pool: list[tuple[str, str]] = []
    held: dict[str, list[str]] = {asked: [] for asked in GOALS}
    for name in SOURCES:
        rows = [*records(data / "A_text" / f"{name}.jsonl.zst")]
        order = Run().rng("fidelity", name).permutation(len(rows))
        wanted, taken, size = round(INSIDE.get(name, 0) * items), set[str](), 0
        for i in order.tolist():
            document, text = rows[i]
            if len(taken) < wanted and len(text) >= PIECE and document not in taken:
                taken.add(document)
                held["inside"].append(text[:PIECE])
        for i in order.tolist():
            document, text = rows[i]
            if document not in taken and size < BYTES:
                pool.append((name, text))
                size += len(text.encode())
    for asked, file in zip(GOALS[1:], ("A_text/encyclopedia_simplewiki", "B_instruction/dolly_subset"), strict=True):
        texts = [text for _, text in records(data / f"{file}.jsonl.zst") if len(text) >= PIECE // 2]
        order = Run().rng("fidelity", asked).permutation(len(texts))
        held[asked] = [texts[i][:PIECE] for i in order[:items]]
    holdout = table([(asked, text) for asked, texts in held.items() for text in texts])
    made = table(pool)
    # Tokens are counted as bytes / 4; the tokenizer of 2,048 makes a third more of them, so a plan always suffices.
    goal = Goal(holdout, holdout, Budget(tokens))
    return World(made, goal, Plan.everything(made, goal.budget))


def records(file: Path) -> Iterator[tuple[str, str]]:
    """Document and text of each record."""
    for _, line, _ in lines(blocks(file)):
        row = orjson.loads(line)
        text = row["text"] if "text" in row else f"{row['instruction']}\n{row['output']}"
        yield row["id"].split("#")[0], text


def table(rows: Sequence[tuple[str, str]]) -> TablePool:
    return TablePool(
        pa.table(
            {
                "id": [f"{name}:{i}" for i, (name, _) in enumerate(rows)],
                "text": [text for _, text in rows],
                "source": [name for name, _ in rows],
                "tokens": pa.array(
                    [{"count": max(1, len(text.encode()) // 4)} for _, text in rows], pa.struct([("count", pa.int32())])
                ),
            }
        )
    )


def mixtures(count: int, sources: int) -> Floats:
    """From nearly pure to nearly equal; none has more than three fifths of a source, which is then read 1.5 times."""
    rng = Run().rng("fidelity", "mixtures")
    found: list[Floats] = []
    while len(found) < count:
        row = rng.dirichlet(np.full(sources, rng.choice([0.3, 1.0, 3.0])))
        if row.max() <= 0.6:
            found.append(row)
    return np.array(found)


def interval(a: Floats, b: Floats) -> tuple[float, float]:
    rng, n = Run().rng("fidelity", "bootstrap"), a.size
    some = rng.integers(0, n, (2000, n))
    low, high = np.nanpercentile([spearman(a[i], b[i]) for i in some], [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the development data, with A_text and B_instruction")
    parser.add_argument("--out", type=Path, default=Path("build/rank_fidelity"))
    parser.add_argument("--mixtures", type=int, default=40)
    parser.add_argument("--truths", type=int, default=16, help="mixtures on which the truth is trained")
    parser.add_argument("--again", type=int, default=4, help="of these with a second seed")
    parser.add_argument("--depth", type=int, default=5, help="of the truth")
    parser.add_argument("--tokens", type=int, default=4_000_000, help="that the truth reads")
    parser.add_argument("--items", type=int, default=30, help="of each goal")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--truth-only", action="store_true")
    args = parser.parse_args()
    world = world_of(args.data, args.items, args.tokens)
    shares = mixtures(args.mixtures, len(SOURCES))
    truth = TinyLm(depth=args.depth, tokens=args.tokens, points=1)
    proofs: dict[str, Proof] = {
        "ngram, order 2": Ngram(order=2),
        "ngram, order 3": Ngram(order=3),
        "merged": Merged(),
        "tiny_lm, 1/10 of the tokens": TinyLm(tokens=args.tokens // 10, points=1),
        "tiny_lm, 1/3 of the tokens": TinyLm(tokens=args.tokens // 3, points=1),
    }

    def work(proof: Proof, rows: Floats, seed: int = 0) -> list[Work]:
        split = [rows] if isinstance(proof, MixtureProof) else np.split(rows, len(rows))
        made = [proof.fingerprint(), world.pool.fingerprint, world.goal.fingerprint, seed]
        return [Work(digest([*made, some.tolist()]), proof, some, seed) for some in split]

    with Workers(args.workers, Run().progress) as workers:

        def found(label: str, todo: list[Work]) -> tuple[Floats, float]:
            got = workers.map(partial(tried, world), todo, label, args.out)
            return np.concatenate([losses for losses, _ in got]), sum(seconds for _, seconds in got)

        real, dear = found("truth", work(truth, shares[: args.truths]))
        again, _ = found("truth, another seed", work(truth, shares[: args.again], seed=1))
        if args.truth_only:
            return
        some = {name: shares[: args.truths] if name.endswith("1/3 of the tokens") else shares for name in proofs}
        cheap = {name: found(name, work(proof, some[name])) for name, proof in proofs.items()}
    report(args, world, real, dear, again, cheap)


def report(
    args: argparse.Namespace, world: World, real: Floats, dear: float, again: Floats,
    cheap: dict[str, tuple[Floats, float]],
) -> None:  # fmt: skip
    n = len(real)
    goal = np.array(world.goal.holdout.column("source").to_pylist())
    per = dear / n
    print(f"\n{args.mixtures} mixtures of {len(SOURCES)} sources, {world.pool.count:,} records; truth on {n} of them, "
          f"{per:.0f} s each; 95 % intervals")  # fmt: skip
    for name in GOALS:
        of = goal == name
        t = real[:, of].mean(1)
        noise = np.std(t[: len(again)] - again[:, of].mean(1), ddof=1) / np.sqrt(2)
        print(f"\n{name}: the truth spreads from {t.min():.3f} to {t.max():.3f} bits per byte, {np.std(t):.4f} between "
              f"mixtures and {noise:.4f} between seeds\n")  # fmt: skip
        print("| proof | rank correlation | interval | pairs ordered alike | its favourite is | seconds a mixture |")
        print("|---|---:|---:|---:|---:|---:|")
        for proof, (losses, seconds) in cheap.items():
            c = losses[:n, of].mean(1)
            low, high = interval(c, t)
            alike = decision_accuracy(c, t)
            place = int((t < t[np.argmin(c)]).sum()) + 1
            print(f"| {proof} | {spearman(c, t):.2f} | [{low:.2f}, {high:.2f}] | {alike.share:.0%} "
                  f"| number {place} of {n} | {seconds / len(losses):.2f} |")  # fmt: skip
    print("\nrank correlation of the proofs among themselves, mean of the goals, on the mixtures both have\n")
    print("| | " + " | ".join(cheap) + " |\n|---|" + "---:|" * len(cheap))
    for one, (losses, _) in cheap.items():
        row = []
        for other, _ in cheap.values():
            k = min(len(losses), len(other))
            pairs = [(losses[:k, goal == g].mean(1), other[:k, goal == g].mean(1)) for g in GOALS]
            row.append(np.mean([spearman(a, b) for a, b in pairs]))
        print(f"| {one} | " + " | ".join(f"{r:.2f}" for r in row) + " |")


if __name__ == "__main__":
    main()
