// The page: one view at a time, kept live by server-sent events. Rows come sorted, filtered and cut from the server.

import { areas, bytes, count, el, meter, morph, percent, seconds, sparkline } from "./charts.js";
import { keptView } from "./kept.js";
import { sizesView } from "./sizes.js";

const VIEWS = [["overview", "Overview"], ["nodes", "Nodes"], ["data", "Data"], ["kept", "Cached datasets"], ["jobs", "Jobs"], ["readers", "Readers"], ["missed", "Why missed"], ["sizes", "Sizes"]];
const SOURCES = ["memory", "disk", "remote", "lake"];
const ADVICE = {
  cold: "A warm-up (raycache load) before the job avoids these.",
  freed: "Somebody freed it; load it again.", changed: "The lake's files change while they are read.",
  expired: "A longer time to live, if the data allows.", admission: "More memory or disk for the cache, or shorter leases.",
  quota: "A larger quota for the path.", unreachable: "See the nodes: is a worker lost, or overloaded?", failed: "raycache doctor asks each mount.",
};
const $ = (id) => document.getElementById(id), main = $("main");

const state = {
  about: { figures: {}, actions: [], page: 50 }, query: { view: "overview" }, data: null, hover: null,
  token: sessionStorage.getItem("raycache-token") || "", usage: {}, source: null, error: "",
};

// --- where we are ----------------------------------------------------------------------------------------------------

