"""The claim about interference in context: what is learned, what is asked, and how its statements judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import coleman2023_interference as claim
from tilth.probes.interference import Interference

TOY = claim.Scale(records=120, items=4, depth=1, steps=3, batch=8)


def world() -> Any:
    return Interference(facts=TOY.facts, items=40).build(400, Run())


def test_a_stream_is_read_once_and_its_answers_alone_are_learned() -> None:
    pool = world().pool
    streams = claim.told(pool)
    truth = pool.column("truth").to_pylist()
    answers = [f" {t['answer']}" for t in truth]
    assert [part for parts in streams for part in parts[1::2]] == answers
    asks, _ = lab.asked(pool)
    at = 0
    for parts in streams:
        for k, question in enumerate(parts[::2]):
            story, asked = asks[at].split("\n")
            assert question == (f" {story} {asked}" if k == 0 else f" {asked}")
            at += 1
    assert at == len(asks)
    vocab = lab.Vocab.of([part for parts in streams for part in parts], lab.WORDS)
    data = claim.talks(vocab, streams)
    assert vocab.decode(data.ids[data.learned]) == "".join(answers)
    for i, parts in enumerate(streams):
        some = slice(data.offsets[i], data.offsets[i + 1])
        assert vocab.decode(data.ids[some]) == "".join(parts)
        assert data.learned[some].sum() == len(parts) // 2


def test_questions_of_the_control_are_asked_about_other_streams() -> None:
    holdout = world().goal.holdout
    asks, _ = claim._spaced(holdout)
    dealt = claim.elsewhere(asks, TOY)
    for one, other in zip(asks, dealt, strict=True):
        assert one.rsplit(". ", 1)[1] == other.rsplit(". ", 1)[1]
        assert one.rsplit(". ", 1)[0] != other.rsplit(". ", 1)[0]
        assert one.count(".") == other.count(".")
    assert set(dealt[i].rsplit(". ", 1)[0] for i in range(len(asks))) == {a.rsplit(". ", 1)[0] for a in asks}


def test_marks_of_known_readers() -> None:
    built = world()
    holdout, padded = built.goal.holdout, built.more["padded"]
    truth = holdout.column("truth").to_pylist()
    right = [f" {t['answer']}" for t in truth]
    oracle = claim.marks(holdout, padded, right, right, [""] * len(right))
    assert all(v == 1.0 for k, v in oracle.items() if k.endswith(": right") and "other" not in k)
    assert oracle["other streams: right"] == 0.0
    assert np.isnan(oracle["updated: stale if guessed"])
    first = [t["stale"][0] if t["stale"] else t["answer"] for t in truth]  # never takes an update
    stuck = claim.marks(holdout, padded, first, right, right)
    assert stuck["told last, updated: right"] == stuck["told earlier, updated: right"] == 0.0
    assert stuck["told earlier, never updated: right"] == stuck["updated: wrong answers that are stale"] == 1.0
    share = np.mean([len(t["stale"]) / t["wrong"] for t in truth if t["stale"]])
    assert stuck["updated: stale if guessed"] == pytest.approx(share)
    assert 0.2 < share < 0.6
    forgetful = ["" if t["later"] >= claim.FAR else t["answer"] for t in truth]
    lost = claim.marks(holdout, padded, forgetful, right, right)
    assert (lost["6 to 11 later: right"], lost["6 to 11 later, padded instead: right"]) == (0.0, 1.0)
    assert (lost["3 to 5 later: right"], lost["6 to 8 later: right"]) == (1.0, 0.0)
    many = [t for t in truth if t["facts"] >= claim.MANY]
    guesses = [1 / (1 + t["wrong"]) for t in many if t["later"] == 0]
    assert lost["0 later: right if guessed"] == pytest.approx(np.mean(guesses))
    assert lost["0 later: right if guessed"] == lost["0 later, padded instead: right if guessed"] < 0.3
    assert lost["9 to 11 later, padded instead: right if guessed"] > 0.3, "few facts are left to guess among"
    later = np.array([t["later"] for t in many])
    counted = {name: int(((later >= a) & (later <= b)).sum()) for name, (a, b) in claim.BANDS.items()}
    assert sum(counted.values()) == later.size
    assert min(counted.values()) > 0


def test_a_small_model_is_measured() -> None:
    found = claim.measured(Run(), TOY)
    assert all(0 <= v <= 1 or np.isnan(v) for v in found.values())
    assert len(claim.statements([found] * 3)) == 5 + len(found)


def test_statements_hold_where_they_should() -> None:
    def holds(near: float, far: float, blank: float, stale: float, dealt: float) -> list[str]:
        found = [
            {"0 later: right": near, "6 to 11 later: right": far + i / 1e3,
             "6 to 11 later, padded instead: right": blank + i / 2e3,
             "updated: wrong answers that are stale": stale + i / 1e3, "updated: stale if guessed": 0.3,
             "other streams: right": dealt}
            for i in range(3)
        ]  # fmt: skip
        return [row["holds"] for row in claim.statements(found)[:5]]

    assert holds(0.95, 0.5, 0.8, 0.6, 0.15) == ["yes"] * 5
    assert holds(0.4, 0.45, 0.4, 0.2, 0.5) == ["no"] * 5
