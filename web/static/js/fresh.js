// Keeps the part of the page that changes fresh while somebody looks, and changes only what differs. It asks when the
// server's news tell of a change; where no news come through, each second. A server that needs long for an answer is
// asked less often: it rests five times as long.
import { Idiomorph } from "../vendor/idiomorph.esm.js";
import { News } from "./news.js";
import { showTimes } from "./times.js";

const EVERY_MS = 1000;
const SLOWEST_MS = 15000;
const ANYWAY_MS = 15000; // though no news came
const RESTS = 5;

/** Starts to keep `part` fresh. After each change it gets the event `fresh`. A link with `data-turn` turns the same
 *  page to another view: only the parameter that it names changes in the address, and then this part. */
export function keepFresh(part) {
  const state = { etag: null, timer: null, failures: 0, asking: false, again: false, restsUntil: 0 };
  const later = (wait) => {
    clearTimeout(state.timer);
    state.timer = setTimeout(look, wait);
  };
  const soon = () => {
    part.dataset.news = news.isOn ? "on" : "off";
    if (state.asking) state.again = true;
    else later(Math.max(0, state.restsUntil - performance.now()));
  };
  const look = async () => {
    if (document.hidden || state.asking) return;
    clearTimeout(state.timer);
    Object.assign(state, { asking: true, again: false });
    const asked = part.dataset.fragment;
    const wait = await ask(part, state);
    state.asking = false;
    if (asked !== part.dataset.fragment) return void look();
    if (wait === null) news.stop();
    else if (state.again) soon();
    else later(news.isOn && !state.failures ? ANYWAY_MS : wait);
  };
  const turn = () => {
    const address = new URL(location.href);
    address.searchParams.set("fragment", "1");
    part.dataset.fragment = address.pathname + address.search;
    state.etag = null;
    look();
  };
  part.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-turn]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const address = new URL(location.href); // the link itself may not know yet what was chosen a moment ago
    const value = new URL(link.href).searchParams.get(link.dataset.turn);
    if (value === null) address.searchParams.delete(link.dataset.turn);
    else address.searchParams.set(link.dataset.turn, value);
    history.pushState(null, "", address);
    turn();
  });
  addEventListener("popstate", turn);
  document.addEventListener("visibilitychange", look);
  const { stream, run } = part.dataset;
  const isMine = (kind, told) => !run || kind === "reset" || told.id === run || told.run === run;
  const news = new News(stream, isMine, soon, soon);
  later(EVERY_MS);
}

/** Asks once and says how many milliseconds to wait before the next time; null: never again. */
async function ask(part, state) {
  const { fragment } = part.dataset;
  const begun = performance.now();
  let answer;
  try {
    const headers = state.etag ? { "If-None-Match": state.etag } : {};
    answer = await fetch(fragment, { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (answer.status === 200) {
      const html = await answer.text();
      if (fragment !== part.dataset.fragment) return EVERY_MS; // meanwhile the page was turned to another view
      state.etag = answer.headers.get("ETag");
      change(part, html);
    } else if (answer.status === 401) {
      return tell("You are logged out.", "Log in again"), null;
    } else if (answer.status === 404) {
      return tell("This is not there any more.", "Look again"), null;
    } else if (answer.status !== 304) {
      throw new Error(answer.statusText);
    }
  } catch {
    state.failures += 1;
    tell("The server does not answer; trying again …");
    return Math.min(EVERY_MS * 2 ** state.failures, SLOWEST_MS);
  }
  if (state.failures) tell("");
  state.failures = 0;
  const rest = Math.min(RESTS * (performance.now() - begun), SLOWEST_MS);
  const every = 1000 * Number(answer.headers.get("Poll-After")) || EVERY_MS;
  // Of one run news are rare and awaited; what is made of many runs changes all the time and may cost much.
  const least = part.dataset.run || every <= EVERY_MS ? EVERY_MS / 2 : every;
  state.restsUntil = performance.now() + Math.max(least, rest);
  return Math.max(every, rest);
}

function change(part, html) {
  Idiomorph.morph(part, html, {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: {
      beforeNodeMorphed: (old) => !(old instanceof Element && "keep" in old.dataset),
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.localName === "details"),
    },
  });
  showTimes(part);
  part.dispatchEvent(new CustomEvent("fresh"));
}

function tell(sentence, wayOut) {
  const place = document.getElementById("connection");
  place.textContent = sentence;
  place.hidden = !sentence;
  if (!wayOut) return;
  const link = document.createElement("a");
  link.href = location.href;
  link.textContent = wayOut;
  place.append(" ", link);
}
