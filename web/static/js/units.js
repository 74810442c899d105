// How values are written: plain figures, or bytes where a metric's name ends so. The server says the same (web/pages/words.py).
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];
const POWERS_OF_2 = Array.from({ length: 61 }, (_, power) => 2 ** power);

/** `brief` for an axis, `exact` for a readout; `steps` between the ticks of an axis, if they are not those of decimals. */
export function unitOf(metric) {
  const ending = /_bytes(_per_s)?$/.exec(metric ?? "");
  if (!ending) return { brief, exact: (value) => rounded(value, 5) };
  const perSecond = ending[1] ? "/s" : "";
  return { brief: (value) => bytes(value, 3, perSecond), exact: (value) => bytes(value, 4, perSecond), steps: POWERS_OF_2 };
}

function bytes(value, digits, ending) {
  if (value == null) return rounded(value, digits);
  let unit = 0;
  while (Math.abs(value) >= 1023.5 && unit < BYTES.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${rounded(value, Math.max(digits, String(Math.trunc(value)).length))} ${BYTES[unit]}${ending}`;
}

const rounded = (value, digits) => (value == null ? "–" : String(Number(value.toPrecision(digits))));

function brief(value) {
  if (value == null) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace("e+", "e");
  return rounded(value, 6);
}
