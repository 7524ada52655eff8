"""The page at `/` in a real browser: sign in, watch a directory, see what others do."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests import services
from tests.api_site import ApiSite
from tests.browser import chromium

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

pytestmark = [pytest.mark.stack, pytest.mark.programs("chromium", "chromedriver")]

IMAGE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def site(kafka_bootstrap: str, redis_url: str) -> Iterator[ApiSite]:
    """Give a storage, a worker and one API node, which a test may restart."""
    with services.run_directory("page") as run:
        started = ApiSite(run, kafka_bootstrap, redis_url, prefix=f"page-{uuid.uuid4().hex[:8]}-")
        try:
            started.up()
            yield started
        finally:
            started.down()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    """Give Chromium with a profile of its own."""
    with chromium(tmp_path) as driver:
        yield driver


def _until(browser: WebDriver, holds: Callable[[], bool], seconds: float = 60) -> None:
    WebDriverWait(browser, seconds, 0.05).until(lambda _: holds())


def _text(browser: WebDriver, identity: str) -> str:
    return browser.find_element(By.ID, identity).text


def _names(browser: WebDriver) -> set[str]:
    return {cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "td.name")}


def _sign_in(browser: WebDriver, site: ApiSite, password: str = "alice-demo") -> None:
    browser.get(site.urls[0])
    browser.find_element(By.ID, "name").send_keys("alice")
    browser.find_element(By.ID, "password").send_keys(password)
    browser.find_element(By.CSS_SELECTOR, "#sign-in button").click()


def _watch(browser: WebDriver, path: str) -> None:
    _until(browser, browser.find_element(By.ID, "path").is_displayed)
    field = browser.find_element(By.ID, "path")
    field.clear()
    field.send_keys(path)
    browser.find_element(By.ID, "start").click()


@pytest.fixture
def directory(site: ApiSite) -> str:
    """Give a new directory."""
    path = f"/data/exp/{uuid.uuid4().hex[:12]}"
    with site.webdav() as door:
        door.request("MKCOL", path).raise_for_status()
    return path


@pytest.mark.parametrize("within_s", [60, pytest.param(1, marks=pytest.mark.conformance)])
def test_another_clients_upload_is_seen(
    site: ApiSite, browser: WebDriver, directory: str, within_s: float
) -> None:
    """Within a second, in the long form; and its name is text, whatever it is."""
    _sign_in(browser, site)
    _watch(browser, directory)
    _until(browser, lambda: _text(browser, "state") == "live")
    with site.webdav() as door:
        door.put(f"{directory}/{quote(IMAGE)}", content=b"x").raise_for_status()
    _until(browser, lambda: IMAGE in _names(browser), within_s)
    assert browser.find_elements(By.CSS_SELECTOR, "td img") == []
    errors = [
        entry
        for entry in browser.get_log("browser")  # type: ignore[no-untyped-call]
        if entry["level"] == "SEVERE"
    ]
    assert errors == []


def test_names_are_what_they_look_like_and_fit_on_a_phone(
    site: ApiSite, browser: WebDriver, directory: str
) -> None:
    """What turns or hides text is spelled out; nothing is wider than the screen."""
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)  # type: ignore[no-untyped-call]
    _sign_in(browser, site)
    _watch(browser, directory)
    _until(browser, lambda: _text(browser, "state") == "live")
    with site.webdav() as door:
        for name in ("\u202egpj.exe", "a\u200b\u2028b", "x" * 255):
            door.request("MKCOL", f"{directory}/{quote(name)}").raise_for_status()
    expected = {"\\u202egpj.exe", "a\\u200b\\u2028b", "x" * 255}
    _until(browser, lambda: _names(browser) == expected)
    width = "return document.documentElement.scrollWidth"
    assert browser.execute_script(width) <= screen["width"]  # type: ignore[no-untyped-call]


_HOLD_BACK_THE_ROOT = """
const real = window.fetch;
window.fetch = async (url, options) => {
  if (String(url).includes("/namespace/?")) await new Promise((go) => { window.letGo = go; });
  return real(url, options);
};
"""


def test_the_directories_are_those_of_the_path_and_events_of_what_is_watched(
    site: ApiSite, browser: WebDriver, directory: str
) -> None:
    """Also where the answer about another path comes late; another watch is another list."""
    _sign_in(browser, site)
    _until(browser, browser.find_element(By.ID, "path").is_displayed)
    browser.execute_script(_HOLD_BACK_THE_ROOT)  # type: ignore[no-untyped-call]
    with site.webdav() as door:
        door.request("MKCOL", f"{directory}/inside").raise_for_status()
    for path in ("/", directory):
        _watch(browser, path)
        _until(browser, lambda: _text(browser, "state") == "live")
        assert _text(browser, "where") == f"in {path} and below"

    def chips() -> list[str]:
        return [one.text for one in browser.find_elements(By.CSS_SELECTOR, "#directories button")]

    _until(browser, lambda: chips() == ["↑ up", "inside"])
    browser.execute_async_script("window.letGo(); setTimeout(arguments[0], 500)")  # type: ignore[no-untyped-call]
    assert chips() == ["↑ up", "inside"]
    with site.webdav() as door:
        door.request("MKCOL", f"{directory}/inside/a").raise_for_status()
    _until(browser, lambda: _names(browser) == {"inside/a"})
    _watch(browser, f"{directory}/inside")
    _until(browser, lambda: _text(browser, "count") == "0")


def test_the_keyboard_is_enough(site: ApiSite, browser: WebDriver, directory: str) -> None:
    """The focus is where one types next: user, password, path; in a wrong password after it."""
    browser.get(site.urls[0])

    def focus() -> str | None:
        return browser.switch_to.active_element.get_attribute("id")

    _until(browser, lambda: focus() == "name")
    browser.switch_to.active_element.send_keys("alice", Keys.TAB, "wrong", Keys.ENTER)
    _until(browser, lambda: "wrong" in _text(browser, "sign-in-error"))
    assert focus() == "password"
    browser.switch_to.active_element.send_keys("alice-demo", Keys.ENTER)
    _until(browser, lambda: focus() == "path" and _text(browser, "user") == "alice")
    _until(browser, lambda: bool(browser.find_elements(By.CSS_SELECTOR, "#directories button")))
    browser.switch_to.active_element.send_keys(Keys.CONTROL, "a")
    browser.switch_to.active_element.send_keys(directory, Keys.ENTER)
    _until(browser, lambda: _text(browser, "state") == "live")


def test_the_page_survives_a_restart_of_the_node(
    site: ApiSite, browser: WebDriver, directory: str
) -> None:
    """What happened meanwhile is there afterwards, once."""
    _sign_in(browser, site)
    _watch(browser, directory)
    _until(browser, lambda: _text(browser, "state") == "live")
    with site.webdav() as door:
        door.request("MKCOL", f"{directory}/before").raise_for_status()
        _until(browser, lambda: _names(browser) == {"before"})
        site.nodes[0].kill()
        _until(browser, lambda: "reconnecting" in _text(browser, "state"))
        door.request("MKCOL", f"{directory}/meanwhile").raise_for_status()
        site.nodes[0].start()
        site.ready(site.nodes[0], site.urls[0])
        _until(browser, lambda: "meanwhile" in _names(browser))
        door.request("MKCOL", f"{directory}/after").raise_for_status()
        _until(browser, lambda: "after" in _names(browser))
    assert _text(browser, "state") == "live"
    assert _text(browser, "count") == "3"


def test_a_wrong_password_is_told(site: ApiSite, browser: WebDriver) -> None:
    """In words, and without the browser's own dialog."""
    _sign_in(browser, site, "wrong")
    _until(browser, lambda: "wrong" in _text(browser, "sign-in-error"))
    assert not browser.find_element(By.ID, "choose").is_displayed()


