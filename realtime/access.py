"""Who may call: the Host header on loopback addresses, a bearer token elsewhere, and the headers that
confine the page."""

import hmac
import logging
from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from realtime.problems import Problem
from realtime.stats import Metrics

log = logging.getLogger(__name__)

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
# These, and everything below /static/, hold no secret; and the page is what brings the token.
OPEN_PATHS = ("/", "/healthz", "/readyz")

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: mediastream:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def host_name(header: str) -> str:
    """The name in a Host header, without its port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def check_host(request: web.Request, names: Collection[str]) -> None:
    """Raises Problem unless the call was addressed to this machine by one of its own names: a foreign page
    that has its name resolve to 127.0.0.1 sends its own."""
    if host_name(request.headers.get("Host", "")) not in names:
        raise Problem(403, f"this server answers only to {', '.join(sorted(names))}")


def check_token(request: web.Request, token: str) -> None:
    """Raises Problem unless the call carries the token, or asks for nothing that needs one."""
    if request.path in OPEN_PATHS or request.path.startswith("/static/"):
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    shown = given.strip().encode(errors="surrogateescape")  # as it came: it need not be text
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown, token.encode()):
        raise Problem(
            401,
            "a valid token is needed: open the address that the server printed",
            {"WWW-Authenticate": "Bearer"},
        )


def guard(token: str | None, names: Collection[str] | None, metrics: Metrics) -> Middleware:
    """The middleware that lets calls through or refuses them, writes every refusal as problem+json, and
    adds the page's headers. token: None where none is needed. names: those by which the server may be called,
    in lower case; None for any."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if names is not None:
                check_host(request, names)
            if token is not None:
                check_token(request, token)
            response = await handler(request)
        except Problem as problem:
            response = problem.response()
        except (
            web.HTTPException
        ) as error:  # aiohttp's own: no such path, method not allowed, body too large …
            if error.status < 400:
                raise
            keep = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
            response = Problem(error.status, error.text or error.reason, keep).response()
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            response = Problem(500, "something went wrong in the server; its log says what").response()
        if response.status >= 400:
            metrics.refused.labels(str(response.status)).inc()
        response.headers.update(PAGE_HEADERS)
        if not response.headers.get("Cache-Control"):
            response.headers["Cache-Control"] = (
                "no-cache" if request.path.startswith("/static/") else "no-store"
            )
        return response

    return middleware
