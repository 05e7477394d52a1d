"""The page in a real browser: Chromium without a window, driven by Selenium."""

import shutil
import time

import gymnasium as gym
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with a chromedriver on this machine"),
]
WIDTHS = (360, 768, 1280, 1600)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--window-size=1280,1100",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, port):
    resize(browser, 1280)
    browser.get("about:blank")
    browser.get(f"http://127.0.0.1:{port}/")
    until(browser, lambda: "Hide" in text(browser, "task"))
    return browser


def until(browser, true):
    return WebDriverWait(browser, 300, poll_frequency=0.05).until(lambda _: true())


def text(browser, name: str) -> str:
    return browser.find_element(By.ID, name).text


def reward(browser) -> float:
    told = until(browser, lambda: browser.find_element(By.ID, "reward").get_attribute("data-value"))
    return float(told)


def resize(browser, width: int) -> None:
    told = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)


def drag(browser, rows: range) -> None:
    """Drag over all patches of some rows of the 8 x 8 board."""
    board = browser.find_element(By.ID, "board")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", board)
    width, height = board.size["width"], board.size["height"]
    for row in rows:
        y = int((row + 0.5) * height / 8 - height / 2)
        left, right = int(width / 16 - width / 2), int(width / 2 - width / 16)
        chain = ActionChains(browser, duration=20).move_to_element_with_offset(board, left, y)
        chain.click_and_hold().move_by_offset((right - left) // 2, 0).move_to_element_with_offset(board, right, y)
        chain.release().perform()


def expected(index: int, mask: list[int]) -> float:
    env = gym.make("maskgym:MaskMIMSmall-v0", split="test")
    env.reset(options={"index": index})
    action = np.zeros(64, np.int8)
    action[mask] = 1
    return env.step(action)[1]


def test_a_painted_mask_has_the_reward_of_the_environment(page):
    drag(page, range(1, 7))
    until(page, lambda: text(page, "count") == "48 hidden")
    assert reward(page) == pytest.approx(expected(0, list(range(8, 56))), rel=1e-5)
    assert "points" in text(page, "points")
    drag(page, range(7, 8))  # K are hidden: the board takes no more, and says so
    assert reward(page) == pytest.approx(expected(0, list(range(8, 56))), rel=1e-5)
    drag(page, range(1, 2))  # a second stroke shows the patches again
    until(page, lambda: "40 of 48 hidden" in text(page, "count"))
    page.find_element(By.ID, "undo").click()
    until(page, lambda: text(page, "count") == "48 hidden")


def test_the_keyboard_alone_plays_a_whole_game(page):
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys("n")
    until(page, lambda: "index=1" in page.current_url)
    board = page.find_element(By.ID, "board")
    page.execute_script("arguments[0].focus()", board)
    for row in range(6):
        for column in range(8):
            board.send_keys(Keys.SPACE)
            if column < 7:
                board.send_keys(Keys.ARROW_RIGHT if row % 2 == 0 else Keys.ARROW_LEFT)
        board.send_keys(Keys.ARROW_DOWN)
    until(page, lambda: text(page, "count") == "48 hidden")
    assert reward(page) == pytest.approx(expected(1, list(range(48))), rel=1e-5)
    body.send_keys("c")
    until(page, lambda: text(page, "count").startswith("0 of 48"))
    body.send_keys("r")
    until(page, lambda: text(page, "count") == "48 hidden")


def test_agents_and_par_are_shown_beside_and_their_mask_can_be_taken(page):
    for name in ("variance", "par"):
        page.find_element(By.CSS_SELECTOR, f'#players button[data-agent="{name}"]').click()
    cards = page.find_elements(By.CLASS_NAME, "rival")
    until(page, lambda: all("reward" in card.text for card in cards))
    assert "100 points" in cards[1].text
    cards[1].find_element(By.TAG_NAME, "button").click()
    assert reward(page) > 0
    until(page, lambda: text(page, "points") == "100 points")
    page.find_element(By.ID, "next").click()  # the others follow to the next image
    until(page, lambda: "index=1" in page.current_url and all("reward" in card.text for card in cards))


def test_game_ratio_and_slice_are_chosen_on_the_page(page):
    page.execute_script("document.getElementById('ratio').value = '0.5'")
    page.execute_script("document.getElementById('ratio').dispatchEvent(new Event('change'))")
    until(page, lambda: "32 of 64" in text(page, "task"))
    page.execute_script("document.getElementById('game').selectedIndex = 1")
    page.execute_script("document.getElementById('game').dispatchEvent(new Event('change'))")
    until(page, lambda: page.find_element(By.ID, "plane").is_displayed())
    before = page.execute_script("return document.getElementById('board').toDataURL()")
    page.find_element(By.ID, "labels").click()
    until(page, lambda: page.execute_script("return document.getElementById('board').toDataURL()") != before)


def test_the_query_game_tells_only_what_was_played(page):
    page.find_element(By.ID, "several").click()
    until(page, lambda: "3 queries left" in text(page, "episode-told"))
    page.find_element(By.ID, "fill").click()
    assert text(page, "reward") == ""
    for played in range(1, 4):
        page.find_element(By.ID, "query").click()
        until(page, lambda played=played: len(page.find_elements(By.CSS_SELECTOR, "#queries li")) == played)
        assert reward(page) > 0
        page.find_element(By.ID, "clear").click()
        page.find_element(By.ID, "fill").click()
    assert text(page, "episode-told").startswith("The episode is over")
    assert not page.find_element(By.ID, "query").is_enabled()
    page.find_element(By.ID, "again").click()
    until(page, lambda: "3 queries left" in text(page, "episode-told"))


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_at_any_width_in_light_or_dark(page, width):
    resize(page, width)
    longest = "MaskMIMSmall-v0, " + "x" * 60
    page.execute_script("document.querySelector('#game option').textContent = arguments[0]", longest)
    for name in ("random", "par"):
        page.find_element(By.CSS_SELECTOR, f'#players button[data-agent="{name}"]').click()
    page.find_element(By.ID, "fill").click()
    until(page, lambda: all("reward" in card.text for card in page.find_elements(By.CLASS_NAME, "rival")))
    assert reward(page) > 0
    places = "[document.getElementById('scale'), ...document.querySelectorAll('.mark')]"
    scale, *marks = page.execute_script(f"return {places}.map(one => one.getBoundingClientRect().toJSON())")
    assert marks
    assert all(scale["left"] - 1 <= mark["left"] and mark["right"] <= scale["right"] + 1 for mark in marks)
    for scheme in ("light", "dark"):
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    dark = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in dark.removeprefix("rgb(").rstrip(")").split(", ")[:3]) < 64


def test_a_finger_paints(page):
    resize(page, 360)
    board = page.find_element(By.ID, "board")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", board)
    box = page.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]", board
    )
    x, y, width, height = box

    def touch(kind, *place):
        points = [{"x": place[0], "y": place[1]}] if place else []
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", x + width / 16, y + height / 16)
    touch("touchMove", x + width * 15 / 16, y + height / 16)
    touch("touchEnd")
    until(page, lambda: text(page, "count").startswith("8 of 48"))


def test_nothing_went_wrong_in_the_browser(page):
    time.sleep(0.1)
    assert [line["message"] for line in page.get_log("browser") if line["level"] == "SEVERE"] == []
