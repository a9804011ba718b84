"""Who may see the operator's page: refused first, for this node's names only, with a cookie that ends."""

from __future__ import annotations

import pytest

from oracle.api_auth import Unauthorised
from oracle.operator.access import COOKIE, SIGNED_IN_S, Access, WrongHost

TOKEN = bytes(range(32))
URL = "https://gpu.example"


def access(now: float = 1_000.0, token: bytes = TOKEN) -> Access:
    return Access(token, URL, clock=lambda: now)


@pytest.mark.parametrize("given", ["", "0" * 64, TOKEN.hex()[:-1], TOKEN.hex() + "00", "é" * 64])
def test_sign_in__not_the_token__is_refused(given: str) -> None:
    with pytest.raises(Unauthorised, match=r"operator\.token_file"):
        access().sign_in(given)


@pytest.mark.parametrize("given", [TOKEN.hex(), TOKEN.hex().upper(), f"  {TOKEN.hex()}\n"])
def test_sign_in__the_token_however_pasted__lets_in(given: str) -> None:
    access().check({COOKIE: access().sign_in(given)})


def test_check__no_cookie_or_not_ours__is_refused() -> None:
    good = access().sign_in(TOKEN.hex())
    ends, _, mark = good.partition(".")
    later = f"{int(ends) + 1}.{mark}"
    for given in ("", ".", "x", ends, f"{ends}.", f".{mark}", later, f"9{good}", "²." + mark, "é"):
        with pytest.raises(Unauthorised, match="sign in at /operator"):
            access().check({COOKIE: given})
    with pytest.raises(Unauthorised):
        access().check({})


def test_check__token_was_changed__ends_every_cookie() -> None:
    with pytest.raises(Unauthorised):
        access(token=bytes(32)).check({COOKIE: access().sign_in(TOKEN.hex())})


def test_check__after_its_time__is_refused() -> None:
    cookie = {COOKIE: access().sign_in(TOKEN.hex())}
    access(1_000.0 + SIGNED_IN_S).check(cookie)
    with pytest.raises(Unauthorised, match="12 hours"):
        access(1_001.0 + SIGNED_IN_S).check(cookie)


@pytest.mark.parametrize("host", ["127.0.0.1:8800", "localhost", "[::1]:8800", "127.9.9.9"])
def test_host__this_machine__may_go_without_tls(host: str) -> None:
    access().check_host("http", host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "10.0.0.1", "gpu.example.evil", "@"]
)
def test_host__another_name__is_refused(host: str) -> None:
    with pytest.raises(WrongHost, match="this node isn't"):
        access().check_host("https", host)


def test_host__public_name__needs_tls() -> None:
    access().check_host("https", "gpu.example:443")
    with pytest.raises(WrongHost, match="X-Forwarded-Proto"):
        access().check_host("http", "gpu.example")
