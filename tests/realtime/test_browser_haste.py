"""What a person does who does not wait: Stop, Start and other choices while the page is still at the last
one."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from playwright.sync_api import Browser, Playwright, Request, Route

from realtime.bench.process import Running
from tests.realtime import browsing
from tests.realtime.browsing import WATCHED, Visit, difference, until, visit

pytestmark = pytest.mark.browser

LIVE_TRACKS = "tracks.filter((track) => track.readyState === 'live').length"
NEVER_GATHERED = """
  Object.defineProperty(RTCPeerConnection.prototype, "iceGatheringState", { get: () => "gathering" });
"""


@pytest.fixture(scope="module")
def many_cameras(playwright: Playwright) -> Iterator[Browser]:
    running = browsing.launch_with_cameras(playwright)
    yield running
    running.close()


def ask(there: Visit) -> None:
    """From now on the camera is given only once the test says so."""
    there.page.evaluate("window.cameraAsks = true")


def asked(there: Visit, count: int) -> None:
    """Wait until the page has asked that often for a camera."""
    there.comes_true(f"prompts.length === {count}")


def allow(there: Visit, number: int) -> None:
    """Give the camera that was asked for, and wait until the page has it."""
    given = there.page.evaluate("tracks.length")
    there.page.evaluate("(number) => prompts[number].allow()", number)
    there.comes_true(f"tracks.length === {given + 1}")


def live_tracks(there: Visit) -> int:
    return int(there.page.evaluate(LIVE_TRACKS))


def cameras(there: Visit) -> list[str]:
    """Values of the picker, the default camera's first."""
    return there.page.eval_on_selector_all("#camera option", "(all) => all.map((option) => option.value)")


def seen_camera(there: Visit) -> str:
    """Which camera the self-view shows."""
    return str(
        there.page.evaluate(
            "document.getElementById('self').srcObject.getVideoTracks()[0].getSettings().deviceId"
        )
    )


def test_another_camera_while_running(many_cameras: Browser, astronaut: Running) -> None:
    there = visit(many_cameras, astronaut.address, scripts=[WATCHED])
    default, first, _, second = cameras(there)
    assert default == ""
    there.start()
    assert seen_camera(there) == first
    there.page.locator("#camera").select_option(second)
    there.comes_true("tracks.length === 2")
    assert live_tracks(there) == 1
    assert seen_camera(there) == second
    there.comes_true("peers[0].getSenders()[0].track === tracks[1]")
    assert len(there.avatar(2)) == 2

    # The choice stays: over a stop, and when the list of cameras is made anew.
    there.button("Stop").click()
    there.start()
    assert seen_camera(there) == second
    there.page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    there.page.evaluate("navigator.mediaDevices.enumerateDevices()")
    assert there.page.locator("#camera").input_value() == second
    there.page.locator("#camera").select_option("")
    there.comes_true("tracks.length === 4")
    assert seen_camera(there) == first
    assert there.page.locator("#camera").input_value() == ""
    there.page.context.close()


def test_a_stop_while_the_camera_is_being_switched_leaves_none_on(
    many_cameras: Browser, astronaut: Running
) -> None:
    there = visit(many_cameras, astronaut.address, scripts=[WATCHED])
    there.start()
    ask(there)
    there.page.locator("#camera").select_option(cameras(there)[-1])
    asked(there, 1)
    there.button("Stop").click()
    there.says("Stopped")
    allow(there, 0)
    assert live_tracks(there) == 0
    assert there.page.locator("#self").is_hidden()
    assert there.page.get_by_role("alert").is_hidden()
    there.page.context.close()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the last first"])
def test_of_two_quick_choices_of_a_camera_the_last_one_holds(
    many_cameras: Browser, astronaut: Running, order: tuple[int, int]
) -> None:
    there = visit(many_cameras, astronaut.address, scripts=[WATCHED])
    _, first, _, second = cameras(there)
    there.start()
    ask(there)
    for choice in (second, first):
        there.page.locator("#camera").select_option(choice)
    asked(there, 2)
    for number in order:
        allow(there, number)
    assert live_tracks(there) == 1
    assert seen_camera(there) == first
    there.says("Live")
    there.page.context.close()


def test_a_camera_chosen_while_another_one_opens_is_the_one_in_use(
    many_cameras: Browser, astronaut: Running
) -> None:
    there = visit(many_cameras, astronaut.address, scripts=[WATCHED])
    second = cameras(there)[-1]
    ask(there)
    there.button("Start").click()
    asked(there, 1)
    there.page.locator("#camera").select_option(second)
    there.page.evaluate("window.cameraAsks = false")
    allow(there, 0)
    there.says("Live")
    there.comes_true("tracks.length === 2")
    assert seen_camera(there) == second
    assert live_tracks(there) == 1
    there.page.context.close()


