"use strict";
// The tree on a canvas. Every level is one array of nodes sorted by position: drawing and picking are scans of it, and
// neighbours that share a pixel are merged, so that a frame costs the same for a thousand nodes and for a million.
(() => {
  const packed = JSON.parse(document.getElementById("tree-data").textContent);
  const el = (name) => document.getElementById("tree-" + name);
  const canvas = el("canvas"), pen = canvas.getContext("2d"), tip = el("tip");
  const MARGIN = { left: 64, right: 10, top: 16, bottom: 16 };
  const NAMES = { value: "soft value", weight: "weight", visits: "visits", log_flow: "log flow" };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const LIGHT_STOPS = ["#dedbd2", "#b9c8cd", "#86aebf", "#3f85a8", "#175a86", "#0b2f55"];
  const DARK_STOPS = ["#33363b", "#34505f", "#2f7391", "#4aa3bd", "#9fd3d0", "#f4f3d8"];

  let tree = null;             // columns of the tree on show, with its layout
  let view = { from: 0, to: 1 };
  let selected = -1, hovered = -1, size = { width: 0, height: 0 }, scale = null, ramp = [], frame = 0;

  // -- data ----------------------------------------------------------------------------------------------------------
  async function unpack(column) {
    const bytes = Uint8Array.from(atob(column.data), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const buffer = await new Response(stream).arrayBuffer();
    return column.dtype === "<i4" ? new Int32Array(buffer) : new Float64Array(buffer);
  }

  async function load(entry) {
    if (!entry.tree) {
      const names = Object.keys(entry.columns);
      const columns = await Promise.all(names.map((name) => unpack(entry.columns[name])));
      entry.tree = Object.fromEntries(names.map((name, k) => [name, columns[k]]));
      entry.tree.size = entry.nodes;
      countChildren(entry.tree);
    }
    return entry.tree;
  }

  function countChildren(t) {
    t.children = new Int32Array(t.size);
    t.leaves = new Float64Array(t.size);
    t.depth = 0;
    for (let i = t.size - 1; i >= 0; i--) {
      if (!t.children[i]) t.leaves[i] = 1;
      t.depth = Math.max(t.depth, t.level[i]);
      if (t.parent[i] < 0) continue;
      t.children[t.parent[i]] += 1;
      t.leaves[t.parent[i]] += t.leaves[i];
    }
    const rank = (i) => (Number.isFinite(t.value[i]) ? t.value[i] : -Infinity);
    t.order = Uint32Array.from(t.level, (_, i) => i).sort((a, b) => t.level[a] - t.level[b] || rank(b) - rank(a) || a - b);
  }

  // -- layout: each node owns the interval [from, to) of 0..1, divided among its children by their share ----------------
  function layout(t, share) {
    const column = t[share], below = new Float64Array(t.size);
    let roots = 0;
    for (let i = 0; i < t.size; i++) t.parent[i] < 0 ? (roots += column[i]) : (below[t.parent[i]] += column[i]);
    t.from = new Float64Array(t.size);
    t.to = new Float64Array(t.size);
    const cursor = new Float64Array(t.size);
    let start = 0;
    for (const i of t.order) {
      const p = t.parent[i];
      const width = p < 0 ? column[i] / (roots || 1) : ((t.to[p] - t.from[p]) * column[i]) / (below[p] || 1);
      t.from[i] = p < 0 ? start : cursor[p];
      t.to[i] = t.from[i] + width;
      cursor[i] = t.from[i];
      if (p < 0) start += width; else cursor[p] += width;
    }
    t.rows = Array.from({ length: t.depth + 1 }, () => []);
    for (const i of t.order) t.rows[t.level[i]].push(i);
    t.rows = t.rows.map((row) => Uint32Array.from(row).sort((a, b) => t.from[a] - t.from[b] || t.to[a] - t.to[b]));
  }

  // -- colour --------------------------------------------------------------------------------------------------------
  function makeRamp() {
    const stops = (dark.matches ? DARK_STOPS : LIGHT_STOPS).map((s) => [1, 3, 5].map((k) => parseInt(s.slice(k, k + 2), 16)));
    ramp = Array.from({ length: 256 }, (_, k) => {
      const place = (k / 255) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
      const mix = stops[low].map((c, j) => Math.round(c + (place - low) * (stops[low + 1][j] - c)));
      return `rgb(${mix.join(",")})`;
    });
    el("ramp").style.background = `linear-gradient(to right, ${[0, 51, 102, 153, 204, 255].map((k) => ramp[k]).join(",")})`;
  }

  function makeScale(t, name) {
    const logarithmic = name === "weight" || name === "visits";
    const column = t[name], finite = Float64Array.from(column.filter((v) => Number.isFinite(v) && (!logarithmic || v > 0))).sort();
    const at = (q) => finite[Math.min(finite.length - 1, Math.floor(q * finite.length))] ?? 0;
    const low = logarithmic ? Math.max(at(0), at(1) * 1e-6) : at(0.05), high = at(1);
    const of = logarithmic ? Math.log10 : (v) => v;
    const span = of(high) - of(low) || 1;
    scale = (i) => {
      const part = (of(column[i]) - of(low)) / span;
      return part > 0 ? Math.min(part, 1) : 0; // NaN and -infinity lie at the bottom
    };
    el("low").textContent = `${NAMES[name]} ${name === "visits" ? "" : "≤ "}${number(low)}`;
    el("high").textContent = number(high);
  }

  // -- drawing -------------------------------------------------------------------------------------------------------
  const inner = () => size.width - MARGIN.left - MARGIN.right;
  const toPixel = (x) => MARGIN.left + ((x - view.from) / (view.to - view.from)) * inner();
  const toPlace = (pixel) => view.from + ((pixel - MARGIN.left) / inner()) * (view.to - view.from);
  const rowHeight = () => (size.height - MARGIN.top - MARGIN.bottom) / (tree.depth + 1);
  const rowTop = (level) => MARGIN.top + level * rowHeight();
  const centre = (i) => toPixel((tree.from[i] + tree.to[i]) / 2);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function firstVisible(row, place) {
    let low = 0, high = row.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tree.to[row[middle]] <= place) low = middle + 1; else high = middle;
    }
    return low;
  }

  // What a level shows: nodes at least a pixel wide, and runs of thinner ones under one parent merged to a pixel.
  function visibleMarks(level) {
    const row = tree.rows[level], marks = [];
    let run = null;
    const flush = () => { if (run && run.mass > 0) marks.push({ ...run, shade: run.shade / run.mass }); run = null; };
    for (let k = firstVisible(row, view.from); k < row.length && tree.from[row[k]] < view.to; k++) {
      const i = row[k], left = toPixel(tree.from[i]), right = toPixel(tree.to[i]), mass = tree.to[i] - tree.from[i];
      if (right - left >= 1) {
        flush();
        marks.push({ node: i, parent: tree.parent[i], left, right, shade: scale(i) });
        continue;
      }
      if (run && (left >= run.left + 1 || run.parent !== tree.parent[i])) flush();
      run ??= { node: i, parent: tree.parent[i], left, right: left + 1, shade: 0, mass: 0 };
      run.shade += mass * scale(i);
      run.mass += mass;
    }
    flush();
    return marks;
  }

  function draw() {
    frame = 0;
    if (!tree) return;
    pen.clearRect(0, 0, size.width, size.height);
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN.left, 0, inner(), size.height);
    pen.clip();
    const drawLevel = el("form").value === "blocks" ? drawBlocks : drawBranches;
    for (let level = 0; level <= tree.depth; level++) drawLevel(level, visibleMarks(level));
    const marked = pathOf(selected);
    if (marked.length) drawPath(marked, css("--mark"), 2);
    if (hovered >= 0) drawPath([hovered], css("--ink"), 1.5);
    pen.restore();
    drawLevelNames();
  }

  function drawBlocks(level, marks) {
    const top = rowTop(level), height = rowHeight() - 1;
    for (const mark of marks) {
      const left = Math.max(mark.left, MARGIN.left - 1), right = Math.min(mark.right, size.width + 1);
      pen.fillStyle = ramp[Math.round(mark.shade * 255)];
      pen.fillRect(left, top, Math.max(right - left - (right - left > 4 ? 1 : 0), 1), height);
    }
  }

  function drawBranches(level, marks) {
    marks.sort((a, b) => a.shade - b.shade);
    for (const mark of marks) {
      const x = (mark.left + mark.right) / 2, y = rowTop(level) + rowHeight() / 2;
      pen.strokeStyle = pen.fillStyle = ramp[Math.round(mark.shade * 255)];
      if (mark.parent >= 0) {
        pen.lineWidth = Math.min(Math.max((mark.right - mark.left) * 0.35, 0.8), 9);
        strokeEdge(centre(mark.parent), rowTop(tree.level[mark.parent]) + rowHeight() / 2, x, y);
      }
      if (mark.right - mark.left >= 3 || level === tree.depth || level === 0) {
        pen.beginPath();
        pen.arc(x, y, Math.min(Math.max((mark.right - mark.left) * 0.3, 1.2), 6), 0, 2 * Math.PI);
        pen.fill();
      }
    }
  }

  function strokeEdge(x0, y0, x1, y1) {
    const bend = (y1 - y0) * 0.5;
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1);
    pen.stroke();
  }

  function drawPath(nodes, colour, width) {
    const blocks = el("form").value === "blocks";
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = width;
    nodes.forEach((i, k) => {
      const left = toPixel(tree.from[i]), right = Math.max(toPixel(tree.to[i]), left + 2), y = rowTop(tree.level[i]);
      if (blocks) { pen.strokeRect(left, y, right - left, rowHeight() - 1); return; }
      const middle = y + rowHeight() / 2;
      if (k) strokeEdge(centre(nodes[k - 1]), rowTop(tree.level[nodes[k - 1]]) + rowHeight() / 2, centre(i), middle);
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
      pen.fillText(name, 2, rowTop(level) + rowHeight() / 2);
    }
  }

  const redraw = () => { frame ||= requestAnimationFrame(draw); };

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
    if (!Number.isFinite(v)) return Number.isNaN(v) ? "–" : v > 0 ? "∞" : "−∞";
    const text = Number.isInteger(v) && Math.abs(v) < 1e9 ? v.toLocaleString("en") : v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential(2) : v.toPrecision(4);
    return text.replace("-", "−");
  }

  const FACTS = [
    ["level", (i) => String(tree.level[i])], ["node", (i) => String(tree.node[i])],
    ["soft value", (i) => number(tree.value[i])], ["visits", (i) => number(tree.visits[i])],
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
    el("path").replaceChildren(...(path.length ? [table(FACTS.map(([name]) => name), path.map((n) => FACTS.map(([, of]) => of(n))))] : []));
    redraw();
  }

  // -- moving --------------------------------------------------------------------------------------------------------
  function moveTo(from, to) {
    const width = Math.min(Math.max(to - from, 1e-9), 1);
    from = Math.min(Math.max(from, 0), 1 - width);
    view = { from, to: from + width };
    redraw();
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
      const middle = (view.from + view.to) / 2, step = (view.to - view.from) / 8;
      const act = {
        Escape: () => select(-1), Home: () => moveTo(0, 1), "+": () => zoom(0.8, middle), "-": () => zoom(1.25, middle),
        ArrowLeft: () => moveTo(view.from - step, view.to - step), ArrowRight: () => moveTo(view.from + step, view.to + step),
      }[event.key];
      if (act) { event.preventDefault(); act(); }
    });
    el("reset").addEventListener("click", () => moveTo(0, 1));
    el("form").addEventListener("change", redraw);
    el("width").addEventListener("change", () => { layout(tree, el("width").value); moveTo(0, 1); });
    el("colour").addEventListener("change", () => { makeScale(tree, el("colour").value); redraw(); });
    el("method").addEventListener("change", () => { fillProblems(); show(); });
    el("problem").addEventListener("change", show);
    dark.addEventListener("change", () => { makeRamp(); redraw(); });
    new ResizeObserver(fit).observe(canvas);
  }

  function fit() {
    const ratio = window.devicePixelRatio || 1;
    size = { width: canvas.clientWidth, height: canvas.clientHeight };
    canvas.width = Math.round(size.width * ratio);
    canvas.height = Math.round(size.height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    redraw();
  }

  // -- choice of tree ------------------------------------------------------------------------------------------------
  function fillProblems() {
    const kept = el("problem").value;
    const names = packed.filter((entry) => entry.method === el("method").value).map((entry) => entry.problem);
    el("problem").replaceChildren(...names.map((name) => new Option(name, name, false, name === kept)));
  }

  function describe(entry, leaves) {
    const all = `${entry.nodes.toLocaleString("en")} nodes, ${leaves.toLocaleString("en")} of them without children.`;
    const rest = ` ${entry.omitted.toLocaleString("en")} nodes of least weight are not shown; they carry ${number(100 * entry.omitted_weight)} % of the draw.`;
    return all + (entry.omitted ? rest : "");
  }

  async function show() {
    const entry = packed.find((e) => e.method === el("method").value && e.problem === el("problem").value);
    try {
      tree = await load(entry);
    } catch (error) {
      el("count").textContent = `This browser cannot unpack the tree (${error.message}); a current one can.`;
      return;
    }
    hovered = -1;
    layout(tree, el("width").value);
    makeScale(tree, el("colour").value);
    select(-1);
    moveTo(0, 1);
    el("count").textContent = describe(entry, tree.children.reduce((n, c) => n + (c === 0), 0));
    canvas.dataset.nodes = tree.size;
    canvas.dataset.weight = tree.weight.reduce((sum, w) => sum + w, 0);
  }

  for (const [method, name] of new Map(packed.map((e) => [e.method, e.name]))) el("method").append(new Option(name, method));
  fillProblems();
  makeRamp();
  listen();
  show();
})();
