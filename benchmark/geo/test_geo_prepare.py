"""prepare_wildchat.py as it is called: python3 -m pytest benchmark/geo"""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from keys import key_of, prompt_key
from places import DEFAULT

HERE = pathlib.Path(__file__).resolve().parent
SAMPLE = HERE / "wildchat_small.jsonl"


@dataclasses.dataclass(frozen=True)
class Result:
    status: int
    report: dict[str, Any]
    entries: list[dict[str, Any]]
    lookup: dict[str, dict[str, Any]]
    error: str


def prepare(folder: pathlib.Path, source: pathlib.Path, *options: object) -> Result:
    command = [sys.executable, HERE.parent / "prepare_wildchat.py", "--input", source, "--output-dir", folder, "--json"]
    done = subprocess.run([*map(str, command), *map(str, options)], capture_output=True, text=True, timeout=20)
    prompts, lookup = folder / "wildchat_guidellm.jsonl", folder / "wildchat_location_lookup.json"
    return Result(
        done.returncode,
        json.loads(done.stdout) if done.stdout else {},
        [json.loads(line) for line in prompts.read_text().splitlines()] if prompts.exists() else [],
        json.loads(lookup.read_text()) if lookup.exists() else {},
        done.stderr,
    )


def sample_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in SAMPLE.read_text().splitlines()]


def row(text: str, country: str | None = None, state: str | None = None) -> dict[str, Any]:
    return {"conversation": [{"role": "user", "content": text}], "country": country, "state": state}


def written(folder: pathlib.Path, *rows: object) -> pathlib.Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_single_turns_have_the_published_fields(tmp_path: pathlib.Path) -> None:
    made = prepare(tmp_path, SAMPLE)
    assert made.status == 0
    rows = sample_rows()
    report = made.report
    assert report["rows_read"] == len(rows) == report["prompts_written"] + sum(report["dropped"].values())
    assert len(made.entries) == report["prompts_written"] and len(made.lookup) == report["keys_written"]
    for entry in made.entries:
        assert list(entry) == ["prompt", "hash"] and entry["hash"] == prompt_key(entry["prompt"])
        assert list(made.lookup[entry["hash"]]) == ["lat", "lon", "country", "state"]


def test_multi_turns_have_the_published_fields_and_the_keys_that_the_proxy_looks_up(tmp_path: pathlib.Path) -> None:
    made = prepare(tmp_path, SAMPLE, "--multi-turn")
    assert made.status == 0
    for entry in made.entries:
        assert list(entry) == ["prompt", "hash", "turn", "is_multi_turn"] and entry["is_multi_turn"] is True
        messages = json.loads(entry["prompt"])
        assert sum(each["role"] == "user" for each in messages) == entry["turn"] and messages[-1]["role"] == "user"
        assert key_of(entry["prompt"]) == entry["hash"] and entry["hash"] in made.lookup
    assert max(entry["turn"] for entry in made.entries) == 3


def test_turns_are_bounded(tmp_path: pathlib.Path) -> None:
    made = prepare(tmp_path, SAMPLE, "--multi-turn", "--min-turns", 2, "--max-turns", 2)
    assert {entry["turn"] for entry in made.entries} == {2}


def test_georgia_lies_in_asia_and_in_america(tmp_path: pathlib.Path) -> None:
    places = prepare(tmp_path, SAMPLE).lookup.values()
    asia = [each for each in places if each["country"] == "Georgia"]
    america = [each for each in places if each["state"] == "Georgia"]
    assert len(asia) == 2 and all(each["lon"] > 0 for each in asia)
    assert len(america) == 1 and america[0]["lon"] < 0


def test_first_place_of_a_prompt_stays_and_the_others_are_counted(tmp_path: pathlib.Path) -> None:
    made = prepare(tmp_path, SAMPLE)
    haiku = [each for each in sample_rows() if "haiku" in each["conversation"][0]["content"]]
    assert [each["country"] for each in haiku] == ["United States", "United Kingdom", "South Africa"]
    assert made.report["same_prompt_other_place"] == 2
    assert made.lookup[key_of(haiku[0]["conversation"][0]["content"])]["country"] == "United States"
    assert len(made.entries) - len(made.lookup) == 2  # all three are sent


