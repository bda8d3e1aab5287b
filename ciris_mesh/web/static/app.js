"use strict";
// Everything shown comes from this node; text is set as text, never as markup.

const VIEWS = ["overview", "map", "convergence", "air", "records"];
const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const namespace = "http://www.w3.org/2000/svg";
  const isSvg = ["svg", "g", "circle", "rect", "line", "path", "text", "title"].includes(tag);
  const element = isSvg ? document.createElementNS(namespace, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function span(seconds) {
  if (seconds === null) return "never";
  const whole = Math.round(seconds);
  if (whole < 120) return `${whole} s ago`;
  if (whole < 7200) return `${Math.round(whole / 60)} min ago`;
  return whole < 172800 ? `${Math.round(whole / 3600)} h ago` : `${Math.round(whole / 86400)} d ago`;
}

async function ask(path) {
  const answer = await fetch(path);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || answer.statusText);
  return body;
}

const words = (name) => name.replaceAll("_", " ");

function cell(text, className = "") {
  return make("td", className ? { class: className } : {}, String(text));
}

// -- overview ---------------------------------------------------------------------------------

function stateOf(peer) {
  if (peer.fresh) return ["fresh", "fresh"];
  return peer.state === "connected" ? ["stale", "stale"] : ["down", peer.reason || peer.state];
}

function showOverview(view) {
  const { status, budget, name } = view;
  const problems = [...status.health, ...budget.health];
  const fresh = status.peers.filter((peer) => peer.fresh).length;
  const records = status.kinds.reduce((sum, kind) => sum + kind.federation, 0);
  document.title = `${problems.length ? "! " : ""}${name} · ciris-mesh`;
  $("name").textContent = name;
  const said = problems.length ? `${problems.length} to look at` : "well";
  const summary = `${said} · ${records} records · ${fresh} of ${status.peers.length} peers fresh`;
  if ($("summary").textContent !== summary) $("summary").textContent = summary;
  $("health").replaceChildren(
    ...(problems.length
      ? problems.map((text) => make("li", {}, `Look at: ${text}`))
      : [make("li", { class: "well" }, "Well: nothing to look at.")]),
  );
  $("peers").replaceChildren(...(status.peers.length ? status.peers.map(peerRow) : [noPeers()]));
  $("kinds").replaceChildren(
    ...status.kinds.map((kind) =>
      make("tr", {}, make("th", { scope: "row" }, words(kind.kind)), cell(kind.federation, "n"),
        cell(kind.bridged, "n"), cell(kind.local, "n"))),
  );
  showBudget(budget);
  showKinds(status.kinds);
}

function peerRow(peer) {
  const [className, word] = stateOf(peer);
  return make("tr", {}, make("th", { scope: "row" }, peer.alias || peer.key_id),
    cell(word, className), cell(peer.medium),
    cell(peer.missing === null ? "unknown" : peer.missing, "n"), cell(span(peer.last_heard_s)));
}

function noPeers() {
  return make("tr", {}, make("td", { colspan: "5" },
    "No peers yet: that is fine for a new node. Add one: ciris-mesh peer add INVITE"));
}

function showRound(event) {
  const log = $("rounds");
  if (log.dataset.started !== "yes") { log.replaceChildren(); log.dataset.started = "yes"; }
  const moved = event.admitted ? `, ${event.admitted} admitted` : "";
  const sent = event.sent ? `, ${event.sent} sent` : "";
  const reason = event.reason ? `, ${event.reason}` : "";
  const text = event.event === "batch"
    ? `${event.peer} by ${event.over}: ${event.outcome}, ${event.records} records, ${event.airtime_ms} ms of air`
    : `${event.peer} ${event.kind}: ${event.outcome}${moved}${sent}${reason}, ${event.elapsed_ms} ms`;
  log.prepend(make("li", {}, text));
  while (log.children.length > 50) log.lastChild.remove();
}

// -- map --------------------------------------------------------------------------------------

