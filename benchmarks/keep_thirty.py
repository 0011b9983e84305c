"""Keep 30 % by each signal, and train: does any of them choose better than chance?

    python benchmarks/keep_thirty.py labelled --data ../shared/data --out build/keep_thirty
    python benchmarks/keep_thirty.py text --data ../shared/data --out build/keep_thirty

Two tournaments. *labelled*: CLINC150 (150 intents), 10 % of its labels changed at random to another class, judged by
the `classify` proof on clean records that were held out. *text*: ten real pools, the goal held-out records of two of
them, judged by the `tiny_lm` proof. Every candidate keeps the 30 % of records that a signal ranks first, at the end of
its range named in the label; the baselines read as much. Written to the folder: a recipe, its data, the table and a
page. Killed and started again it goes on where it was; `--dry-run` says how long it would take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tilth.core import TablePool
from tilth.io.streams import blocks, lines
from tilth.signals.audit.contamination import overlapping

LM = {"model": "lm", "seeds": 2, "passes": 4, "tokens": 150_000, "longest": 600, "depth": 1}
IN_EACH = ", in each class"  # as many of every class as random would take
LABELLED: dict[str, tuple[str, bool]] = {
    "el2n, easy": ("el2n.score", False),
    "el2n, hard": ("el2n.score", True),
    "confidence": ("cartography.confidence", True),
    "ambiguous": ("cartography.variability", True),
    "grand, easy": ("grand.score", False),
    "label_issues": ("label_issues.self_confidence", True),
    "influence_average": ("influence_average.mean", True),
    "tracin": ("tracin.score", True),
    "tracin, cosine": ("tracin.cosine", True),
    "influence_function": ("influence_function.score", True),
    "trak": ("trak.score", True),
    "less": ("less.score", True),
    "gptfluence": ("gptfluence.score", True),
    "learning_percentage, late": ("learning_percentage.score", False),
    "agreement_order, early": ("agreement_order.score", True),
    f"confidence{IN_EACH}": ("cartography.confidence", True),
    f"ambiguous{IN_EACH}": ("cartography.variability", True),
    f"label_issues{IN_EACH}": ("label_issues.self_confidence", True),
    "teacher_student_gap": ("teacher_student_gap.excess", True),
}
TEXT: dict[str, tuple[str, bool]] = {
    "el2n, easy": ("el2n.score", False),
    "confidence": ("cartography.confidence", True),
    "ambiguous": ("cartography.variability", True),
    "influence_average": ("influence_average.mean", True),
    "tracin": ("tracin.score", True),
    "tracin, cosine": ("tracin.cosine", True),
    "less": ("less.score", True),
    "learning_percentage, late": ("learning_percentage.score", False),
    "teacher_student_gap": ("teacher_student_gap.excess", True),
    "preselect": ("preselect.score", True),
    "domain_specificity": ("domain_specificity.bits_per_byte", True),
    "perplexity_slice, low": ("perplexity_slice.pool", False),
    "importance": ("importance.per_token", True),
}
POOLS = ("chat_irc_ubuntu", "dialogue_sgd", "encyclopedia_simplewiki", "fiction_novels", "health_medquad", "law_german",
         "math_stacks", "newsletter_twir", "science_arxiv_2025", "techdocs_peps")  # fmt: skip
WANTED = ("health_medquad", "science_arxiv_2025")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def read(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    found = []
    for _, line, _ in lines(blocks(path)):
        found.append(orjson.loads(line))
        if most is not None and len(found) >= most:
            break
    return found


def apart(target: list[dict[str, Any]], holdout: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The target's items that share little text with the holdout: a tournament refuses others."""
    one, other = (
        TablePool(pa.table({"id": list(map(str, range(len(part)))), "text": [row["text"] for row in part]}))
        for part in (target, holdout)
    )
    hit = {int(i) for i in overlapping(one, other).column("a_id").to_pylist()}
    hit |= {int(i) for i in overlapping(other, one).column("b_id").to_pylist()}
    return [row for i, row in enumerate(target) if i not in hit]


