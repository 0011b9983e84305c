from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tilth.io.beir import is_beir, read
from tilth.io.detect import detect, to_record
from tilth.io.reader import Bad, Row, open_reader


def build(folder: Path) -> Path:
    """As BEIR publishes: JSON Lines with `_id`, judgements as TSV per split."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "frost?"}\n{"_id": "q2", "text": "barn?"}\n{"_id": 3}\n'
    )
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "Frost", "text": "It is cold."}\n{"_id": "d2", "title": "", "text": "A barn."}\n'
        '{"_id": "d3", "text": "Unjudged."}\n'
    )
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(header + "q1\td1\t2\nq1\td2\t0\nq2\td9\t1\nq7\td1\t1\n")
    (folder / "qrels" / "train.tsv").write_text(header + "q2\td2\t1\nq2\td2\tmany\n")
    return folder


def test_pairs_with_their_judged_negatives(tmp_path: Path) -> None:
    folder = build(tmp_path / "set")
    assert is_beir(folder)
    got = list(open_reader(folder)(folder))
    rows = [item.value for item in got if isinstance(item, Row)]
    assert rows == [
        {
            "id": "q1/d1", "query_id": "q1", "positive_id": "d1", "score": "2",
            "query": "frost?", "positive": "Frost\n\nIt is cold.", "negatives": ["A barn."],
        },
        {
            "id": "q2/d2", "query_id": "q2", "positive_id": "d2", "score": "1",
            "query": "barn?", "positive": "A barn.", "negatives": [],
        },
    ]  # fmt: skip
    reasons = sorted(item.reason for item in got if isinstance(item, Bad))
    assert reasons == [
        "qrels: needs query id, passage id and a numeric score; has ['corpus-id', 'query-id', 'score']",
        "queries: needs an id and a text; has ['_id']",
        "the corpus has no passage 'd9', judged relevant to query 'q2'",
        "there is no query 'q7', which the judgements name",
    ]
    layout = detect(rows)
    assert layout.kind == "retrieval"
    record = to_record(rows[0], layout, "s", {})
    assert isinstance(record, dict)
    assert record["negatives"] == ["A barn."]
    assert record["meta"] == '{"positive_id":"d1","query_id":"q1","score":"2"}'


def test_parquet_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"qid": ["1"], "text": ["frost?"]}), tmp_path / "queries.parquet")
    pq.write_table(pa.table({"docid": ["a"], "title": [""], "text": ["Cold."]}), tmp_path / "corpus.parquet")
    assert not is_beir(tmp_path)
    pq.write_table(pa.table({"qid": ["1"], "docid": ["a"], "score": [1]}), tmp_path / "qrels.parquet")
    (row,) = read(tmp_path)
    assert isinstance(row, Row)
    assert (row.value["query"], row.value["positive"]) == ("frost?", "Cold.")
