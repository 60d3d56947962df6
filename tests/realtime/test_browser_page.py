"""The page itself: it fits phones and desktops, works by keyboard, and keeps to its own server."""

import re

import pytest
from playwright.sync_api import Browser, ViewportSize

from realtime.bench.process import Running
from tests.realtime import browsing
from tests.realtime.browsing import DESKTOP, PHONE, visit

pytestmark = pytest.mark.browser

SMALL_PHONE = ViewportSize(width=320, height=568)


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


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, SMALL_PHONE], ids=["desktop", "phone", "small"])
def test_the_page_fits(browser: Browser, astronaut: Running, viewport: ViewportSize) -> None:
    there = visit(browser, astronaut.address, viewport)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for state in ("idle", "live"):
        if state == "live":
            there.start()
        assert there.page.evaluate(overflow) <= 0, state
        stage = there.page.locator("#stage").bounding_box()
        start = there.page.locator("#start").bounding_box()
        assert stage is not None
        assert start is not None
        assert stage["y"] >= 0
        assert start["y"] + start["height"] <= viewport["height"], "no scrolling to the button"
        assert stage["width"] > 0.45 * viewport["width"], "the avatar is what the page is about"
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
    for control in there.page.locator("button:visible, select:visible, input:visible").all():
        name = control.evaluate(
            "(it) => it.labels?.[0]?.innerText || it.innerText || it.getAttribute('aria-label')"
        )
        assert name, control.evaluate("(it) => it.outerHTML")
    there.page.context.close()


def test_only_settings_that_the_model_honours_are_shown(browser: Browser, astronaut: Running) -> None:
    there = visit(browser, astronaut.address)
    config = there.page.evaluate("fetch('/api/config').then((answer) => answer.json())")
    shown = there.page.eval_on_selector_all("#sliders input", "(inputs) => inputs.map((input) => input.name)")
    assert set(shown) == set(config["controls"])
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
