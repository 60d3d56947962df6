"""What a person sees who opens the page: the portrait moves as they do. A real browser, server and
generator, and a real face as the camera."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Playwright

from realtime.bench.chromium import launch
from realtime.bench.judge import Judge
from realtime.bench.motion import as_track, motion
from realtime.bench.process import Running
from tests.live import PORTRAIT
from tests.realtime import browsing
from tests.realtime.browsing import WATCHED, Picture, difference, until, visit
from tests.trainer.runs import TINY

pytestmark = pytest.mark.browser


def landmarks(pictures: list[Picture]) -> np.ndarray:
    """T×478×3."""
    with Judge(refined=True) as judge:
        return as_track([judge.look(picture) for picture in pictures])


def mouth_opening(pictures: list[Picture]) -> float:
    """Median gap between the lips, in widths of the mouth."""
    return float(np.nanmedian(motion(landmarks(pictures)).mouth))


def mouth_follows(browser: Browser, address: str) -> None:
    """Fails where the avatar's mouth does not open as the driver's."""
    driver = browsing.clip_frames()
    there = visit(browser, address)
    there.start()
    frames = there.numbered(120)
    assert len(frames) > 110
    numbers = [number for number, _ in frames]
    driven = motion(landmarks(driver)).mouth[numbers]
    shown = motion(landmarks([picture for _, picture in frames])).mouth
    assert np.ptp(driven) > 0.1, "the clip's part that was seen must have speech in it"
    both = ~(np.isnan(driven) | np.isnan(shown))
    assert both.mean() > 0.95
    assert np.corrcoef(driven[both], shown[both])[0, 1] > 0.9
    there.page.context.close()


def test_the_avatars_mouth_opens_as_the_drivers(browser: Browser, astronaut: Running) -> None:
    mouth_follows(browser, astronaut.address)


@pytest.mark.slow
def test_an_exported_avatars_mouth_opens_as_the_drivers(
    browser: Browser, exported: Callable[..., Path]
) -> None:
    with browsing.server("--model", str(exported("warp"))) as running:
        mouth_follows(browser, running.address)


@pytest.mark.parametrize("model", TINY)
def test_what_a_training_leaves_is_shown(
    browser: Browser, exported_run: Callable[[str], Path], model: str
) -> None:
    """Its weights are random: what is seen is no portrait, but it moves."""
    with browsing.server("--model", str(exported_run(model))) as running:
        there = visit(browser, running.address)
        there.start()
        frames = [picture for _, picture in there.numbered(40)]
        assert len(frames) > 30
        rest = browsing.still(running.address)
        assert min(difference(rest, frame) for frame in frames) > 20
        assert max(difference(frames[0], frame) for frame in frames) > 0.5
        assert not there.complaints
        there.page.context.close()


def test_another_portrait_takes_over_while_running(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    before = there.avatar(8)
    there.page.locator("#portrait-file").set_input_files(browsing.MONA_LISA)
    there.says("The portrait is in use")
    after = there.avatar(8)[-1]
    moving = max(difference(before[0], picture) for picture in before)
    assert difference(before[0], after) > 5 * moving
    assert there.page.locator("#portrait-name").inner_text() == "mona_lisa.jpg"

    # The choice outlives the session, and the server's portrait is not seen in its place.
    there.button("Stop").click()
    for picture in there.first_frames(8):
        assert difference(picture, after) < difference(before[0], after) / 5
    there.says("The portrait is in use")
    assert not there.complaints
    there.page.context.close()


def test_a_picture_is_dropped_on_the_page(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    before = there.avatar(1)[0]
    data = there.page.evaluate_handle(
        """async (bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "mona_lisa.jpg", { type: "image/jpeg" }));
          return data;
        }""",
        list(browsing.MONA_LISA.read_bytes()),
    )
    there.page.dispatch_event("#stage", "dragover", {"dataTransfer": data})
    assert there.page.get_by_text("Drop the picture to use it as the portrait").is_visible()
    there.page.dispatch_event("#stage", "drop", {"dataTransfer": data})
    there.says("The portrait is in use")
    assert there.page.get_by_text("Drop the picture to use it as the portrait").is_hidden()
    assert difference(before, there.avatar(4)[-1]) > 20
    there.page.context.close()


def empty_wall(folder: Path) -> Path:
    """A picture without a face."""
    file = folder / "wall.png"
    cv2.imwrite(str(file), np.full((300, 300, 3), 128, np.uint8))
    return file


def test_a_picture_without_a_face_is_refused_and_the_portrait_stays(
    browser: Browser, astronaut: Running, tmp_path: Path
) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    before = there.avatar(1)[0]
    there.page.locator("#portrait-file").set_input_files(empty_wall(tmp_path))
    there.says("The picture cannot be used")
    assert "no face" in there.page.locator("#portrait-help").inner_text().lower()
    assert difference(before, there.avatar(2)[-1]) < 5
    there.page.locator("#portrait-file").set_input_files(browsing.CLIP)
    there.page.get_by_text("grid_brbk7n.mp4 is not a picture.").wait_for()
    there.page.context.close()


def test_calibrating_makes_the_drivers_pose_the_portraits_rest(browser: Browser, astronaut: Running) -> None:
    """The driver is at rest when the session starts, and then holds the mouth open. After a calibration in
    this pose, the portrait's mouth is as in the picture."""
    frames = browsing.clip_frames()[:75]
    opening = motion(landmarks(frames)).mouth
    rest, wide = frames[int(np.nanargmin(opening))], frames[int(np.nanargmax(opening))]
    there = visit(browser, astronaut.address, scripts=[browsing.pose_camera([rest, wide])])
    there.start()
    there.numbered(10)
    there.page.evaluate("pose(1)")
    until(lambda: [number for number, _ in there.numbered(1)] == [1], "the other pose is seen")
    before = mouth_opening(there.avatar(10))
    there.button("Calibrate").click()
    there.page.get_by_text("face at rest, mouth closed").wait_for()
    there.says("Calibrated")
    there.avatar(5)  # under way when it was
    after = mouth_opening(there.avatar(10))
    portrait = mouth_opening([browsing.still(astronaut.address)])
    assert before > portrait + 0.05
    assert abs(after - portrait) < 0.4 * (before - portrait)
    there.page.context.close()


