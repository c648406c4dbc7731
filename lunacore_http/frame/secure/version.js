/**
 * The version of what page and frames tell each other (docs/spec/frame-messages.md).
 */

export const VERSION = 1;