def test_every_kind_of_collision_is_counted_apart(tmp_path: pathlib.Path) -> None:
    head = "x" * 100
    source = written(
        tmp_path, row(f"{head}1", "Japan"), row(f"{head}2", "Japan"), row(f"{head}3", "Peru"), row(f"{head}1", "Peru"),
        row(f"{head}1", "Japan"),
    )  # fmt: skip
    made = prepare(tmp_path, source)
    names = ("other_prompt_same_place", "other_prompt_other_place", "same_prompt_other_place", "repeated")
    assert [made.report[name] for name in names] == [1, 1, 1, 1]
    assert [place["country"] for place in made.lookup.values()] == ["Japan"]


def test_unknown_places_are_counted_and_get_the_default_of_the_proxy(tmp_path: pathlib.Path) -> None:
    made = prepare(tmp_path, written(tmp_path, row("a prompt from Atlantis", "Atlantis"), row("a prompt from nowhere")))
    assert made.report["places_unknown"] == 2
    assert made.report["unknown_countries"] == {"Atlantis": 1, "no country": 1}
    assert [(each["lat"], each["lon"], each["country"]) for each in made.lookup.values()] == [
        (DEFAULT.lat, DEFAULT.lon, "Atlantis"),
        (DEFAULT.lat, DEFAULT.lon, None),
    ]


def test_what_is_dropped_is_counted_with_its_reason(tmp_path: pathlib.Path) -> None:
    like = json.dumps([{"role": "user", "content": "a text of somebody who writes JSON"}])
    silent = {"conversation": [{"role": "assistant", "content": "nobody asked me"}], "country": None, "state": None}
    made = prepare(tmp_path, written(tmp_path, row("short"), row(like), silent, row("long enough")))
    assert made.report["dropped"] == {
        "too short": 1,
        "a text that the proxy would take for a conversation": 1,
        "no user message": 1,
    }
    assert len(made.entries) == 1


@pytest.mark.parametrize("kind", ["parquet", "jsonl.gz"])
def test_parquet_and_gzip_give_the_same_files_as_json_lines(kind: str, tmp_path: pathlib.Path) -> None:
    source = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        import pyarrow

        parquet.write_table(pyarrow.Table.from_pylist(sample_rows()), source)
    else:
        source.write_bytes(gzip.compress(SAMPLE.read_bytes()))
    (tmp_path / "plain").mkdir()
    for options in ((), ("--multi-turn",)):
        made, plain = prepare(tmp_path, source, *options), prepare(tmp_path / "plain", SAMPLE, *options)
        assert made == plain and made.status == 0


def test_no_more_rows_are_read_than_asked_for(tmp_path: pathlib.Path) -> None:
    assert prepare(tmp_path, SAMPLE, "--num-samples", 5).report["rows_read"] == 5


def test_nothing_is_written_if_nothing_is_kept(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "out"
    made = prepare(folder, SAMPLE, "--min-prompt-length", 10_000)
    assert made.status == 1 and "nothing is written" in made.error and list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", b"{"), ("rows.jsonl", b'{"country": null}\n'), ("rows.jsonl", b"[]\n"), ("rows.jsonl", b"\xff\n"),
     ("rows.jsonl", b'{"conversation": [1]}\n'), ("rows.jsonl", b'{"conversation": [], "country": 1}\n'),
     ("rows.jsonl.gz", b"no gzip"), ("rows.parquet", b"no parquet"), ("rows.csv", b"a,b\n"), ("rows.jsonl", None)],
)  # fmt: skip
def test_inputs_that_are_none_are_refused_in_one_line(name: str, content: bytes | None, tmp_path: pathlib.Path) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    made = prepare(tmp_path, tmp_path / name)
    assert made.status == 2 and made.entries == []
    assert made.error.startswith("prepare_wildchat: ") and made.error.count("\n") == 1


@pytest.mark.parametrize("options", [("--multi-turn", "--min-turns", 3, "--max-turns", 2), ("--max-turns", 2),
                                     ("--num-samples", 0), ("--nonsense",)])  # fmt: skip
def test_wishes_that_contradict_are_refused(options: tuple[object, ...], tmp_path: pathlib.Path) -> None:
    made = prepare(tmp_path, SAMPLE, *options)
    assert made.status == 2 and "Traceback" not in made.error and made.error
