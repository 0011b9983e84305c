"""The claim's own machinery, on questions made up: the real run needs data (`tilth claim`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.claims import lyu2023_rag_importance as claim
from tilth.claims.lyu2023_rag_importance import Scale
from tilth.core import Run
from tilth.core.errors import UsageError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Answers of ten sentences, each of words of its own and a few that many share."""
    rng = np.random.default_rng(0)
    folder = tmp_path / claim.FOLDER
    folder.mkdir(parents=True)
    ids = [f"a{i}" for i in range(120)]
    answers = [
        " ".join(f"Disease{i} shows sign{int(s)} and w{int(w)}." for s, w in rng.integers(0, [[200, 30]] * 10))
        for i in range(120)
    ]
    queries = {"qid": ids, "text": [f"What are the signs of Disease{i} ?" for i in range(120)]}
    queries |= {"qtype": ["signs"] * 120, "focus": [f"Disease{i}" for i in range(120)]}
    pq.write_table(pa.table(queries), folder / "queries.parquet")
    pq.write_table(pa.table({"docid": ids, "text": answers}), folder / "corpus.parquet")
    pq.write_table(pa.table({"qid": ids, "docid": ids, "score": [1] * 120}), folder / "qrels.parquet")
    return tmp_path


SMALL = Scale(answers=120, sources=10, k=1)


def test_rows_say_what_was_measured(data: Path) -> None:
    rows = claim.run(data, SMALL)
    assert len({row["statement"] for row in rows}) >= 12
    judged = {row["statement"]: row["holds"] for row in rows if row["holds"] != "-"}
    assert judged["bad sources found: AUROC"] == "yes"
    assert judged["held out, right in the first 3: pruned less unpruned"] == "yes"


def test_world_is_what_it_says(data: Path) -> None:
    rows = claim._read([data / claim.FOLDER / f"{n}.parquet" for n in ("queries", "corpus", "qrels")])
    passages, made_from, source, bad = claim._world(rows, SMALL, Run(seed=1))
    assert (len(passages), int(bad.sum())) == (360, 3)
    for text, i, s in zip(passages, made_from, source, strict=True):
        assert text.startswith(rows[i]["focus"] + ". ")
        sentences = text.removeprefix(rows[i]["focus"] + ". ").split(". ")
        assert all(x.startswith(rows[i]["focus"]) for x in sentences), "the name of the other disease is replaced"
        honest = all(x.rstrip(".") in rows[i]["answer"] for x in sentences)
        assert honest != bad[s]


def test_statements_can_fail() -> None:
    flat = {"auroc": 0.5, "auroc_few": 0.5, "auroc_mean": 0.5, "auroc_one_out": 0.5, "cut": 3.0, "oracle": 0.6,
            "all": 0.5, "pruned": 0.5, "random": 0.5, "rival": 0.5, "first_all": 0.5, "first_pruned": 0.5,
            "first_oracle": 0.7}  # fmt: skip
    holds = {row["statement"]: row["holds"] for row in claim.statements([flat] * 3)}
    judged = [told for told in holds.values() if told != "-"]
    assert judged.count("no") == 4
    lucky = claim.statements([flat | {"random": 0.6}] * 3)
    assert next(row["holds"] for row in lucky if "control" in row["statement"]) == "no"


def test_says_which_files_it_needs(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="medquad"):
            claim.run(data)
