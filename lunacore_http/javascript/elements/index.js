/**
 * Loads the secure components from the tokenizer, for pages that are made by a bundler or a framework. The components themselves come
 * from the tokenizer alone, so that page and frames are always of one release.
 */

/** @type {{origin: string, promise: Promise<void>} | null} */
let loading = null;

/**
 * Have the secure components defined in this page. Any number of calls load them once; outside of a browser it does nothing.
 *
 * @param {string} tokenizerUrl the tokenizer's public URL
 * @param {{provider?: string, nonce?: string}} [options] the identity provider that gives this page's session, where the tokenizer has
 *   several, and the nonce of the page's Content-Security-Policy
 * @returns {Promise<void>} fulfilled once the components are there
 * @throws {SecureElementError} by the promise; the next call tries again
 */
export function load(tokenizerUrl, options = {}) {
  if (typeof document === "undefined") return Promise.resolve();
  const origin = originOf(tokenizerUrl);
  if (origin === null) return refused(`"${tokenizerUrl}" is no http or https URL of a tokenizer`);
  if (loading === null) {
    loading = { origin, promise: fetched(origin, options) };
    loading.promise.catch(() => (loading = null));
  }
  if (loading.origin !== origin) return refused(`this page has the components of ${loading.origin} already, and they cannot be those of two`);
  return loading.promise;
}

/** Something that a component could not do. Its `name` is stable; docs/spec/frame-messages.md lists them. */
export class SecureElementError extends Error {
  /**
   * @param {string} name
   * @param {string} [message]
   */
  constructor(name, message = MESSAGES[name] ?? "A secure component failed.") {
    super(message);
    this.name = name;
  }

  /** Whether it is about who is logged in, and not about this one component. */
  get authentication() {
    return AUTHENTICATION.includes(this.name);
  }
}

const AUTHENTICATION = ["sessionMissing", "sessionMismatch", "unauthenticated", "cookiesBlocked", "crossSite"];

/** @type {Readonly<Record<string, string>>} */
const MESSAGES = {
  conflict: "The session has ended.",
  cookiesBlocked: "This browser keeps no cookies of the tokenizer.",
  crossSite: "The tokenizer is on another site than this page, and not set up for that.",
  damaged: "The stored value is damaged.",
  frameUnavailable: "The tokenizer does not answer, or does not let this page embed it.",
  grantMissing: "This session has no access to the value.",
  internalError: "The tokenizer failed.",
  network: "There is no connection.",
  rateLimited: "There were too many requests.",
  sessionMismatch: "The session has changed. Load the page again.",
  sessionMissing: "There is no session. Is a user logged in?",
  storeUnavailable: "The value's store is not available.",
  timeout: "The tokenizer did not answer in time.",
  tooLarge: "The value is too large.",
  unauthenticated: "The tokenizer does not accept the session.",
  unsupportedVersion: "A later release sealed the value.",
};

/** @param {string} url */
function originOf(url) {
  try {
    const { origin, protocol } = new URL(url);
    return protocol === "https:" || protocol === "http:" ? origin : null;
  } catch {
    return null;
  }
}

/** @param {string} why @returns {Promise<never>} */
function refused(why) {
  return Promise.reject(new SecureElementError("frameUnavailable", `LunaCore: ${why}`));
}

/**
 * @param {string} origin
 * @param {{provider?: string, nonce?: string}} options
 * @returns {Promise<void>}
 */
async function fetched(origin, { provider, nonce }) {
  if (provider !== undefined) nameProvider(provider);
  const address = `${origin}/sdk/lunacore.js`;
  const found = /** @type {HTMLScriptElement | null} */ (document.querySelector(`script[type="module"][src="${address}"]`));
  const script = found ?? added(address, nonce);
  const failed = new Promise((_resolve, reject) => {
    const problem = `LunaCore: ${address} did not load. Is the tokenizer running, and does the page's Content-Security-Policy allow its scripts?`;
    script.addEventListener("error", () => reject(new SecureElementError("frameUnavailable", problem)), { once: true });
  });
  try {
    await Promise.race([customElements.whenDefined("secure-input"), failed]);
  } catch (error) {
    script.remove();
    throw error;
  }
}

/**
 * @param {string} address
 * @param {string | undefined} nonce
 */
function added(address, nonce) {
  const script = document.createElement("script");
  script.type = "module";
  script.src = address;
  if (nonce !== undefined) script.nonce = nonce;
  document.head.append(script);
  return script;
}

/** @param {string} provider */
function nameProvider(provider) {
  if (document.querySelector('meta[name="lunacore-provider"]') !== null) return;
  const meta = document.createElement("meta");
  meta.name = "lunacore-provider";
  meta.content = provider;
  document.head.append(meta);
}
