"""Where models are found, what they are called, and what is said if they are not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import shutil
import sys

from gotoni_tokenizer import command

import model_files
from service_process import Service, folder, run

HELLO = {"prompt": "Hello"}


def two_models_are_told_apart() -> None:
    with Service(model_files.deepseek(), f"other={model_files.chatml()}") as service:
        assert service.line.endswith("(model deepseek, other)"), service.line
        first = service.post("/tokenize", HELLO)
        other = service.post("/tokenize", {**HELLO, "model": "other"})
        assert (first["model"], other["model"]) == ("deepseek", "other")
        assert first["tokens"] != other["tokens"]
        assert (first["max_model_len"], other["max_model_len"]) == (1048576, 131072)
        words = service.ask("POST", "/tokenize", {**HELLO, "model": "third"}).problem(404, "third")
        assert "deepseek, other" in words
        service.ask("POST", "/tokenize", {**HELLO, "model": 3}).problem(400, "model is not a text")
        assert service.get("/health")["model"] == "deepseek"
        listed = service.get("/models")["data"]
        assert [(one["id"], one["max_model_len"], one["has_chat_template"]) for one in listed] == [
            ("deepseek", 1048576, True),
            ("other", 131072, True),
        ]


def one_model_serves_all_names() -> None:
    with Service(f"mine={model_files.llama3()}") as service:
        answer = service.post("/tokenize", {**HELLO, "model": "whatever"})
        assert (answer["model"], answer["max_model_len"]) == ("mine", 8192)


def a_file_alone_is_a_model() -> None:
    file = folder() / "tiny" / "tokenizer.json"
    file.parent.mkdir()
    shutil.copy(model_files.wordpiece() / "tokenizer.json", file)
    with Service(file) as service:
        assert service.post("/tokenize", {"prompt": "router"})["max_model_len"] is None
        assert service.line.endswith("(model tiny)")
        service.ask("POST", "/tokenize", {"messages": [{"role": "user", "content": "x"}]}).problem(
            400, "no chat template"
        )


def _cache(home: pathlib.Path) -> pathlib.Path:
    model = home / "hub" / "models--org--name"
    for commit, source in (("0ld", model_files.wordpiece()), ("c0ffee", model_files.chatml())):
        shutil.copytree(source, model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("c0ffee")
    return home


def names_are_found_in_the_local_cache() -> None:
    home = _cache(folder() / "home")
    for environment in ({"HF_HOME": str(home)}, {"HF_HUB_CACHE": str(home / "hub")}):
        path = folder() / "s"
        with Service("org/name", environment={**environment, "XDG_RUNTIME_DIR": str(path)}) as service:
            assert service.post("/tokenize", HELLO)["max_model_len"] == 131072
            assert service.get("/health")["model"] == "org/name"


def _said(*options: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and words of a service that does not start, in this process: starting one takes longer."""
    said, before = io.StringIO(), dict(os.environ)
    os.environ.update(environment or {})
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return command.main(list(options)), said.getvalue()
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    finally:
        os.environ.clear()
        os.environ.update(before)


def what_cannot_start_says_why() -> None:
    empty, broken, path = folder(), folder() / "broken", str(folder() / "s")
    model_files.write(broken, None, {})
    (broken / "tokenizer.json").write_text("{")
    looping = model_files.write(folder() / "looping", None, {}, "{% for %}")
    shutil.copy(model_files.chatml() / "tokenizer.json", looping)
    chatml = str(model_files.chatml())
    for words, options in (
        ("neither a tokenizer.json nor", ("--model", str(empty))),
        ("no tokenizer", ("--model", str(broken))),
        ("chat template cannot be read", ("--model", str(looping))),
        ("no such folder", ("--model", "/nowhere/at/all")),
        ("HF_HUB_OFFLINE is set", ("--model", "org/unknown")),
        ("there is a model chatml already", ("--model", chatml, "--model", chatml)),
        ("not like NAME=PATH", ("--model", "name=")),
    ):
        status, said = _said(*options, "--socket", path, environment={"HF_HOME": str(empty)})
        assert status == 1 and words in said, (status, said)
    for words, options in (
        ("--model", ()),
        ("at least 1", ("--model", chatml, "--threads", "0")),
        ("not a whole number", ("--model", chatml, "--max-body", "1e6")),
    ):
        status, said = _said(*options)
        assert status == 2 and words in said, (status, said)
    status, said = run("--help")
    assert status == 0 and "--max-waiting" in said and "examples:" in said
    assert run("--version") == (0, "gotoni-tokenizer 0.1.0\n")


def without_the_downloader_a_sentence_says_what_to_do() -> None:
    """`tokenizers` brings the downloader along, so a module in front of it stands for its absence."""
    hidden = folder()
    (hidden / "huggingface_hub.py").write_text("raise ImportError('not here')\n")
    environment = {
        "PYTHONPATH": os.pathsep.join([str(hidden), os.environ["PYTHONPATH"]]),
        "HF_HOME": str(folder()),
        "HF_HUB_OFFLINE": "",
    }
    status, said = run("--model", "org/unknown", "--socket", str(folder() / "s"), environment=environment)
    assert status == 1 and "gotoni-tokenizer[download]" in said and "Traceback" not in said, (sys.executable, said)


def versions_are_told() -> None:
    with Service(model_files.wordpiece()) as service:
        health = service.get("/health")
        assert list(health)[:2] == ["status", "model"] and health["status"] == "ok"
        assert {"python", "tokenizers", "jinja2", "aiohttp"} <= set(health["versions"])
        before = health["requests"]
        count = service.post("/count", {"text": "router"})["count"]
        after = service.get("/health")
        assert (after["requests"], after["tokens"]) == (before + 1, health["tokens"] + count)
        assert json.dumps(after["uptime_seconds"]) and after["under_way"] == 0
