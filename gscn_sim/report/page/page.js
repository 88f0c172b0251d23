"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const options = { responsive: true, displaylogo: false };

const drawn = []; // what has to be drawn again in other colours

for (const [name, figure] of Object.entries(data.figures || {})) {
  const sized = { ...options, responsive: !figure.layout.width };
  plot("figure-" + name, figure.data, figure.layout, sized);
}
if (data.points) explore();
if (data.effects && Object.keys(data.effects).length) showEffects();

// Colours follow the reader's setting, and are light on paper.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
matchMedia("print").addEventListener("change", repaint);

function plot(id, traces, layout, sized = options) {
  const known = drawn.find((entry) => entry.id === id);
  if (known) Object.assign(known, { traces, layout, sized });
  else drawn.push({ id, traces, layout, sized });
  return Plotly.react(id, ...coloured(traces, layout), sized);
}

function repaint() {
  for (const { id, traces, layout, sized } of drawn) Plotly.react(id, ...coloured(traces, layout), sized);
}

function coloured(traces, layout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue("--" + name).trim();
  const axis = { gridcolor: colour("grid"), zerolinecolor: colour("line"), linecolor: colour("line") };
  const painted = { ...layout, paper_bgcolor: colour("back"), plot_bgcolor: colour("back") };
  painted.font = { ...(layout.font || {}), color: colour("text") };
  for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))])) {
    painted[name] = { ...axis, ...(layout[name] || {}) };
  }
  const text = (value) => (value === "text" ? colour("text") : value);
  const lines = traces.map((trace) =>
    trace.line ? { ...trace, line: { ...trace.line, color: text(trace.line.color) } } : trace);
  return [lines, painted];
}

function explore() {
  const byId = (id) => document.getElementById(id);
  const columns = Object.keys(data.points[0]);
  const MOST_ROWS = 500;
  let printing = false; // on paper all rows are shown
  let kept = null; // positions inside the box, null for all
  let picked = []; // positions of at most two designs

  byId("explorer").hidden = false;
  for (const [id, chosen] of [["axis-x", data.start.x], ["axis-y", data.start.y]]) {
    const select = byId(id);
    for (const metric of data.metrics.concat(data.axes.filter((a) => !data.metrics.includes(a)))) {
      select.add(new Option(title(metric), metric, metric === chosen, metric === chosen));
    }
    select.addEventListener("change", draw);
  }
  addRow(byId("points").tHead, columns.map(title), "th");
  addEventListener("beforeprint", () => { printing = true; fill(); });
  addEventListener("afterprint", () => { printing = false; fill(); });
  draw();
  fill();

  function draw() {
    const [x, y] = [byId("axis-x").value, byId("axis-y").value];
    const traces = [false, true].map((front) => {
      const own = data.points.map((_, i) => i).filter((i) => data.front[i] === front);
      return {
        type: "scatter",
        mode: "markers",
        name: front ? "no other design beats it (speed-up, energy, area)" : "others",
        x: own.map((i) => scaled(x, data.points[i][x])),
        y: own.map((i) => scaled(y, data.points[i][y])),
        customdata: own,
        text: own.map(describe),
        hovertemplate: "%{text}<extra></extra>",
        marker: {
          size: own.map((i) => (picked.includes(i) ? 16 : 8)),
          color: front ? "#d55e00" : "#0072b2",
          symbol: front ? "diamond" : "circle-open",
          opacity: front ? 0.9 : 0.45,
        },
      };
    });
    const layout = {
      xaxis: { title: { text: title(x) }, type: scale(x) },
      yaxis: { title: { text: title(y) }, type: scale(y) },
      height: 430,
      dragmode: "select",
      legend: { orientation: "h", y: 1.1 },
      margin: { l: 60, r: 20, t: 20, b: 50 },
    };
    plot("scatter", traces, layout);
    const figure = byId("scatter");
    figure.removeAllListeners("plotly_click");
    figure.removeAllListeners("plotly_selected");
    figure.on("plotly_click", (event) => pick(event.points[0].customdata));
    figure.on("plotly_selected", (event) => {
      kept = event ? new Set(event.points.map((point) => point.customdata)) : null;
      fill();
    });
  }

  // Logarithmic where values span more than one and a half decades.
  function scale(name) {
    return data.wide.includes(name) ? "log" : undefined;
  }

  function describe(i) {
    const point = data.points[i];
    const names = ["point", ...data.axes, byId("axis-x").value, byId("axis-y").value];
    return [...new Set(names)].map((name) => title(name) + ": " + shown(name, point[name])).join("<br>");
  }

  function fill() {
    const body = byId("points").tBodies[0];
    body.replaceChildren();
    const rows = data.points.map((_, i) => i).filter((i) => kept === null || kept.has(i));
    for (const i of printing ? rows : rows.slice(0, MOST_ROWS)) {
      const row = addRow(body, columns.map((name) => shown(name, data.points[i][name])), "td");
      row.tabIndex = 0;
      row.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick(i);
        body.querySelector(`[data-position="${i}"]`)?.focus();
      });
      row.dataset.position = i;
      row.classList.toggle("picked", picked.includes(i));
      row.addEventListener("click", () => pick(i));
    }
    const cut = rows.length > MOST_ROWS && !printing ? ", the first " + MOST_ROWS + " listed" : "";
    byId("shown").textContent = rows.length + " of " + data.points.length + " points" + cut;
  }

  function pick(i) {
    picked = picked.includes(i) ? picked.filter((other) => other !== i) : [...picked, i].slice(-2);
    draw();
    fill();
    compare();
  }

  function compare() {
    const place = byId("comparison");
    const table = document.createElement("table");
    const heads = picked.map((i) => "point " + data.points[i].point);
    addRow(table.createTHead(), ["key", ...heads], "th");
    const body = table.createTBody();
    const keys = new Set(picked.flatMap((i) => Object.keys(data.configs[i])));
    let rows = 0;
    for (const key of keys) {
      const values = picked.map((i) => show(data.configs[i][key]));
      if (picked.length < 2 || values[0] !== values[1]) {
        addRow(body, [key, ...values], "td");
        rows += 1;
      }
    }
    for (const metric of data.metrics) {
      addRow(body, [title(metric), ...picked.map((i) => shown(metric, data.points[i][metric]))], "td");
    }
    const text = document.createElement("p");
    if (picked.length === 0) text.textContent = "No design picked.";
    if (picked.length === 1) text.textContent = "Picked design: what it has of its own, and its metrics.";
    if (picked.length === 2) text.textContent = rows + " configuration keys differ.";
    place.replaceChildren(text, ...(picked.length ? [table] : []));
  }
}

