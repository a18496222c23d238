"""All documented URLs together."""

from __future__ import annotations

from fastapi import APIRouter

from app.request.context import Services
from app.rest.customer import build_customer_router
from app.rest.execute import StoredDocuments
from app.rest.operators import build_operator_router
from app.rest.public import build_public_router


def build_rest_routers(services: Services, documents: StoredDocuments) -> list[APIRouter]:
    """Return the routes of the five documents."""
    return [build(services, documents) for build in (build_public_router, build_operator_router, build_customer_router)]
