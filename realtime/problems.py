"""What is refused, and why: one exception for HTTP and data channel alike, written as RFC 9457 over HTTP."""

from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

STATUS_TITLES = {
    413: "Content Too Large",
    422: "Unprocessable Content",
}  # RFC 9110's names, which Python 3.11 lacks


class Problem(Exception):
    """A request that cannot be met. detail: one sentence for a person."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """`application/problem+json`."""
        title = STATUS_TITLES.get(self.status, HTTPStatus(self.status).phrase)
        body = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        response = web.json_response(body, status=self.status, content_type="application/problem+json")
        response.headers.update(self.headers)
        return response
