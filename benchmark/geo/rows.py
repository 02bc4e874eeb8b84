"""Conversations in the schema of WildChat-1M: from parquet, JSON lines, or Hugging Face."""

from __future__ import annotations

import gzip
import json
import pathlib
from typing import Any, Iterator

from errors import GeoError

DATASET = "allenai/WildChat-1M"
COLUMNS = ["conversation", "country", "state"]
BATCH_ROWS = 256

Row = dict[str, Any]


def read_rows(path: pathlib.Path | None) -> Iterator[Row]:
    """One by one, from a file, or without one from Hugging Face. Errors: GeoError, also later than the first row."""
    if path is None:
        found = _hugging_face()
    elif path.suffix == ".parquet":
        found = _parquet(path)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        found = _json_lines(path)
    else:
        raise GeoError(f"{path} is neither .parquet nor .jsonl nor .jsonl.gz")
    return _checked(found, str(path or DATASET))


def _checked(rows: Iterator[Any], source: str) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        messages = row.get("conversation") if isinstance(row, dict) else None
        if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
            raise GeoError(f"row {number} of {source} has no conversation, which is a list of objects")
        for name in ("country", "state"):
            if not isinstance(row.get(name), (str, type(None))):
                raise GeoError(f"row {number} of {source}: {name} is {row[name]!r}, no name")
        yield row


def _json_lines(path: pathlib.Path) -> Iterator[Any]:
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except (OSError, EOFError) as error:
        raise GeoError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # json's own, and what is no UTF-8
        raise GeoError(f"{path} is no JSON near line {number}: {error}") from error


def _parquet(path: pathlib.Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise GeoError("parquet needs pyarrow: pip install -r benchmark/geo/requirements.txt") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise GeoError(f"{path} has no column {missing[0]}")
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=COLUMNS):
                yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise GeoError(f"{path} cannot be read as parquet: {error}") from error


def _hugging_face() -> Iterator[Any]:
    try:
        import datasets
    except ImportError:
        raise GeoError(f"{DATASET} needs the package datasets: pip install datasets, or say --input FILE") from None
    try:
        yield from datasets.load_dataset(DATASET, split="train", streaming=True)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise GeoError(f"{DATASET} cannot be loaded: {error}") from error
