"""Which documents may be answered from the cache: those of which every field says where it is declared that it may be."""

from __future__ import annotations

from typing import Any, Final

from graphql import DocumentNode, FieldNode, GraphQLField, GraphQLObjectType, GraphQLSchema, TypeInfo, TypeInfoVisitor, Visitor, visit
from strawberry.utils.str_converters import to_camel_case

from app.resolvers.surface_types import declaration_of
from app.surfaces.declare import Caching
from app.surfaces.documented import SURFACES

_TYPE_NAME: Final = "__typename"

PUBLIC_ROOTS: Final = frozenset({_TYPE_NAME, *(to_camel_case(surface.root) for surface in SURFACES if surface.caching is Caching.PUBLIC)})
"""Fields of the root type whose answer is the same for everybody."""


def is_cacheable(definition: GraphQLField) -> bool:
    """Tell whether a field changes with the data, the arguments, the caller's scope and the UTC date alone. False if it does not say."""
    declared = declaration_of(definition)
    return declared is not None and declared.is_cacheable


def cacheable_roots(schema: GraphQLSchema, document: DocumentNode) -> frozenset[str] | None:
    """Return the root fields of a valid document that may be answered from the cache; None: it may not."""
    roots: set[str] = set()
    refused = False
    types = TypeInfo(schema)

    class Look(Visitor):
        def enter_field(self, node: FieldNode, *_: Any) -> None:
            nonlocal refused
            parent, definition = types.get_parent_type(), types.get_field_def()
            if node.name.value != _TYPE_NAME and (
                definition is None
                or not isinstance(parent, GraphQLObjectType)  # the fields of what an interface stands for are not known
                or not is_cacheable(definition)
            ):
                refused = True
            elif parent is schema.query_type:
                roots.add(node.name.value)

    visit(document, TypeInfoVisitor(types, Look()))
    return None if refused else frozenset(roots)
