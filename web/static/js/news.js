// Hears from the server what changes (server-sent events), so that a page need not ask each second. Who is not looked
// at does not listen. Where no stream comes through (a proxy that holds it back, a server that feeds too many), the
// page asks as if there were none.
const SILENT_MS = 40000; // the server says something every 15 s
const AGAIN_MS = 60000;
const KINDS = ["run", "series", "jobs", "reset"];

/** Listens at `address` as long as the page is seen. `changed` is called for what `isMine(kind, data)`, and at the
 *  beginning; `lost` when nothing can be heard any more. `isOn` tells whether changes are heard. */
export class News {
  constructor(address, isMine, changed, lost) {
    Object.assign(this, { address, isMine, changed, lost, source: null, isOn: false, isOver: false, timer: null });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.open()));
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", () => this.open());
    this.open();
  }

  open() {
    if (this.source || this.isOver || document.hidden) return;
    this.source = new EventSource(this.address);
    this.source.addEventListener("error", () => this.fail());
    this.source.addEventListener("beat", () => this.alive());
    this.source.addEventListener("ready", () => {
      this.isOn = true;
      this.alive();
      this.changed(); // what changed before this moment was not told
    });
    for (const kind of KINDS) this.source.addEventListener(kind, (event) => this.hear(kind, event));
    this.alive();
  }

  close() {
    this.source?.close();
    clearTimeout(this.timer);
    Object.assign(this, { source: null, isOn: false });
  }

  rest() {
    this.close();
    this.lost();
  }

  /** Listens never again. */
  stop() {
    this.isOver = true;
    this.close();
  }

  hear(kind, event) {
    this.alive();
    if (this.isMine(kind, JSON.parse(event.data))) this.changed();
  }

  alive() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.giveUp(), SILENT_MS);
  }

  /** The browser tries again by itself, unless the server refused. */
  fail() {
    const wasOn = this.isOn;
    this.isOn = false;
    if (this.source?.readyState === EventSource.CLOSED) this.giveUp();
    else if (wasOn) this.lost();
  }

  giveUp() {
    this.rest();
    this.timer = setTimeout(() => this.open(), AGAIN_MS);
  }
}