async function showMap() {
  const map = await ask("/api/map");
  const places = new Map(map.spots.map((spot) => [spot.id, spot]));
  const lines = map.lines.map((line) => {
    const [a, b] = [places.get(line.a), places.get(line.b)];
    return make("line", { class: `s-${line.state}`, x1: a.x, y1: a.y, x2: b.x, y2: b.y });
  });
  $("topology").replaceChildren(...lines, ...map.spots.map(drawSpot));
  if (map.left_out) $("spot").textContent = `${map.left_out} more nodes are not drawn.`;
}

function drawSpot(spot) {
  const size = { self: 0.07, medium: 0.05, peer: 0.045, candidate: 0.025 }[spot.sort];
  const round = spot.state === "fresh" || spot.sort === "self" || spot.sort === "candidate";
  const body = round
    ? make("circle", { class: "body", r: size })
    : make("rect", { class: "body", x: -size, y: -size, width: 2 * size, height: 2 * size });
  const cross = spot.state === "down"
    ? make("path", { class: "cross", d: `M${-size} ${-size}L${size} ${size}M${size} ${-size}L${-size} ${size}` })
    : null;
  const label = spot.label.length > 18 ? `${spot.label.slice(0, 17)}…` : spot.label;
  const group = make("g", {
    class: `spot ${spot.sort} s-${spot.state}`, transform: `translate(${spot.x} ${spot.y})`,
    tabindex: "0", role: "img", "aria-label": spot.detail,
  }, make("title", {}, spot.detail), body, cross, make("text", { y: size + 0.06 }, label));
  for (const what of ["focus", "pointerenter"]) {
    group.addEventListener(what, () => { $("spot").textContent = spot.detail; });
  }
  return group;
}

// -- over time --------------------------------------------------------------------------------

function path(values, top) {
  let drawn = "", isDown = true;
  values.forEach((value, index) => {
    if (value < 0) { isDown = true; return; }
    const x = values.length > 1 ? (100 * index) / (values.length - 1) : 50;
    const y = 38 - (36 * value) / top;
    drawn += `${isDown ? "M" : "L"}${x.toFixed(2)} ${y.toFixed(2)}`;
    if (isDown) drawn += "h.5"; // a single point is seen, too
    isDown = false;
  });
  return drawn || "M0 0";
}

function plot(title, said, rows) {
  const top = Math.max(1, ...rows.flatMap((row) => row.values));
  const svg = make("svg", { class: "plot", viewBox: "0 0 100 40", preserveAspectRatio: "none",
    role: "img", "aria-label": `${title}: ${said}` },
    make("line", { x1: 0, y1: 38, x2: 100, y2: 38 }),
    ...rows.map((row) => make("path", { class: row.className, d: path(row.values, top) })));
  return make("figure", {}, svg, make("figcaption", {}, make("b", {}, title), ` ${said}`));
}

const last = (values) => (values.length ? values[values.length - 1] : -1);

async function showSeries() {
  const series = await ask("/api/series");
  const names = new Map(series.missing.map((row) => [row.peer, row.name]));
  const chosen = $("peer").value || [...names.keys()][0] || "";
  $("peer").replaceChildren(...[...names].map(([id, name]) => make("option", { value: id }, name)));
  $("peer").value = chosen;
  const rows = series.missing.filter((row) => row.peer === chosen);
  $("kinds-over-time").replaceChildren(...(rows.length ? rows.map((row) => {
    const now = last(row.values), most = Math.max(0, ...row.values);
    const said = now < 0 ? "not known now" : `${now} missing now, at most ${most} today`;
    return plot(words(row.kind), said, [{ className: "", values: row.values }]);
  }) : [make("p", {}, "Nothing yet: points come every five minutes once there is a peer.")]));
  $("radios").replaceChildren(...(series.air.length ? series.air.map((row) => {
    const used = last(row.used_s), limit = last(row.limit_s);
    const said = `${used < 0 ? "not counted" : `${used} s used`}, ${limit < 0 ? "no limit" : `${limit} s allowed`}`;
    return plot(row.name, said,
      [{ className: "", values: row.used_s }, { className: "limit", values: row.limit_s }]);
  }) : [make("p", {}, "No radio here: nothing to count.")]));
}

