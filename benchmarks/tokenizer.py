"""The tokenizer's encoder (tiktoken over the trained merges) against `tokenizers` itself: same ids, MB/s.

python benchmarks/tokenizer.py --data DATA/A_text --mb 20
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread each

from tilth.io.importer import sample
from tilth.models.tokenizer import Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mb", type=float, default=20)
    args = parser.parse_args()
    texts: list[str] = []
    for path in sorted(args.data.glob("*.jsonl.zst")):
        size, share = 0, args.mb * 1e6 / 14
        for row in sample(path, 5000):
            texts.append(str(row["text"]))
            size += len(texts[-1])
            if size > share:
                break
    mb = sum(len(t.encode()) for t in texts) / 1e6
    tokenizer = Tokenizer.train(texts[::10], 4096)
    tokenizer.encode_batch(texts[:10])
    began = time.monotonic()
    _, ours = tokenizer.encode_batch(texts)
    fast = mb / (time.monotonic() - began)
    backend = tokenizer._backend
    began = time.monotonic()
    theirs = [
        i for s in range(0, len(texts), 256) for e in backend.encode_batch_fast(texts[s : s + 256]) for i in e.ids
    ]
    slow = mb / (time.monotonic() - began)
    print(f"{mb:.1f} MB, one thread each; ids equal: {ours.tolist() == theirs}")
    print("| tilth (tiktoken) | tokenizers | ratio |\n|---|---|---|")
    print(f"| {fast:.1f} MB/s | {slow:.1f} MB/s | {fast / slow:.1f}x |")


if __name__ == "__main__":
    main()
