"""Noise is surprising, probabilities sum to one, and nobody is judged by a model that has read him."""

from __future__ import annotations

import re
from collections import Counter
from math import log2

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import Budget, Goal, Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.kernels.perplexity import END, WordModel
from tilth.signals.quality.perplexity import Perplexity

NOUNS = [
    "farmer",
    "field",
    "river",
    "seed",
    "storm",
    "village",
    "horse",
    "winter",
    "mill",
    "orchard",
    "shepherd",
    "barn",
]
VERBS = ["feeds", "crosses", "watches", "remembers", "shelters", "leaves", "follows", "ruins", "visits", "guards"]
ADJECTIVES = ["old", "quiet", "wet", "distant", "narrow", "golden", "patient", "empty"]
TEMPLATES = [
    "The {a} {n} {v} the {m}.",
    "When the {n} {v} the {m}, nobody in the {o} is surprised.",
    "It is said that a {a} {n} never {v} a {b} {m}.",
    "Beyond the {o}, where the {a} {n} stands, the {m} {v} the {p}.",
]


def prose(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)

    def pick(words: list[str]) -> str:
        return str(rng.choice(words))

    return [
        " ".join(
            pick(TEMPLATES).format(
                v=pick(VERBS), a=pick(ADJECTIVES), b=pick(ADJECTIVES), **{slot: pick(NOUNS) for slot in "nmop"}
            )
            for _ in range(5)
        )
        for _ in range(n)
    ]


def shuffled(texts: list[str]) -> list[str]:
    rng = np.random.default_rng(5)
    return [" ".join(rng.permutation(text.split())) for text in texts]


def noised(texts: list[str]) -> list[str]:
    """One letter in twenty is another letter."""
    rng = np.random.default_rng(6)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    return ["".join(str(rng.choice(letters)) if rng.random() < 0.05 else c for c in text) for text in texts]


def goal_of(texts: list[str]) -> Goal:
    target = TablePool(pa.table({"text": pa.array(texts, pa.string())}))
    return Goal(target, target, Budget(1))


def measured(signal: Perplexity, texts: list[str], goal: Goal, what: str = "bits_per_byte") -> npt.NDArray[np.float64]:
    scored = score_in_memory(signal, TablePool(pa.table({"text": pa.array(texts, pa.string())})), goal)
    return np.array(scored.column(f"perplexity.{what}").to_pylist(), float)


@pytest.mark.parametrize("damage", [shuffled, noised])
@pytest.mark.parametrize("what", ["bits_per_byte", "bits_per_token"])
def test_damaged_text_is_found(damage: object, what: str) -> None:
    assert callable(damage)
    clean = prose(150, 1)
    found = measured(Perplexity(), clean + damage(prose(150, 2)), goal_of(prose(100, 0)), what)
    assert roc_auc_score(np.arange(300) >= 150, found) >= 0.95


def test_single_words_cannot_see_word_order() -> None:
    """The naive rival: word frequencies find damaged words and are blind to shuffling."""
    clean = prose(150, 1)
    found = measured(Perplexity(order=1), clean + shuffled(clean), goal_of(prose(100, 0)))
    assert found[:150] == pytest.approx(found[150:])


def test_learns_from_the_pool() -> None:
    """Nine tenths of the pool are clean; what differs is surprising, though the model has read a half of it."""
    texts = prose(270, 1) + shuffled(prose(30, 2))
    found = measured(Perplexity(train="pool"), texts, goal_of([]))
    assert roc_auc_score(np.arange(300) >= 270, found) >= 0.95


