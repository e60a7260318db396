// The tree of answers as an outline. Only rows of open nodes are made, and no more than ROWS of them at a time, so that
// a tree of any size opens at once.
const ROWS = 300;
let tree = null; // the tree on show
let order = "weight", limit = ROWS, marked = -1;

function prepare(t) {
  if (t.children) return t;
  const size = t.parent.length, rank = (column, i) => column[i] ?? -Infinity;
  t.children = Array.from({ length: size }, () => []);
  t.roots = [];
  for (let i = 0; i < size; i++) (t.parent[i] < 0 ? t.roots : t.children[t.parent[i]]).push(i);
  t.sorted = (list) => [...list].sort((a, b) => rank(t[order], b) - rank(t[order], a) || a - b);
  t.open = new Set();
  t.drawn = drawnLeaves(t);
  t.heaviest = new Set(above(t, t.drawn[0] ?? -1));
  openPath(t);
  return t;
}

// Texts to their end that the draw can bring, the heaviest first.
function drawnLeaves(t) {
  const leaves = t.parent.map((_, i) => i).filter((i) => !t.children[i].length && t.weight[i] > 0);
  return leaves.sort((a, b) => t.weight[b] - t.weight[a] || a - b);
}

// From a node on, always the heaviest child: how its text most likely ends.
function continuation(t, i) {
  const path = [];
  while (t.children[i].length) {
    i = t.children[i].reduce((best, k) => (t.weight[k] > t.weight[best] ? k : best));
    path.push(i);
  }
  return path;
}

function above(t, i) {
  const path = [];
  for (; i >= 0; i = t.parent[i]) path.unshift(i);
  return path;
}

function openPath(t) { t.open = new Set([...t.heaviest].filter((i) => t.children[i].length)); }

// Nodes in the order of the outline, those below a closed one left out; stops where enough are found.
function visible(t, most) {
  const found = [], stack = t.sorted(t.roots).reverse();
  while (stack.length && found.length <= most) {
    const i = stack.pop();
    found.push(i);
    if (t.open.has(i)) stack.push(...t.sorted(t.children[i]).reverse());
  }
  return found;
}

function nodeRow(t, i, answers) {
  const inner = t.children[i].length > 0, isOpen = t.open.has(i);
  const claims = t.claims[i] ?? [], claimed = claims.reduce((sum, c) => sum + c, 0);
  const mix = make("span", { class: "mix", title: mixWords(claims, answers) });
  claims.forEach((c, k) => {
    if (c > 0) mix.append(make("i", { style: `width:${(100 * c) / Math.max(t.weight[i], claimed)}%;background:${colourOf(k)}` }));
  });
  const text = t.text[i].trim() || (t.parent[i] < 0 ? "the question" : "…");
  const said = make("span", { class: t.text[i].trim() ? "said" : "said unsaid" }, text, inner ? "" : answerChip(claims, claimed, answers));
  const fold = make("span", { class: "fold", "aria-hidden": "true" }, inner ? (isOpen ? "▾" : "▸") : "·");
  const row = make("div", {
    role: "treeitem", tabindex: i === marked || (marked < 0 && t.parent[i] < 0) ? 0 : -1, "aria-level": t.level[i] + 1, "data-node": i,
    "aria-expanded": inner ? String(isOpen) : null, "aria-selected": String(i === marked),
    class: `node${t.heaviest.has(i) ? " heaviest" : ""}`,
  },
  make("span", { class: "share" }, make("i", { style: `width:${Math.min(100 * t.weight[i], 100)}%` }), percent(t.weight[i])),
  make("span", {}, number(t.visits[i])), make("span", {}, number(t.value[i])), mix,
  make("span", { class: "indent", style: `padding-left:${Math.min(t.level[i], 24) * 1.1}rem` }, fold, said));
  return row;
}

// What a text to its end answers, or would most likely.
function answerChip(claims, claimed, answers) {
  if (!claimed) return "";
  const best = claims.indexOf(Math.max(...claims));
  return make("span", { class: "chip", style: `border-color:${colourOf(best)}` }, `${answers[best]} ${percent(claims[best] / claimed)}`);
}

function mixWords(claims, answers) {
  const parts = claims.map((c, k) => [c, answers[k]]).filter(([c]) => c > 0).sort((a, b) => b[0] - a[0]);
  return parts.map(([c, answer]) => `${answer} ${percent(c)}`).join(", ");
}

