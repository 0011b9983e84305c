"""Compression represents intelligence linearly (Huang et al. 2024, arXiv 2404.09937): bits foretell marks.

A family of 13 tiny models differs in size, in the text read, in its share of the domain (questions and answers about
health; the rest is German law), and two of them in the tokenizer (bytes). Each is asked for the last word of passages
of unseen documents of the domain, out of four words that are about as frequent, and its bits per character are taken on
other unseen documents: of the domain, and for the negative control of German law. The measure is Pearson's correlation
with the marks over the family. Three seeds draw documents, questions and weights. The paper has 31 large models and 12
benchmarks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import windows_to_score
from tilth.models.metrics import linear_law
from tilth.models.optim import Options, precision_of
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import record_losses, threads
from tilth.models.transformer import Decoder
from tilth.proofs.compression import bits_per_character

__all__ = ["PAPER", "run"]

PAPER = "compression_represents_intelligence_linearly"
SEEDS = 3
DOMAIN, OTHER = "A_text/health_medquad", "A_text/law_german"
WANTED = -0.9
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Member:
    """A model of the family.

    Attributes:
        share: of the characters read, from the domain.
        bytes: whether its tokens are bytes.
    """

    depth: int
    characters: int
    share: float = 1.0
    bytes: bool = False


FAMILY = (
    *(Member(1, n) for n in (60_000, 250_000)),
    *(Member(2, n) for n in (60_000, 250_000, 700_000)),
    *(Member(3, n) for n in (250_000, 700_000)),
    *(Member(2, 250_000, share) for share in (0.5, 0.2, 0.05)),
    Member(2, 700_000, 0.2),
    *(Member(depth, 250_000, 1.0, bytes=True) for depth in (1, 2)),
)


@dataclass(frozen=True)
class Scale:
    """Documents, questions and training.

    Attributes:
        scored: unseen documents whose bits are counted, of each domain.
        passage: characters before the word that is asked for.
    """

    vocab: int = 1024
    context: int = 128
    longest: int = 2000
    scored: int = 50
    score_longest: int = 800
    questions: int = 300
    candidates: int = 4
    passage: int = 100
    batch: int = 8


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when the texts are missing.
    """
    texts = [[r["text"] for r in records] for records in lab.records(data, DOMAIN, OTHER)]
    scale = Scale()
    found = np.array([marks(texts[0], texts[1], Run(seed=seed), scale, FAMILY) for seed in range(SEEDS)])
    return statements(found, FAMILY, scale.candidates)


def statements(found: Floats, family: Sequence[Member], candidates: int) -> list[dict[str, Any]]:
    """The paper's statements, judged on (seeds, members, 3): marks, bits per character of the domain, of the other."""
    marks, bits, other = np.moveaxis(found, 2, 0)
    r = np.array([np.corrcoef(b, m)[0, 1] for b, m in zip(bits, marks, strict=True)])
    apart = np.array([np.corrcoef(b, m)[0, 1] for b, m in zip(other, marks, strict=True)])
    plain = np.array([not member.bytes for member in family])
    whole = np.array([member.share == 1 and not member.bytes for member in family])
    off, error = [], []
    for b, m in zip(bits, marks, strict=True):
        law = linear_law(b[plain], m[plain])
        off.append(float(np.abs(m[~plain] - (law.intercept + law.slope * b[~plain])).mean()))
        error.append(law.error)
    inside = [np.corrcoef(b[whole], m[whole])[0, 1] for b, m in zip(bits, marks, strict=True)]
    return [
        lab.row("bits per character of the domain with marks in it: r", f"at most {WANTED}", r, r.mean() <= WANTED),
        lab.row("models of bytes: distance of their marks from the line of the others", "on it (here: at most 0.05)",
                off, float(np.mean(off)) <= 0.05),
        lab.row("control: r with bits of the other domain less r with bits of the domain", "above 0", apart - r,
                lab.mean(apart - r)[1] > 0),
        lab.row("control: bits per character of the other domain with marks: r", "no law (here: above -0.5)", apart,
                apart.mean() > -0.5),
        lab.row("r among the models that read nothing but the domain", "", inside, None),
        lab.row("typical distance of marks from the line (root mean square)", "", error, None),
        lab.row(f"lowest marks of the family; chance is {1 / candidates:.2f}", "", marks.min(1), None),
        lab.row("highest marks of the family", "", marks.max(1), None),
        *(lab.row(f"{_named(member)}: {what}", "", values[:, i], None)
          for i, member in enumerate(family) for what, values in (("marks", marks), ("bits", bits))),
    ]  # fmt: skip


