"""Where a server is: its URL taken apart, resolved once, and the way to speak TLS with it."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from mlpinf_core.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_PORTS: Final = {"http": 80, "https": 443}
_WHERE: Final = "backend.urls"


@attrs.frozen
class Address:
    """A server, as its URL says.

    Attributes:
        scheme: ``http`` or ``https``.
        host: name or address, without brackets.
        port: number.
        base: path before the API's own, without a slash at the end; mostly empty.
    """

    scheme: str
    host: str
    port: int
    base: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take a URL apart.

        Raises:
            ConfigurationError: it is none, or has a password in it.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(
                "a URL has a user name or a password in it, and URLs are logged",
                where=_WHERE,
                remedy="put the key into a variable, and its name into backend.api_key_variable",
            )
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in _PORTS or not parts.hostname or port == -1 or parts.query:
            raise ConfigurationError(
                f"{url!r} is not the URL of a server",
                where=_WHERE,
                remedy="write it as http://HOST:PORT",
            )
        base = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], base)

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port, as in the header ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        """The URL."""
        return f"{self.scheme}://{self.authority}{self.base}"

    def resolve(self) -> tuple[int, Any]:
        """The address family and the socket address; looked up now, and not in the timed part.

        Raises:
            BackendError: the name is not known.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise BackendError(
                f"the name {self.host!r} cannot be resolved: {error.strerror or error}",
                where=str(self),
                remedy=f"set {_WHERE} right",
            ) from error
        family, _, _, _, address = found[0]
        return family, address


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """How https servers are checked: against the system's certificates, or the given ones.

    Raises:
        ConfigurationError: the file is none.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificates cannot be read: {error}",
            where="backend.ca_file",
            remedy="name a file of PEM certificates",
        ) from error


def api_key(variable: str) -> str | None:
    """The key in an environment variable; None where no variable is named.

    Raises:
        ConfigurationError: the variable is not set, or its value cannot be sent.
    """
    if not variable:
        return None
    value = os.environ.get(variable, "").strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            f"the environment variable {variable} holds no API key",
            where="backend.api_key_variable",
            remedy=f"set it: export {variable}=...",
        )
    return value
