"""Great Expectations' pages as this project writes them: nothing loaded, nothing run, every text a text."""

import os
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import sync_playwright

from crowd_assets.quality.suites import expectations
from resources.tools.data_quality import DataQualityResource

HOSTILE = "<script>alert(1)</script><img src='https://spy.example/x'>"
ADDRESSES = {"action", "background", "data", "formaction", "href", "poster", "src", "srcset"}
RULES = [("kept", "every row is met", "critical"), ("missed", "no row is hostile", "critical")]


class References(HTMLParser):
    """What a page refers to, and what of it could run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.runs: list[str] = []
        self.feed(page)
        self.addresses += re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")]*)", page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ADDRESSES]
        self.runs += [name for name, _ in attrs if name.startswith("on")] + ["script"] * (tag == "script")

    @property
    def elsewhere(self) -> list[str]:
        return [each for each in self.addresses if re.match(r"\s*([a-z+.-]+:|//)", each, re.I) and each != "data:,"]


def _validate(root: Path, run_name: str) -> DataQualityResource:
    data_quality = DataQualityResource(root=str(root))
    frame = pl.DataFrame({"kept": ["met"] * 3, "missed": ["met", "met", HOSTILE]})
    found = data_quality.run_suites({"demonstration": frame}, {"demonstration": expectations(RULES, 0.0)}, run_name)
    assert found == {("demonstration", "kept"): 0, ("demonstration", "missed"): 1}
    return data_quality


def _pages(data_quality: DataQualityResource) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in data_quality.data_docs.parent.rglob("*.html")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> DataQualityResource:
    """A home whose first round was reported with the pages of the library, and its second with ours."""
    from resources.tools import data_docs

    root = tmp_path_factory.mktemp("quality")
    with pytest.MonkeyPatch.context() as patch:
        folder = data_docs.SITE["store_backend"]["base_directory"]
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": folder}
        patch.setattr(data_docs, "SITE", {"class_name": "SiteBuilder", "store_backend": backend})
        theirs = _pages(_validate(root, "r000001"))
    assert len(theirs) == 3
    for page in theirs.values():
        assert References(page).elsewhere, "the library's own page would pass the tests below"
        assert References(page).runs
    assert any(HOSTILE in page for page in theirs.values())
    return _validate(root, "r000002")


def test_no_page_refers_to_another_host_or_can_run_anything(site: DataQualityResource) -> None:
    from resources.tools.data_docs import POLICY

    pages = _pages(site)
    assert len(pages) == 4
    for path, page in pages.items():
        found = References(page)
        assert found.elsewhere == []
        assert found.runs == []
        assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in page
        local = [each for each in found.addresses if not each.startswith(("#", "data:"))]
        assert local
        ours = {Path(site.root).resolve().parent / "reports" / name for name in ("campaign.html", "quality.html")}
        places = {(path.parent / address).resolve() for address in local}
        assert places > ours
        assert all(place.exists() for place in places - ours)


def test_what_was_found_is_shown_as_text(site: DataQualityResource) -> None:
    pages = [page for path, page in _pages(site).items() if "validations" in path.parts]
    assert len(pages) == 2
    for page in pages:
        assert HOSTILE not in page
        assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in page


def test_earlier_pages_are_left_as_they_are(site: DataQualityResource) -> None:
    (first,) = site.data_docs.parent.glob("validations/demonstration/r000001/**/*.html")
    before = first.stat().st_mtime_ns
    _validate(Path(site.root), "r000003")
    assert first.stat().st_mtime_ns == before
    assert "r000003" in site.data_docs.read_text(encoding="utf-8")


def test_a_page_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resources.tools.data_docs import WholePages

    def killed(*_: object) -> None:
        raise SystemExit

    pages = WholePages(base_directory=str(tmp_path), filepath_template="index.html", suppress_store_backend_id=True)
    pages.set((), "the old page")
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(SystemExit):
        pages.set((), "the new")
    assert (tmp_path / "index.html").read_text() == "the old page"


def test_a_browser_shows_them_offline(site: DataQualityResource) -> None:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on the PATH")
    (page,) = site.data_docs.parent.glob("validations/demonstration/r000002/**/*.html")
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        shown = browser.new_context(offline=True).new_page()
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.goto(page.as_uri())
        visible: Callable[[str], bool] = lambda text: shown.get_by_text(text, exact=True).is_visible()  # noqa: E731
        assert visible("every row is met")
        assert visible("no row is hostile")
        assert not visible("pandas_data_fingerprint")
        shown.get_by_text("Show more info").click()
        assert visible("pandas_data_fingerprint")
        shown.get_by_label("Failed only").check()
        assert not visible("every row is met")
        assert visible("no row is hostile")
        browser.close()
    assert asked == [page.as_uri()]
    assert said == []
