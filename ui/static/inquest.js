// Custom elements that make a page handier. Every page works without them, and each can be removed on its own.
// They are elements, and not code that runs at load, because a swapped-in part of a page must come alive as well.
"use strict";

/** Copies `data-text`, or the address in `data-link`, and says so for a moment. */
customElements.define("inquest-copy", class extends HTMLElement {
  connectedCallback() {
    this.hidden = false;
    const button = this.querySelector("button");
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const text = this.dataset.text ?? new URL(this.dataset.link, location.href).href;
      button.textContent = (await copy(text)) ? "Copied" : "Not allowed";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
  }
});

/** Plain HTTP has no clipboard object; a selected field can be copied everywhere. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "vh";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

customElements.define("inquest-print", class extends HTMLElement {
  connectedCallback() {
    this.hidden = false;
    this.querySelector("button").addEventListener("click", () => print());
  }
});

/**
 * Loads the page again when the running investigation has ended. Without a check in sight it had not begun yet, or
 * never will: then there is time.
 */
const NOT_BEGUN_MS = 5000;
customElements.define("inquest-progress", class extends HTMLElement {
  connectedCallback() {
    this.addEventListener(this.dataset.done, () => {
      this.timer = setTimeout(() => location.reload(), this.querySelector("li") ? 0 : NOT_BEGUN_MS);
    }, { once: true });
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
  }
});

