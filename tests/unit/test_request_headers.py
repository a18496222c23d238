"""Headers of a request as they are found in its scope."""

from __future__ import annotations

from app.http.request_headers import find_header, read_header

SCOPE = {"headers": [(b"host", b"gateway"), (b"x-api-key", b"first"), (b"x-api-key", b"second"), (b"empty", b""), (b"name", b"na\xefve")]}


def test_the_first_header_of_a_name_is_found() -> None:
    assert find_header(SCOPE, b"x-api-key") == "first"
    assert (find_header(SCOPE, b"empty"), find_header(SCOPE, b"absent")) == ("", None)
    assert (read_header(SCOPE, b"empty"), read_header(SCOPE, b"absent"), read_header(SCOPE, b"name")) == ("", "", "naïve")
