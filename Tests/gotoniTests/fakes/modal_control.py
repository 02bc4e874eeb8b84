"""A fake of Modal's control plane and of its command router, on 127.0.0.1, for the stock SDK.

    python -m fakes.modal_control --folder FOLDER [--token-id ID] [--token-secret SECRET]
                                  [--certificate FILE --key FILE]

prints its URL, answers orders on standard input (see `ORDERS`), one a line, and ends with it. In a check it is the
class `ModalControl`. The messages are those of the `modal` package that is installed; from it come the services' names
and shapes. Images are built at once and are no images: commands run on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import contextlib
import contextvars
import dataclasses
import functools
import json
import pathlib
import secrets
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpclib.events
import grpclib.server
from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal._utils.grpc_testing import patch_mock_servicer
from modal_proto import api_pb2, task_command_router_pb2 as router_pb2
from modal_proto.api_grpc import ModalClientBase
from modal_proto.task_command_router_grpc import TaskCommandRouterBase

from fakes.modal_sandboxes import Process, Sandbox, new_id

Stream = grpclib.server.Stream[Any, Any]
Result = api_pb2.GenericResult

BUILDER = "2025.06"
LONGEST_LIFE_S = 24 * 3600
GPUS = "T4 L4 A10 A10G L40S A100 A100-40GB A100-80GB H100 H100! H200 B200 B200+".split()
# By Modal's own names; dollars an hour. Sandboxes pay more for processors and memory than functions.
RATES = {
    "cpu_hour_cost": "0.0473",
    "cpu_hour_cost_sandbox": "0.1419",
    "mem_gib_hour_cost": "0.008",
    "mem_gib_hour_cost_sandbox": "0.024",
    "gpu_hour_cost_t4": "0.59",
    "gpu_hour_cost_a10g": "1.1",
    "gpu_hour_cost_a100_40gb": "2.1",
    "gpu_hour_cost_a100_80gb": "2.5",
    "gpu_hour_cost_h100": "3.95",
}
REQUIRED_HEADERS = ("x-modal-client-type", "x-modal-client-version", "x-modal-python-version")
TICK_S = 0.02

_rpc: contextvars.ContextVar[str] = contextvars.ContextVar("rpc")
_key: contextvars.ContextVar[str] = contextvars.ContextVar("key")


class Clock:
    """Seconds, as they pass and as somebody says."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


@dataclasses.dataclass
class Call:
    name: str
    metadata: dict[str, str]
    request: Any


@dataclasses.dataclass
class Failure:
    name: str
    status: Status
    after: bool


class State:
    """What the fake knows; both of its services work on it."""

    def __init__(self, folder: pathlib.Path, clock: Callable[[], float], token: tuple[str, str]) -> None:
        self.folder, self.clock, self.token = folder, clock, token
        self.calls: list[Call] = []
        self.failures: list[Failure] = []
        # Seconds by which an RPC's answer is late.
        self.delays: dict[str, float] = {}
        self.environments = {"main"}
        self.default_environment = "main"
        self.apps: dict[tuple[str, str], str] = {}
        self.images: dict[str, Any] = {}
        self.volumes: dict[tuple[str, str], str] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        # What a request with this key was answered; the SDK repeats requests whose answers it has not seen.
        self.answers: dict[str, Any] = {}
        self.oldest_client = (1, 0)
        self.page = 100
        # No room: nothing is created. Held: what is created is not started, until this is off.
        self.full = False
        self.held = False
        self.token_life_s, self.access_life_s = 1200.0, 25.0
        # To when each is valid; of a router's token also whose.
        self.tokens: dict[str, float] = {}
        self.access: dict[str, tuple[float, str]] = {}
        self.router_url = ""
        self.tls: ssl.SSLContext | None = None
        self.relays: dict[tuple[str, int], asyncio.Server] = {}

    def environment(self, name: str) -> str:
        name = name or self.default_environment
        if name not in self.environments:
            raise GRPCError(Status.NOT_FOUND, f"Environment '{name}' not found.")
        return name

    def sandbox(self, number: str, second: bool | None = None) -> Sandbox:
        found = self.sandboxes.get(number)
        if not found or (second is not None and found.second != second):
            raise GRPCError(Status.NOT_FOUND, f"Sandbox with ID {number} not found.")
        return found

    def of_task(self, task: str) -> Sandbox:
        """Raises for one that has ended."""
        found = next((box for box in self.sandboxes.values() if box.task == task), None)
        if not found or found.result is not None or not found.started.is_set():
            raise GRPCError(Status.NOT_FOUND, f"Task {task} not found.")
        return found

    def new_access(self, sandbox: Sandbox) -> Any:
        until = time.time() + self.access_life_s
        made = _token(until)
        self.access[made] = (until, sandbox.task)
        return api_pb2.TaskGetCommandRouterAccessResponse(url=self.router_url, jwt=made)

    def failing(self, name: str, after: bool) -> None:
        for failure in self.failures:
            if failure.name == name and failure.after == after:
                self.failures.remove(failure)
                raise GRPCError(failure.status, "told to fail")

    def check_client(self, metadata: dict[str, str]) -> None:
        missing = [name for name in REQUIRED_HEADERS if not metadata.get(name)]
        if missing:
            raise GRPCError(Status.INVALID_ARGUMENT, f"Missing header {missing[0]}")
        version = tuple(int(part) for part in metadata["x-modal-client-version"].split(".")[:2])
        if version < self.oldest_client:
            raise GRPCError(Status.FAILED_PRECONDITION, "Old client")
        if (metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret")) != self.token:
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is malformed or the secret is wrong")

    def check_token(self, metadata: dict[str, str]) -> None:
        if self.tokens.get(metadata.get("x-modal-auth-token", ""), 0) < time.time():
            raise GRPCError(Status.UNAUTHENTICATED, "Invalid auth token")

    def check_access(self, metadata: dict[str, str]) -> None:
        until, _ = self.access.get(metadata.get("authorization", "").removeprefix("Bearer "), (0.0, ""))
        if until < time.time():
            raise GRPCError(Status.UNAUTHENTICATED, "Invalid or expired token")


def _token(until: float) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, {"exp": until})]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "." + secrets.token_hex(16)


