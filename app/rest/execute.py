"""Runs a stored GraphQL document for a REST route: same schema, same permissions, same limits, same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import strawberry
from graphql import FieldNode, OperationDefinitionNode, parse

from app.domain.errors import TokengraphError
from app.execution.engine import Demand, Engine
from app.request.context import RequestContext
from app.resolvers.permissions import ContextPermission


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


def root_permissions(schema: strawberry.Schema, document: str) -> list[type[ContextPermission]]:
    """Return what the schema demands for the document's one root field."""
    operation = next(node for node in parse(document).definitions if isinstance(node, OperationDefinitionNode))
    (root,) = operation.selection_set.selections
    if not isinstance(root, FieldNode):
        raise TypeError("a stored document selects one root field")
    field = schema.get_field_for_type(root.name.value, "Query")
    if field is None:
        raise TypeError(f"the schema has no root {root.name.value}")
    return [permission for permission in field.permission_classes if issubclass(permission, ContextPermission)]


class StoredDocuments:
    """The stored documents of one schema, each with one root field: read, validated and looked through once."""

    def __init__(self, schema: strawberry.Schema, engine: Engine) -> None:
        self._engine = engine
        texts = {name: load_document(name) for name in document_names()}
        self._prepared = {name: engine.prepare(text) for name, text in texts.items()}
        self._permissions = {name: root_permissions(schema, text) for name, text in texts.items()}

    async def authorize(self, name: str, context: RequestContext) -> None:
        """Raise what the document's root field would refuse the caller with, before its parameters are judged."""
        for permission in self._permissions[name]:
            await permission().check(context)

    async def run(self, name: str, context: RequestContext, variables: Mapping[str, Any]) -> Any:
        """Return the value of the document's one root field. A TokengraphError is raised as it is, any other as TokengraphError."""
        answer = await self._engine.run_prepared(self._prepared[name], Demand(name, variables), context)
        if answer.errors:
            cause = answer.errors[0].original_error
            raise cause if isinstance(cause, TokengraphError) else TokengraphError from cause
        return next(iter((answer.data or {}).values()))
