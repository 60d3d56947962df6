"""WHIP (RFC 9725): a session is opened, given candidates and ended over HTTP."""

from typing import NamedTuple

from aiohttp import web
from aiortc import RTCIceServer

from realtime.keys import ROSTER
from realtime.negotiation import parse_candidate
from realtime.problems import Problem

MAX_SDP = 64 * 2**10  # bytes

routes = web.RouteTableDef()


class Fragment(NamedTuple):
    """An SDP fragment of RFC 8840."""

    candidates: list[
        tuple[str | None, str]
    ]  # mid of the section, and the candidate as written after `candidate:`
    ufrag: str | None


def parse_fragment(text: str) -> Fragment:
    """The parts of a fragment that matter here. Empty candidates, which Firefox sends, and
    end-of-candidates say nothing that we wait for, and are left out. Raises Problem for a line that is no
    SDP."""
    candidates = []
    mid = ufrag = None
    for line in text.splitlines():
        if not line.strip():
            continue
        if line[1:2] != "=":
            raise Problem(400, "the SDP fragment cannot be read")
        name, _, value = line[2:].strip().partition(":")
        if line[0] == "m":
            mid = None
        elif line[0] == "a" and name == "mid":
            mid = value
        elif line[0] == "a" and name == "ice-ufrag":
            ufrag = value
        elif line[0] == "a" and name == "candidate" and value:
            candidates.append((mid, value))
    return Fragment(candidates, ufrag)


async def read_text(request: web.Request, content_type: str) -> str:
    """The body of a call. Raises Problem for another content type, too large a body, or bytes that are no
    text."""
    if request.content_type != content_type:
        raise Problem(415, f"the body must be {content_type}")
    body = await read_body(request, MAX_SDP)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "the body is no UTF-8 text") from None


async def read_body(request: web.Request, limit: int) -> bytes:
    """The body of a call, read no further than `limit` bytes. Raises Problem for a larger one."""
    too_large = Problem(413, f"the body may have at most {limit} bytes")
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > limit:
            raise too_large
    return bytes(body)


def ice_link(server: RTCIceServer) -> str:
    """An ICE server as a Link header names it (RFC 9725, section 4.6)."""
    link = f'<{server.urls}>; rel="ice-server"'
    if server.username is None or server.credential is None:
        return link
    name, word = (_quoted(text) for text in (server.username, server.credential))
    return f'{link}; username={name}; credential={word}; credential-type="password"'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


@routes.post("/whip")
async def publish(request: web.Request) -> web.Response:
    """Open a session."""
    roster = request.app[ROSTER]
    session, answer = await roster.open(await read_text(request, "application/sdp"))
    response = web.Response(status=201, text=answer, content_type="application/sdp")
    response.headers["Location"] = f"/whip/{session.id}"
    response.headers["ETag"] = session.etag
    for server in roster.services.ice_servers:
        response.headers.add("Link", ice_link(server))
    return response


@routes.patch("/whip/{id}")
async def trickle(request: web.Request) -> web.Response:
    """Add candidates of the peer."""
    session = request.app[ROSTER][request.match_info["id"]]
    match = request.headers.get("If-Match")
    if match is None:
        raise Problem(428, "If-Match with the session's ETag is needed")
    if match != session.etag:
        raise Problem(
            412, "the ETag is not this session's; a restart of ICE is not offered: open a new session"
        )
    fragment = parse_fragment(await read_text(request, "application/trickle-ice-sdpfrag"))
    if (
        fragment.ufrag is not None
        and f"a=ice-ufrag:{fragment.ufrag}" not in session.pc.remoteDescription.sdp.splitlines()
    ):
        raise Problem(422, "a restart of ICE is not offered: open a new session")
    session.trickle([parse_candidate(text, mid) for mid, text in fragment.candidates])
    return web.Response(status=204)


@routes.delete("/whip/{id}")
async def finish(request: web.Request) -> web.Response:
    """End a session."""
    roster = request.app[ROSTER]
    await roster.end(roster[request.match_info["id"]], "deleted")
    return web.Response()
