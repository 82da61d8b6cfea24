// The page of `slim report`: a map to zoom into, and tables to search.
//
// Everything is in the element #report. Names are data: they become text nodes and attribute values through the DOM,
// never markup, so there is no escaping here to forget.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report").textContent);
  const ROWS = 200; // shown at once; a button shows more

  const element = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (key === "class") made.className = value;
      else if (key === "onclick") made.addEventListener("click", value);
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  };

  const size = (bytes) => {
    if (bytes < 1000) return `${bytes} B`;
    let value = bytes, unit = -1;
    while (value >= 999.95 && unit < 5) { value /= 1000; unit += 1; }
    return `${value.toFixed(1)} ${["kB", "MB", "GB", "TB", "PB", "EB"][unit]}`;
  };
  const count = (number) => number.toLocaleString("en-US");
  const time = (ns) => (ns < 1e9 ? `${(ns / 1e6).toFixed(1)} ms` : `${(ns / 1e9).toFixed(2)} s`);
  const percent = (part, whole) => (whole > 0 ? Math.min(100, (part * 100) / whole) : 0);

  // ---- tables

  // columns: [title, class, cell(row), sort(row)]; words(row) is what a search looks through.
  const table = (id, { columns, rows, words, choices, hint }) => {
    const section = document.getElementById(id);
    if (!section) return null;
    const body = element("tbody");
    const more = section.querySelector(".more");
    const search = element("input", { type: "search", placeholder: hint, "aria-label": hint, autocomplete: "off", spellcheck: "false" });
    const controls = section.querySelector(".controls");
    controls.append(search);
    let choice = null, only = null, shown = ROWS, sorted = null;
    if (choices) {
      choice = element("select", { "aria-label": "Which" });
      choices.forEach(([text], at) => choice.append(element("option", { value: at }, text)));
      choice.addEventListener("change", () => { shown = ROWS; draw(); });
      controls.append(choice);
    }
    const chip = element("button", { type: "button", class: "chip", onclick: () => restrict(null) });
    chip.hidden = true;
    controls.append(chip);
    const found = element("output", { class: "note" });
    controls.append(found);
    const texts = new Map();
    const text = (row) => {
      if (!texts.has(row)) texts.set(row, words(row).toLowerCase());
      return texts.get(row);
    };
    const heads = columns.map(([title, kind, , key], at) => {
      const head = element("th", { class: kind, scope: "col" });
      head.append(key ? element("button", { type: "button", onclick: () => sort(at) }, title) : title);
      return head;
    });
    section.querySelector("table").append(element("thead", null, element("tr", null, ...heads)), body);
    const sort = (at) => {
      sorted = { at, down: sorted?.at === at ? !sorted.down : columns[at][1].includes("number") };
      heads.forEach((head, other) => {
        if (other === at) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      draw();
    };
    const matching = () => {
      const wanted = search.value.toLowerCase().split(/\s+/).filter((word) => word);
      const chosen = choice ? choices[choice.value][1] : () => true;
      const matches = rows.filter((row) =>
        chosen(row) && (!only || only.test(row)) && wanted.every((word) => text(row).includes(word)));
      if (sorted) {
        const key = columns[sorted.at][3];
        const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
        matches.sort((a, b) => (sorted.down ? -1 : 1) * compare(key(a), key(b)));
      }
      return matches;
    };
    const draw = () => {
      const matches = matching();
      found.textContent = matches.length === rows.length ? `${count(rows.length)} rows` : `${count(matches.length)} of ${count(rows.length)} rows`;
      body.replaceChildren(...matches.slice(0, shown).map((row) =>
        element("tr", null, ...columns.map(([, kind, cell]) => {
          const content = cell(row);
          return element("td", { class: kind }, content ?? "");
        }))));
      more.replaceChildren();
      if (matches.length > shown) {
        more.append(`${count(matches.length - shown)} more rows match. `, element("button", { type: "button", onclick: () => { shown += ROWS; draw(); } }, "show more"));
      }
    };
    const restrict = (to) => {
      only = to;
      shown = ROWS;
      chip.hidden = !to;
      chip.textContent = to ? `${to.text} \u00d7` : "";
      draw();
    };
    search.addEventListener("input", () => { shown = ROWS; draw(); });
    draw();
    const show = () => { section.scrollIntoView(); search.focus({ preventScroll: true }); };
    return { restrict, show, search: (value) => { search.value = value; shown = ROWS; restrict(null); show(); } };
  };

  const tag = (kind, text) => element("span", { class: `tag ${kind}` }, text);
  const processName = (process) => (process ? (process[1] || process[2][0] || "(unknown)") : "");

  const files = table("files", {
    hint: "Search paths, reasons, packages, programs",
    rows: data.files,
    words: ([path, , , why, higher, owner, , by]) => [path, why, higher, owner, by].join(" "),
    choices: data.compared ? [["all", () => true], ["stays", (row) => row[2]], ["is removed", (row) => !row[2]]] : null,
    columns: [
      ["path", "path", (row) => row[0], (row) => row[0]],
      ["size", "number", (row) => size(row[1]), (row) => row[1]],
      ...(data.compared ? [
        ["", "", (row) => (row[2] ? tag("stays", "stays") : tag("goes", "goes")), (row) => (row[2] ? 1 : 0)],
        ["why", "", (row) => (row[4] ? `${row[3]}; --level ${row[4]} keeps it` : row[3]), (row) => row[3]],
      ] : []),
      ["package", "", (row) => row[5], (row) => row[5] ?? ""],
      ...(data.processes.length ? [
        ["first used", "number", (row) => (row[6] === null ? "" : time(row[6])), (row) => row[6] ?? Infinity],
        ["by", "", (row) => row[7], (row) => row[7] ?? ""],
      ] : []),
    ],
  });

  const accesses = table("accesses", {
    hint: "Search paths, operations, programs",
    rows: data.accesses,
    words: ([path, operation, , process]) => [path, operation, processName(data.processes[process])].join(" "),
    choices: [["all", () => true], ["found", (row) => row[2] === null], ["failed", (row) => row[2] !== null]],
    columns: [
      ["at", "number", (row) => time(row[4]), (row) => row[4]],
      ["path", "path", (row) => row[0], (row) => row[0]],
      ["how", "", (row) => (row[2] === null ? row[1] : tag("failed", `${row[1]}, errno ${row[2]}`)), (row) => row[1]],
      ["times", "number", (row) => count(row[5]), (row) => row[5]],
      ["first by", "path", (row) => processName(data.processes[row[3]]), (row) => processName(data.processes[row[3]])],
      ["pid", "number", (row) => data.processes[row[3]]?.[0] || "", (row) => data.processes[row[3]]?.[0] ?? 0],
    ],
  });

  const used = (number, process) => element("button", {
    type: "button",
    onclick: () => {
      accesses.restrict({ text: `process ${process[0]} ${processName(process)}`, test: (row) => row[3] === number });
      accesses.show();
    },
  }, "what it used");
  const numbers = new Map(data.processes.map((process, number) => [process, number]));
  table("processes", {
    hint: "Search programs",
    rows: data.processes,
    words: ([pid, program, threads]) => [pid, program, ...threads].join(" "),
    columns: [
      ["pid", "number", (row) => row[0] || "", (row) => row[0]],
      ["program", "path", (row) => row[1] || "(unknown)", (row) => row[1]],
      ["threads", "", (row) => row[2].join(", "), (row) => row[2].join()],
      ["first seen", "number", (row) => time(row[3]), (row) => row[3]],
      ["paths first used", "number", (row) => count(row[4]), (row) => row[4]],
      ["in vain", "number", (row) => count(row[5]), (row) => row[5]],
      ["", "", (row) => used(numbers.get(row), row), null],
    ],
  });

  table("packages", {
    hint: "Search packages",
    rows: data.packages,
    words: ([manager, name, version]) => [manager, name, version].join(" "),
    choices: data.compared ? [["all", () => true], ["left, whole or in part", (row) => row[6] > 0], ["gone", (row) => row[6] === 0]] : null,
    columns: [
      ["package", "", (row) => row[1], (row) => row[1]],
      ["version", "", (row) => row[2], (row) => row[2]],
      ["manager", "", (row) => row[0], (row) => row[0]],
      ["size", "number", (row) => size(row[3]), (row) => row[3]],
      ["files", "number", (row) => count(row[5]), (row) => row[5]],
      ...(data.compared ? [
        ["stays", "number", (row) => size(row[4]), (row) => row[4]],
        ["files", "number", (row) => count(row[6]), (row) => row[6]],
        ["", "", (row) => element("progress", { max: row[3] || 1, value: row[4], "aria-label": "share that stays" }), null],
      ] : []),
    ],
  });

  // ---- map

  const map = document.getElementById("treemap");
  if (!map) return;
  const [NAME, PARENT, AREA, BYTES, KEPT, FILES, KEPT_FILES] = [0, 1, 2, 3, 4, 5, 6];
  const [GROUP, , OTHERS] = [0, 1, 2];
  const HEAD = 18; // room for the name of a group, in pixels
  const childrenOf = (nodes) => {
    const below = nodes.map(() => []);
    nodes.forEach((node, at) => { if (node[PARENT] !== null) below[node[PARENT]].push(at); });
    return below;
  };
  const trees = { directories: data.directories, owners: data.owners };
  const below = { directories: childrenOf(data.directories), owners: childrenOf(data.owners) };
  let by = "directories", side = "before", at = 0;

  const value = (node) => (side === "after" ? node[KEPT] : node[BYTES]);
  const name = (node) => (node[AREA] === OTHERS ? `${count(Number(node[NAME]))} smaller` : node[NAME]);
  const trailOf = (node) => {
    const trail = [];
    for (let up = node; up !== null; up = trees[by][up][PARENT]) trail.unshift(up);
    return trail;
  };
  const pathOf = (node) => {
    const names = trailOf(node).slice(1).map((up) => name(trees[by][up]));
    return by === "owners" ? names.join(" ") || "all files" : `/${names.join("/")}`;
  };
  const told = (node) => {
    const [before, after] = [size(node[BYTES]), size(node[KEPT])];
    const number = `${count(node[FILES])} ${node[FILES] === 1 ? "file" : "files"}`;
    return data.compared ? `${before}, ${after} stays; ${number}, ${count(node[KEPT_FILES])} stay` : `${before} in ${number}`;
  };

  // Rows of areas as close to squares as they get (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000).
  const squarify = (items, box, place) => {
    const rest = items.filter((item) => item.value > 0).sort((a, b) => b.value - a.value);
    let { x, y, w, h } = box;
    let sum = rest.reduce((all, item) => all + item.value, 0);
    let begin = 0;
    while (begin < rest.length && w > 1 && h > 1) {
      const length = Math.min(w, h), scale = (w * h) / sum;
      let end = begin, row = 0, worst = Infinity;
      while (end < rest.length) {
        const area = (row + rest[end].value) * scale;
        const [large, small] = [rest[begin].value * scale, rest[end].value * scale];
        const ratio = Math.max((length * length * large) / (area * area), (area * area) / (length * length * small));
        if (ratio > worst) break;
        worst = ratio;
        row += rest[end].value;
        end += 1;
      }
      const thick = (row * scale) / length;
      let offset = 0;
      for (const item of rest.slice(begin, end)) {
        const part = (item.value / row) * length;
        if (w >= h) place(item.at, { x, y: y + offset, w: thick, h: part });
        else place(item.at, { x: x + offset, y, w: part, h: thick });
        offset += part;
      }
      if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
      sum -= row;
      begin = end;
    }
  };

  const cell = (node, box, depth, open) => {
    const of = trees[by][node];
    const group = of[AREA] === GROUP;
    const made = element("div", { class: `cell${group ? " group" : ""}${of[AREA] === OTHERS ? " others" : ""}` });
    const share = side === "after" ? 100 : percent(of[KEPT], of[BYTES]);
    if (!open) made.classList.add("closed");
    if (!data.compared) made.classList.add("alone");
    if (share > 50) made.classList.add("mostly");
    made.style.setProperty("--share", `${share}%`);
    made.style.left = `${box.x}px`;
    made.style.top = `${box.y}px`;
    made.style.width = `${box.w}px`;
    made.style.height = `${box.h}px`;
    made.title = `${pathOf(node)}\n${told(of)}`;
    if (box.w > 30 && box.h > 15) made.textContent = open ? `${name(of)}  ${size(value(of))}` : name(of);
    made.dataset.node = group ? node : of[PARENT];
    if (group) {
      if (depth === 0) {
        made.tabIndex = 0;
        made.setAttribute("role", "button");
        made.setAttribute("aria-label", `${pathOf(node)}, ${told(of)}`);
      }
    }
    map.append(made);
  };

  const layOut = (node, box, depth) => {
    const items = below[by][node].map((child) => ({ at: child, value: value(trees[by][child]) }));
    squarify(items, box, (child, area) => {
      const open = below[by][child].length > 0 && depth < 3 && area.w > 60 && area.h > 44;
      cell(child, area, depth, open);
      if (open) layOut(child, { x: area.x + 2, y: area.y + HEAD, w: area.w - 4, h: area.h - HEAD - 2 }, depth + 1);
    });
  };

  const draw = () => {
    const here = trees[by][at];
    map.replaceChildren();
    const trail = document.getElementById("trail");
    trail.replaceChildren(...trailOf(at).map((up) => {
      const step = element("button", { type: "button", onclick: () => zoom(up) }, name(trees[by][up]));
      if (up === at) step.setAttribute("aria-current", "location");
      return step;
    }));
    if (by === "directories" && at !== 0 && files) {
      trail.append(element("button", { type: "button", onclick: () => files.search(`${pathOf(at)}/`) }, "list its files"));
    }
    trail.append(element("span", { class: "sum" }, told(here)));
    if (below[by][at].length === 0 || value(here) === 0) {
      map.append(element("p", { class: "empty" }, value(here) === 0 ? "Nothing of this has any bytes." : "This report divides it no further."));
      return;
    }
    layOut(at, { x: 0, y: 0, w: map.clientWidth, h: map.clientHeight }, 0);
  };
  const zoom = (node) => {
    at = node;
    draw();
    document.querySelector("#trail [aria-current]").focus({ preventScroll: true });
  };
  const up = () => { const parent = trees[by][at][PARENT]; if (parent !== null) zoom(parent); };

  map.addEventListener("click", (event) => {
    const hit = event.target.closest("[data-node]");
    // A file leads to its directory.
    if (hit && Number(hit.dataset.node) !== at) zoom(Number(hit.dataset.node));
  });
  document.getElementById("map").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.preventDefault(); up(); }
    const hit = event.target.closest?.("[data-node]");
    if (hit && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); zoom(Number(hit.dataset.node)); }
  });
  const press = (attribute, set) => {
    const buttons = [...document.querySelectorAll(`[data-${attribute}]`)];
    buttons.forEach((button) => button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      set(button.dataset[attribute]);
      draw();
    }));
  };
  press("by", (value) => { by = value; at = 0; });
  press("side", (value) => { side = value; });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(map);
  draw();
})();
