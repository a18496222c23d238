"""Which numbers of `UsageMetrics` a document selects, so that only those are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLObjectType, GraphQLResolveInfo, SelectionSetNode, get_argument_values
from graphql.execution.values import VariableValues
from strawberry.utils.str_converters import to_camel_case

from app.cube.usage_metrics import COST, METRICS_BY_NAME, PRICED, REQUESTS, UNPRICED, USAGE_METRICS, UsageMetric
from app.execution.selection import selected_fields, selected_names, selections_of
from app.resolvers.usage_numbers import CHANGE_FIELD, COST_FIELD, DISTRIBUTIONS, SHARE_FIELD

_BY_FIELD: Final = {
    group: {to_camel_case(metric.field): metric for metric in USAGE_METRICS if metric.group == group} for group in (None, *DISTRIBUTIONS)
}
_DISTRIBUTION_FIELDS: Final = {group: to_camel_case(group) for group in DISTRIBUTIONS}

Selections = Sequence[SelectionSetNode | None]


@dataclass(frozen=True, slots=True)
class SelectedMetrics:
    """The metrics that objects need, once each; of these, those that are shown as a share or a change."""

    metrics: tuple[UsageMetric, ...] = ()
    shares: tuple[UsageMetric, ...] = ()
    changes: tuple[UsageMetric, ...] = ()


def joined(*selected: SelectedMetrics) -> SelectedMetrics:
    """Return what several objects need together."""
    return SelectedMetrics(
        tuple(dict.fromkeys(metric for one in selected for metric in one.metrics)),
        tuple(dict.fromkeys(metric for one in selected for metric in one.shares)),
        tuple(dict.fromkeys(metric for one in selected for metric in one.changes)),
    )


def read_metrics(info: GraphQLResolveInfo[Any], selections: Selections) -> SelectedMetrics:
    """Return what `UsageMetrics` objects need for what is selected under them."""
    if not selections:
        return SelectedMetrics()
    fragments = info.fragments
    names = selected_names(selections, fragments)
    found = [metric for field, metric in _BY_FIELD[None].items() if field in names]
    if COST_FIELD in names:
        found += [COST, PRICED, UNPRICED, REQUESTS]
    for group, field in _DISTRIBUTION_FIELDS.items():
        if field in names:
            below = selected_names(selections_of(selections, fragments, field), fragments)
            found += [metric for field, metric in _BY_FIELD[group].items() if field in below]
    shares, changes = (_arguments(info, selections, field) if field in names else () for field in (SHARE_FIELD, CHANGE_FIELD))
    return SelectedMetrics(tuple(dict.fromkeys([*found, *shares, *changes])), shares, changes)


def _arguments(info: GraphQLResolveInfo[Any], selections: Selections, field: str) -> tuple[UsageMetric, ...]:
    """Return the metrics that a field of `UsageMetrics` is asked of; a document may ask it many times."""
    type_ = info.schema.type_map["UsageMetrics"]
    assert isinstance(type_, GraphQLObjectType)
    nodes = [node for node in selected_fields(selections, info.fragments) if node.name.value == field]
    values: Any = info.variable_values  # strawberry hands over the coerced values alone
    variables = VariableValues(sources={}, coerced=values)
    given = [get_argument_values(type_.fields[field], node, variables)["of"] for node in nodes]
    return tuple(dict.fromkeys(METRICS_BY_NAME[name.value] for name in given))
