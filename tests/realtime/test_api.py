"""Commands to a running session, over HTTP and over the data channel, and who may send them."""

import asyncio
import io
import json
from dataclasses import replace
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from models.contract import EDITS
from realtime.access import host_name
from realtime.framing import Canvas
from tests.flat import SEVERAL, Flat, FlatEngine, flat_picture
from tests.live import Peer, connected, peer_of, running_server

pytestmark = pytest.mark.usefixtures("loopback_ice")


def png(level: int | tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(flat_picture(level)).save(file, "PNG")
    return file.getvalue()


def api(peer: Peer, what: str = "") -> str:
    return f"/api/sessions/{peer.location.rpartition('/')[2]}{what}"


async def asked(peer: Peer, **command: Any) -> dict[str, Any]:
    """The reply to a command over the data channel."""
    peer.channel.send(json.dumps({"id": 7, **command}))
    reply = await peer.message("reply")
    assert reply["id"] == 7
    return reply


async def red(peer: Peer) -> float:
    """The avatar's red, which names the portrait."""
    frame = await peer.drive(flat_picture(120))
    return float(frame.to_ndarray(format="rgb24").mean((0, 1))[0])


async def test_the_page_learns_what_it_needs() -> None:
    async with running_server(driver_pixels="mouth") as server, aiohttp.ClientSession(server.url) as http:
        config = await (await http.get("/api/config")).json()
        assert config["model"] == "flat"
        assert config["canvas"] == [64, 64]
        assert config["driverPixels"] == "mouth"
        assert config["iceServers"] == []
        assert set(config["controls"]) == {"relative", "gain_expression", "mouth_pixels", "shading"}
        assert config["controls"]["shading"] == {"min": 0, "max": 0, "step": 0.05, "value": 0}
        assert config["controls"]["gain_expression"]["max"] == 2


async def test_another_portrait_while_running() -> None:
    async with running_server() as server, connected(server) as peer:
        assert await red(peer) == pytest.approx(200, abs=10)
        response = await peer.http.put(api(peer, "/source"), data=png((90, 100, 50)))
        assert (response.status, await response.json()) == (200, {"warnings": []})
        await peer.message("source")
        assert await red(peer) == pytest.approx(90, abs=10)


async def test_what_a_portraits_owner_should_know_comes_with_the_reply() -> None:
    picture = np.full((64, 96, 3), 120, np.uint8)
    picture[:, :48] = 60
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    data = file.getvalue()
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")
        response = await peer.http.put(api(peer, "/source"), data=data)
        assert await response.json() == {"warnings": [SEVERAL]}
        peer.channel.send(json.dumps({"type": "source", "id": 7, "size": len(data)}))
        peer.channel.send(data)
        assert (await peer.message("reply"))["warnings"] == [SEVERAL]


async def test_another_portrait_over_the_data_channel() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")
        picture = png((90, 100, 50))
        peer.channel.send(json.dumps({"type": "source", "id": "p", "size": len(picture)}))
        for start in range(0, len(picture), 100):
            peer.channel.send(picture[start : start + 100])
        reply = await peer.message("reply")
        assert reply == {"type": "reply", "id": "p", "ok": True, "warnings": []}
        assert await red(peer) == pytest.approx(90, abs=10)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"no picture", 422, "picture"),
        (png(120)[:60], 422, "picture"),
        (png(0), 422, "no face"),
        (b"\xff" * (20 * 2**20 + 1), 413, "at most"),
    ],
)
async def test_a_bad_upload_is_refused_with_the_reason(body: bytes, status: int, reason: str) -> None:
    async with running_server() as server, connected(server) as peer:
        response = await peer.http.put(api(peer, "/source"), data=io.BytesIO(body))
        assert response.status == status
        assert reason in (await response.json(content_type="application/problem+json"))["detail"]
        assert await red(peer) == pytest.approx(200, abs=10), "the old portrait stays"


