/** The one place that speaks: progress politely, problems at once, each with its next step. */
import { byId } from "./dom.js";
import { problemOf } from "./problems.js";

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
  retryButton.onclick = () => {
    clearProblem();
    again?.();
  };
  byId("problem", HTMLDivElement).hidden = false;
  if (wrongChain) byId("switch", HTMLButtonElement).hidden = false;
}

/** Tell of a problem with a refresh, which nobody asked for: it must not hide one with what somebody did. */
export function tellOfRefresh(thrown: unknown, again: () => void): void {
  if (byId("problem", HTMLDivElement).hidden) tell(thrown, again);
}

/** Take the last problem away. */
export function clearProblem(): void {
  byId("problem", HTMLDivElement).hidden = true;
}

/** Do something that may fail, and tell of it; the button is off meanwhile, so that nothing is sent twice. */
export async function attempt(action: () => Promise<unknown>, trigger?: HTMLButtonElement | null): Promise<void> {
  if (trigger?.disabled) return;
  clearProblem();
  if (trigger) trigger.disabled = true;
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
