"""What the page says when things go wrong, and that one can go on from there."""

from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from playwright.sync_api import Browser, Playwright

from realtime.bench.chromium import launch
from realtime.bench.process import Running
from tests.live import PORTRAIT
from tests.realtime import browsing
from tests.realtime.browsing import PHONE, pose_camera, until, visit
from tests.serve_flat import FAULTY

pytestmark = pytest.mark.browser

TOKEN = "open-sesame"


@pytest.fixture(scope="module")
def small_server() -> Iterator[Running]:
    """A server with one place, and a token."""
    with browsing.server("--max-sessions", "1", "--token", TOKEN) as running:
        yield running


def ready(server: Running) -> bool:
    """Does the server have a place?"""
    try:
        with urlopen(server.address.partition("#")[0] + "readyz"):
            return True
    except HTTPError:
        return False


def ended(server: Running, reason: str) -> float:
    """How many of the server's sessions have ended for that reason."""
    request = Request(
        server.address.partition("#")[0] + "metrics", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urlopen(request) as answer:
        rows = str(answer.read(), "utf-8").splitlines()
    name = f'reenact_sessions_ended_total{{reason="{reason}"}} '
    return sum(float(row.removeprefix(name)) for row in rows if row.startswith(name))


def test_a_full_server_says_so_and_lets_in_once_there_is_room(
    browser: Browser, small_server: Running
) -> None:
    until(lambda: ready(small_server), "a free place")
    first, second = visit(browser, small_server.address), visit(browser, small_server.address)
    first.start()
    second.button("Start").click()
    second.warns("The server is full")
    assert second.button("Start").is_enabled()
    first.button("Stop").click()
    until(lambda: ready(small_server), "a free place")
    second.button("Try again").click()
    second.page.locator("#stage[data-state=live]").wait_for()
    assert second.page.get_by_role("alert").is_hidden()
    for person in (first, second):
        person.page.context.close()


def test_a_page_that_goes_away_frees_its_place(browser: Browser, small_server: Running) -> None:
    until(lambda: ready(small_server), "a free place")
    there = visit(browser, small_server.address)
    there.start()
    assert not ready(small_server)
    reasons = ("deleted", "gone", "timeout", "error")
    before = [ended(small_server, reason) for reason in reasons]
    there.page.goto("about:blank")
    until(lambda: ready(small_server), "a free place")
    after = [ended(small_server, reason) for reason in reasons]
    # Two messages say so, and either may be first: the request, and the end of the connection itself.
    assert np.subtract(after, before).tolist() in ([1, 0, 0, 0], [0, 1, 0, 0]), "nobody had to wait for it"
    there.page.context.close()


def test_the_token_leaves_the_address_bar_and_is_kept_for_a_reload(
    browser: Browser, small_server: Running
) -> None:
    until(lambda: ready(small_server), "a free place")
    assert small_server.address.endswith(f"#token={TOKEN}")
    there = visit(browser, small_server.address)
    assert "token" not in there.page.url
    assert not any(TOKEN in url for url in there.calls)
    there.page.reload()
    there.start()
    there.button("Stop").click()
    there.page.context.close()


def test_without_the_token_the_page_says_where_to_get_it(browser: Browser, small_server: Running) -> None:
    there = visit(browser, small_server.address.partition("#")[0])
    there.warns("This address is not complete")
    assert there.button("Start").is_disabled()

    # The whole address, opened in the same tab: only its fragment differs.
    there.page.goto(small_server.address)
    there.says("Ready")
    there.start()
    assert "token" not in there.page.url
    there.button("Stop").click()
    there.page.context.close()


def test_a_refused_permission(playwright: Playwright, astronaut: Running) -> None:
    own = launch(playwright, allow_camera=False)
    there = visit(own, astronaut.address, PHONE)
    there.button("Start").click()
    there.warns("The camera is not allowed")
    there.says("The camera is not allowed")
    assert there.button("Try again").is_visible()
    assert there.button("Start").is_enabled()
    own.close()


@pytest.mark.parametrize(
    ("error", "title"),
    [
        ("NotFoundError", "No camera found"),
        ("NotReadableError", "The camera is in use"),
        ("NotAllowedError", "The camera is not allowed"),
    ],
)
def test_a_camera_that_does_not_open(browser: Browser, astronaut: Running, error: str, title: str) -> None:
    there = visit(browser, astronaut.address)
    there.page.evaluate(
        """(name) => {
          navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", name); };
        }""",
        error,
    )
    there.button("Start").click()
    there.warns(title)
    there.page.evaluate("() => { delete navigator.mediaDevices.getUserMedia; }")
    there.button("Try again").click()
    there.page.locator("#stage[data-state=live]").wait_for()
    there.page.context.close()


def test_an_insecure_address(browser: Browser, astronaut: Running) -> None:
    """A phone that opened the page by http: its browser offers no camera at all."""
    context = browser.new_context(viewport=PHONE)
    context.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })"
    )
    there = browsing.Visit(context.new_page(), astronaut.address)
    there.warns("The camera needs a secure address")
    assert "--tls self-signed" in there.page.get_by_role("alert").inner_text()
    assert there.complaints == []
    context.close()


