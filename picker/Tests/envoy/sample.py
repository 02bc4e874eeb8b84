"""The sample configuration that is given to users, with what a test changes of it."""

from __future__ import annotations

import pathlib

PATH = pathlib.Path(__file__).resolve().parents[2] / "envoy.yaml"

Change = tuple[str, str]

# No part of an answer is shown to the picker but its head.
NO_BODIES = (
    "response_body_mode: STREAMED",
    "response_body_mode: NONE\n                        response_trailer_mode: SEND",
)
# As the Gateway API's inference extension has it: bodies in parts, given back by the picker.
DUPLEX = (
    "request_body_mode: BUFFERED",
    "request_body_mode: FULL_DUPLEX_STREAMED\n                        request_trailer_mode: SEND",
)
DUPLEX_ANSWERS = (
    "response_body_mode: STREAMED",
    "response_body_mode: FULL_DUPLEX_STREAMED\n                        response_trailer_mode: SEND",
)
CLOSED = ("failure_mode_allow: true", "failure_mode_allow: false")
IMPATIENT = ("message_timeout: 65s", "message_timeout: 0.5s")


def configuration(port: int, admin_port: int, picker: int | str, servers: list[int], *changes: Change) -> str:
    """The sample at these ports; the picker's is one, or a Unix socket's path. Errors: AssertionError, if there is not
    exactly one of what is to be changed."""
    ports = [(10000, port), (9901, admin_port), *zip((30000, 30001, 30002), servers)]
    named = [(f"port_value: {old}}}", f"port_value: {new}}}") for old, new in ports]
    named.append((_address(9002), _address(picker)))
    text = without_comments()
    for old, new in [*named, *changes]:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {PATH.name}"
        text = text.replace(old, new)
    return text


def _address(place: int | str) -> str:
    if isinstance(place, str):
        return f"{{pipe: {{path: {place}}}}}"
    return f"{{socket_address: {{address: 127.0.0.1, port_value: {place}}}}}"


def without_comments() -> str:
    return "".join(line for line in PATH.read_text().splitlines(True) if not line.lstrip().startswith("#"))


def over_tls(authority: str) -> Change:
    """Envoy speaks TLS to the picker, whose certificate this one signs."""
    context = (
        '{"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, '
        f"sni: localhost, common_tls_context: {{validation_context: {{trusted_ca: {{filename: {authority}}}}}}}}}"
    )
    name = "    - name: picker\n"
    return (name, f"{name}      transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {context}}}\n")


def checked(picker: int, admin_port: int) -> tuple[Change, ...]:
    """Envoy asks the picker at `picker` for its health, at its admin listener, as README.md has it."""
    check = (
        "      health_checks: [{timeout: 1s, interval: 1s, no_traffic_interval: 1s, unhealthy_threshold: 2, "
        "healthy_threshold: 1, http_health_check: {path: /health, codec_client_type: HTTP1}}]\n"
        "      common_lb_config: {healthy_panic_threshold: {value: 0}}\n"
    )
    name = "    - name: picker\n"
    config = f", health_check_config: {{address: {_address(admin_port)}}}"
    return ((name, name + check), (_address(picker), _address(picker) + config))


def without_picker() -> Change:
    """Plain Envoy: the same, but for the filter."""
    text = without_comments()
    start = text.index("                  - name: envoy.filters.http.ext_proc")
    return (text[start : text.index("                  - name: envoy.filters.http.router")], "")
