"""The page in a real browser: what it shows, that it asks nobody else, and who may see it."""

import numpy as np
import pytest

from edge_fiqa.gateway.outputs import HttpConfig, serve
from edge_fiqa.gateway.view import Totals
from edge_fiqa.reasons.report import Reasons, ReportedCause
from tests.gateway.fake_view import FakeSink, FakeView
from tests.gateway.outputs.browser import Browser

TOKEN = "0123456789abcdef0123456789abcdef"
IN = "document.getElementById('main')?.hidden === false"
OUT = "document.getElementById('login')?.hidden === false"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser):
    """Opens a view's page at a width; afterwards it must have said nothing and asked nobody else."""
    servers = []

    def open_page(view, width=1400, *, dark=False, sinks=()):
        servers.append(serve(view, HttpConfig(port=0), sinks))
        browser.open("about:blank")
        browser.until("location.href === 'about:blank'")  # what the last page asked has been heard
        browser.said.clear()
        browser.asked.clear()
        browser.size(width, 900, dark=dark)
        browser.open(servers[-1].url)
        return browser

    yield open_page
    server = servers[-1]
    elsewhere = [url for url in browser.asked if server.url not in url]
    browser.open("about:blank")
    server.close()
    assert elsewhere == []


def test_cameras_boxes_shots_and_numbers(page):
    down = FakeSink("mqtt", "the broker cannot be reached", waiting=12, dropped=3)
    view = FakeView(warnings=("colours look swapped",))
    browser = page(view, sinks=[down])
    browser.until(IN)
    browser.until("document.querySelectorAll('.face img').length === 6")
    browser.until("document.querySelector('.camera.live canvas')?.width === 320")
    assert browser.run("[...document.querySelectorAll('.camera h3')].map(e => e.innerText)") == [
        "door",
        "hall",
    ]
    assert "2 faces" in browser.text(".camera.live footer")
    assert "No new frame" in browser.text(".camera.stale .stage")
    assert browser.text("#load") == "62 %"
    assert browser.text("#latency") == "31 ms"
    assert browser.text("#depths li:first-child") == "33%\n1"
    assert "mean exit 2.8 of 12" in browser.text("#mean-exit")
    notices = browser.text("#notices")
    assert "mqtt: the broker cannot be reached; 12 events wait" in notices
    assert "door: colours look swapped" in notices
    assert "59" in browser.text("#shots li:first-child")
    assert "here now" in browser.text("#shots li:first-child")
    drawn = browser.run(
        "(() => { const c = document.querySelector('.camera.live canvas');"
        "return [...c.getContext('2d').getImageData(80, 95, 1, 1).data].slice(0, 3) })()"
    )
    assert drawn == pytest.approx([0x26, 0x73, 0x6D], abs=40)  # the box's left side, in its colour
    assert browser.said == []


def test_boxes_stay_with_the_picture_they_were_asked_for_with(page):
    view = FakeView()
    browser = page(view)
    browser.until(IN)
    browser.until("document.querySelector('.camera.live canvas')?.width === 320")
    view.pictures, view.moved, view.warnings = False, 60, ("it has moved",)
    browser.until("document.getElementById('notices').innerText.includes('it has moved')")
    browser.run("new Promise((done) => setTimeout(done, 600))")  # pictures are asked for again
    left_sides = browser.run(
        "(() => { const c = document.querySelector('.camera.live canvas').getContext('2d');"
        "return [80, 140].map((x) => [...c.getImageData(x, 95, 1, 1).data].slice(0, 3)) })()"
    )
    colour = [0x26, 0x73, 0x6D]
    assert left_sides[0] == pytest.approx(colour, abs=40)
    assert left_sides[1] != pytest.approx(colour, abs=40)
    browser.said.clear()  # pictures that are not there


def test_numbers_arrive_while_a_picture_is_decoded(page):
    browser = page(FakeView())
    browser.until(IN)
    browser.until("document.querySelector('.camera.live canvas')?.width === 320")
    said = browser.run(
        "(async () => { const decode = window.createImageBitmap, wait = (ms) => new Promise((d) =>"
        " setTimeout(d, ms)); window.createImageBitmap = (blob) => wait(1200).then(() => decode(blob));"
        "const said = new Set();"
        "for (let n = 0; n < 40; n++) { await wait(100);"
        " said.add(document.getElementById('health').textContent);"
        " said.add(document.querySelector('.camera.live canvas').width) }"
        "return [...said] })()"
    )
    assert said == ["Ready", 320]


def test_masks_and_zones_are_drawn_and_named(page):
    area = ((0.5, 0.6), (0.9, 0.6), (0.9, 0.9), (0.5, 0.9))
    view = FakeView(masks=(((0.0, 0.0), (0.2, 0.0), (0.2, 0.2), (0.0, 0.2)),), zones={"path": area})
    browser = page(view)
    browser.until(IN)
    browser.until("document.querySelector('.camera.live canvas')?.width === 320")
    browser.until("document.querySelector('#shots .quiet')?.innerText.endsWith('path')")
    side = browser.run(
        "(() => { const c = document.querySelector('.camera.live canvas');"
        "const d = c.getContext('2d').getImageData(288, 150, 1, 60).data;"
        "return Array.from({length: 60}, (_, i) => d[4 * i] + d[4 * i + 1] + d[4 * i + 2]) })()"
    )
    steps = abs(np.diff(side))
    assert (steps > 60).sum() >= 8  # dashes, on a picture that is smooth
    assert browser.said == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_window(page, width, dark):
    browser = page(FakeView(warnings=("x" * 200,), names=("a" * 60, "b")), width, dark=dark)
    browser.until(IN)
    browser.until("document.querySelectorAll('.shot').length > 0")
    browser.until(f"document.documentElement.scrollWidth === {width}")
    ground, ink = (
        browser.run(f"getComputedStyle(document.body).{what}.match(/\\d+/g).slice(0, 3)")
        for what in ("backgroundColor", "color")
    )
    assert (sum(map(int, ground)) < sum(map(int, ink))) == dark


