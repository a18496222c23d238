"""The errors that a caller may see. Each docstring is the default public message; anything else is INTERNAL and hidden."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar


class TokengraphError(Exception):
    """Internal error"""

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, *arguments: str) -> None:
        """`arguments`: what was given wrongly, the first above all, each as the REST URLs spell it; the message spells them so, too."""
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.arguments = arguments

    @property
    def message(self) -> str:
        """The public message."""
        return str(self.args[0])

    def spelled(self, spell: Callable[[str], str]) -> str:
        """Return the message with the names of the arguments as another surface spells them."""
        names = "|".join(map(re.escape, sorted(self.arguments, key=len, reverse=True)))
        return re.sub(rf"\b(?:{names})\b", lambda match: spell(match[0]), self.message) if names else self.message


class BadInputError(TokengraphError):
    """Invalid request parameters"""

    code = "BAD_USER_INPUT"
    status = 400


class UnauthenticatedError(TokengraphError):
    """Invalid credentials"""

    code = "UNAUTHENTICATED"
    status = 401


class MissingCredentialsError(UnauthenticatedError):
    """Missing Authentication header"""


class ForbiddenError(TokengraphError):
    """This key may not do that"""

    code = "FORBIDDEN"
    status = 403


class NotFoundError(TokengraphError):
    """Not found"""

    code = "NOT_FOUND"
    status = 404


class MethodNotAllowedError(TokengraphError):
    """Method not allowed"""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class BodyTooLargeError(BadInputError):
    """Request body too large"""

    status = 413


class SlowSenderError(BadInputError):
    """The body did not arrive in time"""

    status = 408


class UnsupportedEncodingError(BadInputError):
    """Unsupported Content-Encoding"""

    status = 415


class RateLimitedError(TokengraphError):
    """Rate limit exceeded"""

    code = "RATE_LIMITED"
    status = 429

    def __init__(self, message: str | None = None, *, limit: int, remaining: int, reset_at: float, retry_after: int) -> None:
        """`reset_at`: Unix seconds at which the window opens again; `retry_after`: whole seconds from now, at least 1."""
        super().__init__(message)
        self.limit = limit
        self.remaining = remaining
        self.reset_at = reset_at
        self.retry_after = retry_after


class TooExpensiveError(TokengraphError):
    """The question costs more points than one request may"""

    code = "QUERY_TOO_EXPENSIVE"
    status = 400


class OverloadedError(TokengraphError):
    """Too much waits to be written; try again"""

    code = "RATE_LIMITED"
    status = 429
    retry_after = 1


class UnavailableError(TokengraphError):
    """The database cannot be reached; try again"""

    code = "UNAVAILABLE"
    status = 503
    retry_after = 2


class StoppingError(UnavailableError):
    """The gateway is stopping; try again"""


class ConnectionLostError(UnavailableError):
    """The connection to the database was lost; try again"""


class DatabaseBusyError(UnavailableError):
    """The database is too busy; try again"""

    code = "BUSY"


class NoConnectionFreeError(DatabaseBusyError):
    """The gateway is busy: every database connection for such requests is in use; try again"""
