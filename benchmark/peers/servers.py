"""Three servers behind every router: nginx for the overhead, engine.py for the streams, and Dynamo's mockers."""

from __future__ import annotations

import pathlib
import re
import sys

import client
import mocker
import traffic
from processes import Program, free_ports, output_of, program

HERE = pathlib.Path(__file__).resolve().parent
COUNT = 3

# One worker, so that a router has the same share of a small machine with every fleet. The echo module reads the whole body
# before the answer; `return` alone would answer in the middle of a long one. The worker is the user who starts nginx, who is
# root in a network of his own: no other user need be there, and the folder is his alone.
NGINX = """
load_module @MODULES@/ngx_http_echo_module.so;
worker_processes 1;
user root;
daemon off;
pid @FOLDER@/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_buffer_size 256k;
    client_max_body_size 1m;
    client_body_temp_path @FOLDER@/body;
    proxy_temp_path @FOLDER@/proxy;
    fastcgi_temp_path @FOLDER@/fastcgi;
    uwsgi_temp_path @FOLDER@/uwsgi;
    scgi_temp_path @FOLDER@/scgi;
    default_type application/json;
    server {
        @LISTEN@
        location = /v1/chat/completions { echo_read_request_body; echo_exec /answer; }
        location = /answer { internal; return 200 '@ANSWER@'; }
        @OTHERS@
        location / { return 404 '{}'; }
    }
    server {
        listen 127.0.0.1:@STATUS@;
        location = /status { stub_status; }
    }
}
"""


class Fleet:
    """Three ports on 127.0.0.1 and the programs behind them."""

    def __init__(self, programs: list[Program], ports: list[int]) -> None:
        self.programs = programs
        self.ports = ports
        self.status_port: int | None = None  # of nginx
        self.registered: pathlib.Path | None = None  # where Dynamo's workers are

    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def cpu_s(self) -> float:
        return sum(each.usage().cpu_s for each in self.programs)

    def check(self) -> None:
        for each in self.programs:
            each.check()

    def stop(self) -> None:
        for each in self.programs:  # all are told first: Dynamo's take their time
            each.process.terminate()
        for each in self.programs:
            each.stop()


def start_nginx(folder: pathlib.Path, _: pathlib.Path) -> Fleet:
    *ports, status_port = free_ports(COUNT + 1)
    others = "\n        ".join(
        f"location = {path} {{ return 200 '{text}'; }}" for path, text in traffic.other_answers().items()
    )
    values = {
        "MODULES": nginx_modules(),
        "FOLDER": str(folder),
        "LISTEN": " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports),
        "ANSWER": traffic.answer().decode(),
        "OTHERS": others,
        "STATUS": str(status_port),
    }
    configuration = folder / "nginx.conf"
    configuration.write_text(re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], NGINX))
    command = ["nginx", "-p", folder, "-c", configuration, "-e", "stderr"]
    nginx = Program("nginx", command, folder / "nginx.log", at_our_death="TERM")  # which its worker hears of
    client.wait_until_answers(nginx, ports[0], "GET", "/health")
    fleet = Fleet([nginx], ports)
    fleet.status_port = status_port
    return fleet


def nginx_modules() -> str:
    found = re.search(r"--modules-path=(\S+)", output_of(["sh", "-c", f"{program('nginx')} -V 2>&1"], 10))
    return found[1] if found else "/usr/lib/nginx/modules"


def start_engine(folder: pathlib.Path, _: pathlib.Path) -> Fleet:
    ports = free_ports(COUNT)
    command = [sys.executable, HERE / "engine.py", "--ports", ",".join(str(port) for port in ports)]
    engine = Program("engine.py", command, folder / "engine.log")
    client.wait_until_answers(engine, ports[0], "GET", "/health")
    return Fleet([engine], ports)


def start_mocker(folder: pathlib.Path, venvs: pathlib.Path) -> Fleet:
    """One program with three simulated engines, and a frontend of Dynamo's before each."""
    python = venvs / "dynamo" / "bin" / "python"
    registered = folder / "registered"
    registered.mkdir()
    command = mocker.mocker(python, folder, registered, COUNT)
    engines = Program("dynamo.mocker", command, folder / "mocker.log")
    ports = free_ports(COUNT)
    frontends = []
    for worker, port in zip(mocker.wait_for_workers(engines, registered, COUNT), ports):
        own = mocker.only(worker, registered, folder / f"registered-{worker}")
        command = mocker.frontend(python, folder, own, port, "round-robin")
        frontends.append(Program("dynamo.frontend", command, folder / f"frontend-{worker}.log"))
    for each, port in zip(frontends, ports):
        client.wait_until_answers(each, port, "POST", client.CHAT, traffic.bodies(1024, 0, fields=traffic.ONE_TOKEN)[0])
    fleet = Fleet([*frontends, engines], ports)
    fleet.registered = registered
    return fleet


STARTS = {"nginx": start_nginx, "engine": start_engine, "mocker": start_mocker}
