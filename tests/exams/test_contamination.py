"""The per-instance rule, exactly: both sides of one half, one record at a time, against a plain restatement of it."""

from __future__ import annotations

import re
import time

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, TablePool
from tilth.engine.apply import score_in_memory
from tilth.kernels.overlap import Index, overlaps
from tilth.kernels.words import Cut, ngram_hashes, token_hashes
from tilth.signals.audit.contamination import Contamination, overlapping, report

WORDS = [f"word{i}" for i in range(5000)]


def cut(text: str, how: Cut) -> list[str]:
    if how == "exact":
        return re.findall(r"[^ \t\n\r\x0b\x0c]+", text)
    raw = text.encode()
    pattern = rb"[A-Za-z0-9_\x80-\xff]+" + (rb"|[^A-Za-z0-9_\x80-\xff \t\n\r\x0b\x0c]+" if how == "wordpunct" else b"")
    found = re.findall(pattern, raw)
    lowered: list[bytes] = [re.sub(rb"[A-Z]", lambda c: c[0].lower(), m) for m in found]
    return [m.decode("latin-1") for m in lowered]


def shared(item: list[str], record: list[str], n: int) -> float:
    """Share of the item's tokens inside an n-gram that the record has too; short items count whole."""
    n = min(n, len(item))
    if n == 0:
        return 0.0
    grams = {tuple(record[i : i + n]) for i in range(len(record) - n + 1)}
    covered = set()
    for i in range(len(item) - n + 1):
        if tuple(item[i : i + n]) in grams:
            covered |= {*range(i, i + n)}
    return len(covered) / len(item)


def text(rng: np.random.Generator, n: int) -> list[str]:
    return [str(word) for word in rng.choice(WORDS, n)]


def test_both_sides_of_one_half() -> None:
    rng = np.random.default_rng(0)
    item = text(rng, 100)
    records = {
        "full": item,
        "60 %": text(rng, 40) + item[:60] + text(rng, 40),
        "51 %": item[20:71],
        "50 %": item[:50] + text(rng, 50),
        "40 %": item[30:70] + text(rng, 60),
        "shuffled": rng.permutation(item).tolist(),
        "two halves apart": item[:30] + text(rng, 20) + item[60:90],
    }
    pool = TablePool(pa.table({"text": [" ".join(r) for r in records.values()]}))
    holdout = TablePool(pa.table({"id": ["exam"], "text": [" ".join(item)]}))
    scored = score_in_memory(Contamination(), pool, Goal(holdout, holdout, Budget(1)))
    got = dict(zip(records, scored.column("contamination.overlap").to_pylist(), strict=True))
    assert got == pytest.approx(
        {"full": 1.0, "60 %": 0.6, "51 %": 0.51, "50 %": 0.5, "40 %": 0.4, "shuffled": 0.0, "two halves apart": 0.6}
    )
    hits = dict(zip(records, scored.column("contamination.hit").to_pylist(), strict=True))
    assert [name for name, hit in hits.items() if hit] == ["full", "60 %", "51 %", "two halves apart"]


def test_many_records_that_share_a_little_are_no_overlap() -> None:
    rng = np.random.default_rng(1)
    item = text(rng, 96)
    pieces = [" ".join(text(rng, 30) + item[i : i + 12] + text(rng, 30)) for i in range(0, 96, 12)]
    holdout = TablePool(pa.table({"id": ["exam"], "text": [" ".join(item)]}))
    scored = score_in_memory(Contamination(), TablePool(pa.table({"text": pieces})), Goal(holdout, holdout, Budget(1)))
    assert not any(scored.column("contamination.hit").to_pylist())  # their union covers the whole item
    assert scored.column("contamination.overlap").to_pylist() == pytest.approx([0.125] * 8)
    (row,) = report(scored).to_pylist()
    assert (row["item"], row["records"], row["hits"]) == ("exam", 8, 0)


