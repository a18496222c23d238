"""The OpenAPI document: FastAPI's, with both headers for API keys, and without responses that no route returns."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.rest.usage_record import RECORD_SCHEMA, record_schema

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: KEY`"},
}
_OPEN = ("/api/v1/analytics/network", "/healthz", "/readyz", "/metrics", "/schema.graphql", "/graphql")
_NEVER = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the application."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            # Parameters are checked with the messages of each document and 400: FastAPI's 422 is never returned.
            operation["responses"].pop("422", None)
            operation["security"] = [] if path in _OPEN else [{name: []} for name in _SCHEMES]
    components = document.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    for name in _NEVER:
        components.get("schemas", {}).pop(name, None)
    components.setdefault("schemas", {})[RECORD_SCHEMA] = record_schema()
    return document


def install_openapi(app: FastAPI) -> None:
    """Make the application serve that document, cached."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
