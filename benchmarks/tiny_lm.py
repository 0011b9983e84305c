"""Training throughput of a small language model: tilth's trainer against a bare loop and Hugging Face's Trainer.

All train a model of one shape on the same random tokens with as many threads, in turns, in one process. The bare loop
is the same model without hooks, schedule or checkpoints, with tilth's loss or with `cross_entropy` on all logits, in
float32. Hugging Face's is LlamaForCausalLM with tied embeddings under `transformers.Trainer`, fed full windows made by
tilth, or records padded to the longest of their batch, as its collators do. tilth multiplies in bfloat16 where the
processor does so itself, as its proofs do, and in float32; Hugging Face in its default, float32, and in bfloat16. Then
two processes of one thread against one process of two threads.

python benchmarks/tiny_lm.py --tokens 100000
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from tilth.core import Run
from tilth.models.batches import Windows, windows
from tilth.models.feeds import Fixed
from tilth.models.optim import Options, Precision, precision_of
from tilth.models.train import generator, threads, train_lm
from tilth.models.transformer import Config, build

VOCAB = 2048


def data(config: Config, tokens: int) -> Windows:
    rng = Run().rng("text")
    lengths = rng.integers(20, 400, tokens // 200)
    ids = rng.zipf(1.3, int(lengths.sum())).clip(1, VOCAB - 1).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return windows(offsets, ids, np.arange(lengths.size), config.context, 0, tokens)


def ours(config: Config, text: Windows, batch: int, precision: Precision = "auto") -> float:
    model = build(config, generator(Run().rng("init")))
    options = Options(rate=config.rate, batch=batch, precision=precision_of(precision))
    began = time.perf_counter()
    train_lm(model, Fixed(text, batch), options)
    return float(text.tokens.sum()) / (time.perf_counter() - began)


def bare(config: Config, text: Windows, batch: int, plain: bool = False) -> float:
    model = build(config, generator(Run().rng("init")))
    arrays = [torch.from_numpy(a.astype(np.int64)) for a in (text.inputs, text.targets, text.documents)]
    moved = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    began = time.perf_counter()
    for start in range(0, len(text), batch):
        inputs, targets, documents = (a[start : start + batch] for a in arrays)
        if plain:
            logits = model.logits(model(inputs, documents))
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
        else:
            loss = model.losses(inputs, targets, documents).sum() / (targets >= 0).sum()
        moved.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        moved.step()
    return float(text.tokens.sum()) / (time.perf_counter() - began)


def padded_batch(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    ids = [row["input_ids"] for row in rows]
    real = pad([torch.ones_like(i) for i in ids])
    return {"input_ids": pad(ids), "labels": pad(ids, padding_value=-100), "attention_mask": real}


def hugging_face(config: Config, text: Windows, batch: int, packed: bool = True, bf16: bool = False) -> float:
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab,
            hidden_size=config.width,
            intermediate_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
        )
    )
    layers = sum(p.numel() for name, p in model.named_parameters() if "proj" in name)
    assert layers == build(config, generator(Run().rng("init"))).parameters_of_layers, "the shapes differ"
    full = text.inputs[(text.targets >= 0).all(1)].astype(np.int64)
    rows = [{"input_ids": torch.from_numpy(row), "labels": torch.from_numpy(row)} for row in full]
    if not packed:  # one record a row; the windows' borders cut long ones, as they do for tilth
        cuts = [np.flatnonzero(np.diff(places)) + 1 for places in text.documents[: len(full)]]
        parts = [part for row, cut in zip(full, cuts, strict=True) for part in np.split(row, cut)]
        rows = [{"input_ids": torch.from_numpy(part)} for part in parts]
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            optim="adamw_torch_fused",
            use_cpu=True,
            bf16=bf16,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        if not packed:  # as many steps as for full windows
            options.per_device_train_batch_size = round(batch * len(rows) / len(full))
        collator = None if packed else padded_batch
        trainer = Trainer(model=model, args=options, train_dataset=rows, data_collator=collator)
        began = time.perf_counter()
        trainer.train()
        return full.size / (time.perf_counter() - began)


def together(args: argparse.Namespace, processes: int, count: int) -> float:
    """Tokens a second of several processes at once, from their own clocks."""
    command = [sys.executable, __file__, "--alone", "--threads", str(count), "--tokens", str(args.tokens)]
    command += ["--depth", str(args.depth), "--batch", str(args.batch)]
    environment = os.environ | {"OMP_NUM_THREADS": str(count)}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(processes)
    ]  # fmt: skip
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="print tilth's tokens a second and nothing else")
    args = parser.parse_args()
    config = Config.of_depth(args.depth, VOCAB)
    text = data(config, args.tokens)
    warnings.simplefilter("ignore")
    with threads(args.threads):
        ours(config, text.take(np.arange(8)), args.batch)  # warm
        if args.alone:
            print(ours(config, text, args.batch))
            return
        peers: dict[str, Callable[[Config, Windows, int], float]] = {
            "tilth": ours,
            "tilth, float32": partial(ours, precision="float32"),
            "bare loop": bare,
            "bare loop, plain loss": partial(bare, plain=True),
            "Hugging Face Trainer, full windows": hugging_face,
            "Hugging Face Trainer, full windows, bfloat16": partial(hugging_face, bf16=True),
            "Hugging Face Trainer, padded records": partial(hugging_face, packed=False),
        }
        speeds: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(args.rounds):
            for name, peer in peers.items():
                speeds[name].append(peer(config, text, args.batch))
    layers = build(config, generator(Run().rng("init"))).parameters_of_layers
    print(f"{layers / 1e6:.2f} M parameters outside the embedding, {args.threads} thread(s), {args.rounds} rounds")
    for name, found in speeds.items():
        ratios = [a / b for a, b in zip(speeds["tilth"], found, strict=True)]
        print(f"{name}: {statistics.median(found):,.0f} tokens/s; tilth is {statistics.median(ratios):.2f}x")
    for processes, count in ((2, 1), (1, 2)):
        speed = together(args, processes, count)
        print(f"{processes} process(es) of {count} thread(s): {speed:,.0f} tokens/s together")


if __name__ == "__main__":
    main()