@pytest.mark.parametrize("how", ["words", "wordpunct", "exact"])
def test_kernel_equals_the_plain_rule(how: Cut) -> None:
    rng = np.random.default_rng(2)
    small = ["a", "B", "c,", "d", "-", "é", "'s"]
    items = [" ".join(rng.choice(small, int(rng.integers(0, 25)))) for _ in range(30)] + ["", "\x00 nul", "x  y"]
    records = [" ".join(rng.choice(small, int(rng.integers(0, 60)))) for _ in range(60)] + ["", " ", "漢字 a B"]
    best, item, touched = overlaps(pa.array(records), Index.of(pa.array(items), 3, how))
    for r, record in enumerate(records):
        expected = [shared(cut(i, how), cut(record, how), 3) for i in items]
        assert best[r] == pytest.approx(max(expected))
        assert touched[r] == sum(e > 0 for e in expected)
        if max(expected) > 0:
            assert expected[item[r]] == pytest.approx(max(expected))
        else:
            assert item[r] == -1


@pytest.mark.parametrize("how", ["words", "wordpunct", "exact"])
def test_tokens_equal_a_plain_cut(how: Cut) -> None:
    torture = [
        "",
        " ",
        "a,b;;c",
        "A_b-1",
        "\x00x\x00",
        "漢字かな 漢",
        "don’t don't",
        "a\u00a0b",
        "\r\n\ttab",
        "e\u0301",
        None,
    ]
    offsets, hashes = token_hashes(pa.array(torture), how)
    known: dict[int, str] = {}
    for i, one in enumerate(torture):
        expected = cut(one or "", how)
        got = hashes[offsets[i] : offsets[i + 1]].tolist()
        assert len(got) == len(expected)
        for h, token in zip(got, expected, strict=True):
            assert known.setdefault(h, token) == token  # equal hashes are equal tokens
    assert len(set(known.values())) == len(known)


def test_rolling_hashes_do_not_depend_on_where_they_start() -> None:
    tokens = np.random.default_rng(3).integers(0, 2**63, 50).astype(np.uint64)
    assert (ngram_hashes(tokens[7:], 5) == ngram_hashes(tokens, 5)[7:]).all()
    assert ngram_hashes(tokens[:4], 5).size == 0
    assert len(set(ngram_hashes(tokens, 5).tolist())) == 46


def test_short_items_need_their_whole_sequence() -> None:
    holdout = TablePool(pa.table({"id": ["s"], "text": ["red green blue"]}))
    pool = TablePool(pa.table({"text": ["light RED, green: blue!", "red green", "blue green red"]}))
    scored = score_in_memory(Contamination(), pool, Goal(holdout, holdout, Budget(1)))
    assert scored.column("contamination.hit").to_pylist() == [True, False, False]


def test_exact_tokens_see_case_and_punctuation() -> None:
    item = "One Two three Four five Six seven Eight nine Ten"
    holdout = TablePool(pa.table({"id": ["s"], "text": [item]}))
    pool = TablePool(pa.table({"text": [item, item.lower(), item.replace(" ", ", ")]}))
    for tokens, hits in (("exact", [True, False, False]), ("normalised", [True, True, True])):
        signal = Contamination.model_validate({"tokens": tokens})
        scored = score_in_memory(signal, pool, Goal(holdout, holdout, Budget(1)))
        assert scored.column("contamination.hit").to_pylist() == hits


def test_overlapping_goals_are_found() -> None:
    rng = np.random.default_rng(4)
    same = " ".join(text(rng, 30))
    a = TablePool(pa.table({"id": ["a0", "a1"], "text": [same, " ".join(text(rng, 30))]}))
    b = TablePool(pa.table({"id": ["b0", "b1"], "text": [" ".join(text(rng, 30)), f"Intro. {same}"]}))
    (pair,) = overlapping(a, b).to_pylist()
    assert (pair["a_id"], pair["b_id"]) == ("a0", "b1")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_items_in_any_string_type(kind: pa.DataType) -> None:
    texts = pa.array(["one two three four five six seven eight nine", None, ""]).cast(kind)
    pool = TablePool(pa.table({"id": ["a", "b", "c"], "text": texts}))
    scored = score_in_memory(Contamination(against="both"), pool, Goal(pool, pool, Budget(1)))
    assert scored.column("contamination.item").to_pylist() == ["a", None, None]


def test_repetition_costs_no_more_than_reading() -> None:
    """Each n-gram of a record is looked up once: 500,000 repeats against 20,000 places would take minutes."""
    index = Index.of(pa.array(["spam " * 20_000]), 8, "words")
    overlaps(pa.array(["compile"]), index)
    start = time.process_time()
    best, _, _ = overlaps(pa.array(["spam " * 500_000]), index)
    assert best.tolist() == [1.0]
    assert time.process_time() - start < 10
