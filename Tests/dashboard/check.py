"""What the live page must do, looked at in a real browser. `check.py CHROMIUM OUT`; see run."""
from __future__ import annotations

import math
import re
import signal
import sys
from pathlib import Path
from typing import Any, Callable

from browser import Browser, Page
from mock import PAGE, TOKEN, Mock

DASH = "–"
LIMIT_S = 150   # usually 40; only failures, each waiting in vain, take longer
passed = failed = 0


def check(what: str, holds: Any, detail: Any = "") -> None:
    global passed, failed
    passed, failed = (passed + 1, failed) if holds else (passed, failed + 1)
    print(f"ok   {what}" if holds else f"FAIL {what}: {detail}", flush=True)


def same(what: str, found: Any, wanted: Any) -> None:
    check(what, found == wanted, f"found {found!r}, wanted {wanted!r}")


def faster(times: int) -> str:
    """The page's clock and timers run faster, so that minutes of polling pass in seconds."""
    return (f"(() => {{ const set = setTimeout, now = performance.now.bind(performance);"
            f" window.setTimeout = (f, ms, ...a) => set(f, ms / {times}, ...a); performance.now = () => now() * {times}; }})()")


def text(page: Page, selector: str) -> str | None:
    return page.value(f"document.querySelector({selector!r})?.textContent")


def row(page: Page, number: int, table: str = "#servers tbody") -> list[str]:
    """The cells of one row; a second line within a cell is parted by |."""
    return page.value(f"[...document.querySelectorAll({table + ' tr'!r})[{number}].cells].map(c => c.innerText.replace(/\\n+/g, '|'))")


def live(page: Page) -> bool:
    return page.wait("document.querySelector('#link').textContent === 'live'")


# Every visible piece of text against what lies behind it (WCAG 1.4.3: 4.5). Colours are opaque where text stands.
CONTRAST = """(() => {
  const channel = (v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const behind = (n) => { for (; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); if (c.length && (c.length < 4 || c[3] > 0)) return c; } return [255, 255, 255]; };
  const bad = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'title'].includes(node.tagName) || !node.getClientRects().length) continue;
    const style = getComputedStyle(node), a = light(parse(node instanceof SVGElement ? style.fill : style.color)), b = light(behind(node));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.add(`${node.tagName}.${node.getAttribute('class')} "${walker.currentNode.data.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return [...bad];
})()"""


def the_file() -> None:
    page = PAGE.read_text()
    check("file: below 72,000 bytes", len(page.encode()) < 72_000, len(page.encode()))
    outside = [a for a in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page) if not a.endswith("www.w3.org")]
    same("file: names nothing outside", outside, [])
    risky = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|localStorage|document\.cookie", page)
    same("file: never makes markup or code from strings, stores only for the session", risky, [])
    same("file: no addresses but the two of the contract", re.findall(r"get\('([^']+)'", page), ["proxy/status", "proxy/explain?last="])


def figures(browser: Browser, mock: Mock, out: Path) -> None:
    page = browser.page(f"{mock.origin}/quiet/dashboard")
    check("figures: live within 10 s", live(page), text(page, "#link"))
    page.wait("document.querySelectorAll('#decision-list li').length === 8")
    same("figures: header", [text(page, "#" + i) for i in ("version", "policy", "uptime", "servers-up", "tokenizer", "ms-per-token", "running-factor")],
         ["0.1.0", "gorgo", "3 h 12 min", "2 of 5", "estimate", "0.094", "0.5"])
    same("figures: rate, percentiles, queue", [text(page, "#" + i) for i in ("rps", "ttft-window", "ttft-p50", "ttft-p95", "ttft-p99", "queue", "queue-oldest")],
         ["12.3", "last 60 s · 321 requests", "128", "402", "640", "2", "184 ms"])
    same("figures: totals", page.value("Object.fromEntries([...document.querySelectorAll('#totals div')].map(d => [d.firstChild.textContent, d.lastChild.textContent]))"),
         {"handled": "1,834", "forwarded": "1,802", "queued": "96", "rejected": "3", "failed": "2", "cancelled": "27", "retried": "33"})
    same("figures: row of a server that is up", row(page, 0),
         ["us-east|http://127.0.0.1:18001", "up|sglang", "37.2", "3 / 10", "3", "0", "62 %", "61 %", "1,204", "0", "105",
          "412,345|of 524,288", "kv_events|100 % of reported"])
    same("figures: row of an ejected server: unknown is a dash, a known 0 is 0", row(page, 3),
         ["frankfurt|http://127.0.0.1:18004", "ejected|vllm", "118.6", "0 / 10", DASH, DASH, DASH, "5 %", "88", "31", DASH,
          f"65,536|{DASH}", f"model|{DASH}"])
    same("figures: row of a server nothing is known of", row(page, 4),
         ["new-node|http://127.0.0.1:18005", f"unknown|{DASH}", *[DASH] * 6, "0", "0", DASH, f"{DASH}|{DASH}", f"model|{DASH}"])
    same("figures: knobs", page.value("document.querySelector('#knobs').textContent.includes('rtt_prior_ms200')"), True)
    same("figures: title of the tab", page.value("document.title"), "2/5 up · gotoni proxy")
    the_line(page)
    learned(page)
    the_scatter(page)
    decisions(page)
    manners(page, mock)
    page.close()


