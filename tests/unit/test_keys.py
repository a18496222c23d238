"""Keys: made at random, kept as a hash, read from either header."""

from __future__ import annotations

import pytest

from app.auth.authenticate import presented_key
from app.auth.keys import generate_key, hash_key, import_key, same_secret
from app.domain.errors import BadInputError, UnauthenticatedError
from app.domain.principal import Principal, Role, scope_of


def test_a_new_key_is_like_no_other_and_does_not_hold_its_secret() -> None:
    made = [generate_key() for _ in range(100)]
    assert len({key.secret for key in made}) == len({key.id for key in made}) == 100
    for key in made:
        assert len(key.secret) >= 43
        assert key.hash == hash_key(key.secret)
        assert key.secret.startswith(key.prefix)
        assert len(key.prefix) < 12


def test_secrets_are_compared_whole() -> None:
    assert same_secret("arb_live_x", "arb_live_x")
    assert not same_secret("arb_live_x", "arb_live_y")
    assert not same_secret("", "x")
    assert not same_secret("\udcff", "x")


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        ("Bearer tg_1", None, "tg_1"),
        ("bearer   tg_1 ", None, "tg_1"),
        (None, "tg_2", "tg_2"),
        ("Bearer tg_1", "tg_2", "tg_1"),
        (None, None, None),
        (None, "  ", None),
    ],
)
def test_where_a_key_is_looked_for(authorization: str | None, api_key: str | None, expected: str | None) -> None:
    assert presented_key(authorization, api_key) == expected


@pytest.mark.parametrize("authorization", ["", "Basic abc", "Bearer", "Bearer  ", "tg_1"])
def test_another_scheme_opens_nothing_and_shuts_nothing(authorization: str) -> None:
    for nothing in (None, "", "  "):
        with pytest.raises(UnauthenticatedError):
            presented_key(authorization, nothing)
    assert presented_key(authorization, "tg_2") == "tg_2"


def test_what_each_role_may_see_beyond_public_answers() -> None:
    tenant = Principal("k", Role.TENANT, tenant_id="acme", tenant_key=7)
    scope = scope_of(tenant)
    assert scope is not None
    assert scope.tenant_key == 7
    admin = scope_of(Principal("k", Role.ADMIN))
    assert admin is not None
    assert admin.tenant_key is None
    assert scope_of(Principal("k", Role.INGEST)) is None
    assert scope_of(Principal("k", Role.GATEWAY)) is None
    assert (tenant.account, Principal("k", Role.ADMIN).account) == ("tenant:acme", "key:k")


@pytest.mark.parametrize(
    "secret", [f"arb_live_{'0f5de0150d4c03e288968393fe6d520b'}", "v-iDkIQPZcOtP40N8KtYtg", "0d1524a0-bb63-4020-b2a7-10e862bf3a63"]
)
def test_a_key_of_another_system_is_taken_over(secret: str) -> None:
    key = import_key(secret)
    assert (key.hash, key.secret) == (hash_key(secret), secret)
    assert secret.startswith(key.prefix)
    assert len(key.prefix) <= min(11, len(secret) // 4), "most of a short key stays hidden"


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "visible ASCII"),
        ("two words that are no key", "visible ASCII"),
        ("schl\u00fcssel-schl\u00fcssel-1234567890", "visible ASCII"),
        ("x\x00yv-iDkIQPZcOtP40N8KtYtg", "visible ASCII"),
        ("admin", "20 to 512 characters, not 5"),
        ("v-iDkIQPZcOtP40N8KtYtg" * 24, "20 to 512 characters, not 528"),
        ("a" * 40, "guessable"),
        ("password-password-password", "guessable"),
        ("12345678901234567890", "guessable"),
        ("00000000-0000-0000-0000-000000000001", "guessable"),
    ],
)
def test_what_may_be_guessed_or_cannot_be_sent_is_no_key(secret: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as refusal:
        import_key(secret)
    assert not secret or secret not in refusal.value.message
