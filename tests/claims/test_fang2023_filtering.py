"""The claim's own machinery, on questions made up: the real run needs data (`tilth claim`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.claims import fang2023_filtering as claim
from tilth.claims.fang2023_filtering import Scale
from tilth.core import Run
from tilth.core.errors import UsageError

SMALL = Scale(test=30, trusted=30, few=10, pool=120, noisy=60, kept=40, steps=20)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two questions about each of 200 diseases."""
    rng = np.random.default_rng(0)
    folder = tmp_path / claim.FOLDER
    folder.mkdir(parents=True)
    kinds = ["signs", "cure"]
    rows = [(f"q{d}{k}", d, k) for d in range(200) for k in range(2)]
    text = [f"What {kinds[k]} has Disease{d} ?" for _, d, k in rows]
    answers = [f"Disease{d} {kinds[k]}s: " + " ".join(f"w{w}" for w in rng.integers(0, 50, 9)) for _, d, k in rows]
    ids = [row[0] for row in rows]
    queries = {"qid": ids, "text": text, "qtype": ["x"] * 400, "focus": [f"Disease{row[1]}" for row in rows]}
    pq.write_table(pa.table(queries), folder / "queries.parquet")
    pq.write_table(pa.table({"docid": ids, "text": answers}), folder / "corpus.parquet")
    pq.write_table(pa.table({"qid": ids, "docid": ids, "score": [1] * 400}), folder / "qrels.parquet")
    return tmp_path


def test_rows_say_what_was_measured(data: Path) -> None:
    rows = claim.run(data, SMALL)
    assert [row["holds"] for row in rows[:6]].count("-") == 0
    truth = next(row for row in rows if row["statement"] == "truth: induced")
    assert 0 <= float(truth["here"].split()[0]) <= 1


def test_swapped_answers_are_about_the_same_disease_and_wrong(data: Path) -> None:
    pairs = claim._read([data / claim.FOLDER / f"{n}.parquet" for n in ("queries", "corpus", "qrels")], 600)
    answers: dict[str, list[str]] = {}
    for _, answer, disease in pairs:
        answers.setdefault(disease, []).append(answer)
    answers["alone"] = ["only this"]
    mixed, wrong = claim.swapped([*pairs, ("who ?", "only this", "alone")], answers, 0.5, Run().rng("x"))
    assert wrong.sum() == round(0.5 * 401)
    for before, after, bad in zip(pairs, mixed, wrong, strict=False):
        assert (before[1] != after[1]) == bad
        assert after[1].startswith(before[2] + " ")
    assert not wrong[-1]


def test_diseases_are_kept_apart(data: Path) -> None:
    pairs = claim._read([data / claim.FOLDER / f"{n}.parquet" for n in ("queries", "corpus", "qrels")], 600)
    test, trusted, pool, noisy = ({pair[2] for pair in part} for part in claim._split(pairs, SMALL, Run().rng("pairs")))
    assert not test & (trusted | pool | noisy)
    assert not trusted & (pool | noisy)


def test_statements_can_fail() -> None:
    names = ["few trusted", "trusted", "noisy", "both", "25% swapped", "50% swapped", "75% swapped", "untrained"]
    flat = {f"{n}: {w}": 0.5 for n in names for w in ("own", "noisy task", "right among kept", "AUROC", "induced")}
    flat |= {"random: induced": 0.4, "truth: induced": 0.6, "untrained: own": 0.3}
    paper = flat | {"few trusted: induced": 0.6, "trusted: induced": 0.7, "few trusted: own": 0.4}
    paper |= {"noisy: noisy task": 0.6}
    rising = flat | {"75% swapped: induced": 0.6}
    assert [row["holds"] for row in claim.statements([rising] * 3)[:6]] == ["no"] * 6
    assert [row["holds"] for row in claim.statements([paper] * 3)[:6]] == ["yes"] * 6


def test_says_which_files_it_needs(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="medquad"):
            claim.run(data)
