"""Headers of every page: Content-Security-Policy and related ones. All files come from the gateway."""

from __future__ import annotations

from typing import Final

_SOURCES: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
_FIXED: Final = {
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def page_headers(nonce: str | None = None, *, workers: bool = False) -> dict[str, str]:
    """Return the headers of a page. `nonce`: of style elements that apply too. `workers`: whether scripts may start the gateway's own."""
    sources = dict(_SOURCES)
    if nonce is not None:
        sources["style-src"] += f" 'nonce-{nonce}'"
    if workers:
        sources["worker-src"] = "'self'"
    policy = "; ".join(f"{directive} {allowed}" for directive, allowed in sources.items())
    return {"Content-Security-Policy": policy, **_FIXED}