def unary(handle: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    """An RPC with one request and one answer, from what makes the one from the other."""

    @functools.wraps(handle)
    async def rpc(self: Any, stream: Stream) -> None:
        request = await stream.recv_message()
        _seen(self.state, stream, request)
        answer = await handle(self, request)
        await asyncio.sleep(self.state.delays.get(_rpc.get(), 0))
        self.state.failing(_rpc.get(), after=True)
        await stream.send_message(answer)

    return rpc


def streamed(handle: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
    """An RPC with one request and any number of answers."""

    @functools.wraps(handle)
    async def rpc(self: Any, stream: Stream) -> None:
        request = await stream.recv_message()
        _seen(self.state, stream, request)
        async for answer in handle(self, request):
            await stream.send_message(answer)

    return rpc


def _seen(state: State, stream: Stream, request: Any) -> None:
    state.calls.append(Call(_rpc.get(), dict(stream.metadata or {}), request))
    state.failing(_rpc.get(), after=False)


@patch_mock_servicer
class Control(ModalClientBase):
    """modal.client.ModalClient, as far as the SDK needs it for sandboxes; the rest is UNIMPLEMENTED."""

    def __init__(self, state: State) -> None:
        self.state = state

    # MARK: Account

    @unary
    async def ClientHello(self, _: Any) -> Any:
        return api_pb2.ClientHelloResponse(image_builder_version=BUILDER)

    @unary
    async def AuthTokenGet(self, _: Any) -> Any:
        until = time.time() + self.state.token_life_s
        made = _token(until)
        self.state.tokens[made] = until
        return api_pb2.AuthTokenGetResponse(token=made)

    @unary
    async def WorkspaceNameLookup(self, _: Any) -> Any:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name="somebody", username="somebody")

    @unary
    async def WorkspaceBillingRates(self, _: Any) -> Any:
        return api_pb2.WorkspaceBillingRatesResponse(rates=RATES, formatted="\n".join(RATES))

    @unary
    async def EnvironmentGetOrCreate(self, request: Any) -> Any:
        if request.object_creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            self.state.environments.add(request.deployment_name)
        name = self.state.environment(request.deployment_name)
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name=name, settings=settings)
        return api_pb2.EnvironmentGetOrCreateResponse(environment_id=f"en-{name}", metadata=metadata)

    # MARK: What a sandbox is made of

    @unary
    async def AppGetOrCreate(self, request: Any) -> Any:
        found = _found_or_made(self.state, self.state.apps, request, request.app_name, "ap", "App")
        return api_pb2.AppGetOrCreateResponse(app_id=found)

    @unary
    async def VolumeGetOrCreate(self, request: Any) -> Any:
        name = request.deployment_name
        found = _found_or_made(self.state, self.state.volumes, request, name, "vo", "Volume")
        (self.state.folder / found).mkdir(exist_ok=True)
        metadata = api_pb2.VolumeMetadata(name=name, version=request.version)
        return api_pb2.VolumeGetOrCreateResponse(volume_id=found, version=request.version, metadata=metadata)

    @unary
    async def SecretGetOrCreate(self, request: Any) -> Any:
        made = new_id("st")
        self.state.secrets[made] = dict(request.env_dict)
        return api_pb2.SecretGetOrCreateResponse(secret_id=made)

    @unary
    async def MountGetOrCreate(self, _: Any) -> Any:
        return api_pb2.MountGetOrCreateResponse(mount_id=new_id("mo"))

    @unary
    async def ImageGetOrCreate(self, request: Any) -> Any:
        self._known_app(request.app_id)
        made = new_id("im")
        self.state.images[made] = request.image
        done = Result(status=Result.GENERIC_STATUS_SUCCESS)
        return api_pb2.ImageGetOrCreateResponse(image_id=made, result=done, metadata=api_pb2.ImageMetadata())

    # MARK: Sandboxes

    async def _create(self, request: Any, second: bool, extra: dict[str, str]) -> Sandbox:
        state, definition = self.state, request.definition
        if answered := state.answers.get(_key.get()):
            return answered
        self._known_app(request.app_id)
        self._check(definition, request.app_id)
        environment = {name: value for number in definition.secret_ids for name, value in state.secrets[number].items()}
        now = state.clock()
        made = Sandbox(
            app=request.app_id,
            definition=definition,
            tags={tag.tag_name: tag.tag_value for tag in request.tags},
            environment={**environment, **extra},
            folder=state.folder,
            # Pages start before a time: no two are the same.
            created=max(time.time(), max((box.created for box in state.sandboxes.values()), default=0) + 1e-3),
            ends=now + definition.timeout_secs,
            second=second,
            scheduled=not state.held,
        )
        for volume in definition.volume_mounts:
            made.mount(volume.mount_path, state.folder / volume.volume_id)
        state.sandboxes[made.id] = state.answers[_key.get()] = made
        if made.scheduled:
            await self._start(made)
        return made

    def _check(self, definition: Any, app: str) -> None:
        state, gpu = self.state, definition.resources.gpu_config.gpu_type
        if definition.image_id not in state.images:
            raise GRPCError(Status.NOT_FOUND, f"Image {definition.image_id} not found.")
        if gpu and gpu.upper() not in GPUS:
            raise GRPCError(Status.INVALID_ARGUMENT, f"Unknown GPU type {gpu}.")
        if not 0 < definition.timeout_secs <= LONGEST_LIFE_S:
            raise GRPCError(Status.INVALID_ARGUMENT, f"The timeout must be at most {LONGEST_LIFE_S} seconds.")
        same = [box for box in state.sandboxes.values() if (box.app, box.name) == (app, definition.name)]
        if definition.name and any(box.result is None for box in same):
            raise GRPCError(Status.ALREADY_EXISTS, f"A sandbox named '{definition.name}' already exists.")
        if state.full:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "Insufficient capacity to create sandbox.")

    async def _start(self, sandbox: Sandbox) -> None:
        try:
            await sandbox.start()
        except OSError as error:
            await sandbox.end(Result(status=Result.GENERIC_STATUS_INIT_FAILURE, exception=str(error), exitcode=1))

    @unary
    async def SandboxCreate(self, request: Any) -> Any:
        made = await self._create(request, False, {})
        return _message(api_pb2.SandboxCreateResponse, sandbox_id=made.id, metadata=_metadata(made))

    @unary
    async def SandboxCreateV2(self, request: Any) -> Any:
        if request.definition.resources.gpu_config.count:
            raise GRPCError(Status.INVALID_ARGUMENT, "GPUs are not supported by V2 sandboxes.")
        extra = {**dict(request.ephemeral_secrets.contents), **sources(self.state, request)}
        made = await self._create(request, True, extra)
        task = made.task if made.started.is_set() else ""
        answer = api_pb2.SandboxCreateV2Response(sandbox_id=made.id, task_id=task, metadata=_metadata(made))
        answer.tunnels.extend(await self._tunnels(made, only_encrypted=True))
        return answer

    def _find(self, number: str) -> Sandbox:
        return self.state.sandbox(number, _rpc.get().endswith("V2"))

    @unary
    async def SandboxGetTaskId(self, request: Any) -> Any:
        found = self._find(request.sandbox_id)
        if found.result is None and not found.started.is_set():
            await _within(found.started, request.timeout)
        task = found.task if found.started.is_set() else ""
        return api_pb2.SandboxGetTaskIdResponse(task_id=task, task_result=found.result)

    @unary
    async def SandboxWait(self, request: Any) -> Any:
        found = self._find(request.sandbox_id)
        await _within(found.over, request.timeout)
        return _message(api_pb2.SandboxWaitResponse, result=found.result, metadata=_metadata(found))

    @unary
    async def SandboxTerminate(self, request: Any) -> Any:
        found = self._find(request.sandbox_id)
        before = found.result
        await found.end(Result(status=Result.GENERIC_STATUS_TERMINATED))
        return api_pb2.SandboxTerminateResponse(existing_result=before)

    @unary
    async def SandboxGetFromName(self, request: Any) -> Any:
        environment = self.state.environment(request.environment_name)
        app = self.state.apps.get((environment, request.app_name))
        second = _rpc.get().endswith("V2")
        for box in self.state.sandboxes.values():
            if (box.app, box.name, box.second, box.result) == (app, request.sandbox_name, second, None):
                return _message(api_pb2.SandboxGetFromNameResponse, sandbox_id=box.id, metadata=_metadata(box))
        raise GRPCError(Status.NOT_FOUND, f"Sandbox with name '{request.sandbox_name}' not found.")

    @unary
    async def SandboxList(self, request: Any) -> Any:
        """The newest first, a page that ends before a time. The second RPC lists both kinds."""
        state, both = self.state, _rpc.get().endswith("V2")
        apps = {request.app_id}
        if not request.app_id:
            environment = state.environment(request.environment_name)
            apps = {app for (name, _), app in state.apps.items() if name == environment}
        tags = {tag.tag_name: tag.tag_value for tag in request.tags}
        found = [
            box
            for box in state.sandboxes.values()
            if box.app in apps
            and box.has(tags)
            and (both or not box.second)
            and (request.include_finished or box.result is None)
            and (not request.before_timestamp or box.created < request.before_timestamp)
        ]
        found.sort(key=lambda box: -box.created)
        return api_pb2.SandboxListResponse(sandboxes=[_info(box) for box in found[: state.page]])

    @unary
    async def SandboxTagsGet(self, request: Any) -> Any:
        return api_pb2.SandboxTagsGetResponse(tags=_tags(self._find(request.sandbox_id)))

    @unary
    async def SandboxTagsSet(self, request: Any) -> Any:
        found = self._find(request.sandbox_id)
        found.tags = {tag.tag_name: tag.tag_value for tag in request.tags}
        return Empty()

    @unary
    async def SandboxGetTunnels(self, request: Any) -> Any:
        found = self._find(request.sandbox_id)
        await _within(found.started, request.timeout)
        if not found.started.is_set():
            return api_pb2.SandboxGetTunnelsResponse(result=Result(status=Result.GENERIC_STATUS_TIMEOUT))
        if found.result is not None:
            raise GRPCError(Status.NOT_FOUND, f"Sandbox {found.id} has ended.")
        done = Result(status=Result.GENERIC_STATUS_SUCCESS)
        return api_pb2.SandboxGetTunnelsResponse(result=done, tunnels=await self._tunnels(found))

    async def _tunnels(self, sandbox: Sandbox, only_encrypted: bool = False) -> list[Any]:
        made = []
        for port in sandbox.definition.open_ports.ports:
            if port.unencrypted and only_encrypted:
                continue
            # Its encrypted side is there as well.
            plain = {"unencrypted_host": "127.0.0.1", "unencrypted_port": port.port} if port.unencrypted else {}
            at = await self._relay(sandbox, port.port)
            made.append(api_pb2.TunnelData(host="127.0.0.1", port=at, container_port=port.port, **plain))
        return made

    async def _relay(self, sandbox: Sandbox, port: int) -> int:
        """The port where TLS is taken off. Without a certificate it is the sandbox's own, and there is no TLS."""
        state, key = self.state, (sandbox.id, port)
        if not state.tls:
            return port
        if key not in state.relays:
            connected = functools.partial(_relayed, port)
            state.relays[key] = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=state.tls)
        return state.relays[key].sockets[0].getsockname()[1]

    @unary
    async def TaskGetCommandRouterAccess(self, request: Any) -> Any:
        return self.state.new_access(self.state.of_task(request.task_id))

    @unary
    async def SandboxGetCommandRouterAccess(self, request: Any) -> Any:
        box = self.state.sandbox(request.sandbox_id, True) if request.sandbox_id else None
        # The output of one that has ended by itself can still be read.
        if not box or not box.main or (box.result and box.result.status == Result.GENERIC_STATUS_TERMINATED):
            box = self.state.of_task(box.task if box else request.task_id)
        made = self.state.new_access(box)
        return api_pb2.SandboxGetCommandRouterAccessResponse(url=made.url, jwt=made.jwt)

    @streamed
    async def SandboxGetLogs(self, request: Any) -> AsyncIterator[Any]:
        found = self._find(request.sandbox_id)
        await found.started.wait()
        assert found.main
        errors = request.file_descriptor == api_pb2.FILE_DESCRIPTOR_STDERR
        output, offset = found.main.err if errors else found.main.out, int(request.last_entry_id or 0)
        while data := await output.after(offset):
            offset += len(data)
            log = api_pb2.TaskLogs(data=data.decode(errors="replace"), file_descriptor=request.file_descriptor)
            yield api_pb2.TaskLogsBatch(entry_id=str(offset), items=[log])
        yield api_pb2.TaskLogsBatch(entry_id=str(offset), eof=True)

    def _known_app(self, app: str) -> None:
        if app not in self.state.apps.values():
            raise GRPCError(Status.NOT_FOUND, f"App {app} not found.")

    SandboxGetTaskIdV2 = SandboxGetTaskId
    SandboxWaitV2 = SandboxWait
    SandboxTerminateV2 = SandboxTerminate
    SandboxGetFromNameV2 = SandboxGetFromName
    SandboxListV2 = SandboxList
    SandboxTagsGetV2 = SandboxTagsGet
    SandboxTagsSetV2 = SandboxTagsSet
    SandboxGetTunnelsV2 = SandboxGetTunnels