async def test_a_turned_upload_is_put_upright() -> None:
    picture = np.full((64, 96, 3), 120, np.uint8)
    picture[:, :48] = 60
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to show
    Image.fromarray(picture).save(file, "JPEG", exif=exif)
    async with running_server() as server, connected(server) as peer:
        response = await peer.http.put(api(peer, "/source"), data=file.getvalue())
        assert response.status == 200
        base = server.session(peer).avatar.portrait.framing.base[0, 0]
        assert float(base[:24].mean()) < float(base[-24:].mean()), "left has become top"


async def test_controls_by_http_and_by_data_channel() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")
        response = await peer.http.patch(api(peer), json={"controls": {"gain_expression": 0.5}})
        assert (await response.json())["controls"]["gain_expression"] == 0.5
        assert (await peer.message("controls"))["controls"]["gain_expression"] == 0.5
        reply = await asked(peer, type="controls", controls={"relative": 0})
        assert reply["controls"] == {"relative": 0, "gain_expression": 0.5, "mouth_pixels": 1, "shading": 1}
        controls = server.session(peer).avatar.controls
        assert (float(controls.relative), float(controls.gain_expression)) == (0, 0.5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"controls": {"nose": 1}}, "known: relative, gain_expression"),
        ({"controls": {"eyes": 1}}, "unknown control"),
        ({"controls": {"turn": 0.5}}, "unknown control 'turn'"),
        ({"controls": {"gain_expression": 2.5}}, "from 0 to 2"),
        ({"controls": {"gain_expression": "a lot"}}, "number"),
        ({"controls": {"gain_expression": True}}, "number"),
        ({"controls": {"relative": 0.5}}, "0 or 1"),
        ({"controls": [1]}, "object"),
        ({"other": 1}, "body"),
        ([], "body"),
    ],
)
async def test_settings_that_cannot_be_are_refused(body: object, reason: str) -> None:
    async with running_server() as server, connected(server) as peer:
        response = await peer.http.patch(api(peer), json=body)
        assert response.status == 422
        assert reason in (await response.json(content_type="application/problem+json"))["detail"]
        assert server.session(peer).controls == server.roster.services.panel.defaults


class Edited(Flat):
    """Says that it has sliders."""

    spec = replace(Flat.spec, controls=(*Flat.spec.controls, *EDITS))


async def test_sliders_by_http_and_by_data_channel() -> None:
    async with (
        running_server(FlatEngine(Edited(), canvas=Canvas(64, 64))) as server,
        connected(server) as peer,
    ):
        config = await (await peer.http.get("/api/config")).json()
        assert config["controls"]["turn"] == {"min": -1, "max": 1, "step": 0.05, "value": 0}
        assert (await peer.message("hello"))["controls"]["blink"] == 0
        response = await peer.http.patch(api(peer), json={"controls": {"turn": -0.5}})
        assert (await response.json())["controls"]["turn"] == -0.5
        reply = await asked(peer, type="controls", controls={"smile": 1})
        assert (reply["controls"]["turn"], reply["controls"]["smile"]) == (-0.5, 1)
        controls = server.session(peer).avatar.controls
        assert [float(getattr(controls, name)) for name in EDITS] == [-0.5, 0, 0, 0, 1, 0]
        for wishes, reason in (({"turn": -1.5}, "from -1 to 1"), ({"frown": 1}, "unknown control 'frown'")):
            refused = await peer.http.patch(api(peer), json={"controls": wishes})
            assert refused.status == 422
            assert reason in (await refused.json(content_type="application/problem+json"))["detail"]
            assert reason in (await asked(peer, type="controls", controls=wishes))["detail"]
        assert server.session(peer).controls["turn"] == -0.5


async def test_not_a_number_is_refused() -> None:
    async with running_server() as server, connected(server) as peer:
        for text in ('{"controls": {"gain_expression": NaN}}', '{"controls": {"gain_expression": 1e999}}'):
            assert (await peer.http.patch(api(peer), data=text)).status == 422
        assert (await peer.http.patch(api(peer), data="{")).status == 400


