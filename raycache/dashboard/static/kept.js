// What is kept of datasets after their transforms, and what that has saved.

import { bytes, count, el, seconds } from "./charts.js";

/** The view, of what the page is built with. */
export const keptView = ({ card, search, table, tip }) => (data) => {
  const columns = [
    { key: "name", first: "0", tip: "kept_name", wrap: true, cell: (row) => el("span.mono", {}, row.name) },
    { key: "groups", tip: "kept_groups", num: true, cell: (row) => count(row.groups) },
    { key: "rows", tip: "kept_rows", num: true, cell: (row) => count(row.rows) },
    { key: "bytes_kept", tip: "kept_bytes", num: true, cell: (row) => bytes(row.bytes_kept) },
    { key: "hits", tip: "kept_read", num: true, cell: (row) => count(row.hits) },
    { key: "made", tip: "kept_made", num: true, cell: (row) => [count(row.made), row.taken_over ? el("span.sub", {}, `${count(row.taken_over)} taken over`) : null] },
    { key: "waited", tip: "kept_waited", num: true, cell: (row) => count(row.waited) },
    { key: "lost", tip: "kept_lost", num: true, cell: (row) => count(row.lost) },
    { key: "cpu_s", tip: "kept_cost", num: true, cell: (row) => seconds(row.cpu_s) },
    { key: "saved_cpu_s", tip: "kept_saved", num: true, cell: (row) => el("span.strong", {}, seconds(row.saved_cpu_s)) },
    { key: "idle_s", tip: "kept_idle", num: true, first: "0", cell: (row) => (row.idle_s === null ? "–" : `${seconds(row.idle_s)} ago`) },
  ];
  const total = el("span.muted", {}, `${bytes(data.bytes_kept)} kept · `, tip("kept_saved", "CPU saved"), ` ${seconds(data.saved_cpu_s)}`);
  return card("s12", [el("h2", {}, "Cached datasets"), total, el("div.controls", {}, search("Filter by name"))],
    table(columns, data, { name: "Cached datasets", empty: "Nothing is kept: raycache.cached(dataset) keeps what a pipeline gives." }));
};
