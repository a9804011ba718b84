// Small parts that draw: text only, so that nothing from outside becomes markup.

export const byId = (id) => document.getElementById(id);

/** An element with a class and text, or children. */
export function element(name, className = "", ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content.filter((part) => part !== null && part !== undefined));
  return made;
}

/** Set text, only where it changed: screen readers and selections are left alone otherwise. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** A hash or address, cut in the middle; the whole of it on hover and for screen readers. */
export function id(value) {
  if (!value) return element("span", "quiet", "–");
  const short = value.length > 20 ? `${value.slice(0, 8)}…${value.slice(-6)}` : value;
  const made = element("span", "id", short);
  made.title = value;
  return made;
}

/** A point in time. */
export function time(ms) {
  if (!ms) return element("span", "quiet", "now");
  const at = new Date(ms);
  const made = element("time", "", at.toLocaleTimeString([], { hour12: false }));
  made.dateTime = at.toISOString();
  made.title = at.toLocaleString();
  return made;
}

const TONES = {
  settled: "good", signed: "good", submitted: "good", finalizing: "good", executing: "busy", metered: "busy",
  signing: "busy", submitting: "busy", accepting: "busy", queued: "warn", open: "warn", quoted: "warn", missing: "warn",
  cancelling: "bad", cancelled: "bad", expired: "bad", refunded: "bad", disputed: "bad", refused: "bad",
  error: "bad", warning: "warn",
};

/** A word with a colour. */
export const chip = (word, tone = TONES[word] ?? "") => element("span", `chip ${tone}`, word);

/**
 * Draw rows of a table, each known by `key`. Rows stay where they are; a cell is only replaced if it differs.
 * `cells` gives [class, content] pairs.
 */
export function rows(table, items, key, cells) {
  const body = table.tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const first = !body.dataset.drawn;
  let place = body.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let row = known.get(name);
    known.delete(name);
    if (!row) {
      row = element("tr", first ? "" : "fresh");
      row.dataset.key = name;
    }
    draw(row, cells(item));
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
  for (const gone of known.values()) gone.remove();
  body.dataset.drawn = "yes";
  const empty = items.length === 0;
  const alone = table.parentElement.children.length === 1;
  (alone ? table.parentElement : table).classList.toggle("empty", empty);
}

function draw(row, cells) {
  cells.forEach(([className, content], index) => {
    const made = element("td", className, ...(Array.isArray(content) ? content : [content ?? "–"]));
    const old = row.cells[index];
    if (!old) row.append(made);
    else if (old.outerHTML !== made.outerHTML) old.replaceWith(made);
  });
}

/** A line of the last values, drawn between 0 and the largest, or `top`. */
export function spark(svg, values, top) {
  const most = Math.max(top, ...values, 1);
  const step = 100 / Math.max(1, KEPT - 1);
  const begin = 100 - step * (values.length - 1);
  const points = values.map((value, index) => `${(begin + index * step).toFixed(2)},${(29 - (28 * value) / most).toFixed(2)}`);
  svg.querySelector("polyline").setAttribute("points", points.join(" "));
  svg.querySelector("polygon").setAttribute("points", `${begin},30 ${points.join(" ")} 100,30`);
}

/** How many values a line holds. */
export const KEPT = 60;
