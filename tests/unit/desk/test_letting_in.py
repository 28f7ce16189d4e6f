"""Who is let in, and what hostile people get."""

import asyncio

import pytest
from starlette.testclient import TestClient

from crowd_assets.desk.letting_in import KeepsWaitingError, Paces, Seals
from tests.unit.desk.conftest import HIDDEN, URL, Served, serve


def test_tokens_that_nobody_here_signed_let_nobody_in(served: Served) -> None:
    stranger = served.browser()
    other = Seals(b"another secret").invitation("ada", 1)
    served.desk.store.invite(["ada"])
    for token in ("", "x", "a.b.c", other, other[:-1], "WyJhZGEiLDFd", "../../etc/passwd", "%00"):
        stranger.open(f"/join/{token}")
        assert stranger.status == 404
    for path in ("/", "/write", "/compare", "/offer", "/mine", "/mine.json", "/manage", "/manage/payouts.csv"):
        stranger.open(path)
        assert stranger.status == 401
    stranger.client.cookies.set("desk", Seals(b"another secret").session("ada", 1))
    stranger.open("/mine")
    assert stranger.status == 401


def test_a_new_link_makes_the_old_one_and_its_sessions_void(served: Served) -> None:
    ada = served.invited("ada")
    old = served.desk.invitation_url(served.desk.store.person("ada")).removeprefix(URL)
    served.desk.store.invite(["ada"])
    ada.open("/mine")
    assert ada.status == 401
    ada.open(old)
    assert ada.status == 404


def test_whoever_is_withdrawn_is_let_in_no_more(served: Served) -> None:
    ada = served.invited("ada")
    link = served.desk.invitation_url(served.desk.store.person("ada")).removeprefix(URL)
    served.desk.store.revoke("ada")
    for path in ("/mine", link):
        ada.open(path)
        assert ada.status == 403
        assert "withdrawn" in ada.text


def test_forms_of_others_other_pages_and_no_page_are_refused(served: Served) -> None:
    ada, bo = served.invited("ada"), served.invited("bo")
    theirs = HIDDEN.findall(bo.open("/compare"))[1]
    for token in (theirs, "", "x", Seals(b"another").form("ada", "r000001-" + "0" * 16)):
        answer = ada.client.post("/compare", data={"token": token, "strength": "1"})
        assert answer.status_code == 400
    ada.open("/compare")
    mine = HIDDEN.findall(ada.text)[1]
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        answer = ada.client.post("/compare", data={"token": mine, "strength": "1"}, headers=headers)
        assert answer.status_code == 403
    assert served.delivered() == []


def test_the_crowd_sees_no_page_of_operators_and_nobody_elses_statement(served: Served) -> None:
    ada, boss = served.invited("ada"), served.invited("boss", role="operator")
    for path in ("/manage", "/manage/agreement", "/manage/payouts", "/manage/payouts.csv"):
        ada.open(path)
        assert ada.status == 403
        boss.open(path)
        assert boss.status == 200
    ada.open("/")
    ada.send("/manage", do="revoke", name="boss")
    assert ada.status == 403
    assert not served.desk.store.person("boss").revoked
    assert "boss" not in ada.open("/mine.json")


def test_what_people_write_is_shown_as_text(served: Served) -> None:
    ada, boss = served.invited("ada"), served.invited("boss", role="operator")
    hostile = '<script>alert(1)</script>"><img src=x onerror=alert(1)>{{7*7}}'
    ada.open("/mine")
    ada.send("/mine/appeal", form=1, text=hostile)
    for browser, path in ((ada, "/mine"), (boss, "/manage")):
        raw = browser.client.get(path).text
        assert "<script>alert" not in raw
        assert "<img src=x" not in raw
        assert "49" not in raw.split("alert(1)&gt;")[1][:20]


def test_a_form_that_is_too_large_or_broken_costs_nothing(served: Served) -> None:
    ada = served.invited("ada")
    ada.open("/write")
    token = HIDDEN.findall(ada.text)[1]
    assert ada.client.post("/write", data={"token": token, "response": "x" * (1 << 21)}).status_code == 413
    for body in (b"\xff\xfe", b"token=%ff", b"=" * 1000, b"&".join(b"a=1" for _ in range(500)), b""):
        answer = ada.client.post("/write", content=body, headers={"content-type": "application/x-www-form-urlencoded"})
        assert answer.status_code in (400, 422)
    assert served.delivered() == []


