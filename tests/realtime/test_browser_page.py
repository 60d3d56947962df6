"""The page itself: it fits phones and desktops, works by keyboard, and keeps to its own server."""

import re
from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import Browser, ViewportSize, expect

from models import weights
from models.contract import EDITS
from models.directions import Directed
from realtime.bench.process import Running
from tests.realtime import browsing
from tests.realtime.browsing import DESKTOP, PHONE, WATCHED, visit

pytestmark = pytest.mark.browser

SMALL_PHONE = ViewportSize(width=320, height=568)
LYING_PHONE = ViewportSize(width=844, height=390)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CHANGED = 4  # levels: more than the codec makes of one and the same picture

# Notes how each call that ends a session was answered, and whether the connection was still there then.
ENDINGS = """
  window.endings = [];
  const call = window.fetch;
  window.fetch = async (path, settings) => {
    const response = await call(path, settings);
    if (settings?.method === "DELETE") endings.push([response.status, peers.at(-1).signalingState]);
    return response;
  };
"""


def test_nothing_is_complained_about_and_no_other_host_is_called(
    browser: Browser, astronaut: Running
) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    there.button("Calibrate").click()
    there.says("Calibrated")
    there.button("Stop").click()
    there.says("Stopped")
    assert there.complaints == []
    assert there.strangers == set()
    there.page.context.close()


def test_a_session_is_ended_before_its_connection_is_closed(browser: Browser, astronaut: Running) -> None:
    """Or the server may see the connection close first, and answer that there is no such session."""
    there = visit(browser, astronaut.address, scripts=[WATCHED, ENDINGS])
    there.start()
    there.button("Stop").click()
    there.comes_true("peers.at(-1).signalingState === 'closed'")
    assert there.page.evaluate("endings") == [[200, "stable"]]
    there.page.context.close()


@pytest.mark.parametrize(
    "viewport", [DESKTOP, PHONE, SMALL_PHONE, LYING_PHONE], ids=["desktop", "phone", "small", "lying"]
)
def test_the_page_fits(browser: Browser, astronaut: Running, viewport: ViewportSize) -> None:
    there = visit(browser, astronaut.address, viewport)
    for state in ("idle", "live"):
        if state == "live":
            there.start()
        assert there.page.evaluate(OVERFLOW) <= 0, state
        stage = there.page.locator("#stage").bounding_box()
        start = there.page.locator("#start").bounding_box()
        assert stage is not None
        assert start is not None
        assert stage["y"] >= 0
        assert stage["y"] + stage["height"] <= viewport["height"]
        assert start["y"] + start["height"] <= viewport["height"], "no scrolling to the button"
        shorter = min(viewport["width"], viewport["height"])
        assert stage["width"] > 0.7 * shorter, "the avatar is what the page is about"
    assert there.page.locator("#self").is_visible()
    there.page.context.close()


def test_it_works_by_keyboard_alone(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)

    def focused() -> str:
        return str(there.page.evaluate("document.activeElement.id"))

    there.page.keyboard.press("Tab")
    assert focused() == "start"
    assert there.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    there.page.keyboard.press("Enter")
    there.says("Live")
    there.page.keyboard.press("Tab")
    assert focused() == "calibrate"
    there.page.keyboard.press("Space")
    there.says("Calibrated")
    reached = []
    for _ in range(12):
        there.page.keyboard.press("Tab")
        reached.append(focused())
    assert {"camera", "portrait-choose", "settings-reset", "setting-gain_pose"} <= set(reached)
    assert "portrait-file" not in reached, "the button does the file input's work"
    there.page.locator("#start").focus()
    there.page.keyboard.press("Enter")
    there.says("Stopped")
    there.page.context.close()


