"""Runs a stored GraphQL document for a REST route: same schema, same permissions, same limits, same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import strawberry
from graphql import parse

from app.domain.errors import TokengraphError
from app.execution.engine import Demand, Engine
from app.request.context import RequestContext
from app.resolvers.permissions import ContextPermission
from app.rest.bodies import Selected, read_root, shaper_of


def load_document(name: str) -> str:
    """Return the text of a stored document by its file's stem."""
    return files("app.rest").joinpath("documents", f"{name}.graphql").read_text(encoding="utf-8")


def document_names() -> list[str]:
    """Return the names of all stored documents."""
    return sorted(
        entry.name.removesuffix(".graphql")
        for entry in files("app.rest").joinpath("documents").iterdir()
        if entry.name.endswith(".graphql")
    )


def permissions_of(root: Selected) -> list[type[ContextPermission]]:
    """Return what the schema demands for a root field."""
    field = root.definition.extensions["strawberry-definition"]
    return [permission for permission in field.permission_classes if issubclass(permission, ContextPermission)]


class StoredDocuments:
    """The stored documents of one schema, each with one root field: read, validated and looked through once."""

    def __init__(self, schema: strawberry.Schema, engine: Engine) -> None:
        self._engine = engine
        texts = {name: load_document(name) for name in document_names()}
        self._prepared = {name: engine.prepare(text) for name, text in texts.items()}
        self.roots: Mapping[str, Selected] = {name: read_root(schema._schema, parse(text)) for name, text in texts.items()}
        """What each document selects, by its name."""
        self._shapers = {name: shaper_of(root) for name, root in self.roots.items()}
        self._permissions = {name: permissions_of(root) for name, root in self.roots.items()}

    async def authorize(self, name: str, context: RequestContext) -> None:
        """Raise what the document's root field would refuse the caller with, before its parameters are judged."""
        for permission in self._permissions[name]:
            await permission().check(context)

    async def run(self, name: str, context: RequestContext, variables: Mapping[str, Any]) -> Any:
        """Return the value of the document's one root field, in its documented form.

        A TokengraphError is raised as it is, any other as TokengraphError.
        """
        answer = await self._engine.run_prepared(self._prepared[name], Demand(name, variables), context)
        if answer.errors:
            cause = answer.errors[0].original_error
            raise cause if isinstance(cause, TokengraphError) else TokengraphError from cause
        value = next(iter((answer.data or {}).values()))
        shape = self._shapers[name]
        return value if shape is None else shape(value)
