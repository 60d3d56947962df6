"""Offers that break the rules of SDP are refused, and leave nothing behind."""

import re
from collections.abc import Callable

import pytest

from realtime.negotiation import MAX_CANDIDATES, split_candidates
from tests.live import Peer, connected, peer_of, running_server, until

pytestmark = pytest.mark.usefixtures("loopback_ice")

SDP = {"Content-Type": "application/sdp"}
GROUP = re.compile(r"a=group:BUNDLE[^\r\n]*")
CANDIDATE = "candidate:{0} 1 udp 2130706431 127.0.0.1 {1} typ host"


async def offer_of(peer: Peer) -> str:
    await peer.pc.setLocalDescription(await peer.pc.createOffer())
    return peer.pc.localDescription.sdp


def candidate_lines(count: int) -> str:
    return "".join(f"a={CANDIDATE.format(number, 9 + number)}\r\n" for number in range(count))


@pytest.mark.parametrize(
    "damaged",
    [
        lambda offer: offer.replace("a=mid:1", "a=mid:0"),
        lambda offer: re.sub(r"a=mid:[^\r\n]*\r\n", "", offer),
        lambda offer: offer.replace("a=mid:0\r\n", "a=mid:\r\n"),
        lambda offer: GROUP.sub("a=group:BUNDLE x 0", offer),
        lambda offer: GROUP.sub("a=group:BUNDLE 0 x", offer),
        lambda offer: offer.replace("a=rtpmap:100 rtx/90000\r\n", ""),
        lambda offer: offer.replace("a=sendonly\r\n", ""),
    ],
    ids=["mid twice", "no mids", "empty mid", "first of bundle", "bundle", "format without map", "direction"],
)
async def test_a_contradictory_offer_is_refused_and_its_slot_is_free(damaged: Callable[[str], str]) -> None:
    async with running_server(max_sessions=1) as server, peer_of(server.url, sound=True) as peer:
        good = await offer_of(peer)
        assert damaged(good) != good
        response = await peer.http.post("/whip", data=damaged(good), headers=SDP)
        assert response.status in (400, 422)
        assert (await response.json(content_type="application/problem+json"))["detail"]
        await until(lambda: len(server.roster) == 0)
        assert (await peer.http.post("/whip", data=good, headers=SDP)).status == 201


async def test_an_offer_with_too_many_candidates_is_refused() -> None:
    async with running_server() as server, peer_of(server.url) as peer:
        offer = re.sub(r"a=(candidate:[^\r\n]*|end-of-candidates)\r\n", "", await offer_of(peer))
        for count, status in ((MAX_CANDIDATES + 1, 422), (MAX_CANDIDATES, 201)):
            response = await peer.http.post("/whip", data=offer + candidate_lines(count), headers=SDP)
            assert response.status == status


async def test_candidates_that_come_later_count_too() -> None:
    async with running_server() as server, connected(server) as peer:
        headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": peer.etag}
        offered = peer.pc.localDescription.sdp.count("a=candidate:")
        left = MAX_CANDIDATES - offered
        for count, status in ((left + 1, 422), (left, 204), (1, 422)):
            body = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n" + candidate_lines(count)
            response = await peer.http.patch(peer.location, data=body, headers=headers)
            assert response.status == status


def test_hidden_candidates_are_told_from_others() -> None:
    hidden = "candidate:1 1 udp 2130706431 0a1b-2c3d.local 9 typ host"
    open_one = CANDIDATE.format(2, 9)
    offer = f"v=0\r\na={hidden}\r\na={open_one}\r\na=end-of-candidates\r\na={hidden}\r\na=mid:0\r\n"
    kept, taken_out = split_candidates(offer)
    assert kept == f"v=0\r\na={open_one}\r\na=mid:0\r\n"
    assert taken_out == [hidden.removeprefix("candidate:")] * 2