def sharing(browser: Browser, mock: Mock, out: Path) -> None:
    page = browser.page(f"{mock.origin}/sharing/dashboard")
    rates = "[...document.querySelectorAll('#shared dd')].map(d => +d.textContent)"
    check("sharing: rates, as told and heard between two polls", live(page) and page.wait(f"(r => r[1] > 9 && r[1] < 15 && r[2] > 22 && r[2] < 38)({rates})"), page.value(rates))
    same("sharing: siblings, behind, and all that was missed", [page.value(rates)[i] for i in (0, 3, 4)], [2, 3, 12])
    same("sharing: who", text(page, "#sharing-who"), "group east · this proxy is 9f1c")
    same("sharing: no trouble", text(page, "#sharing-trouble"), "")
    page.screenshot(out / "sharing.png")
    mock.scenarios["sharing"].status["sharing"] = {"trouble": "NATS cannot be reached", "prompts_told": 3, "siblings": None}
    check("sharing: trouble is told", page.wait("document.querySelector('#sharing-trouble').textContent === 'nothing is shared now: NATS cannot be reached'"))
    siblings, told, *_ = page.value("[...document.querySelectorAll('#shared dd')].map(d => d.textContent)")
    check("sharing: what is not known is a dash, and no rate is below 0", siblings == DASH and told in (DASH, "0.0"), (siblings, told))
    same("sharing: readable", page.value(CONTRAST), [])
    page.close()
    page = browser.page(f"{mock.origin}/quiet/dashboard")
    check("sharing: nothing where it does not share", live(page) and page.value("document.querySelector('#sharing').hidden"))
    page.close()


def the_line(page: Page) -> None:
    marks = page.value("""[...document.querySelectorAll('#line .mark')].map(m => ({
        name: m.querySelector('.name').textContent, state: m.parentNode.getAttribute('class'), label: m.textContent,
        x: +m.style.transform.match(/[\\d.]+/)[0], load: parseFloat(m.querySelector('.load').style.strokeDasharray),
        box: m.getBoundingClientRect().toJSON() }))""")
    by = {mark["name"]: mark for mark in marks}
    same("line: one mark a server", [m["name"] for m in marks], ["us-east", "tokyo", "sydney", "frankfurt", "new-node"])
    left, right = page.value("(() => { const a = document.querySelector('#line line.axis'); return [+a.getAttribute('x1'), +a.getAttribute('x2')] })()")
    wanted = [left + (ms / 500) ** 0.5 * (right - left) for ms in (37.2, 279.4, 456.1)]
    found = [by[name]["x"] for name in ("us-east", "tokyo", "sydney")]
    check("line: 37, 279 and 456 ms stand where the scale says", all(abs(a - b) < 0.6 for a, b in zip(found, wanted)), (found, wanted))
    check("line: an unknown round trip stands beyond the axis", by["new-node"]["x"] > right, by["new-node"])
    same("line: rings fill by in flight of limit", [round(by[n]["load"] / (2 * 3.14159 * 17), 2) for n in ("us-east", "tokyo", "sydney", "frankfurt", "new-node")],
         [0.3, 0.2, 1, 0, 0])
    same("line: figures of a mark", by["us-east"]["label"], "3/10us-east37 ms · hit 61 %run 3 · wait 0")
    same("line: unknown figures of a mark", by["new-node"]["label"], f"{DASH}/{DASH}new-nodeunknown{DASH} · hit {DASH}run {DASH} · wait {DASH}")
    same("line: states", [by[n]["state"] for n in ("us-east", "tokyo", "frankfurt")], ["s-up", "s-slow-start", "s-ejected"])
    shapes = page.value("new Set([...document.querySelectorAll('#line .icon')].map(i => i.innerHTML)).size")
    same("line: each state has its own shape, not only a colour", shapes, 4)
    # The box of a mark includes its stem; what stands beside one another is names and rings.
    overlaps = page.value("""(() => { const boxes = [...document.querySelectorAll('#line .mark')].map(m => [...m.querySelectorAll('text, .track')].map(t => t.getBoundingClientRect()).filter(b => b.width));
        const hit = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4;
        return boxes.flatMap((a, i) => boxes.slice(i + 1).map((b) => a.some(x => b.some(y => hit(x, y))))).filter(Boolean).length })()""")
    same("line: no mark covers another", overlaps, 0)


