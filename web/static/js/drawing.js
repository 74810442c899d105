// How a series is drawn: one line, a line for each rank, node or attempt, or a mean with its range.
import uPlot from "../vendor/uPlot.esm.js";
import { unitOf } from "./units.js";

export const HEIGHT = 176;
const DOTS_UP_TO = 60;
const COLOURS = 8;
const PALE = "70"; // how opaque the points of an earlier attempt are,
const SOFT = "2e"; // and the range around a mean: hexadecimal, after a colour
const EDGE = "60"; // and of its edges
const AROUND_ONE_S = 30; // how much of the time is shown on each side of a point that is alone
const cursors = uPlot.sync("run");

/** A chart's plot. `of` puts new points into the one that is there, unless it has to look different. When somebody zooms,
 *  its place gets the event `zoom`, and `part` says what is in view. */
export class Drawing {
  static of(place, old, series, overTime) {
    const lines = linesOf(series);
    const look = JSON.stringify([series.metric, overTime, lines.map((line) => [line.name, line.isEarlier, Boolean(line.low)])]);
    if (old?.look === look) return old.take(lines);
    const zoom = old?.zoomed && old.overTime === overTime ? { ...old.plot.scales.x } : null;
    old?.plot.destroy();
    return new Drawing(place, lines, unitOf(series.metric), overTime, look, zoom);
  }

  constructor(place, lines, unit, overTime, look, zoom) {
    Object.assign(this, { lines, unit, overTime, look, zoomed: Boolean(zoom), marks: marksOf(lines) });
    place.replaceChildren();
    this.readout = document.createElement("div");
    this.readout.className = "readout";
    this.readout.hidden = true;
    this.plot = new uPlot(this.options(place), columnsOf(lines), place);
    place.append(this.readout);
    this.plot.over.addEventListener("dblclick", () => { this.zoomed = false; this.tell(); });
    if (zoom) this.plot.setScale("x", { min: zoom.min, max: zoom.max });
  }

  /** The part of the horizontal axis that is in view; null for all of it. */
  get part() {
    const { min, max } = this.plot.scales.x;
    return this.zoomed && min < max ? { min, max } : null;
  }

  tell() {
    queueMicrotask(() => this.plot.root.dispatchEvent(new CustomEvent("zoom", { bubbles: true })));
  }

  /** New points of the same lines; who has zoomed in stays there. */
  take(lines) {
    this.lines = lines;
    this.marks = marksOf(lines);
    this.plot.setData(columnsOf(lines), !this.zoomed);
    if (this.zoomed) this.plot.redraw();
    return this;
  }

  options(place) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `11px ${colour("--sans")}` };
    const many = this.lines.length > 1;
    return {
      width: place.clientWidth,
      height: HEIGHT,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      scales: { x: { time: this.overTime, range: rangeOf } },
      focus: { alpha: 0.25 },
      cursor: {
        sync: { key: cursors.key, setSeries: false },
        drag: { x: true, y: false },
        points: { size: 7, one: many },
        y: false,
        ...(many && { focus: { prox: 1e4 } }),
      },
      axes: [
        { ...axis, size: this.overTime ? 38 : 26, gap: 4 },  // times have a second line for the day
        {
          ...axis, gap: 5, values: (plot, ticks) => ticks.map(this.unit.brief), ...(this.unit.steps && { incrs: this.unit.steps }),
          size: (plot, values) => 18 + 6.5 * Math.max(3, ...(values ?? []).map((value) => value?.length ?? 0)),
        },
      ],
      series: [{}, ...this.lines.flatMap((line) => strokes(line, this.lines.length, colour))],
      bands: bandsOf(this.lines, colour),
      hooks: {
        draw: [(plot) => this.drawMarks(plot, colour)],
        setSelect: [(plot) => { if (plot.select.width > 0) this.zoomed = true; }],
        setScale: [(plot, axis) => { if (axis === "x" && this.zoomed) this.tell(); }],
        setCursor: [(plot) => this.readOut(plot)],
        setSeries: [(plot, index) => { this.focused = index; this.readOut(plot); }],
      },
    };
  }

  /** A vertical line where each attempt but the first began. */
  drawMarks(plot, colour) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour("--muted");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.font = `${10 * devicePixelRatio}px ${colour("--sans")}`;
    for (const { attempt, x } of this.marks) {
      const left = Math.round(plot.valToPos(x, "x", true));
      if (left < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
      const words = `attempt ${attempt}`;
      const fits = left + ctx.measureText(words).width + 8 < bbox.left + bbox.width;
      ctx.textAlign = fits ? "left" : "right";
      ctx.fillText(words, left + (fits ? 4 : -4) * devicePixelRatio, bbox.top + bbox.height - 5 * devicePixelRatio);
    }
    ctx.restore();
  }

  readOut(plot) {
    const { readout } = this;
    const [line, at] = this.pointedAt(plot);
    readout.hidden = !line;
    if (!line) return;
    const x = plot.data[0][at];
    const [value, low, high] = columnsIn(line).map((_, offset) => plot.data[line.column + offset][at]);
    const where = this.overTime ? new Date(x * 1000).toLocaleTimeString() : `step ${x.toLocaleString()}`;
    const { exact } = this.unit;
    const range = line.low ? `, ${exact(low)} to ${exact(high)}` : "";
    readout.textContent = [`${where}: ${exact(value)}${range}`, line.name].filter(Boolean).join(" · ");
    readout.classList.toggle("one-of-many", this.lines.length > 1);
    readout.style.setProperty("--of", `var(${colourOf(line)})`);
  }

  /** The line nearest to the pointer, or the first one that has a value there, and the place of that value. */
  pointedAt(plot) {
    const nearest = this.lines.find((line) => line.column === this.focused);
    for (const line of nearest ? [nearest, ...this.lines] : this.lines) {
      const at = plot.cursor.idxs?.[line.column];
      if (at != null && plot.data[line.column][at] != null) return [line, at];
    }
    return [null, null];
  }
}

