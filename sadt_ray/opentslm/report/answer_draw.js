// The series of a question and its spectrum among the labels' templates, as SVG that follows the page's theme.
const WIDE = 560, LEFT = 62, FLOOR = 1e-12; // units of the viewBox; of a density

function pathOf(points) {
  let d = "", gap = true;
  for (const [x, y] of points) {
    if (x === null || y === null) { gap = true; continue; }
    d += `${gap ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    gap = false;
  }
  return d;
}

const word = (x, y, text, anchor, extra = {}) => {
  const made = svg("text", { x, y, "text-anchor": anchor, class: "word", ...extra });
  made.textContent = text;
  return made;
};

function drawSeries(question) {
  const rate = question.rate, many = question.series.length > 4;
  const panels = question.series.map((channel) => drawChannel(channel, rate, many ? 46 : 92));
  el("series").replaceChildren(make("h3", {}, `Series${rate ? `, ${number(rate)} samples a second` : ""}`), ...panels);
}

function drawChannel(channel, rate, height) {
  const { points, low, high, length } = channel, end = rate ? length / rate : length;
  const x = (k) => LEFT + ((WIDE - LEFT - 6) * k) / Math.max(points.length - 1, 1);
  const y = (step) => height - 4 - ((height - 8) * step) / 4095;
  const d = pathOf(points.map((step, k) => [x(k), step === null ? null : y(high > low ? step : 2047)]));
  const box = svg("svg", { viewBox: `0 0 ${WIDE} ${height + 15}`, role: "img", class: "drawn" },
    svg("path", { d, class: "line" }), svg("path", { d: `M${LEFT} ${height}H${WIDE - 6}`, class: "hair" }),
    word(LEFT - 5, 12, number(high), "end"), word(LEFT - 5, height - 2, number(low), "end"),
    word(LEFT, height + 12, "0", "start"), word(WIDE - 6, height + 12, number(end) + (rate ? " s" : " samples"), "end"));
  box.setAttribute("aria-label", channel.name);
  return make("figure", {}, make("figcaption", { title: channel.name }, channel.name), box);
}

// Logarithm of the density against frequency; the zero frequency, which is the removed mean, is left out.
function drawSpectra(question, chosen) {
  const pane = el("spectra");
  if (!question.spectrum.length) { pane.replaceChildren(); return; }
  const log = (density) => density.slice(1).map((s) => Math.log10(Math.max(s ?? 0, FLOOR)));
  const observed = log(question.spectrum), height = 300;
  const templates = question.templates.map((density) => (density ? log(density) : null));
  const all = [observed, ...templates.filter(Boolean)].flat();
  const low = Math.min(...all), high = Math.max(...all), frequency = question.frequencies.slice(1);
  const last = frequency[frequency.length - 1] || 1;
  const x = (f) => LEFT + ((WIDE - LEFT - 6) * f) / last, y = (s) => 8 + ((height - 16) * (high - s)) / (high - low || 1);
  const line = (values, attributes) => svg("path", { d: pathOf(values.map((s, k) => [x(frequency[k]), y(s)])), ...attributes });
  const drawn = templates.map((values, k) => {
    if (!values) return null;
    const told = question.answers[k] === question.gold || question.answers[k] === chosen;
    const made = line(values, { class: told ? "template told" : "template", stroke: colourOf(k) });
    made.dataset.answer = k;
    return made;
  });
  const anchors = ["start", "middle", "end"];
  const ends = [0, last / 2, last].map((f, k) => word(x(f), height + 13, number(question.rate ? f * question.rate : f), anchors[k]));
  const box = svg("svg", { viewBox: `0 0 ${WIDE} ${height + 34}`, role: "img", class: "drawn", "aria-label": "spectra" },
    svg("path", { d: `M${LEFT} ${height}H${WIDE - 6}`, class: "hair" }), ...drawn.filter(Boolean), line(observed, { class: "line" }), ...ends,
    word(LEFT - 5, 14, number(10 ** high), "end"), word(LEFT - 5, height - 6, number(10 ** low), "end"),
    word((LEFT + WIDE) / 2, height + 29, question.rate ? "Hz" : "cycles per sample", "middle"));
  pane.replaceChildren(make("h3", {}, "Spectrum among the answers' templates"), box, legend(question, templates, drawn));
}

function legend(question, templates, drawn) {
  const names = question.answers.map((answer, k) => {
    if (!templates[k]) return null;
    const mark = make("i", { style: `background:${colourOf(k)}` });
    const item = make("span", { tabindex: 0 }, mark, answer + (answer === question.gold ? " (gold)" : ""));
    for (const [event, on] of [["pointerenter", 1], ["focus", 1], ["pointerleave", 0], ["blur", 0]]) {
      item.addEventListener(event, () => drawn[k].classList.toggle("shown", Boolean(on)));
    }
    return item;
  });
  const own = make("span", {}, make("i", { style: "background:var(--ink)" }), "this series");
  return make("p", { class: "legend" }, own, ...names);
}
