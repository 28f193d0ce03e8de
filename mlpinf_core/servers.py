"""What a plugin says of the servers it can have started, and what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

FIRST_PORT: Final = 30000
"""The field's own: servers of one machine are at 30000, 30001, ..."""


@attrs.frozen
class ServeOptions:
    """How servers are wanted.

    Attributes:
        server: which kind (``ctranslate2``, ``vllm``); empty is the variant's own.
        count: how many; None is as many as the devices allow.
        host: that they listen on.
        port: of the first; each of the others has the next one.
        tensor_parallel: devices that share a layer.
        pipeline_parallel: groups of devices that share the layers.
        expert_parallel: devices that share the experts of a layer.
        checkpoint: directory or name of the model; None is the variant's own.
        arguments: for the server's own command line, as they are, but that ``${NAME}`` stands for
            an environment variable, which is how a secret is given.
    """

    server: str = ""
    count: int | None = None
    host: str = "127.0.0.1"
    port: int = FIRST_PORT
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: int = 1
    checkpoint: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def devices(self) -> int:
        """That one server takes."""
        return self.tensor_parallel * self.pipeline_parallel

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ServeOptions:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**data, "arguments": tuple(data["arguments"])})


@attrs.frozen
class ServerSpec:
    """A server to be started.

    Attributes:
        name: of its log, unique among the servers that are started together.
        command: program and arguments.
        url: where it is, once it is ready.
        health: path that answers 200 when it is ready.
        environment: variables that it gets besides this process's own.
        settings: of the backend that speaks to servers, for runs against this one (``{"server":
            "vllm"}``); its ``urls`` are not among them.
    """

    name: str
    command: tuple[str, ...]
    url: str
    health: str = "/health"
    environment: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))
    settings: Mapping[str, Any] = attrs.field(factory=lambda: MappingProxyType({}))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {"environment": dict(self.environment), "settings": dict(self.settings)}
        return {**attrs.asdict(self, recurse=False), **plain}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ServerSpec:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**data, "command": tuple(data["command"])})