def test_a_lost_face_is_told_and_its_return_noticed(
    playwright: Playwright, astronaut: Running, tmp_path: Path
) -> None:
    face = browsing.clip_frames()[:25]
    away = [np.full_like(face[0], 90)] * 25
    own = launch(playwright, browsing.write_frames(tmp_path / "away.y4m", face + away, fps=10))
    there = visit(own, astronaut.address)
    there.start()
    # Screen readers read what changes in a region, not a region that appears.
    assert there.page.locator("#face-hint[aria-live=polite]").evaluate("(it) => it.checkVisibility()")
    hint = there.page.get_by_text("Your face is out of sight.")
    hint.wait_for(state="visible")
    hint.wait_for(state="hidden")
    hint.wait_for(state="visible")
    own.close()


def test_a_setting_changes_how_the_portrait_moves(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    for name in ("Head", "Expression"):
        there.page.get_by_label(name, exact=True).fill("0")
    there.avatar(10)  # under way when the settings changed
    rest = browsing.still(astronaut.address)
    assert max(difference(rest, picture) for picture in there.avatar(20)) < 2
    there.button("Reset").click()
    assert there.page.get_by_label("Head", exact=True).input_value() == "1"
    there.page.context.close()


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_the_avatars_colours_are_seen_as_they_were_drawn(
    browser: Browser, flat_server: Running, codec: str
) -> None:
    """Of a wrong matrix, red would be 9 levels off."""
    only = f"""
      const add = RTCPeerConnection.prototype.addTransceiver;
      RTCPeerConnection.prototype.addTransceiver = function (...wishes) {{
        const transceiver = add.apply(this, wishes);
        const {{ codecs }} = RTCRtpReceiver.getCapabilities("video");
        transceiver.setCodecPreferences(codecs.filter(({{ mimeType }}) => mimeType === "{codec}"));
        return transceiver;
      }};
    """
    camera = browsing.pose_camera([np.full((480, 640, 3), 120, np.uint8)])
    there = visit(browser, flat_server.address, scripts=[WATCHED, camera, only])
    there.start()
    shown = there.avatar(4)[-1].mean((0, 1))
    assert shown[[0, 2]] == pytest.approx((PORTRAIT[0], 0), abs=4)
    sent = there.page.evaluate(
        """async () => [...(await peers[0].getReceivers()[0].getStats()).values()]
          .filter(({ type }) => type === "codec").map(({ mimeType }) => mimeType)"""
    )
    assert codec in sent
    there.page.context.close()


def test_a_portrait_chosen_before_the_start_is_used_from_it_on(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    there.page.locator("#portrait-file").set_input_files(browsing.MONA_LISA)
    there.page.get_by_text("It is used from the next start on.").wait_for()
    rest = browsing.still(astronaut.address)
    first = there.first_frames(8)
    there.says("The portrait is in use")
    shown = there.avatar(1)[0]
    assert difference(rest, shown) > 20
    assert all(difference(picture, shown) < difference(rest, shown) / 3 for picture in first)
    there.page.context.close()


def test_a_portrait_chosen_before_the_start_that_cannot_be_used_leaves_the_servers(
    browser: Browser, astronaut: Running, tmp_path: Path
) -> None:
    there = visit(browser, astronaut.address)
    there.page.locator("#portrait-file").set_input_files(empty_wall(tmp_path))
    there.start()
    there.says("The picture cannot be used")
    assert "no face" in there.page.locator("#portrait-help").inner_text().lower()
    assert there.page.locator("#portrait-name").inner_text() == "The server’s portrait"
    assert difference(browsing.still(astronaut.address), there.avatar(2)[-1]) < 20
    there.page.context.close()
