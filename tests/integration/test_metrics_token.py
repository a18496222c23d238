"""`/metrics` for whoever may scrape, and for nobody else."""

from __future__ import annotations

import httpx
import pytest

from app.domain.errors import BadInputError
from app.settings import Settings, load
from app.web.app import Wiring, create_app

TOKEN = "a token of the scraper"


async def test_metrics_ask_for_the_token_that_is_set(database_url: str) -> None:
    app = create_app(Settings(database_url=database_url, metrics_token=TOKEN, gateway_api_key="gateway-secret"), Wiring(jobs=False))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        for method in ("GET", "HEAD"):
            for headers in (
                {},
                {"Authorization": "Bearer"},
                {"Authorization": "Bearer gateway-secret"},
                {"Authorization": f"Bearer {TOKEN}x"},
                {"Authorization": f"Basic {TOKEN}"},
                {"Authorization": TOKEN},
                {"X-API-Key": TOKEN},
                {"Authorization": b"Bearer \xff\x00"},
            ):
                refused = await client.request(method, "/metrics", headers=headers)  # type: ignore[arg-type]
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
                assert "tokengraph_" not in refused.text
                assert "no-store" in refused.headers["cache-control"]
            scraped = await client.request(method, "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            assert (scraped.status_code, scraped.headers["cache-control"]) == (200, "private, no-store")
        assert "tokengraph_http_requests_total" in (await client.get("/metrics", headers={"Authorization": f"bearer {TOKEN}"})).text
        assert (await client.get("/healthz")).status_code == 200


def test_a_token_that_can_be_guessed_is_refused_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENGRAPH_METRICS_TOKEN", "short")
    with pytest.raises(BadInputError, match="TOKENGRAPH_METRICS_TOKEN"):
        load()
    monkeypatch.setenv("TOKENGRAPH_METRICS_TOKEN", "")
    assert load().metrics_token is None
