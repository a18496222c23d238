"""What an operator may set, read once from the environment. Only `cli` and `web` import this; the rest are given values."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.domain.errors import BadInputError


def default_data_dir() -> Path:
    """Return the user's data folder for this program."""
    from platformdirs import user_data_path

    return user_data_path("tokengraph", appauthor=False)


class Settings(BaseSettings):
    """The settings of one process. Each is the environment variable `TOKENGRAPH_` plus its name."""

    model_config = SettingsConfigDict(env_prefix="TOKENGRAPH_", frozen=True, extra="ignore")

    database_url: str | None = Field(None, description="PostgreSQL 15 or newer, postgresql://...; unset: the embedded server.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Where the embedded server keeps its data.")
    redis_url: str | None = Field(None, description="Shared store of rate limits, redis://...; needed for more than one worker.")
    gateway_api_key: str | None = Field(
        None, validation_alias=AliasChoices("GATEWAY_API_KEY", "gateway_api_key"), description="Secret that reads gateway statistics."
    )
    snapshot_seconds: int = Field(600, ge=1, description="Age at which the network snapshot is computed anew.")
    ingest_body_limit: int = Field(64 * 2**20, ge=1024, description="Bytes of an ingest body, before and after decompression.")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve.")

    @property
    def snapshot_every(self) -> timedelta:
        """The age at which the snapshot is computed anew."""
        return timedelta(seconds=self.snapshot_seconds)


def load(**given: object) -> Settings:
    """Read the environment; `given` wins. BadInputError: a variable that cannot be right, by its name."""
    empty = [name for name in os.environ if name.startswith("TOKENGRAPH_") and not os.environ[name]]
    try:
        settings = Settings(**{name.removeprefix("TOKENGRAPH_").lower(): None for name in empty if name.endswith("_URL")} | given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).removeprefix("TOKENGRAPH_").upper()
        raise BadInputError(f"{name if name == 'GATEWAY_API_KEY' else 'TOKENGRAPH_' + name}: {first['msg']}") from None
    if settings.workers > 1 and settings.redis_url is None:
        raise BadInputError("more than one worker needs TOKENGRAPH_REDIS_URL: rate limits in memory would count each worker by itself")
    if settings.database_url is not None and not settings.database_url.startswith(("postgresql://", "postgres://")):
        raise BadInputError("TOKENGRAPH_DATABASE_URL must begin with postgresql://")
    return settings
