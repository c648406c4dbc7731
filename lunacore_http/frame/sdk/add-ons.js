/**
 * Components that not every page has: their modules are loaded when the page holds one of their elements.
 */

/**
 * Load each module as soon as one of its elements is in the page, now or later. Elements within shadow roots are not seen: a page
 * that has some imports the module by itself.
 *
 * @param {Readonly<Record<string, readonly string[]>>} elements by module, beside this one
 */
export function loadByNeed(elements) {
  const wanted = new Map(Object.entries(elements).map(([module, names]) => [module, names.join()]));
  /** @param {ParentNode} part of the page */
  function look(part) {
    for (const [module, names] of wanted) {
      if (part instanceof Element && part.matches(names) || part.querySelector(names) !== null) load(module, names);
    }
  }
  /**
   * @param {string} module
   * @param {string} names
   */
  function load(module, names) {
    wanted.delete(module);
    import(`./${module}`).catch((error) => {
      console.error(`LunaCore: ${module} did not load`, error);
      // The next of its elements is another attempt.
      wanted.set(module, names);
    });
  }
  new MutationObserver((changes) => {
    if (wanted.size === 0) return;
    for (const change of changes) for (const node of change.addedNodes) node instanceof Element && look(node);
  }).observe(document, { childList: true, subtree: true });
  look(document);
}
