/** LunaCore's secure components: how pages load them, and their types. docs/reference/components.md says what each does. */

/** Has the secure components defined in this page; any number of calls load them once. Outside of a browser it does nothing. */
export declare function load(tokenizerUrl: string, options?: LoadOptions): Promise<void>;

export interface LoadOptions {
  /** The identity provider that gives this page's session, where the tokenizer has several. */
  provider?: string | undefined;
  /** The nonce of the page's Content-Security-Policy. */
  nonce?: string | undefined;
}

/** Something that a component could not do. */
export declare class SecureElementError extends Error {
  constructor(name: FailureName, message?: string);
  name: FailureName;
  /** Whether it is about who is logged in, and not about this one component. */
  readonly authentication: boolean;
}

/** The names of failures that this release knows. Later ones may have more. */
export type FailureName =
  | "conflict"
  | "cookiesBlocked"
  | "crossSite"
  | "damaged"
  | "frameUnavailable"
  | "grantMissing"
  | "internalError"
  | "network"
  | "rateLimited"
  | "sessionMismatch"
  | "sessionMissing"
  | "storeUnavailable"
  | "timeout"
  | "tooLarge"
  | "unauthenticated"
  | "unsupportedVersion"
  | (string & {});

export type Validator = "card" | "expiry" | "cvc" | "ssn" | "ein" | "email" | "phone" | "iban" | "date";

export type InputType = "text" | "email" | "tel" | "url" | "search" | "password";

/** The events of a component besides those of every element. None of them has a value in it. */
export interface SecureElementEventMap extends Omit<HTMLElementEventMap, "change" | "error" | "progress"> {
  ready: Event;
  error: CustomEvent<{ name: FailureName }>;
}

export interface SecureFieldEventMap extends SecureElementEventMap {
  change: CustomEvent<{ token: string }>;
  progress: Event;
  valid: Event;
}

interface Listening<Events> extends HTMLElement {
  addEventListener<Name extends keyof Events & string>(
    type: Name,
    listener: (this: this, event: Events[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<Name extends keyof Events & string>(
    type: Name,
    listener: (this: this, event: Events[Name]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

export interface SecureElement<Events = SecureElementEventMap> extends Listening<Events> {
  /** The token of what it shows or holds; empty for nothing. */
  token: string;
}

/** What the fields of a form have in common. Their values are tokens. */
export interface SecureField extends SecureElement<SecureFieldEventMap> {
  /** The same as `token`. */
  value: string;
  name: string;
  required: boolean;
  disabled: boolean;
  readonly form: HTMLFormElement | null;
  readonly labels: NodeList;
  readonly validity: ValidityState;
  readonly validationMessage: string;
  readonly willValidate: boolean;
  checkValidity(): boolean;
  reportValidity(): boolean;
  setCustomValidity(message: string): void;
  /** Sees that what the field holds has a token; null if it is empty. Rejected with an error whose `name` says why. */
  settle(): Promise<string | null>;
}

export interface ChoiceOption {
  value: string;
  label?: string | undefined;
  disabled?: boolean | undefined;
}

export interface SecureInputElement extends SecureField {
  type: string;
}
export interface SecureTextAreaElement extends SecureField {}
export interface SecureSelectElement extends SecureField {
  get options(): ChoiceOption[];
  set options(options: readonly (string | readonly [string, string] | ChoiceOption)[]);
}
export interface SecureRadioElement extends SecureSelectElement {}
export interface SecureUploadElement extends SecureField {
  /** The tokens of the files, in the order of the list; `token` is the same with spaces between. */
  tokens: string[];
  multiple: boolean;
}
export interface SecureParagraphElement extends SecureElement {}
export interface SecureSpanElement extends SecureElement {}
export interface SecureCopyElement extends SecureElement {}
export interface SecureDownloadElement extends SecureElement {
  disabled: boolean;
}
export interface SecureImageElement extends SecureElement {}
export interface SecureViewerElement extends SecureElement {}

/** The attributes of every component, in the form in which templates write them. */
export interface SecureElementAttributes {
  token?: string | undefined;
  "aria-label"?: string | undefined;
  "aria-labelledby"?: string | undefined;
}

export interface SecureTextAttributes extends SecureElementAttributes {
  placeholder?: string | undefined;
  reveal?: "click" | undefined;
}

export interface SecureFileAttributes extends SecureElementAttributes {
  placeholder?: string | undefined;
}

export interface SecureButtonAttributes extends SecureElementAttributes {
  disabled?: boolean | "" | undefined;
}

export interface SecureFieldAttributes extends SecureElementAttributes {
  name?: string | undefined;
  required?: boolean | "" | undefined;
  disabled?: boolean | "" | undefined;
  readonly?: boolean | "" | undefined;
  "aria-description"?: string | undefined;
  "aria-describedby"?: string | undefined;
}

export interface SecureTextFieldAttributes extends SecureFieldAttributes {
  maxlength?: number | string | undefined;
  placeholder?: string | undefined;
  autocomplete?: string | undefined;
  inputmode?: "none" | "text" | "tel" | "url" | "email" | "numeric" | "decimal" | "search" | undefined;
  enterkeyhint?: "enter" | "done" | "go" | "next" | "previous" | "search" | "send" | undefined;
}

export interface SecureInputAttributes extends SecureTextFieldAttributes {
  type?: InputType | undefined;
  validator?: Validator | undefined;
  mask?: string | undefined;
}

export interface SecureTextAreaAttributes extends SecureTextFieldAttributes {
  minlength?: number | string | undefined;
  rows?: number | string | undefined;
  cols?: number | string | undefined;
  wrap?: "soft" | "off" | undefined;
}

export interface SecureChoiceAttributes extends SecureFieldAttributes {
  shuffle?: boolean | "" | undefined;
}

export interface SecureSelectAttributes extends SecureChoiceAttributes {
  placeholder?: string | undefined;
}

export interface SecureRadioAttributes extends SecureChoiceAttributes {
  orientation?: "vertical" | "horizontal" | undefined;
}

export interface SecureUploadAttributes extends SecureFieldAttributes {
  tokens?: string | undefined;
  multiple?: boolean | "" | undefined;
  accept?: string | undefined;
  "max-size"?: string | number | undefined;
  "max-files"?: number | string | undefined;
}

/** The attributes of each element, for the JSX and templates of frameworks. */
export interface SecureElementsAttributes {
  "secure-input": SecureInputAttributes;
  "secure-textarea": SecureTextAreaAttributes;
  "secure-select": SecureSelectAttributes;
  "secure-radio": SecureRadioAttributes;
  "secure-upload": SecureUploadAttributes;
  "secure-paragraph": SecureTextAttributes;
  "secure-span": SecureTextAttributes;
  "secure-copy": SecureButtonAttributes;
  "secure-download": SecureButtonAttributes;
  "secure-image": SecureFileAttributes;
  "secure-viewer": SecureFileAttributes;
}

declare global {
  interface HTMLElementTagNameMap {
    "secure-input": SecureInputElement;
    "secure-textarea": SecureTextAreaElement;
    "secure-select": SecureSelectElement;
    "secure-radio": SecureRadioElement;
    "secure-upload": SecureUploadElement;
    "secure-paragraph": SecureParagraphElement;
    "secure-span": SecureSpanElement;
    "secure-copy": SecureCopyElement;
    "secure-download": SecureDownloadElement;
    "secure-image": SecureImageElement;
    "secure-viewer": SecureViewerElement;
  }
}
