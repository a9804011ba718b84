/** Elements, without a framework. Text always goes in as text: nothing that came from outside is parsed as HTML. */

type Child = Node | string;

/** The element with this id. The page and the program belong together: a missing one is a mistake here. */
export function byId<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** A new element with text and elements inside. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string>> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A list of names and values. */
export function facts(pairs: readonly (readonly [string, Child])[]): HTMLElement {
  const rows = pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return make("dl", {}, ...rows);
}

/** Show these elements there. One that says the same as before stays, with its focus; what was opened stays open. */
export function redraw(place: HTMLElement, ...wanted: HTMLElement[]): void {
  const shown = [...place.children];
  wanted.forEach((made, at) => {
    const old = shown[at];
    if (!old) return place.append(made);
    old.querySelectorAll("details").forEach((one, number) => {
      const same = made.querySelectorAll("details")[number];
      if (same) same.open = one.open;
    });
    if (!old.isEqualNode(made)) exchange(old, made);
  });
  shown.slice(wanted.length).forEach((old) => old.remove());
}

/** Put one element into another's place. Focus inside moves to the part that was made like the one that had it. */
function exchange(old: Element, made: HTMLElement): void {
  const focused = [...old.querySelectorAll("*")].indexOf(document.activeElement ?? document.body);
  old.replaceWith(made);
  const same = made.querySelectorAll<HTMLElement>("*")[focused];
  same?.focus();
}

/** The field of a form with this name. */
export function field(form: HTMLFormElement, name: string): HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement {
  const found = form.elements.namedItem(name);
  if (found instanceof HTMLInputElement || found instanceof HTMLSelectElement || found instanceof HTMLTextAreaElement) {
    return found;
  }
  throw new Error(`the form #${form.id} has no field ${name}`);
}

/** What was typed or chosen there, without blanks around it. */
export function valueOf(form: HTMLFormElement, name: string): string {
  return field(form, name).value.trim();
}

/** Put options into a select and keep the choice where it is still there. */
export function choices(select: HTMLSelectElement, options: readonly (readonly [string, string])[], none: string): void {
  const chosen = select.value;
  const made = options.map(([value, label]) => make("option", { value }, label));
  select.replaceChildren(...(made.length ? made : [make("option", { value: "" }, none)]));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/** The select of a form with this name. */
export function selectOf(form: HTMLFormElement, name: string): HTMLSelectElement {
  const found = field(form, name);
  if (!(found instanceof HTMLSelectElement)) throw new Error(`${name} of #${form.id} is no select`);
  return found;
}
