"""What kind of records foreign rows are, which of their fields is which, and the records they become."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

import orjson

from tilth.core.errors import BadInput
from tilth.core.records import KINDS, Kind, Record, make_id

__all__ = ["Layout", "detect", "to_record"]

COMMON: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "_id", "doc_id", "docid", "uuid", "uid", "guid"),
    "url": ("url", "uri", "source_url", "link", "metadata.url", "meta.url"),
    "license": ("license", "licence", "metadata.license", "meta.license"),
    "created": ("created", "created_at", "date", "timestamp", "published", "metadata.created", "metadata.date"),
    "parents": ("parents",),
    "made_by": ("made_by",),
}
"""Field of every record -> the names it goes by, the likeliest first; a dot reaches into an object."""


@dataclass(frozen=True)
class Shape:
    """A way a kind of record is published: the roles it needs and may have, and the names each goes by."""

    kind: Kind
    name: str
    rank: int
    needs: Mapping[str, tuple[str, ...]]
    takes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_CHATS: Final = ("messages", "conversations", "conversation")
_SYSTEM: Final = {"system": ("system", "system_prompt")}
SHAPES: Final = (
    Shape(
        "preference",
        "preference",
        0,
        {"chosen": ("chosen",), "rejected": ("rejected",)},
        {"prompt": ("prompt", "question", "instruction")},
    ),
    Shape(
        "retrieval",
        "tevatron",
        0,
        {"query": ("query",), "positive": ("positive_passages",)},
        {"negatives": ("negative_passages",)},
    ),
    Shape(
        "retrieval",
        "triplet",
        0,
        {"query": ("query", "anchor"), "positive": ("positive", "pos")},
        {"negatives": ("negatives", "neg")},
    ),
    Shape("instruction", "messages", 1, {"messages": _CHATS}, _SYSTEM),
    Shape(
        "instruction",
        "alpaca",
        2,
        {"instruction": ("instruction",), "output": ("output", "response")},
        {"input": ("input", "context"), **_SYSTEM, "history": ("history",)},
    ),
    Shape(
        "instruction",
        "prompt_completion",
        2,
        {"prompt": ("prompt", "question"), "completion": ("completion", "response", "answer")},
        _SYSTEM,
    ),
    Shape("instruction", "prompt_completion", 3, {"prompt": ("input",), "completion": ("output",)}, _SYSTEM),
    Shape("labeled", "labeled", 4, {"text": ("text", "sentence"), "label": ("label", "labels")}),
    Shape("text", "text", 5, {"text": ("text", "content", "raw_content", "body", "document")}),
)
"""Every known shape. Where a row fits several, the lowest rank wins: chats often carry a rendered `text` as well."""
_BY_NAME: Final = {shape.name: shape for shape in SHAPES} | {"sharegpt": SHAPES[3]}
ROLES: Final = {role: role for role in ("system", "user", "assistant", "tool")} | {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_NEGATIVE: Final = re.compile(r"negative(_\d+)?")
_LONGEST: Final = 1 << 28


@dataclass(frozen=True)
class Layout:
    """How rows become records.

    Attributes:
        kind: the kind of the records.
        shape: how the rows are laid out: text, labeled, alpaca, messages, sharegpt, prompt_completion,
            preference, tevatron or triplet.
        fields: role -> the row's field that plays it; a dot reaches into an object.
    """

    kind: Kind
    shape: str
    fields: Mapping[str, str]


def detect(
    rows: Iterable[Mapping[str, Any]], kind: str | None = None, fields: Mapping[str, str] | None = None
) -> Layout:
    """The layout of a file, from its first rows.

    Args:
        kind: the kind, when the user states it.
        fields: role -> field, as far as the user states them: ``{"text": "body"}``.

    Raises:
        BadInput: when the rows fit no layout, or several equally well; it says how to state one.

    Example:
        >>> detect([{"instruction": "Add.", "input": "1 2", "output": "3"}])
        Layout(kind='instruction', shape='alpaca', fields={'instruction': 'instruction', 'output': 'output',
        'input': 'input'})
        >>> detect([{"body": "..."}, {"body": "...", "lang": "en"}], fields={"text": "body"}).fields
        {'text': 'body'}
    """
    seen = list(rows)
    stated = dict(fields or {})
    columns = _columns(seen)
    _check(kind, stated, seen, columns)
    fits = [fit for shape in SHAPES if kind in (None, shape.kind) and (fit := _fit(shape, columns, stated))]
    best = [fit for fit in fits if fit[0].rank == min(f[0].rank for f in fits)]
    have = f"The rows have the fields {', '.join(sorted(columns)) or '(none)'}."
    if not best:
        of_kind = f" as {kind}" if kind else ""
        raise BadInput(
            f"Cannot tell what these rows are{of_kind}. {have} State it: kind (one of {', '.join(KINDS)}) and "
            f"fields, for example kind: text, fields: {{text: {_longest(seen)}}}."
        )
    if len(best) > 1:
        names = " or ".join(f"{shape.name} ({shape.kind}: {', '.join(roles.values())})" for shape, roles in best)
        raise BadInput(f"These rows could be {names}. {have} State the kind, or the fields, that you mean.")
    shape, roles = best[0]
    if shape.name == "prompt_completion" and kind is None and _is_unpaired(seen):
        raise BadInput(
            "These rows are prompt, completion and a true/false label: completions marked false must not be learnt. "
            "Keep the true ones and state kind: instruction."
        )
    _unambiguous(shape, columns, stated, have)
    if shape.kind == "retrieval":
        roles |= {c: c for c in sorted(columns, key=lambda c: (len(c), c)) if _NEGATIVE.fullmatch(c)}
    name = "sharegpt" if shape.name == "messages" and _is_sharegpt(seen, roles["messages"]) else shape.name
    common = {role: found for role, names in COMMON.items() if (found := _pick(role, names, columns, stated, {}))}
    taken = set(roles.values())
    return Layout(shape.kind, name, roles | {role: c for role, c in common.items() if c not in taken})


def to_record(row: Mapping[str, Any], layout: Layout, source: str, defaults: Mapping[str, str]) -> Record | str:
    """The record a row becomes, or the reason why it cannot be one.

    The kind's fields are built as the layout says; `defaults` fill `license`, `url`, `created` and `made_by` where
    the row has none; what is left over is kept in `meta`. Rows without an id of their own get one from their content.

    Example:
        >>> layout = Layout("text", "text", {"text": "body", "id": "doc_id"})
        >>> record = to_record({"doc_id": 7, "body": "Hello.", "lang": "en"}, layout, "web", {"license": "CC0-1.0"})
        >>> record["text"], record["license"], record["meta"]
        ('Hello.', 'CC0-1.0', '{"lang":"en"}')
        >>> to_record({"doc_id": 8, "body": 3.5}, layout, "web", {})
        "'body' is a number, expected text"
    """
    get = {role: _lookup(row, name) for role, name in layout.fields.items()}
    spoilt: set[str] = set()  # fields whose original must be kept, because the record holds less
    try:
        own = _BUILD[_BY_NAME[layout.shape].name](get, layout.fields, spoilt)
    except _Unfit as error:
        return str(error)
    record: Record = {"id": "", **own, "source": source}
    for name in ("license", "url", "created", "made_by"):
        value = get.get(name)
        record[name] = str(value) if isinstance(value, (str, int)) and value != "" else defaults.get(name)
        if isinstance(value, (dict, list, float)):
            spoilt.add(layout.fields[name])
    parents = get.get("parents")
    record["parents"] = parents if isinstance(parents, list) and all(isinstance(p, str) for p in parents) else None
    if parents is not None and record["parents"] is None:
        spoilt.add(layout.fields["parents"])
    try:
        record["meta"] = _meta(row, layout, spoilt)
        given = get.get("id")
        named = isinstance(given, (str, int)) and not isinstance(given, bool) and given != ""
        key = str(given) if named else own["text"] if layout.kind == "text" else orjson.dumps(own).decode()
    except (TypeError, UnicodeEncodeError) as error:
        return f"cannot be kept as JSON: {error}"
    if "\x00" in key or any("\x00" in (record[n] or "") for n in ("license", "url", "created", "made_by")):
        return "holds the character U+0000"
    record["id"] = make_id(source, key)
    return record


# ---- detection -----------------------------------------------------------------------------------


def _columns(rows: list[Mapping[str, Any]]) -> set[str]:
    """Fields that at least half of the rows have, those one level inside objects included."""
    counts: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                counts[name] = counts.get(name, 0) + 1
            if name in ("metadata", "meta") and isinstance(value, dict):
                for inner in value:
                    counts[f"{name}.{inner}"] = counts.get(f"{name}.{inner}", 0) + 1
    return {name for name, count in counts.items() if 2 * count >= len(rows)}


def _check(kind: str | None, stated: Mapping[str, str], rows: list[Mapping[str, Any]], columns: set[str]) -> None:
    if kind is not None and kind not in KINDS:
        raise BadInput(f"A kind is one of {', '.join(KINDS)}. Got {kind!r}.")
    known = {r for s in SHAPES for r in (*s.needs, *s.takes) if kind in (None, s.kind)} | set(COMMON)
    for role, name in stated.items():
        if role not in known:
            near = get_close_matches(role, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(sorted(known))}."
            raise BadInput(f"No record of kind {kind or 'any'} has a field {role!r}. {hint}")
        if rows and all(_lookup(row, name) is None for row in rows):
            near = get_close_matches(name, columns, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"They have {', '.join(sorted(columns))}."
            raise BadInput(f"None of the first {len(rows)} rows has the field {name!r}, stated for {role!r}. {hint}")


def _fit(shape: Shape, columns: set[str], stated: Mapping[str, str]) -> tuple[Shape, dict[str, str]] | None:
    roles = {**shape.needs, **shape.takes}
    if any(role not in roles and role not in COMMON for role in stated):
        return None
    found: dict[str, str] = {}
    for role, names in roles.items():
        if name := _pick(role, names, columns, stated, found):
            found[role] = name
        elif role in shape.needs:
            return None
    return shape, found


def _pick(
    role: str, names: tuple[str, ...], columns: set[str], stated: Mapping[str, str], found: Mapping[str, str]
) -> str | None:
    """The field that plays a role: as stated, else the first of its names, unless another role was given it."""
    taken = {*(n for r, n in stated.items() if r != role), *found.values()}
    return stated.get(role) or next((n for n in names if n in columns and n not in taken), None)


def _longest(rows: list[Mapping[str, Any]]) -> str:
    """The field with most text in it: the likeliest to be meant."""
    sizes: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            sizes[name] = sizes.get(name, 0) + (len(value) if isinstance(value, str) else 0)
    return max(sorted(sizes), key=sizes.__getitem__, default="body")


def _unambiguous(shape: Shape, columns: set[str], stated: Mapping[str, str], have: str) -> None:
    for role, names in shape.needs.items():
        able = [name for name in names if name in columns]
        if len(able) > 1 and role not in able and role not in stated:
            raise BadInput(
                f"{' and '.join(able)} could each be the {role} of a {shape.kind} record. {have} State the one you "
                f"mean, for example fields: {{{role}: {able[0]}}}."
            )


def _is_unpaired(rows: list[Mapping[str, Any]]) -> bool:
    labels = [row["label"] for row in rows if row.get("label") is not None]
    return bool(labels) and all(isinstance(label, bool) for label in labels)


def _is_sharegpt(rows: list[Mapping[str, Any]], name: str) -> bool:
    turns = next((t for row in rows if (t := _list(_lookup(row, name)))), [])
    return bool(turns) and isinstance(turns[0], dict) and "from" in turns[0]


def _lookup(row: Mapping[str, Any], name: str) -> Any:
    if name in row:
        return row[name]
    outer, _, inner = name.partition(".")
    inside = row.get(outer) if inner else None
    return inside.get(inner) if isinstance(inside, dict) else None


# ---- records -------------------------------------------------------------------------------------


class _Unfit(Exception):
    """This row cannot be a record; the message says why."""


Values = Mapping[str, Any]
Names = Mapping[str, str]
Build = Callable[[Values, Names, set[str]], Record]


def _text(value: Any, name: str, *, may_be_empty: bool = False) -> str:
    if value is None:
        raise _Unfit(f"{name!r} is missing")
    if not isinstance(value, str):
        raise _Unfit(f"{name!r} is {_type(value)}, expected text")
    if not may_be_empty and (not value or value.isspace()):
        raise _Unfit(f"{name!r} is empty")
    if "\x00" in value:
        raise _Unfit(f"{name!r} holds the character U+0000 at position {value.index(chr(0))}")
    if len(value) > _LONGEST:
        raise _Unfit(f"{name!r} has {len(value):,} characters; at most {_LONGEST:,} are accepted")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _Unfit(f"{name!r} holds half a surrogate pair at position {error.start}") from None
    return value


def _type(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"of type {type(value).__name__}")


def _optional(value: Any, name: str) -> str | None:
    return None if value is None or value == "" else _text(value, name, may_be_empty=True)


def _list(value: Any) -> list[Any] | None:
    """A list; one written as JSON (as in CSV) is parsed."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    return value if isinstance(value, list) else None


