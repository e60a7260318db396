"use strict";
// What the page carries, unpacked, and small makers of elements. The four answer_*.js files share one function's scope:
// this one first, then answer_draw.js, answer_tree.js and answer_view.js. Texts come from a model: they are only ever
// set as text, never as markup.
const el = (name) => document.getElementById("answers-" + name);
const COLOURS = ["#0072b2", "#d98200", "#009e73", "#b8609a", "#6a51a3", "#d55e00", "#3a9bd5", "#8c6d31"];
const colourOf = (answer) => COLOURS[answer % COLOURS.length];

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== false) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function number(v) {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  const size = Math.abs(v), whole = Number.isInteger(v) && size < 1e9;
  return (whole || (size >= 1000 && size < 1e9) ? Math.round(v).toLocaleString("en") : size && size < 1e-3 ? v.toExponential(2) : v.toPrecision(3)).replaceAll("-", "−");
}

const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`);
