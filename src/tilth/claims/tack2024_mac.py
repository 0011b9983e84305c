"""MAC (Tack et al. 2024, arXiv 2403.04317): a frozen model answers from a memory of documents read once.

A decoder of 2 layers first learns to answer a question about an invented person from the one sentence before it; facts
are drawn anew for each text, so there is nothing to recall. It is then frozen. Reader and aggregator (`models.mac`) are
trained on more such facts, in memories of 8 and then of 64 documents. Then 200 new facts about people never seen
arrive one after the other: each is read once, and questions are asked of memories of 50 and of all 200. Rivals: the
decoder fine-tuned on the new questions and answers, 50 facts after 50, each until it is known, at the rate of three
that forgets least; the sentence that BM25 finds, read by the decoder; and, as a control, a memory trained with one
document at a time. The paper adapts language models of up to 7 billion parameters to streams of real documents.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import windows_of_documents
from tilth.models.bm25 import BM25
from tilth.models.feeds import Fixed
from tilth.models.mac import Mac, answers, remember, train_mac
from tilth.models.optim import Options
from tilth.models.train import generator, threads, train_lm
from tilth.models.transformer import Config, Decoder
from tilth.models.tune import padded_to

__all__ = ["PAPER", "run"]

PAPER = "online_adaptation_of_language_models_with"
SEEDS = 3
SYLLABLES: Final = [a + b for a, b in product("bdfgklmnprst", "aeiou")]
RELATIONS: Final = (("lives in", "home"), ("works as", "trade"), ("eats", "dish"), ("plays", "game"))
LABELS = {
    "all": "memory of all facts: right",
    "part": "memory of a part of them: right",
    "first, alone": "the first part's facts, memory of these alone: right",
    "first, of all": "the first part's facts, memory of all: right",
    "last, of all": "the last part's facts, memory of all: right",
    "decoder": "frozen decoder alone: right",
    "given": "frozen decoder after the right sentence: right",
    "retrieved": "frozen decoder after the sentence that BM25 finds: right",
    "tuned, then": "fine-tuned: right on the first part, just learned",
    "tuned, end": "fine-tuned: right on the first part, at the end",
    "tuned, all": "fine-tuned: right on all at the end",
    "tuned, least": "fine-tuned: right on the part learned worst, just learned",
    "tuned, once": "fine-tuned by one pass over them: right on all",
    "remembering": "milliseconds to read one document",
    "tuning": "milliseconds to fine-tune on one fact until known",
    "tuning rate": "rate at which fine-tuning forgot least",
}
Found = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """The world, the models and their training.

    Attributes:
        values: of each relation.
        stories: texts from which the decoder learns to read, `batch` windows a step.
        few, many: steps of `bank` facts each, in memories of `small` documents and of `bank`.
        new: facts that arrive; `part` of them at a time.
        looks: at most so often fine-tuning reads a part ten times and looks whether it knows it.
        rates: of fine-tuning.
    """

    values: int = 40
    stories: int = 16_000
    few: int = 1500
    many: int = 1500
    small: int = 8
    bank: int = 64
    new: int = 200
    part: int = 50
    looks: int = 20
    slots: int = 2
    depth: int = 2
    context: int = 48
    batch: int = 16
    rate: float = 2e-3
    rates: tuple[float, ...] = (2e-3, 5e-4, 1e-4)


@dataclass(frozen=True)
class Facts:
    """Facts as they are told and asked: a sentence, a question, an answer each."""

    documents: list[str]
    questions: list[str]
    answers: list[str]

    def __getitem__(self, rows: slice) -> Facts:
        return Facts(self.documents[rows], self.questions[rows], self.answers[rows])

    @classmethod
    def drawn(cls, count: int, values: int, rng: np.random.Generator, apart: Sequence[str] = ()) -> Facts:
        """So many facts about different people, none of those whose names are `apart`."""
        known, names = set(apart), list[str]()
        if count + len(known) > len(SYLLABLES) ** 3:
            raise ValueError(f"there are {len(SYLLABLES) ** 3:,} names; {count + len(known):,} are wanted")
        while len(names) < count:
            name = "".join(SYLLABLES[i] for i in rng.integers(0, len(SYLLABLES), 3))
            if name not in known:
                known.add(name)
                names.append(name)
        kinds, chosen = rng.integers(0, len(RELATIONS), count).tolist(), rng.integers(0, values, count).tolist()
        told = [value(k, v) for k, v in zip(kinds, chosen, strict=True)]
        return cls(
            [f"{name} {RELATIONS[k][0]} {said}" for name, k, said in zip(names, kinds, told, strict=True)],
            [f"{RELATIONS[k][1]} of {name}? " for name, k in zip(names, kinds, strict=True)],
            told,
        )


def value(kind: int, number: int) -> str:
    """A value of a relation, one word."""
    return f"{RELATIONS[kind][1].upper()}{number}"


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed."""

    def of(arm: str, name: str) -> npt.NDArray[np.float64]:
        return np.array([f[arm][name] for f in found])

    mac, part = of("MAC", "all"), of("MAC", "part")
    lost = of("MAC", "first, alone") - of("MAC", "first, of all")
    forgotten = of("rivals", "tuned, then") - of("rivals", "tuned, end")
    late = of("MAC", "last, of all") - of("MAC", "first, of all")
    moved, one = of("MAC", "order"), of("control: memories of one", "all")
    rows = [
        lab.row("200 new facts read once, no gradient step: right", "at least 0.6", mac, mac.mean() >= 0.6),
        lab.row("memory of 50 less memory of 200", "at most 0.10", part - mac, (part - mac).mean() <= 0.1),
        lab.row("first facts: asked of them alone less asked of all", "at most 0.05", lost, lost.mean() <= 0.05),
        lab.row("last facts less first facts, asked of all", "0 (here: at most 0.05)", late, late.mean() <= 0.05),
        lab.row("fine-tuned part after part: first part, just learned less at the end", "at least 0.3", forgotten,
                forgotten.mean() >= 0.3),
        lab.row("memory in another order: largest change of a prefix", "0 but for rounding (here: at most 1e-4)", moved,
                bool((moved <= 1e-4).all())),
        lab.row("control: trained with one document at a time, asked of 200", "fails (here: at most 0.2)", one,
                one.mean() <= 0.2),
    ]  # fmt: skip
    for arm in ("MAC", "control: memories of one"):
        shown = [name for name in LABELS if name in found[0][arm]]
        rows += [lab.row(f"{arm}: {LABELS[name]}", "", of(arm, name), None) for name in shown]
    return rows + [lab.row(LABELS[n], "", of("rivals", n), None) for n in LABELS if n in found[0]["rivals"]]


