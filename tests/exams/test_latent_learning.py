from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import DataError
from tilth.probes.latent_learning import TESTS, LatentLearning, right

Row = tuple[str, str, dict[str, Any]]
FACT = re.compile(r"(\w+) is taught by (\w+)|In book (\w+) the word (\w+) is written (\w+)")


def rows(pool: Pool) -> list[Row]:
    found = []
    for row in pool.table(["messages", "truth"]).to_pylist():
        user, assistant = row["messages"]
        assert [user["role"], assistant["role"]] == ["user", "assistant"]
        found.append((user["content"], assistant["content"], row["truth"]))
    return found


def reader(text: str, question: str) -> str:
    """Answers a question from the sentences of a text, by reading only."""
    teaches: dict[str, str] = {}
    books: dict[tuple[str, str], str] = {}
    for pupil, teacher, book, word, code in FACT.findall(text):
        if pupil:
            teaches[teacher] = pupil
        else:
            books[book, word] = code
    if asked := re.fullmatch(r"Whom does (\w+) teach\?", question):
        return teaches.get(asked[1], "?")
    asked = re.fullmatch(r"In book (\w+), write (.+)\.", question)
    assert asked is not None
    return " ".join(books.get((asked[1], word), "?") for word in asked[2].split())


@pytest.fixture(scope="module", params=[True, False], ids=["in context", "ablated"])
def world(request: pytest.FixtureRequest) -> World:
    return LatentLearning(in_context=request.param).build(1500, Run(seed=6))


def test_who_knows_what(world: World) -> None:
    probe = LatentLearning()
    train = rows(world.pool)
    memory = {prompt: answer for prompt, answer, _ in train}
    library = "\n".join(f"{prompt} {answer}." for prompt, answer, t in train if t["form"] == "document")
    by_heart, by_reading, by_reading_all = {}, {}, {}
    for name in TESTS:
        tests = rows(world.more[name])
        assert all(answer == truth["answer"] for _, answer, truth in tests)
        by_heart[name] = [memory.get(prompt, "") for prompt, _, _ in tests]
        if name != "explicit":
            asked = [(prompt.split("\n\n")[0], prompt.split("\n\n")[-1]) for prompt, _, _ in tests]
            by_reading[name] = [reader(notes, question) for notes, question in asked]
            by_reading_all[name] = [reader(library, question) for _, question in asked]
    assert {n: probe.grade(world, {n: a}) for n, a in by_heart.items()} == {"explicit": 1.0} | dict.fromkeys(
        TESTS[1:], 0.0
    )
    assert probe.grade(world, {"latent": by_reading["latent"]}) == 0.0
    assert probe.grade(world, {n: by_reading[n] for n in ("in_context", "retrieval")}) == 1.0
    assert probe.grade(world, by_reading_all) == 1.0  # all that is asked was said


def test_tested_facts_are_never_used_otherwise(world: World) -> None:
    said = Counter(word for p, a, _ in rows(world.pool) for word in set(re.findall(r"\w+", f"{p} {a}")))
    written: defaultdict[str, set[str]] = defaultdict(set)
    for prompt, _, _ in rows(world.pool):
        if asked := re.fullmatch(r"In book (\w+), write (.+)\.", prompt):
            written[asked[1]] |= set(asked[2].split())
    pairs = books = 0
    for prompt, answer, truth in rows(world.more["latent"]):
        if truth["task"] == "reversal":
            teacher = prompt.split()[2]
            assert said[teacher] == said[answer.rstrip("?")] == 1  # their one document
            pairs += 1
        else:
            book, asked = re.findall(r"In book (\w+), write (.+)\.", prompt)[0]
            assert written[book]
            assert not written[book] & set(asked.split())
            assert len(answer.split()) == 3
            books += 1
    assert pairs > 50
    assert books > 20


def test_balance_and_sizes(world: World) -> None:
    truth = [t for _, _, t in rows(world.pool)]
    plain = [t for t in truth if not t["fact"].startswith("fresh")]
    documents = {t["fact"] for t in plain if t["task"] == "reversal" and t["form"] == "document"}
    asked = {t["fact"] for t in plain if t["task"] == "reversal" and t["form"] == "question"}
    assert asked < documents
    assert abs(len(asked) / len(documents) - 0.5) < 0.01
    tested = {t["fact"] for _, _, t in rows(world.more["latent"]) if t["task"] == "reversal"}
    assert tested == documents - asked
    assert [len(rows(world.more[n])) for n in ("latent", "in_context")] == [world.more["retrieval"].count] * 2


def test_the_ablation_says_the_same_sentences() -> None:
    with_notes, without = (LatentLearning(in_context=flag).build(300, Run()) for flag in (True, False))
    assert not any("Notes:" in prompt for prompt, _, _ in rows(without.pool))
    assert sum("Notes:" in prompt for prompt, _, _ in rows(with_notes.pool)) > 30
    said: list[Counter[str]] = []
    for world in (with_notes, without):
        counts: Counter[str] = Counter()
        for prompt, answer, truth in rows(world.pool):
            *notes, question = re.sub("^Notes:\n", "", prompt).split("\n\n")
            counts.update(line for text in notes for line in text.split("\n"))
            counts[f"{question} {answer}" + "." * (truth["form"] == "document")] += 1
        said.append(counts)
    assert said[0] == said[1]
    for name in TESTS:
        assert rows(with_notes.more[name]) == rows(without.more[name])


def test_notes_hold_the_distractors_asked_for() -> None:
    for task, lines in (("reversal", 1 + 3), ("codebook", 2 + 3)):
        world = LatentLearning(task=task, distractors=3, row=2).build(200, Run())
        fresh = [p for p, _, t in rows(world.pool) if t["form"] == "context"]
        asked = [p for p, _, _ in rows(world.more["retrieval"])]
        counts = [{len(p.split("\n\n")[0].split("\n")) - 1 for p in prompts} for prompts in (asked, fresh)]
        assert counts == [{lines}, {*range(lines - 3, lines + 1)}]
        tested = {word for p, _, _ in rows(world.more["explicit"]) for word in p.split() if len(word) == 6}
        assert not tested & {word for p in fresh for word in re.findall(r"\b[a-z]{6}\b", p)} - {"taught"}


def test_sizes_scale() -> None:
    assert [abs(LatentLearning().build(n, Run()).pool.count / n - 1) < 0.1 for n in (200, 1000, 6000)] == [True] * 3


def test_what_cannot_be_graded_is_said() -> None:
    world = LatentLearning().build(60, Run())
    with pytest.raises(DataError, match="for tests of explicit, latent, in_context, retrieval"):
        LatentLearning().grade(world, {"other": []})
    with pytest.raises(DataError, match="needs 7 answers to the test latent"):
        LatentLearning().grade(world, {"latent": ["x"]})
    assert right(["a b"], ["a c"]) == [False]
