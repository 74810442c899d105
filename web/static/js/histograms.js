// Draws histograms over steps: a column for each step, the darker the more numbers lie there; one alone as bars.
const HEIGHT = 176;
const LEFT = 46;
const BOTTOM = 18;
const TOP = 6;

/** Draws what the API tells of the histograms of one name, and reads out what is under the pointer. */
export function drawHistograms(canvas, readout, told) {
  const width = canvas.parentElement.clientWidth;
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = HEIGHT * scale;
  canvas.style.width = `${width}px`; // by script: the page's policy forbids style attributes, not this
  canvas.style.height = `${HEIGHT}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.clearRect(0, 0, width, HEIGHT);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  pen.font = `11px ${colour("--sans")}`;
  const area = { x: LEFT, y: TOP, width: Math.max(1, width - LEFT - 8), height: HEIGHT - TOP - BOTTOM };
  const view = told.steps.length > 1 ? overSteps(told) : alone(told);
  pen.fillStyle = colour("--accent");
  view.paint(pen, area);
  pen.globalAlpha = 1;
  pen.fillStyle = colour("--muted");
  label(pen, area, view);
  readout.textContent = view.words;
  canvas.onpointermove = (event) => {
    const place = [(event.offsetX - area.x) / area.width, (event.offsetY - area.y) / area.height];
    readout.textContent = place.every((one) => one >= 0 && one < 1) ? view.read(...place) : view.words;
  };
  canvas.onpointerleave = () => { readout.textContent = view.words; };
}

function label(pen, area, view) {
  pen.textAlign = "right";
  for (const [at, text] of [[0.04, view.y[1]], [0.98, view.y[0]]]) {
    pen.fillText(text, area.x - 6, area.y + at * area.height + 4);
  }
  pen.textAlign = "left";
  pen.fillText(view.x[0], area.x, HEIGHT - 4);
  pen.textAlign = "right";
  pen.fillText(view.x[1], area.x + area.width, HEIGHT - 4);
}

function overSteps(told) {
  const filled = told.steps.map((_, index) => index).filter((index) => told.counts[index].length);
  let low = Math.min(...filled.map((index) => told.low[index]));
  let high = Math.max(...filled.map((index) => told.high[index]));
  if (!filled.length) [low, high] = [0, 1];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const columns = told.steps.length;
  return {
    x: [`step ${told.steps[0].toLocaleString()}`, told.steps.at(-1).toLocaleString()],
    y: [brief(low), brief(high)],
    words: sum(told, columns - 1),
    paint(pen, area) {
      for (const column of filled) {
        const left = area.x + Math.floor((column / columns) * area.width);
        const right = area.x + Math.floor(((column + 1) / columns) * area.width);
        const counts = told.counts[column];
        const most = Math.max(...counts, 1);
        const [from, to] = [told.low[column], told.high[column]];
        for (let bin = 0; bin < counts.length; bin += 1) {
          if (!counts[bin]) continue;
          const top = high - from - ((bin + 1) / counts.length) * (to - from);
          const y = area.y + (top / (high - low)) * area.height;
          const height = Math.max(1.5, (((to - from) / counts.length) / (high - low)) * area.height + 0.5);
          pen.globalAlpha = 0.08 + 0.92 * Math.sqrt(counts[bin] / most);
          pen.fillRect(left, y, Math.max(1, right - left), height);
        }
      }
    },
    read(x, y) {
      const column = Math.min(columns - 1, Math.floor(x * columns));
      const value = high - y * (high - low);
      const counts = told.counts[column];
      const bin = Math.floor(((value - told.low[column]) / (told.high[column] - told.low[column])) * counts.length);
      if (!(bin >= 0 && bin < counts.length)) return sum(told, column);
      return `step ${told.steps[column].toLocaleString()}: ${between(told, column, bin)}: ${counts[bin].toLocaleString()}`;
    },
  };
}

function alone(told) {
  const counts = told.counts[0];
  const most = Math.max(...counts, 1);
  return {
    x: counts.length ? [brief(told.low[0]), brief(told.high[0])] : ["", ""],
    y: ["0", most.toLocaleString()],
    words: sum(told, 0),
    paint(pen, area) {
      const width = area.width / Math.max(counts.length, 1);
      counts.forEach((count, bin) => {
        const height = (count / most) * area.height;
        pen.fillRect(area.x + bin * width, area.y + area.height - height, Math.max(1, width - 1), height);
      });
    },
    read(x) {
      const bin = Math.floor(x * counts.length);
      return counts.length ? `${between(told, 0, bin)}: ${counts[bin].toLocaleString()}` : sum(told, 0);
    },
  };
}

function between(told, column, bin) {
  const wide = (told.high[column] - told.low[column]) / told.counts[column].length;
  return `${brief(told.low[column] + bin * wide)} to ${brief(told.low[column] + (bin + 1) * wide)}`;
}

function sum(told, column) {
  const count = told.counts[column].reduce((total, one) => total + one, 0);
  const beside = Object.entries(told.not_finite[column]).map(([word, many]) => `, ${many.toLocaleString()} ${word}`);
  return `step ${told.steps[column].toLocaleString()}: ${count.toLocaleString()} numbers${beside.join("")}`;
}

function brief(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}