def test_start_stop_start_at_the_open_prompt_is_one_session(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address, scripts=[WATCHED])
    ask(there)
    for name in ("Start", "Stop", "Start"):
        there.button(name).click()
    asked(there, 2)
    allow(there, 0)
    allow(there, 1)
    there.says("Live")
    assert there.offers == 1
    assert live_tracks(there) == 1
    assert there.page.get_by_role("alert").is_hidden()
    there.button("Stop").click()
    assert live_tracks(there) == 0
    there.comes_true("peers.every((peer) => peer.connectionState === 'closed')")
    there.page.context.close()


def test_a_no_to_an_attempt_that_was_stopped_does_not_end_the_next(
    browser: Browser, astronaut: Running
) -> None:
    there = visit(browser, astronaut.address, scripts=[WATCHED])
    ask(there)
    for name in ("Start", "Stop", "Start"):
        there.button(name).click()
    asked(there, 2)
    there.page.evaluate("prompts[0].refuse()")
    there.says("Opening the camera…")
    allow(there, 1)
    there.says("Live")
    assert there.page.get_by_role("alert").is_hidden()
    there.page.context.close()


def test_a_stop_before_the_offer_is_ready_opens_no_session(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address, scripts=[WATCHED, NEVER_GATHERED])
    there.page.clock.install()
    there.button("Start").click()
    there.comes_true("peers[0]?.localDescription != null")
    there.button("Stop").click()
    there.says("Stopped")
    there.page.clock.fast_forward(5000)
    there.start()  # had the first offer gone out, it had gone before this one
    assert there.offers == 1
    there.page.context.close()


class HeldUploads:
    """Keeps a page's first portrait on its way to the server until it is let go."""

    def __init__(self, there: Visit) -> None:
        self.begun = 0
        self.finished: list[int] = []  # statuses
        self._held: list[Route] = []
        self._there = there
        there.page.route("**/source", self._take)
        there.page.on("requestfinished", self._note)

    def wait_for_the_first(self) -> None:
        until(lambda: self._pumped(self.begun > 0), "sent a portrait")

    def let_go(self) -> None:
        self._held.pop().continue_()

    def _take(self, route: Route) -> None:
        self.begun += 1
        if self.begun == 1:
            self._held.append(route)
        else:
            route.continue_()

    def _note(self, request: Request) -> None:
        response = request.response()
        if request.method == "PUT" and response is not None:
            self.finished.append(response.status)

    def _pumped(self, happened: bool) -> bool:
        """Lets Playwright tell what has happened meanwhile."""
        self._there.page.evaluate("0")
        return happened


def test_a_stop_while_a_portrait_is_sent_keeps_it_for_the_next_start(
    browser: Browser, astronaut: Running
) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    uploads = HeldUploads(there)
    there.page.locator("#portrait-file").set_input_files(browsing.MONA_LISA)
    uploads.wait_for_the_first()
    there.button("Stop").click()
    there.says("Stopped")
    there.page.get_by_text("It is used from the next start on.").wait_for()
    assert there.page.locator("#portrait-name").inner_text() == "mona_lisa.jpg"
    uploads.let_go()
    there.start()
    there.says("The portrait is in use")
    assert difference(browsing.still(astronaut.address), there.avatar(4)[-1]) > 20
    assert "next start" not in there.page.locator("#portrait-help").inner_text()
    there.page.context.close()


def test_of_two_quick_choices_of_a_portrait_the_last_one_holds(
    browser: Browser, astronaut: Running, tmp_path: Path
) -> None:
    mirrored = tmp_path / "mirrored.png"
    cv2.imwrite(str(mirrored), cv2.imread(str(browsing.ASTRONAUT))[:, ::-1])
    there = visit(browser, astronaut.address)
    there.start()
    uploads = HeldUploads(there)
    there.page.locator("#portrait-file").set_input_files(browsing.MONA_LISA)
    uploads.wait_for_the_first()
    there.page.locator("#portrait-file").set_input_files(browsing.CLIP)  # refused at once, and no choice
    for picture in (browsing.MONA_LISA, mirrored):
        there.page.locator("#portrait-file").set_input_files(picture)
    uploads.let_go()
    there.page.locator("#portrait-name").get_by_text("mirrored.png").wait_for()
    there.says("The portrait is in use")
    assert uploads.finished == [200, 200], "what was chosen in between is not sent"
    rest = browsing.still(astronaut.address)
    shown = there.avatar(8)[-1]
    assert difference(rest[:, ::-1], shown) < difference(rest, shown) / 3
    there.page.context.close()
