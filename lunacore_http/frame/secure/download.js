/**
 * The frame of <secure-download>.
 */

import { DownloadButton } from "./download-button.js";
import { FILE_TEXTS } from "./file-texts.js";
import { begin } from "./inside.js";
import { teach } from "./texts.js";

teach(FILE_TEXTS);
begin({ download: (link) => new DownloadButton(link) });
