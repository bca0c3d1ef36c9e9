"""How a report looks: paper and ink, one warm colour for what was learnt, nothing loaded."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #faf8f4; --ink: #22201c; --soft: #6b655c; --rule: #e4dfd5; --wash: #f2eee6;
  --curve: #b4492d; --rate: #46698c; --good: #3f7a55; --bad: #a63a2b; --faint: .26;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171512; --ink: #ebe6dc; --soft: #a29a8d; --rule: #332f29; --wash: #211e1a;
    --curve: #e58e6c; --rate: #8fb1d3; --good: #86c39d; --bad: #ec8a78; --faint: .42;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 1040px; padding: 56px 32px 72px;
  background: var(--paper); color: var(--ink);
  font: 15px/1.55 var(--sans); overflow-wrap: break-word;
}
h1, h2, h3, p, dl, dd, figure { margin: 0; }
h1, h2, h3, .value { font-family: var(--serif); font-weight: 400; }
h1 { font-size: clamp(34px, 7vw, 54px); line-height: 1.1; letter-spacing: -.01em; }
h1 { overflow-wrap: anywhere; }
h2 { font-size: 24px; line-height: 1.3; }
h3 { font-size: 18px; line-height: 1.4; overflow-wrap: anywhere; }
.over, dt, th { font-size: 12px; color: var(--soft); letter-spacing: .02em; font-weight: 400; }
.over { margin-bottom: 10px; }
.state { margin-top: 14px; color: var(--soft); }
.state b { font-weight: 600; color: var(--ink); }
.state b::before {
  content: ""; display: inline-block; width: 9px; height: 9px; margin-right: 8px;
  border-radius: 50%; background: var(--soft);
}
.finished b::before { background: var(--good); }
.running b::before { background: var(--rate); }
.interrupted b::before, .failed b::before { background: var(--bad); }
.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
  gap: 22px 24px; margin-top: 36px; padding-top: 22px; border-top: 1px solid var(--ink);
}
.value { font-size: 21px; line-height: 1.3; overflow-wrap: anywhere; }
section { margin-top: 60px; }
section > p { color: var(--soft); max-width: 66ch; margin-top: 4px; }
figure { margin-top: 22px; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }

.chart { display: block; overflow: visible; margin-left: 46px; width: calc(100% - 46px); }
.chart line { stroke: var(--rule); }
.chart .floor { stroke: var(--soft); }
.chart .mark { stroke: var(--soft); stroke-dasharray: 2 4; }
.chart path {
  fill: none; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round;
}
.chart .dots { stroke: var(--curve); stroke-width: 4px; opacity: var(--faint); }
.chart .curve { stroke: var(--curve); stroke-width: 2.25px; }
.chart .curve.rate { stroke: var(--rate); stroke-width: 1.75px; }
.chart .curve.other { stroke-dasharray: 7 4; }
.keys i {
  display: inline-block; width: 22px; margin: 0 4px 4px 0; border-top: 2px solid var(--rate);
}
.keys .other { margin-left: 16px; border-top: 2px dashed var(--curve); }
.chart .band { fill: var(--rate); opacity: .22; }
.chart .end { fill: var(--curve); stroke: var(--paper); stroke-width: 2px; }
.chart text {
  fill: var(--soft); font: 12px var(--sans); font-variant-numeric: tabular-nums;
  paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round;
}

.prompt { margin-top: 34px; }
.strip {
  display: grid; grid-auto-flow: column; grid-auto-columns: minmax(88px, 256px);
  gap: 10px; margin-top: 10px; overflow-x: auto; scrollbar-width: thin;
}
.strip figure { margin: 0; }
.strip img, .none {
  display: block; width: 100%; aspect-ratio: var(--shape, 1); object-fit: contain;
  background: var(--wash);
}
.strip img.tiny { image-rendering: pixelated; }
.none { display: grid; place-items: center; color: var(--soft); font-size: 12px; }
.made { margin-top: 8px; font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }

table { width: 100%; border-collapse: collapse; margin-top: 14px; }
caption { text-align: left; font-family: var(--serif); font-size: 18px; padding-top: 8px; }
th, td { text-align: left; padding: 7px 16px 7px 0; border-bottom: 1px solid var(--rule); }
td { font-variant-numeric: tabular-nums; vertical-align: top; overflow-wrap: anywhere; }
td + td { overflow-wrap: normal; }
td:last-child, th:last-child { padding-right: 0; }
td.count, th.count { text-align: right; width: 6em; white-space: nowrap; }
td.share { width: 50%; padding-right: 0; vertical-align: middle; }
td.share i { display: block; height: 8px; background: var(--curve); opacity: .75; }
td.verdict { white-space: nowrap; width: 7em; }
td.verdict.failed { color: var(--bad); font-weight: 600; }
td.verdict.ok { color: var(--good); }
ul { margin: 12px 0 0; padding: 0; list-style: none; }
li { padding: 8px 0 8px 14px; border-left: 3px solid var(--bad); margin-top: 8px; }
pre {
  margin: 16px 0 0; padding: 18px 20px; background: var(--wash);
  font: 13px/1.6 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere;
}
footer { margin-top: 64px; font-size: 12px; color: var(--soft); }
@media (max-width: 600px) {
  body { padding: 32px 18px 48px; }
  section { margin-top: 46px; }
  .facts { grid-template-columns: 1fr 1fr; gap: 18px; margin-top: 26px; }
  .value { font-size: 18px; }
  td.share { width: 34%; }
}
@media print { body { max-width: none; padding: 0; } .strip { overflow: visible; } }
"""
