"""The client's address behind trusted proxies. Each proxy appends an address to `X-Forwarded-For`; earlier entries may be forged."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

_LONGEST_HOST: Final = 64
_SCHEMES: Final = frozenset({"http", "https"})


def parse_proxies(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the networks of a setting such as `10.0.0.0/8, ::1`. ValueError: an entry is invalid."""
    return tuple(ip_network(entry.strip()) for entry in text.split(","))


class TrustedProxies:
    """Proxies that may set `X-Forwarded-For` and `X-Forwarded-Proto`. `trusted`: addresses and networks, or `*`.

    With `*` every peer is a proxy, and the last address is the client: only that one was added by the peer.
    """

    def __init__(self, trusted: str) -> None:
        self._everybody = trusted.strip() == "*"
        self._networks = () if self._everybody else parse_proxies(trusted)
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def resolve(self, scope: Scope) -> None:
        """Replace address and scheme in the scope of a connection from a trusted proxy by those of the client."""
        peer = scope.get("client")
        if not self.is_proxy(peer[0] if peer else ""):
            return
        hops: list[str] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                hops += value.decode("latin-1").split(",")
            elif name == b"x-forwarded-proto":
                scheme = value.decode("latin-1").rpartition(",")[2].strip().lower()
                if scheme in _SCHEMES:
                    scope["scheme"] = scheme
        client = self._client([_host_of(hop.strip()) for hop in hops])
        if client:
            scope["client"] = (client, 0)

    def is_proxy(self, host: str) -> bool:
        """Whether this address is a trusted proxy."""
        return self._everybody or self.trusts(host)

    def _client(self, hops: list[str]) -> str:
        if self._everybody:
            return hops[-1] if hops else ""
        return next((hop for hop in reversed(hops) if not self.trusts(hop)), hops[0] if hops else "")

    def _trusts(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def _host_of(hop: str) -> str:
    """Return the host of `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; of anything else, itself, truncated."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0][:_LONGEST_HOST]
    host, _, port = hop.rpartition(":")
    return (host if port.isdigit() and ":" not in host and host else hop)[:_LONGEST_HOST]