def _build_text(get: Values, names: Names, spoilt: set[str]) -> Record:
    return {"text": _text(get["text"], names["text"])}


def _build_labeled(get: Values, names: Names, spoilt: set[str]) -> Record:
    label = get["label"]
    if isinstance(label, bool):
        label = str(label).lower()
    elif isinstance(label, (int, float)):
        label = str(label)
    return {"text": _text(get["text"], names["text"]), "label": _text(label, names["label"])}


def _turn(turn: Any, number: int, name: str, spoilt: set[str]) -> dict[str, str | None]:
    if not isinstance(turn, dict):
        raise _Unfit(f"turn {number} of {name!r} is {_type(turn)}, expected an object")
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    where = f"turn {number} of {name}"
    speaker = _text(role, f"{where}: role").strip()
    if isinstance(content, list):  # parts, as in the OpenAI format
        parts = [p.get("text") if isinstance(p, dict) and p.get("type", "text") == "text" else None for p in content]
        if not all(isinstance(p, str) for p in parts):
            raise _Unfit(f"{where} has parts that are no text")
        content = "".join(p for p in parts if isinstance(p, str))
        spoilt.add(name)
    if any(v is not None for k, v in turn.items() if k not in ("role", "from", "content", "value")):
        spoilt.add(name)
    said = None if content is None else _text(content, where, may_be_empty=True)
    return {"role": ROLES.get(speaker.lower(), speaker), "content": said}