/** Marks the section in view in the list of sections. */
customElements.define("inquest-rail", class extends HTMLElement {
  connectedCallback() {
    this.querySelector(".hint").hidden = !keysAreOn();
    const links = new Map([...this.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
    const parts = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
    const mark = () => {
      const passed = parts.filter((part) => part.getBoundingClientRect().top < innerHeight / 3);
      const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 4;
      const current = (atEnd && scrollY > 0 ? parts : passed).at(-1) ?? parts[0];
      for (const [id, link] of links) {
        if (id === current?.id) link.setAttribute("aria-current", "location");
        else link.removeAttribute("aria-current");
      }
    };
    this.observer = new IntersectionObserver(mark, { rootMargin: "-30% 0px -60% 0px" });
    parts.forEach((part) => this.observer.observe(part));
    addEventListener("scrollend", (this.mark = mark));
  }

  disconnectedCallback() {
    this.observer.disconnect();
    removeEventListener("scrollend", this.mark);
  }
});

/** One stop for Tab in a flame graph; arrows walk from frame to frame, Enter picks one. */
customElements.define("inquest-flame", class extends HTMLElement {
  connectedCallback() {
    this.frames = [...this.querySelectorAll(".flame > svg")].map((svg) => ({
      link: svg.querySelector("a"),
      left: parseFloat(svg.getAttribute("x")),
      width: parseFloat(svg.getAttribute("width")),
      row: parseFloat(svg.getAttribute("y")),
    }));
    const first = this.frames.find((frame) => frame.link.hasAttribute("aria-current")) ?? this.frames[0];
    this.frames.forEach((frame) => frame.link.setAttribute("tabindex", frame === first ? "0" : "-1"));
    this.addEventListener("keydown", (event) => this.walk(event));
  }

  walk(event) {
    const here = this.frames.find((frame) => frame.link === document.activeElement);
    if (!here) return;
    const middle = here.left + here.width / 2;
    const row = (y) => this.frames.filter((frame) => frame.row === y).sort((a, b) => a.left - b.left);
    const inRow = row(here.row);
    const next = {
      ArrowRight: () => inRow[inRow.indexOf(here) + 1],
      ArrowLeft: () => inRow[inRow.indexOf(here) - 1],
      ArrowUp: () => row(here.row - 25).find((frame) => frame.left <= middle && middle <= frame.left + frame.width),
      ArrowDown: () => row(here.row + 25).filter((frame) => frame.left >= here.left - 0.01
        && frame.left < here.left + here.width).sort((a, b) => b.width - a.width)[0],
      Home: () => this.frames[0],
    }[event.key]?.();
    if (!next) return;
    event.preventDefault();
    here.link.setAttribute("tabindex", "-1");
    next.link.setAttribute("tabindex", "0");
    next.link.focus();
  }
});

/** Fetches the page again every few seconds, unless it is hidden, paused, or somebody is in the middle of something. */
customElements.define("inquest-refresh", class extends HTMLElement {
  connectedCallback() {
    this.hidden = false;
    this.paused = false;
    this.addEventListener("click", () => {
      this.paused = !this.paused;
      const button = this.querySelector("button");
      button.setAttribute("aria-pressed", String(this.paused));
    });
    this.timer = setInterval(() => this.refresh(), 1000 * Number(this.dataset.seconds));
  }

  disconnectedCallback() {
    clearInterval(this.timer);
  }

  async refresh() {
    if (this.paused || document.hidden || document.querySelector("dialog[open], main details[open]")) return;
    await htmx.ajax("GET", this.dataset.url, { target: "#main", select: "#main", swap: "outerMorph" });
    this.hidden = false;
  }
});

/** Keys of the review queue: they press the buttons of the row that has the focus, or of the selected one. Where it is open, those of
 * its form, so that the reason, the note and the batch set there count. */
customElements.define("inquest-review", class extends HTMLElement {
  connectedCallback() {
    document.addEventListener("keydown", (this.onKey = (event) => this.key(event)));
    this.addEventListener("focusin", (event) => this.select(event.target.closest(".q")));
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.onKey);
  }

  select(row) {
    if (!row) return;
    this.querySelector(".q.sel")?.classList.remove("sel");
    row.classList.add("sel");
  }

  key(event) {
    const typing = event.target.closest?.("input:not([type=checkbox]), textarea, select, dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !keysAreOn()) return;
    if (!["a", "r", "s", "u", "o"].includes(event.key)) return;
    const button = `[data-key="${event.key}"]`;
    const found = event.key === "o"
      ? this.querySelector(".q.sel .ttl a")
      : this.querySelector(`.q.sel .decide ${button}`) ?? this.querySelector(`.q.sel ${button}`)
        ?? (event.key === "u" ? this.querySelector(`.toast ${button}`) : null);
    if (!found) return;
    event.preventDefault();
    found.click();
  }
});

/** Single-key shortcuts, the list of them, and the switch that turns them off. */
const KEYS = [
  ["j k", "Next, previous section or row"],
  ["g h", "Health"],
  ["g s", "Services"],
  ["g i", "Incidents"],
  ["g r", "Review"],
  ["a r s u", "Approve, reject, snooze, undo in the review queue"],
  ["o", "Open or close the selected alert there"],
  ["/", "Search"],
  ["?", "This list"],
  ["Esc", "Hide a preview"],
];
const STOPS = "#answer, main .sec[id], main article.ev, main .inc tbody a, main .open h3 a, main .svc tbody th a, main .q .ttl a";

function keysAreOn() {
  try {
    return localStorage.getItem("inquest-keys") !== "off";
  } catch {
    return true;
  }
}

customElements.define("inquest-keys", class extends HTMLElement {
  connectedCallback() {
    this.innerHTML = `<button class="btn" type="button">Keyboard shortcuts</button>
      <dialog aria-labelledby="keys-title"><h2 id="keys-title">Keyboard shortcuts</h2><dl></dl>
      <label><input type="checkbox">Single-key shortcuts are on</label>
      <form method="dialog"><button class="btn">Close</button></form></dialog>`;
    const list = this.querySelector("dl");
    for (const [keys, what] of KEYS) {
      const term = list.appendChild(document.createElement("dt"));
      term.append(...keys.split(" ").flatMap((key) => {
        const element = document.createElement("kbd");
        element.textContent = key;
        return [element, " "];
      }));
      list.appendChild(document.createElement("dd")).textContent = what;
    }
    this.dialog = this.querySelector("dialog");
    this.querySelector("button").addEventListener("click", () => this.dialog.showModal());
    const box = this.querySelector("input");
    box.checked = keysAreOn();
    box.addEventListener("change", () => {
      localStorage.setItem("inquest-keys", box.checked ? "on" : "off");
      document.querySelectorAll(".rail .hint").forEach((hint) => { hint.hidden = !box.checked; });
    });
    document.addEventListener("keydown", (this.onKey = (event) => this.key(event)));
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.onKey);
  }

  key(event) {
    if (event.key === "Escape") return this.hush();
    const typing = event.target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable], dialog[open]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !keysAreOn()) return;
    const afterG = this.gAt && event.timeStamp - this.gAt < 1000;
    this.gAt = event.key === "g" ? event.timeStamp : 0;
    const base = this.dataset.base;
    const act = afterG
      ? { h: () => location.assign(`${base}/`), s: () => location.assign(`${base}/services`), i: () => location.assign(`${base}/incidents`), r: () => location.assign(`${base}/review`) }[event.key]
      : {
        j: () => this.step(1),
        k: () => this.step(-1),
        "/": () => document.getElementById("find")?.focus(),
        "?": () => this.dialog.showModal(),
      }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** Moves the focus to the next or previous stop, counted from the focus or else from what is in view. */
  step(by) {
    const stops = [...document.querySelectorAll(STOPS)];
    let index = stops.indexOf(document.activeElement);
    if (index < 0) {
      const below = stops.findIndex((stop) => stop.getBoundingClientRect().top > 70);
      index = (below < 0 ? stops.length : below) - (by > 0 ? 1 : 0);
    }
    const next = stops[Math.min(Math.max(index + by, 0), stops.length - 1)];
    if (!next) return;
    if (!next.matches("a")) next.tabIndex = -1;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: next.matches("a") ? "nearest" : "start" });
  }

  /** Hides the preview of the citation under the pointer or the focus until either leaves. */
  hush() {
    for (const cite of document.querySelectorAll(".cite:hover, .cite:focus-visible")) {
      cite.classList.add("hush");
      const back = () => cite.classList.remove("hush");
      cite.addEventListener("pointerleave", back, { once: true });
      cite.addEventListener("blur", back, { once: true });
    }
  }
});
