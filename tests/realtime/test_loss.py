"""A bad network: packets are lost by a fixed pattern, in both directions, between real peers."""

import pytest
from aiortc import RTCPeerConnection

from tests.fakes import CLOCK_RATE
from tests.flat import flat_picture
from tests.live import connected, running_server, until

pytestmark = pytest.mark.usefixtures("loopback_ice")


def lose(pc: RTCPeerConnection, every: int) -> list[int]:
    """Lose every n-th media packet that a peer sends for the first time; returns the list of what was
    lost, as it grows."""
    ice = pc.getTransceivers()[0].receiver.transport.transport
    send = ice._send
    lost: list[int] = []

    async def lossy(data: bytes) -> None:
        rtp = (
            128 <= data[0] <= 191 and not 64 <= data[1] & 0x7F <= 95
        )  # RFC 7983; RFC 5761: the others are RTCP
        sequence = int.from_bytes(data[2:4], "big")
        media = data[1] & 0x7F in (97, 99, 101)  # not sent again as 98, 100, 102
        if rtp and media and sequence % every == 1:
            lost.append(sequence)
        else:
            await send(data)

    ice._send = lossy
    return lost


async def test_the_avatar_goes_on_while_packets_are_lost_both_ways() -> None:
    async with running_server() as server, connected(server) as peer:
        session = server.session(peer)
        session.set_controls({"relative": 0})
        await peer.drive(flat_picture(120))
        peer.camera.next_pts += CLOCK_RATE
        there, back = lose(peer.pc, 10), lose(session.pc, 7)
        shown: list[float] = []

        def moved_on(count: int) -> bool:
            while not peer.frames.empty():
                shown.append(float(peer.frames.get_nowait().to_ndarray(format="rgb24")[..., 1].mean()))
            return len(shown) >= count

        step = 0
        while len(there) < 5 or len(back) < 5:
            peer.camera.push(flat_picture(60 + 20 * (step % 8)))
            step += 1
            await until(lambda n=step: session.figures.counts["received"] >= n - 5)
        for level in (200, 200, 200, 200, 200, 200):
            peer.camera.push(flat_picture(level))
        await until(lambda: moved_on(step // 2) and abs(shown[-1] - 200) < 12)
        assert session.state.value == "live"
        assert session.figures.counts["skipped"] == 0
