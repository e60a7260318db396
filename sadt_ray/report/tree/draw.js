// The tree on a canvas. Every level is one array of nodes sorted by position: neighbours that share a
// pixel are drawn as one, so that a frame costs little more for a million nodes than for a thousand.
const canvas = el("canvas");
let pen = canvas.getContext("2d");
const MARGIN = { left: 64, right: 10, top: 16, bottom: 16 }; // pixels; the names of the levels stand to the left

let tree = null; // columns of the tree on show, with its layout
let view = { from: 0, to: 1 }; // the part of the width that is on show
let size = { width: 0, height: 0 };
let selected = -1, hovered = -1, frame = 0;
const base = document.createElement("canvas"); // the tree without marks, drawn anew only where it has changed
const SLOW = 12; // milliseconds; a tree that takes longer to draw is moved as a picture, and drawn when it rests
let baseView = null; // the part of the width that the base shows; null, as where `sums` are: it is to be drawn anew
let cost = 0, moving = 0; // milliseconds that drawing it took; the timer that runs while it moves

// -- drawing -------------------------------------------------------------------------------------------------------
const inner = () => size.width - MARGIN.left - MARGIN.right;
const toPixel = (x) => MARGIN.left + ((x - view.from) / (view.to - view.from)) * inner();
const toPlace = (pixel) => view.from + ((pixel - MARGIN.left) / inner()) * (view.to - view.from);
const rowHeight = () => (size.height - MARGIN.top - MARGIN.bottom) / (tree.depth + 1);
const rowTop = (level) => MARGIN.top + level * rowHeight();
const middleOf = (level) => rowTop(level) + rowHeight() / 2;
const centre = (i) => toPixel((tree.from[i] + tree.to[i]) / 2);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The first number from low to high - 1 of which it is true, given that it is of all that follow; else high.
function firstWhere(low, high, isSo) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isSo(middle)) high = middle; else low = middle + 1;
  }
  return low;
}

const firstVisible = (row, place) => firstWhere(0, row.length, (k) => tree.to[row[k]] > place);

// What a level shows: nodes at least a pixel wide, and runs of thinner ones merged to a pixel with their mean colour.
// Where edges are drawn, a run ends where the edge would start at another pixel. Sums over the row make a run cost no
// more for many nodes than for few.
function visibleMarks(level, withEdges) {
  const row = tree.rows[level], { mass, shade } = tree.sums[level], marks = [];
  for (let k = firstVisible(row, view.from); k < row.length && tree.from[row[k]] < view.to;) {
    const i = row[k], parent = tree.parent[i], left = toPixel(tree.from[i]), right = toPixel(tree.to[i]);
    if (right - left >= 1) {
      marks.push({ parent, left, right, shade: scale(i) });
      k += 1;
      continue;
    }
    const end = runEnd(row, k, left + 1, withEdges), whole = mass[end] - mass[k];
    if (whole > 0) marks.push({ parent, left, right: left + 1, shade: Math.min(Math.max((shade[end] - shade[k]) / whole, 0), 1) });
    k = end;
  }
  return marks;
}

// The first place after k that is beyond the pixel, or wide, or hangs from another pixel.
function runEnd(row, k, pixel, withEdges) {
  const place = toPlace(pixel), origin = (i) => Math.round(centre(tree.parent[i]));
  let end = firstWhere(k + 1, row.length, (n) => tree.from[row[n]] >= place);
  const last = row[end - 1];
  if (end - 1 > k && toPixel(tree.to[last]) - toPixel(tree.from[last]) >= 1) end -= 1;
  if (!withEdges || tree.parent[row[k]] < 0) return end;
  const own = origin(row[k]);
  return firstWhere(k + 1, end, (n) => origin(row[n]) !== own);
}

// Sums of width, and of width times colour, over the nodes of each level up to each of them.
function sumUp(t) {
  t.sums = t.rows.map((row) => {
    const mass = new Float64Array(row.length + 1), shade = new Float64Array(row.length + 1);
    row.forEach((i, k) => {
      const width = t.to[i] - t.from[i];
      mass[k + 1] = mass[k] + width;
      shade[k + 1] = shade[k] + width * scale(i);
    });
    return { mass, shade };
  });
}

function draw() {
  frame = 0;
  if (!tree) return;
  pen.clearRect(0, 0, size.width, size.height);
  clipped(pen, () => {
    const same = baseView && baseView.from === view.from && baseView.to === view.to;
    if (!baseView || !tree.sums || (!same && !(moving && cost > SLOW))) drawBase();
    placeBase();
    drawChosen();
    const marked = pathOf(selected);
    if (marked.length) drawPath(marked, css("--mark"), 2.5);
    if (hovered >= 0) drawPath([hovered], css("--ink"), 1.5);
  });
  drawLevelNames();
}

