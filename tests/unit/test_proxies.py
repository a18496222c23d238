"""Who a request comes from: never an address that the client wrote itself."""

from __future__ import annotations

from typing import Any

import pytest

from app.http.proxies import TrustedProxies

PROXIES = "10.0.0.0/8, 192.0.2.1, 2001:db8::/32"


def resolve(trusted: str, peer: str | None, *forwarded: str, proto: tuple[str, ...] = ()) -> tuple[str, str]:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded] + [(b"x-forwarded-proto", one.encode()) for one in proto]
    scope: dict[str, Any] = {"client": None if peer is None else (peer, 4711), "scheme": "http", "headers": headers}
    TrustedProxies(trusted).resolve(scope)
    return "" if scope["client"] is None else scope["client"][0], scope["scheme"]


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        # What the client wrote comes first, what the proxy saw comes last.
        ("*", "10.0.0.1", ("6.6.6.6, 198.51.100.7",), "198.51.100.7"),
        ("*", "10.0.0.1", ("6.6.6.6", "198.51.100.7"), "198.51.100.7"),
        ("*", "10.0.0.1", ("198.51.100.7:4711",), "198.51.100.7"),
        ("*", "10.0.0.1", ("[2001:db9::7]:4711",), "2001:db9::7"),
        ("*", "10.0.0.1", ("2001:db9::7",), "2001:db9::7"),
        ("*", None, ("198.51.100.7",), "198.51.100.7"),
        ("*", "10.0.0.1", (), "10.0.0.1"),
        ("*", "10.0.0.1", ("6.6.6.6, ",), "10.0.0.1"),
        (PROXIES, "10.0.0.1", ("6.6.6.6, 198.51.100.7, 192.0.2.1, 10.9.9.9",), "198.51.100.7"),
        (PROXIES, "::ffff:10.0.0.1", ("6.6.6.6, 198.51.100.7",), "198.51.100.7"),
        (PROXIES, "10.0.0.1", ("6.6.6.6, not an address",), "not an address"),
        (PROXIES, "10.0.0.1", ("10.1.1.1, 10.2.2.2",), "10.1.1.1"),
        (PROXIES, "198.51.100.7", ("6.6.6.6",), "198.51.100.7"),
        (PROXIES, None, ("6.6.6.6",), ""),
        (PROXIES, "10.0.0.1", ("x" * 100_000,), "x" * 64),
    ],
)
def test_the_last_address_that_is_no_trusted_proxys_is_the_clients(
    trusted: str, peer: str | None, forwarded: tuple[str, ...], client: str
) -> None:
    assert resolve(trusted, peer, *forwarded)[0] == client


def test_the_scheme_is_what_the_nearest_proxy_says() -> None:
    assert resolve("*", "10.0.0.1", proto=("https",))[1] == "https"
    assert resolve(PROXIES, "10.0.0.1", proto=("http", "https"))[1] == "https"
    assert resolve(PROXIES, "10.0.0.1", proto=("javascript, HTTPS",))[1] == "https"
    assert resolve(PROXIES, "10.0.0.1", proto=("javascript",))[1] == "http"
    assert resolve(PROXIES, "198.51.100.7", proto=("https",))[1] == "http"
