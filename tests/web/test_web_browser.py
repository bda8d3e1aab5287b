"""The page in a real browser: what it shows, by keyboard, on a phone, in the dark.

Screenshots of each view are kept in the directory pytest prints as its base temporary directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ciris_mesh.runtime.localnodes import free_port
from support.waiting import wait_until
from support.website import Site

pytestmark = pytest.mark.slow

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
#: As quiet as a browser gets: nothing here may look for a network.
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        assert not os.environ.get("CI"), "install chromium and chromium-driver"
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, port=free_port()))
    driver.set_window_size(1100, 900)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(site: Site, browser: webdriver.Chrome) -> webdriver.Chrome:
    site.serve()
    browser.get(site.url)
    wait_until(lambda: "records" in text(browser, "#summary"), lambda: text(browser, "body"))
    return browser


def text(browser: webdriver.Chrome, selector: str) -> str:
    shown: str = browser.find_element(By.CSS_SELECTOR, selector).text
    return shown


def all_of(browser: webdriver.Chrome, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements(By.CSS_SELECTOR, selector)
    return found


def go(browser: webdriver.Chrome, view: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f'nav a[href="#{view}"]').click()
    wait_until(
        lambda: browser.find_element(By.ID, view).is_displayed(), lambda: text(browser, "body")
    )


def keep(browser: webdriver.Chrome, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.png"
    assert browser.save_screenshot(str(path))
    assert path.stat().st_size > 5_000


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser holds against the page: errors, blocked content."""
    rows: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [row["message"] for row in rows if row["level"] == "SEVERE"]


def test_every_view_shows_what_the_node_says(
    site: Site, page: webdriver.Chrome, tmp_path: Path
) -> None:
    assert text(page, "#name") == "field-3"
    assert "1 of 1 peers fresh" in text(page, "#summary")
    assert site.other.key_id[:5] in text(page, "#peers")
    assert "fresh" in text(page, "#peers")
    assert "attestation 3 0 0" in text(page, "#kinds")
    keep(page, tmp_path, "overview")

    go(page, "map")
    wait_until(lambda: len(all_of(page, "#topology .spot")) == 3, "three spots")
    assert len(all_of(page, "#topology line.s-fresh")) == 2
    keep(page, tmp_path, "map")

    go(page, "convergence")
    kinds = len(site.operations.node.runtime.peers.all()[0].link.kinds)  # type: ignore[union-attr]
    wait_until(lambda: len(all_of(page, "#kinds-over-time figure")) == kinds, "a plot a kind")
    assert "0 missing now" in text(page, "#kinds-over-time")
    keep(page, tmp_path, "convergence")

    go(page, "air")
    wait_until(lambda: "No radio here" in text(page, "#radios"), "nothing to count")
    keep(page, tmp_path, "air")

    go(page, "records")
    wait_until(lambda: len(all_of(page, "#rows tr")) == 5, "five records")
    next(row for row in all_of(page, "#rows tr") if "attestation" in row.text).find_element(
        By.TAG_NAME, "button"
    ).click()
    wait_until(lambda: "ok: ml dsa 65" in text(page, "#checks"), lambda: text(page, "#record"))
    assert "FAILS" not in text(page, "#checks")
    assert '"authority"' in text(page, "#envelope") or '"attestation"' in text(page, "#envelope")
    keep(page, tmp_path, "record")
    assert complaints(page) == []


def test_it_goes_on_by_itself(site: Site, page: webdriver.Chrome) -> None:
    from ciris_mesh.records.kinds import EnvelopeKind

    site.other.put(EnvelopeKind.REVOCATION, {"revoked_key_id": "lost", "reason": "lost"})
    wait_until(lambda: "revocation 1 0 0" in text(page, "#kinds"), lambda: text(page, "#kinds"))
    wait_until(lambda: "1 admitted" in text(page, "#rounds"), lambda: text(page, "#rounds"))
    assert site.service is not None
    site.service.stop()
    wait_until(lambda: "No answer from the node" in text(page, "#summary"), "it says so")


def test_all_of_it_by_keyboard_and_for_ears(page: webdriver.Chrome) -> None:
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the content"
    page.get(page.current_url.split("#")[0] + "#map")
    wait_until(lambda: all_of(page, "#topology .spot"), "spots")
    reached = set()
    for _ in range(30):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached |= set(page.execute_script(_LABELS, ".spot:focus"))
    assert set(page.execute_script(_LABELS, ".spot")) <= reached
    said = page.execute_script(_UNNAMED)
    assert said == [], "every control and picture has a name"
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert all_of(page, 'nav a[aria-current="page"]')[0].text == "Map"


#: What a screen reader says of spots. The map is drawn anew every ten seconds: so they are looked
#: at in one go, and what has been heard since then does not count.
_LABELS = r"""
return [...document.querySelectorAll("#topology " + arguments[0])].map((one) =>
  one.getAttribute("aria-label").replace(/\d+ s ago/, "lately"));
"""
#: What a screen reader would call nothing.
_UNNAMED = """
return [...document.querySelectorAll("button, a, select, svg[role], table, input")].filter((one) =>
  !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length ||
    one.querySelector("caption"))).map((one) => one.outerHTML);
"""


@pytest.mark.parametrize("view", ["overview", "map", "convergence", "air", "records"])
def test_on_a_phone_nothing_is_cut(page: webdriver.Chrome, tmp_path: Path, view: str) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    go(page, view)
    wide = page.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 360
    keep(page, tmp_path, f"phone-{view}")


def test_names_are_text_and_never_markup(
    site: Site, browser: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = site.serve()
    evil = "<img src=x onerror=document.title='owned'><script>1</script>"
    peer = site.node.runtime.peers.all()[0]
    object.__setattr__(peer.config, "alias", evil)
    browser.get(f"http://127.0.0.1:{service.port}/#map")
    wait_until(lambda: all_of(browser, "#topology .spot"), "spots")
    go(browser, "overview")
    wait_until(_shows(browser, evil), lambda: text(browser, "#peers"))
    assert all_of(browser, "img") == []
    assert "owned" not in browser.title


def _shows(browser: webdriver.Chrome, words: str) -> Callable[[], bool]:
    return lambda: words in text(browser, "#peers")


def test_the_first_picture_is_there_before_the_node_answers(page: webdriver.Chrome) -> None:
    """Printed, not asserted: how long to the first paint on this machine."""

    def paints() -> dict[str, float]:  # told a moment after what is shown has been set
        return dict(page.execute_script(_PAINTS))

    wait_until(lambda: "first-contentful-paint" in paints(), paints)
    print("first paint (ms):", paints())  # noqa: T201
    assert paints()["first-contentful-paint"] > 0


_PAINTS = "return performance.getEntriesByType('paint').map((one) => [one.name, one.startTime])"
