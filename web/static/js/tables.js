// Shows a table that a script logged. Its texts may be anything: they are put in as text, and what hides is shown.
const MOST_ROWS = 200;
const MOST_COLUMNS = 50;
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** Puts the table into the place, as much of it as people read. */
export function showTable(place, { columns, rows, row_count: rowCount }, name) {
  const table = document.createElement("table");
  table.setAttribute("aria-label", name);
  const shown = rows.slice(0, MOST_ROWS);
  const head = table.createTHead().insertRow();
  columns.slice(0, MOST_COLUMNS).forEach((column, index) => {
    const title = cell("th", column);
    if (shown.length && shown.every((row) => typeof row[index] === "number")) title.className = "num";
    head.append(title);
  });
  const body = table.createTBody();
  for (const row of shown) body.insertRow().append(...row.slice(0, MOST_COLUMNS).map((value) => cell("td", value)));
  const frame = Object.assign(document.createElement("div"), { className: "table-frame", tabIndex: 0 });
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", name);
  frame.append(table);
  place.replaceChildren(frame);
  const cut = [];
  if (shown.length < rowCount) cut.push(`${shown.length.toLocaleString()} of ${rowCount.toLocaleString()} rows`);
  if (columns.length > MOST_COLUMNS) cut.push(`${MOST_COLUMNS} of ${columns.length} columns`);
  if (cut.length) place.append(Object.assign(document.createElement("p"), { className: "of cut", textContent: cut.join(", ") }));
}

function cell(kind, value) {
  const made = document.createElement(kind);
  if (typeof value === "number") made.className = "num";
  made.textContent = value === null ? "" : typeof value === "number" ? figure(value) : harmless(String(value));
  return made;
}

function figure(value) {
  return Number.isInteger(value) ? value.toLocaleString() : String(Number(value.toPrecision(6)));
}

/** The text with a visible sign for each character that would hide or turn round text; as `web/text.py`. */
function harmless(text) {
  return text.replace(UNSEEN, (found) => `⟨U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
