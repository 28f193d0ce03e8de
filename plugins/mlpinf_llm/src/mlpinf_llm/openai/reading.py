"""What comes on a connection becomes an answer: whole bodies, events of streams, HTTP errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from mlpinf_llm.faults import malformed, refused
from mlpinf_llm.openai import answer as answers
from mlpinf_llm.openai.dialects import words_of
from mlpinf_llm.openai.sse import EventReader
from mlpinf_llm.token_rules import refuse_longer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from mlpinf_llm.openai.answer import Rules
    from mlpinf_llm.openai.connection import Connection
    from mlpinf_llm.openai.dialects import Dialect
    from mlpinf_llm.openai.http import Head

_MOST_ERROR: Final = 4096
"""Bytes of an error's body that are looked at."""


class AnswerReader:
    """Reads the bodies of responses in one dialect, and holds answers to the rules."""

    def __init__(self, dialect: Dialect, rules: Rules, lengths: Sequence[int]) -> None:
        """Nothing is read yet.

        Args:
            dialect: of the servers.
            rules: that answers are held to.
            lengths: tokens of each sample's prompt.
        """
        self._dialect = dialect
        self._rules = rules
        self._lengths = lengths
        self.unchecked = 0
        """Answers that the server said no token count of."""
        self.recounted = 0
        """Answers whose text is of another number of tokens than the server counted."""

    def take(self, connection: Connection, head: Head, body: bytes) -> bool:
        """Take a part of a body; returns whether the first token has come with it.

        Raises:
            RequestError: it is not what it should be, or too much.
        """
        if head.status != 200 or head.content_type != "text/event-stream":
            connection.parts.append(body)
            return False
        if connection.events is None:
            connection.events = EventReader()
        answer, event = connection.answer, self._dialect.event
        for data in connection.events.feed(body):
            event(data, answer)
        if not answer.has_content:
            return False
        if len(answer.ids) > self._rules.cap + 1:  # one more may be the id that ends it
            refuse_longer(self._rules.cap)
        first, answer.begun = not answer.begun, True
        return first

    def finish(self, connection: Connection, head: Head, index: int) -> npt.NDArray[np.int32]:
        """The ids of a response that is complete, to the sample of that index.

        Raises:
            RequestError: it is an error, or not what it should be.
        """
        if head.status != 200:
            raise refused(_status_words(connection, head))
        if connection.events is None:
            self._dialect.read(b"".join(connection.parts), connection.answer)
        elif connection.events.unfinished:
            raise malformed("an answer ended within an event: it was cut off")
        answer = connection.answer
        ids = answers.finish(answer, self._rules, self._lengths[index])
        if answer.counted is None:
            self.unchecked += 1
        elif self._rules.encode is not None and not 0 <= answer.counted - len(ids) <= 1:
            self.recounted += 1  # one more may be the id that ended it
        return ids


def _status_words(connection: Connection, head: Head) -> str:
    """An HTTP error, with what the server says of it."""
    body = b"".join(connection.parts)[:_MOST_ERROR]
    try:
        said = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = body.decode("utf-8", "replace")
    if isinstance(said, dict):
        said = said.get("error", said)
    words = f"{connection.server.address}: HTTP {head.status}"
    if text := words_of(said):
        words += f": {text}"
    return words + (f" (retry after {head.retry_after})" if head.retry_after else "")
