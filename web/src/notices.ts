/** The one place that speaks: progress politely, problems at once, each with its next step. */
import { byId, make } from "./dom.js";
import { FieldProblem, problemOf } from "./problems.js";

const SLIP = "slip";

/** Tell how it goes. */
export function say(text: string): void {
  byId("status", HTMLParagraphElement).textContent = text;
}

/** Take a text back, unless something else was said since. */
export function unsay(text: string): void {
  if (byId("status", HTMLParagraphElement).textContent === text) say("");
}

/** Tell of a problem; `again` is what "Try again" does. */
export function tell(thrown: unknown, again?: () => void): void {
  const { sentence, retry, wrongChain } = problemOf(thrown);
  say("");
  byId("problem-text", HTMLParagraphElement).textContent = sentence;
  const retryButton = byId("retry", HTMLButtonElement);
  retryButton.hidden = !(retry && again);
  retryButton.textContent = wrongChain ? "Switch the chain and go on" : "Try again";
  retryButton.onclick = () => {
    clearProblem();
    if (wrongChain) void attempt(async () => void (await switchChain().then(again)));
    else again?.();
  };
  byId("problem", HTMLDivElement).hidden = false;
  if (thrown instanceof FieldProblem) mark(thrown);
}

let switchChain: () => Promise<void> = () => Promise.resolve();

/** What brings the wallet to our chain, where that is the problem. */
export function onWrongChain(action: () => Promise<void>): void {
  switchChain = action;
}

/** Tell of a problem with a refresh, which nobody asked for: it must not hide one with what somebody did. */
export function tellOfRefresh(thrown: unknown, again: () => void): void {
  if (byId("problem", HTMLDivElement).hidden) tell(thrown, again);
}

/** Take the last problem away, and what is said of it next to a field. */
export function clearProblem(): void {
  byId("problem", HTMLDivElement).hidden = true;
  unmark();
}

/** What was pressed last to do something: where the focus belongs once a problem with it is read. */
let pressed: HTMLElement | undefined;

/** Wire up the box that tells of problems. */
export function setUpNotices(): void {
  byId("dismiss", HTMLButtonElement).addEventListener("click", () => {
    clearProblem();
    (pressed?.isConnected ? pressed : byId("main", HTMLElement)).focus();
  });
}

function unmark(): void {
  const slip = document.getElementById(SLIP);
  slip?.remove();
  for (const field of document.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== SLIP);
    if (others.length) field.setAttribute("aria-describedby", others.join(" "));
    else field.removeAttribute("aria-describedby");
  }
}

/** Say below a field what is wrong with it, and go there. It is gone once something else is typed. */
function mark({ field, message }: FieldProblem): void {
  unmark();
  (field.closest("label") ?? field).after(make("p", { id: SLIP, class: "bad slip" }, message));
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${field.getAttribute("aria-describedby") ?? ""} ${SLIP}`.trim());
  field.addEventListener("input", clearProblem, { once: true });
  field.focus();
  field.scrollIntoView({ block: "center" }); // clear of the notices, which stay on top
}

let unread = 0;

/** Do something that reads the chain unasked. The page says so meanwhile, to eyes and to programs that watch it. */
export async function reading<Value>(read: () => Promise<Value>): Promise<Value> {
  unread += 1;
  document.body.dataset.reading = "";
  try {
    return await read();
  } finally {
    unread -= 1;
    if (!unread) delete document.body.dataset.reading;
  }
}

/** Do something that may fail, and tell of it; the button is off meanwhile, so that nothing is sent twice. */
export async function attempt(action: () => Promise<unknown>, trigger?: HTMLButtonElement | null): Promise<void> {
  if (trigger?.disabled) return;
  clearProblem();
  if (trigger) {
    pressed = trigger;
    trigger.disabled = true;
  }
  try {
    await action();
  } catch (error) {
    tell(error, () => void attempt(action, trigger));
  } finally {
    if (trigger) {
      trigger.disabled = false;
      // Switching a button off took the focus away from it.
      if (document.activeElement === document.body) trigger.focus();
    }
  }
}

/** Run `action` when a form is sent. Its button is off in the page until then: a click before would be lost. */
export function onSubmit(form: HTMLFormElement, action: () => Promise<unknown>): void {
  const submit = form.querySelector<HTMLButtonElement>("button[type=submit]");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(action, submit);
  });
  if (submit) submit.disabled = false;
}

/** Wire up a button of the page. It is off in the page until then: a click before would be lost. */
export function wire(id: string, action: () => Promise<unknown>): HTMLButtonElement {
  const made = byId(id, HTMLButtonElement);
  made.addEventListener("click", () => void attempt(action, made));
  made.disabled = false;
  return made;
}

/** A button that does one thing, which may fail. It is off meanwhile. */
export function button(label: string, action: () => Promise<unknown>, about = ""): HTMLButtonElement {
  const made = make("button", about ? { type: "button", "aria-label": about } : { type: "button" }, label);
  made.addEventListener("click", () => void attempt(action, made));
  return made;
}
