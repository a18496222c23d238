"""Writes GraphQL documents over any schema, with several assignments of their variables, from the choices of a random source.

Nearly all of them are valid: response names and arguments agree, fragments make no circle, variables are declared and used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLCompositeType,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)
from hypothesis import strategies as st

Pool = Callable[[str, str, GraphQLArgument], tuple[Sequence[Any], Sequence[Any]]]
"""From a field's name, an argument's name and the argument to JSON values that it is given mostly, and to those that it is given rarely."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document, the operations in it, and what its variables may be. `variables`: one assignment each, to be run one after the other."""

    text: str
    operations: tuple[str | None, ...]
    variables: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which documents to write. `depth`: of nested objects; `fields`: about how many selections; `roots`: how many of a root type, one of these."""

    schema: GraphQLSchema
    pool: Pool
    root: str = "query"
    depth: int = 5
    fields: int = 40
    roots: tuple[int, ...] = (1, 2, 3, 4)


@dataclass(slots=True)
class _Variable:
    type: str
    default: str | None
    values: list[Any]
    may_be_left_out: bool


@dataclass(slots=True)
class _Fragment:
    name: str
    on: str
    text: str
    depth: int
    uses: set[str] = field(default_factory=set)


def documents(plan: Plan) -> st.SearchStrategy[Document]:
    """Return the strategy of documents: those that hypothesis steers and shrinks, and more of those that chance makes, which are richer."""
    steered = st.randoms(use_true_random=False).map(lambda random: Writer(plan, random).write())
    seeded = st.integers(0, 2**48).map(lambda seed: Writer(plan, Random(seed)).write())
    return st.one_of(steered, seeded, seeded, seeded)


def literal(value: Any, kind: Any) -> str:
    """Return a JSON value as it is written in a document, for an argument of a type."""
    if isinstance(value, str) and isinstance(get_named_type(kind), GraphQLEnumType):
        return value
    if isinstance(value, list):
        return "[" + ", ".join(literal(one, kind) for one in value) + "]"
    if isinstance(value, dict):
        fields = getattr(get_named_type(kind), "fields", {})
        return (
            "{" + ", ".join(f"{name}: {literal(one, fields[name].type if name in fields else None)}" for name, one in value.items()) + "}"
        )
    return json.dumps(value)


class Writer:
    """Writes one document."""

    def __init__(self, plan: Plan, random: Random) -> None:
        self._plan = plan
        self._random = random
        self._left = plan.fields
        self._variables: dict[str, _Variable] = {}
        self._uses: set[str] = set()
        self._fragments: list[_Fragment] = []
        self._responses: dict[tuple[str, str], tuple[str, str, set[str]]] = {}

    def write(self) -> Document:
        """Return the document."""
        root = {"query": self._plan.schema.query_type, "mutation": self._plan.schema.mutation_type}[self._plan.root]
        assert root is not None
        names: tuple[str | None, ...] = self._random.choice([(None,), ("One",), ("One", "Two")])
        operations = []
        for name in names:
            self._uses = set()
            selection = self._selection(root, self._plan.depth, self._plan.roots)
            declared = ", ".join(self._declaration(variable) for variable in sorted(self._uses))
            head = self._plan.root + (f" {name}" if name else "") + (f"({declared})" if declared else "")
            operations.append(f"{head} {selection}")
        definitions = operations + [fragment.text for fragment in self._fragments]
        self._random.shuffle(definitions)
        return Document("\n".join(definitions), names, tuple(self._assignment() for _ in range(2)))

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _declaration(self, name: str) -> str:
        variable = self._variables[name]
        return f"${name}: {variable.type}" + (f" = {variable.default}" if variable.default is not None else "")

    def _assignment(self) -> dict[str, Any]:
        chosen = {}
        for name, variable in self._variables.items():
            if not (variable.may_be_left_out and self._chance(0.3)):
                chosen[name] = self._random.choice(variable.values)
        return chosen

    def _selection(self, kind: GraphQLCompositeType, depth: int, sizes: Sequence[int] = (1, 2, 3, 4, 6)) -> str:
        chosen = [self._selected(kind, depth) for _ in range(self._random.choice(sizes))]
        return "{ " + "\n".join(chosen) + " }"

    def _selected(self, kind: GraphQLCompositeType, depth: int) -> str:
        self._left -= 1
        if self._left > 0 and self._chance(0.15):
            return self._inline(kind, depth)
        if self._left > 0 and self._chance(0.15):
            return self._spread(kind, depth)
        return self._field(kind, depth)

    def _directives(self) -> str:
        if not self._chance(0.12):
            return ""
        first, second = self._random.choice([("skip", None), ("include", None), ("skip", "include")])
        return "".join(f" @{name}(if: {self._condition()})" for name in (first, second) if name is not None)

    def _condition(self) -> str:
        if self._chance(0.3):
            return self._random.choice(["true", "false"])
        name = self._random.choice(["b0", "b1", "b2", "b3"])
        self._uses.add(name)
        if name not in self._variables:
            kind, default = {"b0": ("Boolean!", None), "b1": ("Boolean!", None), "b2": ("Boolean!", "true"), "b3": ("Boolean", "false")}[
                name
            ]
            values: list[Any] = [True, False] if name != "b3" else [True, False] * 4 + [None]
            self._variables[name] = _Variable(kind, default, values, default is not None)
        return f"${name}"

    def _conditions_on(self, kind: GraphQLCompositeType) -> list[str]:
        """Return the names of types that a fragment in a selection on `kind` may be on."""
        schema = self._plan.schema
        possible = set(schema.get_possible_types(kind)) if not isinstance(kind, GraphQLObjectType) else {kind}
        abstract = [one for one in schema.type_map.values() if isinstance(one, GraphQLInterfaceType | GraphQLUnionType)]
        return sorted(
            {one.name for one in possible} | {kind.name} | {one.name for one in abstract if possible & set(schema.get_possible_types(one))}
        )

    def _inline(self, kind: GraphQLCompositeType, depth: int) -> str:
        if self._chance(0.3):
            return f"...{self._directives()} {self._selection(kind, depth)}"
        on = self._random.choice(self._conditions_on(kind))
        return f"... on {on}{self._directives()} {self._selection(self._composite(on), depth)}"

    def _composite(self, name: str) -> GraphQLCompositeType:
        found = self._plan.schema.type_map[name]
        assert isinstance(found, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType)
        return found

    def _spread(self, kind: GraphQLCompositeType, depth: int) -> str:
        conditions = self._conditions_on(kind)
        known = [fragment for fragment in self._fragments if fragment.on in conditions and fragment.depth <= depth]
        if known and self._chance(0.5):
            fragment = self._random.choice(known)
        else:
            on = self._random.choice(conditions)
            outer, self._uses = self._uses, set()
            text = self._selection(self._composite(on), depth)
            # Named when it is complete, so that fragments in it are older: no circle.
            fragment = _Fragment(f"F{len(self._fragments)}", on, "", depth, self._uses)
            fragment.text = f"fragment {fragment.name} on {on} {text}"
            self._fragments.append(fragment)
            self._uses = outer
        self._uses |= fragment.uses
        return f"...{fragment.name}{self._directives()}"

    def _field(self, kind: GraphQLCompositeType, depth: int) -> str:
        fields: dict[str, GraphQLField] = {} if isinstance(kind, GraphQLUnionType) else dict(kind.fields)
        leaves = [name for name, one in fields.items() if is_leaf_type(get_named_type(one.type))]
        nested = [name for name in fields if name not in leaves] if depth > 0 and self._left > 0 else []
        if not leaves + nested or self._chance(0.08):
            return f"{self._alias(kind, '__typename', '')}__typename{self._directives()}"
        name = self._random.choice(nested if nested and (not leaves or self._chance(0.5)) else leaves or nested)
        definition = fields[name]
        alias, given = self._arguments_of(kind, name, definition)
        inner = get_named_type(definition.type)
        selection = "" if is_leaf_type(inner) else f" {self._selection(self._composite(inner.name), depth - 1)}"
        return f"{alias}{name}{given}{self._directives()}{selection}"

    def _alias(self, kind: GraphQLCompositeType, name: str, given: str) -> str:
        """Return the alias, if any, under which a field with these arguments may stand anywhere in the document."""
        group = self._group(kind)
        candidates = [name] if self._chance(0.7) else []
        candidates += [self._random.choice(["a", "b", "c", "d", "title", "name"]), f"x{len(self._responses)}"]
        for response in candidates:
            bound = self._responses.setdefault((group, response), (name, given, set(self._uses)))
            if bound[:2] == (name, given):
                return "" if response == name else f"{response}: "
        raise AssertionError("the last candidate is new")

    def _group(self, kind: GraphQLCompositeType) -> str:
        """Return a name for the types whose fields may be asked of one object: a type by itself, or all that interfaces and unions join."""
        return kind.name if isinstance(kind, GraphQLObjectType) and self._conditions_on(kind) == [kind.name] else ""

    def _arguments_of(self, kind: GraphQLCompositeType, name: str, definition: GraphQLField) -> tuple[str, str]:
        bound = self._responses.get((self._group(kind), name))
        if bound is not None and bound[0] == name and self._chance(0.7):
            self._uses |= bound[2]
            return "", bound[1]
        outer, self._uses = self._uses, set()
        given = []
        for argument, declared in definition.args.items():
            if is_required_argument(declared) or self._chance(0.6):
                given.append(f"{argument}: {self._value(name, argument, declared)}")
        text = f"({', '.join(given)})" if given else ""
        alias = self._alias(kind, name, text)
        self._uses |= outer
        return alias, text

    def _value(self, name: str, argument: str, declared: GraphQLArgument) -> str:
        usual, unusual = self._plan.pool(name, argument, declared)
        values = list(unusual if unusual and self._chance(0.08) else usual)
        if self._chance(0.5):
            return literal(self._random.choice(values), declared.type)
        variable = f"v{len(self._variables)}"
        default = literal(self._random.choice(values), declared.type) if self._chance(0.4) else None
        may_be_left_out = default is not None or not isinstance(declared.type, GraphQLNonNull)
        self._variables[variable] = _Variable(str(declared.type), default, values, may_be_left_out)
        self._uses.add(variable)
        return f"${variable}"
