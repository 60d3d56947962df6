"""The web application: the page, what the page has to know, commands to a session, and health."""

import asyncio
import io
import json
from pathlib import Path

from aiohttp import web
from PIL import Image

from realtime import __version__, whip
from realtime.access import LOCAL_NAMES, guard
from realtime.avatar import Portrait
from realtime.config import MAX_UPLOAD, Settings
from realtime.generators import name_of
from realtime.keys import ROSTER, SETTINGS
from realtime.problems import Problem
from realtime.roster import RETRY_AFTER_S, Roster
from realtime.session import Session

STATIC = Path(__file__).parent / "static"
MAX_JSON = 64 * 2**10  # bytes

routes = web.RouteTableDef()


def make_app(settings: Settings, roster: Roster) -> web.Application:
    """The application of a server. It does not end the sessions: the caller closes the roster first."""
    names = {*LOCAL_NAMES, settings.host.lower()} if settings.loopback else None
    middleware = guard(settings.bearer, names, roster.services.metrics)
    app = web.Application(middlewares=[middleware], client_max_size=MAX_UPLOAD)
    app[ROSTER], app[SETTINGS] = roster, settings
    app.add_routes(routes)
    app.add_routes(whip.routes)
    app.router.add_static("/static/", STATIC)
    return app


def _session(request: web.Request) -> Session:
    return request.app[ROSTER][request.match_info["id"]]


@routes.get("/")
async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")


@routes.get("/api/config")
async def config(request: web.Request) -> web.Response:
    """What the page has to know before it starts."""
    settings, services = request.app[SETTINGS], request.app[ROSTER].services
    servers = [
        {
            "urls": server.urls,
            **({"username": server.username, "credential": server.credential} if server.username else {}),
        }
        for server in services.ice_servers
    ]
    return web.json_response(
        {
            "model": name_of(services.engine.generator.spec),
            "controls": services.panel.describe(),
            "driverPixels": settings.driver_pixels,
            "canvas": [settings.size.width, settings.size.height],
            "maxUpload": services.max_upload,
            "iceServers": servers,
            "version": __version__,
        }
    )


@routes.get("/api/portrait")
async def portrait(request: web.Request) -> web.Response:
    """The portrait that a session starts with, at rest, as its avatar's frames show it."""
    services = request.app[ROSTER].services
    loop = asyncio.get_running_loop()
    picture = await loop.run_in_executor(services.portrait_pool, _still, services.portrait)
    return web.Response(body=picture, content_type="image/jpeg")


def _still(portrait: Portrait) -> bytes:
    file = io.BytesIO()
    Image.fromarray(portrait.framing.still).save(file, "JPEG", quality=90)
    return file.getvalue()


@routes.put("/api/sessions/{id}/source")
async def set_source(request: web.Request) -> web.Response:
    """A new portrait for a running session."""
    session = _session(request)
    data = await whip.read_body(request, request.app[ROSTER].services.max_upload)
    return web.json_response({"warnings": await session.set_source(data)})


@routes.post("/api/sessions/{id}/calibrate")
async def calibrate(request: web.Request) -> web.Response:
    """A new neutral pose for a running session."""
    _session(request).calibrate()
    return web.json_response({})


@routes.patch("/api/sessions/{id}")
async def set_controls(request: web.Request) -> web.Response:
    """Other settings for a running session."""
    session = _session(request)
    body = await whip.read_body(request, MAX_JSON)
    try:
        wishes = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is no JSON") from None
    if not isinstance(wishes, dict) or wishes.keys() != {"controls"}:
        raise Problem(422, 'the body must be {"controls": {NAME: NUMBER}}')
    return web.json_response({"controls": session.set_controls(wishes["controls"])})


@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    """The process lives."""
    return web.json_response({"status": "ok"})


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    """A new session could begin."""
    reason = request.app[ROSTER].unready
    if reason is not None:
        raise Problem(503, reason, {"Retry-After": str(RETRY_AFTER_S)})
    return web.json_response({"status": "ready"})


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    body = request.app[ROSTER].services.metrics.render()
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
