"""Exact token ids and counts of LLM requests, over HTTP on a Unix socket."""

__version__ = "0.1.0"