def test_a_camera_that_is_unplugged(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    there.page.evaluate(
        "document.getElementById('self').srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))"
    )
    there.warns("The camera went away")
    there.button("Start again").click()
    there.page.locator("#stage[data-state=live]").wait_for()
    there.page.context.close()


def test_a_firewall_that_lets_no_media_through(browser: Browser, astronaut: Running) -> None:
    """Calls work, but no packet of the media's path is taken for what it is."""
    cut = """
      window.answered = false;
      const take = RTCPeerConnection.prototype.setRemoteDescription;
      RTCPeerConnection.prototype.setRemoteDescription = async function ({ type, sdp }) {
        await take.call(this, { type, sdp: sdp.replace(/a=ice-pwd:.*/g, `a=ice-pwd:${"x".repeat(24)}`) });
        window.answered = true;
      };
    """
    there = visit(browser, astronaut.address, scripts=[cut])
    there.page.clock.install()
    there.button("Start").click()
    there.comes_true("answered")
    there.page.clock.fast_forward(20_000)
    there.warns("No way for the video")
    told = there.page.get_by_role("alert").inner_text()
    assert "firewall" in told
    assert "--ice-server" in told
    assert there.button("Try again").is_visible()
    there.page.context.close()


def test_frames_that_cannot_be_drawn_leave_the_last_picture_and_a_word(
    browser: Browser, flat_server: Running
) -> None:
    poses = [np.full((480, 640, 3), level, np.uint8) for level in (120, FAULTY + 15)]
    there = visit(browser, flat_server.address, scripts=[pose_camera(poses)])
    there.start()
    there.page.evaluate("pose(1)")
    there.says("No new picture just now")
    assert there.page.locator("#status").get_attribute("data-tone") == "bad"
    red, _, blue = there.shown().mean((0, 1))
    assert (red, blue) == pytest.approx((PORTRAIT[0], 0), abs=8), "black has no red"
    there.page.evaluate("pose(0)")
    there.says("Live")
    assert len(there.avatar(2)) == 2
    assert there.page.get_by_role("alert").is_hidden()
    assert there.complaints == []
    there.page.context.close()


def test_a_server_that_shuts_down_tells_the_page(browser: Browser) -> None:
    with browsing.server() as server:
        there = visit(browser, server.address)
        there.start()
        server.process.terminate()
        there.warns("The server is shutting down")
    assert not [url for url in there.calls if "/whip/" in url], "it frees the session by itself"
    there.button("Reconnect").click()
    there.warns("The server does not answer")
    there.page.context.close()


def test_a_server_that_vanishes_is_noticed(browser: Browser) -> None:
    with browsing.server() as server:
        there = visit(browser, server.address)
        there.start()
        server.process.kill()
        there.warns("Connection lost")
        assert there.button("Reconnect").is_visible()
    there.page.context.close()
