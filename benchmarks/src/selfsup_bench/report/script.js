"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, css, text) => {
    const node = document.createElement(name);
    if (css) node.className = css;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const SVG = document.querySelector("svg")?.namespaceURI ?? null;
  const draw = (name, attributes) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };

  // Light and dark: kept for as long as the page is open.
  const root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme:dark)").matches;
  const toggle = make("button", "toggle");
  toggle.type = "button";
  const label = () => {
    toggle.textContent = dark() ? "☀ light" : "☾ dark";
    toggle.setAttribute("aria-label", dark() ? "Switch to light colours" : "Switch to dark colours");
  };
  toggle.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  label();
  document.querySelector("header")?.append(toggle);

  // Tables: a click on a head sorts by data-v; cells without a value stay last.
  for (const table of all("table[data-sortable]")) {
    const heads = all("thead th[data-sort]", table);
    for (const head of heads) {
      const button = make("button", "sort");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", head.dataset.sort === "initial" ? "descending" : "none");
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "none" ? head.dataset.first !== "up" : head.getAttribute("aria-sort") !== "descending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const value = (row) => row.cells[head.cellIndex]?.dataset.v ?? "";
        const rows = [...body.rows].map((row, place) => ({ row, place, text: value(row), number: Number(value(row)) }));
        const numeric = rows.every(({ text, number }) => text === "" || !Number.isNaN(number));
        rows.sort((a, b) => {
          if (!a.text !== !b.text) return a.text ? -1 : 1;
          const order = numeric ? a.number - b.number : a.text.localeCompare(b.text);
          return (down ? -order : order) || a.place - b.place;
        });
        body.append(...rows.map(({ row }) => row));
      });
    }
  }

  // Embeddings: the point next to the pointer, shown with what its row is, and marked in every picture of its data set.
  const tip = make("div", "tip");
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const known = new Map();
  const previews = (name) => {
    if (!known.has(name)) {
      const data = name && document.getElementById("previews-" + name);
      known.set(name, data ? JSON.parse(data.textContent) : { rows: {} });
    }
    return known.get(name);
  };
  const picture = (data, name, part) => {
    const [width, height] = data.tile;
    const x = (part.tile % data.columns) * width, y = Math.floor(part.tile / data.columns) * height;
    const scale = Math.max(1, Math.min(96 / part.h, 220 / part.w));
    const svg = draw("svg", { viewBox: `${x} ${y} ${part.w} ${part.h}`, width: part.w * scale, height: part.h * scale, class: "tile" });
    svg.append(draw("use", { href: "#sheet-" + name }));
    return svg;
  };
  const curve = (values) => {
    const step = 200 / Math.max(1, values.length - 1);
    const svg = draw("svg", { viewBox: "0 0 200 60", width: 200, height: 60, class: "wave" });
    svg.append(draw("path", { d: "M" + values.map((value, place) => `${(place * step).toFixed(1)} ${(30 - value * 0.28).toFixed(1)}`).join("L") }));
    return svg;
  };
  const show = (point, name, at) => {
    const data = previews(name);
    const head = make("div", "tip-class " + point.colour, point.group);
    const parts = (data.rows[point.row] ?? []).map((part) =>
      "text" in part ? make("div", "tip-text", part.text) : "curve" in part ? curve(part.curve) : picture(data, name, part));
    tip.replaceChildren(head, ...parts);
    tip.classList.add("on");
    const box = tip.getBoundingClientRect();
    const left = at.x + 16 + box.width > innerWidth ? Math.max(4, at.x - box.width - 16) : at.x + 16;
    const top = Math.max(4, Math.min(at.y + 12, innerHeight - box.height - 8));
    tip.style.left = left + "px";
    tip.style.top = top + "px";
  };
  for (const section of all("[data-embeddings]")) {
    const name = section.dataset.embeddings;
    const panels = all("svg.scatter", section).map((svg) => {
      const points = all("path[data-rows]", svg).flatMap((path) => {
        const rows = path.dataset.rows.split(" ");
        const colour = [...path.classList].find((css) => /^c\d$/.test(css)) ?? "cn";
        return [...path.getAttribute("d").matchAll(/M([-\d.]+) ([-\d.]+)/g)]
          .map((match, place) => ({ x: +match[1], y: +match[2], row: rows[place], group: path.dataset.group, colour }));
      });
      const ring = draw("circle", { r: 6, class: "ring" });
      svg.append(ring);
      return { svg, points, ring, byRow: new Map(points.map((point) => [point.row, point])) };
    });
    const mark = (row) => {
      for (const { ring, byRow } of panels) {
        const point = row === null ? undefined : byRow.get(row);
        ring.classList.toggle("on", point !== undefined);
        if (point) { ring.setAttribute("cx", point.x); ring.setAttribute("cy", point.y); }
      }
      if (row === null) tip.classList.remove("on");
    };
    for (const { svg, points } of panels) {
      if (!points.length) continue;
      const place = (point) => {
        const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
        return { x: box.left + point.x * box.width / view.width, y: box.top + point.y * box.height / view.height };
      };
      const choose = (point, at) => { mark(point.row); show(point, name, at ?? place(point)); };
      const pointed = (event) => {
        const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
        const x = (event.clientX - box.left) * view.width / box.width, y = (event.clientY - box.top) * view.height / box.height;
        let best = points[0], least = Infinity;
        for (const point of points) {
          const far = (point.x - x) ** 2 + (point.y - y) ** 2;
          if (far < least) { least = far; best = point; }
        }
        if (least < 400) choose(best, { x: event.clientX, y: event.clientY }); else mark(null);
      };
      svg.addEventListener("pointermove", pointed);
      svg.addEventListener("pointerdown", pointed);
      svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") mark(null); });
      svg.addEventListener("blur", () => mark(null));
      // By keyboard: the arrows walk over the points, class by class.
      let current = -1;
      svg.tabIndex = 0;
      svg.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (event.key === "Escape") mark(null);
        if (!step) return;
        event.preventDefault();
        current = current < 0 ? 0 : (current + step + points.length) % points.length;
        choose(points[current]);
      });
    }
  }
  addEventListener("scroll", () => tip.classList.remove("on"), { passive: true });

  // Paper shows what is folded away.
  addEventListener("beforeprint", () => { for (const node of all("details:not([open])")) { node.open = true; node.dataset.folded = ""; } });
  addEventListener("afterprint", () => { for (const node of all("details[data-folded]")) { node.open = false; delete node.dataset.folded; } });
})();
