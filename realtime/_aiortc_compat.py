"""The only place that touches aiortc's private parts. Each touch names the defect, the version it was seen
in, the test that fails when upstream mends it, and when to remove it.

1. **A frame waits for the next one** (aiortc 1.16.0). `JitterBuffer._remove_frame` takes a video frame for
   complete only when a packet of the *next* frame has come, although the RTP marker bit says which packet is
   a frame's last (RFC 7741 section 4.1, RFC 6184 section 5.1). Costs one frame interval of delay: 33 ms at
   30 fps, 100 at 10. And `RTCRtpReceiver._handle_rtp_packet` takes at most one frame out of the buffer a
   packet, so that frames that became complete together, when a lost packet was sent again, stay behind by as
   many packets.
   Tests: `tests/realtime/test_aiortc_compat.py::test_upstream_still_waits_for_the_next_frame`,
   `::test_upstream_still_takes_one_frame_a_packet`. Remove `complete_frames_on_marker` when both fail.
2. **Bitrates are fixed** (aiortc 1.16.0). VP8 starts at 0.5 Mb/s and never goes above 1.5, H.264 at 1 and 3,
   whatever the size of the picture; there is no call that changes them, only module constants.
   Test: `::test_upstream_still_has_no_call_for_bitrates`. Remove `set_bitrates` when it fails.
3. **Receivers can't be told to show frames at once** (aiortc 1.16.0). Our frames carry the camera's time
   stamps and leave when the engine is done with them, so their intervals vary; a browser takes that for a
   network's jitter and holds frames back to smooth it: 70 to 140 ms on a busy machine, 2 with the header
   extension `playout-delay`, which aiortc doesn't know.
   Test: `::test_upstream_still_knows_no_playout_delay`. Remove `show_frames_at_once` when it fails.
4. **H.264 does not say what its colours are** (aiortc 1.16.0). Frames are converted by BT.601's matrix, and
   the encoder is told nothing of it, so that each receiver guesses: Chromium 156 takes BT.709, and shows a
   red of 200 as 209.
   Test: `::test_upstream_still_says_nothing_of_colours`. Remove `name_colours` when it fails.
"""

from typing import Any

from aiortc import codecs, rtcrtpreceiver, rtp
from aiortc.codecs import HEADER_EXTENSIONS, h264, vpx
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap, RtpPacket

from realtime.colours import BT601, LIMITED

BITS_PER_PIXEL = 0.2  # at 512×512 and 30 fps: 1.6 Mb/s, where a talking head shows no blocks
REFERENCE_RATE = 512 * 512 * 30  # pixels a second
GROWTH = 0.75  # larger pictures need fewer bits for each pixel
RANGE = (0.25, 2.0)  # what congestion control may ask for, as multiples of the start

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
AT_ONCE = bytes(3)  # 12 bits of the shortest delay, 12 bits of the longest, in steps of 10 ms


def bitrate_bounds(width: int, height: int, fps: float = 30.0) -> tuple[int, int, int]:
    """The lowest, first and highest bitrate of a video, bits a second."""
    start = BITS_PER_PIXEL * REFERENCE_RATE * (width * height * fps / REFERENCE_RATE) ** GROWTH
    return int(start * RANGE[0]), int(start), int(start * RANGE[1])


def set_bitrates(width: int, height: int, fps: float = 30.0) -> None:
    """Give every encoder that is made from now on bounds that fit the canvas."""
    lowest, start, highest = bitrate_bounds(width, height, fps)
    for codec in (vpx, h264):
        vars(codec).update(MIN_BITRATE=lowest, DEFAULT_BITRATE=start, MAX_BITRATE=highest)


