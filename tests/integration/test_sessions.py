"""How the gateway's sessions are set, whatever the server's own settings say."""

from __future__ import annotations

from app.db.engine import Database


async def test_a_session_is_set_for_short_questions_in_utc(database: Database) -> None:
    async with database.transaction() as connection:
        name = (await (await connection.execute("SELECT quote_ident(current_database())")).fetchone() or ("",))[0]
        for setting in ("jit = on", "timezone = 'Asia/Kolkata'", "statement_timeout = 0"):
            await connection.execute(f"ALTER DATABASE {name} SET {setting}")
    async with Database(database.url, min_size=1, max_size=1) as another, another.read_connection() as connection:
        found = {}
        for setting in ("jit", "timezone", "statement_timeout"):
            row = await (await connection.execute(f"SHOW {setting}")).fetchone()
            found[setting] = row and row[0]
    assert found == {"jit": "off", "timezone": "UTC", "statement_timeout": "1min"}
