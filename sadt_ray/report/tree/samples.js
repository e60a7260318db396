// The samples of the draw in the tree: the heaviest leaves, the nodes on the way to them, and one after the other.
const MANY = 60;
const CHOICES = {
  none: () => 0,
  half: (t) => reaching(t, 0.5),
  most: (t) => reaching(t, 0.9),
  ten: (t) => Math.min(10, t.drawn.length),
  all: (t) => t.drawn.length,
};

// Leaves that the draw can end at, the heaviest first.
function drawnLeaves(t) {
  const leaves = [];
  for (let i = 0; i < t.size; i++) if (!t.children[i] && t.weight[i] > 0) leaves.push(i);
  return leaves.sort((a, b) => t.weight[b] - t.weight[a] || a - b);
}

// How many of them carry the share of the weight.
function reaching(t, share) {
  let count = 0;
  for (let sum = 0; count < t.drawn.length && sum < share; count++) sum += t.weight[t.drawn[count]];
  return count;
}

function choose(t) {
  t.drawn ??= drawnLeaves(t);
  t.chosen = t.drawn.slice(0, CHOICES[el("choice").value](t));
  t.onPath = new Uint8Array(t.size);
  for (let i of t.chosen) for (; i >= 0 && !t.onPath[i]; i = t.parent[i]) t.onPath[i] = 1;
  t.pathRows = t.rows.map((row) => row.filter((i) => t.onPath[i]));
  describeChoice(t);
}

function describeChoice(t) {
  const at = t.chosen.indexOf(selected), share = t.chosen.reduce((sum, i) => sum + t.weight[i], 0);
  const all = t.chosen.length === 1 ? "1 sample" : `${number(t.chosen.length)} samples`;
  const place = at < 0 ? all : `sample ${number(at + 1)} of ${number(t.chosen.length)}`;
  el("sample").textContent = t.chosen.length ? `${place}, together ${number(100 * share)} % of the draw` : "";
  el("before").disabled = el("after").disabled = !t.chosen.length;
}

// To the next sample of the choice, or with -1 to the one before; round and round.
function step(by) {
  const count = tree.chosen.length, at = tree.chosen.indexOf(selected);
  if (!count) return;
  select(tree.chosen[at < 0 ? (by > 0 ? 0 : count - 1) : (at + by + count) % count]);
  reveal(selected);
}

// Bring a node into view that lies beside it, and widen the view where it would be too narrow to see.
function reveal(i) {
  if (tree.from[i] >= view.from && tree.to[i] <= view.to) return;
  const width = view.to - view.from, middle = (tree.from[i] + tree.to[i]) / 2;
  moveTo(middle - width / 2, middle + width / 2);
}

// A strip below each block, or an edge on each branch; what falls on the same pixels is drawn once.
function drawChosen() {
  const blocks = el("form").value === "blocks";
  pen.strokeStyle = pen.fillStyle = css("--mark");
  pen.lineWidth = 1.5;
  pen.globalAlpha = tree.chosen.length > MANY ? 0.5 : 1; // the tree is to be seen through them
  pen.beginPath();
  tree.pathRows.forEach((row, level) => {
    let last = -1, origin = -1;
    for (let k = firstVisible(row, view.from); k < row.length && tree.from[row[k]] < view.to; k++) {
      const i = row[k], x = Math.round(centre(i)), p = tree.parent[i], from = p < 0 ? -1 : Math.round(centre(p));
      if (x === last && from === origin) continue;
      [last, origin] = [x, from];
      if (blocks) { strip(i, level); continue; }
      if (p >= 0) edge(from, middleOf(level - 1), x, middleOf(level));
      if (!tree.children[i]) pen.rect(x - 2, middleOf(level) - 2, 4, 4);
    }
  });
  pen.stroke();
  pen.globalAlpha = 1;
}

function strip(i, level) {
  const left = Math.max(toPixel(tree.from[i]), MARGIN.left), right = Math.min(toPixel(tree.to[i]), size.width);
  pen.fillRect(left, rowTop(level) + rowHeight() - 4, Math.max(right - left - 1, 1.5), 3);
}
