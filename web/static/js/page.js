// What every page does: show times as people read them, and keep the changing part fresh.
import { showTimes } from "./times.js";
import { keepFresh } from "./fresh.js";
import { scrollToEnds } from "./logs.js";

showTimes(document);
scrollToEnds();
setInterval(() => showTimes(document), 1000);
keepFresh(document.getElementById("live"));