class MarkerJitterBuffer(JitterBuffer):
    """A jitter buffer that takes a video frame for complete with the packet that carries the marker bit."""

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        # Video is never prefetched and audio has a marker of another meaning: that stays as it was.
        if not self._is_video:
            return super()._remove_frame(sequence_number)
        return self.next_frame()

    def next_frame(self) -> JitterFrame | None:
        """Take out the first frame, where all its packets have come: those from the buffer's origin on
        that share a time stamp, up to the one with the marker, or up to a packet of another time stamp for
        senders without markers."""
        if self._origin is None:
            return None
        # Senders probe how much a network carries with packets that hold nothing. They follow a frame and
        # have its time stamp; a decoder would take one for the end of the stream.
        while (first := self._packets[self._origin % self.capacity]) is not None and not _contents(first):
            self.remove(1)
        packets: list[RtpPacket] = []
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self.capacity]
            if packet is None:
                return None
            if packets and packet.timestamp != packets[0].timestamp:
                return self._take(packets)
            packets.append(packet)
            if packet.marker:
                return self._take(packets)
        return None

    def _take(self, packets: list[RtpPacket]) -> JitterFrame:
        data = b"".join(_contents(packet) for packet in packets)
        frame = JitterFrame(data=data, timestamp=packets[0].timestamp)
        frame.payload_type = packets[0].payload_type  # type: ignore[attr-defined]
        self.remove(len(packets))
        return frame


def _contents(packet: RtpPacket) -> bytes:
    """What a packet holds of its frame; aiortc leaves it there."""
    data: bytes = packet._data  # type: ignore[attr-defined]
    return data


_handle_one = rtcrtpreceiver.RTCRtpReceiver._handle_rtp_packet


async def _handle_all(self: rtcrtpreceiver.RTCRtpReceiver, packet: RtpPacket, arrival_time_ms: int) -> None:
    """Handle a packet, then hand every further frame that it completed to the decoder."""
    await _handle_one(self, packet, arrival_time_ms)
    parts = vars(self)
    buffer = parts["_RTCRtpReceiver__jitter_buffer"]
    if not buffer._is_video:
        return
    while (frame := buffer.next_frame()) is not None:
        codec = parts["_RTCRtpReceiver__codecs"].get(frame.payload_type)
        if codec is not None and parts["_RTCRtpReceiver__decoder_thread"]:
            frame.timestamp = parts["_RTCRtpReceiver__timestamp_mapper"].map(frame.timestamp)
            parts["_RTCRtpReceiver__decoder_queue"].put((codec, frame))


def complete_frames_on_marker() -> None:
    """Let every receiver that is made from now on decode a frame as soon as its last packet has come."""
    vars(rtcrtpreceiver).update(JitterBuffer=MarkerJitterBuffer)
    rtcrtpreceiver.RTCRtpReceiver._handle_rtp_packet = _handle_all  # type: ignore[method-assign]


class PromptExtensionsMap(HeaderExtensionsMap):
    """Header extensions with a playout delay of nothing, where the other side has said that it knows it."""

    _playout_delay: int | None = None  # the extension's number in this session

    def configure(self, parameters: RTCRtpParameters) -> None:
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == PLAYOUT_DELAY:
                self._playout_delay = extension.id

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        profile, value = super().set(values)
        if self._playout_delay is None:
            return profile, value
        extensions = rtp.unpack_header_extensions(profile, value)
        return rtp.pack_header_extensions([*extensions, (self._playout_delay, AT_ONCE)])


def show_frames_at_once() -> None:
    """Let every sender of video that is made from now on ask its receiver not to hold frames back."""
    known = HEADER_EXTENSIONS["video"]
    if all(extension.uri != PLAYOUT_DELAY for extension in known):
        number = 1 + max(extension.id for extension in known)
        known.append(RTCRtpHeaderExtensionParameters(id=number, uri=PLAYOUT_DELAY))
    vars(rtp).update(HeaderExtensionsMap=PromptExtensionsMap)


class CandidH264Encoder(h264.H264Encoder):
    """An H.264 encoder whose stream says what its colours are."""

    def __setattr__(self, name: str, value: Any) -> None:
        """A codec is told as soon as there is one: when it has encoded a frame, it is too late."""
        if name == "codec" and value is not None:
            value.colorspace, value.color_range = BT601, LIMITED
        super().__setattr__(name, value)


def name_colours() -> None:
    """Let every H.264 encoder that is made from now on say that its colours are BT.601's, limited range."""
    vars(codecs).update(H264Encoder=CandidH264Encoder)


def apply(width: int, height: int) -> None:
    """All of it, for a server whose canvas is width×height."""
    complete_frames_on_marker()
    set_bitrates(width, height)
    show_frames_at_once()
    name_colours()