function showBudget(budget) {
  $("budget").replaceChildren(...budget.interfaces.map((radio) =>
    make("tr", {}, make("th", { scope: "row" }, radio.name),
      cell(radio.used_s === null ? "not counted" : `${radio.used_s.toFixed(1)} s`, "n"),
      cell(radio.limit_s === null ? "no limit" : `${radio.limit_s.toFixed(1)} s`, "n"),
      cell(radio.owed_records, "n"),
      cell(radio.drain_h === null ? "not at this duty" : `${radio.drain_h.toFixed(1)} h`))));
}

// -- records ----------------------------------------------------------------------------------

let after = 0;

function showKinds(kinds) {
  const select = $("kind");
  if (select.options.length > 1) return;
  select.append(...kinds.map((kind) => make("option", { value: kind.kind }, words(kind.kind))));
}

async function showRecords() {
  const rows = await ask(`/api/records?kind=${encodeURIComponent($("kind").value)}&after=${after}`);
  $("rows").replaceChildren(...(rows.length ? rows.map(recordRow) : [make("tr", {},
    make("td", { colspan: "4" }, after ? "No more." : "No records of this kind yet."))]));
  $("more").disabled = rows.length < 50;
  $("more").dataset.after = rows.length ? rows[rows.length - 1].position : after;
}

function recordRow(row) {
  const button = make("button", { type: "button" }, row.envelope_id.slice(0, 16));
  button.setAttribute("aria-label", `Show ${row.kind} ${row.envelope_id.slice(0, 16)}`);
  button.addEventListener("click", () => showRecord(row).catch(failed));
  return make("tr", {}, cell(words(row.kind)), make("td", {}, button), cell(row.subject), cell(row.shelf));
}

async function showRecord(row) {
  const record = await ask(`/api/record/${row.kind}/${row.envelope_id}`);
  const facts = [["Kind", words(record.kind)], ["Id", record.envelope_id], ["About", record.subject],
    ["Signed by", record.signers.join(", ") || "nobody here accepts"], ["Shelf", record.shelf],
    ["Admitted", new Date(record.admitted_at_ms).toISOString()]];
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  $("checks").replaceChildren(...record.checks.map((check) =>
    make("li", { class: check.ok ? "fresh" : "down" },
      `${check.ok ? "ok" : "FAILS"}: ${words(check.name)}${check.detail ? ` (${check.detail})` : ""}`)));
  $("envelope").textContent = JSON.stringify(JSON.parse(record.envelope), null, 1);
  $("record").hidden = false;
  $("record").focus();
}

// -- which view, and what keeps it fresh --------------------------------------------------------

const LOAD = { map: showMap, convergence: showSeries, air: showSeries, records: showRecords };

function failed(error) { $("summary").textContent = `Not shown: ${error.message}`; }

function current() {
  const name = location.hash.slice(1);
  return VIEWS.includes(name) ? name : "overview";
}

function show() {
  const chosen = current();
  for (const name of VIEWS) $(name).hidden = name !== chosen;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${chosen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (LOAD[chosen]) LOAD[chosen]().catch(failed);
}

function listen() {
  const live = new EventSource("/api/live");
  let count = 0;
  live.addEventListener("overview", (event) => {
    showOverview(JSON.parse(event.data));
    if (++count % 5 === 0 && ["map", "convergence", "air"].includes(current())) LOAD[current()]().catch(failed);
  });
  live.addEventListener("round", (event) => showRound(JSON.parse(event.data)));
  live.addEventListener("error", () => { $("summary").textContent = "No answer from the node; trying again …"; });
}

addEventListener("hashchange", show);
addEventListener("DOMContentLoaded", () => {
  $("peer").addEventListener("change", () => showSeries().catch(failed));
  $("kind").addEventListener("change", () => { after = 0; showRecords().catch(failed); });
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("first").addEventListener("click", () => { after = 0; showRecords().catch(failed); });
  $("more").addEventListener("click", () => { after = Number($("more").dataset.after); showRecords().catch(failed); });
  ask("/api/overview").then(showOverview).then(show).catch(failed);
  listen();
});
