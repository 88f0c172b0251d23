"""The page in a real browser, and everything about it that needs none."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from gscn_sim.report.figures import (
    machine_peaks,
    roofline,
    slot_bars,
    speedup_bars,
    time_bars,
)
from gscn_sim.report.html import write_report
from gscn_sim.report.sources import read_run

pytest.importorskip("plotly", reason="plotly is not installed")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,1800"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def show(browser, source: Path, page: Path):
    """Write the page and open it; fails on anything in the browser's console."""
    write_report(source, page)
    browser.get(page.as_uri())
    wait_for(browser, "return document.querySelectorAll('.main-svg').length")
    problems = [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]
    assert problems == []


def wait_for(browser, script: str):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        value = browser.execute_script(script)
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"never true in the page: {script}")


def texts(browser, selector: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
    )


def test_a_run_in_a_browser(browser, run_json, tmp_path):
    show(browser, run_json, tmp_path / "run.html")
    headline = json.loads(run_json.read_text())["summary"]["headline"]
    assert texts(browser, "#headline") == [headline]
    for name in ("speedup", "slots", "roofline", "pe-load-dgrad", "pe-load-pre_wgrad"):
        assert browser.execute_script(
            "return document.querySelectorAll('#figure-' + arguments[0] + ' .main-svg').length",
            name,
        )
    assert len(texts(browser, "#figure-slots .barlayer .trace")) == 8
    layers = read_run(run_json).layers
    assert texts(browser, "#figure-speedup .xtick") == layers["layer"].unique().tolist()
    named = (layers["layer"] + " " + layers["phase"]).tolist()
    assert texts(browser, "#figure-slots .xtick") == named
    facts = texts(browser, ".facts tr")
    assert any(fact.startswith("trace.networkresnet8") for fact in facts)
    assert "pe.accumulator_banks" in texts(browser, "details td")


def test_a_sweep_in_a_browser(browser, sweep_folder, tmp_path):
    show(browser, sweep_folder, tmp_path / "sweep.html")
    assert texts(browser, "#shown") == ["4 of 4 points"]
    assert len(texts(browser, "#scatter .point")) == 4
    rows = browser.find_elements("css selector", "#points tbody tr")
    rows[0].click()
    assert "Picked design" in texts(browser, "#comparison p")[0]
    assert "array.pe_rows" in texts(browser, "#comparison td")
    browser.find_elements("css selector", "#points tbody tr")[3].click()
    assert texts(browser, "#comparison p") == ["2 configuration keys differ."]
    lines = texts(browser, "#comparison tbody tr")
    assert lines[:2] == ["array.pe_rows714", "array.clock_ghz0.80001.600"]
    assert len(texts(browser, "#points tr.picked")) == 2


def test_effects_of_any_metric(browser, sweep_folder, tmp_path):
    show(browser, sweep_folder, tmp_path / "sweep.html")
    first = texts(browser, "#effects-rows td:first-child")
    assert sorted(first) == ["array.clock_ghz", "array.pe_rows"]
    assert texts(browser, "#effects-metric option:checked") == ["speed-up (x)"]
    browser.execute_script(
        "const s = document.getElementById('effects-metric'); s.value = 'area_mm2';"
        "s.dispatchEvent(new Event('change'))"
    )
    rows = texts(browser, "#effects-rows tbody tr")
    assert rows[0].startswith("array.pe_rows2100")  # the clock moves no area
    assert "area (mm2)" in texts(browser, "#effects-bars .xtitle")[0]


def test_rows_are_picked_by_the_keyboard(browser, sweep_folder, tmp_path):
    show(browser, sweep_folder, tmp_path / "sweep.html")
    row = browser.find_element("css selector", "#points tbody tr")
    row.send_keys("\ue007")  # Enter
    assert "Picked design" in texts(browser, "#comparison p")[0]
    focused = browser.execute_script("return document.activeElement.dataset.position")
    assert focused == "0"


def test_colours_follow_the_reader_and_paper_is_light(browser, run_json, tmp_path):
    write_report(run_json, tmp_path / "run.html")
    colours = {}
    for scheme, media in (("light", ""), ("dark", ""), ("dark", "print")):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        emulated = {"media": media, "features": features}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        browser.get((tmp_path / "run.html").as_uri())
        wait_for(browser, "return document.querySelectorAll('.main-svg').length")
        colours[scheme, media] = browser.execute_script(
            "const style = (e, name) => getComputedStyle(e)[name];"
            "return [style(document.body, 'backgroundColor'), style(document.body, 'color'),"
            " style(document.querySelector('#figure-speedup .ytick text'), 'fill'),"
            " style(document.querySelector('.modebar'), 'display'),"
            " style(document.querySelector('.scroll'), 'maxHeight')]"
        )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    for (scheme, media), (back, text, label, bar, height) in colours.items():
        assert contrast(back, text) > 7, (scheme, media)
        assert contrast(back, label) > 4.5, (scheme, media)
        assert (luminance(back) > 0.5) == (scheme == "light" or media == "print")
        assert (bar == "none") == (height == "none") == (media == "print")


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_bar_149_times_the_others_leaves_them_to_be_seen(run_json):
    run = read_run(run_json)
    assert "type" not in speedup_bars(run)["layout"]["yaxis"]
    run.layers.loc[0, "speedup"] = 149 * run.layers["speedup"].median()
    axis = speedup_bars(run)["layout"]["yaxis"]
    assert axis["type"] == "log"
    assert "100" in axis["ticktext"]