def learned(page: Page) -> None:
    same("learned: row of a server", row(page, 0, "#learned tbody"), ["us-east", "611", "21.4|21 % of 104", "+3.2", "73.1", "6.1", "2,106", "42 %"])
    same("learned: errors of more than half are marked, in words and shape too", row(page, 1, "#learned tbody"),
         ["tokyo", "71", "▲ 262.0|67 % of 391", "−148.3", "110.2", "18.0", "3,310", "77 %"])
    same("learned: and no others", page.value("[...document.querySelectorAll('#learned .warned')].map(e => e.closest('tr').cells[0].innerText)"), ["tokyo"])
    same("learned: before an answer there is no error, not one of 0", row(page, 4, "#learned tbody"),
         ["new-node", "0", f"{DASH}|{DASH}", DASH, "75.2", "7.0", "2,203", "45 %"])


def marks(page: Page) -> tuple[list[list[float]], list[list[float]]]:
    """Where the dots and the crosses of the scatter stand, in pixels."""
    found = page.value("['dots', 'crosses'].map(c => [...document.querySelector('#scatter .' + c).getAttribute('d').matchAll(/M([\\d.]+) ([\\d.]+)/g)].map(m => [+m[1], +m[2]]))")
    return found[0], found[1]


def the_scatter(page: Page) -> None:
    dots, crosses = marks(page)
    same("scatter: true predictions are dots, those off by more than half crosses, whole answers none", (len(dots), len(crosses)), (6, 1))
    # The labelled ticks give the scale; the axis is logarithmic.
    labels = page.value("[...document.querySelectorAll('#scatter text')].filter(t => /^[\\d,]+$/.test(t.textContent)).map(t => [t.getAttribute('text-anchor'), +t.textContent.replace(',', ''), +t.getAttribute('x'), +t.getAttribute('y')])")
    across, up = ({n: x for anchor, n, x, _ in labels if anchor == "middle"}, {n: y - 4 for anchor, n, _, y in labels if anchor == "end"})
    same("scatter: both axes have one scale", (sorted(across), sorted(up)), ([50, 100, 200, 500, 1000], [50, 100, 200, 500, 1000]))

    def place(predicted: float, seen: float) -> tuple[float, float]:
        def share(ms: float) -> float:
            return math.log(ms / 50) / math.log(1000 / 50)
        return across[50] + share(predicted) * (across[1000] - across[50]), up[50] + share(seen) * (up[1000] - up[50])
    check("scatter: a point stands where the scale says", any(math.dist(place(497.5, 560.3), dot) < 0.3 for dot in dots), (place(497.5, 560.3), dots))
    check("scatter: 356 predicted and 160 seen is the cross", math.dist(place(356.4, 160.0), crosses[0]) < 0.3, (place(356.4, 160.0), crosses))
    same("scatter: counts", text(page, "#scatter-read"), "last 7 · × 1 off by more than half")
    same("scatter: said in words", page.value("document.querySelector('#scatter').getAttribute('aria-label')"),
         "Predicted and seen time to first token, last 7 · × 1 off by more than half")
    point = "(t, x, y) => { const b = document.querySelector('#scatter').getBoundingClientRect(); document.querySelector('#scatter').dispatchEvent(new PointerEvent(t, { clientX: b.left + x, clientY: b.top + y })) }"
    page.value(f"({point})('pointermove', {crosses[0][0] + 3}, {crosses[0][1] - 2})")
    same("scatter: the pointer reads a point", text(page, "#scatter-read"), "tokyo: predicted 356 ms, seen 160 ms")
    page.value(f"({point})('pointerleave', 0, 0)")
    same("scatter: and lets it go", (text(page, "#scatter-read"), page.value("document.querySelector('#scatter .picked').getAttribute('visibility')")),
         ("last 7 · × 1 off by more than half", "hidden"))