const HEAD = ["share of the draw", "visits", "soft value", "answers below", "text"];
function renderTree(answers) {
  const rows = visible(tree, limit), more = rows.length > limit;
  const head = make("div", { class: "node head", "aria-hidden": "true" }, ...HEAD.map((name) => make("span", {}, name)));
  el("nodes").replaceChildren(head, ...rows.slice(0, limit).map((i) => nodeRow(tree, i, answers)));
  el("more").hidden = !more;
  el("more").textContent = `Show ${ROWS} more rows`;
  if (!el("nodes").querySelector('[tabindex="0"]')) el("nodes").querySelector(".node:not(.head)")?.setAttribute("tabindex", 0);
}

function showTree(entry, answers) {
  el("tree-controls").hidden = el("nodes").hidden = !entry;
  el("more").hidden = true;
  el("said").replaceChildren();
  tree = entry ? prepare(entry) : null;
  marked = -1;
  limit = ROWS;
  if (!tree) return;
  const leaves = tree.children.filter((list) => !list.length).length;
  const lost = tree.omitted ? ` ${number(tree.omitted)} nodes of least share are not shown.` : "";
  el("tree-count").textContent = `${number(tree.parent.length)} nodes, ${number(leaves)} of them texts to their end.${lost}`;
  el("nodes").dataset.nodes = tree.parent.length;
  renderTree(answers);
}

// The text down to a node, what it says itself set off, and in grey how it most likely goes on.
function sayPath(i, answers) {
  marked = i;
  const path = above(tree, i), place = tree.drawn.indexOf(i), further = continuation(tree, i).map((n) => tree.text[n]).join("");
  const facts = [...(place < 0 ? [] : [`text ${number(place + 1)} of ${number(tree.drawn.length)}`]),
    `${percent(tree.weight[i])} of the draw`, `visits ${number(tree.visits[i])}`, `soft value ${number(tree.value[i])}`,
    `best reward ${number(tree.reward[i])}`, `answers below: ${mixWords(tree.claims[i] ?? [], answers) || "not said"}`];
  const text = make("blockquote", { class: "text" }, path.slice(0, -1).map((n) => tree.text[n]).join(""), make("b", {}, tree.text[i]),
    further ? make("span", { class: "further", title: "the heaviest continuation" }, further) : null);
  el("said").replaceChildren(make("p", { class: "quiet" }, facts.join(" · ")), text);
}

// To the next text of the draw, or with -1 to the one before; the outline opens on the way to it.
function stepText(by, answers) {
  const count = tree.drawn.length, at = tree.drawn.indexOf(marked);
  if (!count) return;
  const i = tree.drawn[at < 0 ? (by > 0 ? 0 : count - 1) : (at + by + count) % count];
  tree.open = new Set(above(tree, i).filter((n) => tree.children[n].length));
  limit = ROWS;
  sayPath(i, answers);
  renderTree(answers);
  el("nodes").querySelector(`[data-node="${i}"]`)?.scrollIntoView({ block: "nearest" });
}

function listenTree(answersOf) {
  const at = (event) => Number(event.target.closest("[data-node]")?.dataset.node ?? -1);
  const again = (i) => { renderTree(answersOf()); el("nodes").querySelector(`[data-node="${i}"]`)?.focus({ preventScroll: true }); };
  const toggle = (i, on) => { if (tree.children[i].length) tree.open[on ? "add" : "delete"](i); };
  el("nodes").addEventListener("click", (event) => {
    const i = at(event);
    if (i < 0) return;
    toggle(i, !tree.open.has(i));
    sayPath(i, answersOf());
    again(i);
  });
  el("nodes").addEventListener("keydown", (event) => {
    const i = at(event), row = event.target.closest("[data-node]");
    if (i < 0) return;
    const act = {
      ArrowRight: () => { toggle(i, true); again(i); },
      ArrowLeft: () => { if (tree.open.has(i)) { toggle(i, false); again(i); } else if (tree.parent[i] >= 0) again(tree.parent[i]); },
      ArrowDown: () => row.nextElementSibling?.focus(),
      ArrowUp: () => { if (row.previousElementSibling?.dataset.node) row.previousElementSibling.focus(); },
      Enter: () => { sayPath(i, answersOf()); again(i); },
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  const all = () => tree.children.flatMap((list, i) => (list.length ? [i] : []));
  el("path").addEventListener("click", () => { openPath(tree); renderTree(answersOf()); });
  el("open").addEventListener("click", () => { tree.open = new Set(all()); renderTree(answersOf()); });
  el("close").addEventListener("click", () => { tree.open = new Set(); limit = ROWS; renderTree(answersOf()); });
  el("more").addEventListener("click", () => { limit += ROWS; renderTree(answersOf()); });
  el("text-before").addEventListener("click", () => stepText(-1, answersOf()));
  el("text-after").addEventListener("click", () => stepText(1, answersOf()));
  el("order").addEventListener("change", () => { order = el("order").value; renderTree(answersOf()); });
}
