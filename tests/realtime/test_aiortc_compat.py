"""Our repairs of aiortc, and that they are still needed: a test of an upstream defect that fails says that
the repair can go."""

import asyncio
from fractions import Fraction
from typing import Any

import aiortc
import av
import pytest
from aiortc import jitterbuffer, rtcrtpreceiver, rtp
from aiortc.codecs import HEADER_EXTENSIONS, depayload, get_decoder, get_encoder, vpx
from aiortc.codecs.h264 import H264Encoder
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import (
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
    RTCRtpReceiveParameters,
)
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from realtime import _aiortc_compat
from realtime._aiortc_compat import (
    PLAYOUT_DELAY,
    MarkerJitterBuffer,
    PromptExtensionsMap,
    bitrate_bounds,
    name_colours,
    set_bitrates,
    show_frames_at_once,
)
from realtime.colours import BT601, LIMITED
from realtime.tracks import video_frame
from tests.flat import flat_picture
from tests.live import PATIENCE_S

CAPACITY = 128
UNSPECIFIED = 2  # of matrices, in the numbering of H.264's annex E
LAST = 65535  # sequence number


def packet(sequence: int, frame: int, marker: bool, payload: bytes = b"x") -> RtpPacket:
    made = RtpPacket(
        payload_type=97, sequence_number=sequence & LAST, timestamp=3000 * frame, marker=int(marker)
    )
    made.payload = payload
    made._data = payload  # type: ignore[attr-defined]
    return made


def stream(sizes: list[int], first: int = 0) -> list[RtpPacket]:
    """The packets of frames of so many packets each; their payload tells frame and place."""
    made: list[RtpPacket] = []
    for frame, size in enumerate(sizes):
        for place in range(size):
            payload = f"{frame}.{place};".encode()
            made.append(packet(first + len(made), frame, place == size - 1, payload))
    return made


def whole(sizes: list[int], frame: int) -> bytes:
    return "".join(f"{frame}.{place};" for place in range(sizes[frame])).encode()


def received(buffer: MarkerJitterBuffer, packets: list[RtpPacket]) -> list[bytes]:
    """What comes out, frame by frame, as the patched receiver takes it."""
    frames = []
    for one in packets:
        _, frame = buffer.add(one)
        while frame is not None:
            frames.append(frame.data)
            frame = buffer.next_frame()
    return frames


def test_upstream_still_waits_for_the_next_frame() -> None:
    buffer = JitterBuffer(capacity=CAPACITY, is_video=True)
    assert [buffer.add(one)[1] for one in stream([2])] == [None, None], (
        "mended: drop complete_frames_on_marker"
    )


def test_a_frame_is_complete_with_its_marker() -> None:
    buffer = MarkerJitterBuffer(capacity=CAPACITY, is_video=True)
    assert [buffer.add(one)[1] is not None for one in stream([2, 1, 3])] == [
        False,
        True,
        True,
        False,
        False,
        True,
    ]


def test_a_sender_without_markers_is_understood_as_before() -> None:
    ours, theirs = MarkerJitterBuffer(CAPACITY, is_video=True), JitterBuffer(CAPACITY, is_video=True)
    for sequence in range(20):
        one = packet(sequence, sequence // 3, marker=False)
        mine, other = ours.add(one)[1], theirs.add(one)[1]
        assert (mine and mine.data) == (other and other.data)


def test_sound_is_left_as_it_was() -> None:
    ours, theirs = MarkerJitterBuffer(16, prefetch=4), JitterBuffer(16, prefetch=4)
    for sequence in range(20):
        one = packet(sequence, sequence, marker=sequence == 0)
        mine, other = ours.add(one)[1], theirs.add(one)[1]
        assert (mine and mine.data) == (other and other.data)


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20),
    first=st.sampled_from([0, 100, LAST - 7]),
    data=st.data(),
)
def test_every_frame_comes_out_whole_and_in_order_however_packets_are_shuffled(
    sizes: list[int], first: int, data: st.DataObject
) -> None:
    packets = stream(sizes, first)
    shuffled = packets[:1] + data.draw(st.permutations(packets[1:]))
    buffer = MarkerJitterBuffer(capacity=CAPACITY, is_video=True)
    assert received(buffer, shuffled) == [whole(sizes, frame) for frame in range(len(sizes))]


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=20), data=st.data())
def test_a_lost_packet_holds_frames_back_and_none_is_damaged(sizes: list[int], data: st.DataObject) -> None:
    packets = stream(sizes)
    lost = data.draw(st.integers(1, len(packets) - 1))
    buffer = MarkerJitterBuffer(capacity=CAPACITY, is_video=True)
    before = received(buffer, packets[:lost] + packets[lost + 1 :])
    complete = packets[lost].timestamp // 3000
    assert before == [whole(sizes, frame) for frame in range(complete)]
    after = received(buffer, [packets[lost]])  # it was sent again
    assert before + after == [whole(sizes, frame) for frame in range(len(sizes))]