def _turns(value: Any, name: str, spoilt: set[str]) -> list[dict[str, str | None]]:
    turns = _list(value)
    if turns is None:
        raise _Unfit(f"{name!r} is missing" if value is None else f"{name!r} is {_type(value)}, expected a list")
    if not turns:
        raise _Unfit(f"{name!r} has no turns")
    return [_turn(turn, number, name, spoilt) for number, turn in enumerate(turns, 1)]


def _system(get: Values, names: Names) -> list[dict[str, str | None]]:
    text = _optional(get.get("system"), names.get("system", ""))
    return [{"role": "system", "content": text}] if text else []


def _build_messages(get: Values, names: Names, spoilt: set[str]) -> Record:
    turns = _turns(get["messages"], names["messages"], spoilt)
    if not any(turn["content"] for turn in turns):
        raise _Unfit(f"{names['messages']!r} has no content in any turn")
    return {"messages": (_system(get, names) if turns[0]["role"] != "system" else []) + turns}


def _build_alpaca(get: Values, names: Names, spoilt: set[str]) -> Record:
    messages = _system(get, names)
    history = get.get("history")
    for pair in [] if history is None else _list(history) or []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise _Unfit(f"{names['history']!r} must hold pairs of question and answer")
        for role, said in zip(("user", "assistant"), pair, strict=True):
            messages.append({"role": role, "content": _text(said, names["history"], may_be_empty=True)})
    asked = _text(get["instruction"], names["instruction"])
    given = _optional(get.get("input"), names.get("input", ""))
    messages.append({"role": "user", "content": f"{asked}\n\n{given}" if given else asked})
    messages.append({"role": "assistant", "content": _text(get["output"], names["output"])})
    return {"messages": messages}


