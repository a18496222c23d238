"""Makes the demo catalog and the demo usage records, the same ones for the same arguments.

The population (tenants, projects, keys, users) follows from the seed alone; the traffic also from `end` and `count`. A record
costs a few microseconds: what repeats is a table made once, and the dice of a whole day are drawn as one run of bytes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from itertools import accumulate
from math import ceil, exp
from random import Random
from statistics import NormalDist
from struct import Struct
from typing import Any, NamedTuple
from uuid import UUID

from app.domain.usage import UNKNOWN, UsageRecord

DEMO_TENANT = "acme-labs"
"""The busiest tenant, whatever the seed: the one that a demo key should belong to."""

CREDITS_PER_USD = 10_000
CREDITS_PER_SEARCH = 40
_BYOK_FEE = 0.05
_NEGOTIATED = Decimal("0.9")
_MICROSECOND = timedelta(microseconds=1)


class _Shape(NamedTuple):
    """Medians of a request; `cached` and `reasoning` are how many in 256 requests have any."""

    prompt: int
    completion: int
    cached: int
    reasoning: int
    ttft_ms: int
    ms_per_token: int


_SHAPES = {
    "agent": _Shape(7000, 450, 170, 0, 900, 14),
    "code": _Shape(4800, 620, 110, 0, 650, 9),
    "chat": _Shape(1800, 380, 60, 0, 520, 11),
    "fast": _Shape(1300, 220, 50, 0, 280, 5),
    "open": _Shape(1500, 340, 0, 0, 450, 15),
    "free": _Shape(1100, 300, 0, 0, 1100, 22),
    "think": _Shape(2300, 1500, 60, 235, 1900, 12),
}

# `permaslug=shape`, the most used first: Zipf's law goes by the place.
_POPULARITY = """
anthropic/claude-4-sonnet-20250522=agent google/gemini-2.5-flash=fast openai/gpt-5-2025-08-07=think x-ai/grok-code-fast-1=code
openai/gpt-4o-mini-2024-07-18=fast google/gemini-2.5-pro=think anthropic/claude-4.5-sonnet-20250929=agent
deepseek/deepseek-chat-v3-0324=open openai/gpt-4.1-mini-2025-04-14=fast anthropic/claude-3-7-sonnet-20250219=agent
qwen/qwen3-coder-480b-a35b-07-25=code openai/gpt-4o-2024-11-20=chat google/gemini-2.5-flash-lite=fast
google/gemini-2.0-flash-001=fast openai/gpt-5-mini-2025-08-07=think deepseek/deepseek-chat-v3.1=open
deepseek/deepseek-r1-0528=think openai/gpt-4.1-2025-04-14=chat z-ai/glm-4.5=code moonshotai/kimi-k2-0905=code
openai/gpt-oss-120b=open meta-llama/llama-3.3-70b-instruct=open deepseek/deepseek-chat-v3-0324:free=free
anthropic/claude-4.1-opus-20250805=agent x-ai/grok-4-07-09=think qwen/qwen3-235b-a22b-07-25=open
anthropic/claude-3-5-haiku-20241022=fast mistralai/mistral-small-3.2-24b-instruct-2506=fast openai/o4-mini-2025-04-16=think
openai/gpt-4o-2024-08-06=chat meta-llama/llama-4-maverick-17b-128e-instruct=open
anthropic/claude-3-7-sonnet-20250219:thinking=think deepseek/deepseek-r1-0528:free=free meta-llama/llama-3.1-8b-instruct=open
openai/gpt-4.1-mini-ft-helpdesk=chat z-ai/glm-4.5-air=open self-hosted/contract-reader-24b=agent
anthropic/claude-3.5-sonnet-20241022=chat google/gemma-3-27b-it=open qwen/qwen3-coder-480b-a35b-07-25:free=free
x-ai/grok-3-mini=think moonshotai/kimi-k2=open deepseek/deepseek-r1=think mistralai/mistral-large-2411=chat
perplexity/sonar=chat meta-llama/llama-3.3-70b-instruct:free=free openai/gpt-oss-120b:free=free z-ai/glm-4.5-air:free=free
self-hosted/code-review-32b-v3=code meta-llama/llama-4-scout-17b-16e-instruct=open google/gemini-2.5-pro-preview-05-06=think
mistralai/codestral-2508=code google/gemini-2.0-flash-001:free=free qwen/qwen3-32b-04-28=open deepseek/deepseek-chat-v3=open
nousresearch/hermes-4-405b=open cohere/command-r-plus-08-2024=chat openai/gpt-4o-2024-05-13=chat
self-hosted/claims-extractor-8b=fast moonshotai/kimi-k2:free=free meta-llama/llama-4-maverick-17b-128e-instruct:free=free
self-hosted/triage-3b-canary=fast google/gemma-3-27b-it:free=free mistralai/mistral-small-3.2-24b-instruct-2506:free=free
qwen/qwen3-30b-a3b-preview=open mistralai/mistral-large-2407=chat anthropic/claude-3.5-sonnet-20240620=chat
"""

_LAUNCHED = "anthropic/claude-4.5-sonnet-20250929"
_FADING = "anthropic/claude-3-7-sonnet-20250219"

UNCATALOGUED = "self-hosted/triage-3b-canary"
"""In the records and not in the catalog: a model that ingest must register by itself, privately."""

# The tenant (by its place) that alone uses a private model.
_OWNERS = {
    "openai/gpt-4.1-mini-ft-helpdesk": 0,
    "self-hosted/contract-reader-24b": 1,
    "self-hosted/code-review-32b-v3": 2,
    "self-hosted/claims-extractor-8b": 4,
    UNCATALOGUED: 2,
}

# Open weights that two other hosts serve beside the catalog's provider.
_HOSTS = {
    "deepseek/deepseek-r1-0528": ("fireworks", "together"),
    "deepseek/deepseek-chat-v3-0324": ("fireworks", "deepinfra"),
    "meta-llama/llama-3.3-70b-instruct": ("groq", "together"),
    "qwen/qwen3-coder-480b-a35b-07-25": ("together", "deepinfra"),
    "openai/gpt-oss-120b": ("groq", "fireworks"),
}


class _Tokens(NamedTuple):
    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0


TIED = (("google/gemma-3-4b-it", "mistralai/ministral-3b"), ("cohere/command-r7b-12-2024", "meta-llama/llama-guard-4-12b"))
"""Pairs of models that tie exactly on every day: as many requests for the one as for the other, each of the same tokens."""
# For each pair: the tokens of a request, and how many in 1000 of the day's requests each of the two gets.
_TIES = ((_Tokens(3840, 256), 8), (_Tokens(1920, 128), 7))

_HOURS = (34, 28, 24, 22, 23, 28, 38, 54, 72, 86, 94, 97, 95, 99, 104, 106, 104, 98, 88, 78, 70, 61, 52, 42)
_WEEKDAYS = (1.0, 1.05, 1.06, 1.04, 0.95, 0.56, 0.5)

# How many in 65536 requests fail; by status, how many in 1000 of them, and the usual latency in ms (no connection, none).
_FAILED = 2290
_FAILURES = {429: 310, 400: 180, 499: 130, 500: 90, 503: 80, 502: 70, 408: 60, 401: 50, 0: 30}
_FAILURE_MS = {429: 90, 400: 60, 499: 4200, 500: 1800, 503: 700, 502: 1300, 408: 60000, 401: 40}
_FAILURE_OF = [status for status, thousandths in _FAILURES.items() for _ in range(thousandths)]
_BEFORE_ROUTING = frozenset((400, 401, 429))
_MID_STREAM = frozenset((499, 500, 502, 0))

# Tenants by their place, and the share of their traffic on their own provider keys.
_BYOK = {0: 0.1, 2: 0.5, 6: 0.85, 11: 0.8, 17: 0.6}

_FIRST_NAMES = "ada alan alice amir ana ben bob carla chen dana diego elena emma farid grace hana ines ivan jonas kofi lena"
_LAST_NAMES = "abe bauer costa diaz eriksen fischer garcia haddad ito jensen kim lopez meyer novak okafor patel quinn rossi"
_HEADS = "bluefin cobalt driftwood ember fjord granite harbor indigo juniper kestrel lumen meridian northwind opal pine"
_TAILS = "ai analytics commerce data health labs legal media robotics software studio systems"

# 4096 equally likely log-normal factors around 1: an index into them costs a tenth of `lognormvariate`.
_BELL = [NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)]
_WIDE = [exp(0.95 * z) for z in _BELL]
_NARROW = [exp(0.5 * z) for z in _BELL]


class _Model(NamedTuple):
    """A permaslug as the traffic sees it; prices are of a prompt and a completion token, None unless the catalog has both."""

    model_id: str
    permaslug: str
    shape: _Shape
    usd: tuple[Decimal, Decimal] | None
    charged: tuple[float, float]
    hosts: tuple[str, str] | None
    owner: int | None


_NO_MODEL = _Model(UNKNOWN, UNKNOWN, _SHAPES["fast"], None, (0.0, 0.0), None, None)


class _Caller(NamedTuple):
    """Who sends requests, by which key, how often; `byok` is how many in 256 of them are on its own provider key."""

    tenant_id: str
    project_id: str | None
    api_key_id: str | None
    user_id: str | None
    username: str | None
    byok: int
    weight: float


class _Dice(NamedTuple):
    """What chance decides of one request: five numbers below 65536, then seven below 256, as `_DICE` unpacks them."""

    prompt: int
    completion: int
    failure: int
    which: int
    tool: int
    cached: int
    reasoning: int
    byok: int
    host: int
    stream: int
    cost: int
    pace: int


_DICE = Struct("<5H7B")

# The hours of each UTC date: microseconds after the window's start, the width, how many requests.
_Schedule = dict[date, list[tuple[int, int, int]]]


class _Request(NamedTuple):
    """One request before its outcome is known."""

    request_id: str
    occurred_at: datetime
    caller: _Caller
    model: _Model
    dice: _Dice


def demo_catalog() -> list[dict[str, Any]]:
    """Return the demo catalog's entries, in the format of `tokengraph catalog load`; prices are decimal strings or None."""
    entries: list[dict[str, Any]] = json.loads(files(__package__).joinpath("catalog.json").read_text(encoding="utf-8"))
    return entries


