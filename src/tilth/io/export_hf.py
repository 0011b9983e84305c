"""Export as a Hugging Face dataset folder: Parquet under ``data/`` and a card that says where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tilth.core.records import Kind
from tilth.io import export_parquet
from tilth.io.card import card
from tilth.io.files import file_bytes

__all__ = ["write"]


def write(
    records: Iterable[pa.RecordBatch],
    folder: Path,
    kind: Kind,
    *,
    facts: Mapping[str, Any] | None = None,
    shard_bytes: int = 500 << 20,
) -> list[Path]:
    """Write a folder that ``datasets.load_dataset(folder)`` reads, and that can be pushed to the Hub as it is.

    Args:
        facts: what the card says; see `card`.
    """
    files = export_parquet.write(records, folder / "data", kind, shard_bytes=shard_bytes)
    configs = [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}]
    text = card(facts or {}, front={"configs": configs})
    return [*files, file_bytes(folder / "README.md", text.encode())]
