// Charts: what is chosen above a group of them is drawn in all of them, in the colours of the page's theme.
const groups = JSON.parse(document.getElementById("sweep-charts").textContent);
const left = new Set(); // methods that the legend leaves out
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const SETUP = { displaylogo: false, displayModeBar: "hover", responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const ROW = 26; // pixels

function chosen(group) {
  const choice = { x: "", y: "", filters: {} };
  for (const select of document.querySelectorAll(`select[data-charts="${group.name}"]`)) {
    if (select.dataset.filter) choice.filters[select.dataset.filter] = select.value;
    else choice[select.dataset.pick] = select.value;
  }
  choice.x ||= Object.keys(group.x)[0] ?? "";
  choice.y ||= Object.keys(group.y)[0] ?? "";
  return choice;
}

function isShown(trace, choice) {
  if (left.has(trace.meta.method)) return false;
  return Object.entries(choice.filters).every(([axis, value]) => {
    const mine = trace.meta.axes[axis];
    return value === "" || mine === null || mine === undefined || mine === Number(value);
  });
}

function picked(trace, choice) {
  const { x, y, error_x: errorX, error_y: errorY } = trace.meta, made = { ...trace, visible: isShown(trace, choice) };
  if (x[choice.x]) made.x = x[choice.x];
  if (y[choice.y]) made.y = y[choice.y];
  if (errorX) made.error_x = { ...trace.error_x, array: (made.customdata = errorX[choice.x] ?? [null]) };
  if (errorY) made.error_y = { ...trace.error_y, array: (made.customdata = errorY[choice.y]) };
  if ((errorX && !x[choice.x]) || (errorY && !y[choice.y])) made.visible = false;
  return made;
}

function axis(own, title) {
  const soft = colour("--soft"), hair = colour("--hair");
  const text = title || own?.title?.text || "";
  return {
    gridcolor: hair, linecolor: hair, zerolinecolor: soft, zerolinewidth: 1, tickcolor: hair, ticks: "outside", ticklen: 3,
    automargin: true, ...own, title: { text, font: { size: 12, color: soft }, standoff: 8 },
  };
}

function themed(group, chart, choice, data) {
  const layout = chart.figure.layout, made = {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", showlegend: false, hovermode: "closest",
    margin: { l: 56, r: 12, t: 8, b: 44 }, hoverlabel: { bgcolor: colour("--panel"), font: { color: colour("--ink") } },
    font: { family: "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif", size: 12, color: colour("--ink") },
    legend: { orientation: "h", y: 1.12 }, modebar: { bgcolor: "transparent", color: colour("--hair"), activecolor: colour("--soft") },
    ...layout,
  };
  for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))])) {
    made[name] = axis(layout[name], { xaxis: group.x[choice.x], yaxis: group.y[choice.y] }[name]);
  }
  if (layout.xaxis?.type === "log") {
    const x = data.filter((trace) => trace.visible).flatMap((trace) => trace.x).filter((value) => value > 0);
    made.xaxis = { ...made.xaxis, dtick: Math.max(...x) / Math.min(...x) > 50 ? 1 : "D2", tickformat: "~s" };
  }
  if (layout.shapes) {
    made.shapes = layout.shapes.map((shape) => ({ ...shape, fillcolor: colour("--hair"), opacity: 0.6 }));
    made.height = 84 + ROW * new Set(data.filter((t) => t.visible).flatMap((t) => t.y)).size;
    made.xaxis.zeroline = true;
  }
  return made;
}

// A task that lacks the chosen figure shows the first that it has.
function fitting(group, chart, choice) {
  const has = (key) => chart.figure.data.some((trace) => (trace.meta.y[key] ?? []).some((value) => value !== null));
  return has(choice.y) ? choice : { ...choice, y: Object.keys(group.y).find(has) ?? choice.y };
}

function drawGroup(group) {
  const asked = chosen(group);
  group.charts.forEach((chart, number) => {
    const choice = fitting(group, chart, asked);
    const place = document.getElementById(`${group.name}-${number}`);
    const data = chart.figure.data.map((trace) => picked(trace, choice));
    if (chart.figure.layout.shapes) place.style.height = "auto";
    Plotly.react(place, data, themed(group, chart, choice, data), SETUP);
  });
}

const drawAll = () => groups.forEach(drawGroup);
for (const select of document.querySelectorAll("select[data-charts]")) {
  select.addEventListener("change", () => drawGroup(groups.find((group) => group.name === select.dataset.charts)));
}
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    shown ? left.add(button.dataset.method) : left.delete(button.dataset.method);
    drawAll();
  });
}
dark.addEventListener("change", drawAll);
drawAll();