def generate_demo(end: datetime, *, seed: int = 7, count: int = 300_000, days: int = 90, tenants: int = 30) -> Iterator[UsageRecord]:
    """Yield `count` records of the `days` before `end` (exclusive, an aware instant), ascending, one day in memory at a time.

    The busiest tenant is `DEMO_TENANT`. ValueError if `end` is naive or a number is out of its range.
    """
    if end.tzinfo is None:
        raise ValueError("end must have a time zone")
    most = len(_HEADS.split()) * len(_TAILS.split())
    if count < 0 or days < 1 or not 1 <= tenants <= most:
        raise ValueError(f"count must be at least 0, days at least 1, tenants 1 to {most}")
    end = end.astimezone(UTC)
    start = end - timedelta(days=days)
    rng = Random(f"traffic {seed} {count} {days} {end.isoformat()}")  # noqa: S311 - demo data, no secret
    population = _populate(Random(f"population {seed} {tenants}"), tenants)  # noqa: S311
    return _traffic(rng, start, _schedule(rng, start, end, count), population)


def _models() -> dict[str, _Model]:
    """Join the tables above to the catalog: by permaslug, in the order of popularity, the tied ones last."""
    catalog = {entry.get("permaslug", entry["model_id"]): entry for entry in demo_catalog()}
    shapes = dict(item.split("=") for item in _POPULARITY.split()) | {slug: "fast" for pair in TIED for slug in pair}
    models = {}
    for slug, shape in shapes.items():
        entry = catalog.get(slug, {"model_id": slug})
        per_prompt, per_completion = entry.get("cost_per_input_token"), entry.get("cost_per_output_token")
        usd = (Decimal(per_prompt), Decimal(per_completion)) if per_prompt and per_completion else None
        charged = float(per_prompt or 0) * CREDITS_PER_USD, float(per_completion or 0) * CREDITS_PER_USD
        models[slug] = _Model(entry["model_id"], slug, _SHAPES[shape], usd, charged, _HOSTS.get(slug), _OWNERS.get(slug))
    return models


