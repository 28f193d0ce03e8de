"""What can go wrong with a request, as the failure that its sample ends with."""

from __future__ import annotations

from mlpinf_core.loadgen.failures import Failure


class RequestError(Exception):
    """A request that got no answer, or a wrong one.

    Attributes:
        failure: what its sample ends with. Its text is the same for every request that failed in
            the same way, so that they are counted together.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def unreachable(message: str) -> RequestError:
    """No connection: refused, timed out, not resolved, TLS not agreed upon."""
    return RequestError(Failure("unreachable", message))


def lost(message: str) -> RequestError:
    """The connection ended before the answer did."""
    return RequestError(Failure("connection", message))


def timed_out(message: str) -> RequestError:
    """The server was silent, or busy with one answer, for too long."""
    return RequestError(Failure("timeout", message))


def refused(message: str) -> RequestError:
    """The server answered with an error: an HTTP status, or an error object in a stream."""
    return RequestError(Failure("status", message))


def malformed(message: str) -> RequestError:
    """What came is not HTTP, not an event stream, not JSON, or not a completion."""
    return RequestError(Failure("protocol", message))


def wrong_tokens(message: str) -> RequestError:
    """The tokens of an answer cannot be right: too many, miscounted, or not there."""
    return RequestError(Failure("tokens", message))