def _found_or_made(state: State, known: dict[Any, str], request: Any, name: str, prefix: str, kind: str) -> str:
    key = (state.environment(request.environment_name), name)
    if key not in known:
        if request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
            raise GRPCError(Status.NOT_FOUND, f"{kind} '{name}' not found in environment '{key[0]}'.")
        known[key] = new_id(prefix)
    return known[key]


def sources(state: State, request: Any) -> dict[str, str]:
    """The variables of a request. Versions of the SDK before 1.6 know no `secret_sources`."""
    found: dict[str, str] = {}
    for number in getattr(request, "secret_ids", ()):
        found.update(state.secrets[number])
    for source in getattr(request, "secret_sources", ()):
        found.update(state.secrets[source.secret_id] if source.secret_id else source.env.contents)
    return found


def _message(kind: Any, **fields: Any) -> Any:
    """Without the fields that this version of the SDK does not know."""
    return kind(**{name: value for name, value in fields.items() if name in kind.DESCRIPTOR.fields_by_name})


def _metadata(sandbox: Sandbox) -> Any:
    return _message(api_pb2.SandboxHandleMetadata, app_id=sandbox.app, result=sandbox.result)


def _tags(sandbox: Sandbox) -> list[Any]:
    return [api_pb2.SandboxTag(tag_name=name, tag_value=value) for name, value in sandbox.tags.items()]