def clinc(data: Path, rng: np.random.Generator) -> tuple[list[dict[str, Any]], ...]:
    """CLINC150, each sentence once: target, holdout and pool, in random order."""
    seen: set[str] = set()
    rows = []
    for row in read(data / "C_labeled" / "clinc150.jsonl.zst"):
        key = "".join(c for c in row["text"].lower() if c.isalnum())
        if row["label"] not in ("oos", None) and key not in seen:
            seen.add(key)
            rows.append({"text": row["text"], "label": row["label"]})
    rows = [rows[i] for i in rng.permutation(len(rows))]
    holdout = rows[1500:4500]
    return apart(rows[:1500], holdout), holdout, rows[4500:]


def labelled(data: Path, out: Path) -> dict[str, Any]:
    """CLINC150 with planted wrong labels: 30 % of the pool is the budget."""
    rng = np.random.default_rng(0)
    target, holdout, pool = clinc(data, rng)
    names = sorted({row["label"] for row in (*target, *holdout, *pool)})
    for row in pool:
        if rng.random() < 0.1:
            row["label"] = names[(names.index(row["label"]) + int(rng.integers(1, len(names)))) % len(names)]
    for name, part in (("target", target), ("holdout", holdout), ("pool", pool)):
        write(out / f"{name}.jsonl", [row | {"id": f"{name}{i}"} for i, row in enumerate(part)])
    learners = {"learning_percentage": {"learner": {"seeds": 5, "passes": 6}}}  # the others' default: one training
    return recipe({"pool": "pool.jsonl"}, f"{round(len(pool) * 0.3)} records", LABELLED, learners, "classify", 5)


def text(data: Path, out: Path) -> dict[str, Any]:
    """Ten pools, a goal of two of them: 30 % of the pool's tokens is the budget."""
    rng = np.random.default_rng(0)
    target, holdout, sources, size = [], [], {}, 0
    for name in POOLS:
        rows = [{"text": row["text"][:2000]} for row in read(data / "A_text" / f"{name}.jsonl.zst", 3000)]
        rows = [rows[i] for i in rng.permutation(len(rows))]
        if name in WANTED:
            target += rows[:60]
            holdout += rows[60:160]
            rows = rows[160:]
        some, total = [], 0
        for row in rows:
            total += len(row["text"].encode())
            if total > 300_000:
                break
            some.append(row)
        size += total
        write(out / f"{name}.jsonl", [row | {"id": f"{name}{i}"} for i, row in enumerate(some)])
        sources[name] = f"{name}.jsonl"
    target = apart(target, holdout)
    for part_name, part in (("target", target), ("holdout", holdout)):
        write(out / f"{part_name}.jsonl", [row | {"id": f"{part_name}{i}"} for i, row in enumerate(part)])
    proof = {"use": "tiny_lm", "depth": 1, "tokens": 60_000, "vocab": 1024, "context": 128}
    watched = ("cartography", "el2n", "influence_average", "tracin", "less", "learning_percentage")
    learners: dict[str, dict[str, Any]] = {name: {"learner": LM} for name in watched}
    learners["teacher_student_gap"] = {"teacher": {**LM, "seeds": 1}, "student": {**LM, "seeds": 1, "passes": 2}}
    return recipe(sources, f"{round(size * 0.3 / 4)} tokens", TEXT, learners, proof, 4)


def recipe(
    sources: dict[str, str],
    budget: str,
    candidates: dict[str, tuple[str, bool]],
    learners: dict[str, Any],
    proof: Any,
    seeds: int,
) -> dict[str, Any]:
    signals = []
    for name in dict.fromkeys(column.split(".")[0] for column, _ in candidates.values()):
        signals.append({"use": name, **learners.get(name, {})})
    policies = {
        label: {"use": "sample", "by": column, "high": high, "stratify": "label" if IN_EACH in label else ""}
        for label, (column, high) in candidates.items()
    }
    return {
        "sources": sources,
        "goal": {"target": "target.jsonl", "holdout": "holdout.jsonl", "budget": budget},
        "signals": signals,
        "plan": ["random"],
        "proof": {**({"use": proof} if isinstance(proof, str) else proof), "seeds": seeds},
        "tournament": policies,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["labelled", "text"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    folder = args.out / args.which
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "recipe.yaml").exists():
        made = {"labelled": labelled, "text": text}[args.which](args.data, folder)
        (folder / "recipe.yaml").write_text(json.dumps(made, indent=1))
    command = [sys.executable, "-m", "tilth", "tournament", str(folder / "recipe.yaml"), "--out", str(folder / "out")]
    command += ["--workers", str(args.workers), *(["--dry-run"] if args.dry_run else [])]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
