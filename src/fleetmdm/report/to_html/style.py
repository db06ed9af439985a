"""How the page looks: two schemes, paper, and contrast of at least 4.5 to 1 for every text."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1b2430; --soft: #556070; --line: #d9dee6;
  --link: #0b57a8; --pass: #1f7a4d; --fail: #b3261e; --error: #8a4b00; --unknown: #5b4b9a;
  --fail-back: #fdecea; --error-back: #fff1dc; --unknown-back: #efecfb; --calm-back: #eaeef4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1b212a; --text: #e6eaf0; --soft: #a3adbb; --line: #333c49;
    --link: #8ab8ff; --pass: #5cc490; --fail: #ff9a92; --error: #f2b765; --unknown: #bfb0ff;
    --fail-back: #43201e; --error-back: #3d2c12; --unknown-back: #2d2850; --calm-back: #2a3340;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 76rem;
  background: var(--page); color: var(--text); overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.25rem 0 .5rem; scroll-margin-top: 1rem; }
a { color: var(--link); text-underline-offset: .15em; }
a:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: 1rem; background: var(--card); padding: .5rem 1rem; z-index: 1; }
small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); }
code { font: .85em ui-monospace, "DejaVu Sans Mono", Consolas, monospace; overflow-wrap: anywhere; }
.when, .note, footer { color: var(--soft); margin: .35rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--line);
  border-radius: .5rem; padding: .7rem .9rem; }
.card dt { color: var(--soft); font-size: .85rem; }
.card dd { margin: 0; font-size: clamp(1.15rem, 4.2vw, 1.6rem); font-weight: 650; font-variant-numeric: tabular-nums; }
.card.is-fail { border-left-color: var(--fail); }
.card.is-error { border-left-color: var(--error); }
.card.is-unknown { border-left-color: var(--unknown); }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { padding: .45rem .7rem; text-align: left; vertical-align: top;
  border-top: 1px solid var(--line); overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 550; min-width: 12rem; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.zero { color: var(--soft); }
td.is-fail { color: var(--fail); font-weight: 650; }
td.is-error { color: var(--error); font-weight: 650; }
td.is-unknown { color: var(--unknown); font-weight: 650; }
.b { min-width: 8rem; }
.bar { display: flex; height: .8rem; margin-top: .35rem; border-radius: .25rem; overflow: hidden;
  background: var(--calm-back); print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar i { display: block; min-width: 2px; }
.f-pass { background: var(--pass); } .f-fail { background: var(--fail); }
.f-error { background: var(--error); } .f-unknown { background: var(--unknown); }
.none { color: var(--soft); font-size: .85rem; }
.badge { display: inline-block; padding: .05rem .5rem; border-radius: 1rem; font-size: .8rem;
  font-weight: 600; background: var(--calm-back); color: var(--text); white-space: nowrap;
  vertical-align: middle; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.s-critical, .s-high, .badge.is-fail { background: var(--fail-back); color: var(--fail); }
.s-critical { outline: 1px solid currentColor; }
.s-medium, .badge.is-error { background: var(--error-back); color: var(--error); }
.badge.is-unknown { background: var(--unknown-back); color: var(--unknown); }
.chips { list-style: none; display: flex; flex-wrap: wrap; gap: .4rem; padding: 0; margin: .5rem 0; }
.chips li { background: var(--calm-back); border-radius: 1rem; padding: .05rem .7rem;
  font-size: .85rem; overflow-wrap: anywhere; }
.fix { border-left: 4px solid var(--link); padding: .1rem 0 .1rem .8rem; }
.since { white-space: nowrap; }
.more, .up { font-size: .9rem; color: var(--soft); margin: .5rem 0; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .75rem; font-size: .85rem; }
@media print {
  :root { --page: #fff; --card: #fff; --text: #000; --soft: #444; --line: #bbb; --link: #000;
    --pass: #1f7a4d; --fail: #b3261e; --error: #8a4b00; --unknown: #5b4b9a;
    --fail-back: #fdecea; --error-back: #fff1dc; --unknown-back: #efecfb; --calm-back: #eee; }
  @page { margin: 14mm 12mm; }
  html { font-size: 9.5pt; }
  body { max-width: none; padding: 0; }
  .skip, .up { display: none; }
  .wide { overflow: visible; border: 0; }
  table { font-size: 8.5pt; }
  th, td { padding: .25rem .4rem; }
  thead { display: table-header-group; }
  tr, .card { break-inside: avoid; }
  h2 { break-after: avoid; margin-top: 1.2rem; }
  .cards { grid-template-columns: repeat(5, 1fr); gap: .4rem; }
  .card { padding: .3rem .5rem; } .card dd { font-size: 1.15rem; }
  tbody th { min-width: 0; }
  .b { min-width: 4rem; }
}
"""