def decisions(page: Page) -> None:
    same("decisions: newest first", page.value("[...document.querySelectorAll('.decision .line .muted')].map(e => e.textContent)"),
         [f"11:20:{s}" for s in (40, 38, 36, 34, 32, 30, 28, 26)])
    bars = page.value("""[...document.querySelectorAll('.decision')[0].querySelectorAll('.bar')].map(b => ({
        name: b.children[1].textContent, cost: b.children[3].textContent, chosen: b.classList.contains('chosen') && b.children[0].textContent !== '',
        terms: [...b.querySelectorAll('i')].map(i => [i.className, i.getBoundingClientRect().width]) }))""")
    same("decisions: a bar per candidate, the chosen one marked and first",
         [(b["name"], b["cost"], b["chosen"]) for b in bars],
         [("us-east", "154.7", True), ("tokyo", "801.1", False), ("frankfurt", "not-up", False), ("new-node", "not-up", False), ("sydney", "at-limit", False)])
    terms = dict(bars[1]["terms"])
    per_ms = terms["t-rtt"] / 279.4
    check("decisions: the terms of a bar are as long as their ms", abs(terms["t-prefill"] / per_ms - 376) < 3 and abs(terms["t-running"] / per_ms - 145.7) < 3, terms)
    check("decisions: a term of 0 has no length", "t-queued" not in terms, terms)
    same("decisions: a round trip that is not known is hatched", bars[3]["terms"][0][0], "guessed")
    same("detail: follows the newest", text(page, "#detail-which"), "of the newest decision")
    page.value("document.querySelectorAll('.decision')[4].click()")
    same("detail: shows the one picked", (text(page, "#detail-which"), page.value("document.querySelectorAll('.decision')[4].getAttribute('aria-pressed')")),
         ("of the decision you picked", "true"))
    same("detail: facts", page.value("[...document.querySelectorAll('#detail-facts dd')].map(e => e.textContent)"),
         ["sydney", "lowest-cost", "gorgo", "15,360 of 15,800 (97 %)", "12 ms", "11:20:32", "req-001004"])
    same("detail: candidates in full", [row(page, i, "#detail-rows") for i in range(3)], [
        ["sydney", "eligible", "15,360", "440", "456.1", "41.4", "0.0", "98.7", "596.2", DASH],
        ["us-east", "eligible", "256", "15,544", "37.2", "1,461.1", "94.0", "291.4", "1,883.7", "+1,287.6"],
        ["tokyo", "eligible *", "0", "15,800", "279.4", "1,485.2", "0.0", "145.7", "1,910.3", "+1,314.1"]])
    same("detail: a round trip that is not known is a dash", [r[4] for r in (row(page, i, "#detail-rows") for i in range(5)) if r[0] == "new-node"], [DASH])
    cut = page.value("[...document.querySelectorAll('#detail td:not(.left), #servers td')].filter(c => c.scrollWidth > c.clientWidth + 1).map(c => c.textContent)")
    same("detail: no figure is cut off", cut, [])
    page.value("document.querySelector('#follow').click()")
    same("detail: follows again", text(page, "#detail-which"), "of the newest decision")


def manners(page: Page, mock: Mock) -> None:
    """Steady, accessible, quiet, alone."""
    page.value("""(() => { window.changes = []; new MutationObserver((all) => { for (const m of all) changes.push(m.target.nodeName + ' ' + (m.attributeName || m.type)); })
        .observe(document.querySelector('main'), { subtree: true, childList: true, attributes: true, characterData: true });
        document.querySelector('#servers tbody tr').kept = true; document.querySelector('.decision').focus(); })()""")
    polls = mock.scenarios["quiet"].polls
    for _ in range(80):
        if mock.scenarios["quiet"].polls >= polls + 3:
            break
        page.browser_events(0.1)
    page.browser_events(0.2)
    changes = page.value("[...new Set(changes.filter(c => !/^(path d|svg aria-label|text|#text|line)/.test(c)))]")
    same("steady: polls that bring nothing new touch nothing but the curves", changes, [])
    check("steady: rows and focus are kept", page.value("document.querySelector('#servers tbody tr').kept && document.activeElement.className === 'decision'"))
    same("access: every header of a table has its scope", page.value("[...document.querySelectorAll('th')].filter(t => !['col', 'row'].includes(t.scope)).length"), 0)
    same("access: every picture has a name", page.value("[...document.querySelectorAll('svg:not([aria-hidden])')].filter(s => s.getAttribute('role') !== 'img' || !s.getAttribute('aria-label')).length"), 0)
    check("access: the line of servers is said in words", "tokyo, slow start, 279 ms, 2 of 10 in flight, hit share 22 %" in page.value("document.querySelector('#line').getAttribute('aria-label')"))
    nameless = [n for n in page.do("Accessibility.getFullAXTree")["nodes"] if n.get("role", {}).get("value") in ("button", "textbox", "region", "img", "table")
                and n["role"]["value"] != "table" and not n.get("ignored") and not n.get("name", {}).get("value")]
    same("access: every button, field, region and picture has a name", nameless, [])
    same("access: language, one h1, no positive tabindex", page.value("[document.documentElement.lang, document.querySelectorAll('h1').length, document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length]"), ["en", 1, 0])
    same("access: contrast of all text, light", page.value(CONTRAST), [])
    seen = len(mock.scenarios["quiet"].seen)
    page.value("document.querySelector('#pause').click()")
    page.browser_events(1.5)
    check("pause: stops polling", len(mock.scenarios["quiet"].seen) <= seen + 2 and text(page, "#link") == "paused", text(page, "#link"))
    page.value("document.querySelector('#pause').click()")
    check("pause: and goes on", live(page))
    same("alone: asks nobody but its own origin", [u for u in page.requests() if not u.startswith((mock.origin + "/", "data:"))], [])
    same("console: nothing to complain of", page.complaints(), [])


