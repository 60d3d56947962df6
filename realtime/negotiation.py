"""From an SDP offer to its answer: what of it we take, in which codec, and what we leave."""

import ipaddress
import logging
from dataclasses import dataclass

from aiortc import (
    RTCIceCandidate,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
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

MAX_CANDIDATES = 64  # of one peer; each costs a check of its own for as long as the peers look for a path

# What aiortc raises on descriptions that break its parser's expectations.
_UNREADABLE = (
    ValueError, LookupError, AttributeError, TypeError, AssertionError, StopIteration,
    InternalError, InvalidAccessError, InvalidStateError, OperationError,
)  # fmt: skip


@dataclass(frozen=True)
class Agreed:
    """An answered offer."""

    video: MediaStreamTrack  # the camera
    sdp: str
    sends_back: bool  # the peer wants the avatar on this connection
    unused: list[MediaStreamTrack]  # to be read and thrown away, or they pile up
    hidden: list[RTCIceCandidate]  # the offer's candidates behind mDNS names, not yet added
    candidates: int  # how many the offer has, hidden or not


async def answer(pc: RTCPeerConnection, offer: str, output: AvatarTrack) -> Agreed:
    """Answer an offer on a fresh connection, with `output` as the video that goes back where that is
    wanted. Raises Problem for an offer that cannot be read (400) or served (422)."""
    candidates = sum(line.startswith("a=candidate:") for line in offer.splitlines())
    check_candidates(candidates)
    try:
        description = SessionDescription.parse(offer)
    except _UNREADABLE:
        raise Problem(400, "the SDP offer cannot be read") from None
    media = description.media
    video = next((part for part in media if part.kind == "video"), None)
    if video is None or video.direction not in ("sendrecv", "sendonly"):
        raise Problem(
            422, "the offer's video section must send: sendrecv to get the avatar back, or sendonly"
        )
    if any(part.dtls is None or not part.dtls.fingerprints for part in media):
        raise Problem(422, "the offer has no certificate fingerprint: media is encrypted, or not sent")
    _check_names(description)

    transceiver = pc.addTransceiver(output, direction="sendrecv")
    transceiver.setCodecPreferences(_preferences())
    text, hidden_lines = split_candidates(offer)
    hidden = [parse_candidate(line, None) for line in hidden_lines]
    try:
        await pc.setRemoteDescription(RTCSessionDescription(sdp=text, type="offer"))
        unused = _unused(pc, transceiver)
        await pc.setLocalDescription(await pc.createAnswer())
    except _UNREADABLE as error:
        log.info("offer refused: %r", error)
        raise Problem(
            422, "the offer holds nothing that this server can take: it needs VP8 or H.264 video"
        ) from None
    return Agreed(
        video=transceiver.receiver.track,
        sdp=pc.localDescription.sdp,
        sends_back=transceiver.currentDirection == "sendrecv",
        unused=unused,
        hidden=hidden,
        candidates=candidates,
    )


def check_candidates(count: int) -> None:
    """Raises Problem where these are more candidates than one peer may have."""
    if count > MAX_CANDIDATES:
        raise Problem(422, f"a session takes at most {MAX_CANDIDATES} ICE candidates")


def _check_names(description: SessionDescription) -> None:
    """Raises Problem unless each section has a name of its own, and bundles are of those: what aiortc makes
    of others ends in a connection that can't even be closed."""
    names = [part.rtp.muxId for part in description.media]
    if "" in names or len(set(names)) < len(names):
        raise Problem(422, "each section of the offer needs an a=mid of its own")
    bundled = {name for group in description.group if group.semantic == "BUNDLE" for name in group.items}
    if not bundled <= set(names):
        raise Problem(422, "the offer bundles a section that it does not have")


def _unused(pc: RTCPeerConnection, used: RTCRtpTransceiver) -> list[MediaStreamTrack]:
    """The first sound, which comes and is thrown away; whatever else was offered is turned down."""
    unused: list[MediaStreamTrack] = []
    for other in pc.getTransceivers():
        if other is used:
            continue
        if other.kind == "audio" and not unused and other.receiver.track is not None:
            unused.append(other.receiver.track)
        else:
            other.direction = "inactive"
    return unused


def _preferences() -> list[RTCRtpCodecCapability]:
    capabilities = RTCRtpReceiver.getCapabilities("video")
    assert capabilities is not None
    return [
        codec
        for name, profile in CODECS
        for codec in capabilities.codecs
        if codec.mimeType == name and codec.parameters.get("profile-level-id") == profile
    ]


def split_candidates(offer: str) -> tuple[str, list[str]]:
    """The offer without two kinds of lines, and those candidates that were taken out, as written after
    `candidate:`.

    End-of-candidates would make ICE give up before a peer that hides its address has called. Candidates
    behind mDNS names take up to a second each to resolve, or fail to; so they are left for later.
    """
    kept, hidden = [], []
    for line in offer.splitlines():
        if line.startswith("a=candidate:") and ".local " in line:
            hidden.append(line.removeprefix("a=candidate:"))
        elif line != "a=end-of-candidates":
            kept.append(line)
    return "\r\n".join(kept) + "\r\n", hidden


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