def _populate(rng: Random, tenants: int) -> list[list[_Caller]]:
    """Return each tenant's callers, the busiest tenant first; the sizes and the activity go by Zipf's law."""
    first, last, heads, tails = (words.split() for words in (_FIRST_NAMES, _LAST_NAMES, _HEADS, _TAILS))
    population = []
    names = rng.sample([f"{head}-{tail}" for head, tail in itertools.product(heads, tails)], tenants - 1)
    for place, tenant in enumerate([DEMO_TENANT, *names]):
        activity = 1 / (place + 1)
        byok = round(256 * _BYOK.get(place, 0))
        projects = [f"proj_{rng.getrandbits(48):012x}" for _ in range(rng.randint(1, 6))]
        keys = [(rng.choice(projects), f"key_{rng.getrandbits(64):016x}") for _ in range(rng.randint(1, 8))]
        users = 6 + int(900 * activity)
        everyone = sum(1 / (n + 3) for n in range(users))
        # Machines: each key by itself, and a little traffic of the tenant that names neither project nor key.
        callers = [_Caller(tenant, *key, None, None, byok, 0.11 * activity / len(keys)) for key in keys]
        callers.append(_Caller(tenant, None, None, None, None, byok, 0.01 * activity))
        for n in range(users):
            user = str(UUID(int=rng.getrandbits(128), version=4))
            username = None if rng.random() < 0.06 else f"{rng.choice(first)}.{rng.choice(last)}{rng.choice(('', '', n))}"
            callers.append(_Caller(tenant, *rng.choice(keys), user, username, byok, 0.88 * activity / (n + 3) / everyone))
        population.append(callers)
    return population


