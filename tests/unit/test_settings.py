"""Settings: an environment variable that begins like one of ours and is none is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.domain.errors import BadInputError
from app.settings import Settings, load, refuse_unknown

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TOKENGRAPH_RECORD_RETENTION", "TOKENGRAPH_RECORD_RETENTION_DAYS"),
        ("TOKENGRAPH_RETENTION_DAYS", "TOKENGRAPH_RECORD_RETENTION_DAYS"),
        ("TOKENGRAPH_DATABASEURL", "TOKENGRAPH_DATABASE_URL"),
        ("tokengraph_datadir", "TOKENGRAPH_DATA_DIR"),
        ("TOKENGRAPH_GATEWAY_API_KEY", "GATEWAY_API_KEY"),
        ("TOKENGRAPH_TRUSTED_PROXY", "TOKENGRAPH_TRUSTED_PROXIES"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(name, "400")
    with pytest.raises(BadInputError, match=rf"^{name} is no setting: did you mean {meant}\?$"):
        load()


def test_a_database_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENGRAPH_DATABASE_URL", "mysql://x")
    with pytest.raises(BadInputError, match="must begin with postgresql://"):
        load()


@pytest.mark.parametrize("value", ["", "x"])
def test_one_that_is_like_none_is_refused_with_all(value: str) -> None:
    with pytest.raises(BadInputError, match="the settings are GATEWAY_API_KEY, TOKENGRAPH_ADDRESS_"):
        refuse_unknown({"TOKENGRAPH_QQQQQ": value})


def test_every_setting_is_known_and_in_the_readme() -> None:
    listed = set(re.findall(r"^\| `((?:TOKENGRAPH|GATEWAY)_\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE))
    refuse_unknown(dict.fromkeys(listed, "x"))
    assert {f"TOKENGRAPH_{field.upper()}" for field in Settings.model_fields} - listed == {"TOKENGRAPH_GATEWAY_API_KEY"}


def test_what_is_not_ours_is_passed_over() -> None:
    refuse_unknown(
        {
            "PATH": "/bin",
            "TOKENGRAPHX": "1",
            "GATEWAY_URL": "x",
            # Kubernetes, of services named tokengraph and tokengraph-postgres.
            "TOKENGRAPH_SERVICE_HOST": "10.0.0.1",
            "TOKENGRAPH_SERVICE_PORT": "80",
            "TOKENGRAPH_SERVICE_PORT_HTTP": "80",
            "TOKENGRAPH_PORT": "tcp://10.0.0.1:80",
            "TOKENGRAPH_PORT_80_TCP": "tcp://10.0.0.1:80",
            "TOKENGRAPH_PORT_80_TCP_ADDR": "10.0.0.1",
            "TOKENGRAPH_POSTGRES_SERVICE_HOST": "10.0.0.2",
            "TOKENGRAPH_POSTGRES_PORT_5432_TCP_PROTO": "tcp",
        }
    )
    with pytest.raises(BadInputError, match="TOKENGRAPH_PORT is no setting"):
        refuse_unknown({"TOKENGRAPH_PORT": "8000"})