/** What is in view: uPlot would show years around a moment that is alone. */
function rangeOf(plot, min, max) {
  const xs = plot.data[0];
  const isAlone = plot.scales.x.time && xs.length > 0 && xs[0] === xs[xs.length - 1];
  return isAlone ? [xs[0] - AROUND_ONE_S, xs[0] + AROUND_ONE_S] : [min, max];
}

/** What is drawn: each line with its name, its number among colours, and the first of its columns. */
function linesOf(series) {
  const told = series.lines ?? [series];
  const nodes = [...new Set(told.map((line) => line.node))].sort();
  const newest = new Map();
  for (const line of told) newest.set(whose(line), Math.max(newest.get(whose(line)) ?? 0, line.attempt ?? 0));
  const attempts = new Set(told.map((line) => line.attempt)).size;
  let column = 1;
  return told.map((line) => {
    const isEarlier = line.attempt < newest.get(whose(line));
    const isMean = series.ranks != null;
    const hasRange = isMean || series.downsampled; // else the means of stretches are the points themselves
    const named = [isMean ? `mean of ${series.ranks} rank${series.ranks === 1 ? "" : "s"}` : nameOf(line), attempts > 1 && `attempt ${line.attempt}`];
    const made = {
      x: line.x, y: line.y.map(numberOr), column, isEarlier,
      ...(hasRange && { low: line.min?.map(numberOr), high: line.max?.map(numberOr) }),
      attempt: line.attempt, number: isMean || !series.lines ? 0 : line.rank ?? nodes.indexOf(line.node),
      name: series.lines || isMean ? named.filter(Boolean).join(", ") : "",
    };
    column += columnsIn(made).length;
    return made;
  });
}

const whose = (line) => `${line.rank}/${line.rank == null ? line.node : ""}`;
const nameOf = (line) => (line.rank == null ? line.node ?? "" : `rank ${line.rank}${line.node ? ` on ${line.node}` : ""}`);
const numberOr = (value) => (typeof value === "number" ? value : null);
const columnsIn = (line) => (line.low ? [line.y, line.low, line.high] : [line.y]);
const colourOf = (line) => `--curve-${line.number % COLOURS}`;

/** The columns that uPlot wants: one of x for all lines; undefined where a line has no point. */
function columnsOf(lines) {
  if (lines.length === 1) return [lines[0].x, ...columnsIn(lines[0])];
  return uPlot.join(lines.map((line) => [line.x, ...columnsIn(line)]));
}

function strokes(line, lines, colour) {
  const plain = colour(colourOf(line));
  const shown = {
    stroke: line.isEarlier ? plain + PALE : plain,
    width: lines > 16 ? 1 : 1.75,
    dash: line.isEarlier ? [5, 4] : [],
    points: { show: lines <= COLOURS && line.x.length <= DOTS_UP_TO, size: 5, fill: plain },
  };
  const edge = { stroke: plain + EDGE, width: 1, points: { show: false } }; // a spike is nearly all edge
  return line.low ? [shown, edge, edge] : [shown];
}

function bandsOf(lines, colour) {
  const means = lines.filter((line) => line.low);
  return means.map((line) => ({ series: [line.column + 2, line.column + 1], fill: colour(colourOf(line)) + SOFT }));
}

function marksOf(lines) {
  const first = new Map();
  for (const { attempt, x } of lines) if (x.length) first.set(attempt, Math.min(first.get(attempt) ?? Infinity, x[0]));
  return [...first].map(([attempt, x]) => ({ attempt, x })).sort((one, other) => one.attempt - other.attempt).slice(1);
}
