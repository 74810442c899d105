// Charts of a run's metrics. A series is asked for when its chart is in view and has points that are not drawn yet.
import uPlot from "../vendor/uPlot.esm.js";

const HEIGHT = 176;
const AT_ONCE = 4;
const DOTS_UP_TO = 60;

const part = document.getElementById("live");
const charts = new Map(); // element → { plot, drawn, seen, asking }
const cursors = uPlot.sync("run");
const colours = () => getComputedStyle(document.documentElement);

const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) if (charts.has(entry.target)) charts.get(entry.target).seen = entry.isIntersecting;
  refresh();
}, { rootMargin: "200px" });

const resized = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.get(entry.target.closest(".chart"));
    if (chart?.plot) chart.plot.setSize({ width: entry.contentRect.width, height: HEIGHT });
  }
});

function follow() {
  for (const element of charts.keys()) if (!element.isConnected) forget(element);
  for (const element of part.querySelectorAll(".chart")) {
    if (charts.has(element)) continue;
    charts.set(element, { plot: null, drawn: -1, seen: false, asking: false });
    inView.observe(element);
    resized.observe(element.querySelector(".plot"));
  }
  refresh();
}

function forget(element) {
  inView.unobserve(element);
  charts.get(element).plot?.destroy();
  charts.delete(element);
}

function refresh() {
  let free = AT_ONCE - [...charts.values()].filter((chart) => chart.asking).length;
  for (const [element, chart] of charts) {
    if (free <= 0) return;
    if (!chart.seen || chart.asking || chart.drawn === Number(element.dataset.count)) continue;
    free -= 1;
    chart.asking = true;
    load(element, chart).finally(() => { chart.asking = false; refresh(); });
  }
}

async function load(element, chart) {
  const wanted = Number(element.dataset.count);
  const place = element.querySelector(".plot");
  try {
    const answer = await fetch(element.dataset.series, { signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const series = await answer.json();
    draw(place, chart, series);
    chart.drawn = wanted;
    place.dataset.points = series.count;
  } catch {
    if (!chart.plot) place.innerHTML = '<p class="trouble">This chart could not be loaded.</p>';
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

function draw(place, chart, series) {
  const data = [series.x, series.y.map((value) => (typeof value === "number" ? value : null))];
  if (chart.plot) {
    const zoomed = chart.plot.zoomed;
    chart.plot.setData(data, !zoomed);
    if (zoomed) chart.plot.redraw();
    return;
  }
  place.replaceChildren();
  chart.plot = new uPlot(options(place), data, place);
}

function options(place) {
  const style = colours();
  const [line, muted, accent] = ["--line", "--muted", "--accent"].map((name) => style.getPropertyValue(name).trim());
  const overTime = part.querySelector(".charts").dataset.x === "time";
  const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: `11px ${style.getPropertyValue("--sans")}` };
  return {
    width: place.clientWidth,
    height: HEIGHT,
    padding: [8, 12, 0, 0],
    legend: { show: false },
    scales: { x: { time: overTime } },
    cursor: { sync: { key: cursors.key, setSeries: false }, drag: { x: true, y: false }, points: { size: 7 }, y: false },
    axes: [
      { ...axis, size: 26, gap: 4 },
      { ...axis, size: (plot, values) => 18 + 6.5 * Math.max(3, ...(values ?? []).map((value) => value?.length ?? 0)), gap: 5, values: (plot, ticks) => ticks.map(brief) },
    ],
    series: [{}, {
      stroke: accent,
      width: 1.75,
      points: { show: (plot) => plot.data[0].length <= DOTS_UP_TO, size: 5, fill: accent },
    }],
    hooks: {
      init: [(plot) => {
        const readout = document.createElement("div");
        readout.className = "readout";
        readout.hidden = true;
        place.append(readout);
        plot.over.addEventListener("dblclick", () => { plot.zoomed = false; });
      }],
      setSelect: [(plot) => { if (plot.select.width > 0) plot.zoomed = true; }],
      setCursor: [(plot) => readOut(plot, place.querySelector(".readout"), overTime)],
    },
  };
}

function readOut(plot, readout, overTime) {
  if (!readout) return;
  const at = plot.cursor.idx;
  const value = at == null ? null : plot.data[1][at];
  readout.hidden = value == null;
  if (value == null) return;
  const x = plot.data[0][at];
  readout.textContent = `${overTime ? new Date(x * 1000).toLocaleTimeString() : `step ${x.toLocaleString()}`}: ${Number(value.toPrecision(5))}`;
}

function brief(value) {
  if (value == null) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(6)));
}

function repaint() {
  for (const chart of charts.values()) {
    chart.plot?.destroy();
    Object.assign(chart, { plot: null, drawn: -1 });
  }
  refresh();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
part.addEventListener("fresh", follow);
follow();
