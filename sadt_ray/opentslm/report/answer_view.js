// The reader's side: which question, which method, and what it answered beside the others.
let data = null, shown = []; // numbers of the questions that the filter lets through
const LITTLE = 0.005, MANY = 12; // answers less likely than this are folded where there are many

const question = () => data.questions[Number(el("question").value)];
const method = () => el("method").value;
const treeOf = (k, key) => data.trees.find((t) => t.question === k && t.method === key);
const FILTERS = {
  all: () => true,
  tree: (q, k) => data.trees.some((t) => t.question === k),
  differ: (q) => new Set(Object.values(q.answered).map((a) => a.answer)).size > 1,
  wrong: (q) => q.answered[method()]?.correct === false,
  right: (q) => q.answered[method()]?.correct === true,
};

function fillQuestions() {
  const kept = Number(el("question").value), pass = FILTERS[el("filter").value];
  shown = data.questions.map((q, k) => k).filter((k) => pass(data.questions[k], k));
  const option = (k) => new Option(`${data.questions[k].name}${data.trees.some((t) => t.question === k) ? " · tree" : ""}`, k, false, k === kept);
  el("question").replaceChildren(...shown.map(option));
  el("count").textContent = `${number(shown.length)} of ${number(data.questions.length)} questions on this page.`;
}

function move(step) {
  const select = el("question"), next = select.selectedIndex + step;
  if (next < 0 || next >= select.options.length) return;
  select.selectedIndex = next;
  show();
}

const verdict = (answered) => (answered.correct === null ? "" : answered.correct ? " ✓" : " ✗");

function barCell(share, best, colour) {
  const bar = make("i", { style: `width:${100 * Math.min(share, 1)}%;background:${colour}` });
  return make("td", { class: best ? "bar best" : "bar" }, bar, make("span", {}, percent(share)));
}

// Rows are answers, columns methods; the gold answer is marked, the answer given is bold.
function drawBars(q) {
  const those = data.methods.filter((m) => q.answered[m.key]);
  if (!q.answers.length) { el("bars").replaceChildren(make("p", { class: "quiet" }, "The text is the answer: there is none to choose.")); return; }
  const most = (k) => Math.max(...those.map((m) => q.answered[m.key].probabilities[k]));
  const folded = (k) => q.answers.length > MANY && most(k) < LITTLE && q.answers[k] !== q.gold;
  const rows = q.answers.map((answer, k) => k).filter((k) => !folded(k));
  const head = make("tr", {}, make("th", {}, "answer"), ...those.map((m) => make("th", {
    scope: "col", style: `color:${m.colour}`, class: m.key === method() ? "chosen" : null }, m.name + verdict(q.answered[m.key]))));
  const lines = rows.map((k) => {
    const gold = q.answers[k] === q.gold, name = make("th", { scope: "row", class: gold ? "gold" : null },
      make("i", { style: `background:${colourOf(k)}` }), q.answers[k] + (gold ? " ◆ gold" : ""));
    return make("tr", { class: gold ? "gold" : null }, name, ...those.map((m) => {
      const answered = q.answered[m.key];
      return barCell(answered.probabilities[k], answered.answer === q.answers[k], m.colour);
    }));
  });
  const rest = q.answers.length - rows.length, other = (a) => q.answers.reduce((sum, _, k) => sum + (folded(k) ? a.probabilities[k] : 0), 0);
  const last = [["no answer", (a) => a.none]].concat(rest ? [[`${rest} other answers`, other]] : []);
  const tail = last.map(([name, of]) => make("tr", { class: "quiet-row" }, make("th", { scope: "row" }, name),
    ...those.map((m) => barCell(of(q.answered[m.key]), false, "var(--soft)"))));
  el("bars").replaceChildren(make("table", { class: "bars" }, make("thead", {}, head), make("tbody", {}, ...lines, ...tail)));
}

function showReasons(q, answered) {
  const name = data.methods.find((m) => m.key === method()).name;
  el("reasons-title").textContent = `Reasons: ${name}` + (answered?.answer && q.answers.length ? ` answers ${answered.answer}${verdict(answered)}` : "");
  const costs = answered ? Object.entries(answered.costs).map(([what, count]) => `${what} ${number(count)}`) : [];
  const sums = answered ? [`effective sample size ${number(answered.ess)}`, `log Z ${number(answered.logZ)}`] : [];
  el("costs").textContent = [`source ${q.source}`, ...costs, ...sums].join(" · ");
  el("text").textContent = answered ? answered.text : "This method has not answered this question.";
  el("gold").textContent = q.goldText ?? q.gold ?? "not known";
  el("prompt").textContent = q.prompt;
}

function show() {
  el("view").dataset.question = el("question").value;
  const q = question();
  if (!q) { for (const part of ["series", "spectra", "bars"]) el(part).replaceChildren(); el("text").textContent = "No question is left."; showTree(null, []); return; }
  const answered = q.answered[method()], k = Number(el("question").value), entry = treeOf(k, method());
  drawSeries(q);
  drawSpectra(q, answered?.answer);
  drawBars(q);
  showReasons(q, answered);
  el("tree").hidden = !data.trees.length;
  el("tree-title").textContent = `The tree of answers${entry ? `: ${data.methods.find((m) => m.key === method()).name}` : ""}`;
  showTree(entry, q.answers);
  if (!entry) {
    const grown = [...new Set(data.trees.map((t) => t.method))].map((key) => data.methods.find((m) => m.key === key)?.name ?? key);
    el("tree-count").textContent = `No tree was kept of this question and method. Trees are kept of the first questions, of ${grown.join(", ")}.`;
  }
}

async function begin() {
  try {
    data = await unpack(document.getElementById("answers-data").textContent.trim());
  } catch (error) {
    el("count").textContent = `This browser cannot unpack the answers (${error.message}); a current one can.`;
    return;
  }
  for (const m of data.methods) el("method").append(new Option(m.name, m.key));
  const first = data.trees[0];
  el("method").value = first ? first.method : data.methods[data.methods.length - 1]?.key;
  fillQuestions();
  if (first) el("question").value = first.question;
  listenTree(() => question().answers);
  el("filter").addEventListener("change", () => { fillQuestions(); show(); });
  el("question").addEventListener("change", show);
  el("method").addEventListener("change", () => { if (["wrong", "right"].includes(el("filter").value)) fillQuestions(); show(); });
  el("before").addEventListener("click", () => move(-1));
  el("after").addEventListener("click", () => move(1));
  show();
}
begin();
