"""Settings, read once from environment variables. Only `cli` and `web` import this module; other packages are given values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.domain.errors import BadInputError

_PREFIX: Final = "TOKENGRAPH_"
_SERVICE_LINK: Final = re.compile(r"TOKENGRAPH_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_\w+)")
_SERVICE_URL: Final = re.compile(r"(?:tcp|udp|sctp)://")

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[1-9][0-9]{0,4})?")
_DEFAULT_PORT = re.compile(r"^http:.*:80$|^https:.*:443$")
"""The default port of a scheme, which browsers omit."""


def default_data_dir() -> Path:
    """Return the user's data folder for this program."""
    from platformdirs import user_data_path

    return user_data_path("tokengraph", appauthor=False)


class Settings(BaseSettings):
    """The settings of one process. Each is the environment variable `TOKENGRAPH_` plus its name."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    database_url: str | None = Field(None, description="PostgreSQL 15 or newer, postgresql://...; unset: the embedded server.")
    database_connections: int = Field(10, ge=4, le=1000, description="Maximum of database connections of a worker.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Data folder of the embedded server.")
    redis_url: str | None = Field(None, description="Shared store of rate limits, redis://...; required for more than one worker.")
    gateway_api_key: str | None = Field(
        None, validation_alias=AliasChoices("GATEWAY_API_KEY", "gateway_api_key"), description="Secret that reads gateway statistics."
    )
    snapshot_seconds: int = Field(600, ge=1, description="Seconds between network snapshots.")
    record_retention_days: int | None = Field(
        None, ge=31, le=36_500, description="Days that single records are retained at least, then dropped by whole months; unset: no limit."
    )
    ingest_body_limit: int = Field(64 * 2**20, ge=1024, description="Maximum bytes of an ingest body, before and after decompression.")
    ingest_memory: int = Field(128 * 2**20, ge=1024, description="Maximum bytes of all ingest bodies in progress; more gets 429.")
    cache_memory: int = Field(64 * 2**20, ge=0, description="Bytes of the answer cache of a worker; 0: no cache.")
    answer_age: float = Field(
        1.0, ge=0, le=60, allow_inf_nan=False, description="Seconds that a cached answer may be behind commits of other processes; 0: none."
    )
    compiled_execution: bool = Field(True, description="Whether generated code completes GraphQL answers; false: to compare.")
    key_rate_limit: str = Field("6000/minute", description="Requests of one key, such as 6000/minute; off: no limit.")
    address_rate_limit: str = Field("600/minute", description="Requests without a key, per address; off: no limit.")
    failed_auth_rate_limit: str = Field("30/minute", description="Requests with an invalid key, per address; off: no limit.")
    key_cost_limit: str = Field("100000/minute", description="Points of one key, or of one address without a key; off: no limit.")
    trusted_proxies: str = Field(
        "", description="Addresses and networks of proxies that may set X-Forwarded-For; *: every peer; empty: none."
    )
    documents: Path | None = Field(
        None, description="Folder of trusted documents' manifests, or one manifest; unset: the folder documents/ in the data folder."
    )
    trusted_documents_only: bool = Field(False, description="Whether GraphQL runs only trusted documents; REST is not affected.")
    automatic_persisted_queries: bool = Field(True, description="Whether clients may register a query by its hash, in a worker's memory.")
    graphiql: bool = Field(True, description="Whether /graphql serves GraphiQL to browsers.")
    cors_origins: str = Field("", description="Origins that may call GraphQL and keyed URLs from a browser, or *; empty: none.")
    metrics_token: str | None = Field(None, min_length=16, description="Bearer token of /metrics; unset: none.")
    connections: int = Field(1000, ge=16, le=100_000, description="Maximum of open HTTP connections of a worker.")
    address_connections: int = Field(200, ge=1, le=100_000, description="Maximum of one address; trusted proxies are exempt.")
    workers: int = Field(1, ge=1, le=64, description="Server processes.")

    @field_validator("key_rate_limit", "address_rate_limit", "failed_auth_rate_limit", "key_cost_limit")
    @classmethod
    def _check_limit(cls, text: str) -> str:
        from app.auth.quota import parse_limit  # here: only a process that serves, or an operator who set one, needs it

        try:
            parse_limit("", text)
        except ValueError as error:
            raise PydanticCustomError("rate_limit", "{reason}", {"reason": str(error)}) from None
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, text: str) -> str:
        try:
            for entry in text.split(",") if text.strip() not in ("", "*") else ():
                ip_network(entry.strip())
        except ValueError as error:
            raise PydanticCustomError("proxies", "{reason}", {"reason": str(error)}) from None
        return text.strip()

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, text: str) -> str:
        for origin in text.split(",") if text.strip() not in ("", "*") else ():
            if not _ORIGIN.fullmatch(origin.strip()) or _DEFAULT_PORT.search(origin.strip()):
                reason = "must be * or origins as browsers send them, like https://app.example or http://localhost:3000"
                raise PydanticCustomError("origins", "{reason}, not {origin}", {"reason": reason, "origin": repr(origin.strip())})
        return text.strip()

    @property
    def cors_origin_list(self) -> tuple[str, ...]:
        """The origins that may call GraphQL and keyed URLs; `*` alone: all."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",")) if self.cors_origins else ()

    @property
    def snapshot_every(self) -> timedelta:
        """The time between network snapshots."""
        return timedelta(seconds=self.snapshot_seconds)

    @property
    def record_retention(self) -> timedelta | None:
        """The minimum retention of records; None: no limit."""
        return None if self.record_retention_days is None else timedelta(days=self.record_retention_days)


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """BadInputError if a variable begins like ours and is no setting: a misspelt one would be as if it were not set.

    Kubernetes' variables of a service that is named tokengraph are passed over.
    """
    known = {field.upper(): f"{_PREFIX}{field.upper()}" for field in Settings.model_fields} | {"GATEWAY_API_KEY": "GATEWAY_API_KEY"}
    for name, value in environment.items():
        written = name.upper()
        if not written.startswith(_PREFIX) or written in known.values() or _SERVICE_LINK.fullmatch(written) or _SERVICE_URL.match(value):
            continue
        nearest = get_close_matches(written.removeprefix(_PREFIX), known, n=1)
        hint = f"did you mean {known[nearest[0]]}?" if nearest else f"the settings are {', '.join(sorted(known.values()))}"
        raise BadInputError(f"{name} is no setting: {hint}")


