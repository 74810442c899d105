// Times: the server prints UTC; here they become local, and ages count on by themselves.
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** A length of time by its two greatest units; the same words as `web/pages/words.py`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days}d ${two(hours)}h`;
  if (hours) return `${hours}h ${two(minutes)}m`;
  return minutes ? `${minutes}m ${two(whole % 60)}s` : `${whole}s`;
}

function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return seconds < 7 * 86400 ? `${Math.floor(seconds / 86400)} d ago` : null;
}

function words(kind, time) {
  const age = (Date.now() - time) / 1000;
  if (kind === "elapsed") return duration(age);
  return (kind === "ago" && ago(age)) || short.format(time);
}

/** Put every time and every bar below `root` to this moment. */
export function showTimes(root) {
  for (const shown of root.querySelectorAll("time[data-show]")) {
    const said = words(shown.dataset.show, new Date(shown.dateTime));
    if (shown.textContent !== said) shown.textContent = said;
  }
  for (const bar of root.querySelectorAll("progress[data-since]")) {
    bar.value = Math.min(bar.max, Math.max(0, (Date.now() - new Date(bar.dataset.since)) / 1000));
  }
}
