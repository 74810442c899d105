// Output: new pieces are asked for when there are any, the old ones stay. Who reads the end stays at the end.
const MOST_PIECES = 40;
const part = document.getElementById("live");
const shown = new WeakMap(); // pre → { version, asking }

const isAtEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 8;
const toEnd = (log) => { log.scrollTop = log.scrollHeight; };

function follow() {
  for (const log of part.querySelectorAll(".log pre")) {
    const version = log.parentElement.dataset.version;
    if (!shown.has(log)) shown.set(log, { version: log.querySelector("[data-piece]") ? version : null, asking: false });
    const state = shown.get(log);
    if (state.asking || state.version === version || version === "0.0") continue;
    state.asking = true;
    load(log, state, version).finally(() => { state.asking = false; });
  }
}

async function load(log, state, version) {
  const last = [...log.querySelectorAll("[data-piece]")].at(-1); // it may have grown
  const address = `${log.dataset.output}&from=${last?.dataset.piece ?? 0}`;
  try {
    const answer = await fetch(address, { signal: AbortSignal.timeout(20000) });
    if (!answer.ok) return; // the next change asks again
    show(log, last, await answer.text());
    state.version = version;
  } catch { /* the page itself tells that the server is away */ }
}

function show(log, last, html) {
  const follows = isAtEnd(log);
  const fresh = document.createRange().createContextualFragment(html.trimEnd());
  const again = fresh.querySelector("[data-piece]");
  if (last && again?.dataset.piece === last.dataset.piece) {
    if (fresh.firstChild !== again) last.previousSibling?.remove(); // its mark comes with it
    last.remove();
  } else if (last && again) {
    log.replaceChildren(); // much was printed meanwhile: what is between is not shown
  }
  log.append(fresh);
  const pieces = log.querySelectorAll("[data-piece]");
  if (follows && pieces.length > MOST_PIECES) while (log.firstChild !== pieces[pieces.length - MOST_PIECES]) log.firstChild.remove();
  if (follows) toEnd(log);
}

part.addEventListener("fresh", follow);
part.addEventListener("toggle", (event) => { if (event.target.open) event.target.querySelectorAll("pre").forEach(toEnd); }, true);
part.querySelectorAll(".log pre").forEach(toEnd);
follow();