@pytest.mark.parametrize(
    ("setting", "mouth", "shading"), [("none", 0, 0), ("mouth", 1, 0), ("mouth+shading", 1, 1)]
)
async def test_no_client_gets_more_of_the_drivers_pixels_than_the_server_allows(
    setting: str, mouth: float, shading: float
) -> None:
    async with running_server(driver_pixels=setting) as server, connected(server) as peer:
        for name, most in (("mouth_pixels", mouth), ("shading", shading)):
            response = await peer.http.patch(api(peer), json={"controls": {name: 1}})
            assert response.status == (200 if most else 422)
        controls = server.session(peer).avatar.controls
        assert (float(controls.mouth_pixels), float(controls.shading)) == (mouth, shading)


async def test_calibration_by_http_and_by_data_channel() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")
        for frame in range(20):  # the first neutral takes half a second
            await peer.drive(flat_picture(100 + frame % 2))
        await peer.message("calibrated")
        assert (await peer.http.post(api(peer, "/calibrate"))).status == 200
        for _ in range(20):
            await peer.drive(flat_picture(160))
        await peer.message("calibrated")
        session = server.session(peer)
        assert float(session.avatar.neutral.level) == pytest.approx(160 / 255, abs=0.03)
        assert (await asked(peer, type="calibrate"))["ok"] is True
        assert session.avatar.calibrating


async def test_messages_that_make_no_sense_are_answered_and_change_nothing() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")
        for text in ("no json", "[]", "{}", '"x"', "[" * 5000, "x" * 20_000, '{"type": ["a"]}'):
            peer.channel.send(text)
            assert (await peer.message("reply"))["ok"] is False
        peer.channel.send(b"bytes that nobody announced")
        assert (await peer.message("reply"))["ok"] is False
        assert (await asked(peer, type="dance"))["status"] == 422
        assert (await asked(peer, type="source", size=0))["status"] == 422
        assert (await asked(peer, type="source", size=10**12))["status"] == 413
        assert (await asked(peer, type="controls", controls={"nose": 1}))["status"] == 422
        peer.channel.send('{"type": "ping", "n": 3}')
        assert (await peer.message("pong"))["n"] == 3
        assert await red(peer) == pytest.approx(200, abs=10)


async def test_a_command_that_breaks_down_is_answered_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")

        def broken(picture: object) -> None:
            raise RuntimeError("the device has hiccups")

        monkeypatch.setattr(server.engine, "prepare", broken)
        picture = png(120)
        peer.channel.send(json.dumps({"type": "source", "id": 7, "size": len(picture)}))
        peer.channel.send(picture)
        reply = await peer.message("reply")
        assert (reply["id"], reply["ok"], reply["status"]) == (7, False, 500)
        assert "hiccups" not in reply["detail"]
        assert "the device has hiccups" in caplog.text
        assert (await asked(peer, type="calibrate"))["ok"] is True


async def test_ice_servers_are_linked_with_what_they_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiortc.rtcicetransport.connection_kwargs", lambda servers: {})  # contacts none
    servers = ("stun:127.0.0.1:9", "turn:me:pass@127.0.0.1:9", 'turn:you:a"b\\c@127.0.0.1:9')
    async with running_server(ice_server=servers) as server, peer_of(server.url) as peer:
        response = await peer.publish()
        assert response.status == 201
        rest = 'credential-type="password"'
        assert response.headers.getall("Link") == [
            '<stun:127.0.0.1:9>; rel="ice-server"',
            f'<turn:127.0.0.1:9>; rel="ice-server"; username="me"; credential="pass"; {rest}',
            f'<turn:127.0.0.1:9>; rel="ice-server"; username="you"; credential="a\\"b\\\\c"; {rest}',
        ]


