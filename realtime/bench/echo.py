"""A bare echo server for comparison: it sends each camera frame back as it came, without tracking or drawing
anything, through plain aiortc. What it costs is what browser, codec and network cost.

    python -m realtime.bench.echo
"""

import asyncio
import socket
from pathlib import Path
from uuid import uuid4

from aiohttp import web
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription

STATIC = Path(__file__).parents[1] / "static"  # the page that the real server shows
PEERS = web.AppKey("peers", dict[str, RTCPeerConnection])
PINGS = web.AppKey("pings", set[asyncio.Task[None]])
SIZE = web.AppKey("size", tuple[int, int])
routes = web.RouteTableDef()


@routes.get("/")
async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")


@routes.get("/api/config")
async def config(request: web.Request) -> web.Response:
    return web.json_response({"canvas": request.app[SIZE], "controls": {}, "iceServers": [], "maxUpload": 0})


@routes.get("/api/portrait")
async def portrait(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "icon.svg")


@routes.post("/whip")
async def open_session(request: web.Request) -> web.Response:
    """Answer an offer; the track that comes in is the track that goes out."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    session = uuid4().hex
    request.app[PEERS][session] = peer
    peer.on("track", peer.addTrack)
    peer.on("datachannel", lambda channel: request.app[PINGS].add(asyncio.create_task(ping(channel))))
    await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    headers = {"Location": f"/whip/{session}", "Content-Type": "application/sdp"}
    return web.Response(status=201, text=peer.localDescription.sdp, headers=headers)


@routes.delete("/whip/{id}")
async def close_session(request: web.Request) -> web.Response:
    peer = request.app[PEERS].pop(request.match_info["id"], None)
    if peer is not None:
        await peer.close()
    return web.Response()


async def ping(channel: RTCDataChannel) -> None:
    """Give the page its sign of life."""
    while channel.readyState == "open":
        channel.send('{"type": "ping", "n": 0}')
        await asyncio.sleep(1)


async def close_all(app: web.Application) -> None:
    for task in app[PINGS]:
        task.cancel()
    await asyncio.gather(*(peer.close() for peer in app[PEERS].values()))


def make_app(size: tuple[int, int]) -> web.Application:
    """The application. size: width and height of the camera's picture, which the page is told."""
    app = web.Application()
    app[PEERS], app[PINGS], app[SIZE] = {}, set(), size
    app.add_routes(routes)
    app.router.add_static("/static/", STATIC)
    app.on_shutdown.append(close_all)
    return app


def main() -> None:
    """Serve on a free port of 127.0.0.1, and say which, until the process is told to stop."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"Open http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    web.run_app(make_app((640, 480)), sock=listener, print=None)


if __name__ == "__main__":
    main()
