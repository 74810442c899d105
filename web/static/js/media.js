// Images, histograms and tables of a run: each card asks for its steps when it is in view and something new was logged.
import { drawHistograms } from "./histograms.js";
import { showTable } from "./tables.js";

const AT_ONCE = 4;
const part = document.getElementById("live");
const cards = new Map(); // element → { kind, steps, at, drawn, seen, asking, stage }

const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) if (cards.has(entry.target)) cards.get(entry.target).seen = entry.isIntersecting;
  refresh();
}, { rootMargin: "200px" });

const resized = new ResizeObserver((entries) => {
  for (const entry of entries) cards.get(entry.target.closest(".medium"))?.redraw?.();
});

function follow() {
  for (const element of cards.keys()) if (!element.isConnected) forget(element);
  for (const element of part.querySelectorAll(".medium")) {
    if (cards.has(element)) continue;
    cards.set(element, { kind: element.dataset.kind, steps: [], at: -1, drawn: "", seen: false, asking: false });
    inView.observe(element);
    resized.observe(element.querySelector(".stage"));
  }
  refresh();
}

function forget(element) {
  inView.unobserve(element);
  cards.delete(element);
}

const state = (element) => `${element.dataset.count} ${element.dataset.last}`;

function refresh() {
  let free = AT_ONCE - [...cards.values()].filter((card) => card.asking).length;
  for (const [element, card] of cards) {
    if (free <= 0) return;
    if (!card.seen || card.asking || card.drawn === state(element)) continue;
    free -= 1;
    card.asking = true;
    load(element, card).finally(() => { card.asking = false; refresh(); });
  }
}

async function load(element, card) {
  const wanted = state(element);
  const stage = element.querySelector(".stage");
  try {
    const told = await ask(element.dataset.list);
    if (card.kind === "histogram") showHistograms(stage, card, told, element.dataset.name);
    else await showSteps(element, stage, card, told.items.filter((one) => one.shown));
    card.drawn = wanted;
    stage.dataset.shown = element.dataset.count;
  } catch {
    if (!card.drawn) trouble(stage, "This could not be loaded.");
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

async function ask(address) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(20000) });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}

function showHistograms(stage, card, told, name) {
  if (!card.canvas) {
    card.canvas = document.createElement("canvas");
    card.canvas.setAttribute("role", "img");
    card.readout = Object.assign(document.createElement("p"), { className: "of readout-line" });
    stage.replaceChildren(card.canvas, card.readout);
  }
  card.canvas.setAttribute("aria-label", `Histograms of ${name} over ${told.steps.length} steps`);
  card.redraw = () => drawHistograms(card.canvas, card.readout, told);
  card.redraw();
}

async function showSteps(element, stage, card, steps) {
  const atEnd = card.at === card.steps.length - 1; // who looks at an earlier step stays there
  const step = card.steps[card.at]?.step;
  card.steps = steps;
  card.at = atEnd ? steps.length - 1 : Math.max(0, steps.findIndex((one) => one.step === step));
  if (!card.place) build(element, stage, card);
  card.slider.max = steps.length - 1;
  card.slider.value = card.at;
  card.bar.hidden = steps.length < 2;
  await showOne(element, card);
}

function build(element, stage, card) {
  card.place = Object.assign(document.createElement("div"), { className: "place" });
  card.slider = Object.assign(document.createElement("input"), { type: "range", min: 0, step: 1 });
  card.slider.setAttribute("aria-label", `Step of ${element.dataset.name}`);
  card.label = document.createElement("output");
  card.bar = Object.assign(document.createElement("div"), { className: "steps" });
  card.bar.append(card.slider, card.label);
  card.caption = Object.assign(document.createElement("p"), { className: "of readout-line" });
  card.slider.addEventListener("input", () => {
    card.at = Number(card.slider.value);
    showOne(element, card).catch(() => trouble(card.place, "This could not be loaded."));
  });
  stage.replaceChildren(card.place, card.bar, card.caption);
}

async function showOne(element, card) {
  const one = card.steps[card.at];
  if (!one || card.shownId === one.id) return;
  const step = `step ${one.step.toLocaleString()}`;
  card.label.value = step;
  card.slider.setAttribute("aria-valuetext", step);
  card.caption.hidden = card.steps.length > 1;
  card.caption.textContent = step;
  const address = `${element.dataset.base}/${encodeURIComponent(one.id)}`;
  card.shownId = one.id;
  if (card.kind === "image") showImage(element, card, address, step);
  else {
    const table = await ask(address);
    if (card.shownId === one.id) showTable(card.place, table, `${element.dataset.name} at ${step}`);
  }
}

function showImage(element, card, address, step) {
  if (!card.image) {
    card.link = document.createElement("a");
    card.image = document.createElement("img");
    card.image.addEventListener("error", () => trouble(card.place, "This image is broken."));
    card.image.addEventListener("load", () => { if (!card.link.isConnected) card.place.replaceChildren(card.link); });
    card.link.append(card.image);
    card.place.replaceChildren(card.link);
  }
  card.link.href = address;
  card.image.alt = `${element.dataset.name} at ${step}`;
  card.image.src = address;
}

function trouble(place, sentence) {
  place.replaceChildren(Object.assign(document.createElement("p"), { className: "trouble", textContent: sentence }));
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const card of cards.values()) card.redraw?.();
});
part.addEventListener("fresh", follow);
follow();
