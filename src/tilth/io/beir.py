"""A retrieval folder as BEIR publishes it: queries, corpus, and judgements that join them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tilth.io.reader import Bad, Row, open_reader

__all__ = ["is_beir", "read"]

_ENDINGS: Final = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".tsv", ".csv")
_QUERY: Final = ("qid", "query-id", "query_id", "_id", "id")
_DOC: Final = ("docid", "corpus-id", "corpus_id", "doc_id", "_id", "id")


def is_beir(folder: Path) -> bool:
    """Whether the folder holds queries, corpus and qrels."""
    return all(_files(folder, name) for name in ("queries", "corpus", "qrels"))


def read(path: Path) -> Iterator[Row | Bad]:
    """One row per query and passage judged relevant; negatives are the passages judged not relevant to the query.

    Memory holds the judgements and the texts they name, not the whole corpus.
    """
    relevant: dict[str, dict[str, Any]] = defaultdict(dict)
    irrelevant: dict[str, list[str]] = defaultdict(list)
    wanted: set[str] = set()
    for item in _rows(path, "qrels"):
        if isinstance(item, Bad):
            yield item
            continue
        query, doc, score = _first(item.value, _QUERY), _first(item.value, _DOC), _score(item.value.get("score", 1))
        if query is None or doc is None or score is None:
            yield Bad(item.number, f"qrels: needs query id, passage id and a numeric score; has {sorted(item.value)}")
            continue
        wanted.add(doc)
        if score > 0:
            relevant[query][doc] = item.value.get("score", 1)
        else:
            irrelevant[query].append(doc)
    texts: dict[str, str] = {}
    for item in _rows(path, "corpus"):
        if isinstance(item, Bad):
            yield item
        elif (doc := _first(item.value, _DOC)) in wanted and doc is not None:
            title, text = item.value.get("title"), item.value.get("text")
            texts[doc] = f"{title}\n\n{text}" if title else text or ""
    yield from _pairs(path, relevant, irrelevant, texts)


def _pairs(
    path: Path, relevant: dict[str, dict[str, Any]], irrelevant: dict[str, list[str]], texts: dict[str, str]
) -> Iterator[Row | Bad]:
    number = 0
    asked: set[str] = set()
    for item in _rows(path, "queries"):
        if isinstance(item, Bad):
            yield item
            continue
        query = _first(item.value, _QUERY)
        if query is None or not isinstance(item.value.get("text"), str):
            yield Bad(item.number, f"queries: needs an id and a text; has {sorted(item.value)}")
            continue
        asked.add(query)
        for doc, score in relevant.get(query, {}).items():
            number += 1
            if doc not in texts:
                yield Bad(number, f"the corpus has no passage {doc!r}, judged relevant to query {query!r}")
                continue
            value = {"id": f"{query}/{doc}", "query_id": query, "positive_id": doc, "score": score}
            value |= {"query": item.value["text"], "positive": texts[doc]}
            value["negatives"] = [texts[d] for d in irrelevant.get(query, []) if d in texts]
            yield Row(number, value)
    for query in relevant:
        if query not in asked:
            yield Bad(0, f"there is no query {query!r}, which the judgements name")


def _files(folder: Path, name: str) -> list[Path]:
    """``name.parquet`` and the like, or the files of a folder of this name, one per split."""
    inside = folder / name
    if inside.is_dir():
        return sorted(p for p in inside.iterdir() if p.name.endswith(_ENDINGS))
    return [p for p in (folder / (name + ending) for ending in _ENDINGS) if p.is_file()][:1]


def _rows(folder: Path, name: str) -> Iterator[Row | Bad]:
    for file in _files(folder, name):
        for item in open_reader(file)(file):
            yield Bad(item.number, f"{file.name}: {item.reason}", item.excerpt) if isinstance(item, Bad) else item


def _first(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((str(row[n]) for n in names if isinstance(row.get(n), (str, int)) and row[n] != ""), None)


def _score(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