def test_a_machine_at_full_speed_is_asked_to_wait(desk_settings) -> None:
    served = serve(desk_settings.changed(desk_forms_per_minute=6))  # one of them is the consent
    ada = served.invited("ada")
    ada.open("/mine")
    token = HIDDEN.findall(ada.text)[-1]
    answers = [ada.client.post("/mine/erase", data={"token": token}).status_code for _ in range(20)]
    assert answers[:5] == [200] * 5
    assert set(answers[5:]) == {429}
    assert ada.client.post("/mine/erase", data={"token": token}).headers["retry-after"].isdecimal()
    served.desk.store.close()


def test_a_machine_that_opens_pages_at_full_speed_is_asked_to_wait(served: Served) -> None:
    ada, bo = served.invited("ada"), served.invited("bo")
    statuses = [ada.client.get("/compare").status_code for _ in range(3)]
    served.desk.looks.__init__(3)  # type: ignore[misc]
    statuses += [ada.client.get("/compare").status_code for _ in range(5)]
    assert statuses == [200] * 6 + [429] * 2
    bo.open("/compare")
    assert bo.status == 200


def test_paces_are_each_persons_own() -> None:
    paces = Paces(2)
    for _ in range(2):
        paces.take("ada")
        paces.take("bo")
    with pytest.raises(KeepsWaitingError):
        paces.take("ada")


def test_a_proxy_names_people_only_where_a_setting_says_so(served: Served, desk_settings) -> None:
    plain = served.browser()
    plain.client.headers["x-forwarded-email"] = "ann@example.org"
    plain.open("/")
    assert plain.status == 401
    behind = serve(desk_settings.changed(desk_user_header="X-Forwarded-Email", desk_operators="boss@example.org"))
    ann = behind.browser()
    ann.client.headers["x-forwarded-email"] = "ann@example.org"
    ann.open("/")
    assert "Before you begin" in ann.text
    boss = behind.browser()
    boss.client.headers["x-forwarded-email"] = "boss@example.org"
    boss.open("/manage")
    assert boss.status == 200
    nobody = behind.browser()
    nobody.open("/")
    assert nobody.status == 401
    behind.desk.store.close()


def test_whom_the_setting_names_no_more_is_an_operator_no_more(desk_settings) -> None:
    seen = []
    for operators in ("", "boss@example.org", "ann@example.org"):
        behind = serve(desk_settings.changed(desk_user_header="X-Forwarded-Email", desk_operators=operators))
        seen.append(behind.client.get("/manage", headers={"x-forwarded-email": "boss@example.org"}).status_code)
        seen.append(behind.desk.store.person("boss@example.org").role)
        behind.desk.store.close()
    assert seen == [403, "crowd", 200, "operator", 403, "crowd"]


def test_a_machine_that_opens_its_own_link_at_full_speed_is_asked_to_wait(served: Served) -> None:
    (person,) = served.desk.store.invite(["ada"])
    link = served.desk.invitation_url(person).removeprefix(URL)
    served.desk.looks.__init__(3)  # type: ignore[misc]
    assert [served.client.get(link).status_code for _ in range(5)] == [200] * 3 + [429] * 2


@pytest.mark.parametrize("name", ["a b@example.org", "x" * 200, "=1+1", "<script>", "bj\u00f6rn"])
def test_a_name_of_a_proxy_that_nobody_can_have_is_refused_in_words(desk_settings, name: str) -> None:
    behind = serve(desk_settings.changed(desk_user_header="X-Forwarded-Email"))
    answer = behind.client.get("/", headers={"x-forwarded-email": name.encode("latin-1")})
    assert answer.status_code == 403
    assert "<script>" not in answer.text
    assert behind.desk.store.everybody() == []
    behind.desk.store.close()


def test_a_name_that_a_browser_puts_before_the_proxys_lets_nobody_in(desk_settings) -> None:
    behind = serve(desk_settings.changed(desk_user_header="X-Forwarded-Email", desk_operators="boss@example.org"))
    twice = [("x-forwarded-email", "boss@example.org"), ("x-forwarded-email", "ann@example.org")]
    for path in ("/", "/manage"):
        assert behind.client.get(path, headers=twice).status_code == 400
    behind.desk.store.close()


