"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const options = { responsive: true, displaylogo: false };

for (const [name, figure] of Object.entries(data.figures || {})) {
  const sized = { ...options, responsive: !figure.layout.width };
  Plotly.newPlot("figure-" + name, figure.data, figure.layout, sized);
}
if (data.points) explore();

function explore() {
  const byId = (id) => document.getElementById(id);
  const columns = Object.keys(data.points[0]);
  const MOST_ROWS = 500;
  let kept = null; // positions inside the box, null for all
  let picked = []; // positions of at most two designs

  byId("explorer").hidden = false;
  for (const [id, chosen] of [["axis-x", data.start.x], ["axis-y", data.start.y]]) {
    const select = byId(id);
    for (const metric of data.metrics.concat(data.axes.filter((a) => !data.metrics.includes(a)))) {
      select.add(new Option(metric, metric, metric === chosen, metric === chosen));
    }
    select.addEventListener("change", draw);
  }
  addRow(byId("points").tHead, columns, "th");
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
        x: own.map((i) => data.points[i][x]),
        y: own.map((i) => data.points[i][y]),
        customdata: own,
        text: own.map(describe),
        hovertemplate: "%{text}<extra></extra>",
        marker: {
          size: own.map((i) => (picked.includes(i) ? 16 : 8)),
          color: front ? "#d55e00" : "#0072b2",
          opacity: front ? 0.9 : 0.45,
        },
      };
    });
    const layout = {
      xaxis: { title: { text: x } },
      yaxis: { title: { text: y } },
      dragmode: "select",
      legend: { orientation: "h", y: 1.1 },
      margin: { l: 60, r: 20, t: 20, b: 50 },
    };
    Plotly.react("scatter", traces, layout, options);
    const plot = byId("scatter");
    plot.removeAllListeners("plotly_click");
    plot.removeAllListeners("plotly_selected");
    plot.on("plotly_click", (event) => pick(event.points[0].customdata));
    plot.on("plotly_selected", (event) => {
      kept = event ? new Set(event.points.map((point) => point.customdata)) : null;
      fill();
    });
  }

  function describe(i) {
    const point = data.points[i];
    const names = ["point", ...data.axes, byId("axis-x").value, byId("axis-y").value];
    return [...new Set(names)].map((name) => name + ": " + show(point[name])).join("<br>");
  }

  function fill() {
    const body = byId("points").tBodies[0];
    body.replaceChildren();
    const rows = data.points.map((_, i) => i).filter((i) => kept === null || kept.has(i));
    for (const i of rows.slice(0, MOST_ROWS)) {
      const row = addRow(body, columns.map((name) => show(data.points[i][name])), "td");
      row.dataset.position = i;
      row.classList.toggle("picked", picked.includes(i));
      row.addEventListener("click", () => pick(i));
    }
    const cut = rows.length > MOST_ROWS ? ", the first " + MOST_ROWS + " listed" : "";
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
      addRow(body, [metric, ...picked.map((i) => show(data.points[i][metric]))], "td");
    }
    const text = document.createElement("p");
    if (picked.length === 0) text.textContent = "No design picked.";
    if (picked.length === 1) text.textContent = "Picked design: what it has of its own, and its metrics.";
    if (picked.length === 2) text.textContent = rows + " configuration keys differ.";
    place.replaceChildren(text, ...(picked.length ? [table] : []));
  }

  function addRow(section, texts, kind) {
    const row = section.insertRow();
    for (const text of texts) {
      const cell = document.createElement(kind);
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
}