def marks(domain: Sequence[str], other: Sequence[str], run: Run, scale: Scale, family: Sequence[Member]) -> Floats:
    """Of each member its marks, and its bits per character of unseen documents of the domain and of the other."""
    domain, other = ([texts[i] for i in run.rng(name).permutation(len(texts))]
                     for name, texts in (("domain", domain), ("other", other)))  # fmt: skip
    exam, scored = domain[: scale.questions * 2], domain[scale.questions * 2 :][: scale.scored]
    foreign = other[: scale.scored]
    pools = domain[scale.questions * 2 + scale.scored :], other[scale.scored :]
    asked = questions(exam, run.rng("questions"), scale)
    parts = [read_by(member, *pools, scale.longest) for member in family]
    largest = max(parts, key=lambda part: sum(map(len, part)))
    words = Tokenizer.train([*largest, *(text[: scale.longest] for text in pools[1][-50:])], scale.vocab)
    singles = Tokenizer.train(["a"], 257)
    out = np.zeros((len(family), 3))
    with threads(1):
        for i, (member, texts) in enumerate(zip(family, parts, strict=True)):
            tokenizer = singles if member.bytes else words
            model = lab.decoder(member.depth, tokenizer.vocab_size, scale.context, run.at(i))
            ids = tokenizer.encode_batch(texts)
            options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
            lab.read(model, ids, int(ids[1].size) + len(texts), run.at(i), options)
            model.eval()
            out[i, 0] = right(model, tokenizer, asked, scale)
            for column, some in ((1, scored), (2, foreign)):
                cut = [text[: scale.score_longest] for text in some]
                bits = bits_per_character(model, tokenizer, cut, scale.context, scale.context // 2)
                lengths = np.array([len(text) for text in cut])
                out[i, column] = float((bits * lengths).sum() / lengths.sum())
    return out


def read_by(member: Member, domain: Sequence[str], other: Sequence[str], longest: int) -> list[str]:
    """The beginnings of documents that a member reads, once each: so many characters, a share from the domain."""
    out: list[str] = []
    for texts, wanted in ((domain, member.share), (other, 1 - member.share)):
        left = round(wanted * member.characters)
        for text in texts:
            if left <= 0:
                break
            out.append(text[: min(longest, left)])
            left -= len(out[-1])
    return out


Question = tuple[str, tuple[str, ...]]


def questions(texts: Sequence[str], rng: np.random.Generator, scale: Scale) -> list[Question]:
    """Passages without their last word, and the words to choose from, the right one first.

    The wrong words are those whose frequency in the texts is nearest, so that frequency does not give the answer away.
    """
    counts = Counter(word for text in texts for word in re.findall(r"(?<= )[a-z]{4,}(?=[ ,.])", text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    place = {word: i for i, word in enumerate(ranked)}
    out: list[Question] = []
    for text in texts:
        found = [m for m in re.finditer(r"(?<= )[a-z]{4,}(?=[ ,.])", text) if m.start() >= scale.passage]
        if not found or len(out) == scale.questions:
            continue
        m = found[int(rng.integers(len(found)))]
        i, reach = place[m.group()], 4 * scale.candidates
        near = [w for w in ranked[max(0, i - reach) : i + reach + 1] if w != m.group()]
        wrong = [near[j] for j in rng.permutation(len(near))[: scale.candidates - 1]]
        out.append((text[m.start() - scale.passage : m.start()], (m.group(), *wrong)))
    return out


def right(model: Decoder, tokenizer: Tokenizer, asked: Sequence[Question], scale: Scale) -> float:
    """The share of questions whose right word makes the passage likeliest."""
    texts = [f"{passage}{word}" for passage, words in asked for word in words]
    offsets, ids = tokenizer.encode_batch(texts)
    nats, _ = record_losses(model, windows_to_score(offsets, ids, scale.context, lab.END))
    return float((nats.reshape(len(asked), -1).argmin(1) == 0).mean())


def _named(member: Member) -> str:
    kind = ", bytes" if member.bytes else ""
    return f"depth {member.depth}, {member.characters // 1000} k characters, {member.share:.0%} of the domain{kind}"
