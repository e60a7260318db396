// The reader's side: which tree, where in it, what is under the pointer, which path is marked.
const tip = el("tip");
let shownEntry = null; // of which the tree is on show

// -- picking and words ---------------------------------------------------------------------------------------------
function pick(event) {
  if (!tree) return -1;
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const level = Math.floor((y - MARGIN.top) / rowHeight());
  if (level < 0 || level > tree.depth || x < MARGIN.left) return -1;
  const row = tree.rows[level], k = firstVisible(row, toPlace(x));
  const near = [row[k], row[k - 1]].filter((i) => i !== undefined && distance(i, x) <= 12);
  return near.length ? near.reduce((a, b) => (distance(b, x) < distance(a, x) ? b : a)) : -1;
}

function distance(i, x) {
  const left = toPixel(tree.from[i]), right = toPixel(tree.to[i]);
  return x < left ? left - x : x > right ? x - right : 0;
}

function pathOf(i) {
  const path = [];
  for (; i >= 0; i = tree.parent[i]) path.unshift(i);
  return path;
}

function number(v) {
  if (Number.isNaN(v)) return "–";
  const size = Math.abs(v), whole = Number.isInteger(v) && size < 1e9;
  if (size === Infinity) return v > 0 ? "∞" : "−∞";
  return (whole ? v.toLocaleString("en") : size < 1e-3 ? v.toExponential(2) : v.toPrecision(4)).replaceAll("-", "−");
}

const FACTS = [
  ["level", (i) => String(tree.level[i])], ["node", (i) => String(tree.node[i])],
  ["soft value", (i) => number(tree.value[i])], ["best reward", (i) => number(tree.reward[i])], ["visits", (i) => number(tree.visits[i])],
  ["weight", (i) => number(tree.weight[i])], ["log flow", (i) => number(tree.log_flow[i])],
  ["children", (i) => number(tree.children[i])],
];

function table(head, rows) {
  const made = document.createElement("table");
  for (const [tag, cells] of [...(head ? [["th", head]] : []), ...rows.map((cells) => ["td", cells])]) {
    const line = made.insertRow();
    for (const text of cells) line.appendChild(document.createElement(tag)).textContent = text;
  }
  return made;
}

function showTip(event) {
  tip.hidden = hovered < 0;
  if (hovered < 0) return;
  tip.replaceChildren(table(null, FACTS.map(([name, of]) => [name, of(hovered)])));
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  tip.style.left = `${x + 18 + tip.offsetWidth > size.width ? x - 18 - tip.offsetWidth : x + 18}px`;
  tip.style.top = `${Math.max(Math.min(y - 10, size.height - tip.offsetHeight), 0)}px`;
}

function select(i) {
  selected = i;
  const path = pathOf(i);
  const lines = path.map((n) => FACTS.map(([, of]) => of(n)));
  el("path").replaceChildren(...(path.length ? [table(FACTS.map(([name]) => name), lines)] : []));
  describeChoice(tree);
  showSeries(i);
  redraw();
}

// -- moving --------------------------------------------------------------------------------------------------------
function moveTo(from, to) {
  const width = Math.min(Math.max(to - from, 1e-9), 1);
  from = Math.min(Math.max(from, 0), 1 - width);
  view = { from, to: from + width };
  redrawMoved();
}

function zoom(factor, place) {
  moveTo(place - (place - view.from) * factor, place + (view.to - place) * factor);
}