def test_every_control_has_a_name(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    for role in ("button", "combobox", "slider", "checkbox"):
        every = there.page.get_by_role(role)  # type: ignore[arg-type]  # a role each
        named = there.page.get_by_role(role, name=re.compile(r"\w"))  # type: ignore[arg-type]
        assert every.count() == named.count() > 0, role
    for name in ("Start", "Calibrate", "Choose a picture…", "Reset"):
        assert there.button(name).count() == 1
    for name in ("Head", "Expression"):
        assert there.page.get_by_role("slider", name=name, exact=True).count() == 1
    assert there.page.get_by_role("combobox", name="Camera", exact=True).count() == 1
    there.page.context.close()


def test_what_helps_is_told_to_everybody(browser: Browser, astronaut: Running) -> None:
    """Not only to a mouse that hovers."""
    there = visit(browser, astronaut.address)
    for control in there.page.locator("#sliders input").all():
        words = control.get_attribute("aria-describedby")
        assert words, control.get_attribute("name")
        assert there.page.locator(f"#{words}").is_visible()
        expect(control).to_have_accessible_description(re.compile(r"\w \w"))
    choose = there.button("Choose a picture…")
    expect(choose).to_have_accessible_description(re.compile("Or drop one anywhere on this page"))
    there.page.locator("#portrait-file").set_input_files(browsing.CLIP)
    told = there.page.locator("#portrait-help[aria-live=polite]")
    told.get_by_text("is not a picture").wait_for()
    expect(choose).to_have_accessible_description(re.compile("is not a picture"))
    there.page.context.close()


def test_only_settings_that_the_model_honours_are_shown(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    config = there.page.evaluate("fetch('/api/config').then((answer) => answer.json())")
    shown = there.page.eval_on_selector_all("#sliders input", "(inputs) => inputs.map((input) => input.name)")
    assert set(shown) == set(config["controls"])
    there.page.context.close()


@pytest.fixture(scope="module")
def with_sliders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose network has directions, and learnt nothing."""
    network = weights.seeded("dae_gan:tiny")
    assert isinstance(network, Directed)
    dice = torch.Generator().manual_seed(0)
    network.direct(5 * torch.randn(len(EDITS), *network.code_shape, generator=dice))
    path = tmp_path_factory.mktemp("weights") / "sliders.safetensors"
    weights.save(network, path)
    with browsing.server("--model", "dae_gan:tiny", "--weights", str(path)) as running:
        yield running


def test_sliders_push_the_avatar(browser: Browser, with_sliders: Running) -> None:
    there = visit(browser, with_sliders.address)
    for name in EDITS:
        slider = there.page.locator(f"#sliders input[name={name}]")
        assert (slider.get_attribute("min"), slider.get_attribute("max")) == ("-1", "1")
        expect(slider).to_have_value("0")
        expect(slider).to_have_attribute("aria-valuetext", "0 %")
    turn = there.page.get_by_role("slider", name="Turn", exact=True)
    expect(turn).to_have_attribute("name", "turn")
    expect(turn).to_have_accessible_description("to the left to the right")
    there.page.get_by_role("slider", name="Expression", exact=True).fill("0")  # the driver moves nothing
    there.start()
    plain = there.avatar(12)[-1]
    turn.press("End")
    expect(turn).to_have_attribute("aria-valuetext", "+100 %")
    browsing.until(lambda: browsing.difference(there.shown(), plain) > CHANGED, "a slider that is heard")
    turn.press("Home")
    turn.press("ArrowRight")
    expect(turn).to_have_attribute("aria-valuetext", "−95 %")
    turn.fill("0")
    browsing.until(lambda: browsing.difference(there.shown(), plain) < CHANGED / 2, "the avatar as it was")
    turn.fill("0.5")
    there.button("Reset").click()
    expect(turn).to_have_value("0")
    assert there.complaints == []
    there.page.context.close()


@pytest.mark.parametrize("viewport", [PHONE, SMALL_PHONE], ids=["phone", "small"])
def test_sliders_fit_on_a_phone(browser: Browser, with_sliders: Running, viewport: ViewportSize) -> None:
    """Where there is room, with the avatar that they push."""
    there = visit(browser, with_sliders.address, viewport)
    assert there.page.evaluate(OVERFLOW) <= 0
    last = there.page.get_by_role("slider", name="Eyes", exact=True)
    last.scroll_into_view_if_needed()
    box, stage = last.bounding_box(), there.page.locator("#stage").bounding_box()
    assert box is not None
    assert stage is not None
    if viewport is PHONE:
        assert stage["y"] >= 0
        assert stage["y"] + stage["height"] < box["y"]
    assert box["y"] + box["height"] <= viewport["height"]
    there.page.context.close()


def test_motion_on_the_page_stops_where_it_is_not_wanted(browser: Browser, astronaut: Running) -> None:
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", color_scheme="dark")
    there = browsing.Visit(context.new_page(), astronaut.address)
    there.page.evaluate("document.getElementById('status').dataset.tone = 'busy'")
    dot = "getComputedStyle(document.getElementById('status'), '::before').animationName"
    assert there.page.evaluate(dot) == "none"
    paper = there.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(level) for level in paper[4:-1].split(",")) < 150, "dark where dark is wanted"
    context.close()


def test_the_figures_live(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    there.start()
    for figure in ("fps", "delay", "drops"):
        there.page.locator(f"#figure-{figure}").filter(has_text=re.compile(r"^\d+$")).wait_for()
    assert int(there.page.locator("#figure-fps").inner_text()) > 0
    assert int(there.page.locator("#figure-delay").inner_text()) > 0
    there.button("Stop").click()
    assert there.page.locator("#figure-fps").inner_text() == "–"
    there.page.context.close()
