// Charts of a run's metrics. A series is asked for when its chart is in view and has points that are not drawn yet.
import { HEIGHT, Drawing } from "./drawing.js";

const AT_ONCE = 4;
const MEAN_EVERY_MS = 4000; // the mean of all ranks costs the server a read of each of them
const REST = 10; // times as long as an answer took passes until it is asked for again,
const LONGEST_REST_MS = 30000; // and no longer

const part = document.getElementById("live");
const charts = new Map(); // element → { drawing, drawn, from, thinned, seen, asking, restsUntil }

const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) if (charts.has(entry.target)) charts.get(entry.target).seen = entry.isIntersecting;
  refresh();
}, { rootMargin: "200px" });

const resized = new ResizeObserver((entries) => {
  for (const entry of entries) charts.get(entry.target.closest(".chart"))?.drawing?.plot.setSize({ width: entry.contentRect.width, height: HEIGHT });
});

function follow() {
  for (const element of charts.keys()) if (!element.isConnected) forget(element);
  for (const element of part.querySelectorAll(".chart")) {
    if (charts.has(element)) continue;
    charts.set(element, { drawing: null, drawn: -1, from: "", thinned: false, seen: false, asking: false, restsUntil: 0 });
    inView.observe(element);
    resized.observe(element.querySelector(".plot"));
  }
  refresh();
}

function forget(element) {
  inView.unobserve(element);
  charts.get(element).drawing?.plot.destroy();
  charts.delete(element);
}

function refresh() {
  let free = AT_ONCE - [...charts.values()].filter((chart) => chart.asking).length;
  for (const [element, chart] of charts) {
    if (free <= 0) return;
    const isTheSame = chart.from === addressOf(element, chart);
    const isFresh = chart.drawn === Number(element.dataset.count) && isTheSame;
    const isAtRest = isTheSame && performance.now() < chart.restsUntil;
    if (!chart.seen || chart.asking || isFresh || isAtRest) continue;
    free -= 1;
    chart.asking = true;
    load(element, chart).finally(() => { chart.asking = false; refresh(); });
  }
}

/** What to ask for: the series, or where points were left out the part of it into which somebody has zoomed. */
function addressOf(element, chart) {
  const { series } = element.dataset;
  const part = chart.thinned && chart.drawing?.part;
  return part ? `${series}&x_min=${part.min}&x_max=${part.max}` : series;
}

async function load(element, chart) {
  const wanted = Number(element.dataset.count);
  const from = addressOf(element, chart);
  const place = element.querySelector(".plot");
  const asked = performance.now();
  try {
    const answer = await fetch(from, { signal: AbortSignal.timeout(20000) });
    if (answer.status === 404) return nothing(element, chart, { drawn: wanted, from }, (await answer.json()).detail);
    if (!answer.ok) throw new Error(answer.statusText);
    const series = await answer.json();
    const overTime = new URL(from, location.href).searchParams.get("x") === "time";
    if (from === element.dataset.series) chart.thinned = series.downsampled;
    chart.drawing = Drawing.of(place, chart.drawing, series, overTime);
    tell(element, chart, { drawn: wanted, from }, series);
    rest(chart, Math.max(series.ranks > 1 ? MEAN_EVERY_MS : 0, REST * (performance.now() - asked)));
  } catch {
    if (!chart.drawing) place.innerHTML = '<p class="trouble">This chart could not be loaded.</p>';
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

function rest(chart, wish) {
  const length = Math.min(wish, LONGEST_REST_MS);
  chart.restsUntil = performance.now() + length;
  setTimeout(refresh, length + 1);
}

function nothing(element, chart, state, why) {
  chart.drawing?.plot.destroy();
  chart.drawing = null;
  const words = document.createElement("p");
  words.className = "trouble";
  words.textContent = why;
  element.querySelector(".plot").replaceChildren(words);
  tell(element, chart, state, { count: 0, hidden: 0 });
}

function tell(element, chart, state, series) {
  Object.assign(chart, state);
  count(element.querySelector(".unseen-points"), series.hidden);
  count(element.querySelector(".left-out"), series.lines_left_out);
  Object.assign(element.querySelector(".plot").dataset, { points: series.count, from: state.from });
}

function count(place, number) {
  place.hidden = !number;
  place.querySelector("dd").textContent = String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function repaint() {
  for (const chart of charts.values()) {
    chart.drawing?.plot.destroy();
    Object.assign(chart, { drawing: null, drawn: -1, restsUntil: 0 });
  }
  refresh();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
part.addEventListener("fresh", follow);
part.addEventListener("zoom", refresh);
follow();
