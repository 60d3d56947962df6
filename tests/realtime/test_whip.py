"""WHIP over real HTTP: offers that are taken and refused, candidates, and ends."""

import re
from collections.abc import Callable

import aiohttp
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription

from tests.flat import flat_picture
from tests.live import Peer, Server, connected, peer_of, running_server, until

pytestmark = pytest.mark.usefixtures("loopback_ice")

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


async def offer_of(peer: Peer) -> str:
    await peer.pc.setLocalDescription(await peer.pc.createOffer())
    return peer.pc.localDescription.sdp


def without_candidates(sdp: str) -> str:
    return re.sub(r"a=(candidate:[^\r\n]*|end-of-candidates)\r\n", "", sdp)


async def take(peer: Peer, response: aiohttp.ClientResponse) -> None:
    """Go on with an answer."""
    peer.location, peer.etag = response.headers["Location"], response.headers["ETag"]
    await peer.pc.setRemoteDescription(RTCSessionDescription(sdp=await response.text(), type="answer"))


async def test_an_offer_is_answered_with_201_location_and_etag() -> None:
    async with running_server() as server, peer_of(server.url) as peer:
        response = await peer.publish()
        assert response.status == 201
        assert response.content_type == "application/sdp"
        assert re.fullmatch(r"/whip/[0-9a-f]{32}", response.headers["Location"])
        assert re.fullmatch(r'"[^"]+"', response.headers["ETag"])
        assert "Link" not in response.headers


async def test_delete_ends_with_200_and_tells_the_peer() -> None:
    async with running_server() as server, connected(server) as peer:
        await peer.message("hello")
        assert (await peer.http.delete(peer.location)).status == 200
        assert (await peer.message("closing"))["reason"] == "deleted"
        assert len(server.roster) == 0
        assert (await peer.http.delete(peer.location)).status == 404


async def test_an_offer_as_obs_makes_it_sends_only_and_has_no_candidates() -> None:
    obs = {"direction": "sendonly", "sound": True, "channel": False}
    async with running_server() as server, peer_of(server.url, **obs) as peer:  # type: ignore[arg-type]
        response = await peer.http.post("/whip", data=without_candidates(await offer_of(peer)), headers=SDP)
        assert response.status == 201
        await take(peer, response)
        session = server.session(peer)
        await until(lambda: session.state.value == "live")
        peer.camera.push(flat_picture(120))
        assert (await peer.http.delete(peer.location)).status == 200


async def test_ice_servers_are_linked() -> None:
    async with running_server(ice_server=("stun:127.0.0.1:9",)) as server, peer_of(server.url) as peer:
        response = await peer.http.get("/api/config")
        assert (await response.json())["iceServers"] == [{"urls": "stun:127.0.0.1:9"}]


async def test_no_stun_server_is_contacted_unless_asked_for() -> None:
    async with running_server() as server, peer_of(server.url) as peer:
        await peer.publish()
        gatherer = server.session(peer).pc.getTransceivers()[0].receiver.transport.transport.iceGatherer
        assert gatherer._connection.stun_server is None


def only(codec: str) -> Callable[[RTCPeerConnection], None]:
    """Let a peer offer one codec."""

    def prepare(pc: RTCPeerConnection) -> None:
        capabilities = RTCRtpReceiver.getCapabilities("video")
        assert capabilities is not None
        pc.getTransceivers()[0].setCodecPreferences([c for c in capabilities.codecs if c.name == codec])

    return prepare


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_both_codecs_carry_the_avatar(codec: str) -> None:
    async with running_server() as server, connected(server, prepare=only(codec)) as peer:
        await peer.drive(flat_picture(120))
        assert f"{codec}/90000" in peer.answer


async def test_vp8_is_preferred_and_h264_is_constrained_baseline_first() -> None:
    async with running_server() as server, peer_of(server.url) as peer:
        await peer.publish()
        names = re.findall(r"a=rtpmap:\d+ (\w+)/90000", peer.answer)
        profiles = re.findall(r"profile-level-id=(\w+)", peer.answer)
        assert [name for name in names if name != "rtx"] == ["VP8", "H264", "H264"]
        assert profiles == ["42e01f", "42001f"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 422),
        ("no sdp at all", 422),
        ("v=0\r\nm=video\r\n", 400),
        ("v=0\r\n\x00\x01", 422),
        ("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 422),
    ],
)
async def test_an_offer_that_is_none_is_refused(body: str, status: int) -> None:
    async with running_server(max_sessions=1) as server, aiohttp.ClientSession(server.url) as http:
        response = await http.post("/whip", data=body, headers=SDP)
        assert response.status == status
        problem = await response.json(content_type="application/problem+json")
        assert problem["status"] == status
        assert problem["detail"]
        await until(lambda: len(server.roster) == 0)


