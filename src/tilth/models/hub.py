"""Adapters to Hugging Face: models in local folders, and plans for TRL's and transformers' trainers.

`load` reads a folder, `score` and `answers` give log-likelihoods under it, `train` is a small training loop, and
`dataset` hands a plan over to the trainers people already use.

Nothing is downloaded: a model is a folder on this machine. Only safetensors are read, because pickled weights can run
code, and code that lies in a model's folder is never run.

Sources: Salazar et al. 2020 for pseudo-log-likelihood; Devlin et al. 2019 for the masking of `train`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadField, BadInput, MissingExtra
from tilth.core.plan import Plan
from tilth.core.pool import Pool
from tilth.core.records import FIELDS, Kind, Record
from tilth.core.run import Run
from tilth.models.batches import IGNORED, Windows

__all__ = ["STYLES", "Local", "Scores", "answers", "dataset", "load", "packed", "score", "train"]

Task = Literal["causal", "masked", "encoder"]
Floats = npt.NDArray[np.float64]
Example = str | tuple[str, str]
HEADS: Final[Mapping[Task, str]] = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "encoder": "AutoModel",
}
UNMASKED: Final = -100  # the label that Hugging Face's losses ignore
LONGEST: Final = 1 << 20  # tokenizers without a limit state one of 1e30


@dataclass(frozen=True)
class Local:
    """A model with its tokenizer, from a folder on this machine."""

    folder: Path
    task: Task
    model: Any
    tokenizer: Any

    @property
    def length(self) -> int:
        """Most tokens the model reads at once."""
        config = self.model.config
        stated = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or LONGEST
        return int(min(stated, self.tokenizer.model_max_length, LONGEST))

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """The ids that stand before and after a text: a causal model's start, a masked model's two separators.

        Raises:
            BadInput: when the tokenizer names none; the first token would then have nothing to be predicted from.
        """
        t = self.tokenizer
        if self.task == "causal":
            start = t.bos_token_id if t.bos_token_id is not None else t.eos_token_id
            if start is None:
                raise BadInput(f"The tokenizer of {self.folder} names neither a bos_token nor an eos_token. Set one.")
            return [start], []
        before = t.cls_token_id if t.cls_token_id is not None else t.bos_token_id
        after = t.sep_token_id if t.sep_token_id is not None else t.eos_token_id
        if before is None or after is None or t.mask_token_id is None:
            raise BadInput(
                f"The tokenizer of {self.folder} lacks a cls, sep or mask token, which a masked model needs."
            )
        return [before], [after]


@dataclass(frozen=True)
class Scores:
    """Log-likelihoods of texts.

    Attributes:
        nats: (n,) natural logarithm of each text's likelihood, or pseudo-likelihood under a masked model.
        tokens: (n,) tokens scored.
        bytes: (n,) UTF-8 bytes scored.
    """

    nats: Floats
    tokens: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]

    @property
    def bits_per_byte(self) -> Floats:
        """Minus the log-likelihood in bits, over bytes: comparable between tokenizers; 0 for an empty text."""
        return np.asarray(-self.nats / np.log(2) / np.maximum(self.bytes, 1))


# ---- reading ----------------------------------------------------------------------------------------


def load(folder: Path | str, task: Task | Literal["auto"] = "auto", device: str = "cpu") -> Local:
    """The model in a local folder, in single precision, not training.

    Args:
        folder: holds ``config.json``, ``*.safetensors`` and a tokenizer.
        task: ``auto`` reads it from the configuration's ``architectures``.

    Raises:
        MissingExtra: when transformers or torch is not installed.
        BadInput: when the folder is none, or lacks something, or its weights do not fill the model.
    """
    path = Path(folder)
    config = _checked(path)
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtra(
            f"Models from folders need transformers and torch: pip install 'tilth[hf]' ({error})."
        ) from None
    chosen: Task = _task(config, path) if task == "auto" else task
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with _quiet(transformers):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **local)
            model, info = getattr(transformers, HEADS[chosen]).from_pretrained(
                path, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **local
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise BadInput(
                f"Cannot load {path} as a {chosen} model: {error} If the folder needs code of its own, tilth does not "
                f"run it: use a model that transformers knows."
            ) from None
    missing = sorted(k for k in info["missing_keys"] if chosen != "encoder" or not k.startswith("pooler."))
    if missing:
        raise BadInput(
            f"The weights in {path} do not fill a {chosen} model: {len(missing)} are missing, such as {missing[0]}. "
            f"Give a folder saved from a {chosen} model, or state another task."
        )
    model.to(device).eval()
    return Local(path, chosen, model, tokenizer)


def _checked(path: Path) -> dict[str, Any]:
    """The configuration of a folder that may be read."""
    if not path.is_dir():
        raise BadInput(
            f"{str(path)!r} is no folder on this machine. tilth downloads no models: where there is a network, run "
            f"`hf download NAME --local-dir FOLDER`, and give that folder."
        )
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no model's folder: cannot read its config.json ({error}).") from None
    if not any(path.glob("*.safetensors")):
        raise BadInput(
            f"{path} holds no *.safetensors. Other weights can run code when they are read, so tilth does not read "
            f"them: convert them where you trust them, with model.save_pretrained(FOLDER)."
        )
    return config


def _task(config: Mapping[str, Any], path: Path) -> Task:
    names = [str(n) for n in config.get("architectures") or ()]
    if any(n.endswith(("ForCausalLM", "LMHeadModel")) for n in names):
        return "causal"
    if any(n.endswith("ForMaskedLM") for n in names):
        return "masked"
    raise BadInput(f"{path} says architectures {names}, neither causal nor masked. State the task.")


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars or load reports; what matters in them is checked and raised."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


# ---- scoring ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """One sequence to run: which item it belongs to, its ids, and the label of each position or UNMASKED."""

    item: int
    ids: list[int]
    labels: list[int]


def score(local: Local, texts: Sequence[str], batch_tokens: int = 4096) -> Scores:
    """The log-likelihood of each text.

    Under a causal model every token is predicted from the start token and the tokens before it; texts longer than the
    model reads are scored in windows that overlap by half, each token once. Under a masked model it is the
    pseudo-log-likelihood: each token predicted from all others, one run of the model per token, so a text of n tokens
    costs n runs; longer texts are cut into pieces. Pseudo-likelihoods are not probabilities: compare them with each
    other under one model, not with a causal model's.

    Args:
        batch_tokens: most tokens, padding included, in one run of the model.
    """
    return answers(local, [""] * len(texts), texts, batch_tokens)


def answers(local: Local, prompts: Sequence[str], texts: Sequence[str], batch_tokens: int = 4096) -> Scores:
    """The log-likelihood of each answer given its prompt.

    Prompt and answer are tokenized apart and then joined, as in `train`, so a token never spans the boundary; put the
    space where the tokenizer wants it.
    """
    if len(prompts) != len(texts):
        raise ValueError(f"{len(prompts)} prompts for {len(texts)} answers")
    given, wanted = _ids(local, prompts), _ids(local, texts)
    cut = _causal if local.task == "causal" else _masked
    pieces = [p for i, (g, w) in enumerate(zip(given, wanted, strict=True)) for p in cut(local, i, g, w)]
    nats = np.zeros(len(texts))
    for batch in _batches(pieces, batch_tokens):
        np.add.at(nats, [p.item for p in batch], _likelihoods(local, batch))
    sizes = np.array([len(t.encode("utf-8", "replace")) for t in texts], np.int64)
    return Scores(nats, np.array([len(w) for w in wanted], np.int64), sizes)


def _ids(local: Local, texts: Sequence[str]) -> list[list[int]]:
    if local.task == "encoder":
        raise BadInput(
            f"{local.folder} was loaded as an encoder, which predicts no tokens. Load it as causal or masked."
        )
    if not texts:
        return []
    found = local.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [list(row) for row in found]


def _causal(local: Local, item: int, given: list[int], wanted: list[int]) -> Iterator[_Piece]:
    """Windows; each predicted position carries its token as the label, once."""
    ids = local.frame[0] + given + wanted
    done = len(ids) - len(wanted)
    start = 0
    while done < len(ids):
        stop = min(start + local.length, len(ids))
        if stop > done:
            labels = [UNMASKED] * (done - start) + ids[done:stop]
            yield _Piece(item, ids[start:stop], labels)
            done = stop
        start += max(1, local.length // 2)


def _masked(local: Local, item: int, given: list[int], wanted: list[int]) -> Iterator[_Piece]:
    """One sequence per token of the answer, with that token masked; the prompt is cut before the answer is."""
    before, after = local.frame
    room = local.length - len(before) - len(after)
    for start in range(0, len(wanted), room):
        part = wanted[start : start + room]
        context = (given + wanted[:start])[-(room - len(part)) :] if room > len(part) else []
        ids = before + context + part + after
        for place in range(len(before) + len(context), len(ids) - len(after)):
            masked = [*ids[:place], local.tokenizer.mask_token_id, *ids[place + 1 :]]
            yield _Piece(item, masked, [ids[place] if i == place else UNMASKED for i in range(len(ids))])


def _batches(pieces: list[_Piece], tokens: int) -> Iterator[list[_Piece]]:
    """Pieces of like length together; a batch is at most this many tokens when padded, or one piece."""
    batch: list[_Piece] = []
    for piece in sorted(pieces, key=lambda p: len(p.ids)):
        if batch and (len(batch) + 1) * len(piece.ids) > tokens:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _likelihoods(local: Local, batch: list[_Piece]) -> Floats:
    """The summed log-likelihood of each piece's labels."""
    import torch

    with torch.inference_mode():
        loss = _losses(local, batch).sum(1)
    return np.asarray(-loss.double().cpu().numpy())


