"""Settings that fit together, and those that don't."""

from pathlib import Path

import pytest
from aiortc.rtcicetransport import connection_kwargs

from realtime.config import Settings, parse_ice_server

SOURCE = (Path("face.png"),)


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.8.9.1", True),
        ("0.0.0.0", False),
        ("box.lan", False),
    ],
)
def test_only_loopback_addresses_go_without_a_token(host: str, alone: bool) -> None:
    settings = Settings(SOURCE, host=host)
    assert settings.loopback is alone
    assert (settings.bearer is None) is alone
    assert Settings(SOURCE, host=host, token="abc").bearer == "abc"


def test_a_made_token_is_long_stays_and_is_another_each_time() -> None:
    settings = Settings(SOURCE, host="0.0.0.0")
    assert settings.bearer == settings.bearer
    assert len(settings.bearer or "") >= 20
    assert settings.bearer != Settings(SOURCE, host="0.0.0.0").bearer


@pytest.mark.parametrize(
    ("choice", "mouth", "shading"), [("none", 0, 0), ("mouth", 1, 0), ("mouth+shading", 1, 1)]
)
def test_what_of_the_driver_may_be_seen(choice: str, mouth: float, shading: float) -> None:
    assert Settings(SOURCE, driver_pixels=choice).ceilings == {"mouth_pixels": mouth, "shading": shading}  # type: ignore[arg-type]


def test_ice_servers() -> None:
    assert parse_ice_server("stun:a.example:3478").urls == "stun:a.example:3478"
    turn = parse_ice_server("turn:me:pass:word@a.example:3478?transport=tcp")
    assert (turn.urls, turn.username, turn.credential) == (
        "turn:a.example:3478?transport=tcp",
        "me",
        "pass:word",
    )
    assert parse_ice_server("turns:me:p@ss@a.example?transport=tcp").credential == "p@ss"
    assert parse_ice_server("stun:192.0.2.1").urls == "stun:192.0.2.1"


@pytest.mark.parametrize(
    "text",
    [
        "stun:a.example:3478",
        "turn:me:pass@a.example",
        "turn:me:pass@a.example:1?transport=udp",
        "turns:me:pass@a.example:1?transport=tcp",
    ],
)
def test_aiortc_contacts_the_ice_servers_that_we_take(text: str) -> None:
    assert connection_kwargs([parse_ice_server(text)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example",
        "stun:",
        "turn:a.example",
        "turn:me@a.example",
        "http://a",
        "stun:a.example:abc",
        "stun:a.example:",
        "stun:a.example:0",
        "stun:a.example:65536",
        "stun:a.example:3478:1",
        "stun:a.example?transport=udp",
        "stun:a b",
        "stun:me@a.example",
        "stuns:a.example",
        "stun:[::1]:3478",
        "turn:me:pass@a.example:abc",
        "turn:me:pass@a.example?transport=dtls",
        "turn:me:pa\nss@a.example",
        "turns:me:pass@a.example?transport=udp",
    ],
)
def test_ice_servers_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="ice-server"):
        parse_ice_server(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 65536},
        {"max_sessions": 0},
        {"threads": -1},
        {"max_batch": 0},
        {"batch_wait_ms": -1.0},
        {"batch_wait_ms": float("nan")},
        {"canvas": "big"},
        {"canvas": "63x64"},
        {"tls": "a,b,c"},
        {"token": ""},
        {"token": "a b"},
        {"token": "é"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        Settings(SOURCE, **wrong)  # type: ignore[arg-type]