function clipped(on, work) {
  on.save();
  on.beginPath();
  on.rect(MARGIN.left, 0, inner(), size.height);
  on.clip();
  work();
  on.restore();
}

// Where it belongs in the view, stretched if need be.
function placeBase() {
  const ratio = base.width / size.width, left = toPixel(baseView.from), width = toPixel(baseView.to) - left;
  pen.drawImage(base, MARGIN.left * ratio, 0, inner() * ratio, base.height, left, 0, width, size.height);
}

// With the pen on the other canvas for as long as it takes.
function drawBase() {
  const start = performance.now();
  if (!tree.sums) sumUp(tree);
  const front = pen, withEdges = el("form").value === "branches", drawLevel = withEdges ? drawBranches : drawBlocks;
  [base.width, base.height] = [canvas.width, canvas.height];
  pen = base.getContext("2d");
  pen.setTransform(front.getTransform());
  for (let level = 0; level <= tree.depth; level++) drawLevel(level, visibleMarks(level, withEdges));
  pen = front;
  baseView = { ...view };
  cost = performance.now() - start;
}

function drawBlocks(level, marks) {
  const top = rowTop(level), height = rowHeight() - 1;
  for (const mark of marks) {
    const left = Math.max(mark.left, MARGIN.left - 1), right = Math.min(mark.right, size.width + 1);
    pen.fillStyle = ramp[Math.round(mark.shade * 255)];
    pen.fillRect(left, top, Math.max(right - left - (right - left > 4 ? 1 : 0), 1), height);
  }
}

// Edges of one colour and width are one stroke, which a canvas makes much faster than many.
function drawBranches(level, marks) {
  const y = middleOf(level), above = middleOf(level - 1), strokes = new Map();
  for (const mark of marks) {
    const shade = Math.round(mark.shade * 255), width = Math.round(Math.min(Math.max((mark.right - mark.left) * 1.4, 3), 36));
    const key = shade * 64 + width;
    if (!strokes.has(key)) strokes.set(key, { shade, width: width / 4, marks: [] });
    strokes.get(key).marks.push(mark);
  }
  for (const stroke of [...strokes.values()].sort((a, b) => a.shade - b.shade)) {
    pen.strokeStyle = pen.fillStyle = ramp[stroke.shade];
    pen.lineWidth = stroke.width;
    pen.beginPath();
    for (const mark of stroke.marks) if (mark.parent >= 0) edge(centre(mark.parent), above, (mark.left + mark.right) / 2, y);
    pen.stroke();
    for (const mark of stroke.marks) if (mark.right - mark.left >= 3 || level === tree.depth || level === 0) knot(mark, y);
  }
}

function knot(mark, y) {
  pen.beginPath();
  pen.arc((mark.left + mark.right) / 2, y, Math.min(Math.max((mark.right - mark.left) * 0.3, 1.2), 6), 0, 2 * Math.PI);
  pen.fill();
}

function edge(x0, y0, x1, y1) {
  const bend = (y1 - y0) * 0.5;
  pen.moveTo(x0, y0);
  if (Math.abs(x1 - x0) < 2) pen.lineTo(x1, y1); else pen.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1);
}

function strokeEdge(x0, y0, x1, y1) {
  pen.beginPath();
  edge(x0, y0, x1, y1);
  pen.stroke();
}

function drawPath(nodes, colour, width) {
  const blocks = el("form").value === "blocks";
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = width;
  nodes.forEach((i, k) => {
    const left = toPixel(tree.from[i]), right = Math.max(toPixel(tree.to[i]), left + 2), y = rowTop(tree.level[i]);
    if (blocks) { pen.strokeRect(left, y, right - left, rowHeight() - 1); return; }
    const middle = middleOf(tree.level[i]);
    if (k) strokeEdge(centre(nodes[k - 1]), middleOf(tree.level[nodes[k - 1]]), centre(i), middle);
    pen.beginPath();
    pen.arc(centre(i), middle, 4, 0, 2 * Math.PI);
    pen.fill();
  });
}

function drawLevelNames() {
  pen.fillStyle = css("--soft");
  pen.font = "12px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (let level = 0; level <= tree.depth; level++) {
    const name = level === 0 ? "root" : level === tree.depth ? "samples" : `level ${level}`;
    pen.fillText(name, 2, middleOf(level));
  }
}

const redraw = () => { frame ||= requestAnimationFrame(draw); };
const redrawAll = () => { baseView = null; redraw(); };
const redrawMoved = () => {
  clearTimeout(moving);
  moving = setTimeout(() => { moving = 0; redraw(); }, 80);
  redraw();
};
