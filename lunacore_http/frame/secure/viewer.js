/**
 * The frame of <secure-image> and <secure-viewer>.
 */

import { FILE_TEXTS } from "./file-texts.js";
import { FileViewer } from "./file-viewer.js";
import { begin } from "./inside.js";
import { teach } from "./texts.js";

teach(FILE_TEXTS);
begin({ image: (link) => new FileViewer(link, "image"), viewer: (link) => new FileViewer(link, "viewer") });
