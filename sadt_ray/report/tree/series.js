// The series at a node: the samples that end below it, over all samples of the draw, after the end of the history.
const WIDE = 1100, HIGH = 250, PAD = { left: 46, right: 8, top: 8, bottom: 20 }, LINES = 12; // units of the drawing's viewBox

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(el("drawing").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

async function loadSeries(series) {
  if (!series || series.row) return;
  for (const name of Object.keys(series.columns)) series[name] = await unpack(series.columns[name]);
}

// Numbers of the carried samples that end at a node or below it, the heaviest first.
function samplesBelow(series, i) {
  const found = [];
  for (let k = 0; k < series.row.length; k++) {
    let leaf = series.row[k];
    while (leaf > i) leaf = tree.parent[leaf]; // a parent stands above its children
    if (leaf === i) found.push(k);
  }
  return found;
}

const valueOf = (series, k, t) => series.low + ((series.high - series.low) * series.values[k * series.horizon + t]) / 255;
const lineOf = (series, k) => Array.from({ length: series.horizon }, (_, t) => valueOf(series, k, t));

// Weighted mean and 5 % and 95 % quantiles at each time of the samples `below`.
function summarise(series, below) {
  const total = below.reduce((sum, k) => sum + series.weight[k], 0);
  const weight = below.map((k) => (total > 0 ? series.weight[k] / total : 1 / below.length));
  const mean = [], low = [], high = [];
  for (let t = 0; t < series.horizon; t++) {
    const values = below.map((k) => valueOf(series, k, t)), order = values.map((_, n) => n).sort((a, b) => values[a] - values[b]);
    mean.push(values.reduce((sum, v, n) => sum + weight[n] * v, 0));
    let sum = 0, at = order.map((n) => (sum += weight[n]) - weight[n] / 2);
    const quantile = (q) => values[order[Math.max(at.findIndex((p) => p >= q), 0)]];
    low.push(quantile(0.05));
    high.push(at[at.length - 1] < 0.95 ? values[order[order.length - 1]] : quantile(0.95));
  }
  return { mean, low, high };
}

function showSeries(i) {
  const series = shownEntry.series, below = series && i >= 0 ? samplesBelow(series, i) : [];
  el("drawing").toggleAttribute("hidden", !below.length);
  el("drawing").dataset.below = below.length;
  el("caption").textContent = captionOf(series, below, i);
  if (below.length) drawSeries(series, below);
}

const carried = (series) =>
  `the heaviest ${number(series.row.length)} of ${number(series.samples)}, ${number(100 * series.carried_weight)} % of the weight`;

function captionOf(series, below, i) {
  if (i < 0) return "";
  if (!series) return "There is no series to show: this run does not say which sample ends where, as runs of this version do.";
  if (!below.length) return `No series: no sample ends here, or none of those that the page carries: ${carried(series)}.`;
  const share = below.reduce((sum, k) => sum + series.weight[k], 0);
  const many = `${number(below.length)} samples below it: their weighted mean, 5–95 % and the heaviest ${Math.min(LINES, below.length)}`;
  const behind = `Grey: 50 and 90 % bands of the whole draw${series.truth ? "; uncoloured line: what followed" : ""}`;
  const left = series.row.length < series.samples ? `. The page carries ${carried(series)}` : "";
  return `Node ${tree.node[i]}, ${below.length > 1 ? many : "the sample that ends here"}; ${number(100 * share)} % of the draw. ${behind}${left}.`;
}

function drawSeries(series, below) {
  const past = series.context.length, horizon = series.horizon, [low90, low50, high50, high90] = series.bands;
  const lines = below.slice(0, LINES).map((k) => lineOf(series, k)), many = below.length > 1 ? summarise(series, below) : null;
  const seen = [series.context, series.truth ?? [], low90, high90, ...lines].flat().filter((v) => v !== null);
  const bottom = Math.min(...seen), top = Math.max(...seen);
  const x = (t) => PAD.left + ((WIDE - PAD.left - PAD.right) * (t + past)) / (past + horizon - 1);
  const y = (v) => PAD.top + ((HIGH - PAD.top - PAD.bottom) * (top - v)) / (top - bottom || 1);
  const points = (values, first) => values.map((v, t) => (v === null ? null : `${x(first + t).toFixed(1)} ${y(v).toFixed(1)}`));
  const path = (values, first) => points(values, first).map((p, t, all) => (p === null ? "" : (t && all[t - 1] !== null ? "L" : "M") + p)).join("");
  const band = (lower, upper) => `M${[...points(lower, 0), ...points(upper, 0).reverse()].filter((p) => p !== null).join("L")}Z`;
  const word = (text, at, height, anchor) => { const made = svg("text", { x: at, y: height, "text-anchor": anchor }); made.textContent = text; return made; };
  el("drawing").replaceChildren(
    svg("path", { class: "all", d: band(low90, high90) }), svg("path", { class: "all", d: band(low50, high50) }),
    svg("path", { class: "hair", d: `M${x(-0.5)} ${PAD.top}V${HIGH - PAD.bottom}` }),
    svg("path", { class: "past", d: path(series.context, -past) }), svg("path", { class: "truth", d: path(series.truth ?? [], 0) }),
    ...(many ? [svg("path", { class: "below", d: band(many.low, many.high) }), ...lines.map((line) => svg("path", { class: "thin", d: path(line, 0) }))] : []),
    svg("path", { class: "own", d: path(many ? many.mean : lines[0], 0) }),
    word(number(top), PAD.left - 6, PAD.top + 8, "end"), word(number(bottom), PAD.left - 6, HIGH - PAD.bottom, "end"),
    word(number(-past), x(-past), HIGH - 5, "start"), word("0", x(0), HIGH - 5, "middle"), word(number(horizon - 1), x(horizon - 1), HIGH - 5, "end"));
}