@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=20), data=st.data())
def test_packets_that_come_twice_change_nothing(sizes: list[int], data: st.DataObject) -> None:
    packets = stream(sizes)
    repeated = []
    for index, one in enumerate(packets):
        repeated.append(one)
        repeated += packets[max(0, index - data.draw(st.integers(0, 5))) : index + 1]
    buffer = MarkerJitterBuffer(capacity=CAPACITY, is_video=True)
    assert received(buffer, repeated) == [whole(sizes, frame) for frame in range(len(sizes))]


class Transport:
    """As much of a DTLS transport as a receiver needs."""

    state = "connected"
    _stats_id = "transport"

    def _register_rtp_receiver(self, *arguments: object) -> None: ...

    def _unregister_rtp_receiver(self, *arguments: object) -> None: ...

    async def _send_rtp(self, data: bytes) -> None: ...


async def decoded(handle: Any, monkeypatch: pytest.MonkeyPatch, packets: list[RtpPacket]) -> list[int]:
    """How many frames a receiver has given its decoder after each packet."""
    monkeypatch.setattr(rtcrtpreceiver.RTCRtpReceiver, "_handle_rtp_packet", handle)
    monkeypatch.setattr(rtcrtpreceiver, "JitterBuffer", MarkerJitterBuffer)
    monkeypatch.setattr(rtcrtpreceiver, "decoder_worker", lambda loop, tasks, *rest: None)
    monkeypatch.setattr(rtcrtpreceiver, "depayload", lambda codec, payload: payload)
    receiver = rtcrtpreceiver.RTCRtpReceiver("video", Transport())  # type: ignore[arg-type]
    receiver._track = rtcrtpreceiver.RemoteStreamTrack("video")
    codec = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000, payloadType=97)
    await receiver.receive(RTCRtpReceiveParameters(codecs=[codec]))
    counts = []
    for one in packets:
        await receiver._handle_rtp_packet(one, 0)
        counts.append(vars(receiver)["_RTCRtpReceiver__decoder_queue"].qsize())
    await asyncio.sleep(0)
    await receiver.stop()
    return counts


HELD_UP = [0, 2, 3, 4, 1]  # of five frames of one packet, the second comes last


async def test_upstream_still_takes_one_frame_a_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = stream([1] * 5)
    counts = await decoded(_aiortc_compat._handle_one, monkeypatch, [packets[index] for index in HELD_UP])
    assert counts == [1, 1, 1, 1, 2], "mended: drop _handle_all"


async def test_frames_that_become_complete_together_are_decoded_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packets = stream([1] * 5)
    counts = await decoded(_aiortc_compat._handle_all, monkeypatch, [packets[index] for index in HELD_UP])
    assert counts == [1, 1, 1, 1, 5]


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20), data=st.data())
def test_padding_makes_no_frames(sizes: list[int], data: st.DataObject) -> None:
    packets: list[RtpPacket] = []
    for one in stream(sizes):
        one.sequence_number = len(packets)
        packets.append(one)
        if one.marker:  # padding has the last frame's time stamp
            for _ in range(data.draw(st.integers(0, 3))):
                packets.append(packet(len(packets), one.timestamp // 3000, False, payload=b""))
    shuffled = packets[:1] + data.draw(st.permutations(packets[1:]))
    buffer = MarkerJitterBuffer(capacity=CAPACITY, is_video=True)
    assert received(buffer, shuffled) == [whole(sizes, frame) for frame in range(len(sizes))]


def vp8_packets(frames: int, padding: int) -> list[RtpPacket]:
    """A VP8 stream of so many frames, each followed by so many packets that hold nothing."""
    encoder = get_encoder(RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000, payloadType=97))
    made: list[RtpPacket] = []
    for frame in range(frames):
        picture = video_frame(flat_picture(20 * frame), 3000 * frame, Fraction(1, 90000))
        payloads, _ = encoder.encode(picture)
        for place, payload in enumerate(payloads + [b""] * padding):
            made.append(packet(len(made), frame, place == len(payloads) - 1, payload))
    return made


async def test_a_stream_with_padding_is_decoded_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtcrtpreceiver, "JitterBuffer", MarkerJitterBuffer)
    monkeypatch.setattr(rtcrtpreceiver.RTCRtpReceiver, "_handle_rtp_packet", _aiortc_compat._handle_all)
    receiver = rtcrtpreceiver.RTCRtpReceiver("video", Transport())  # type: ignore[arg-type]
    receiver._track = rtcrtpreceiver.RemoteStreamTrack("video")
    codec = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000, payloadType=97)
    await receiver.receive(RTCRtpReceiveParameters(codecs=[codec]))
    try:
        for one in vp8_packets(frames=8, padding=2):
            await receiver._handle_rtp_packet(one, 0)
        async with asyncio.timeout(PATIENCE_S):
            stamps = [(await receiver.track.recv()).pts for _ in range(8)]
        assert stamps == [3000 * frame for frame in range(8)]
    finally:
        await asyncio.sleep(0)  # the receiver's own task has to begin before it can be stopped
        await receiver.stop()


