"""Who may ask what: the one step from a question to a bound one, which alone can be run. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from app.cube.dimensions import Privacy
from app.cube.usage_metrics import UsageMetric
from app.domain.errors import BadInputError, ForbiddenError
from app.domain.principal import Principal, Role
from app.query.filters import Bounded, Named, parts_of
from app.query.question import Grouping, Question

_PRIVATE_NUMBERS = frozenset({"cost"})


@dataclass(frozen=True, slots=True)
class Reader:
    """What a caller may see. `tenant_key` None: all tenants; `sees_private`: who asked, and what it cost.

    `is_public`: what anybody may see: sums of everything, and of public models by what the catalog names.
    """

    tenant_key: int | None
    sees_private: bool
    is_public: bool = False


PUBLIC_READER: Final = Reader(None, sees_private=False, is_public=True)


def reader_of(principal: Principal) -> Reader:
    """Return what a key may read by questions of its own. ForbiddenError: nothing."""
    match principal.role:
        case Role.ADMIN:
            return Reader(principal.tenant_key, sees_private=True)
        case Role.TENANT if principal.tenant_key is not None:
            return Reader(principal.tenant_key, sees_private=True)
        case Role.GATEWAY:
            return Reader(principal.tenant_key, sees_private=False)
        case _:
            raise ForbiddenError("a key of role admin, gateway or tenant is required")


@final
@dataclass(frozen=True, slots=True)
class Bound:
    """A question that its caller may ask, restricted to what it may see. Made by `bind` only.

    `shows_tenants`: it may name them; `only_public`: it is about requests to public models only.
    """

    question: Question
    grouping: Grouping | None
    tenant_key: int | None
    shows_tenants: bool = True
    only_public: bool = False


def bind(question: Question, grouping: Grouping | None, reader: Reader) -> Bound:
    """Return the question within its reader's scope.

    ForbiddenError names what the reader may not use; BadInputError, what has no share or change.
    """
    _refuse_undefined(question)
    if not reader.sees_private:
        metrics: tuple[UsageMetric, ...] = (*question.metrics, *(grouping.read_metrics() if grouping is not None else ()))
        private = [metric.name for metric in metrics if metric.is_private]
        dimensions = [part.dimension for part in parts_of(question.where) if isinstance(part, Named)]
        if grouping is not None:
            dimensions += [*grouping.by, *(order.dimension for order in grouping.order if order.dimension is not None)]
        private += [dimension.name for dimension in dimensions if dimension.is_private]
        private += [part.number for part in parts_of(question.where) if isinstance(part, Bounded) and part.number in _PRIVATE_NUMBERS]
        if private:
            raise ForbiddenError(f"a gateway key may not use {', '.join(sorted(set(private)))}")
    # By provider too: its sums would tell what private models are used for.
    only_public = reader.is_public and _names_something(question, grouping)
    return Bound(question, grouping, reader.tenant_key, reader.sees_private, only_public)


def _names_something(question: Question, grouping: Grouping | None) -> bool:
    """Tell whether a public question names anything; ForbiddenError: something that is not the catalog's."""
    parts = list(parts_of(question.where))
    dimensions = [part.dimension for part in parts if isinstance(part, Named)] + list(() if grouping is None else grouping.by)
    hidden = [dimension.name for dimension in dimensions if dimension.stored is None or dimension.stored.privacy is not Privacy.PUBLIC]
    hidden += [part.number for part in parts if isinstance(part, Bounded)]
    if hidden:
        raise ForbiddenError(f"a public answer may not tell {', '.join(sorted(set(hidden)))}")
    return bool(dimensions)


def _refuse_undefined(question: Question) -> None:
    for name, metrics, what in (
        ("share", [metric for metric in question.shares if not metric.is_additive], "does not add up to a total"),
        ("change", [metric for metric in question.changes if not metric.is_comparable], "is an instant, not a number"),
    ):
        if metrics:
            raise BadInputError(f"{name}(of: {metrics[0].name.upper()}) is not defined: this metric {what}", "of")