def test_times_on_each_machine_are_those_of_the_summary(run_json):
    run = read_run(run_json)
    summary = run.summary.set_index("phase")
    bars = {bar["name"]: bar["x"] for bar in time_bars(run)["data"]}
    assert set(bars) == {"dgrad", "wgrad", "pre_dgrad", "pre_wgrad"}
    machine, dense, gpu = (sum(times) for times in zip(*bars.values(), strict=True))
    whole = summary.loc["backward_with_pre"]
    assert gpu / machine == pytest.approx(whole["gpu_seconds"] / whole["seconds"])
    assert dense / machine == pytest.approx(whole["dense_seconds"] / whole["seconds"])


def test_the_page_links_its_timeline(run_json, tmp_path):
    document = json.loads(run_json.read_text())
    document["provenance"]["timeline"] = "tl.json.gz"
    del document["digest"]
    (tmp_path / "run.json").write_text(json.dumps(document))
    write_report(tmp_path / "run.json", tmp_path / "run.html")
    assert '<a href="tl.json.gz">' in (tmp_path / "run.html").read_text(encoding="utf-8")


def test_a_point_in_the_scatter_is_picked_by_a_click(browser, sweep_folder, tmp_path):
    show(browser, sweep_folder, tmp_path / "sweep.html")
    browser.execute_script(
        "document.getElementById('scatter').emit('plotly_click', {points: [{customdata: 2}]})"
    )
    assert texts(browser, "#comparison th") == ["key", "point 2"]


def test_a_box_filters_the_table_and_hovering_tells(browser, sweep_folder, tmp_path):
    show(browser, sweep_folder, tmp_path / "sweep.html")
    plot = "document.getElementById('scatter')"
    browser.execute_script(
        f"{plot}.emit('plotly_selected', {{points: [{{customdata: 1}}, {{customdata: 3}}]}})"
    )
    assert texts(browser, "#shown") == ["2 of 4 points"]
    assert [row[1] for row in texts(browser, "#points tbody tr")] == ["1", "3"]
    browser.execute_script(f"{plot}.emit('plotly_selected', undefined)")
    assert texts(browser, "#shown") == ["4 of 4 points"]
    index = browser.execute_script(f"return {plot}.data.findIndex(t => t.x.length)")
    browser.execute_script(f"Plotly.Fx.hover({plot}, [{{curveNumber: {index}, pointNumber: 0}}])")
    hover = wait_for(browser, "return document.querySelector('.hoverlayer').textContent")
    assert "array.clock_ghz: " in hover
    assert "speed-up (x): " in hover


def test_tables_have_whole_numbers_whole_and_say_when_shares_overlap(
    run_json, sweep_folder, tmp_path
):
    write_report(run_json, tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "<td>8</td>" in text  # the batch size, a mean over iterations
    assert "8.000" not in text
    write_report(sweep_folder, tmp_path / "sweep.html")
    assert "no full grid" not in (tmp_path / "sweep.html").read_text(encoding="utf-8")


def test_the_page_asks_nothing_of_the_network(run_json, tmp_path):
    write_report(run_json, tmp_path / "run.html")
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"'](?!data:)", text)


def test_names_from_a_trace_cannot_run_as_script(run_json, tmp_path):
    evil = "</script><script>alert(1)</script>"
    document = json.loads(run_json.read_text())
    for row in document["layers"]:
        row["layer"] = evil
    for row in document["summary"]["phases"].values():
        row["network"] = evil
    document["summary"]["headline"] = evil
    del document["digest"]
    source = tmp_path / "evil.json"
    source.write_text(json.dumps(document))
    write_report(source, tmp_path / "evil.html")
    text = (tmp_path / "evil.html").read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert "<script>alert(1)" not in text


def test_slots_of_every_bar_add_up_to_100(run_json):
    bars = slot_bars(read_run(run_json))["data"]
    for heights in zip(*(bar["y"] for bar in bars), strict=True):
        assert sum(heights) == pytest.approx(100)


def test_no_point_lies_above_the_roof(run_json):
    run = read_run(run_json)
    peak, bandwidth = machine_peaks(run.config)
    assert peak == pytest.approx(3584 * 1.582e9)
    assert bandwidth == pytest.approx(484e9)
    for trace in roofline(run)["data"]:
        if trace.get("mode") == "markers":
            for x, y in zip(trace["x"], trace["y"], strict=True):
                assert y <= min(peak, bandwidth * x) * (1 + 1e-9)
