"""Who sends requests and which models they ask: 400 models and 50,000 users, both by Zipf, in 5,000 tenants. Pure and deterministic."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

MODELS = 400
PROVIDERS = 40
TENANTS = 5_000
USERS = 50_000
PROJECTS_OF_TENANT = 4
KEYS_OF_TENANT = 8


class Model(NamedTuple):
    """A catalog entry; its prices are USD per token."""

    model_id: str
    permaslug: str
    provider: str
    cost_per_input_token: Decimal
    cost_per_output_token: Decimal
    is_public: bool


class Caller(NamedTuple):
    """A user, with the tenant, project and key that its requests carry."""

    tenant_id: str
    project_id: str
    api_key_id: str
    user_id: str


def zipf_rank(uniform: float, size: int) -> int:
    """Return a rank in 0..size-1 for a number in [0, 1): rank r comes about as often as 1 / (r + 1)."""
    return int((size + 1) ** uniform) - 1


@lru_cache(maxsize=1)
def list_models() -> tuple[Model, ...]:
    """Return the models, the most used first; every second one is public."""
    models = []
    for rank in range(MODELS):
        provider = f"lab-{rank % PROVIDERS:02d}"
        model_id = f"{provider}/model-{rank:03d}"
        price = Decimal(5 + rank * 37 % 300) / 10**8
        models.append(Model(model_id, f"{model_id}-2025{1 + rank % 12:02d}{1 + rank % 28:02d}", provider, price, 4 * price, rank % 2 == 0))
    return tuple(models)


def catalog_entries() -> list[dict[str, Any]]:
    """Return the models in the format of a catalog file."""
    return [
        {
            "model_id": model.model_id,
            "permaslug": model.permaslug,
            "name": model.model_id.upper(),
            "provider": model.provider,
            "cost_per_input_token": str(model.cost_per_input_token),
            "cost_per_output_token": str(model.cost_per_output_token),
            "public": model.is_public,
        }
        for model in list_models()
    ]


@lru_cache(maxsize=1)
def list_callers() -> tuple[Caller, ...]:
    """Return the callers, the most active first. Every tenant has one at least; the others go to tenants by Zipf."""
    rng = Random("callers")
    callers = []
    for user in range(USERS):
        tenant = user if user < TENANTS else zipf_rank(rng.random(), TENANTS)
        callers.append(
            Caller(
                f"tenant-{tenant:04d}",
                f"project-{tenant:04d}-{rng.randrange(PROJECTS_OF_TENANT)}",
                f"key-{tenant:04d}-{rng.randrange(KEYS_OF_TENANT)}",
                f"6f1c2a90-5b7e-4d3a-9c1d-{user:012d}",
            )
        )
    return tuple(callers)