def test_upstream_still_has_no_call_for_bitrates() -> None:
    assert not hasattr(aiortc.RTCRtpSender, "setParameters"), "mended: drop set_bitrates"


def test_bitrates_fit_the_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIN_BITRATE", "DEFAULT_BITRATE", "MAX_BITRATE"):
        monkeypatch.setattr(vpx, name, getattr(vpx, name))
        monkeypatch.setattr(f"aiortc.codecs.h264.{name}", 1)
    set_bitrates(1280, 720)
    lowest, start, highest = bitrate_bounds(1280, 720)
    for name in ("VP8", "H264"):
        encoder: Any = get_encoder(RTCRtpCodecParameters(mimeType=f"video/{name}", clockRate=90000))
        assert encoder.target_bitrate == start
        encoder.target_bitrate = 10**9
        assert encoder.target_bitrate == highest
        encoder.target_bitrate = 1
        assert encoder.target_bitrate == lowest


@given(width=st.integers(64, 4096), height=st.integers(64, 4096), fps=st.floats(1, 60))
def test_more_pixels_get_more_bits_but_fewer_each(width: int, height: int, fps: float) -> None:
    lowest, start, highest = bitrate_bounds(width, height, fps)
    assert 0 < lowest < start < highest
    _, twice, _ = bitrate_bounds(width, 2 * height, fps)
    assert start < twice < 2 * start


def test_upstream_still_knows_no_playout_delay() -> None:
    extensions = rtp.HeaderExtensions()
    assert not hasattr(extensions, "playout_delay"), (
        "aiortc can ask for frames at once: drop show_frames_at_once"
    )


@pytest.mark.parametrize("audio", [False, True])
def test_frames_are_shown_at_once_where_the_receiver_knows_how(audio: bool) -> None:
    made = PromptExtensionsMap()
    mid = RTCRtpHeaderExtensionParameters(id=1, uri="urn:ietf:params:rtp-hdrext:sdes:mid")
    ours = RTCRtpHeaderExtensionParameters(id=9, uri=PLAYOUT_DELAY)
    made.configure(RTCRtpParameters(headerExtensions=[mid] if audio else [mid, ours]))
    profile, value = made.set(rtp.HeaderExtensions(mid="0"))
    sent = dict(rtp.unpack_header_extensions(profile, value))
    assert sent == ({1: b"0"} if audio else {1: b"0", 9: bytes(3)})
    assert made.get(profile, value).mid == "0"


async def test_the_answer_takes_up_the_playout_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtp, "HeaderExtensionsMap", rtp.HeaderExtensionsMap)
    monkeypatch.setitem(HEADER_EXTENSIONS, "video", list(HEADER_EXTENSIONS["video"]))
    show_frames_at_once()
    show_frames_at_once()
    browser, server = aiortc.RTCPeerConnection(), aiortc.RTCPeerConnection()
    browser.addTransceiver("video")
    await server.setRemoteDescription(await browser.createOffer())
    answer = await server.createAnswer()
    assert answer.sdp.count(PLAYOUT_DELAY) == 1
    await browser.close()
    await server.close()


def decoded_h264() -> av.VideoFrame:
    """A flat frame, after the encoder that a session would get."""
    kind = RTCRtpCodecParameters(mimeType="video/H264", clockRate=90000)
    payloads, stamp = get_encoder(kind).encode(video_frame(flat_picture(100), 0, Fraction(1, 90000)))
    data = b"".join(depayload(kind, payload) for payload in payloads)
    (frame,) = get_decoder(kind).decode(JitterFrame(data=data, timestamp=stamp))
    assert isinstance(frame, av.VideoFrame)
    return frame


def test_upstream_still_says_nothing_of_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc.codecs, "H264Encoder", H264Encoder)
    assert decoded_h264().colorspace == UNSPECIFIED, "mended: drop name_colours"


def test_h264_says_what_its_colours_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc.codecs, "H264Encoder", H264Encoder)
    name_colours()
    frame = decoded_h264()
    assert (frame.colorspace, frame.color_range) == (BT601, LIMITED)


def test_what_is_patched_is_where_we_think() -> None:
    assert rtcrtpreceiver.JitterBuffer in (JitterBuffer, MarkerJitterBuffer)
    assert jitterbuffer.JitterBuffer is JitterBuffer
