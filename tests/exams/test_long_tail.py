"""long_tail: frequencies counted again in the texts by a reader of our own, and marks of counters right and wrong."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest

from tilth.core import Run, World
from tilth.core.errors import DataError
from tilth.probes.long_tail import LongTail

SENTENCES = {  # question -> ways to state its fact, as patterns with the subject and the object
    "founder": ["{s} was founded by {o}", "{o} founded {s}", "The founder of {s} was {o}", "{o} laid out {s}"],
    "river": ["{s} lies on the {o}", "The {o} flows past {s}", "Boats reach {s} by the {o}", "The {o} waters {s}"],
    "emblem": ["{s} bears the {o}", "The {o} adorns {s}", "The emblem of {s} is the {o}", "{s} chose the {o}"],
    "rival": ["{s} competes with {o}", "{o} is the rival of {s}", "{s} envies {o}", "{o} looks down on {s}"],
}
PATTERNS = [
    (relation, re.compile(text.format(s=r"(?P<s>[A-Z][a-z]+)", o=r"(?P<o>[A-Z][a-z]+)")))
    for relation, texts in SENTENCES.items()
    for text in texts
]


def stated(text: str) -> list[tuple[str, str, str]]:
    """Relation, subject and object of every sentence that states a fact."""
    found = []
    for sentence in text.rstrip(".").split(". "):
        matches = [(r, m["s"], m["o"]) for r, p in PATTERNS if (m := p.fullmatch(sentence))]
        assert len(matches) <= 1
        found += matches
    return found


def read(world: World) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    documents = world.pool.table(["text", "truth"]).to_pylist()
    return documents, world.more["questions"].table(["messages", "source", "truth"]).to_pylist()


@pytest.mark.parametrize("size", [60, 1000, 8000])
def test_frequencies_are_what_the_documents_state(size: int) -> None:
    world = LongTail().build(size, Run(seed=size))
    documents, asked = read(world)
    assert len(documents) == size
    support: Counter[tuple[str, str, str]] = Counter()
    for document in documents:
        facts, truth = stated(document["text"]), document["truth"]
        assert len(set(facts)) == (truth["fact"] is not None)
        assert len(facts) == truth["statements"]
        support.update(set(facts))
        assert all((s, o) == (truth["subject"], truth["answer"]) for _, s, o in facts)
        words = set(re.findall(r"\w+", document["text"]))
        assert set(truth["entities"]) <= words
    seen = set()
    for row in asked:
        truth, (user, assistant) = row["truth"], row["messages"]
        fact = (row["source"], truth["subject"], truth["answer"])
        assert support[fact] == truth["frequency"]
        assert truth["answerable"] == (support[fact] > 0)
        assert truth["subject"] in user["content"]
        assert assistant["content"] == truth["answer"]
        seen.add(fact)
    assert set(support) <= seen
    assert len({f[1] for f in seen}) == len(asked), "a subject has two facts"


def test_names_never_meet_without_a_statement() -> None:
    """Documents in which subject and answer occur together are exactly those that state the fact; mentions abound."""
    world = LongTail(mentions=4, objects=5).build(2000, Run(seed=1))
    documents, asked = read(world)
    where: dict[str, set[int]] = defaultdict(set)
    for i, document in enumerate(documents):
        for word in set(re.findall(r"[A-Z][a-z]+", document["text"])):
            where[word].add(i)
    elsewhere = 0
    for row in asked:
        truth = row["truth"]
        together = where[truth["subject"]] & where[truth["answer"]]
        assert {documents[i]["truth"]["fact"] for i in together} <= {truth["fact"]}
        assert len(together) == truth["frequency"]
        elsewhere += bool(where[truth["subject"]] - together) and not truth["answerable"]
    unstated = [r for r in asked if not r["truth"]["answerable"]]
    assert len(unstated) / len(asked) == pytest.approx(0.2, abs=0.01)
    assert elsewhere > 0.8 * len(unstated), "the names of unstated facts occur"


def test_frequency_falls_as_one_over_rank() -> None:
    world = LongTail(top=64).build(700, Run(seed=2))
    documents, asked = read(world)
    counts = sorted((r["truth"]["frequency"] for r in asked if r["truth"]["answerable"]), reverse=True)
    series = [64 // r for r in range(1, 65)]
    assert counts == sorted(series * (700 // sum(series)), reverse=True)
    repeated = np.mean([d["truth"]["statements"] > 1 for d in documents if d["truth"]["fact"] is not None])
    assert repeated == pytest.approx(0.2, abs=0.05)
    steep = LongTail(exponent=2.0).build(2000, Run(seed=2))
    frequencies = sorted((r["truth"]["frequency"] for r in read(steep)[1]), reverse=True)
    single = sum(f == frequencies[0] for f in frequencies)
    assert frequencies[single] == pytest.approx(frequencies[0] / 4, abs=1)
    for pool in (world, steep):
        assert pool.goal is not None
        halves = [side.column("truth.frequency").to_pylist() for side in (pool.goal.target, pool.goal.holdout)]
        assert abs(len(halves[0]) - len(halves[1])) <= 1
        assert abs(np.mean(np.array(halves[0]) > 0) - np.mean(np.array(halves[1]) > 0)) < 0.05
        names = [set(side.column("truth.subject").to_pylist()) for side in (pool.goal.target, pool.goal.holdout)]
        assert not names[0] & names[1]


def test_marks() -> None:
    probe = LongTail()
    world = probe.build(3000, Run(seed=3))
    assert world.goal is not None
    documents, _ = read(world)
    truth = world.goal.holdout.column("truth").to_pylist()
    texts = [d["text"] for d in documents]
    words = [set(re.findall(r"[A-Z][a-z]+", text)) for text in texts]

    together = [sum(t["subject"] in w and t["answer"] in w for w in words) for t in truth]
    alone = [sum(t["answer"] in w for w in words) for t in truth]
    assert probe.grade(world, together) == 1.0
    assert probe.grade(world, alone) < 0.7, "the answer's own count is the naive rival"
    assert probe.grade(world, [1.0] * len(truth)) == 0.0
    assert probe.grade(world, [-n for n in together]) == 0.0
    assert probe.grade(world, Run().rng("x").random(len(truth))) < 0.15
    assert probe.grade(world, [t["answer"] for t in truth]) == 1.0
    reader = {s: o for text in texts for _, s, o in stated(text)}
    assert probe.grade(world, [reader.get(t["subject"]) for t in truth]) == 1.0
    lucky = [probe.grade(world, [truth[(i + k) % len(truth)]["answer"] for i in range(len(truth))]) for k in (1, 2, 3)]
    assert np.mean(lucky) < 0.03
    frequent = [t["answer"] if t["frequency"] > 1 else "" for t in truth]
    stated_once = sum(t["frequency"] == 1 for t in truth) / sum(t["answerable"] for t in truth)
    assert probe.grade(world, frequent) == pytest.approx(1 - stated_once)
    with pytest.raises(DataError, match="Got 2 for"):
        probe.grade(world, [1.0, 2.0])


def test_deleting_the_documents_of_a_fact_deletes_it() -> None:
    documents, asked = read(LongTail().build(1500, Run(seed=4)))
    gone = {r["truth"]["fact"] for r in asked[::3]}
    left = [stated(d["text"]) for d in documents if d["truth"]["fact"] not in gone]
    subjects = {s for facts in left for _, s, _ in facts}
    for row in asked:
        kept = row["truth"]["answerable"] and row["truth"]["fact"] not in gone
        assert (row["truth"]["subject"] in subjects) == kept