async def test_figures_come_about_once_a_second() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")
        session = server.session(peer)
        for _ in range(5):
            await peer.drive(flat_picture(120))
        server.clock.advance(0.5)
        session.tick()
        stats = await peer.message("stats")
        while not stats["received"]:
            stats = await peer.message("stats")
        assert stats["received"] == stats["sent"] == 5
        assert stats["dropped"] == stats["skipped"] == 0
        assert stats["face"] is True
        assert {"wait", "track", "structure", "transfer", "decode", "composite"} <= set(stats["stagesMs"])


async def test_health_readiness_and_metrics() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.drive(flat_picture(120))
        assert await (await peer.http.get("/healthz")).json() == {"status": "ok"}
        assert (await peer.http.get("/readyz")).status == 200
        text = await (await peer.http.get("/metrics")).text()
        assert "reenact_sessions 1.0" in text
        assert 'reenact_frames_total{fate="sent"} 1.0' in text
        server.roster.services.engine_thread.stop()
        response = await peer.http.get("/readyz")
        assert response.status == 503
        assert "engine" in (await response.json(content_type="application/problem+json"))["detail"]


async def test_the_page_is_served_with_headers_that_confine_it() -> None:
    async with running_server() as server, aiohttp.ClientSession(server.url) as http:
        page = await http.get("/")
        assert page.status == 200
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        assert "camera=(self)" in page.headers["Permissions-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/nothing"):
            assert (await http.get(path)).status in (403, 404)
        assert (await http.post("/api/config")).status == 405


async def test_a_foreign_host_name_is_refused_on_loopback() -> None:
    async with running_server() as server, aiohttp.ClientSession(server.url) as http:
        for host in (
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
        ):
            for path in ("/", "/api/config", "/healthz"):
                assert (await http.get(path, headers={"Host": host})).status in (400, 403)
        for host in ("localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "[::1]"):
            assert (await http.get("/api/config", headers={"Host": host})).status == 200


async def test_the_address_that_was_printed_is_answered() -> None:
    async with running_server(host="127.0.0.2") as server, aiohttp.ClientSession(server.url) as http:
        for host, status in (("127.0.0.2:8080", 200), ("localhost", 200), ("127.0.0.3", 403)):
            assert (await http.get("/api/config", headers={"Host": host})).status == status


async def test_a_token_that_is_no_text_is_refused() -> None:
    async with running_server(token="secret") as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /api/config HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
        assert b" 401 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_other_addresses_need_the_token() -> None:
    async with (
        running_server(host="0.0.0.0", token="secret") as server,
        aiohttp.ClientSession(server.url) as http,
    ):
        for path in ("/", "/healthz", "/readyz", "/static/main.js"):
            assert (await http.get(path)).status == 200
        for method, path in (
            ("GET", "/api/config"),
            ("GET", "/metrics"),
            ("POST", "/whip"),
            ("DELETE", "/whip/0"),
            ("PATCH", "/api/sessions/0"),
        ):
            for given in (None, "Bearer wrong", "Bearer", "Basic secret", "secret", "Bearer sécret"):
                headers = {} if given is None else {"Authorization": given}
                response = await http.request(method, path, headers=headers)
                assert response.status == 401, (method, path, given)
        headers = {"Authorization": "Bearer secret", "Host": "any.example"}
        assert (await http.get("/api/config", headers=headers)).status == 200


async def test_a_session_opens_with_the_token() -> None:
    headers = {"Authorization": "Bearer secret"}
    async with running_server(token="secret") as server, connected(server, headers=headers) as peer:
        await peer.drive(flat_picture(120))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a", "a"),
        ("A:80", "a"),
        ("[::1]:80", "::1"),
        ("[::1", "::1"),
        ("", ""),
        ("127.0.0.1:80", "127.0.0.1"),
    ],
)
def test_host_names(header: str, name: str) -> None:
    assert host_name(header) == name