function readHash() {
  const [view, rest] = location.hash.replace(/^#\/?/, "").split("?");
  const given = new URLSearchParams(rest || "");
  const query = { view: VIEWS.some(([name]) => name === view) ? view : "overview" };
  for (const name of ["sort", "desc", "page", "q", "path"]) if (given.get(name)) query[name] = given.get(name);
  return query;
}

const hashOf = ({ view, ...rest }) => {
  const given = new URLSearchParams(Object.entries(rest).filter(([, value]) => value !== "" && value !== undefined && value !== "0"));
  return `#/${view}${given.size ? `?${given}` : ""}`;
};

function go(changes, { replace = false } = {}) {
  const target = hashOf({ ...state.query, ...changes });
  if (target === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  follow();
}

function follow() {
  if (state.source && state.hash === location.hash) return;
  state.hash = location.hash;
  const before = state.query.view;
  state.query = readHash();
  if (state.query.view !== before) { state.data = null; state.hover = null; }
  document.title = `${VIEWS.find(([name]) => name === state.query.view)[1]} · raycache`;
  draw();
  listen();
  if (state.query.view !== before) main.scrollIntoView({ block: "nearest" });
}

// --- live ------------------------------------------------------------------------------------------------------------

function listen() {
  state.source?.close();
  const source = new EventSource(`api/stream?${new URLSearchParams(state.query)}`);
  state.source = source;
  source.onmessage = (event) => {
    if (state.source !== source) return;
    state.data = JSON.parse(event.data);
    state.error = "";
    live("good", "live");
    draw();
  };
  source.addEventListener("trouble", (event) => {
    if (state.source !== source) return;
    state.error = JSON.parse(event.data).error;
    live("bad", "no answer");
    draw();
  });
  source.onerror = () => { if (state.source === source) live("warn", "reconnecting"); };
}

function live(kind, text) {
  const pill = $("live");
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${kind}`;
}

// --- parts -----------------------------------------------------------------------------------------------------------

const figure = (name) => state.about.figures[name] || { title: name, definition: "" };

/** A title with its definition on hover and focus. */
const tip = (name, title) => el("span.tip", { tabindex: 0, "data-tip": name }, title || figure(name).title);

const card = (size, title, ...rest) => el(`section.card.${size}`, {}, title && el("div.headline", {}, title), rest);

function table(columns, data, { empty, name }) {
  const rows = data.rows;
  const header = columns.map((column) => {
    const sorted = column.key && data.sort === column.key ? (data.desc ? "descending" : "ascending") : null;
    const title = column.title ?? figure(column.tip || column.key).title;
    const inner = column.key && column.sort !== false
      ? el("button", { type: "button", "data-sort": column.key, "data-first": column.first || "1", "data-tip": column.tip === null ? null : column.tip || column.key }, title)
      : column.key ? tip(column.tip || column.key, title) : title;
    return el(column.num ? "th.num" : "th", { scope: "col", "aria-sort": sorted }, inner);
  });
  const body = rows.map((row) => el("tr", {}, columns.map((column) =>
    el(["td", column.num && "num", column.wrap && "wrap", column.wide && "wide"].filter(Boolean).join("."),
      { "data-title": column.title ?? figure(column.tip || column.key).title, "data-key": column.key || null }, column.cell(row)))));
  const choices = columns.filter((column) => column.key && column.sort !== false);
  const first = data.page * state.about.page;
  return [
    el("label.sort.muted", {}, "Sort by ", el("select", { "data-pick": "sort" }, choices.map((column) =>
      el("option", { value: column.key, selected: data.sort === column.key }, column.title ?? figure(column.tip || column.key).title)))),
    rows.length ? el("div.scroll", {}, el("table.rows", { "aria-label": name }, el("thead", {}, el("tr", {}, header)), el("tbody", {}, body)))
      : el("p.empty", {}, data.rows_total === 0 && state.query.q ? "Nothing matches." : empty),
    data.pages > 1 && el("div.pager", {},
      el("span.muted", {}, `${count(first + 1)}–${count(first + rows.length)} of ${count(data.rows_total)}`),
      el("button.small", { type: "button", "data-page": data.page - 1, disabled: data.page === 0 }, "Previous"),
      el("button.small", { type: "button", "data-page": data.page + 1, disabled: data.page + 1 >= data.pages }, "Next")),
  ];
}

const search = (label) => el("input", { type: "search", "data-search": "q", value: state.query.q || "", placeholder: label, "aria-label": label, maxlength: 200 });

const button = (action, argument, title, enabled = true) =>
  state.token && state.about.actions.includes(action) && enabled
    ? el("button.small", { type: "button", "data-action": action, "data-argument": argument, "aria-label": `${title} ${argument}` }, title) : null;

const used = (kind, usedBytes, capacity) => capacity
  ? [`${bytes(usedBytes)} `, meter([[kind, usedBytes / capacity]], `${percent(usedBytes / capacity)} of ${bytes(capacity)}`), el("span.sub", {}, `of ${bytes(capacity)}`)]
  : "–";

const pathLink = (path, text, extra = {}) => el("a", { href: hashOf({ view: "data", path, ...extra }) }, text);

// --- views -----------------------------------------------------------------------------------------------------------

function overview(data) {
  const windows = [["minute", "1 min"], ["quarter", "15 min"], ["ever", "since start"]];
  const rate = (name) => {
    const [window, title] = windows.find(([key]) => data.windows[key][name] !== null) || windows[2];
    return card("s3", null, el("div.label", {}, tip(name)),
      el("div.big", { "data-figure": name }, percent(data.windows[window][name]), " ", el("span.muted", {}, data.windows[window][name] === null ? "" : title)),
      el("dl.three", {}, windows.flatMap(([key, text]) => [el("dt", {}, text), el("dd", { "data-window": key }, percent(data.windows[key][name]))])));
  };
  const saved = (name, big, pairs) => card("s3", null, el("div.label", {}, tip(name)), el("div.big", { "data-figure": name }, big),
    el("dl.three", {}, pairs.flatMap(([name, title, value]) => [el("dt", {}, tip(name, title)), el("dd", {}, value)])));
  const money = `$${Math.abs(data.money_saved) < 100 ? data.money_saved.toFixed(2) : count(Math.round(data.money_saved))}`;
  const width = document.querySelector("svg.chart")?.clientWidth || Math.max(320, Math.min(1000, main.clientWidth * (main.clientWidth > 1080 ? 0.62 : 0.94)));
  const hover = state.hover !== null && state.hover < data.series.length ? state.hover : null;
  const shown = hover === null ? null : data.series[hover].map((value) => value / data.series_step_s);
  const tier = (kind) => el("div.tier", {}, el("div", {}, tip(`${kind}_used_bytes`, kind === "memory" ? "Memory" : "Disk"),
    el("span", {}, el("span.strong", {}, bytes(data[`${kind}_used_bytes`])), el("span.muted", {}, ` of ${bytes(data[`${kind}_capacity_bytes`])}`))),
  meter([[kind, data[`${kind}_used_bytes`] / (data[`${kind}_capacity_bytes`] || 1)]], `${kind} tier use`));
  const missed = Object.entries(data.missed).filter(([, value]) => value).sort((a, b) => b[1] - a[1]);
  const sum = missed.reduce((total, [, value]) => total + value, 0);
  return el("div.grid", {},
    rate("hit_rate"), rate("byte_hit_rate"),
    saved("requests_saved", count(data.requests_saved), [["asked", "asked", count(data.windows.ever.asked)], ["ufs_requests", "lake requests", count(data.ufs_requests)], ["money_saved", "saved", money]]),
    saved("bytes_saved", bytes(data.bytes_saved), [["bytes_read", "read", bytes(data.windows.ever.bytes_read)], ["ufs_bytes", "from the lake", bytes(data.ufs_bytes)]]),
    card("s8", [el("h2", {}, tip("series")), el("div.legend", {}, SOURCES.map((name, index) =>
      el("span", {}, el(`i.${name}`), tip(`series_${name}`), shown && el("span.strong", {}, `${bytes(Math.round(shown[index]))}/s`))))],
    areas(data.series, data.series_step_s, SOURCES, hover, Math.round(width))),
    card("s4", el("h2", {}, "Now"), tier("memory"), tier("disk"),
      el("dl.pairs", {}, el("dt", {}, tip("uptime_s", "Master")), el("dd", {}, `up ${seconds(data.head.uptime_s)}`),
        el("dt", {}, tip("workers")), el("dd", { "data-figure": "workers" }, Object.entries(data.workers).map(([health, number]) => el(`span.pill.${HEALTH[health] || "warn"}`, {}, `${count(number)} ${health}`))),
        [["blocks", count(data.blocks)], ["loads_inflight", count(data.loads_inflight)], ["evictions", count(data.evictions)], ["files_known", count(data.files_known)]]
        .flatMap(([name, value]) => [el("dt", {}, tip(name)), el("dd", {}, value)]),
      el("dt", {}, el("a", { href: "#/data", "data-tip": "mounts" }, "Mounts")), el("dd", {}, count(data.mounts)),
      el("dt", {}, el("a", { href: "#/jobs", "data-tip": "jobs_running" }, "Loads running")), el("dd", {}, count(data.jobs_running)))),
    card("s5", [el("h2", {}, el("a", { href: "#/nodes" }, "Nodes")), el("span.muted", {}, tip("hit_rate", "hit rate"), ", last 15 min")], few(data) || tiles(data)),
    card("s7", [el("h2", {}, el("a", { href: "#/missed" }, "Why missed")), el("span.muted", {}, `${count(sum)} blocks since start`)],
      missed.length ? el("div.bars", {}, missed.slice(0, 5).flatMap(([reason, value]) => [tip(`missed_${reason}`), meter([["lake", value / sum]], percent(value / sum)), el("span.num", {}, count(value))]))
        : el("p.empty", {}, "Nothing has been missed.")));
}

const isGone = (health) => ["gone", "none", "lost"].includes(health);

/** A bar for each node, while there are few. */
function few(data) {
  if (data.tiles.length > 12) return null;
  if (!data.tiles.length) return el("p.empty", {}, "No worker has been heard of yet.");
  return el("div.bars", {}, data.tiles.flatMap(([node, host, health, share]) => [
    el("span", { title: node }, host || el("span.mono", {}, node)),
    isGone(health) ? el("span.pill.bad", {}, health) : meter([["accent", share]], `hit rate ${percent(share)}`),
    el("span.num.strong", {}, percent(share))]));
}

/** A square for each node, while there are many. */
function tiles(data) {
  return el(data.tiles.length > 120 ? "div.tiles.many" : "div.tiles", {}, data.tiles.map(([node, host, health, share]) => {
    const shade = isGone(health) ? "gone" : share === null ? "" : `h${Math.min(4, Math.floor(share * 5))}`;
    const label = `${host || node}: ${health}, ${percent(share)}`;
    return el(shade ? `i.${shade}` : "i", { title: label, role: "img", "aria-label": label });
  }));
}

const HEALTH = { live: "good", lost: "bad", gone: "bad", none: "bad" };

function nodes(data) {
  const columns = [
    { key: "host", first: "0", cell: (row) => [el("span.strong", {}, row.host || "gone"), el("span.sub.mono", { title: row.node_id }, row.node_id.slice(0, 12))] },
    { key: "state", first: "0", cell: (row) => el(`span.pill.${HEALTH[row.state] || "warn"}`, {}, row.state.toLowerCase()) },
    { key: "hit_rate", num: true, cell: (row) => el("span.strong", {}, percent(row.hit_rate)) },
    { key: "minute", title: "1 min", tip: "hit_rate", num: true, cell: (row) => percent(row.minute) },
    { key: "quarter", title: "15 min", tip: "hit_rate", num: true, cell: (row) => percent(row.quarter) },
    { key: "spark", tip: "trend", sort: false, wide: true, cell: (row) => sparkline(row.spark) },
    { key: "asked", title: "Blocks", num: true, cell: (row) => count(row.asked) },
    { key: "memory_used_bytes", title: "Memory", num: true, wide: true, cell: (row) => used("memory", row.memory_used_bytes, row.memory_capacity_bytes) },
    { key: "disk_used_bytes", title: "Disk", num: true, wide: true, cell: (row) => used("disk", row.disk_used_bytes, row.disk_capacity_bytes) },
    { key: "bytes_local", num: true, cell: (row) => bytes(row.bytes_local) },
    { key: "bytes_remote", num: true, cell: (row) => bytes(row.bytes_remote) },
    { key: "bytes_bypass", num: true, cell: (row) => bytes(row.bytes_bypass) },
    { key: "loads_inflight", num: true, cell: (row) => count(row.loads_inflight) },
    { key: "evictions", num: true, cell: (row) => count(row.evictions) },
    { key: "plasma_pressure", num: true, cell: (row) => percent(row.plasma_pressure) },
    { key: "epoch", num: true, cell: (row) => (row.epoch ? String(row.epoch).slice(-6) : "–") },
    { key: "heartbeat_age_s", num: true, cell: (row) => (row.heartbeat_age_s === null ? "–" : `${seconds(row.heartbeat_age_s)} ago`) },
  ];
  return card("s12", [el("h2", {}, "Nodes"), el("div.controls", {}, search("Filter by host, id or state"))],
    table(columns, data, { name: "Nodes", empty: "No worker has been heard of yet." }));
}

function dataView(data) {
  const parts = data.path.includes("://") ? [] : data.path.split("/").filter(Boolean);
  const crumbs = el("nav.crumbs", { "aria-label": "Path" }, pathLink("/", "mounts"), data.path.includes("://") ? [el("span", {}, " / "), el("span.strong", {}, data.path)]
    : parts.map((part, index) => [el("span", {}, " / "), index + 1 < parts.length ? pathLink(`/${parts.slice(0, index + 1).join("/")}`, part) : el("span.strong", {}, part)]).flat());
  const columns = [
    { key: "name", title: "Name", tip: null, first: "0", wrap: true, cell: (row) => (row.kind === "file" ? [el("span.mono", {}, row.name), row.pinned && el("span.sub", {}, "pinned")]
      : [pathLink(row.path, row.kind === "directory" ? `${row.name}/` : row.name), (row.kind === "mount" || row.pinned) && el("span.sub", {}, row.pinned ? "pinned" : row.version)]) },
    { key: "size", num: true, cell: (row) => {
      if (row.kind === "file") return bytes(row.size);
      const usage = state.usage[row.path];
      return usage ? [bytes(usage.bytes_total), el("span.sub", {}, `${count(usage.files)} files`)]
        : el("button.small", { type: "button", "data-measure": row.path, "aria-label": `Measure ${row.path}` }, "measure");
    } },
    { key: "cached", sort: false, num: true, cell: (row) => {
      const usage = state.usage[row.path];
      const share = usage && usage.bytes_total ? usage.bytes_cached / usage.bytes_total : row.cached;
      return share === null ? "–" : [percent(share), meter([["accent", share]], `${percent(share)} cached`)];
    } },
    { key: "bytes_memory", sort: false, tip: "held_memory", num: true, cell: (row) => bytes(row.bytes_memory) },
    { key: "bytes_disk", sort: false, tip: "held_disk", num: true, cell: (row) => bytes(row.bytes_disk) },
    { key: "heat", sort: false, num: true, cell: (row) => count(row.heat) },
    { key: "nodes", sort: false, tip: "where", wrap: true, cell: (row) => (row.nodes.length
      ? el("span.mono", {}, row.nodes.map((node) => node.slice(0, 8)).join(" "), row.nodes_count > row.nodes.length ? ` +${row.nodes_count - row.nodes.length}` : "") : "–") },
    { key: "version", sort: false, wrap: true, cell: (row) => el("span.mono.muted", {}, row.kind === "file" ? row.version.replace(/"/g, "").slice(0, 24) : "") },
    { key: null, title: "", cell: (row) => el("div.controls", {}, button("load", row.path, "Load"), button("free", row.path, "Free"),
      row.kind !== "mount" && button(row.pinned ? "unpin" : "pin", row.path, row.pinned ? "Unpin" : "Pin")) },
  ];
  const rank = (title, rows) => card("s6", el("h2", {}, title, " ", tip("heat", "files")), rows.length
    ? el("ol.rank", {}, rows.map((row) => el("li", {}, el("span.mono", {}, row.path), el("span.muted", {}, `${count(row.heat)} hits`))))
    : el("p.empty", {}, "Nothing is cached yet."));
  return el("div.grid", {},
    card("s12", [crumbs, el("div.controls", {}, search("Filter by name"), data.path !== "/" && button("load", data.path, "Load all"), data.path !== "/" && button("free", data.path, "Free all"))],
      table(columns, data, { name: "Files", empty: data.path === "/" ? "Nothing is mounted: raycache mount /lake s3://bucket/prefix" : "This directory is empty." })),
    rank("Hottest", data.hottest), rank("Coldest", data.coldest));
}

const JOB = { SUCCEEDED: "good", RUNNING: "good", VERIFYING: "good", WAITING: "warn", FAILED: "bad", STOPPED: "warn" };

function jobs(data) {
  const columns = [
    { key: "id", tip: "load", first: "0", wrap: true, cell: (row) => [row.paths.length ? el("span.mono", {}, row.paths.join(" "), row.paths_count > row.paths.length ? " …" : "") : null, el(row.paths.length ? "span.sub.mono" : "span.mono", {}, row.id)] },
    { key: "state", tip: "load_state", first: "0", cell: (row) => el(`span.pill.${JOB[row.state] || "warn"}`, {}, row.state.toLowerCase()) },
    { key: "done", tip: "load_done", num: true, wide: true, cell: (row) => [percent(row.done), meter([["accent", row.done]], percent(row.done)), el("span.sub", {}, `${bytes(row.bytes_done)} of ${bytes(row.bytes_total)}`)] },
    { key: "files_done", tip: "load_files", num: true, cell: (row) => `${count(row.files_done)} of ${count(row.files_total)}` },
    { key: "files_failed", tip: "load_failed", num: true, cell: (row) => count(row.files_failed) },
    { key: "rate_bytes_s", tip: "load_rate", num: true, cell: (row) => `${bytes(row.rate_bytes_s)}/s` },
    { key: "elapsed_s", tip: "load_took", num: true, cell: (row) => seconds(row.elapsed_s) },
    { key: "eta_s", tip: "load_left", num: true, cell: (row) => seconds(row.eta_s) },
    { key: "failures", tip: "load_why", sort: false, wrap: true, wide: true, cell: (row) => (row.failures.length
      ? el("div.stack", {}, row.failures.map((failure) => el("span", {}, el("span.mono", {}, failure.path), el("span.sub", {}, failure.reason)))) : "") },
    { key: null, title: "", cell: (row) => (row.finished ? button("resume", row.id, "Resume", row.state !== "SUCCEEDED") : button("stop", row.id, "Stop")) },
  ];
  return card("s12", [el("h2", {}, "Loads"), el("div.controls", {}, search("Filter by id or state"))],
    table(columns, data, { name: "Loads", empty: "No load has been started: raycache load /lake/train" }));
}

function readers(data) {
  const columns = [
    { key: "task", first: "0", wrap: true, cell: (row) => el("span.strong", {}, row.task) },
    { key: "dataset", first: "0", wrap: true, cell: (row) => el("span.mono", {}, row.dataset) },
    { key: "job", first: "0", cell: (row) => el("span.mono", {}, row.job) },
    { key: "hit_rate", num: true, cell: (row) => [el("span.strong", {}, percent(row.hit_rate)), meter([["accent", row.hit_rate]], percent(row.hit_rate))] },
    { key: "byte_hit_rate", title: "By bytes", num: true, cell: (row) => percent(row.byte_hit_rate) },
    { key: "asked", title: "Blocks", num: true, cell: (row) => count(row.asked) },
    { key: "bytes_read", num: true, cell: (row) => bytes(row.bytes_read) },
    { key: "bytes_local", num: true, cell: (row) => bytes(row.bytes_local) },
    { key: "bytes_remote", num: true, cell: (row) => bytes(row.bytes_remote) },
    { key: "misses", num: true, cell: (row) => count(row.misses) },
    { key: "bypasses", num: true, cell: (row) => count(row.bypasses) },
    { key: "quiet_s", num: true, first: "0", cell: (row) => `${seconds(row.quiet_s)} ago` },
  ];
  return card("s12", [el("h2", {}, "Readers"), el("div.controls", {}, search("Filter by task, dataset or job"))],
    table(columns, data, { name: "Readers", empty: "Nobody has read anything yet." }));
}

function missed(data) {
  const total = data.reasons.reduce((sum, row) => sum + row.ever, 0);
  const rows = data.reasons.filter((row) => row.ever).sort((a, b) => b.ever - a.ever);
  const share = (row, window) => (data.asked[window] ? percent(row[window] / data.asked[window]) : "–");
  const reasons = rows.map((row) => el("div.stack", {},
    el("div.bars", {}, el("span.strong", {}, figure(`missed_${row.reason}`).title), meter([["lake", row.ever / total]], percent(row.ever / total)), el("span.num.strong", {}, count(row.ever))),
    el("p.muted", {}, figure(`missed_${row.reason}`).definition, " ", ADVICE[row.reason] || ""),
    el("p.muted", {}, `Of all blocks asked for: ${share(row, "minute")} in the last minute, ${share(row, "quarter")} in 15 min, ${share(row, "ever")} since start.`)));
  const kinds = data.reasons.map((row) => row.reason).filter((reason) => data.datasets.some((row) => row[reason]));
  const sets = data.datasets.map((row) => el("tr", {}, el("td.wrap.mono", { "data-title": "Dataset" }, row.dataset),
    kinds.map((reason) => el("td.num", { "data-title": figure(`missed_${reason}`).title }, count(row[reason])))));
  return el("div.grid", {},
    card("s6", [el("h2", {}, "Why blocks were not there"), el("span.muted", {}, `${count(total)} of ${count(data.asked.ever)} asked for`)],
      reasons.length ? el("div.why", {}, reasons) : el("p.empty", {}, "Nothing has been missed.")),
    card("s6", el("h2", {}, "Datasets that missed most"), sets.length
      ? el("div.scroll", {}, el("table.rows", { "aria-label": "Datasets" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, tip("dataset")), kinds.map((reason) => el("th.num", { scope: "col" }, tip(`missed_${reason}`))))), el("tbody", {}, sets)))
      : el("p.empty", {}, "None.")));
}

const DRAW = { overview, nodes, data: dataView, kept: keptView({ card, search, table, tip }), jobs, readers, missed, sizes: sizesView({ card, tip }) };

function draw() {
  const { data, query } = state;
  morph($("tabs"), el("ul", { id: "tabs" }, VIEWS.map(([name, title]) => el("li", {}, el("a", { href: `#/${name}`, "aria-current": name === query.view ? "page" : null }, title)))));
  $("unlock").hidden = !state.about.actions.length;
  $("unlock").textContent = state.token ? "Lock actions" : "Unlock actions";
  const fresh = data && data.view === query.view;
  if (fresh) {
    const { head } = data;
    $("cluster").textContent = `${head.workers_alive} of ${head.nodes} workers · up ${seconds(head.uptime_s)}`;
    $("foot").textContent = `cache ${head.cache_id} · figures at most a second or two old`;
  }
  const body = state.error ? card("s12", el("h2", {}, "The cache does not answer"), el("p", {}, state.error), el("p.muted", {}, "The page tries again by itself; raycache status says more."))
    : fresh ? DRAW[query.view](data) : el("p.empty", {}, "Loading…");
  if (main.firstElementChild) morph(main.firstElementChild, body);
  else main.append(body);
  // Only now the chart's place is known: draw it once more where it was drawn for another.
  const chart = document.querySelector("svg.chart");
  if (chart && chart.clientWidth && Math.abs(chart.viewBox.baseVal.width - chart.clientWidth) > 1) draw();
}

// --- what people do --------------------------------------------------------------------------------------------------

let typing = 0;
addEventListener("input", (event) => {
  if (!event.target.dataset.search) return;
  clearTimeout(typing);
  typing = setTimeout(() => go({ q: event.target.value, page: "" }, { replace: true }), 250);
});
addEventListener("change", (event) => { if (event.target.dataset.pick) go({ sort: event.target.value, desc: "1", page: "" }); });
addEventListener("click", (event) => {
  const target = event.target.closest("button");
  if (!target) return;
  const { sort, first, page, action, argument, measure: path } = target.dataset;
  if (sort) {
    const again = state.data?.sort === sort;
    go({ sort, desc: again ? (state.data.desc ? "0" : "1") : first, page: "" });
  } else if (page !== undefined) go({ page });
  else if (action) act(action, argument);
  else if (path !== undefined) measure(path);
});

async function measure(path) {
  say(`Measuring ${path}…`);
  const answer = await fetch(`api/usage?${new URLSearchParams({ path })}`);
  const usage = await answer.json();
  say(answer.ok ? `${path}: ${count(usage.files)} files, ${bytes(usage.bytes_cached)} of ${bytes(usage.bytes_total)} cached` : usage.error);
  if (answer.ok) { state.usage[path] = usage; draw(); }
}

async function act(action, argument) {
  if (action === "free" && !confirm(`Drop ${argument} from the cache? The lake keeps it.`)) return;
  const answer = await fetch(`api/actions/${action}`, {
    method: "POST", headers: { Authorization: `Bearer ${state.token}`, "Content-Type": "application/json" }, body: JSON.stringify({ argument }),
  });
  const result = await answer.json().catch(() => ({ error: `HTTP ${answer.status}` }));
  if (answer.status === 401) setToken("");
  if (!answer.ok) say(result.error);
  else if (action === "load") { say(`Load ${result.job} has started.`); go({ view: "jobs", path: "", q: "", sort: "", desc: "", page: "" }); }
  else if (action === "free") say(`${count(result.blocks)} blocks (${bytes(result.bytes)}) freed.`);
  else say({ stop: `Load ${argument} stops.`, resume: `Load ${argument} goes on.`, pin: `${argument} stays in the cache.`, unpin: `${argument} may be evicted.` }[action]);
}

function setToken(token) {
  state.token = token;
  if (token) sessionStorage.setItem("raycache-token", token);
  else sessionStorage.removeItem("raycache-token");
  draw();
}

let silence = 0;
function say(text) {
  const toast = $("said");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(silence);
  silence = setTimeout(() => { toast.hidden = true; }, 6000);
}

$("unlock").addEventListener("click", () => (state.token ? setToken("") : $("key").showModal()));
$("key").addEventListener("close", () => {
  if ($("key").returnValue === "ok" && $("token").value) setToken($("token").value.trim());
  $("token").value = "";
});

function showTip(target) {
  const box = $("tip");
  const { title, definition } = figure(target.dataset.tip);
  if (!definition) return;
  box.textContent = `${title}: ${definition}`;
  box.hidden = false;
  target.setAttribute("aria-describedby", "tip");
  const place = target.getBoundingClientRect();
  box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - box.offsetWidth - 12)) + scrollX}px`;
  const below = place.bottom + box.offsetHeight + 14 < innerHeight;
  box.style.top = `${(below ? place.bottom + 8 : place.top - box.offsetHeight - 8) + scrollY}px`;
}
const hideTip = () => { $("tip").hidden = true; };
for (const kind of ["mouseover", "focusin"]) addEventListener(kind, (event) => { const target = event.target.closest?.("[data-tip]"); if (target) showTip(target); else hideTip(); });
addEventListener("focusout", hideTip);
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.("svg.chart");
  const series = state.data?.series;
  let hover = null;
  if (chart && series) {
    const place = chart.getBoundingClientRect();
    const scale = chart.viewBox.baseVal.width / place.width;
    const [left, right, slots] = [Number(chart.dataset.left), Number(chart.dataset.right), Number(chart.dataset.slots)];
    const share = ((event.clientX - place.left) * scale - left) / (chart.viewBox.baseVal.width - left - right);
    const index = Math.floor(share * slots) - (slots - series.length);
    if (index >= 0 && index < series.length) hover = index;
  }
  if (hover !== state.hover) { state.hover = hover; draw(); }
});

const THEMES = [["", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];
function theme(step) {
  const now = THEMES.findIndex(([name]) => name === (localStorage.getItem("raycache-theme") || ""));
  const [name, sign, words] = THEMES[(now + step) % THEMES.length];
  if (name) { document.documentElement.dataset.theme = name; localStorage.setItem("raycache-theme", name); }
  else { delete document.documentElement.dataset.theme; localStorage.removeItem("raycache-theme"); }
  $("theme").textContent = sign;
  $("theme").setAttribute("aria-label", `Colours: ${words}`);
}
$("theme").addEventListener("click", () => theme(1));

addEventListener("hashchange", follow);
addEventListener("popstate", follow);
addEventListener("resize", () => draw());

theme(0);
state.query = readHash();
state.about = await (await fetch("api/definitions")).json();
follow();
