"""What a server can be told, checked when it is made."""

import ipaddress
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from aiortc import RTCIceServer

from realtime.devices import Backend, Device, Precision
from realtime.framing import Canvas

DriverPixels = Literal["none", "mouth", "mouth+shading"]
LogLevel = Literal["debug", "info", "warning", "error"]

MOST_WAIT_MS = 100.0
MAX_UPLOAD = 20 * 2**20  # bytes of a portrait's file

_ICE_SERVER = re.compile(r"[^\s:/?@\[\]]+(:(?P<port>[0-9]{1,5}))?(\?transport=(?P<transport>[a-z]+))?")
_TRANSPORTS = {"turn": (None, "udp", "tcp"), "turns": (None, "tcp")}


def controls_of(choice: DriverPixels) -> dict[str, float]:
    """How much of the driver's own pixels that lets through, by control."""
    return {"mouth_pixels": float(choice != "none"), "shading": float(choice == "mouth+shading")}


def check_source(paths: tuple[Path, ...]) -> None:
    """Raises ValueError where no portrait is named."""
    if not paths:
        raise ValueError("a portrait is wanted: name its picture with --source")


@dataclass(frozen=True)
class Settings:
    """A server's settings. Raises ValueError where they contradict each other."""

    source: tuple[Path, ...]
    """Picture of the face to bring to life (JPEG, PNG, WebP or BMP). May be given several times, for models
    that look at several pictures of a person: the avatar is put into the first."""
    model: str = "auto"
    """Generator, as NAME or NAME:SIZE: warp, imf, dae_gan, landmark_gan, latent or liveportrait; or the
    folder that trainer.export wrote. auto takes liveportrait where models.fetch got its weights and the
    device makes 20 frames a second, else warp."""
    backend: Backend = "auto"
    """What runs the generator: torch runs those that have a name, onnx (ONNX Runtime) those of a folder; auto
    takes the one that goes with the model."""
    weights: str | None = None
    """The generator's weights (safetensors), for all but warp, where models.fetch didn't get them; or random,
    whose picture is noise, to try without."""
    device: Device = "auto"
    """Where the generator runs; auto takes a GPU where there is one."""
    precision: Precision = "auto"
    """Of a network's numbers: float32, fp16 or bf16; auto takes fp16 on CUDA where that is known to do."""
    compile: bool = False
    """Have torch compile the generator at the start, which takes minutes and wants a C++ compiler (on a GPU,
    triton), and then draws faster."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 lets other machines in, and then a token is asked for."""
    port: int = 8080
    """Port to listen on; 0 takes any free one."""
    tls: str | None = None
    """HTTPS, which phones want before they open a camera: self-signed, or CERT,KEY (two PEM files)."""
    max_sessions: int = 4
    """How many people can be connected at once."""
    canvas: str = "512x512"
    """Size of the avatar's video as WxH. A square shows the face; any other shape the whole portrait."""
    driver_pixels: DriverPixels = "mouth+shading"
    """What of the driver's own picture may be seen: nothing, the inside of the mouth, or that and the
    change of light."""
    debug_stamp: bool = False
    """Draw the top 16 rows of each driving frame over the avatar's, to measure delay by a bar code in
    them."""
    token: str | None = None
    """Bearer token that callers must show. Made up and printed where one is needed and none is given."""
    ice_server: tuple[str, ...] = ()
    """STUN or TURN server, as stun:HOST[:PORT] or turn[s]:USER:PASSWORD@HOST[:PORT]; HOST is a name or an
    IPv4 address. None are contacted otherwise."""
    max_batch: int = 16
    """How many people's frames are drawn together at most."""
    batch_wait_ms: float = 4.0
    """How long a frame waits for others to be drawn with, where several people are connected."""
    threads: int = 0
    """Processor threads for the generator where it runs on the CPU; 0 takes half of the cores."""
    log_level: LogLevel = "info"
    """How much to say on the standard error stream."""
    version: bool = False
    """Print the version and leave."""

    def __post_init__(self) -> None:
        check_source(self.source)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port}: must be from 0 to 65535")
        if self.max_sessions < 1:
            raise ValueError(f"max-sessions {self.max_sessions}: must be at least 1")
        if self.max_batch < 1:
            raise ValueError(f"max-batch {self.max_batch}: must be at least 1")
        if not 0 <= self.batch_wait_ms <= MOST_WAIT_MS:
            raise ValueError(f"batch-wait-ms {self.batch_wait_ms:g}: must be from 0 to {MOST_WAIT_MS:g}")
        if self.threads < 0:
            raise ValueError(f"threads {self.threads}: must not be negative")
        if self.token is not None and not (
            self.token.isascii() and self.token.isprintable() and " " not in self.token
        ):
            raise ValueError("token: must be of printable ASCII characters without blanks")
        if self.token == "":
            raise ValueError("token: must not be empty")
        Canvas.parse(self.canvas)
        if self.tls not in (None, "self-signed") and len(self.tls.split(",")) != 2:
            raise ValueError(f"tls {self.tls!r}: write self-signed, or CERT,KEY (two PEM files)")
        for text in self.ice_server:
            parse_ice_server(text)

    @cached_property
    def size(self) -> Canvas:
        """The canvas."""
        return Canvas.parse(self.canvas)

    @property
    def loopback(self) -> bool:
        """Can only this machine reach the server?"""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @cached_property
    def bearer(self) -> str | None:
        """The token that callers must show; None where none is needed."""
        if self.token is not None or self.loopback:
            return self.token
        return secrets.token_urlsafe(16)

    @cached_property
    def ice_servers(self) -> list[RTCIceServer]:
        return [parse_ice_server(text) for text in self.ice_server]

    @property
    def ceilings(self) -> dict[str, float]:
        """How much of the driver's pixels a session may ask for, by control."""
        return {
            "mouth_pixels": float(self.driver_pixels != "none"),
            "shading": float(self.driver_pixels == "mouth+shading"),
        }


def parse_ice_server(text: str) -> RTCIceServer:
    """`stun:HOST[:PORT]` or `turn[s]:USER:PASSWORD@HOST[:PORT][?transport=…]`. Raises ValueError for
    anything else, and for what aiortc would pass over (`stuns`, `turns` over UDP) or stumble at (IPv6
    addresses) when the first session begins."""
    scheme, _, rest = text.partition(":")
    credentials, at, server = rest.rpartition("@")
    username, colon, password = credentials.partition(":")
    match = _ICE_SERVER.fullmatch(server)
    if match is not None and text.isprintable() and 0 < int(match["port"] or 1) <= 65535:
        if scheme == "stun" and not at and not match["transport"]:
            return RTCIceServer(urls=text)
        if colon and match["transport"] in _TRANSPORTS.get(scheme, ()):
            return RTCIceServer(urls=f"{scheme}:{server}", username=username, credential=password)
    raise ValueError(
        f"ice-server {text!r}: write stun:HOST[:PORT] or turn[s]:USER:PASSWORD@HOST[:PORT], "
        "where HOST is a name or an IPv4 address"
    )
