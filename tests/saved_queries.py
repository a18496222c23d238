"""The saved queries of `docs/queries`, with who may ask them, as their comments say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from graphql import FieldNode, OperationDefinitionNode, OperationType, parse

from app.domain.principal import Role

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "queries"

CALLERS = {
    "anybody": None,
    "any valid key": Role.TENANT,
    "a key of a tenant": Role.TENANT,
    "a key of role gateway": Role.GATEWAY,
    "a key of role admin": Role.ADMIN,
    "a key of role ingest": Role.INGEST,
}
"""What a file calls its caller, and the role of the key that tests give it."""

NAMES_NOTHING = frozenset({"EraseUser", "RevokeApiKey"})
"""Operations whose defaults are nobody's id, since they cannot be undone: unchanged they answer NOT_FOUND."""


@dataclass(frozen=True)
class SavedQuery:
    """A file of the folder."""

    file: str
    text: str

    @property
    def operation(self) -> OperationDefinitionNode:
        """Its one operation."""
        (operation,) = (node for node in parse(self.text).definitions if isinstance(node, OperationDefinitionNode))
        return operation

    @property
    def name(self) -> str:
        """The operation's name."""
        assert self.operation.name is not None
        return self.operation.name.value

    @property
    def writes(self) -> bool:
        """Whether it is a mutation."""
        return self.operation.operation is OperationType.MUTATION

    @property
    def roots(self) -> set[str]:
        """The fields that it asks of the root."""
        return {field.name.value for field in self.operation.selection_set.selections if isinstance(field, FieldNode)}

    @property
    def about(self) -> str:
        """What its comment says that it answers."""
        return self.text.partition("\n")[0].removeprefix("# ")

    @property
    def caller(self) -> str:
        """Whom its comment names."""
        found = re.search(r"^# Caller: (.+)$", self.text, re.MULTILINE)
        assert found is not None, self.file
        return found[1]


def saved_queries() -> list[SavedQuery]:
    """Return all of them, by file name."""
    return [SavedQuery(path.name, path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.graphql"))]
