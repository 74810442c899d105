// Output: who reads the end stays at the end when more is printed; who has scrolled up is left in peace.
const logs = () => document.querySelectorAll(".log pre");

/** The outputs that are scrolled to their end now. */
export const atTheirEnd = () => [...logs()].filter((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 8);

/** Scroll outputs to their end. */
export function scrollToEnds(which = logs()) {
  for (const log of which) log.scrollTop = log.scrollHeight;
}
