"""Routes one request through ctypes, then looks whether a library of a Swift toolchain was loaded to do it."""

import ctypes
import sys
from ctypes import POINTER, byref, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, sizeof


class Server(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("max_requests", c_uint32), ("id", c_uint64), ("kv_capacity", c_uint64)]


class Request(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("exclude_count", c_uint32), ("tokens", POINTER(c_uint32)),
                ("token_count", c_size_t), ("namespace_key", c_uint64), ("session_key", c_uint64),
                ("exclude", POINTER(c_uint64))]


class Decision(ctypes.Structure):
    _fields_ = [("struct_size", c_uint32), ("reason", c_uint32), ("ticket", c_uint64), ("server", c_uint64),
                ("prompt_tokens", c_uint64), ("matched_tokens", c_uint64), ("cost_ns", c_int64)]


library = ctypes.CDLL(sys.argv[1])
library.gotoni_server_add.argtypes = [c_void_p, c_void_p, c_uint64]
library.gotoni_route.argtypes = [c_void_p, c_void_p, c_uint64, c_void_p]
library.gotoni_router_destroy.argtypes = [c_void_p]

router = c_void_p()
server = Server(struct_size=sizeof(Server), id=7)
request = Request(struct_size=sizeof(Request), tokens=(c_uint32 * 64)(1, 2, 3), token_count=64)
decision = Decision(struct_size=sizeof(Decision))  # shorter than the library's: an older program
assert library.gotoni_router_create(None, byref(router)) == 0
assert library.gotoni_server_add(router, byref(server), 0) == 0
assert library.gotoni_route(router, byref(request), 0, byref(decision)) == 0
assert decision.server == 7 and decision.prompt_tokens == 64
library.gotoni_router_destroy(router)

with open("/proc/self/maps") as maps:
    swift = [line for line in maps if "libswift" in line]
assert not swift, swift
