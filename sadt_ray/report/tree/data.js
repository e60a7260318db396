"use strict";
// A tree from the page: its columns unpacked, the place of every node, its colour. The tree_*.js files share one
// function's scope: this one first, then tree_draw.js, tree_samples.js, tree_series.js and tree_view.js.
const packed = JSON.parse(document.getElementById("tree-data").textContent);
const el = (name) => document.getElementById("tree-" + name);
const NAMES = { value: "soft value", weight: "weight", visits: "visits", reward: "best reward", log_flow: "log flow" };
const LIGHT_STOPS = ["#dedbd2", "#b9c8cd", "#86aebf", "#3f85a8", "#175a86", "#0b2f55"];
const DARK_STOPS = ["#33363b", "#34505f", "#2f7391", "#4aa3bd", "#9fd3d0", "#f4f3d8"];
const dark = window.matchMedia("(prefers-color-scheme: dark)");

let scale = null; // node -> 0..1, its place on the ramp of colours
let ramp = [];

// -- data ----------------------------------------------------------------------------------------------------------
async function unpack(column) {
  const bytes = Uint8Array.from(atob(column.data), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  return new { "<u1": Uint8Array, "<i4": Int32Array, "<f8": Float64Array }[column.dtype](buffer);
}

async function load(entry) {
  if (!entry.tree) {
    const names = Object.keys(entry.columns);
    const columns = await Promise.all(names.map((name) => unpack(entry.columns[name])));
    entry.tree = Object.fromEntries(names.map((name, k) => [name, columns[k]]));
    entry.tree.size = entry.nodes;
    await loadSeries(entry.series);
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
  const rank = t.value.map((v) => (Number.isFinite(v) ? v : -Number.MAX_VALUE));
  const rows = Uint32Array.from(t.level, (_, i) => i);
  t.order = rows.sort((a, b) => t.level[a] - t.level[b] || rank[b] - rank[a] || a - b);
}

// -- layout: each node owns the interval [from, to) of 0..1, divided among its children by their share -------------
function layout(t, share) {
  const column = t[share], below = new Float64Array(t.size);
  let roots = 0;
  for (let i = 0; i < t.size; i++) {
    if (t.parent[i] < 0) roots += column[i]; else below[t.parent[i]] += column[i];
  }
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
  t.sums = null;
  t.rows = t.rows.map((row) => Uint32Array.from(row).sort((a, b) => t.from[a] - t.from[b] || t.to[a] - t.to[b]));
}

// -- colour --------------------------------------------------------------------------------------------------------
function makeRamp() {
  const channels = (stop) => [1, 3, 5].map((k) => parseInt(stop.slice(k, k + 2), 16));
  const stops = (dark.matches ? DARK_STOPS : LIGHT_STOPS).map(channels);
  ramp = Array.from({ length: 256 }, (_, k) => {
    const place = (k / 255) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
    const mix = stops[low].map((c, j) => Math.round(c + (place - low) * (stops[low + 1][j] - c)));
    return `rgb(${mix.join(",")})`;
  });
  const shown = [0, 51, 102, 153, 204, 255].map((k) => ramp[k]);
  el("ramp").style.background = `linear-gradient(to right, ${shown.join(",")})`;
}

function makeScale(t, name) {
  t.sums = null;
  const logarithmic = name === "weight" || name === "visits";
  const column = t[name], usable = column.filter((v) => Number.isFinite(v) && (!logarithmic || v > 0));
  const finite = Float64Array.from(usable).sort();
  const at = (q) => finite[Math.min(finite.length - 1, Math.floor(q * finite.length))] ?? 0;
  const low = logarithmic ? Math.max(at(0), at(1) * 1e-6) : at(0.05), high = logarithmic ? at(1) : at(0.99);
  const of = logarithmic ? Math.log10 : (v) => v;
  const span = of(high) - of(low) || 1;
  scale = (i) => {
    const part = (of(column[i]) - of(low)) / span;
    return part > 0 ? Math.min(part, 1) : 0; // NaN and -infinity lie at the bottom
  };
  el("low").textContent = `${NAMES[name]} ${low > at(0) ? "≤ " : ""}${number(low)}`;
  el("high").textContent = `${high < at(1) ? "≥ " : ""}${number(high)}`;
}