def _losses(local: Local, batch: Sequence[_Piece]) -> Any:
    """(pieces, positions) nats of each labelled position, 0 elsewhere."""
    import torch

    longest = max(len(p.ids) for p in batch)
    ids = torch.zeros((len(batch), longest), dtype=torch.long)
    labels = torch.full_like(ids, UNMASKED)
    mask = torch.zeros_like(ids)
    for row, piece in enumerate(batch):
        ids[row, : len(piece.ids)] = torch.tensor(piece.ids)
        labels[row, : len(piece.ids)] = torch.tensor(piece.labels)
        mask[row, : len(piece.ids)] = 1
    device = next(local.model.parameters()).device
    logits = local.model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
    labels = labels.to(device)
    if local.task == "causal":
        logits, labels = logits[:, :-1], labels[:, 1:]
    flat = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=UNMASKED, reduction="none"
    )
    return flat.view(labels.shape)


# ---- training ---------------------------------------------------------------------------------------


def train(
    local: Local,
    examples: Sequence[Example],
    run: Run,
    *,
    epochs: int = 1,
    batch: int = 8,
    rate: float = 5e-5,
    warmup: float = 0.1,
    length: int = 512,
    masked: float = 0.15,
) -> tuple[Local, Floats]:
    """A trained copy of the model, and the loss of each step in nats per predicted token.

    AdamW, a linear rise and fall of the learning rate, gradients clipped to length 1; examples in a new order each
    epoch. For anything larger use `dataset` and a trainer.

    Args:
        examples: texts, or (prompt, answer) pairs, of which only the answer is learned.
        length: most tokens of an example; a text loses its end, a pair the start of its prompt.
        masked: share of tokens a masked model must restore.
    """
    import torch

    if not examples:
        raise BadInput("There is nothing to train on: no examples.")
    made = replace(local, model=copy.deepcopy(local.model))
    pieces = _examples(made, examples, min(length, made.length))
    steps = epochs * -(-len(pieces) // batch)
    moved = torch.optim.AdamW(made.model.parameters(), lr=rate)
    rise = max(1.0, warmup * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        moved, lambda s: min((s + 1) / rise, (steps - s) / max(1.0, steps - rise + 1))
    )
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(run.number("dropout"))
        made.model.train()
        for epoch in range(epochs):
            order = run.rng("order", epoch).permutation(len(pieces))
            hide = run.rng("mask", epoch)
            for start in range(0, len(order), batch):
                rows = [pieces[i] for i in order[start : start + batch]]
                if made.task == "masked":
                    rows = [_hidden(made, row, masked, hide) for row in rows]
                loss = _losses(made, rows).sum() / max(1, sum(_learned(made, row) for row in rows))
                moved.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(made.model.parameters(), 1.0)
                moved.step()
                schedule.step()
                losses.append(float(loss.detach()))
    made.model.eval()
    return made, np.array(losses)


def _examples(local: Local, examples: Sequence[Example], length: int) -> list[_Piece]:
    pairs = [("", e) if isinstance(e, str) else e for e in examples]
    given, wanted = _ids(local, [p for p, _ in pairs]), _ids(local, [a for _, a in pairs])
    before, after = local.frame
    if local.task == "causal" and local.tokenizer.eos_token_id is not None:
        after = [local.tokenizer.eos_token_id]
    room = length - len(before) - len(after)
    pieces = []
    for i, (g, w) in enumerate(zip(given, wanted, strict=True)):
        w = w[:room]
        g = g[-(room - len(w)) :] if room > len(w) else []
        learned = w + after if local.task == "causal" else w
        labels = [UNMASKED] * (len(before) + len(g)) + learned
        ids = before + g + w + after
        pieces.append(_Piece(i, ids, labels + [UNMASKED] * (len(ids) - len(labels))))
    return pieces


def _hidden(local: Local, piece: _Piece, share: float, rng: np.random.Generator) -> _Piece:
    """At least one token to restore: of those chosen 8 in 10 are masked, 1 becomes any token and 1 stays."""
    places = np.flatnonzero(np.array(piece.labels) != UNMASKED)
    chosen = places[rng.random(places.size) < share]
    if chosen.size == 0 and places.size:
        chosen = rng.choice(places, 1)
    ids, labels = list(piece.ids), [UNMASKED] * len(piece.ids)
    for place in chosen:
        labels[place] = piece.ids[place]
        what = rng.random()
        if what < 0.9:
            ids[place] = local.tokenizer.mask_token_id if what < 0.8 else int(rng.integers(len(local.tokenizer)))
    return _Piece(piece.item, ids, labels)


def _learned(local: Local, piece: _Piece) -> int:
    return sum(label != UNMASKED for label in piece.labels[1 if local.task == "causal" else 0 :])


# ---- handing over -----------------------------------------------------------------------------------


def dataset(plan: Plan, pool: Pool, run: Run, style: str = "") -> Any:
    """The plan as a ``datasets.Dataset`` in the layout that trainers read, repeats and order realised.

    Row i is what the trainer should read i-th. Trap: trainers shuffle unless told otherwise; to keep the plan's order
    give them a sequential sampler (transformers: ``train_sampling_strategy="sequential"``) and one epoch, since the
    plan's own epochs are rows already.

    Args:
        run: where the order of records without a rank is drawn, the same as in an export.
        style: one of `STYLES` of the pool's kind; the first where not given.

    Raises:
        BadField: when the kind has no such style, or a record does not fit it.
        UsageError: when the plan puts something before its records.
    """
    plan.require_plain("A trainer's data set")
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(f"Handing a plan over needs datasets: pip install 'tilth[hf]'. {error}") from None
    styles = STYLES[pool.kind]
    chosen = style or next(iter(styles))
    if chosen not in styles:
        raise BadField(f"The 'style' of a {pool.kind} dataset is one of {', '.join(styles)}. Got {style!r} instead.")
    rows, _ = plan.reading_order(run.at("order"))
    distinct, place = np.unique(rows, return_inverse=True)
    shape = styles[chosen]
    records = [shape(row) for row in pool.take(distinct, ["id", *FIELDS[pool.kind]]).to_pylist()]
    uneven = next((i for i, r in enumerate(records) if r.keys() != records[0].keys()), None)
    if uneven is not None:
        name = pool.take(distinct, ["id"]).column(0)[uneven]
        raise BadField(
            f"The style {chosen!r} needs the same fields in every record; record {name} "
            f"has {', '.join(records[uneven])}, the first has {', '.join(records[0])}."
        )
    made = datasets.Dataset.from_list(records)
    if pool.kind == "labeled":
        known = sorted({r["label"] for r in records})
        made = made.cast_column("label", datasets.ClassLabel(names=known))
    return made.select(place)


def packed(windows: Windows) -> Any:
    """Windows as a ``datasets.Dataset`` whose documents stay apart under a causal model of transformers.

    Columns ``input_ids``, ``labels`` and ``position_ids``, one place longer than the windows, because these models
    predict a label from the place before it. Positions restart with each document, and there is no attention mask:
    from that transformers knows that several sequences share a row and lets none attend to another. The loss of a row
    is that of its documents alone. Train with ``transformers.default_data_collator``. Trap: a collator that adds an
    attention mask undoes it, and so does a cache: outside the Trainer, which sets it, call with ``use_cache=False``.

    The windows come from `batches.windows_of_documents` or `windows_of_rounds` with the model's own ids:
    ``Tokenizer(local.tokenizer.backend_tokenizer.to_str())`` encodes as the model's tokenizer does.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(f"Handing windows over needs datasets: pip install 'tilth[hf]'. {error}") from None
    rows, width = windows.documents.shape
    at = np.arange(width)
    begins = np.ones((rows, width), np.bool_)
    begins[:, 1:] = windows.documents[:, 1:] != windows.documents[:, :-1]
    positions = at - np.maximum.accumulate(np.where(begins, at, 0), 1)
    last = np.zeros((rows, 1), np.int64)  # nothing is predicted from it: it is there to carry the last label
    labels = np.where(windows.targets == IGNORED, UNMASKED, windows.targets)
    columns = {
        "input_ids": np.concatenate([windows.inputs, last], 1),
        "labels": np.concatenate([last + UNMASKED, labels], 1),
        "position_ids": np.concatenate([positions, last], 1),
    }
    return datasets.Dataset.from_dict({name: list(values.astype(np.int64)) for name, values in columns.items()})


def _text(row: Mapping[str, Any]) -> Record:
    return {"text": row["text"] or ""}


def _labeled(row: Mapping[str, Any]) -> Record:
    if row["label"] is None:
        raise BadField(f"Record {row['id']} has no label. Keep only labelled records: `keep: label is not null`.")
    return {"text": row["text"] or "", "label": row["label"]}


def _messages(row: Mapping[str, Any]) -> Record:
    return {"messages": row["messages"] or []}


def _completion(row: Mapping[str, Any]) -> Record:
    turns = row["messages"] or []
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise BadField(
            f"Record {row['id']} does not end with an assistant's turn after another, which the style "
            f"'prompt_completion' needs. Use 'messages', or keep only records that do."
        )
    return {"prompt": turns[:-1], "completion": turns[-1:]}


def _preference(row: Mapping[str, Any]) -> Record:
    return {"prompt": row["prompt"] or "", "chosen": row["chosen"], "rejected": row["rejected"]}


def _conversation(row: Mapping[str, Any]) -> Record:
    def turn(role: str, said: str | None) -> list[Record]:
        return [{"role": role, "content": said or ""}]

    return {
        "prompt": turn("user", row["prompt"]),
        "chosen": turn("assistant", row["chosen"]),
        "rejected": turn("assistant", row["rejected"]),
    }


def _triplet(row: Mapping[str, Any]) -> Record:
    numbered = {f"negative_{i}": text for i, text in enumerate(row["negatives"] or [], 1)}
    return {"anchor": row["query"], "positive": row["positive"], **numbered}


STYLES: Final[Mapping[Kind, Mapping[str, Any]]] = {
    "text": {"text": _text},
    "labeled": {"labeled": _labeled},
    "instruction": {"messages": _messages, "prompt_completion": _completion},
    "preference": {"preference": _preference, "conversation": _conversation},
    "retrieval": {"triplet": _triplet},
}
"""Kind -> the layouts it can be handed over in; the first is the default."""
