"""The two fleets of three servers behind every router: nginx for the overhead, engine.py for the streams."""

from __future__ import annotations

import pathlib
import re
import sys

import client
import traffic
from processes import Program, free_ports, output_of, program

HERE = pathlib.Path(__file__).resolve().parent
COUNT = 3

# One worker, so that a router has the same share of a small machine with every fleet. The echo module reads the whole body
# before the answer; `return` alone would answer in the middle of a long one.
NGINX = """
load_module @MODULES@/ngx_http_echo_module.so;
worker_processes 1;
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
    """Three ports on 127.0.0.1 and the program behind them."""

    def __init__(self, server: Program, ports: list[int], status_port: int | None) -> None:
        self.program = server
        self.ports = ports
        self.status_port = status_port

    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]


def start_nginx(folder: pathlib.Path) -> Fleet:
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
    return Fleet(nginx, ports, status_port)


def nginx_modules() -> str:
    found = re.search(r"--modules-path=(\S+)", output_of(["sh", "-c", f"{program('nginx')} -V 2>&1"], 10))
    return found[1] if found else "/usr/lib/nginx/modules"


def start_engine(folder: pathlib.Path) -> Fleet:
    ports = free_ports(COUNT)
    command = [sys.executable, HERE / "engine.py", "--ports", ",".join(str(port) for port in ports)]
    engine = Program("engine.py", command, folder / "engine.log")
    client.wait_until_answers(engine, ports[0], "GET", "/health")
    return Fleet(engine, ports, None)