def test_what_one_may_not_see_cannot_be_watched(site: ApiSite, browser: WebDriver) -> None:
    """The same words as for what is not there."""
    _sign_in(browser, site)
    for path in ("/home/bob", "/home/nobody"):
        _watch(browser, path)
        _until(browser, lambda: _text(browser, "state") == "ended")
        assert "no such directory, or you may not see it" in _text(browser, "watch-error")
        browser.refresh()
        _sign_in(browser, site)


def test_scripts_from_elsewhere_do_not_run(site: ApiSite) -> None:
    """The policy lets our own files run and nothing else, not even inline."""
    answer = httpx.get(site.urls[0])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script>" not in answer.text
    assert "style=" not in answer.text
    assert " on" not in "".join(part.split(">")[0] for part in answer.text.split("<"))


def test_the_cookie_opens_streams_of_our_own_page_and_nothing_else(site: ApiSite) -> None:
    """HttpOnly, SameSite=Strict; not for changes, not for other sites' pages."""
    url = site.urls[0]
    with httpx.Client(base_url=url) as client:
        answer = client.post("/session", auth=("alice", "alice-demo"))
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "alice-demo" not in cookie
        assert client.get("/api/v1/events/channels").status_code == 401
        assert client.post("/api/v1/events/channels").status_code == 401
        stream = "/api/v1/events/stream?watch=/data"
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
        ):
            assert client.get(stream, headers=headers).status_code == 401
        with client.stream("GET", stream) as answer:
            assert answer.status_code == 200
        client.cookies.set("storage-events-session", "x" * 200, path="/api/v1/events")
        client.cookies.clear()
        assert client.get(stream).status_code == 401