def test_an_empty_gateway_says_so(page):
    view = FakeView(not_ready="no camera is live", names=())
    view.totals = lambda: Totals(
        started=0.0, faces_found=0, faces_scored=0, skipped={}, depths=[0] * 12, misses=0,
        events={}, load=0.0, latency_s=None,
    )  # fmt: skip
    browser = page(view)
    browser.until(IN)
    assert browser.text("#health") == "Not ready"
    assert "no camera is live" in browser.text("#notices")
    for empty in ("#no-cameras", "#no-shots", "#no-depths"):
        assert browser.text(empty)


def test_a_gateway_that_goes_away_is_noticed(browser):
    server = serve(FakeView(), HttpConfig(port=0), [])
    browser.open(server.url)
    browser.until(IN)
    server.close()
    browser.until("document.getElementById('health').innerText.startsWith('No answer')")


def test_signing_in_and_out(page, monkeypatch):
    monkeypatch.setenv("EDGE_FIQA_TOKEN", TOKEN)
    browser = page(FakeView())
    browser.until(OUT)

    def sign_in(token):
        browser.run(
            f"document.getElementById('token').value = '{token}';"
            "document.querySelector('#login button').click()"
        )

    sign_in("wrong")
    browser.until("document.getElementById('wrong').innerText === 'That is not the token.'")
    assert browser.run("document.getElementById('main').hidden")
    sign_in(TOKEN)
    browser.until(IN)
    browser.until("document.querySelectorAll('.face img').length === 6")
    assert browser.run("document.cookie + Object.keys(localStorage)") == ""
    browser.run("document.getElementById('leave').click()")
    browser.until(OUT)
    assert browser.run("sessionStorage.length") == 0


BLURRED = Reasons(
    "hold still",
    (
        ReportedCause("motion_blur", "Sharpness", 21),
        ReportedCause("noise", None, 40),
        ReportedCause("yaw", "HeadPoseYaw", 44),
        ReportedCause("roll", "HeadPoseRoll", 45),
    ),
    {},
)


def test_the_instruction_is_beside_the_face_and_the_causes_below_the_shot(page):
    view = FakeView(causes=("motion_blur",), instruction="hold still", reasons=BLURRED)
    browser = page(view)
    browser.until(IN)
    browser.until("document.querySelector('.camera.live canvas')?.width === 320")
    label = "document.querySelector('.camera.live canvas').getAttribute('aria-label')"
    assert browser.run(label) == "door: live, 2 faces; hold still"
    paper = (
        "(() => { const c = document.querySelector('.camera.live canvas');"
        "const d = c.getContext('2d').getImageData(190, 137, 100, 30).data; let n = 0;"
        "for (let i = 0; i < d.length; i += 4)"
        " n += d[i] === 0xfb && d[i + 1] === 0xf3 && d[i + 2] === 0xdc; return n })()"
    )  # below the second face, which ends at row 135
    browser.until(f"{paper} > 300")
    browser.until("document.querySelectorAll('.why').length === 8")
    assert browser.text(".why") == "motion blur, noise, yaw"
    title = browser.run("document.querySelector('.why').title")
    assert title == "motion blur: 21 of 100, noise: 40 of 100, yaw: 44 of 100, roll: 45 of 100"
    assert browser.run("document.querySelectorAll('.why:empty').length") == 2  # no usable face
    assert browser.said == []


def test_without_reasons_there_is_no_word_of_them(page):
    browser = page(FakeView())
    browser.until(IN)
    browser.until("document.querySelectorAll('.shot').length === 8")
    browser.until("document.querySelector('.camera.live canvas')?.width === 320")
    assert browser.run("document.querySelectorAll('.why:empty').length") == 8
    label = "document.querySelector('.camera.live canvas').getAttribute('aria-label')"
    assert browser.run(label) == "door: live, 2 faces"


SCRIPTS = (
    "<img src=x onerror=window.taken=1>",
    "<script>window.taken = 1</script>",
    "\"'><svg onload=window.taken=1>",
    "javascript:window.taken=1",
    "{{7*7}}${window.taken=1}`+window.taken++`",
    "\u202e\x1b[31m../../api/status?x=#y\\",
)


def test_script_in_names_is_text(page):
    """Of cameras, warnings and causes, and in what an output says. It runs nowhere and asks nothing."""
    down = FakeSink("mqtt", SCRIPTS[0], waiting=1)
    reasons = Reasons(SCRIPTS[0], (ReportedCause(SCRIPTS[0], None, 3),), {})
    view = FakeView(names=SCRIPTS, warnings=SCRIPTS[:1], reasons=reasons, instruction=SCRIPTS[0])
    browser = page(view, sinks=[down])
    browser.until(IN)
    browser.until("document.querySelectorAll('.camera h3').length === 6")
    browser.until("document.querySelector('.camera.live canvas')?.width === 320")
    browser.until("document.querySelectorAll('.face img').length > 0")
    assert browser.run("[...document.querySelectorAll('.camera h3')].map(e => e.textContent)") == [
        *SCRIPTS
    ]
    assert browser.run("typeof window.taken") == "undefined"
    assert browser.run("document.querySelectorAll('.camera script, .camera svg').length") == 0
    assert SCRIPTS[0] in browser.text("#notices")
    assert all("404" in line for line in browser.said)  # a picture of a name with a slash