def load(**given: object) -> Settings:
    """Read the environment; `given` wins. BadInputError: a variable that is unknown or cannot be right, by its name."""
    refuse_unknown(os.environ)
    empty = [name for name in os.environ if name.startswith(_PREFIX) and not os.environ[name]]
    try:
        unset = {name.removeprefix(_PREFIX).lower(): None for name in empty if name.endswith(("_URL", "_DAYS", "_DOCUMENTS", "_TOKEN"))}
        settings = Settings(**unset | given)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).removeprefix(_PREFIX).upper()
        raise BadInputError(f"{name if name == 'GATEWAY_API_KEY' else _PREFIX + name}: {first['msg']}") from None
    if settings.workers > 1 and settings.redis_url is None:
        raise BadInputError("more than one worker needs TOKENGRAPH_REDIS_URL: rate limits in memory would count each worker by itself")
    if settings.redis_url is not None and not settings.redis_url.startswith(("redis://", "rediss://", "redis+unix://")):
        raise BadInputError("TOKENGRAPH_REDIS_URL must begin with redis://, rediss:// or redis+unix://")
    if settings.database_url is not None and not settings.database_url.startswith(("postgresql://", "postgres://")):
        raise BadInputError("TOKENGRAPH_DATABASE_URL must begin with postgresql://")
    return settings
