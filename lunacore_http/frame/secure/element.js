/**
 * The frame of a component of the base: fields for text, and texts that are shown.
 */

import { begin } from "./inside.js";
import { Text } from "./text.js";
import { TextField } from "./text-field.js";

begin({
  input: (link) => new TextField(link, "input"),
  textarea: (link) => new TextField(link, "textarea"),
  paragraph: (link) => new Text(link, "paragraph"),
  span: (link) => new Text(link, "span"),
});