async def test_damaged_offers_take_no_slot() -> None:
    async with running_server(max_sessions=1) as server, peer_of(server.url) as peer:
        good = await offer_of(peer)
        for damaged in (
            good.replace("a=sendrecv", "a=recvonly"),
            good.replace("a=fingerprint", "a=nothing"),
            good.replace("a=ice-ufrag", "a=nothing"),
            good.replace("VP8", "XP8").replace("H264", "X264"),
            good.replace("a=rtcp-mux\r\n", ""),
            good[: len(good) // 2],
        ):
            response = await peer.http.post("/whip", data=damaged, headers=SDP)
            assert response.status in (400, 422), damaged
            await until(lambda: len(server.roster) == 0)
        response = await peer.http.post("/whip", data=good, headers=SDP)
        assert response.status == 201


async def test_another_content_type_or_too_large_an_offer_is_refused() -> None:
    async with running_server() as server, aiohttp.ClientSession(server.url) as http:
        assert (await http.post("/whip", json={})).status == 415
        assert (await http.post("/whip", data=b"v" * 300_000, headers=SDP)).status == 413


async def test_candidates_may_come_later() -> None:
    async with running_server() as server, peer_of(server.url) as peer:
        offer = await offer_of(peer)
        candidates = re.findall(r"a=candidate:[^\r\n]*\r\n", offer.partition("m=application")[0])
        ufrag = re.search(r"a=ice-ufrag:\S+", offer)
        assert ufrag is not None
        response = await peer.http.post("/whip", data=without_candidates(offer), headers=SDP)
        await take(peer, response)
        section = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        body = f"{ufrag[0]}\r\n{section}{''.join(candidates)}a=end-of-candidates\r\n"
        headers = {**FRAGMENT, "If-Match": peer.etag}
        assert (await peer.http.patch(peer.location, data=body, headers=headers)).status == 204
        session = server.session(peer)
        await until(lambda: session.state.value == "live")


async def patched(server: Server, peer: Peer, body: str, **headers: str) -> int:
    response = await peer.http.patch(peer.location, data=body, headers={**FRAGMENT, **headers})
    return response.status


async def test_faulty_candidates_are_refused_by_kind() -> None:
    async with running_server() as server, connected(server) as peer:
        good = {"If-Match": peer.etag}
        assert await patched(server, peer, "") == 428
        assert await patched(server, peer, "", **{"If-Match": '"other"'}) == 412
        assert await patched(server, peer, "a=ice-ufrag:restarted\r\n", **good) == 422
        assert await patched(server, peer, "a=candidate:nonsense\r\n", **good) == 400
        assert await patched(server, peer, "a=candidate:1 1 udp 1 bad.host 9 typ host\r\n", **good) == 400
        assert await patched(server, peer, "no sdp", **good) == 400
        assert await patched(server, peer, "a=candidate:\r\n", **good) == 204, (
            "Firefox sends an empty one at the end"
        )
        response = await peer.http.patch("/whip/" + "0" * 32, data="", headers={**FRAGMENT, **good})
        assert response.status == 404
        wrong = await peer.http.patch(peer.location, data="", headers={"Content-Type": "text/plain", **good})
        assert wrong.status == 415
        await peer.drive(flat_picture(120))


async def test_a_hidden_address_does_not_hold_up_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import aioice.mdns

    asked = []

    async def never(self: object, hostname: str) -> None:
        asked.append(hostname)

    monkeypatch.setattr(aioice.mdns.MDnsProtocol, "resolve", never)
    async with running_server() as server, peer_of(server.url) as peer:
        hidden = re.sub(r"(a=candidate:\S+ \d+ \S+ \d+) \S+ ", r"\1 0a1b-2c3d.local ", await offer_of(peer))
        response = await peer.http.post("/whip", data=hidden, headers=SDP)
        assert response.status == 201
        assert not asked
        await take(peer, response)
        session = server.session(peer)
        await until(lambda: session.state.value == "live")  # by the peer's own checks


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_keyframe_is_sent_when_it_is_asked_for(codec: str) -> None:
    # The debug stamp gives the picture something for a keyframe to hold.
    async with running_server(debug_stamp=True) as server, connected(server, prepare=only(codec)) as peer:
        session = server.session(peer)
        sizes: list[int] = []
        ice = session.pc.getTransceivers()[0].receiver.transport.transport
        send = ice._send

        async def counted(data: bytes) -> None:
            if 96 <= data[1] & 0x7F <= 127:
                sizes.append(len(data))
            await send(data)

        ice._send = counted
        noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
        weights = []
        for step in range(8):
            sizes.clear()
            if step == 6:
                session.pc.getSenders()[0]._send_keyframe()
            await peer.drive(noise)
            weights.append(sum(sizes))
        assert weights[6] > 2 * max(weights[3:6])