def moving(browser: Browser, mock: Mock, out: Path) -> None:
    page = browser.page(f"{mock.origin}/world/dashboard", before=faster(12))
    live(page)
    page.wait("document.querySelectorAll('#decision-list li').length >= 3")
    page.value("""window.seen = Object.fromEntries(['#rps', '#ttft-p99', '#queue', '#line .mark .inside', '#servers td:nth-child(3)', '#servers td:nth-child(9)'].map(q => [q, new Set()]));
        window.look = () => Object.entries(seen).every(([q, values]) => values.add(document.querySelector(q).textContent).size > 1)""")
    check("moving: figures follow the proxy", page.wait("look()"), page.value("Object.entries(seen).map(([q, v]) => [q, ...v])"))
    newest = text(page, "#detail-facts div:last-child dd")
    page.value("document.querySelectorAll('.decision')[1].click()")
    picked = text(page, "#detail-facts div:last-child dd")
    check("moving: decisions go by", page.wait(f"![...document.querySelectorAll('.decision')].some(d => d.getAttribute('aria-pressed') === 'true')", 10))
    same("moving: the one picked stays after it left the list", text(page, "#detail-facts div:last-child dd"), picked)
    page.value("document.querySelector('#follow').click()")
    check("moving: following shows the newest again", text(page, "#detail-facts div:last-child dd") not in (newest, picked))
    page.wait("performance.now() > 59000")
    same("moving: at most twenty decisions", page.value("document.querySelectorAll('#decision-list li').length"), 20)
    curves = page.value("[...document.querySelectorAll('#ttft .curve')].map(c => (c.getAttribute('d').match(/[ML]/g) || []).length)")
    dots, crosses = marks(page)
    check("moving: the scatter keeps more than the page asks for, within its bound", 25 < len(dots) + len(crosses) <= 100, (len(dots), len(crosses)))
    check("moving: three curves, a point for each sample", len(curves) == 3 and min(curves) > 20 and len(set(curves)) == 1, curves)
    page.value("document.querySelector('#ttft').dispatchEvent(new PointerEvent('pointermove', { clientX: document.querySelector('#ttft').getBoundingClientRect().right - 150, clientY: 200 }))")
    check("moving: the pointer reads the curves", re.fullmatch(r".+ ago: p50 \d+ · p95 \d+ · p99 \d+ ms", text(page, "#ttft-read") or ""), text(page, "#ttft-read"))
    page.value("document.querySelector('#ttft').dispatchEvent(new PointerEvent('pointerleave'))")
    page.screenshot(out / "light-1280x800.png")
    page.screenshot(out / "light-whole.png", whole=True)
    page.do("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    page.browser_events(0.3)
    same("access: contrast of all text, dark", page.value(CONTRAST), [])
    page.screenshot(out / "dark-1280x800.png")
    page.value("document.querySelector('#decisions-title').scrollIntoView()")
    page.browser_events(0.2)
    page.screenshot(out / "dark-decisions.png")
    same("moving: nothing to complain of", page.complaints(), [])
    page.close()


def phone(browser: Browser, mock: Mock, out: Path) -> None:
    page = browser.page(f"{mock.origin}/world/dashboard", 390, 844, before=faster(10))
    live(page)
    page.wait("document.querySelectorAll('#decision-list li').length >= 20 && performance.now() > 15000")
    same("phone: nothing is wider than the screen", page.value("document.documentElement.scrollWidth"), 390)
    check("phone: the table scrolls within itself, names stay", page.value("""(() => { const box = document.querySelector('#servers').parentNode; box.scrollLeft = 300;
        const stays = document.querySelector('#servers tbody th').getBoundingClientRect().left < 40; box.scrollLeft = 0; return box.scrollWidth > box.clientWidth && stays })()"""))
    small = page.value("[...document.querySelectorAll('button')].filter(b => b.getClientRects().length && b.getBoundingClientRect().height < 36).length")
    same("phone: what is tapped is at least 36 high", small, 0)
    page.screenshot(out / "phone-390x844.png")
    page.value("document.querySelectorAll('.decision')[3].click()")
    check("phone: a picked decision comes into view", page.wait("Math.abs(document.querySelector('#detail').getBoundingClientRect().top) < 20", 3))
    page.browser_events(0.2)
    page.screenshot(out / "phone-decision.png")
    page.screenshot(out / "phone-whole.png", whole=True)
    page.resize(320, 568)
    page.browser_events(0.3)
    same("phone: and at 320", page.value("document.documentElement.scrollWidth"), 320)
    same("phone: nothing to complain of", page.complaints(), [])
    page.close()


def hostile(browser: Browser, mock: Mock, out: Path) -> None:
    page = browser.page(f"{mock.origin}/hostile/dashboard")
    live(page)
    page.wait("document.querySelectorAll('#decision-list li').length === 8")
    page.value("document.querySelectorAll('.decision')[2].click()")
    page.browser_events(1.3)
    same("hostile: strings are shown as they are", row(page, 0)[0].split("|")[0], "<img src=x onerror=alert(1)>")
    same("hostile: no element came of them", page.value("document.querySelectorAll('img, script:not(body > script), svg [onload], a, iframe').length + document.scripts.length"), 1)
    same("hostile: nothing ran, nothing complained", page.complaints(), [])
    same("hostile: two servers of one name are two", page.value("[...document.querySelectorAll('#line .mark .name')].filter(n => n.textContent.startsWith('<img')).length"), 2)
    check("hostile: a state that is no state is unknown", row(page, 0)[1].startswith("unknown") and row(page, 5)[1].startswith("up"), row(page, 0)[1])
    check("hostile: characters that turn text around are taken out", not page.value(r"/[\u202a-\u202e]/.test(document.body.innerText + document.querySelector('#line').getAttribute('aria-label'))"))
    same("hostile: no object was changed", page.value("[({}).polluted, Object.keys(Object.prototype).length]"), [None, 0])
    same("hostile: what was learned is shown where it is a figure", row(page, 0, "#learned tbody")[1:4], ["12", f"1.5|{DASH} of {DASH}", DASH])
    dots, crosses = marks(page)
    inside = page.value("(() => { const b = document.querySelector('#scatter').viewBox.baseVal; return [b.width, b.height] })()")
    check("hostile: points beyond all scales stand at the edge", len(dots) == 0 and len(crosses) == 6 and all(0 <= x <= inside[0] and 0 <= y <= inside[1] for x, y in crosses), (dots, crosses))
    same("hostile: long names widen nothing", page.value("[document.documentElement.scrollWidth, document.querySelector('#servers').scrollWidth <= 1240]"), [1280, True])
    page.screenshot(out / "hostile.png", whole=True)
    page.close()


def extremes(browser: Browser, mock: Mock, out: Path) -> None:
    page = browser.page(f"{mock.origin}/empty/dashboard")
    live(page)
    page.wait("document.querySelector('#ttft').getAttribute('height')")
    same("empty: says that there are no servers and decisions", page.value("[...document.querySelectorAll('.empty')].filter(e => e.getClientRects().length).map(e => e.textContent.split('.')[0])"),
         ["No servers yet", "Nothing learned yet", "No decisions yet"])
    same("empty: the scatter says why it is", page.value("[document.querySelector('#scatter').textContent, document.querySelector('#learned').hidden]"), ["No requests yet", True])
    same("empty: percentiles of no requests are dashes, counts are 0", [text(page, "#" + i) for i in ("ttft-p50", "ttft-p99", "queue", "queue-oldest", "rps")],
         [DASH, DASH, "0", DASH, "0.0"])
    same("empty: tables without rows are not shown", page.value("[document.querySelector('#servers').hidden, document.querySelector('#detail').hidden]"), [True, True])
    same("empty: nothing to complain of", page.complaints(), [])
    page.screenshot(out / "empty.png")
    page.close()

    page = browser.page(f"{mock.origin}/odd/dashboard", dark=True)
    live(page)
    page.wait("document.querySelectorAll('#decision-list li').length === 3")
    same("odd: fields of the wrong kind are dashes", row(page, 1), [f"(no name)|{DASH}", f"unknown|{DASH}", *[DASH] * 9, f"{DASH}|{DASH}", f"{DASH}|{DASH}"])
    same("odd: a true 0 is 0", row(page, 2)[2:11], ["0.2", "0 / 0", "0", "0", "0 %", "0 %", "0", "0", "0"])
    same("odd: very large figures", row(page, 3)[2:9], ["99,999.0", "999,999 / 1,000,000", DASH, DASH, "750 %", "100 %", "9,007,199,254,740,991"])
    same("odd: what was learned, of the wrong kind", row(page, 1, "#learned tbody"), ["(no name)", DASH, f"{DASH}|{DASH}", *[DASH] * 5])
    same("odd: nothing learned of a mean of 0 is no share", row(page, 3, "#learned tbody")[1:4], ["9,007,199,254,740,991", f"▲ 1,000,000,000,000.0|{DASH} of 0", "−1,000,000,000,000.0"])
    same("odd: header of nothing", [text(page, "#" + i) for i in ("policy", "uptime", "ms-per-token", "rps", "queue")], [DASH] * 5)
    same("odd: nothing to complain of", page.complaints(), [])
    page.close()

    page = browser.page(f"{mock.origin}/whole/dashboard")
    live(page)
    page.wait("document.querySelectorAll('#decision-list li').length === 8")
    same("whole: the scatter says that no answer streamed", page.value("document.querySelector('#scatter').textContent"), "No streamed answers yet")
    same("whole: nothing to complain of", page.complaints(), [])
    page.close()

    page = browser.page(f"{mock.origin}/many/dashboard")
    live(page)
    page.wait("document.querySelectorAll('#decision-list li').length === 8")
    same("many: forty servers, forty rows and marks", page.value("[document.querySelectorAll('#servers tbody tr').length, document.querySelectorAll('#line .mark').length]"), [40, 40])
    same("many: six bars a decision, the table has all twenty", page.value("[document.querySelectorAll('.decision')[0].querySelectorAll('.bar').length, document.querySelector('#detail-rows').rows.length]"), [6, 20])
    check("many: the line stays below 360 px", page.value("document.querySelector('#line').getBoundingClientRect().height") < 360)
    same("many: nothing to complain of", page.complaints(), [])
    page.screenshot(out / "many.png")
    page.close()


def guarded(browser: Browser, mock: Mock, out: Path) -> None:
    scenario = mock.scenarios["guarded"]
    page = browser.page(f"{mock.origin}/guarded/dashboard", 390, 844, dark=True, before=faster(5))
    check("401: asks for the token", page.wait("!document.querySelector('#banner').hidden && document.activeElement.id === 'token'"))
    same("401: in a field that hides and does not keep it", page.value("(({ type, autocomplete }) => [type, autocomplete])(document.querySelector('#token'))"), ["password", "off"])
    same("401: everything is a dash until then", [text(page, "#" + i) for i in ("policy", "queue", "rps", "ttft-p50")], [DASH] * 4)
    same("401: contrast", page.value(CONTRAST), [])
    page.screenshot(out / "token-390x844.png")
    knocks = len(scenario.seen)
    page.browser_events(1)
    same("401: does not knock again unasked", len(scenario.seen), knocks)

    def give(value: str) -> None:
        page.value(f"document.querySelector('#token').value = {value!r}; document.querySelector('#token-form button').click()")

    give("wrong")
    check("401: says that a token was refused", page.wait("document.querySelector('#banner-title').textContent === 'The proxy refused this token.'"), text(page, "#banner-title"))
    same("401: forgets the refused one", page.value("sessionStorage.length"), 0)
    give("schlüssel 1")
    same("401: takes no token that a header cannot hold", text(page, "#banner-title"), "This cannot be a token.")
    give(TOKEN)
    check("401: is live with the right one", live(page), text(page, "#banner-title"))
    check("401: the banner is gone", page.value("document.querySelector('#banner').hidden && !document.querySelector('#token').getClientRects().length"))
    same("401: sent as Authorization: Bearer", scenario.seen[-1], f"Bearer {TOKEN}")
    same("401: kept for the session only", page.value("[sessionStorage.length, localStorage.length, document.cookie, location.search + location.hash]"), [1, 0, "", ""])
    check("401: nowhere on the page", not page.value(f"document.documentElement.outerHTML.includes({TOKEN!r}) || document.querySelector('#token').value"))
    page.do("Page.reload")
    check("401: a reload needs no second asking", page.wait("document.querySelector('#link').textContent === 'live' && performance.now() > 0"))
    scenario.token = "another"
    check("401: asks again when the token was changed", page.wait("!document.querySelector('#banner').hidden && document.body.classList.contains('stale')"))
    same("401: nothing to complain of", page.complaints(), [])
    page.close()


def leaving(browser: Browser, mock: Mock, out: Path) -> None:
    scenario = mock.scenarios["leaving"]
    page = browser.page(f"{mock.origin}/leaving/dashboard", before=faster(5))
    live(page)
    shown = "!document.querySelector('#banner').hidden"
    scenario.explain_works = False
    polls = scenario.polls
    page.browser_events(1)
    check("leaving: without decisions the figures go on", scenario.polls > polls and page.value("document.querySelector('#banner').hidden"))
    scenario.explain_works = True
    scenario.mode = "gone"
    check("leaving: says that the proxy cannot be reached", page.wait(shown) and text(page, "#banner-title") == "The proxy cannot be reached.", text(page, "#banner-title"))
    check("leaving: from when the figures are, dimmed", re.search(r"no connection.* is from \d\d:\d\d:\d\d\. Trying again", text(page, "#banner-text") or "")
          and page.value("document.body.classList.contains('stale')") and row(page, 0)[0].startswith("us-east"), text(page, "#banner-text"))
    same("leaving: the banner is an alert", page.value("document.querySelector('#banner').getAttribute('role')"), "alert")
    page.screenshot(out / "unreachable.png")
    scenario.mode = "error"
    check("leaving: tells an error from silence", page.wait("document.querySelector('#banner-text').textContent.includes('it answered 500')"), text(page, "#banner-text"))
    scenario.mode = "text"
    check("leaving: and from an answer that is no status", page.wait("document.querySelector('#banner-text').textContent.includes('does not understand')"), text(page, "#banner-text"))
    scenario.mode = "ok"
    check("leaving: comes back by itself", page.wait("document.querySelector('#banner').hidden && document.querySelector('#link').textContent === 'live' && !document.body.classList.contains('stale')"))
    scenario.status["draining"] = True
    check("leaving: says that the proxy is stopping", page.wait("document.querySelector('#banner-title').textContent === 'The proxy is stopping.'"))
    same("leaving: nothing to complain of", page.complaints(), [])
    page.close()
    page = browser.page(f"{mock.origin}/never/dashboard")
    check("leaving: a proxy that never answered", page.wait(shown) and "is from" not in (text(page, "#banner-text") or ""), text(page, "#banner-text"))
    page.close()


def long_watch(page: Page, mock: Mock) -> None:
    """A quarter of an hour of polling, begun before the other checks: what is kept stays bounded."""
    def state() -> dict[str, float]:
        page.do("HeapProfiler.collectGarbage")
        return {"heap": page.metric("JSHeapUsedSize"), "nodes": page.value("document.querySelectorAll('*').length"),
                "listeners": page.metric("JSEventListeners"), "points": page.value("document.querySelector('#ttft .curve').getAttribute('d').match(/[ML]/g).length"),
                "now": page.value("performance.now()")}

    page.wait("performance.now() > 660000", 20)
    first, polls = state(), mock.scenarios["long"].polls
    page.wait(f"performance.now() > {first['now'] + 240_000}", 20)
    last, more = state(), mock.scenarios["long"].polls - polls
    check("long: ten minutes and more were polled", first["now"] > 660_000 and more > 20, (first, more))
    check("long: no node and no listener more", abs(last["nodes"] - first["nodes"]) < 60 and last["listeners"] - first["listeners"] < 30, (first, last))
    check("long: the heap does not grow", last["heap"] - first["heap"] < 600_000, (first, last))
    dots, crosses = marks(page)
    check("long: at most a hundred points", len(dots) + len(crosses) == 100, (len(dots), len(crosses)))
    check("long: samples are dropped after ten minutes", last["points"] <= 700 and page.value("Math.min(...document.querySelector('#ttft .curve').getAttribute('d').match(/[\\d.]+(?= )/g)) >= 43.9"), last)
    busy = sum(page.metric(name) for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration"))
    each = busy / mock.scenarios["long"].polls * 1000
    check(f"long: a poll takes {each:.1f} ms of script, style and layout, below 25", each < 25)
    same("long: nothing to complain of", page.complaints(), [])
    page.close()


def attempt(name: str, group: Callable[..., None], *arguments: Any) -> None:
    """A group that cannot go on, say because an alert holds its page, is a failure; the others still run."""
    try:
        group(*arguments)
    except (RuntimeError, TimeoutError, TypeError, IndexError, KeyError) as error:
        check(f"{name}: comes to its end", False, f"{type(error).__name__}: {error}")


def too_long(*_: object) -> None:
    sys.exit(f"dashboard: not done after {LIMIT_S} s; {passed} passed, {failed} failed")


def main(chromium: str, out: Path) -> int:
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_S)
    the_file()
    with Mock() as mock, Browser(chromium) as browser:
        watched = browser.page(f"{mock.origin}/long/dashboard", before=faster(30))
        for group in (figures, sharing, moving, phone, hostile, extremes, guarded, leaving):
            attempt(group.__name__, group, browser, mock, out)
        attempt("long", long_watch, watched, mock)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
