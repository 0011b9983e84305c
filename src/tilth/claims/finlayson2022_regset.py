"""What Makes Instruction Learning Hard? (Finlayson et al. 2022, arXiv 2204.09148): expressions as instructions.

A decoder of 3 layers with one token per symbol is trained on expressions, each with 20 strings and whether they match,
and then asked about expressions whose languages it never saw: like those of training, and from four harder kinds. An
expression counts as solved when 90 % of its strings are answered right. Languages are told apart by what they match, so
no spelling of an asked language is trained on. In the control each string of training comes with another's expression.
Three seeds draw expressions, weights and order. The paper tunes a pretrained model of 770 million parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.regset import RegSet, solved

__all__ = ["PAPER", "run"]

PAPER = "what_makes_instruction_learning_hard_an"
SEEDS = 3
TOKENS = r"(?s) ?\S+|."
"""Prompts have blanks between symbols."""
SHORT = 7
"""Languages that match the same strings up to this length pass for the same one."""
HARDER = {
    "more operators": RegSet(split="more_operators"),
    "larger alphabet": RegSet(split="larger_alphabet"),
    "longer strings": RegSet(split="longer_strings"),
    "hard (large, much memory)": RegSet(hard=True),
}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Expressions and training.

    Attributes:
        items: expressions of every kind that is asked about; twice as many of the kind of training.
    """

    expressions: int = 1500
    items: int = 50
    depth: int = 3
    steps: int = 1800
    batch: int = 32


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = [marked(Run(seed=seed), scale) for seed in range(SEEDS)]
    control = np.array([marked(Run(seed=seed), scale, dealt=True)["right: new"] for seed in range(SEEDS)])
    return statements(found, control)


def statements(found: Sequence[Mapping[str, float]], control: Floats) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marked` gives of each seed."""
    marks = {name: np.array([seed[name] for seed in found]) for name in found[0]}
    new, read = marks["solved: new"], marks["right: new"] - control
    size, memory = marks["size"], marks["memory"]
    rows = [
        lab.row("solved, new expressions like training's", "0.656 (here: above 0.5)", new, new.mean() > 0.5),
        *(lab.row(f"solved, {kind}, less new ones", "below 0 (0.11 to 0.24 solved)", marks[f"solved: {kind}"] - new,
                  lab.mean(marks[f"solved: {kind}"] - new)[2] < 0) for kind in HARDER),
        lab.row("rank correlation of an expression's answers right with its language's size", "below 0", size,
                lab.mean(size)[2] < 0),
        lab.row("rank correlation of an expression's answers right with its memory", "below 0", memory,
                lab.mean(memory)[2] < 0),
        lab.row("answers right, less those of the control", "above 0", read, lab.mean(read)[1] > 0),
        lab.row("control: expressions dealt to other strings; chance is 0.5", "near chance (here: at most 0.6)",
                control, control.mean() <= 0.6),
    ]  # fmt: skip
    return [*rows, *(lab.row(name, "", marks[name], None) for name in marks if ": " in name)]


def marked(run: Run, scale: Scale, dealt: bool = False) -> dict[str, float]:
    """Shares of right answers and of solved expressions by kind; rank correlations with size and memory.

    Args:
        dealt: every string of training comes with another string's expression, which says nothing of its answer.
    """
    pool, exams = _exams(run, scale)
    truth = pool.column("truth").to_pylist()
    asked = {t["regex"] for exam in exams.values() for part in exam for t in part.column("truth").to_pylist()}
    known = {language(regex) for regex in asked}
    own = {regex: language(regex) for regex in {t["regex"] for t in truth}}
    kept = [i for i, t in enumerate(truth) if own[t["regex"]] not in known]
    prompts, replies = ([texts[i] for i in kept] for texts in lab.asked(pool))
    if dealt:
        regexes, strings = zip(*(prompt.split("\n") for prompt in prompts), strict=True)
        prompts = [
            f"{regexes[i]}\n{s}" for i, s in zip(run.rng("dealt").permutation(len(strings)), strings, strict=True)
        ]
    questions = {kind: [f" {p}" for part in exam for p in lab.asked(part)[0]] for kind, exam in exams.items()}
    asks, says = ([f" {text}" for text in texts] for texts in (prompts, replies))
    vocab = lab.Vocab.of([*asks, *says, *(q for texts in questions.values() for q in texts)], TOKENS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 128, run)
        options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
        lab.tune(model, lab.talks(vocab, asks, says), scale.steps, run, options)
        said = {kind: [a.strip() for a in lab.answers(model, vocab, texts, 1)] for kind, texts in questions.items()}
    out: dict[str, float] = {}
    for kind, exam in exams.items():
        rows = [t for part in exam for t in part.column("truth").to_pylist()]
        hits = [a == t["answer"] for a, t in zip(said[kind], rows, strict=True)]
        cut = exam[0].count
        parts = [(exam[0], said[kind][:cut]), *((part, said[kind][cut:]) for part in exam[1:])]
        out[f"right: {kind}"] = float(np.mean(hits))
        out[f"solved: {kind}"] = float(np.mean([solved(part, answers) for part, answers in parts]))
        if kind == "new":
            out |= _ranks(rows, hits)
    return out


def _exams(run: Run, scale: Scale) -> tuple[Pool, dict[str, list[Pool]]]:
    """The pool, and what is asked: new expressions of its kind twice, harder ones once."""
    strings = RegSet().strings
    world = RegSet(items=scale.items).build(scale.expressions * strings, run)
    assert world.goal is not None
    exams = {"new": [world.goal.holdout, world.goal.target]}
    for kind, probe in HARDER.items():
        goal = probe.model_copy(update={"items": scale.items}).build(strings, run).goal
        assert goal is not None
        exams[kind] = [goal.holdout]
    return world.pool, exams


def _ranks(rows: Sequence[Mapping[str, Any]], hits: Sequence[bool]) -> dict[str, float]:
    """How the share of right answers to an expression goes with the size and the memory of its language."""
    by: dict[str, list[bool]] = {}
    about = {row["set"]: row for row in rows}
    for row, hit in zip(rows, hits, strict=True):
        by.setdefault(row["set"], []).append(hit)
    shares = [float(np.mean(right)) for right in by.values()]
    level = len(set(shares)) == 1  # no order, no correlation
    return {
        name: 0.0 if level else float(spearmanr(shares, [about[s][name] for s in by]).statistic)
        for name in ("size", "memory")
    }


def language(regex: str) -> tuple[str, frozenset[str]]:
    """The letters of an expression and which short strings of them it matches.

    >>> language("(ab)*") == language("(ab)*(ab)*"), language("(ab)*") == language("(ab)*a")
    (True, False)
    """
    letters = "".join(sorted(set(re.findall("[a-z]", regex))))
    matches = re.compile(regex).fullmatch
    strings = ("".join(s) for n in range(SHORT + 1) for s in product(letters, repeat=n))
    return letters, frozenset(s for s in strings if matches(s))
