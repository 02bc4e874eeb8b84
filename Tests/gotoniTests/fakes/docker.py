"""What cluster.sh uses of Docker, for machines without it: containers are simulated engines, which really answer.

A program named docker on a machine runs this; ~/docker there has its state: `images`, one a line; `container`, as JSON;
`log`, the words of each call as JSON; `output` of the container. Files that change what it does: `down`, the daemon does
not run; `for-root`, only sudo may use it; `crash`, what the next container says before it ends."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import NoReturn

ENGINE = os.environ["GOTONI_FAKE_ENGINE"]
HERE = pathlib.Path(os.environ["HOME"]) / "docker"
# Of run; with a value, or none.
VALUED = ("--name", "--label", "--restart", "--gpus", "--network", "--ipc", "--shm-size", "--ulimit", "-v")
FORMATS = {
    '{{.State.Running}} {{index .Config.Labels "gotoni"}}': "{running} {label}",
    "{{.State.Running}} {{.RestartCount}} {{.State.StartedAt}}": "{running} {restarts} {started}",
    "runs {{.State.Running}}": "runs {running}",
}


def fail(text: str, status: int = 1) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(status)


def lives(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def container() -> dict[str, object] | None:
    file = HERE / "container"
    return json.loads(file.read_text()) if file.exists() else None


def run(words: list[str]) -> None:
    options: dict[str, str] = {}
    assert words.pop(0) == "-d", "only in the background"
    while words[0].startswith("-"):
        if words[0] not in VALUED:
            fail(f"unknown flag: {words[0]}", 125)
        options[words[0]] = words[1]
        del words[:2]
    if container() is not None:
        fail(f'Conflict. The container name "/{options["--name"]}" is already in use', 125)
    image, *command = words
    if image not in (HERE / "images").read_text().splitlines():
        fail(f"Unable to find image '{image}' locally", 125)
    where = dict(itertools.pairwise(command))
    model = where.get("--model-path") or where["--model"]
    with (HERE / "output").open("w") as output:
        if (HERE / "crash").exists():
            output.write((HERE / "crash").read_text())
            pid = 0
        else:
            engine = [ENGINE, "--listen", f"{where['--host']}:{where['--port']}", "--model-name", model]
            made = subprocess.Popen(
                engine, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True
            )
            pid = made.pid
    label = options["--label"].partition("gotoni=")[2]
    (HERE / "container").write_text(json.dumps({"name": options["--name"], "pid": pid, "label": label}))
    print("0" * 64)


def main(words: list[str]) -> None:
    HERE.mkdir(exist_ok=True)
    with (HERE / "log").open("a") as log:
        log.write(json.dumps(words) + "\n")
    if (HERE / "down").exists() or (HERE / "for-root").exists() and "GOTONI_FAKE_ROOT" not in os.environ:
        fail("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
    found = container()
    running = found is not None and lives(int(str(found["pid"])))
    match words:
        case ["info"]:
            print("Server Version: 27.0")
        case ["version", "--format", "{{.Server.Version}}"]:
            print("27.0")
        case ["image", "inspect", image]:
            known = HERE / "images"
            if not known.exists() or image not in known.read_text().splitlines():
                fail(f"Error: No such image: {image}")
        case ["pull", "--quiet", image]:
            with (HERE / "images").open("a") as images:
                images.write(image + "\n")
            print(image)
        case ["inspect", "-f", form, "gotoni-engine"] if form in FORMATS:
            if found is None:
                fail("Error: No such object: gotoni-engine")
            # One that crashes is started again and again.
            state = "true" if running or not found["pid"] else "false"
            restarts = 0 if found["pid"] else 3
            started = datetime.datetime.now(datetime.timezone.utc).isoformat()
            print(FORMATS[form].format(running=state, label=found["label"], restarts=restarts, started=started))
        case ["inspect", "gotoni-engine"]:
            if found is None:
                fail("Error: No such object: gotoni-engine")
            print("[{}]")
        case ["rm", "-f", "gotoni-engine"]:
            if found is None:
                fail("Error response from daemon: No such container: gotoni-engine")
            if running:
                os.kill(int(str(found["pid"])), signal.SIGKILL)
            (HERE / "container").unlink()
        case ["logs", "--tail", count, "gotoni-engine"]:
            print("\n".join((HERE / "output").read_text().splitlines()[-int(count) :]))
        case ["run", *rest]:
            run(rest)
        case _:
            fail(f"docker: this is not known here: {words}", 125)


main(sys.argv[1:])
