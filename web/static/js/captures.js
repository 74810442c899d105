// What a script was: asked for when somebody opens it; sieved here.

/** Fills a capture when it is opened for the first time. */
async function load(details) {
  if (!details.open || details.dataset.loaded) return;
  details.dataset.loaded = "1";
  const body = details.querySelector(".capture-body");
  try {
    const answer = await fetch(details.dataset.load, { signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw new Error(answer.statusText);
    body.innerHTML = await answer.text();
  } catch {
    delete details.dataset.loaded; // the link that stands there still leads to it
  }
}

const whole = new WeakMap(); // a list → all of its lines

function sieve(input) {
  const list = document.getElementById(input.dataset.sieve);
  if (!whole.has(list)) whole.set(list, list.textContent.split("\n"));
  const words = input.value.toLowerCase();
  list.textContent = whole.get(list).filter((line) => line.toLowerCase().includes(words)).join("\n");
}

document.addEventListener("toggle", (event) => event.target.dataset?.load && load(event.target), true);
document.addEventListener("input", (event) => event.target.dataset.sieve && sieve(event.target));