function listen() {
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, ...view, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      drag.moved ||= Math.abs(event.clientX - drag.x) > 3;
      const shift = ((drag.x - event.clientX) / inner()) * (drag.to - drag.from);
      if (drag.moved) moveTo(drag.from + shift, drag.to + shift);
      return;
    }
    hovered = pick(event);
    showTip(event);
    redraw();
  });
  canvas.addEventListener("pointerup", (event) => { if (drag && !drag.moved) select(pick(event)); drag = null; });
  canvas.addEventListener("pointerleave", () => { hovered = -1; tip.hidden = true; redraw(); });
  canvas.addEventListener("dblclick", (event) => {
    const i = pick(event);
    if (i >= 0) moveTo(tree.from[i], tree.to[i]);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return; // the page scrolls on
    event.preventDefault();
    zoom(Math.exp(event.deltaY * 0.002), toPlace(event.clientX - canvas.getBoundingClientRect().left));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const middle = (view.from + view.to) / 2, shift = (view.to - view.from) / 8;
    const act = {
      Escape: () => select(-1),
      Home: () => moveTo(0, 1),
      "+": () => zoom(0.8, middle),
      "-": () => zoom(1.25, middle),
      ArrowLeft: () => moveTo(view.from - shift, view.to - shift),
      ArrowRight: () => moveTo(view.from + shift, view.to + shift),
      ArrowDown: () => step(1),
      ArrowUp: () => step(-1),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  el("reset").addEventListener("click", () => moveTo(0, 1));
  el("before").addEventListener("click", () => step(-1));
  el("after").addEventListener("click", () => step(1));
  el("choice").addEventListener("change", () => { choose(tree); select(tree.chosen[0] ?? selected); });
  el("form").addEventListener("change", redrawAll);
  el("width").addEventListener("change", () => { layout(tree, el("width").value); choose(tree); moveTo(0, 1); });
  el("colour").addEventListener("change", () => { makeScale(tree, el("colour").value); redrawAll(); });
  el("method").addEventListener("change", () => { fillProblems(); show(); });
  el("problem").addEventListener("change", show);
  dark.addEventListener("change", () => { makeRamp(); redrawAll(); });
  new ResizeObserver(fit).observe(canvas);
}

function fit() {
  const ratio = window.devicePixelRatio || 1;
  size = { width: canvas.clientWidth, height: canvas.clientHeight };
  canvas.width = Math.round(size.width * ratio);
  canvas.height = Math.round(size.height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  redrawAll();
}

// -- choice of tree ------------------------------------------------------------------------------------------------
function fillProblems() {
  const kept = el("problem").value;
  const names = packed.filter((entry) => entry.method === el("method").value).map((entry) => entry.problem);
  el("problem").replaceChildren(...names.map((name) => new Option(name, name, false, name === kept)));
}

function describe(entry, leaves) {
  const all = `${number(entry.nodes)} nodes, ${number(leaves)} of them without children.`;
  const lost = `they carry ${number(100 * entry.omitted_weight)} % of the draw.`;
  return all + (entry.omitted ? ` ${number(entry.omitted)} nodes of least weight are not shown; ${lost}` : "");
}

// Runs of earlier versions hold no rewards of nodes.
function offerRewards(t) {
  const option = el("colour").querySelector('[value="reward"]');
  option.disabled = !t.reward.some((r) => !Number.isNaN(r));
  if (option.disabled && el("colour").value === "reward") el("colour").value = "value";
}

async function show() {
  const entry = packed.find((e) => e.method === el("method").value && e.problem === el("problem").value);
  try {
    tree = await load(entry);
  } catch (error) {
    el("count").textContent = `This browser cannot unpack the tree (${error.message}); a current one can.`;
    return;
  }
  [hovered, selected, shownEntry] = [-1, -1, entry];
  offerRewards(tree);
  layout(tree, el("width").value);
  makeScale(tree, el("colour").value);
  choose(tree);
  select(tree.drawn[0] ?? 0); // a first path to look at
  moveTo(0, 1);
  el("count").textContent = describe(entry, tree.children.reduce((n, c) => n + (c === 0), 0));
  canvas.dataset.nodes = tree.size;
  canvas.dataset.weight = tree.weight.reduce((sum, w) => sum + w, 0);
}

const methods = new Map(packed.map((e) => [e.method, e.name]));
for (const [method, name] of methods) el("method").append(new Option(name, method));
fillProblems();
makeRamp();
listen();
show();
