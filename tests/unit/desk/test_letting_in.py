"""Who is let in, and what hostile people get."""

import pytest

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
