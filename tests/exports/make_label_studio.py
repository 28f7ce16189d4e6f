"""Makes ``label_studio_pairwise.json`` and ``label_studio_text.json`` anew: ``tests/exports/make.sh`` (needs chromium).

A real Label Studio is started, projects are made with the labelling configuration that the exporter writes, a browser
clicks, types and submits as an annotator would, and the projects are exported. Belongs here: that. Does not belong
here: what the importer makes of it (see ``tests/unit/importers/test_label_studio.py``).
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from crowd_assets.exporters.label_studio import CONFIGURATION, tasks
from tests.e2e.label_studio import ADMINISTRATOR, PASSWORD, LabelStudio, User

TEXT_CONFIGURATION = """<View><Text name="prompt" value="$prompt"/>
<TextArea name="response" toName="prompt" rows="4" maxSubmissions="2" required="true"/></View>"""
COMPARISONS = [
    {
        "comparison_id": f"r000001-000000000000000{number}",
        "prompt": f"How was the fair on day {number}?",
        "response_a": "Lovely, thank you all!",
        "response_b": "It <b>rained</b> & rained.",
    }
    for number in range(1, 6)
]


def main() -> None:
    """Write the exports beside this file."""
    with tempfile.TemporaryDirectory() as folder, LabelStudio(Path(sys.argv[1]), Path(folder)) as server:
        owner, second = server.administrator(), server.sign_up("bo@example.org")
        pairwise = _project(owner, "pairwise", CONFIGURATION, tasks(COMPARISONS))
        text = _project(owner, "text", TEXT_CONFIGURATION, [{"data": {"prompt": "How was the fair?"}}])
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for email in (ADMINISTRATOR, "bo@example.org"):
                page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
                page.goto(f"{server.url}/user/login/")
                page.fill("input[name=email]", email)
                page.fill("input[name=password]", PASSWORD)
                page.click("button[type=submit]")
                page.wait_for_url(lambda url: "/login" not in url)
                judge = _owner_judges if email == ADMINISTRATOR else _second_judges
                judge(page, f"{server.url}/projects/{pairwise}/data?task=", _numbers(second, pairwise))
                _open(page, f"{server.url}/projects/{text}/data?labeling=1")
                for answer in ("It was lovely.", "Thank you for asking!")[: 2 if email == ADMINISTRATOR else 1]:
                    page.fill("textarea", answer)
                    page.keyboard.press("Shift+Enter")
                _press(page, "Submit")
            browser.close()
        for name, project in (("pairwise", pairwise), ("text", text)):
            export = owner.get(f"/api/projects/{project}/export", exportType="JSON", download_all_tasks="true")
            path = Path(__file__).with_name(f"label_studio_{name}.json")
            path.write_text(json.dumps(export, indent=1) + "\n", encoding="utf-8")


def _project(owner: User, title: str, config: str, rows: list[dict[str, object]]) -> int:
    project = owner.post("/api/projects/", {"title": title, "label_config": config, "maximum_annotations": 2})["id"]
    owner.post(f"/api/projects/{project}/import", rows)
    return int(project)


def _numbers(user: User, project: int) -> list[int]:
    return [task["id"] for task in user.get("/api/tasks/", project=project)["tasks"]]


def _owner_judges(page: Page, address: str, numbers: list[int]) -> None:
    _open(page, f"{address}{numbers[0]}")  # left, and 85 % sure
    _pick(page, "Lovely")
    page.locator("input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    _press(page, "Submit")
    _open(page, f"{address}{numbers[1]}")  # right, with a comment
    _pick(page, "rained")
    page.fill("textarea", "It says what the weather was.")
    page.keyboard.press("Shift+Enter")
    _press(page, "Submit")
    _open(page, f"{address}{numbers[2]}")  # equal
    page.locator("label", has_text="equal").first.click()
    _press(page, "Submit")
    _open(page, address.replace("task=", "labeling=1"))  # the next one in the stream, the only place to skip
    _press(page, "Skip")


def _second_judges(page: Page, address: str, _: list[int]) -> None:
    # The same task, the other way, the slider left alone. Opened by its number it would show the other's annotation.
    _open(page, address.replace("task=", "labeling=1"))
    _pick(page, "rained")
    _press(page, "Submit")


def _open(page: Page, address: str) -> None:
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("button:has-text('Submit')", timeout=60_000)


def _pick(page: Page, words: str) -> None:
    page.locator(".lsf-richtext__line", has_text=words).click()


def _press(page: Page, button: str) -> None:
    with page.expect_response(lambda response: "/annotations" in response.url and response.ok):
        page.click(f"button:has-text('{button}')")


if __name__ == "__main__":
    main()
