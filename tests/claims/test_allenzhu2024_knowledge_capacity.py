"""The claim about bits held, at a toy size: which tokens count, who is asked for, and how the statements judge."""

from __future__ import annotations

import re
from math import log

import numpy as np
import pytest

from tilth.core import Pool, Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import allenzhu2024_knowledge_capacity as claim
from tilth.models.knowledge import NAMES, VALUES
from tilth.models.transformer import Decoder
from tilth.probes.knowledge_bits import KNOWN, TAG, KnowledgeBits

TOY = claim.Scale(people=4, few=2, many=4, repeated=2, depth=1)


@pytest.mark.parametrize("tag", [False, True])
def test_what_counts_are_the_name_once_and_every_value_whole(tag: bool) -> None:
    world = KnowledgeBits(exposures=2, tag=tag).build(10, Run())
    assert world.goal is not None
    holdout = world.goal.holdout
    for text, row in zip(claim._texts(holdout), holdout.column("truth").to_pylist(), strict=True):
        assert (TAG in text) is tag
        pieces = re.findall(lab.WORDS, text)
        for names, wanted in ((True, [row["name"]]), (False, [row[a] for a in KNOWN])):
            kept = [p for p, flag in zip(pieces, claim._counted(text, row, names), strict=True) if flag]
            said = sorted("".join(kept).replace(" ", ""))
            assert said == sorted("".join(wanted).replace(" ", "")), (text, kept)


def test_losses_are_sums_over_a_persons_counted_tokens_and_means_over_people() -> None:
    world = KnowledgeBits(exposures=2).build(10, Run())
    assert world.goal is not None
    texts = claim._texts(world.goal.holdout)
    vocab = lab.Vocab.of(texts, lab.WORDS)
    model = lab.decoder(1, len(vocab), 128, Run())
    model.embedding.weight.data.zero_()  # all tokens are equally likely
    p1, p2 = claim.knowledge_losses(model, vocab, world.goal.holdout)
    rows = world.goal.holdout.column("truth").to_pylist()
    values = [sum(len(re.findall(lab.WORDS, f" {row[a]}")) for a in KNOWN) for row in rows]
    assert p1 == pytest.approx(3 * log(len(vocab)))
    assert p2 == pytest.approx(np.mean(values) * log(len(vocab)))


def test_those_told_of_are_the_goals_and_the_control_names_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []

    def losses(model: Decoder, vocab: lab.Vocab, pool: Pool) -> tuple[float, float]:
        asked.append({row["name"] for row in pool.column("truth").to_pylist()})
        return [(log(4), 0.0), (log(NAMES), log(VALUES))][len(asked) - 1]

    monkeypatch.setattr(claim, "knowledge_losses", losses)
    probe = claim.arms(TOY)["junk"]
    found = claim.measured(probe, Run(), TOY)
    told = {row["name"] for row in probe.build(64, Run()).pool.column("truth").to_pylist() if row["useful"]}
    assert asked[0] == told
    assert len(asked[1]) == 4
    assert not asked[1] & told
    assert found.told == pytest.approx(1.0)
    assert found.untold == pytest.approx(0.0)
    assert found.per_parameter == pytest.approx(found.most)


def test_junk_comes_on_top_and_useful_people_are_told_as_often() -> None:
    for name, probe in claim.arms(TOY).items():
        world = probe.build(round(TOY.people * probe.exposures / (1 - probe.junk_ratio)), Run())
        truth = world.pool.column("truth").to_pylist()
        useful = [row["name"] for row in truth if row["useful"]]
        wanted = TOY.many if name == "many" else TOY.few
        assert sorted(useful.count(person) for person in set(useful)) == [wanted] * TOY.people
        junk = {row["name"] for row in truth if not row["useful"]}
        assert len(junk) == {"junk": 56, "tagged": 56, "repeated": 2}.get(name, 0)


def test_reading_teaches_those_told_of_and_nobody_else() -> None:
    found = claim.measured(KnowledgeBits(exposures=60), Run(), claim.Scale(people=4))
    assert found.told > 0.3
    assert found.untold < 0.05


def test_statements_hold_where_they_should() -> None:
    def arm(told: float, untold: float = -0.5) -> list[claim.Found]:
        return [claim.Found(told + d, untold, 0.01, 0.02) for d in (-0.01, 0.0, 0.01)]

    good = {"few": arm(0.6), "many": arm(0.95), "junk": arm(0.1), "tagged": arm(0.4), "repeated": arm(0.6)}
    assert [r["holds"] for r in claim.statements(good, TOY)[:7]] == ["yes"] * 7
    bad = dict.fromkeys(good, arm(0.5, 0.2)) | {"repeated": arm(0.3, 0.2)}
    assert [r["holds"] for r in claim.statements(bad, TOY)[:7]] == ["no"] * 7
