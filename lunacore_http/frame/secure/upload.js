/**
 * The frame of <secure-upload>.
 */

import { FILE_TEXTS } from "./file-texts.js";
import { begin } from "./inside.js";
import { teach } from "./texts.js";
import { Uploads } from "./uploads.js";

teach(FILE_TEXTS);
begin({ upload: (link) => new Uploads(link) });