function showEffects() {
  const select = document.getElementById("effects-metric");
  document.getElementById("effects").hidden = false;
  for (const metric of Object.keys(data.effects)) {
    const chosen = metric === data.start.y;
    select.add(new Option(title(metric), metric, chosen, chosen));
  }
  select.addEventListener("change", draw);
  draw();

  function draw() {
    const metric = select.value;
    const { rows, note } = data.effects[metric];
    const several = new Set(rows.map((row) => row.workload)).size > 1;
    const named = (row) => (several ? row.axis + ", " + row.workload : row.axis);
    const layout = {
      xaxis: { title: { text: "share of the variance of " + title(metric) + ", %" }, rangemode: "tozero" },
      yaxis: { autorange: "reversed", automargin: true },
      height: 120 + 30 * rows.length,
      margin: { l: 60, r: 20, t: 40, b: 50 },
    };
    const bar = { type: "bar", orientation: "h", marker: { color: "#0072b2" } };
    plot("effects-bars", [{ ...bar, y: rows.map(named), x: rows.map((row) => 100 * row.share) }], layout);
    const table = document.getElementById("effects-rows");
    table.tHead.replaceChildren();
    table.tBodies[0].replaceChildren();
    addRow(table.tHead, ["parameter", "levels", "share, %", "lowest mean", "at", "highest mean", "at"], "th");
    for (const row of rows) {
      addRow(table.tBodies[0], [
        named(row), show(row.levels), show(100 * row.share), shown(metric, row.lowest_mean), row.at_lowest,
        shown(metric, row.highest_mean), row.at_highest,
      ], "td");
    }
    document.getElementById("effects-note").textContent = note;
  }
}

function title(name) {
  return data.titles?.[name] ?? name;
}

function scaled(name, value) {
  return typeof value === "number" ? value * (data.factors?.[name] ?? 1) : value;
}

function shown(name, value) {
  return show(scaled(name, value));
}

function addRow(section, texts, kind) {
  const row = section.insertRow();
  for (const text of texts) {
    const cell = document.createElement(kind);
    if (kind === "th") cell.scope = "col";
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}

function show(value) {
  if (value === null || value === undefined) return "-";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e12) return Math.round(value).toLocaleString("en-US");
  return Number.isInteger(value) ? String(value) : value.toPrecision(4);
}
