"""The report's page as a person sees it: in a real browser, from a file, without a network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import Config, dub
from pipeline.film import Film
from pipeline.report import FilmReport, RunReport
from pipeline.report_html import write_html
from tests.films import BOX, film, manifest, portrait, slide, speech

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

HOSTILE = {
    "script": "<script>document.title='owned';alert(1)</script>",
    "quotes": """"' onerror="alert(1)" x='><img src=x onerror=alert(2)>""",
    "long": "x" * 300,
    "rtl": "\u202egpj.exe\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "jinja": "{{ 7 * 7 }} {% raw %}",
    "lines": "first line\nsecond line",
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a head and without a network."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver here (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_page_load_timeout(60)
    yield opened
    opened.quit()


def show(browser: Any, page: Path, width: int = 1280, dark: bool = False) -> None:
    """Open a page in a window `width` px wide."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": scheme})
    browser.get(page.as_uri())


def picture(browser: Any, path: Path) -> None:
    """A screenshot of the whole page."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return window.innerWidth")
    size = {"width": width, "height": min(height, 8000), "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    path.write_bytes(browser.get_screenshot_as_png())


def asked_for(browser: Any) -> set[str]:
    """Every URL the page asked for, since the last time."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}


def overflow(browser: Any) -> int:
    """By how many px the page is wider than its window."""
    return int(
        browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def test_a_run_s_page_shows_every_picture_without_a_network(browser: Any, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=60, picture=lambda k: slide(0) if 20 <= k < 35 else portrait(k))
    speech(tmp_path / "dub.wav", 2.4)
    good = {"id": "a", "video": "a.mp4", "audio": "dub.wav", "output": "a.out.mp4"}
    rows = manifest(
        tmp_path / "m.jsonl",
        good,
        {**good, "id": "gone", "video": "nowhere.mp4", "output": "g.mp4", "box": BOX},
        {**good, "id": "bad", "output": "b.mp4", "box": "left"},
    )
    config = Config.model_validate({"encode": {"preset": "ultrafast"}, "split": {"shard_s": 0.8}})
    report = dub(str(rows), config, str(tmp_path / "work"))
    page = Path(report.url).with_suffix(".html")
    for width, dark in ((1280, False), (390, False), (1280, True)):
        asked_for(browser)
        show(browser, page, width, dark)
        seen = browser.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt])")
        assert len(seen) >= 4
        assert all(complete and 60 <= wide <= 360 for complete, wide, _ in seen), seen
        assert overflow(browser) == 0, width
        assert {url.split(":")[0] for url in asked_for(browser)} <= {"file", "data"}
        assert browser.get_log("browser") == []
        picture(browser, tmp_path / f"page-{width}{'-dark' if dark else ''}.png")
    for width in (320, 800, 961):
        show(browser, page, width)
        assert overflow(browser) == 0, width
    show(browser, page, 718, dark=True)  # A4 without its margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert overflow(browser) == 0, "on paper"
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    picture(browser, tmp_path / "paper.png")
    show(browser, page)
    text = browser.find_element("tag name", "body").text
    assert "1 of 3 films delivered" in text
    assert text.index("gone") < text.index("\na\n"), "films that failed come first"
    parts = browser.execute_script(
        "return [...document.querySelectorAll('.bar i')].map(i => [i.style.left, i.style.width].map(parseFloat))"
    )
    assert parts == [pytest.approx([0, 100 * 0.8 / 2.4], abs=0.1), pytest.approx([100 * 1.4 / 2.4, 100 / 2.4], abs=0.1)]


def test_hostile_names_and_messages_are_text(browser: Any, tmp_path: Path) -> None:
    with RunReport("20260101-000000-000000-abcd", {"encode": {"crf": "<b>"}}) as report:
        report.expect(Film(id="a", video="/a.mp4", output="/b.mp4", audio="/a.wav", consent=HOSTILE["script"]))
        for number, text in enumerate(HOSTILE.values(), 1):
            report.refuse(number, text, f"line {number}: {text}")
        shown = report.films["a"]
        shown.code, shown.output, shown.notes = "ok", f"/{HOSTILE['quotes']}.mp4", list(HOSTILE.values())
        shown.length_s, shown.painted_s = 10.0, [[0.0, 4.0], [6.0, 10.0]]
        shown.passed_through = [{"start_s": 4.0, "end_s": 5.0, "code": "oom", "message": HOSTILE["script"]}]
        quiet = {"integrated_lufs": None, "true_peak_dbtp": None, "range_lu": None}
        loud = {"integrated_lufs": -23.04, "true_peak_dbtp": -1.0, "range_lu": 5.5}
        shown.loudness = {"source": quiet, "dub": loud, "delivered": None, "target_lufs": -23.0}
        shown.sound = HOSTILE["quotes"]
        shown.pictures = [{"time_s": 1.0, "before": "films/x/<gone>.jpg", "after": "films/x/gone.jpg"}]
        page = tmp_path / "report.html"
        with page.open("w") as file:
            write_html(report, str(tmp_path), file)
    for width in (1280, 390):
        show(browser, page, width)
        assert browser.title == "dubline: run 20260101-000000-000000-abcd"
        assert overflow(browser) == 0, width
        assert browser.execute_script("return document.scripts.length + document.images.length") == 0
        heads = [head.text for head in browser.find_elements("css selector", "section.film h3")]
        assert heads == [*(" ".join(text.split()) for text in HOSTILE.values()), "a"]
        errors = [entry.text for entry in browser.find_elements("css selector", ".error p:first-child")]
        assert f"line 1: {HOSTILE['script']}" in errors
        assert f"line 6: {HOSTILE['lines']}" in errors, "line breaks of a message are kept"
        body = browser.find_element("tag name", "body").text
        for told in ("was cleaned away", "-23.0 LUFS", "target_lufs: -23.0", "0:04.0 to 0:05.0: oom"):
            assert told in body
        through = browser.execute_script("return document.querySelector('.bar i.through').style.left")
        assert through == "40%"
        assert browser.get_log("browser") == []
        picture(browser, tmp_path / f"hostile-{width}.png")


def test_pictures_beyond_the_first_films_are_links_that_work(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2
    import numpy as np

    monkeypatch.setattr("pipeline.report_html._PICTURED", 1)
    folder = tmp_path / "films/x"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "p.jpg"), np.full((60, 80, 3), 120, np.uint8))
    with RunReport("20260101-000000-000000-abcd", {}) as report:
        pictures = [{"time_s": 1.0, "before": "films/x/p.jpg", "after": "films/x/p.jpg"}]
        for name in "ab":
            report.films[name] = FilmReport(name, code="ok", length_s=2.0, pictures=pictures)
        page = tmp_path / "runs/20260101-000000-000000-abcd/report.html"
        page.parent.mkdir(parents=True)
        with page.open("w") as file:
            write_html(report, str(tmp_path), file)
    show(browser, page)
    sources = browser.execute_script("return [...document.images].map(i => [i.src.slice(0, 5), i.naturalWidth])")
    assert sources == [["data:", 80], ["data:", 80], ["file:", 80], ["file:", 80]]
    assert browser.get_log("browser") == []