def _build_prompt_completion(get: Values, names: Names, spoilt: set[str]) -> Record:
    messages = _system(get, names)
    for role, part in (("user", "prompt"), ("assistant", "completion")):
        if _list(get[part]) is not None and not isinstance(get[part], str):
            messages += _turns(get[part], names[part], spoilt)
        else:
            messages.append({"role": role, "content": _text(get[part], names[part])})
    return {"messages": messages}


def _build_preference(get: Values, names: Names, spoilt: set[str]) -> Record:
    prompt, sides = get.get("prompt") or None, ("chosen", "rejected")
    stated = isinstance(prompt, list)
    name = names.get("prompt", "")
    spoilt |= {names[role] for role in ("prompt", *sides) if isinstance(get.get(role), list)}
    before = _dialogue(_turns(prompt, name, spoilt)) if stated else _optional(prompt, name)
    if any(isinstance(get[side], list) for side in sides):
        turns = {side: _turns(get[side], names[side], spoilt) for side in sides}
        shared = "" if stated else _dialogue(turns["chosen"][:-1])
        return {"prompt": shared or before, **{s: _text(t[-1]["content"], names[s]) for s, t in turns.items()}}
    answers = {side: _text(get[side], names[side]) for side in sides}
    return {"prompt": before, **answers} if before else _split_dialogue(answers)