def test_cookies_travel_by_tls_alone_where_people_come_by_tls(served: Served) -> None:
    (person,) = served.desk.store.invite(["ada"])
    link = served.desk.invitation_url(person).removeprefix(URL)
    plain = served.client.post(link, follow_redirects=False).headers["set-cookie"].lower()
    secure = TestClient(served.client.app, base_url=URL.replace("http:", "https:"))
    behind = secure.post(link, follow_redirects=False).headers["set-cookie"].lower()
    assert "httponly" in plain
    assert "samesite=lax" in plain
    assert "secure" not in plain
    assert "secure" in behind


def test_a_form_of_the_desks_address_is_taken_whatever_name_a_proxy_asks_under(served: Served) -> None:
    ada = served.invited("ada")
    for host, origin, status in (
        ("inner:3080", URL, 200),
        ("inner:3080", "http://inner:3080", 200),
        ("inner:3080", "http://desk.test.evil.example", 403),
        ("", "", 403),
    ):
        ada.open("/mine")
        token = HIDDEN.findall(ada.text)[1]
        headers = {"host": host, "origin": origin}
        answer = ada.client.post("/mine/appeal", data={"token": token, "text": "Why?"}, headers=headers)
        assert answer.status_code == status, (host, origin)


def test_a_link_of_a_panel_changes_nobody_who_is_here(desk_settings) -> None:
    served = serve(desk_settings.changed(desk_panel_code="C0DE"))
    ada = served.invited("ada")
    ada.open("/panel?PROLIFIC_PID=evil&STUDY_ID=s&SESSION_ID=t")
    assert ada.status == 409
    assert "ada" in ada.open("/")
    for who in ("", "a/b", "..", "\uff11\uff12", "a%0d%0aset-cookie:x=1"):
        stranger = served.browser()
        stranger.open(f"/panel?PROLIFIC_PID={who}")
        assert stranger.status == 400
    assert [each["name"] for each in served.desk.store.everybody()] == ["ada"]
    served.desk.store.close()


def test_appeals_and_drafts_keep_no_unseen_characters_and_no_heaps(served: Served) -> None:
    ada = served.invited("ada")
    for text, reference in (("a\x00b", ""), ("turn \u202e around", ""), ("fine", "e\x1b[31m")):
        ada.open("/mine")
        ada.send("/mine/appeal", form=1, text=text, reference=reference)
        assert ada.status == 422
    assert served.desk.store.appeals() == []
    ada.open("/write?lot=lot-1-0")
    ada.send("/write", form=1, draft="yes", response="x" * 30_000)
    assert ada.status == 422
    assert served.desk.store.draft("ada", "demonstration", "lot-1-0") == {}


def test_ids_that_lead_elsewhere_lead_nowhere(served: Served) -> None:
    ada = served.invited("ada")
    for lot in ("../../secret", "%2e%2e%2fsecret", "lot-1-0%0d%0aset-cookie:x=1", "lot-1-0' OR 1=1 --", "x" * 5_000):
        for page in ("/write", "/offer"):
            assert "secret" not in ada.open(f"{page}?lot={lot}")
            assert ada.status == 200
            assert "set-cookie" not in ada.headers
    for path in ("/..%2f..%2fsecret", "/desk.css/../mine", "/mine/bo", "/mine.json?name=bo", "/statements/bo.html"):
        ada.open(path)
        assert ada.status in (200, 404)
        assert ada.headers["cache-control"] == "no-store"


def test_private_pages_are_kept_nowhere(served: Served) -> None:
    ada = served.invited("ada")
    for path in ("/", "/mine", "/mine.json", "/compare", "/nothing", "/manage"):
        ada.open(path)
        assert ada.headers["cache-control"] == "no-store"
        assert ada.headers["x-content-type-options"] == "nosniff"


def test_a_form_that_comes_too_slowly_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowd_assets.desk.desk.SLOWEST_FORM_S", 0.05)
    ada = served.invited("ada")
    said: list[dict] = []

    async def slow() -> dict:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def sending(message: dict) -> None:
        said.append(message)

    cookie = f"desk={ada.client.cookies['desk']}".encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/compare",
        "query_string": b"",
        "headers": [(b"host", b"desk.test"), (b"cookie", cookie)],
        "server": ("desk.test", 80),
        "scheme": "http",
    }
    asyncio.run(served.client.app(scope, slow, sending))
    assert said[0]["status"] == 408