def _schedule(rng: Random, start: datetime, end: datetime, count: int) -> _Schedule:
    """Spread `count` requests over the window: day and night, weekday and weekend, growth, some noise."""
    whole = (end - start) // _MICROSECOND
    slices: list[tuple[date, int, int]] = []
    weights: list[float] = []
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        low = max((hour - start) // _MICROSECOND, 0)
        high = min((hour + timedelta(hours=1) - start) // _MICROSECOND, whole)
        slices.append((hour.date(), low, high - low))
        weights.append((high - low) * _HOURS[hour.hour] * _WEEKDAYS[hour.weekday()] * (1 + low / whole) * rng.uniform(0.85, 1.15))
        hour += timedelta(hours=1)
    # Rounding the running total, not each share, makes the counts sum to `count`.
    totals = list(accumulate(weights))
    bounds = [0, *(round(count * total / totals[-1]) for total in totals)]
    schedule: _Schedule = {}
    for (day, low, width), (before, after) in zip(slices, itertools.pairwise(bounds), strict=True):
        schedule.setdefault(day, []).append((low, width, after - before))
    return schedule


def _popularity(rng: Random, ranked: Sequence[_Model], age: float) -> list[float]:
    """Return the models' cumulative weights at `age`, 0..1 of the window: one is launched in it, one fades, all fluctuate."""
    weights = []
    for place, model in enumerate(ranked):
        weight = rng.uniform(0.85, 1.15) / (place + 2)
        if model.permaslug == _LAUNCHED:
            weight *= 0 if age < 0.6 else min(3.0, 0.3 + 18 * (age - 0.6))
        elif model.permaslug == _FADING:
            weight *= max(0.03, 1.8 * (1 - age / 0.85))
        weights.append(weight)
    return list(accumulate(weights))


def _traffic(rng: Random, start: datetime, schedule: _Schedule, tenants: list[list[_Caller]]) -> Iterator[UsageRecord]:
    """Draw each day's instants, callers, models and dice in bulk, then make its records one by one."""
    models = _models()
    ranked = [model for model in models.values() if all(model.permaslug not in pair for pair in TIED)]
    everybody = [caller for callers in tenants for caller in callers]
    activity = list(accumulate(caller.weight for caller in everybody))
    # The step is odd, so that 2**64 ids go by before one comes again, and in no visible order.
    numbers = itertools.count(rng.getrandbits(64), 0x9E3779B97F4A7C15)
    for nth, hours in enumerate(schedule.values()):
        offsets: list[int] = []
        for low, width, requests in hours:
            offsets += sorted(low + int(rng.random() * width) for _ in range(requests))
        total = len(offsets)
        callers = rng.choices(everybody, cum_weights=activity, k=total)
        chosen = rng.choices(ranked, cum_weights=_popularity(rng, ranked, nth / len(schedule)), k=total)
        tied = _tied(rng, models, total)
        rolls = map(_Dice._make, _DICE.iter_unpack(rng.randbytes(_DICE.size * total)))
        for i, (offset, caller, model, dice) in enumerate(zip(offsets, callers, chosen, rolls, strict=True)):
            request_id = f"req_{next(numbers) % 2**64:016x}"
            at = start + offset * _MICROSECOND
            if turn := tied.get(i):
                yield _record(_Request(request_id, at, caller, turn[0], dice), turn[1])
                continue
            if model.owner is not None:
                caller = rng.choice(tenants[model.owner % len(tenants)])
            request = _Request(request_id, at, caller, model, dice)
            yield _failed(request) if dice.failure < _FAILED else _record(request, _talk(model.shape, dice))


def _tied(rng: Random, models: dict[str, _Model], total: int) -> dict[int, tuple[_Model, _Tokens]]:
    """Choose which of a day's `total` requests go to the models that tie, by position; none on a day of next to nothing."""
    turns: list[tuple[_Model, _Tokens]] = []
    for pair, (tokens, per_mille) in zip(TIED, _TIES, strict=True):
        turns += [(models[slug], tokens) for slug in pair] * max(1, total * per_mille // 1000)
    return dict(zip(rng.sample(range(total), len(turns)), turns, strict=True)) if total >= 4 * len(turns) else {}


def _talk(shape: _Shape, dice: _Dice) -> _Tokens:
    """Return the request's tokens: cached within prompt, reasoning within completion."""
    prompt = 1 + int(shape.prompt * _WIDE[dice.prompt >> 4]) + (dice.prompt & 15)
    completion = 1 + int(shape.completion * _WIDE[dice.completion >> 4]) + (dice.completion & 15)
    # One die says both whether and how much: what is left of it is even over its range.
    cached = prompt * (256 - dice.cached) // 272 if dice.cached < shape.cached else 0
    reasoning = completion * (dice.reasoning + 40) // 320 if dice.reasoning < shape.reasoning else 0
    return _Tokens(prompt, completion, cached, reasoning)


def _failed(request: _Request) -> UsageRecord:
    """Return a failure: mostly of no tokens, some cut off in mid-stream, some before a model was even chosen."""
    dice = request.dice
    status = _FAILURE_OF[dice.which % 1000]
    if status in _BEFORE_ROUTING and dice.cached < 24:
        request = request._replace(model=_NO_MODEL)
    tokens = _Tokens(0, 0)
    if status in _MID_STREAM and dice.reasoning < 80:
        whole = _talk(request.model.shape, dice)
        tokens = whole._replace(completion=whole.completion // 3, reasoning=whole.reasoning // 3)
    return _record(request, tokens, status)


def _record(request: _Request, tokens: _Tokens, status: int = 200) -> UsageRecord:
    """Return the record; only a success is charged, searches or streams, and its latency follows from its tokens."""
    request_id, occurred_at, caller, model, dice = request
    charge, searches, cost_usd, latency, ttft = 0.0, 0, None, None, None
    if status == 200:
        charge = tokens.prompt * model.charged[0] + tokens.completion * model.charged[1]
        searches = 1 + dice.tool % 3 if dice.tool < 1311 else 0  # 2 % of requests
        first_ms = int(model.shape.ttft_ms * _NARROW[dice.pace << 4])
        ttft = Decimal(first_ms) if dice.stream < 180 else None
        if dice.stream < 250:
            latency = Decimal(first_ms + int(tokens.completion * model.shape.ms_per_token * _NARROW[dice.host << 4]))
        if dice.cost < 13 and model.usd:  # 5 %: what the router says it paid, a price negotiated below the catalog's
            cost_usd = round((model.usd[0] * tokens.prompt + model.usd[1] * tokens.completion) * _NEGOTIATED, 9)
    elif status in _FAILURE_MS:
        latency = Decimal(int(_FAILURE_MS[status] * _NARROW[dice.pace << 4]))
    own_key = dice.byok < caller.byok
    return UsageRecord(
        tenant_id=caller.tenant_id,
        request_id=request_id,
        occurred_at=occurred_at,
        model_id=model.model_id,
        model_permaslug=model.permaslug,
        project_id=caller.project_id,
        api_key_id=caller.api_key_id,
        user_id=caller.user_id,
        username=caller.username,
        provider=model.hosts[dice.host >= 80] if model.hosts and dice.host < 120 else None,
        status_code=status,
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        cached_tokens=tokens.cached,
        reasoning_tokens=tokens.reasoning,
        cost_usd=cost_usd,
        traffic_mode="byok" if own_key else "shared",
        shared_model_spend=0 if own_key else ceil(charge),
        byok_platform_fee=ceil(charge * _BYOK_FEE) if own_key else 0,
        managed_tool_fee=searches * CREDITS_PER_SEARCH,
        search_requests=searches,
        latency_ms=latency,
        ttft_ms=ttft,
    )