def _info(sandbox: Sandbox) -> Any:
    return _message(
        api_pb2.SandboxInfo,
        id=sandbox.id,
        created_at=sandbox.created,
        app_id=sandbox.app,
        name=sandbox.name,
        tags=_tags(sandbox),
        task_info=api_pb2.TaskInfo(id=sandbox.task, result=sandbox.result),
        metadata=_metadata(sandbox),
    )


async def _within(event: asyncio.Event, seconds: float) -> None:
    if seconds:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)


async def _relayed(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        sink.close()

    try:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(copy(reader, outer), copy(inner, writer))


@patch_mock_servicer
class Router(TaskCommandRouterBase):
    """modal.task_command_router.TaskCommandRouter: commands in sandboxes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def _process(self, request: Any) -> Process:
        found = self.state.of_task(request.task_id).commands.get(request.exec_id)
        if not found:
            raise GRPCError(Status.NOT_FOUND, f"Exec {request.exec_id} not found.")
        return found

    @unary
    async def TaskExecStart(self, request: Any) -> Any:
        sandbox = self.state.of_task(request.task_id)
        extra = {**dict(getattr(request, "env", {})), **sources(self.state, request)}
        # The number is the client's own, so that it can ask twice.
        if request.exec_id not in sandbox.commands:
            try:
                command = list(request.command_args)
                await sandbox.run(request.exec_id, command, extra, request.workdir, request.timeout_secs)
            except OSError as error:
                raise GRPCError(Status.INVALID_ARGUMENT, f"{request.command_args[0]}: {error.strerror}") from None
        return router_pb2.TaskExecStartResponse()

    @streamed
    async def TaskExecStdioRead(self, request: Any) -> AsyncIterator[Any]:
        process, offset = self._process(request), request.offset
        errors = request.file_descriptor == router_pb2.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR
        while data := await (process.err if errors else process.out).after(offset):
            offset += len(data)
            yield router_pb2.TaskExecStdioReadResponse(data=data)

    @streamed
    async def SandboxStdioReadV2(self, request: Any) -> AsyncIterator[Any]:
        sandbox = next((box for box in self.state.sandboxes.values() if box.task == request.task_id), None)
        if not sandbox or not sandbox.main:
            raise GRPCError(Status.NOT_FOUND, f"Task {request.task_id} not found.")
        offset, main = request.offset, sandbox.main
        errors = request.file_descriptor == router_pb2.SANDBOX_STDIO_FILE_DESCRIPTOR_STDERR
        while data := await (main.err if errors else main.out).after(offset):
            yield router_pb2.SandboxStdioReadV2Response(data=data, starting_offset=offset)
            offset += len(data)

    @unary
    async def TaskExecStdinWrite(self, request: Any) -> Any:
        process = self._process(request)
        _check_offset(process, request.offset)
        await process.write(request.offset, request.data, request.eof)
        return router_pb2.TaskExecStdinWriteResponse()

    async def TaskExecStdinWriteStream(self, stream: Stream) -> None:
        first = await stream.recv_message()
        _seen(self.state, stream, first)
        process, offset = self._process(first.start), first.start.offset
        _check_offset(process, offset)
        async for request in stream:
            await process.write(offset, request.data, request.HasField("end"))
            offset += len(request.data)
        await stream.send_message(router_pb2.TaskExecStdinWriteStreamResponse())

    @unary
    async def TaskExecStdinStatus(self, request: Any) -> Any:
        process = self._process(request)
        return router_pb2.TaskExecStdinStatusResponse(num_bytes_written=process.written, closed=process.closed)

    @unary
    async def TaskExecPoll(self, request: Any) -> Any:
        return router_pb2.TaskExecPollResponse(**_exit(self._process(request)))

    @unary
    async def TaskExecWait(self, request: Any) -> Any:
        process = self._process(request)
        await process.over.wait()
        # It ended with its sandbox.
        self._process(request)
        return router_pb2.TaskExecWaitResponse(**_exit(process))


def _check_offset(process: Process, offset: int) -> None:
    if offset > process.written:
        raise GRPCError(Status.INVALID_ARGUMENT, f"Offset {offset} is behind {process.written}.")


def _exit(process: Process) -> dict[str, int]:
    if process.status is None:
        return {}
    return {"signal": -process.status} if process.status < 0 else {"code": process.status}


class ModalControl:
    """The fake, in a thread of its own. What `state` holds may be changed at any time."""

    def __init__(
        self,
        folder: pathlib.Path,
        token: tuple[str, str] = ("ak-somebody", "as-secret"),
        clock: Callable[[], float] | None = None,
        certificate: tuple[pathlib.Path, pathlib.Path] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or Clock()
        self.state = State(folder.resolve(), self.clock, token)
        if certificate:
            self.state.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.state.tls.load_cert_chain(*map(str, certificate))
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ModalControl:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def environment(self) -> dict[str, str]:
        """What tells the SDK to come here."""
        identity, secret = self.state.token
        return {"MODAL_SERVER_URL": self.url, "MODAL_TOKEN_ID": identity, "MODAL_TOKEN_SECRET": secret}

    # MARK: Orders

    def fail(self, name: str, status: Status = Status.UNAVAILABLE, times: int = 1, after: bool = False) -> None:
        """The RPC fails the next `times` times; `after`: it works, and its answer is lost."""
        self.state.failures += [Failure(name, status, after)] * times

    def forget_access(self) -> None:
        """Nobody's tokens are good any more."""
        self.state.tokens.clear()
        self.state.access.clear()

    def release(self) -> None:
        """Starts what was held, and holds no more."""
        self.state.held = False

    def names(self) -> list[str]:
        """Of the RPCs so far."""
        return [call.name for call in self.state.calls]

    def count(self) -> collections.Counter[str]:
        return collections.Counter(self.names())

    def running(self) -> list[Sandbox]:
        return [box for box in self.state.sandboxes.values() if box.result is None]

    # MARK: Its thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        control, router = Control(self.state), Router(self.state)
        servers = [grpclib.server.Server([service]) for service in (control, router)]
        ports = []
        for server, recv in zip(servers, (self._control_asked, self._router_asked)):
            grpclib.events.listen(server, grpclib.events.RecvRequest, recv)
            await server.start("127.0.0.1", 0)
            assert server._server and server._server.sockets
            ports.append(server._server.sockets[0].getsockname()[1])
        self.url, self.state.router_url = (f"http://127.0.0.1:{port}" for port in ports)
        self._ready.set()
        while not self._stop.is_set():
            await self._tick(control)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), TICK_S)
        for box in self.running():
            await box.end(Result(status=Result.GENERIC_STATUS_TERMINATED))
        for server in (*servers, *self.state.relays.values()):
            server.close()
        await asyncio.gather(*(server.wait_closed() for server in servers))
        await _cancelled([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])

    async def _tick(self, control: Control) -> None:
        now = self.clock()
        for box in self.running():
            if not box.scheduled and not self.state.held:
                box.scheduled = True
                await control._start(box)
            if now >= box.ends:
                await box.end(Result(status=Result.GENERIC_STATUS_TIMEOUT))
            elif box.main and box.main.over.is_set():
                await box.end(_outcome(box.main.status or 0))

    async def _control_asked(self, event: grpclib.events.RecvRequest) -> None:
        metadata = _asked(event)
        self.state.check_client(metadata)
        if _rpc.get().endswith("V2") or _rpc.get() == "SandboxGetCommandRouterAccess":
            self.state.check_token(metadata)

    async def _router_asked(self, event: grpclib.events.RecvRequest) -> None:
        self.state.check_access(_asked(event))


