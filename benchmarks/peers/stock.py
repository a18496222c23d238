"""The peer of reads: strawberry's FastAPI router and SQLModel sessions over the finished rows, as their documentation shows it.

`python -m benchmarks.peers.stock PORT DATABASE_URL`. It sums nothing: its tables hold what the product's answer says.
"""

from __future__ import annotations

import datetime
import sys

import uvicorn
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from strawberry.fastapi import GraphQLRouter

from benchmarks.peers.schema import BigNumber, DateText, ModelUsage, RankingsDailyRow, UsagePoint, build_stock_schema


class PeerTable(SQLModel, registry=registry()):
    """A table of the peer, apart from the product's."""

    __table_args__ = {"schema": "peer"}


class Ranking(PeerTable, table=True):
    """A model's day."""

    __tablename__ = "rankings"
    date: datetime.date = Field(primary_key=True)
    place: int = Field(primary_key=True)
    model_permaslug: str
    total_tokens: str


class Point(PeerTable, table=True):
    """A day."""

    __tablename__ = "usage_points"
    window_start: datetime.date = Field(primary_key=True)
    place: int = Field(primary_key=True)
    period: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    requests: int


class UsedModel(PeerTable, table=True):
    """A model's month."""

    __tablename__ = "usage_models"
    window_start: datetime.date = Field(primary_key=True)
    place: int = Field(primary_key=True)
    model_id: str
    provider_id: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    requests: int


def build_application(url: str) -> FastAPI:
    """Return the application."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"), pool_size=10)

    async def fetch_rankings(start: str, end: str) -> list[RankingsDailyRow]:
        async with AsyncSession(engine) as session:
            wanted = select(Ranking).where(
                Ranking.date >= datetime.date.fromisoformat(start), Ranking.date <= datetime.date.fromisoformat(end)
            )
            rows = (await session.exec(wanted.order_by(col(Ranking.date), col(Ranking.place)))).all()
        return [
            RankingsDailyRow(date=DateText(row.date), model_permaslug=row.model_permaslug, total_tokens=row.total_tokens) for row in rows
        ]

    async def fetch_usage(start: str, end: str) -> tuple[list[UsagePoint], list[ModelUsage]]:
        async with AsyncSession(engine) as session:
            first = datetime.date.fromisoformat(start)
            points = (await session.exec(select(Point).where(Point.window_start == first).order_by(col(Point.place)))).all()
            models = (await session.exec(select(UsedModel).where(UsedModel.window_start == first).order_by(col(UsedModel.place)))).all()
        return [
            UsagePoint(
                period=row.period,
                prompt_tokens=BigNumber(row.prompt_tokens),
                completion_tokens=BigNumber(row.completion_tokens),
                cost_usd=row.cost_usd,
                requests=BigNumber(row.requests),
            )
            for row in points
        ], [
            ModelUsage(
                model_id=row.model_id,
                provider_id=row.provider_id,
                prompt_tokens=BigNumber(row.prompt_tokens),
                completion_tokens=BigNumber(row.completion_tokens),
                cost_usd=row.cost_usd,
                requests=BigNumber(row.requests),
            )
            for row in models
        ]

    app = FastAPI()
    app.include_router(GraphQLRouter(build_stock_schema(fetch_rankings, fetch_usage)), prefix="/graphql")
    app.get("/readyz")(lambda: "ready")
    return app


def main() -> None:
    """Serve until a signal."""
    port, url = int(sys.argv[1]), sys.argv[2]
    uvicorn.run(build_application(url), port=port, log_level="warning", access_log=False, loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
