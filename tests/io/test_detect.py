"""Every published layout becomes the record it means; what is not understood is refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tilth.core.errors import BadInput
from tilth.core.records import Record, make_id
from tilth.io.detect import Layout, detect, to_record

Rowdict = dict[str, Any]


def build(row: Rowdict, **stated: Any) -> tuple[str, Record]:
    layout = detect([row] * 3, **stated)
    record = to_record(row, layout, "src", {})
    assert isinstance(record, dict), record
    return layout.shape, record


def chat(*turns: str) -> list[dict[str, str]]:
    return [{"role": t.split(": ")[0], "content": t.split(": ")[1]} for t in turns]


@pytest.mark.parametrize(
    ("row", "shape", "fields"),
    [
        ({"text": "A."}, "text", {"text": "A."}),
        ({"content": "A.", "lang": "en"}, "text", {"text": "A."}),
        ({"text": "A.", "label": 3}, "labeled", {"text": "A.", "label": "3"}),
        ({"text": "A.", "label": False}, "labeled", {"text": "A.", "label": "false"}),
        ({"sentence": "A.", "label": "pos", "idx": 4}, "labeled", {"text": "A.", "label": "pos"}),
        (
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            "alpaca",
            {"messages": chat("user: Add.\n\n1 2", "assistant: 3")},
        ),
        (
            {
                "instruction": "And?",
                "input": "",
                "output": "Yes.",
                "system": "Be brief.",
                "history": [["Hi?", "Hello."]],
                "text": "all of it, rendered",
            },
            "alpaca",
            {"messages": chat("system: Be brief.", "user: Hi?", "assistant: Hello.", "user: And?", "assistant: Yes.")},
        ),
        (
            {"instruction": "Who?", "context": "", "response": "She.", "category": "qa"},
            "alpaca",
            {"messages": chat("user: Who?", "assistant: She.")},
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}], "system": "S"},
            "sharegpt",
            {"messages": chat("system: S", "user: Hi", "assistant: Ho")},
        ),
        (
            {"messages": [{"role": "User", "content": "Hi"}, {"role": "ipython", "content": "4"}]},
            "messages",
            {"messages": chat("user: Hi", "ipython: 4")},
        ),
        (
            {"messages": json.dumps(chat("user: Hi", "assistant: Ho"))},
            "messages",
            {"messages": chat("user: Hi", "assistant: Ho")},
        ),
        ({"prompt": "P", "completion": "C"}, "prompt_completion", {"messages": chat("user: P", "assistant: C")}),
        ({"question": "P", "answer": "C"}, "prompt_completion", {"messages": chat("user: P", "assistant: C")}),
        ({"input": "P", "output": "C"}, "prompt_completion", {"messages": chat("user: P", "assistant: C")}),
        (
            {"prompt": chat("system: S", "user: P"), "completion": chat("assistant: C")},
            "prompt_completion",
            {"messages": chat("system: S", "user: P", "assistant: C")},
        ),
        (
            {"prompt": "P", "chosen": "good", "rejected": "bad", "messages": chat("user: P")},
            "preference",
            {"prompt": "P", "chosen": "good", "rejected": "bad"},
        ),
        (
            {
                "chosen": chat("user: Hi", "assistant: Ho", "user: P", "assistant: good"),
                "rejected": chat("user: Hi", "assistant: Ho", "user: P", "assistant: bad"),
            },
            "preference",
            {"prompt": "user: Hi\n\nassistant: Ho\n\nuser: P", "chosen": "good", "rejected": "bad"},
        ),
        (
            {"prompt": chat("user: P"), "chosen": chat("assistant: good"), "rejected": chat("assistant: bad")},
            "preference",
            {"prompt": "user: P", "chosen": "good", "rejected": "bad"},
        ),
        (
            {"prompt": "P", "chosen": chat("assistant: good"), "rejected": chat("assistant: bad")},
            "preference",
            {"prompt": "P", "chosen": "good", "rejected": "bad"},
        ),
        (
            {"chosen": "\n\nHuman: P\n\nAssistant: good", "rejected": "\n\nHuman: P\n\nAssistant: bad"},
            "preference",
            {"prompt": "\n\nHuman: P\n\nAssistant:", "chosen": "good", "rejected": "bad"},
        ),
        ({"chosen": "good", "rejected": "bad"}, "preference", {"prompt": None, "chosen": "good", "rejected": "bad"}),
        (
            {"anchor": "q", "positive": "p", "negative": "n"},
            "triplet",
            {"query": "q", "positive": "p", "negatives": ["n"]},
        ),
        (
            {"query": "q", "positive": "p", **{f"negative_{i}": f"n{i}" for i in (10, 2, 1)}},
            "triplet",
            {"query": "q", "positive": "p", "negatives": ["n1", "n2", "n10"]},
        ),
        (
            {"query": "q", "pos": ["p", "p2"], "neg": ["n1", "n2"]},
            "triplet",
            {"query": "q", "positive": "p", "negatives": ["n1", "n2"]},
        ),
        (
            {
                "query_id": "1",
                "query": "q",
                "positive_passages": [{"docid": "d", "title": "T", "text": "p"}],
                "negative_passages": [{"docid": "e", "title": "", "text": "n"}],
            },
            "tevatron",
            {"query": "q", "positive": "T\n\np", "negatives": ["n"]},
        ),
    ],
)
def test_layouts(row: Rowdict, shape: str, fields: Record) -> None:
    got, record = build(row)
    assert got == shape
    assert {name: record[name] for name in fields} == fields


def test_dolma_and_fineweb_columns() -> None:
    row = {
        "id": "a1",
        "text": "A.",
        "source": "cc",
        "created": "2020-01-01",
        "metadata": {"url": "http://a.example", "license": "CC0-1.0"},
    }
    _, record = build(row)
    assert record["url"] == "http://a.example"
    assert record["license"] == "CC0-1.0"
    assert record["created"] == "2020-01-01"
    assert record["source"] == "src"
    assert record["id"] == make_id("src", "a1")
    assert json.loads(record["meta"]) == {"source": "cc", "metadata": row["metadata"]}
    web = {"text": "A.", "id": "b", "dump": "CC-1", "url": "u", "date": "2021", "language": "en", "token_count": 3}
    _, record = build(web)
    assert (record["url"], record["created"]) == ("u", "2021")
    assert record["meta"] == '{"dump":"CC-1","language":"en","token_count":3}'


def test_ids_come_from_the_rows_own_or_its_content() -> None:
    _, one = build({"text": "A.", "n": 1})
    _, two = build({"text": "A.", "n": 2})
    assert one["id"] == two["id"] == make_id("src", "A.")
    _, number = build({"text": "A.", "doc_id": 7})
    assert number["id"] == make_id("src", "7")
    _, odd = build({"text": "A.", "id": {"x": 1}})
    assert odd["id"] == make_id("src", "A.")
    _, first = build({"prompt": "P", "completion": "C"})
    _, other = build({"prompt": "P", "completion": "D"})
    assert first["id"] != other["id"]


def test_what_the_record_does_not_hold_stays_in_meta() -> None:
    row = {"text": "A.", "b": 1, "a": [None, {"z": 1.5}], "gone": None, "raw": b"\xff", "meta": {"c": "x"}}
    _, record = build(row)
    assert record["meta"] == '{"a":[null,{"z":1.5}],"b":1,"c":"x","raw":"/w=="}'
    _, record = build({"text": "A.", "meta": '{"b": 2}', "url": {"odd": 1}, "parents": "x"})
    assert json.loads(record["meta"]) == {"b": 2, "url": {"odd": 1}, "parents": "x"}
    _, record = build({"text": "A.", "meta": {"b": 2}, "b": 1})
    assert json.loads(record["meta"]) == {"b": 1, "meta": {"b": 2}}
    turn = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
    _, record = build({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, turn]})
    assert record["messages"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}]
    assert json.loads(record["meta"])["messages"][1] == turn
    _, record = build({"query": "q", "positive": ["p1", "p2"]})
    assert json.loads(record["meta"]) == {"positive": ["p1", "p2"]}


def test_defaults_fill_only_what_is_missing() -> None:
    layout = detect([{"text": "A.", "license": "MIT"}])
    defaults = {"license": "CC0-1.0", "created": "2020", "made_by": "people"}
    own = to_record({"text": "A.", "license": "MIT"}, layout, "s", defaults)
    given = to_record({"text": "A."}, layout, "s", defaults)
    assert isinstance(own, dict)
    assert isinstance(given, dict)
    assert (own["license"], given["license"], given["created"], given["made_by"]) == (
        "MIT",
        "CC0-1.0",
        "2020",
        "people",
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": 3.5}, "'text' is a number, expected text"),
        ({"text": ["A."]}, "'text' is a list, expected text"),
        ({"text": {"a": 1}}, "'text' is an object, expected text"),
        ({"text": True}, "'text' is true or false, expected text"),
        ({"text": None}, "'text' is missing"),
        ({"body": "A."}, "'text' is missing"),
        ({"text": ""}, "'text' is empty"),
        ({"text": " \n\t\u2003"}, "'text' is empty"),
        ({"text": "a\x00b"}, "'text' holds the character U+0000 at position 1"),
        ({"text": "a\ud800"}, "'text' holds half a surrogate pair at position 1"),
        ({"text": "a", "id": "x\x00"}, "holds the character U+0000"),
        ({"text": "a", "url": "x\x00"}, "holds the character U+0000"),
        ({"text": "a", "more": "\ud800"}, "cannot be kept as JSON"),
        ({"text": "a", "more": 1 << 70}, "cannot be kept as JSON"),
    ],
)
def test_bad_text_rows(row: Rowdict, reason: str) -> None:
    layout = Layout("text", "text", {"text": "text", "id": "id", "url": "url"})
    got = to_record(row, layout, "s", {})
    assert isinstance(got, str)
    assert got.startswith(reason)


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ({"text": "a", "label": "b"}, {"text": "a", "label": None}, "'label' is missing"),
        ({"text": "a", "label": "b"}, {"text": "a", "label": ["x"]}, "'label' is a list, expected text"),
        ({"messages": chat("user: a")}, {"messages": []}, "'messages' has no turns"),
        ({"messages": chat("user: a")}, {"messages": "a"}, "'messages' is of type str, expected a list"),
        ({"messages": chat("user: a")}, {"messages": ["a"]}, "turn 1 of 'messages' is of type str"),
        ({"messages": chat("user: a")}, {"messages": [{"content": "a"}]}, "'turn 1 of messages: role' is missing"),
        ({"messages": chat("user: a")}, {"messages": [{"role": "user", "content": None}]}, "'messages' has no content"),
        (
            {"messages": chat("user: a")},
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "turn 1 of messages has parts that are no text",
        ),
        ({"instruction": "a", "output": "b"}, {"instruction": "a", "output": ""}, "'output' is empty"),
        (
            {"instruction": "a", "output": "b", "history": []},
            {"instruction": "a", "output": "b", "history": ["x"]},
            "'history' must hold pairs",
        ),
        ({"prompt": "a", "completion": "b"}, {"prompt": 1, "completion": "b"}, "'prompt' is a number"),
        ({"chosen": "a", "rejected": "b"}, {"chosen": "a", "rejected": None}, "'rejected' is missing"),
        ({"chosen": "a", "rejected": "b"}, {"chosen": chat("user: a"), "rejected": "b"}, "'rejected' is of type str"),
        ({"query": "a", "positive": "b"}, {"query": "a", "positive": []}, "'positive' is missing"),
        ({"query": "a", "positive": "b"}, {"query": "a", "positive": [3]}, "'positive' is a number"),
        (
            {"query": "a", "positive_passages": [{"text": "p"}]},
            {"query": "a", "positive_passages": [{"docid": "p"}]},
            "'positive_passages: text' is missing",
        ),
    ],
)
def test_bad_rows_of_other_kinds(good: Rowdict, bad: Rowdict, reason: str) -> None:
    got = to_record(bad, detect([good]), "s", {})
    assert isinstance(got, str)
    assert got.startswith(reason)


def test_stated_kind_and_fields_win() -> None:
    rows = [{"body": "A long body.", "title": "T", "text": "x", "label": "l"}]
    assert detect(rows).shape == "labeled"
    assert detect(rows, kind="text").fields == {"text": "text"}
    assert detect(rows, fields={"text": "body"}).fields == {"text": "body", "label": "label"}
    assert detect(rows, kind="text", fields={"text": "body", "id": "title"}).fields == {"text": "body", "id": "title"}
    assert detect([{"q": "a", "a": "b"}], fields={"prompt": "q", "completion": "a"}).shape == "prompt_completion"
    nested = [{"doc": {"body": "A."}}]
    record = to_record(nested[0], detect(nested, fields={"text": "doc.body"}), "s", {})
    assert isinstance(record, dict)
    assert record["text"] == "A."


@pytest.mark.parametrize(
    ("rows", "stated", "message"),
    [
        ([{"x": "long text here", "n": 1}], {}, r"fields n, x\. State it: .* fields: \{text: x\}"),
        ([], {}, r"\(none\)"),
        ([{"content": "a", "body": "b"}], {}, "content and body could each be the text of a text record"),
        ([{"query": "a", "positive": "b", "chosen": "c", "rejected": "d"}], {}, "could be preference .* or triplet"),
        ([{"prompt": "a", "completion": "b", "label": True}], {}, "true/false label"),
        ([{"text": "a"}], {"kind": "retrieval"}, "what these rows are as retrieval"),
        ([{"text": "a"}], {"kind": "texts"}, "A kind is one of text, instruction"),
        ([{"text": "a", "body": "b"}], {"fields": {"text": "boddy"}}, "Did you mean 'body'"),
        ([{"text": "a"}], {"fields": {"txt": "text"}}, "has a field 'txt'. Did you mean 'text'"),
    ],
)
def test_what_is_not_understood_is_refused(rows: list[Rowdict], stated: Rowdict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        detect(rows, **stated)


def test_a_field_few_rows_have_does_not_decide() -> None:
    rows = [{"text": "a"}] * 9 + [{"text": "a", "label": "x"}]
    assert detect(rows).kind == "text"