def _dialogue(turns: list[dict[str, str | None]]) -> str:
    return "\n\n".join(f"{turn['role']}: {turn['content'] or ''}" for turn in turns)


def _split_dialogue(answers: dict[str, str]) -> Record:
    """Whole dialogues as Anthropic's HH publishes them: what both share up to the last answer is the prompt."""
    mark = "\n\nAssistant:"
    at = answers["chosen"].rfind(mark) + len(mark)
    prompt = answers["chosen"][:at]
    if at < len(mark) or not answers["rejected"].startswith(prompt) or not answers["rejected"][at:].strip():
        return {"prompt": None, **answers}
    return {"prompt": prompt, **{side: text[at:].lstrip(" ") for side, text in answers.items()}}


def _build_retrieval(get: Values, names: Names, spoilt: set[str]) -> Record:
    query = _text(get["query"], names["query"])
    positives = _passages(get["positive"], names["positive"], spoilt)
    if not positives:
        raise _Unfit(f"{names['positive']!r} is missing")
    if len(positives) > 1:
        spoilt.add(names["positive"])  # one record is one pair; the others stay in meta
    roles = [role for role in names if role.startswith("negative")]
    negatives = [text for role in roles for text in _passages(get[role], names[role], spoilt)]
    return {"query": query, "positive": positives[0], "negatives": negatives}


def _passages(value: Any, name: str, spoilt: set[str]) -> list[str]:
    """Texts from one text, a list of texts, or a list of objects with title and text."""
    items = _list(value)
    texts: list[str] = []
    for item in ([] if value is None or value == "" else [value]) if items is None else items:
        if isinstance(item, dict):
            spoilt.add(name)  # passage ids
            title, text = item.get("title"), _text(item.get("text"), f"{name}: text")
            texts.append(f"{title}\n\n{text}" if isinstance(title, str) and title else text)
        elif item is not None:
            texts.append(_text(item, name))
    return texts


_BUILD: Final[Mapping[str, Build]] = {
    "text": _build_text,
    "labeled": _build_labeled,
    "messages": _build_messages,
    "alpaca": _build_alpaca,
    "prompt_completion": _build_prompt_completion,
    "preference": _build_preference,
    "tevatron": _build_retrieval,
    "triplet": _build_retrieval,
}


def _meta(row: Mapping[str, Any], layout: Layout, spoilt: set[str]) -> str | None:
    """What the record does not hold, as JSON with sorted keys; an object called `meta` is opened up."""
    used = set(layout.fields.values()) - spoilt
    rest = {k: v for k, v in row.items() if v is not None and k not in used}
    inner = rest.get("meta")
    if isinstance(inner, str) and inner.startswith("{"):
        try:
            inner = orjson.loads(inner)
        except orjson.JSONDecodeError:
            inner = None
    if isinstance(inner, dict) and not inner.keys() & rest.keys():
        del rest["meta"]
        rest = inner | rest
    if not rest:
        return None
    return orjson.dumps(rest, default=_plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    return str(value)
