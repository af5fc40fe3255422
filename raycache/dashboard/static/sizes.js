// What other sizes of the cache would give, and the eviction policies in force.

import { bytes, count, curve, el, percent, seconds } from "./charts.js";

export const sizesView = ({ card, tip }) => (data) => {
  const main = document.getElementById("main");
  const known = data.uncertainty < 1;
  const both = data.sizes.filter((size) => size.tier === "both");
  const rows = data.sizes.map((size) => el("tr", {}, el("td", { "data-title": "Size" }, `${size.tier} × ${size.factor}`),
    [bytes(size.memory_bytes), bytes(size.disk_bytes), percent(size.hit_rate), bytes(size.lake_bytes), `$${size.money.toFixed(2)}`]
      .map((text, index) => el("td.num", { "data-title": ["Memory", "Disk", "Hit rate", "From the lake", "Price"][index] }, text))));
  const names = [...new Set(data.policies.flatMap((node) => Object.keys(node.rates)))];
  const policies = data.policies.map((node) => el("tr", {}, el("td.mono", { "data-title": "Node" }, node.node_id.slice(0, 12)),
    el("td", { "data-title": "Policy", "data-policy": node.policy }, node.policy, node.is_chosen ? "" : " (set)"),
    names.map((name) => el("td.num", { "data-title": name }, percent(node.rates[name]))),
    el("td.wrap", { "data-title": "History" }, node.history.length
      ? node.history.map((change) => `${seconds(change.ago_s)} ago: ${change.before} → ${change.after} (${percent(change.before_rate)} → ${percent(change.after_rate)})`).join("; ")
      : "no change")));
  const head = (titles) => el("thead", {}, el("tr", {}, titles.map(([name, title], index) => el(index ? "th.num" : "th", { scope: "col" }, tip(name, title)))));
  return el("div.grid", {},
    card("s12", [el("h2", {}, "Hit rate by size of the cache"), el("span.muted", {}, known ? `within about ${Math.ceil(data.uncertainty * 100)} points; ${count(data.sampled_blocks)} blocks in the sample` : "")],
      known ? [curve(both.map((size) => [size.factor, size.hit_rate]), Math.max(300, (document.querySelector("svg.chart")?.clientWidth || main.clientWidth - 40))),
        el("p.muted", {}, `Of ${bytes(data.asked_bytes)} asked for in ${seconds(data.watched_s)}.`)]
        : el("p.empty", {}, "Too little was read through the workers to tell.")),
    card("s12", el("h2", {}, "Eviction policies"), el("div.scroll", {}, el("table.rows", { "aria-label": "Eviction policies" }, head([["host"], ["policy"], ...names.map((name) => [`workers_${name.replace("-", "_")}`]), ["policy_history"]]), el("tbody", {}, policies)))),
    known && card("s12", el("h2", {}, "Other sizes"), el("div.scroll", {}, el("table.rows", { "aria-label": "Other sizes" }, head([["size_factor"], ["memory_capacity_bytes"], ["disk_capacity_bytes"], ["hit_rate_at_size"], ["lake_at_size"], ["money_at_size"]]), el("tbody", {}, rows)))));
};
