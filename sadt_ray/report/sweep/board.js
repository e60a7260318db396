"use strict";
// Tables: a click on a head orders the rows (again: the other way round), choices leave some out, commands are copied.
const order = (a, b) => {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // unknown last, either way
  const numbers = [Number(a), Number(b)];
  return numbers.some(Number.isNaN) ? a.localeCompare(b, undefined, { numeric: true }) : numbers[0] - numbers[1];
};

function sortBy(head) {
  const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
  rows.sort(([a], [b]) => (down && a !== undefined && b !== undefined ? -order(a, b) : order(a, b)));
  body.append(...rows.map(([, row]) => row));
}

function filterBoard(board) {
  const chosen = [...board.querySelectorAll("select")].map((select) => [select.dataset.by, select.value]);
  let shown = 0;
  for (const row of board.querySelector("tbody").rows) {
    row.hidden = chosen.some(([by, value]) => value && row.dataset[by] !== value);
    shown += !row.hidden;
  }
  board.querySelector(".shown").textContent = `${shown} settings`;
}

async function copyCommand(button) {
  const place = button.closest("section"), text = button.dataset.command;
  let box = place.querySelector(".command");
  if (!box) {
    box = document.createElement("pre");
    box.className = "command";
    box.setAttribute("role", "status");
    place.append(box);
  }
  box.textContent = text; // to be read, and to be marked by hand where copying is not allowed
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  } catch {
    getSelection().selectAllChildren(box);
  }
}

for (const button of document.querySelectorAll("th[aria-sort] button")) {
  button.addEventListener("click", () => sortBy(button.parentNode));
}
for (const board of document.querySelectorAll(".board")) {
  board.addEventListener("change", () => filterBoard(board));
}
document.addEventListener("click", (event) => {
  if (event.target.matches(".copy")) copyCommand(event.target);
});