def test_a_record_is_not_judged_by_a_model_that_has_read_it() -> None:
    rng = np.random.default_rng(0)
    # Nothing can be learnt about one text but by reading that text.
    texts, others = ([" ".join(f"w{w}" for w in rng.integers(0, 10_000, 40)) for _ in range(60)] for _ in "ab")
    unseen = measured(Perplexity(), texts, goal_of(others))
    memorised = measured(Perplexity(), texts, goal_of(texts))
    crossed = measured(Perplexity(train="pool"), texts + texts, goal_of([]))
    assert memorised.max() < 0.7 * crossed.min()
    assert crossed.mean() > 0.9 * unseen.mean()
    assert (crossed[:60] == crossed[60:]).all()  # copies fall into the same half


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_sum_to_one(order: int) -> None:
    train = pa.array(["a b a c a b b . c", "b a a", "c", ""])
    model = WordModel.of(train, order, 0.6)
    unseen_word = "zq"
    spelled = sum(model.spelling[b] for b in unseen_word.encode()) + model.spelling[END]
    for history in ["", "a", "b a", "a b", "c", "c b", "zq", "a zq", "zq a", "a b a c a"]:
        words = ["a", "b", "c", ".", unseen_word]
        bits, _ = model.bits(pa.array([history, *(f"{history} {w}" for w in words)]))
        after = bits[1:] - bits[0]
        after[-1] -= spelled
        assert (2.0**-after).sum() == pytest.approx(1.0)


def test_spelling_is_a_distribution() -> None:
    model = WordModel.of(pa.array(["Some text, some \x00 bytes: é"]), 2, 0.75)
    assert (2.0**-model.spelling).sum() == pytest.approx(1.0)
    assert model.spelling[ord("s")] < model.spelling[ord("q")]


def plain(train: list[str], text: str, order: int, d: float) -> float:
    """The model's definition, over tuples, unknown words at their class's probability."""

    def cut(t: str) -> list[str]:
        return re.findall(r"\w+|[^\w\s]+", t.lower(), re.ASCII)

    grams: Counter[tuple[str, ...]] = Counter()
    for one in map(cut, train):
        grams.update(tuple(one[i : i + n]) for n in range(1, order + 1) for i in range(len(one) - n + 1))
    total = sum(c for g, c in grams.items() if len(g) == 1)
    kinds = sum(len(g) == 1 for g in grams)

    def p(word: str, history: tuple[str, ...]) -> float:
        if not history:
            known = grams[(word,)]
            return (known - d) / total if known else d * kinds / total
        after = {g: c for g, c in grams.items() if len(g) == len(history) + 1 and g[:-1] == history}
        lower = p(word, history[1:])
        if not after:
            return lower
        return (max(grams[(*history, word)] - d, 0) + d * len(after) * lower) / sum(after.values())

    words = cut(text)
    return -sum(log2(p(w, tuple(words[max(0, i - order + 1) : i]))) for i, w in enumerate(words))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_kernel_equals_the_definition(order: int) -> None:
    rng = np.random.default_rng(order)
    words = ["a", "B", "c,", "d", ".", "e-f", "g"]
    train = [" ".join(rng.choice(words, int(rng.integers(0, 12)))) for _ in range(30)]
    texts = [" ".join(rng.choice([*words, "New", "!?"], int(rng.integers(1, 15)))) for _ in range(40)]
    model = WordModel.of(pa.array(train), order, 0.7)
    bits, tokens = model.bits(pa.array(texts))
    for text, got, count in zip(texts, bits, tokens, strict=True):
        unknown = [w for w in re.findall(r"\w+|[^\w\s]+", text) if w in ("New", "!?")]
        spelled = (
            sum(model.spelling[b] for w in unknown for b in w.lower().encode()) + len(unknown) * model.spelling[END]
        )
        assert got - spelled == pytest.approx(plain(train, text, order, 0.7))
        assert count == len(re.findall(r"\w+|[^\w\s]+", text))


def test_always_finite_and_unknown_without_words() -> None:
    texts = ["", "  \n", "x" * 1_000_000, "\x00\x01", "漢字", "the the the"]
    for goal in (goal_of(prose(5, 0)), goal_of([]), goal_of([""])):
        found = measured(Perplexity(), texts, goal)
        assert np.isnan(found[:2]).all()
        assert np.isfinite(found[2:]).all()
        assert (found[2:] > 0).all()


def test_needs_a_goal_for_a_target() -> None:
    pool = TablePool(pa.table({"text": ["a"]}))
    with pytest.raises(UsageError, match="train: pool"):
        Perplexity().fit(pool, None, Run())
    assert len(Perplexity(train="pool").fit(pool, None, Run())) == 2
