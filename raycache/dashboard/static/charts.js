// Building and drawing: elements from data, one tree morphed into another, charts as SVG. Names go in as text only.

const SVG = "http://www.w3.org/2000/svg";

/** An element: el("td.num", {title: "x"}, "text", child, ...). Attributes that are null or false are left out. */
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  return fill(document.createElement(tag), classes, attributes, children);
}

/** The same in SVG. */
export function svg(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  return fill(document.createElementNS(SVG, tag), classes, attributes, children);
}

function fill(node, classes, attributes, children) {
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "width%") node.style.width = `${value}%`; // not as an attribute: the page allows no inline styles
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** Make `old` look like `fresh`, touching only what differs, so that focus, selection and scrolling stay. */
export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "aria-describedby") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) === value) continue;
    if (name === "style") old.style.cssText = fresh.style.cssText;
    else old.setAttribute(name, value);
  }
  if (old.nodeName === "INPUT" || old.nodeName === "SELECT") {
    if (document.activeElement !== old && old.value !== fresh.value) old.value = fresh.value;
    if (old.nodeName === "INPUT") return;
  }
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((child, index) => (index < before.length ? morph(before[index], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(size) {
  if (size === null || size === undefined) return "–";
  let value = size;
  let unit = 0;
  while (Math.abs(value) >= (unit ? 999.95 : 1024) && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit ? `${value.toFixed(1)} ${UNITS[unit]}` : `${value} B`;
}

export const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US"));

/** Rounded down to a tenth, so that 100.0% means all. */
export const percent = (share) =>
  share === null || share === undefined ? "–" : `${(Math.floor(Math.round(share * 10000) / 10) / 10).toFixed(1)}%`;

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** A bar of parts: [[class, share of the whole], ...]. */
export function meter(parts, label) {
  const bars = parts.map(([name, share]) => el(`i.${name}`, { "width%": Math.max(0, Math.min(1, share || 0)) * 100 }));
  return el("div.meter", { role: "img", "aria-label": label }, bars);
}

/** Hit rates in thousandths, -1 where nothing was read. */
export function sparkline(rates) {
  const [width, height] = [108, 26];
  const y = (rate) => (height - 3 - (rate / 1000) * (height - 6)).toFixed(1);
  const step = (width - 6) / Math.max(1, 29);
  const start = width - 3 - step * (rates.length - 1);
  const runs = [[]];
  rates.forEach((rate, index) => {
    if (rate < 0) runs.push([]);
    else runs[runs.length - 1].push([(start + index * step).toFixed(1), y(rate)]);
  });
  const known = rates.filter((rate) => rate >= 0);
  const label = known.length ? `hit rate over 15 minutes, last ${percent(known[known.length - 1] / 1000)}` : "nothing read in 15 minutes";
  const lines = runs.filter((run) => run.length > 1).map((run) => svg("polyline", { points: run.map((p) => p.join(",")).join(" ") }));
  const dots = runs.filter((run) => run.length).map((run) => {
    const [x, last] = run[run.length - 1];
    return svg("circle", { cx: x, cy: last, r: 1.9 });
  });
  return svg("svg.spark", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    svg("line.base", { x1: 0, x2: width, y1: height - 1, y2: height - 1 }), lines, dots);
}

const niceTop = (value) => {
  const power = 2 ** Math.ceil(Math.log2(Math.max(1, value)));
  return value <= power * 0.75 ? power * 0.75 : power;
};

/** Stacked areas of bytes per second; `hover` is the index of a step to mark, or null. */
export function areas(series, step, names, hover, width) {
  const height = width > 700 ? 300 : 220;
  const [left, right, top, bottom] = [66, 8, 8, 22];
  const slots = 180;
  const x = (index) => left + ((slots - series.length + index + 0.5) / slots) * (width - left - right);
  const totals = series.map((row) => row.reduce((a, b) => a + b, 0) / step);
  const peak = niceTop(Math.max(0, ...totals));
  const y = (value) => top + (1 - value / peak) * (height - top - bottom);
  const floor = series.map(() => 0);
  const shapes = names.map((name, layer) => {
    const lower = floor.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).reverse();
    series.forEach((row, index) => { floor[index] += row[layer] / step; });
    const upper = floor.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
    return svg(`polygon.f-${name}`, { points: [...upper, ...lower].join(" ") });
  });
  const rules = [0, 0.5, 1].map((share) => [
    svg("line.rule", { x1: left, x2: width - right, y1: y(share * peak), y2: y(share * peak) }),
    svg("text", { x: left - 8, y: y(share * peak) + 4, "text-anchor": "end" }, `${bytes(Math.round(share * peak))}/s`),
  ]);
  const times = (width < 420 ? [15, 0] : [15, 10, 5, 0]).map((minutes) => svg("text", {
    x: left + (1 - minutes / 15) * (width - left - right), y: height - 5,
    "text-anchor": minutes === 15 ? "start" : minutes ? "middle" : "end",
  }, minutes ? `${minutes} min ago` : "now"));
  const cross = hover === null ? null : svg("line.cross", { x1: x(hover), x2: x(hover), y1: top, y2: height - bottom });
  return svg("svg.chart", { viewBox: `0 0 ${width} ${height}`, role: "img", "data-slots": slots, "data-left": left, "data-right": right,
    "aria-label": "bytes read per second by source over the last 15 minutes" }, rules, shapes, times, cross);
}

/** Hit rate by size: [[multiple of the present size, share], ...], on a scale on which each step doubles the size. */
export function curve(points, width) {
  const height = 240;
  const [left, right, top, bottom] = [52, 16, 10, 24];
  const [low, high] = [Math.log2(points[0][0]), Math.log2(points[points.length - 1][0])];
  const x = (factor) => left + ((Math.log2(factor) - low) / (high - low)) * (width - left - right);
  const y = (share) => top + (1 - share) * (height - top - bottom);
  const rules = [0, 0.5, 1].map((share) => [
    svg("line.rule", { x1: left, x2: width - right, y1: y(share), y2: y(share) }),
    svg("text", { x: left - 8, y: y(share) + 4, "text-anchor": "end" }, percent(share)),
  ]);
  const marks = points.map(([factor, share]) => [
    svg(factor === 1 ? "circle.now" : "circle", { cx: x(factor), cy: y(share), r: factor === 1 ? 5 : 3 }),
    svg("text", { x: x(factor), y: height - 5, "text-anchor": "middle" }, factor === 1 ? "now" : `${factor}×`),
  ]);
  const label = `hit rate by size: ${points.map(([factor, share]) => `${factor} times ${percent(share)}`).join(", ")}`;
  return svg("svg.chart.curve", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, rules,
    svg("polyline", { points: points.map(([factor, share]) => `${x(factor).toFixed(1)},${y(share).toFixed(1)}`).join(" ") }), marks);
}
