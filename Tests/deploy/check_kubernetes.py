"""The manifest is what Kubernetes takes, and fits the proxy and itself. It is not applied here."""

from __future__ import annotations

import sys
from typing import Any

import yaml

import material
from material import DEPLOY, flags_are_known, in_force, said, seconds, temporary
from programs import Engine, Proxy, started, until

MANIFEST = DEPLOY / "kubernetes/gotoni-proxy.yaml"
NAME = "gotoni-proxy"


def the_manifest_fits_the_schemas_of_kubernetes() -> None:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict"]
    said([*command, str(MANIFEST)])
    fault = MANIFEST.read_text().replace("replicas:", "replicaz:")
    assert "replicaz" in said([*command, str(temporary("fault.yaml", fault))], status=1)


def its_parts_name_each_other() -> None:
    labels = _pod()["metadata"]["labels"]
    assert _object("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert _object("Service")["spec"]["selector"] == labels
    assert _object("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    container = _container()
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in _object("Service")["spec"]["ports"]} <= ports
    assert {probe["port"] for probe in _probes().values()} <= ports
    (volume,) = _pod()["spec"]["volumes"]
    (mount,) = container["volumeMounts"]
    assert volume["name"] == mount["name"] and volume["configMap"]["name"] == _object("ConfigMap")["metadata"]["name"]
    (file,) = _object("ConfigMap")["data"]
    assert f"{mount['mountPath']}/{file}" in container["args"]


def it_can_lose_a_replica() -> None:
    assert _object("Deployment")["spec"]["replicas"] > _object("PodDisruptionBudget")["spec"]["minAvailable"]


def the_proxy_takes_its_options_and_its_file() -> None:
    flags_are_known(NAME, _container()["args"])
    settings = _settings()
    (port,) = _container()["ports"]
    assert settings["listen"] == f"0.0.0.0:{port['containerPort']}" and len(settings["server"]) > 1, settings


def the_image_is_of_this_version() -> None:
    version = said([str(material.BIN / NAME), "--version"]).strip()
    assert _container()["image"] == f"gotoni:{version}", version


def its_variables_are_settings() -> None:
    names = [variable["name"] for variable in _container()["env"]]
    assert names and all(name in material.help_of(NAME) for name in names), names


def requests_have_the_time_to_end_that_the_proxy_gives_them() -> None:
    (_, wait) = _container()["lifecycle"]["preStop"]["exec"]["command"]
    grace = _pod()["spec"]["terminationGracePeriodSeconds"]
    assert grace > int(wait) + seconds(_settings()["drain-timeout"])


def probed_paths_answer_on_a_running_proxy() -> None:
    """Without a key, though control endpoints want one. Without an engine it is alive and not ready."""
    readiness, liveness = (_probes()[name]["path"] for name in ("readinessProbe", "livenessProbe"))
    engine = Engine()
    with started(engine):
        options = ["--config", _file(), "--listen", "127.0.0.1:0"]
        environment = {"GOTONI_ADMIN_TOKEN": "token", "GOTONI_API_KEYS": "key"}
        proxy = Proxy(*options, servers=[engine.url], environment=environment)
        with started(proxy):
            assert proxy.ask("GET", "/metrics").status == 401
            assert proxy.ask("GET", readiness).status == proxy.ask("GET", liveness).status == 200
            engine.kill()
            until("it is not ready", lambda: proxy.ask("GET", readiness).status == 503)
            assert proxy.ask("GET", liveness).status == 200


def _object(kind: str) -> dict[str, Any]:
    (found,) = (each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] == kind)
    return found


def _pod() -> dict[str, Any]:
    return _object("Deployment")["spec"]["template"]


def _container() -> dict[str, Any]:
    (container,) = _pod()["spec"]["containers"]
    return container


def _probes() -> dict[str, dict[str, Any]]:
    return {name: _container()[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")}


def _file() -> str:
    ((name, text),) = _object("ConfigMap")["data"].items()
    return str(temporary(name, text))


def _settings() -> dict[str, Any]:
    return in_force(NAME, ["--config", _file()])
