"""Pages of lists in both directions: the same objects in the same order, and page info that is true whichever way a list is walked."""

from __future__ import annotations

import base64
from typing import Any

from app.domain.usage import ParsedBatch, Quarantined, Reason
from app.write.batch import Ingestor
from tests.clock import NOW
from tests.factories import make_record
from tests.gateway import Gateway
from tests.recorder import recorded

PAGE = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
LISTS = ["models", "providers", "tenants", "projects", "users", "apiKeys", "quarantinedRecords"]


async def fill(gateway: Gateway) -> dict[str, str]:
    """Five objects for each list; return an admin's headers."""
    names = [f"n{number}" for number in range(5)]
    await gateway.store(
        [
            make_record(request_id=name, tenant_id=name, project_id=f"p{name}", user_id=f"u{name}", model_id=f"lab-{name}/m", provider=name)
            for name in names
        ]
    )
    await gateway.store([make_record(request_id=f"of acme {name}", tenant_id="n0", project_id=f"q{name}") for name in names])
    odd = [Quarantined(place, "otlp", NOW, None, {"request_id": name}, (Reason(None, "odd"),)) for place, name in enumerate(names)]
    await Ingestor(gateway.database).ingest(ParsedBatch(received=5, quarantined=odd))
    for _ in names:
        await gateway.key("ingest")
    return await gateway.key("admin")


async def ask(gateway: Gateway, headers: dict[str, str], name: str, arguments: str) -> dict[str, Any]:
    answer = await gateway.graphql(f"{{ {name}{arguments} {{ nodes {{ id }} {PAGE} }} }}", headers)
    assert "errors" not in answer, answer
    page: dict[str, Any] = answer["data"][name]
    return page


async def walk(gateway: Gateway, headers: dict[str, str], name: str, *, backward: bool) -> list[str]:
    found: list[str] = []
    count, side, cursor, more = ("last", "before", "startCursor", "hasPreviousPage")
    other = "hasNextPage"
    if not backward:
        count, side, cursor, more, other = "first", "after", "endCursor", "hasNextPage", "hasPreviousPage"
    position = None
    while True:
        place = "" if position is None else f', {side}: "{position}"'
        page = await ask(gateway, headers, name, f"({count}: 2{place})")
        info, ids = page["pageInfo"], [node["id"] for node in page["nodes"]]
        assert info[other] == (position is not None)
        found = ids + found if backward else found + ids
        position = info[cursor]
        if not info[more]:
            return found


async def test_a_list_is_the_same_backwards(gateway: Gateway) -> None:
    headers = await fill(gateway)
    for name in LISTS:
        forward = await walk(gateway, headers, name, backward=False)
        assert len(forward) >= 5
        assert await walk(gateway, headers, name, backward=True) == forward, name


async def test_both_ends_of_a_stretch_are_kept_to(gateway: Gateway) -> None:
    headers = await fill(gateway)
    for name in LISTS:
        answer = await gateway.graphql(f"{{ {name} {{ edges {{ cursor node {{ id }} }} }} }}", headers)
        edges = answer["data"][name]["edges"]
        inner = [edge["node"] for edge in edges[1:4]]
        ends = f'after: "{edges[0]["cursor"]}", before: "{edges[4]["cursor"]}"'
        for arguments, nodes, has_next, has_previous in (
            (f"({ends})", inner, False, True),
            (f"(first: 2, {ends})", inner[:2], True, True),
            (f"(last: 2, {ends})", inner[1:], True, True),
            (f"(last: 3, {ends})", inner, True, False),
        ):
            page = await ask(gateway, headers, name, arguments)
            info = page["pageInfo"]
            assert (page["nodes"], info["hasNextPage"], info["hasPreviousPage"]) == (nodes, has_next, has_previous), (name, arguments)


async def test_children_are_paged_backwards_too_each_parent_by_itself(gateway: Gateway) -> None:
    headers = await fill(gateway)
    document = f"{{ tenants {{ nodes {{ projects(last: 2) {{ nodes {{ projectId }} {PAGE} }} }} }} }}"
    with recorded() as statements:
        first, *others = [node["projects"] for node in (await gateway.graphql(document, headers))["data"]["tenants"]["nodes"]]
    assert [node["projectId"] for node in first["nodes"]] == ["qn3", "qn4"]
    assert (first["pageInfo"]["hasPreviousPage"], first["pageInfo"]["hasNextPage"]) == (True, False)
    assert [[node["projectId"] for node in one["nodes"]] for one in others] == [[f"pn{number}"] for number in range(1, 5)]
    assert statements.names().count("tenant_projects") == 1


async def test_nothing_before_a_cursor_is_no_previous_page_and_is_looked_for_only_where_it_is_asked(gateway: Gateway) -> None:
    headers = await fill(gateway)
    gone = base64.urlsafe_b64encode(b'["tenants","a"]').decode().rstrip("=")
    page = await ask(gateway, headers, "tenants", f'(first: 2, after: "{gone}")')
    assert page["pageInfo"]["hasPreviousPage"] is False
    with recorded() as statements:
        await gateway.graphql(f'{{ tenants(after: "{gone}") {{ nodes {{ id }} pageInfo {{ hasNextPage }} }} }}', headers)
    assert statements.names().count("tenants") == 1


async def test_arguments_that_do_not_go_together_are_refused_by_name(gateway: Gateway) -> None:
    headers = await gateway.key("admin")
    for name in LISTS:
        for arguments, argument, message in (
            ("(first: 1, last: 1)", "last", "give first or last, not both"),
            ("(last: 0)", "last", "last must be from 1 to 100"),
            ("(last: 101)", "last", "last must be from 1 to 100"),
            ("(first: 0)", "first", "first must be from 1 to 100"),
            ('(before: "x")', "before", "the cursor is not one that this list gave"),
            ('(after: "x")', "after", "the cursor is not one that this list gave"),
        ):
            answer = await gateway.graphql(f"{{ {name}{arguments} {{ nodes {{ id }} }} }}", headers)
            (error,) = answer["errors"]
            assert (error["message"], error["extensions"]["argument"]) == (message, argument), name