def _asked(event: grpclib.events.RecvRequest) -> dict[str, str]:
    metadata = {name: str(value) for name, value in event.metadata.items()}
    _rpc.set(event.method_name.rpartition("/")[2])
    _key.set(metadata.get("x-idempotency-key", secrets.token_hex(8)))
    return metadata


def _outcome(status: int) -> Any:
    if status == 0:
        return Result(status=Result.GENERIC_STATUS_SUCCESS)
    code = status if status > 0 else 128 - status
    return Result(status=Result.GENERIC_STATUS_FAILURE, exitcode=code)


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# What the program is told, and what it then says: a line of JSON.
ORDERS: dict[str, Callable[[ModalControl, list[str]], Any]] = {
    "fail": lambda fake, words: fake.fail(words[0]),
    "full": lambda fake, words: setattr(fake.state, "full", words[0] == "on"),
    "hold": lambda fake, words: setattr(fake.state, "held", words[0] == "on"),
    "advance": lambda fake, words: fake.clock.advance(float(words[0])),  # type: ignore[attr-defined]
    "forget": lambda fake, _: fake.forget_access(),
    "rpcs": lambda fake, _: fake.names(),
    "running": lambda fake, _: {box.id: {"name": box.name, "tags": box.tags} for box in fake.running()},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--token-id", default="ak-somebody")
    parser.add_argument("--token-secret", default="as-secret")
    parser.add_argument("--certificate", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path)
    options = parser.parse_args()
    certificate = (options.certificate, options.key) if options.certificate else None
    with ModalControl(options.folder, (options.token_id, options.token_secret), None, certificate) as fake:
        print(fake.url, flush=True)
        for line in sys.stdin:
            name, *words = line.split() or [""]
            try:
                print(json.dumps(ORDERS[name](fake, words)), flush=True)
            except (KeyError, IndexError, ValueError) as error:
                print(json.dumps({"error": f"{line.strip()}: {error!r}"}), flush=True)


if __name__ == "__main__":
    main()
