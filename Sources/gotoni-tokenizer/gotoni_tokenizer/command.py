"""gotoni-tokenizer: exact token ids and counts for gotoni's routers, over HTTP on a Unix socket.

Models are folders in Hugging Face's layout, tokenizer.json files, or names that its local cache has.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import pathlib
import signal
import sys

from gotoni_tokenizer import __version__, models, sockets
from gotoni_tokenizer.errors import StartError
from gotoni_tokenizer.service import Service, log, serve

MIB = 1 << 20


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 stopped, 1 cannot start, 2 wrong arguments."""
    options = _options(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    # A request has one thread; the library would take all processors for each.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        loaded = _load(options.model, options.max_text)
        listener = sockets.Listener(options.socket or sockets.default_path())
    except StartError as error:
        print(f"gotoni-tokenizer: {error}", file=sys.stderr)
        return 1
    service = Service(loaded, options.threads, options.max_body, options.max_waiting)
    try:
        asyncio.run(_run(service, listener))
    finally:
        listener.remove()
    log.info("stopped: %s", ", ".join(f"{count} {name}" for name, count in service.counters.items()))
    if not service.end():
        # A thread in the middle of a text cannot be ended otherwise, and nobody waits for its answer any more.
        sys.stdout.flush()
        os._exit(0)
    return 0


async def _run(service: Service, listener: sockets.Listener) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def ready() -> None:
        _silence_libraries()
        names = ", ".join(service.models)
        print(f"gotoni-tokenizer listening on unix:{listener.path} (model {names})", flush=True)

    await serve(service, listener, stop, ready)


def _silence_libraries() -> None:
    """Keeps standard error for this program's log.

    The tokenizers write there by themselves when they give up on a text, and may quote it.
    """
    own = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(own)
    sys.stderr = own
    faulthandler.enable(own)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _load(given: list[str], most_text: int) -> list[models.Model]:
    found: dict[str, models.Model] = {}
    for one in given:
        model = models.load(one, most_text)
        if model.name in found:
            raise StartError(f"{one}: there is a model {model.name} already; name it with NAME=PATH")
        found[model.name] = model
        template = "with a chat template" if model.has_template else "without a chat template"
        log.info("model %s: %s, loaded in %.1f s", model.name, template, model.load_s)
    return list(found.values())


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "gotoni-tokenizer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
examples:
  gotoni-tokenizer --model /models/Qwen3-8B
  gotoni-tokenizer --model qwen=/models/Qwen3-8B --model org/name --socket /run/gotoni/tokenizer.sock
  curl --unix-socket /run/gotoni/tokenizer.sock http://-/tokenize -d '{"prompt": "Hello"}'

Ends at SIGTERM or SIGINT, when what is under way is answered, after 5 s at the latest.
Exit status: 0 stopped, 1 cannot start, 2 wrong arguments.""",
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[NAME=]PATH|ORG/NAME",
        help="a model, repeatable: a folder or tokenizer.json, or a name in Hugging Face's local cache; NAME is what "
        "requests call it (otherwise the folder's name); requests that name none get the first",
    )
    parser.add_argument(
        "--socket",
        type=pathlib.Path,
        metavar="PATH",
        help="where to listen (default: $XDG_RUNTIME_DIR/gotoni/tokenizer.sock, for root /run/gotoni/tokenizer.sock)",
    )
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "--threads",
        type=_positive,
        default=threads,
        metavar="N",
        help="threads that tokenize, besides one for requests over 1 MiB (default: one per processor, %(default)s)",
    )
    parser.add_argument(
        "--max-body",
        type=_positive,
        default=64 * MIB,
        metavar="BYTES",
        help="the largest request (default: %(default)s)",
    )
    parser.add_argument(
        "--max-text",
        type=_positive,
        default=4 * MIB,
        metavar="BYTES",
        help="the longest text that is tokenized, as UTF-8 (default: %(default)s): a million tokens of "
        "English, which take 5 s and 700 MB",
    )
    parser.add_argument(
        "--max-waiting",
        type=_natural,
        default=256,
        metavar="N",
        help="requests that wait for a thread; more are refused with 503 (default: %(default)s)",
    )
    parser.add_argument(
        "--log-level",
        choices=("error", "warning", "info", "debug"),
        default="info",
        help="what to log on standard error, never a prompt (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"gotoni-tokenizer {__version__}")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = _natural(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"not a whole number: {text}")
    return int(text)
