"""GuideLLM's own command line, also where PyTorch is not installed.

    python3 guidellm_cli.py run --help

GuideLLM 0.8.1 uses PyTorch for one thing: its DataLoader hands over the rows of the data one after the other. For that,
pip installs five gigabytes of CUDA. Where PyTorch is missing, this gives GuideLLM's loader the names it asks for, with
the same rows in the same order, read in GuideLLM's own process instead of in a second one. Everything else is
GuideLLM's.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
import types
from typing import Any, Callable, Generic, Iterator, TypeVar

Row = TypeVar("Row")


class IterableDataset(Generic[Row]):
    """Something that gives rows."""


class Generator:
    """Where shuffling would take its chance from."""

    def manual_seed(self, seed: int) -> Generator:
        return self


class DataLoader(Generic[Row]):
    """The rows of a data set, each through `collate_fn` as a batch of one. What is not that is an error."""

    def __init__(
        self,
        dataset: IterableDataset[Row],
        batch_size: int,
        shuffle: bool,
        collate_fn: Callable[[list[Row]], Any],
        num_workers: int,
        prefetch_factor: int,
        generator: Generator,
    ) -> None:
        # The number of processes and how far they read ahead change no row.
        if batch_size != 1 or shuffle or num_workers > 1:
            raise ValueError("only PyTorch shuffles, makes batches, or reads in several processes: install torch")
        self.dataset = dataset
        self.collate = collate_fn

    def __iter__(self) -> Iterator[Any]:
        return (self.collate([row]) for row in iter(self.dataset))  # type: ignore[call-overload]


def lend() -> None:
    """For the import of GuideLLM's loader only: nobody else is to believe that PyTorch is here."""
    names = {name: types.ModuleType(name) for name in ("torch", "torch.utils", "torch.utils.data")}
    data = types.ModuleType("torch.utils.data.dataloader"), types.ModuleType("torch.utils.data.dataset")
    names |= {module.__name__: module for module in data}
    setattr(names["torch"], "Generator", Generator)
    setattr(names["torch"], "utils", names["torch.utils"])
    setattr(names["torch.utils"], "data", names["torch.utils.data"])
    setattr(names["torch.utils.data"], "get_worker_info", lambda: None)
    setattr(data[0], "DataLoader", DataLoader)
    setattr(data[1], "IterableDataset", IterableDataset)
    # These look for PyTorch as they are imported.
    import datasets  # noqa: F401
    import transformers  # noqa: F401

    sys.modules.update(names)
    try:
        import guidellm.data.loaders.torch  # noqa: F401
    finally:
        for name in names:
            del sys.modules[name]


if importlib.util.find_spec("torch") is None:  # also in processes that GuideLLM starts anew
    lend()

if __name__ == "__main__":
    from guidellm.cli import cli

    # With GUIDELLM__MP_CONTEXT_TYPE=forkserver its processes are copies of one that has imported everything.
    multiprocessing.set_forkserver_preload(["guidellm_cli", "guidellm.benchmark", "guidellm.scheduler"])
    sys.exit(cli())
