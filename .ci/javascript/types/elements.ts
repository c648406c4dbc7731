// What TypeScript knows of the elements. Each line after @ts-expect-error is a mistake that it must find.
import { load, SecureElementError, type FailureName } from "@lunacore/elements";
import type {} from "@lunacore/elements/vue";
import type { GlobalComponents } from "vue";

const field = document.createElement("secure-input");
const token: string = field.token;
const settled: Promise<string | null> = field.settle();
field.addEventListener("change", (event) => {
  const changed: string = event.detail.token;
  // @ts-expect-error - no event has a value
  event.detail.text;
  return changed;
});
field.addEventListener("error", (event) => {
  const name: FailureName = event.detail.name;
  return name;
});
// @ts-expect-error - a token is a string
field.token = 1;
// @ts-expect-error - the form is the page's
field.form = null;

const upload = document.querySelector("secure-upload");
const tokens: string[] | undefined = upload?.tokens;
const choice = document.createElement("secure-select");
choice.options = ["yes", ["no", "No"], { value: "perhaps", disabled: true }];
// @ts-expect-error - an option has a value
choice.options = [{ label: "No" }];
// @ts-expect-error - what is shown has no form value
document.createElement("secure-span").value;

const loaded: Promise<void> = load("https://secure.example.com", { provider: "app" });
// @ts-expect-error - where the tokenizer is must be said
load();
const about: boolean = new SecureElementError("sessionMissing").authentication;

declare const inTemplates: GlobalComponents["secure-input"];
const shown: "click" | undefined = (null as unknown as InstanceType<GlobalComponents["secure-span"]>).$props.reveal;

export { about, inTemplates, loaded, settled, shown, token, tokens };