def measured(run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """Of the memory, its control and the rivals: shares of right answers, and times; see `LABELS`."""
    new = Facts.drawn(scale.new, scale.values, run.rng("new"))
    names = [ask.split(" of ")[1][:-2] for ask in new.questions]
    read = Facts.drawn(scale.stories, scale.values, run.rng("stories"), names)
    many = Facts.drawn((scale.few + scale.many) * scale.bank, scale.values, run.rng("facts"), names)
    spoken = [value(k, v) for k in range(len(RELATIONS)) for v in range(scale.values)]
    told = [" ".join(words) for words in RELATIONS]
    vocab = lab.Vocab.of([*stories(new), *told, *spoken, *SYLLABLES], rf"(?:{'|'.join(SYLLABLES)})|\w+|.")
    with threads(1):
        lm = lab.decoder(scale.depth, len(vocab), scale.context, run)
        texts = vocab.encode_batch(stories(read))
        data = windows_of_documents(*texts, np.arange(scale.stories), scale.context, lab.END, packing="next_fit")
        train_lm(lm, Fixed(data, scale.batch), Options(rate=lm.config.rate, batch=scale.batch))
        lm.requires_grad_(False).eval()
        found = {
            arm: asked(_trained(lm, vocab, many, scale, run, arm == "MAC"), lm, vocab, new, scale, run)
            for arm in ("MAC", "control: memories of one")
        }
        found["rivals"] = rivals(lm, vocab, new, scale, run)
    return found


def stories(facts: Facts) -> list[str]:
    """Each fact as the decoder reads it: sentence, question, answer."""
    return [f"{d}. {q}{a}" for d, q, a in zip(facts.documents, facts.questions, facts.answers, strict=True)]


def _trained(lm: Decoder, vocab: lab.Vocab, facts: Facts, scale: Scale, run: Run, among: bool) -> Mac:
    """Reader and aggregator, trained on memories of many documents or, as a control, of one."""
    shape = Config.of_depth(scale.depth, len(vocab), scale.context, causal=False)
    model = Mac(lm, shape, generator(run.rng("memory")), slots=scale.slots)
    documents, questions = vocab.encode_batch(facts.documents), vocab.encode_batch(facts.questions)
    talks, options = lab.talks(vocab, facts.questions, facts.answers), Options(rate=scale.rate, batch=scale.bank)
    first, last = np.split(np.arange(len(facts.answers)), [scale.few * scale.bank])
    for rows, size in ((first, scale.small), (last, scale.bank)):
        train_mac(model, lm, documents, questions, talks, rows, options, run=run, bank=size if among else 1)
    return model.eval()


def asked(model: Mac, lm: Decoder, vocab: lab.Vocab, new: Facts, scale: Scale, run: Run) -> dict[str, float]:
    """What a memory answers of the new facts."""
    documents = vocab.encode_batch(new.documents)
    remember(model, documents, 1)  # once before the clock: the first pass is slower
    began = time.perf_counter()
    bank = remember(model, documents, 1)
    took = (time.perf_counter() - began) * 1000 / scale.new

    def right(memory: torch.Tensor, rows: slice) -> float:
        texts = vocab.encode_batch(new.questions[rows])
        said = answers(model, lm, memory, texts, texts, 2, end=lab.END)
        return share([vocab.decode(ids) for ids in said], new.answers[rows])

    parts = [slice(i, i + scale.part) for i in range(0, scale.new, scale.part)]
    given = padded_to(model.reader, vocab.encode_batch(new.questions), np.arange(scale.new))
    turned = torch.from_numpy(run.rng("turned").permutation(scale.new))
    with torch.no_grad():
        moved = float((model.recall(*given, bank) - model.recall(*given, bank[turned])).abs().max())
    return {
        "all": right(bank, slice(None)),
        "part": float(np.mean([right(bank[rows], rows) for rows in parts])),
        "first, alone": right(bank[parts[0]], parts[0]),
        "first, of all": right(bank, parts[0]),
        "last, of all": right(bank, parts[-1]),
        "order": moved,
        "remembering": took,
    }


def rivals(lm: Decoder, vocab: lab.Vocab, new: Facts, scale: Scale, run: Run) -> dict[str, float]:
    """What the decoder answers without a memory: frozen, after a sentence, and fine-tuned on the new facts."""

    def right(model: Decoder, facts: Facts, before: Sequence[str] | None = None) -> float:
        heads = [""] * len(facts.questions) if before is None else [f"{told}. " for told in before]
        asks = [head + ask for head, ask in zip(heads, facts.questions, strict=True)]
        return share(lab.answers(model, vocab, asks, 2), facts.answers)

    found = BM25.of(new.documents).search(new.questions, 1)[0][:, 0]
    told = [new.documents[i] for i in found]

    def tuned(rate: float) -> dict[str, float]:
        model, options = copy.deepcopy(lm).requires_grad_(True), Options(rate=rate, batch=scale.batch)
        took, known = 0.0, list[float]()
        for start in range(0, scale.new, scale.part):
            facts = new[start : start + scale.part]
            talks = lab.talks(vocab, facts.questions, facts.answers)
            for turn in range(scale.looks):
                began = time.perf_counter()
                lab.tune(model, talks, -(-10 * scale.part // scale.batch), run.at("tuned", start, turn), options)
                took += time.perf_counter() - began
                if right(model, facts) >= 0.98:
                    break
            known.append(right(model, facts))
        return {
            "tuned, then": known[0],
            "tuned, end": right(model, new[: scale.part]),
            "tuned, all": right(model, new),
            "tuned, least": min(known),
            "tuning": took * 1000 / scale.new,
            "tuning rate": rate,
        }

    tries = [tuned(rate) for rate in scale.rates]
    able = [made for made in tries if made["tuned, least"] >= 0.9] or tries  # what was not learned cannot be forgotten
    best = min(able, key=lambda made: made["tuned, then"] - made["tuned, end"])
    once, everything = copy.deepcopy(lm).requires_grad_(True), lab.talks(vocab, new.questions, new.answers)
    lab.tune(
        once, everything, -(-scale.new // scale.batch), run.at("once"), Options(rate=scale.rate, batch=scale.batch)
    )
    return {
        "decoder": right(lm, new),
        "given": right(lm, new, new.documents),
        "retrieved": right(lm, new, told),
        "tuned, once": right(once, new),
        **best,
    }


def share(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Of the answers, how many are right to the letter."""
    return float(np.mean([a == b for a, b in zip(said, wanted, strict=True)]))
