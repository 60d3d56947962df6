"""From an SDP offer to its answer: what of it we take, in which codec, and what we leave."""

import ipaddress
import logging
from dataclasses import dataclass, field

from aiortc import RTCIceCandidate, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import SessionDescription, candidate_from_sdp

from realtime.problems import Problem
from realtime.tracks import AvatarTrack

log = logging.getLogger(__name__)

# VP8 first: every browser has it, and here it costs less than half of what H.264 does. Then constrained
# baseline, which is the H.264 that Safari and OBS take.
CODECS = (("video/VP8", None), ("video/H264", "42e01f"), ("video/H264", "42001f"), ("video/rtx", None))

# What aiortc raises on descriptions that break its parser's expectations.
_UNREADABLE = (
    ValueError, LookupError, AttributeError, TypeError, AssertionError,
    InternalError, InvalidAccessError, InvalidStateError, OperationError,
)  # fmt: skip


@dataclass
class Agreed:
    """An answered offer."""

    video: MediaStreamTrack  # the camera
    sdp: str = ""
    sends_back: bool = False  # the peer wants the avatar on this connection
    unused: list[MediaStreamTrack] = field(
        default_factory=list
    )  # to be read and thrown away, or they pile up
    hidden: list[RTCIceCandidate] = field(
        default_factory=list
    )  # the offer's candidates behind mDNS names, not yet added


async def answer(pc: RTCPeerConnection, offer: str, output: AvatarTrack) -> Agreed:
    """Answer an offer on a fresh connection, with `output` as the video that goes back where that is
    wanted. Raises Problem for an offer that cannot be read (400) or served (422)."""
    try:
        media = SessionDescription.parse(offer).media
    except _UNREADABLE:
        raise Problem(400, "the SDP offer cannot be read") from None
    video = next((part for part in media if part.kind == "video"), None)
    if video is None or video.direction not in ("sendrecv", "sendonly"):
        raise Problem(
            422, "the offer's video section must send: sendrecv to get the avatar back, or sendonly"
        )
    if any(part.dtls is None or not part.dtls.fingerprints for part in media):
        raise Problem(422, "the offer has no certificate fingerprint: media is encrypted, or not sent")

    transceiver = pc.addTransceiver(output, direction="sendrecv")
    transceiver.setCodecPreferences(_preferences())
    text, hidden = _without_stumbling_blocks(offer)
    try:
        await pc.setRemoteDescription(RTCSessionDescription(sdp=text, type="offer"))
    except _UNREADABLE as error:
        log.info("offer refused: %r", error)
        raise Problem(
            422, "the offer holds nothing that this server can take: it needs VP8 or H.264 video"
        ) from None
    agreed = Agreed(video=transceiver.receiver.track)
    for other in pc.getTransceivers():
        if other is transceiver:
            continue
        if other.kind == "audio" and not agreed.unused and other.receiver.track is not None:
            agreed.unused.append(other.receiver.track)
        else:
            other.direction = "inactive"
    await pc.setLocalDescription(await pc.createAnswer())
    agreed.sdp = pc.localDescription.sdp
    agreed.sends_back = transceiver.currentDirection == "sendrecv"
    agreed.hidden = [parse_candidate(text, None) for text in hidden]
    return agreed


def _preferences() -> list[RTCRtpCodecCapability]:
    capabilities = RTCRtpReceiver.getCapabilities("video")
    assert capabilities is not None
    return [
        codec
        for name, profile in CODECS
        for codec in capabilities.codecs
        if codec.mimeType == name and codec.parameters.get("profile-level-id") == profile
    ]


def _without_stumbling_blocks(offer: str) -> tuple[str, list[str]]:
    """The offer without two kinds of lines, and those candidates that were taken out.

    End-of-candidates would make ICE give up before a peer that hides its address has called. Candidates
    behind mDNS names take up to a second each to resolve, or fail to; so they are left for later.
    """
    lines = offer.splitlines()
    hidden = [line for line in lines if line.startswith("a=candidate:") and ".local " in line]
    kept = [line for line in lines if line not in hidden and line != "a=end-of-candidates"]
    return "\r\n".join(kept) + "\r\n", [line.removeprefix("a=candidate:") for line in hidden]


def parse_candidate(text: str, mid: str | None) -> RTCIceCandidate:
    """One of the peer's candidates, written as in SDP after `candidate:`. mid: of its section; None for
    the first, which carries everything where sections are bundled. Raises Problem for what is no
    candidate."""
    try:
        candidate = candidate_from_sdp(text)
        if not candidate.ip.endswith(".local"):
            ipaddress.ip_address(candidate.ip)
    except _UNREADABLE:
        raise Problem(400, "an ICE candidate cannot be read") from None
    if mid is None:
        candidate.sdpMLineIndex = 0
    else:
        candidate.sdpMid = mid
    return candidate
