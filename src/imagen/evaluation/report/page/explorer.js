"use strict";
// The interactive plot of report.html and compare.html. What it shows comes from the JSON in the page; every text
// becomes a text node, never HTML.
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const part = id => document.getElementById(id);
  const plot = part("plot"), curves = data.curves;
  const views = [
    ...data.pairs.map(([across, up]) => ({ across, up })),
    ...Object.keys(data.metrics).map(up => ({ across: null, up })), // null: the guidance weight
    ...data.costs.flatMap(across => data.first.map(up => ({ across, up }))),
  ];
  const visible = curves.map(() => true);
  const chosen = bestPoint(data.pairs.length ? data.pairs[0][0] : data.first[0] ?? Object.keys(data.metrics)[0]);
  let view = views[0];

  function bestPoint(key) { // what the reader sees first
    let best = null;
    curves.forEach(({ points }, curve) => points.forEach(({ numbers }, point) => {
      const value = key in numbers ? numbers[key][0] * (data.metrics[key].lower ? -1 : 1) : -Infinity;
      if (best === null || value > best.value) best = { curve, point, value };
    }));
    return { curve: best.curve, point: best.point };
  }

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // Plotly reads a few tags and entities in its texts; with these there are none.
  const plain = text => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const weightText = weight => String(Number(weight.toPrecision(6)));
  const isCost = key => data.costs.includes(key), isLower = key => isCost(key) || data.metrics[key].lower;
  const better = key => `${key} (${isLower(key) ? "lower" : "higher"} is better)`;
  const across = () => (view.across === null ? `guidance weight of the ${data.weight_of} (1 is none)` : better(view.across));

  // ---- theme

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";

  function inks() {
    const of = (node, property) => getComputedStyle(node)[property];
    return { ink: of(document.body, "color"), soft: of(document.querySelector(".hint"), "color"),
             paper: of(document.body, "backgroundColor"), line: of(plot, "borderTopColor") };
  }

  const colour = curve => curve.colour[isDark() ? 1 : 0];

  // ---- plot

  function place(point) { // [x, low, high], [y, low, high], or null where a number is missing
    const x = view.across === null ? [point.weight] : point.numbers[view.across], y = point.numbers[view.up];
    return x && y ? { x, y } : null;
  }

  // A point is dominated by one that is nowhere worse and somewhere better.
  function dominatedOnes() {
    const places = curves.flatMap((curve, number) => (visible[number] ? curve.points.map(place) : [])).filter(Boolean);
    const sign = key => (isLower(key) ? -1 : 1);
    return ({ x, y }) => view.across !== null && places.some(other => {
      const right = (other.x[0] - x[0]) * sign(view.across), up = (other.y[0] - y[0]) * sign(view.up);
      return right >= 0 && up >= 0 && right + up > 0;
    });
  }

  const bars = values => ({
    type: "data", symmetric: false, thickness: 1, width: 0, visible: part("intervals").checked,
    array: values.map(([value, , high]) => (high === undefined ? 0 : high - value)),
    arrayminus: values.map(([value, low]) => (low === undefined ? 0 : value - low)),
  });

  function trace(curve, number, dominated, paper) {
    const numbers = curve.points.map((_, index) => index).filter(index => place(curve.points[index]));
    const places = numbers.map(index => place(curve.points[index])), tint = colour(curve);
    return {
      type: "scatter", mode: "lines+markers+text", visible: visible[number], showlegend: false,
      x: places.map(({ x }) => x[0]), y: places.map(({ y }) => y[0]), customdata: numbers,
      error_x: { ...bars(places.map(({ x }) => x)), color: tint }, error_y: { ...bars(places.map(({ y }) => y)), color: tint },
      line: { color: tint, width: 1.8, dash: curve.dash },
      marker: { symbol: curve.symbol, size: 9, color: places.map(one => (dominated(one) ? paper : tint)),
                line: { color: tint, width: 1.8 } },
      text: numbers.map(index => weightText(curve.points[index].weight)),
      textposition: ["top left", "bottom right", "top right", "bottom left"][number % 4],
      textfont: { color: tint, size: 11 },
      hovertemplate: numbers.map(index => plain(`${curve.label}, w = ${weightText(curve.points[index].weight)}`) + "<extra></extra>"),
    };
  }

  function ring() { // around the chosen point
    const at = visible[chosen.curve] && place(curves[chosen.curve].points[chosen.point]);
    return at ? { x: [at.x[0]], y: [at.y[0]] } : { x: [null], y: [null] };
  }

  function controls(soft) { // dashed lines of real pictures, and a point that holds them inside the plot
    const x = view.across === null ? undefined : data.real[view.across], y = data.real[view.up];
    const line = { type: "line", line: { color: soft, width: 1, dash: "dot" } };
    const note = { showarrow: false, font: { size: 11, color: soft } };
    const shapes = [], annotations = [];
    if (x !== undefined) {
      shapes.push({ ...line, x0: x, x1: x, yref: "paper", y0: 0, y1: 1 });
      annotations.push({ ...note, text: "real pictures", x, xanchor: "right", yref: "paper", y: 1, yanchor: "top", textangle: -90 });
    }
    if (y !== undefined) {
      shapes.push({ ...line, xref: "paper", x0: 0, x1: 1, y0: y, y1: y });
      annotations.push({ ...note, text: "real pictures", xref: "paper", x: 0, xanchor: "left", y, yanchor: "bottom" });
    }
    return { shapes, annotations, x, y };
  }

  function apart(weights) { // those whose labels do not overlap on a logarithmic axis
    const least = (Math.log(weights.at(-1)) - Math.log(weights[0])) * (plot.clientWidth < 500 ? 0.1 : 0.05);
    return weights.reduce((kept, weight) =>
      (kept.length && Math.log(weight) - Math.log(kept.at(-1)) < least ? kept : [...kept, weight]), []);
  }

  function logarithmicTicks() { // of the axis across: null for an axis that is not logarithmic, {} for Plotly's own
    const values = curves.flatMap(curve => curve.points.map(place)).filter(Boolean).map(({ x }) => x[0]);
    if (isCost(view.across)) {
      const round = [...Array(24).keys()].flatMap(n => [1, 1.5, 2, 3, 5, 7].map(digit => Number(`${digit}e${n - 12}`)));
      const inside = round.filter(value => value >= Math.min(...values) && value <= Math.max(...values));
      return inside.length > 1 ? { tickvals: apart(inside), ticktext: apart(inside).map(String) } : {};
    }
    const weights = [...new Set(curves.flatMap(curve => curve.points.map(point => point.weight)))].sort((a, b) => a - b);
    if (view.across !== null || !(weights[0] > 0)) return null;
    return { tickvals: apart(weights), ticktext: apart(weights).map(weightText) };
  }

  function draw() {
    const { ink, soft, paper, line } = inks(), real = controls(soft), dominated = dominatedOnes();
    const first = curves.find(curve => curve.points.some(place))?.points.map(place).find(Boolean);
    const invisible = { type: "scatter", mode: "markers", hoverinfo: "skip", showlegend: false };
    const axis = { gridcolor: line, linecolor: line, zeroline: false, automargin: true, ticks: "outside", tickcolor: line };
    const ticks = logarithmicTicks();
    const title = text => ({ text: plain(text), font: { size: 13 }, standoff: 8 });
    const traces = [
      ...curves.map((curve, number) => trace(curve, number, dominated, paper)),
      { ...invisible, ...ring(), marker: { symbol: "circle-open", size: 20, color: ink, line: { width: 2.2 } } },
      { ...invisible, x: [real.x ?? first?.x[0]], y: [real.y ?? first?.y[0]], marker: { opacity: 0 } },
    ];
    const layout = {
      xaxis: { ...axis, title: title(across()), type: ticks ? "log" : "linear", ...ticks },
      yaxis: { ...axis, title: title(better(view.up)) },
      shapes: real.shapes, annotations: real.annotations,
      font: { color: ink, family: "system-ui, sans-serif", size: 12 },
      paper_bgcolor: paper, plot_bgcolor: paper, margin: { l: 10, r: 16, t: 12, b: 10 },
      hovermode: "closest", hoverdistance: 30, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hoverlabel: { bgcolor: paper, bordercolor: ink, font: { color: ink } },
      uirevision: views.indexOf(view), // what was enlarged stays so while the axes stay
    };
    return Plotly.react(plot, traces, layout, { responsive: true, displayModeBar: false, displaylogo: false });
  }

  // ---- the chosen weight

  function shownTogether() { // the chosen point; of two models, both at this curve and weight, in their order
    const curve = curves[chosen.curve], point = curve.points[chosen.point];
    if (!curve.letter) return [{ curve, point }];
    return curves.filter(one => one.name === curve.name).flatMap(one =>
      one.points.filter(other => other.weight === point.weight).map(other => ({ curve: one, point: other })));
  }

  function row(tag, cells) {
    const [name, ...others] = cells;
    return element("tr", {}, element("th", { scope: tag === "th" ? "col" : "row" }, name),
      ...others.map(cell => element(tag, {}, cell)));
  }

  function onTwoLines(text) { // the interval under the number: three columns are wide
    const [number, ...interval] = text.split(" ");
    return element("span", {}, number, element("small", {}, interval.join(" ")));
  }

  function fillTable(table, keys, together) {
    const both = together.length > 1;
    const head = both ? ["", ...together.map(({ curve }) => curve.letter), "B − A"] : ["", together[0].curve.letter];
    const cell = text => (both ? onTwoLines(text) : text);
    const lines = keys.map(key => row("td", [key, ...together.map(({ point }) => cell(point.texts[key] ?? "")),
      ...(both ? [cell((together[0].point.difference[key] ?? "").replaceAll("**", ""))] : [])]));
    table.replaceChildren(...(head.some(Boolean) ? [element("thead", {}, row("th", head))] : []), element("tbody", {}, ...lines));
  }

  function fillPictures(together) {
    const columns = together.map(({ curve, point }) =>
      ({ title: `${curve.letter ? `${curve.letter}, ` : ""}w = ${weightText(point.weight)}`, pictures: point.pictures }));
    if (data.real_pictures.length) columns.unshift({ title: "real", pictures: data.real_pictures });
    const count = Math.min(...together.map(({ point }) => point.pictures.length), data.texts.length);
    if (!count) return part("pictures").replaceChildren();
    const image = (column, index) => element("img", { src: data.images[column.pictures[index]],
      alt: `${column.title}: ${data.texts[index]}`, decoding: "sync" });
    const lines = [...Array(count).keys()].map(index => row("td", [data.texts[index],
      ...columns.map(column => (index < column.pictures.length ? image(column, index) : ""))]));
    return part("pictures").replaceChildren(element("table", {},
      element("thead", {}, row("th", ["the same prompts and noise at every weight", ...columns.map(({ title }) => title)])),
      element("tbody", {}, ...lines)));
  }

  function show() {
    const curve = curves[chosen.curve], point = curve.points[chosen.point], together = shownTogether();
    const text = `w = ${weightText(point.weight)}`;
    part("curve").value = String(chosen.curve);
    Object.assign(part("weight"), { max: curve.points.length - 1, value: chosen.point, disabled: curve.points.length < 2 });
    part("weight").setAttribute("aria-valuetext", text);
    part("chosen").value = text;
    const keys = Object.keys(data.metrics);
    fillTable(part("numbers"), [...data.first, ...data.costs], together);
    fillTable(part("more"), keys.filter(key => !data.first.includes(key)), together);
    part("others").hidden = keys.length === data.first.length;
    fillPictures(together);
  }

  function choose(curve, point) {
    if (curve === chosen.curve && point === chosen.point) return;
    Object.assign(chosen, { curve, point });
    show();
    const { x, y } = ring();
    Plotly.restyle(plot, { x: [x], y: [y] }, [curves.length]);
  }

  function nearestWeight(curve, weight) {
    const distances = curves[curve].points.map(point => Math.abs(point.weight - weight));
    return distances.indexOf(Math.min(...distances));
  }

  // ---- what the reader can set

  const SHAPES = { circle: "M12 2.5a4 4 0 1 0 .01 0z", square: "M8.5 3h7v7h-7z", diamond: "M12 1.5l5 5-5 5-5-5z",
                   "triangle-up": "M12 1.5l5 8.5H7z" };
  const DASHES = { solid: "", dash: "6 3", dot: "2 3", dashdot: "6 3 2 3" };

  function swatch(curve) {
    const drawing = part("swatch").content.firstElementChild.cloneNode(true), [line, mark] = drawing.children;
    line.setAttribute("stroke-dasharray", DASHES[curve.dash]);
    mark.setAttribute("d", SHAPES[curve.symbol]);
    const paint = () => {
      line.setAttribute("stroke", colour(curve));
      mark.setAttribute("fill", colour(curve));
    };
    repaints.push(paint);
    paint();
    return drawing;
  }

  const repaints = [];
  const repaint = () => { repaints.forEach(paint => paint()); draw(); };

  function addChoices() {
    const name = ({ across, up }) => (across === null ? `${up} by weight` : `${up} against ${across}`);
    part("axes").append(...views.map((one, number) => element("option", { value: String(number) }, name(one))));
    part("axes").onchange = () => { view = views[Number(part("axes").value)]; draw(); };
    part("intervals").onchange = draw;
    part("curve").append(...curves.map((curve, number) => element("option", { value: String(number) }, curve.label)));
    part("curve").onchange = () => {
      const curve = Number(part("curve").value), { weight } = curves[chosen.curve].points[chosen.point];
      choose(curve, nearestWeight(curve, weight));
    };
    part("weight").oninput = () => choose(chosen.curve, Number(part("weight").value));
    part("curves").append(...curves.map((curve, number) => {
      const box = element("input", { type: "checkbox", checked: true });
      box.onchange = () => { visible[number] = box.checked; draw(); };
      return element("label", {}, box, swatch(curve), curve.label);
    }));
  }

  function addThemes() {
    const button = part("theme"), names = ["auto", "light", "dark"];
    let now = 0;
    const say = () => { button.textContent = `Theme: ${names[now]}`; };
    button.onclick = () => {
      now = (now + 1) % names.length;
      if (now) document.documentElement.dataset.theme = names[now];
      else delete document.documentElement.dataset.theme;
      say();
      repaint();
    };
    dark.addEventListener("change", repaint);
    say();
    button.hidden = false;
  }

  function start() {
    part("explorer").hidden = false;
    part("pictures").classList.toggle("pixelated", data.pixelated);
    addChoices();
    addThemes();
    show();
    draw();
    const point = event => {
      const { curveNumber, customdata } = event.points[0];
      if (curveNumber < curves.length) choose(curveNumber, customdata);
    };
    plot.on("plotly_hover", point);
    plot.on("plotly_click", point);
    part("static").hidden = true; // at last: it stays where anything failed
  }

  try {
    start();
  } catch (error) {
    part("explorer").hidden = true;
    throw error;
  }
})();
