// What every page does: show times as people read them, and keep the changing part fresh.
import { showTimes } from "./times.js";
import { keepFresh } from "./fresh.js";

showTimes(document);
setInterval(() => showTimes(document), 1000);
keepFresh(document.getElementById("live"));
