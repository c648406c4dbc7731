/**
 * What the frames of files say beside what all frames do, in English.
 */

/** @type {Readonly<Record<string, string>>} */
export const FILE_TEXTS = {
  chooseFile: "Choose a file",
  chooseFiles: "Choose files",
  dropFile: "or drop it here",
  dropFiles: "or drop them here",
  fileSealing: "Uploading",
  fileLoading: "Loading",
  cancel: "Cancel",
  cancelFile: "Cancel %",
  remove: "Remove",
  removeFile: "Remove %",
  retryFile: "Try again: %",
  fileKeptSaid: "% was uploaded",
  fileRemovedSaid: "% was removed",
  fileFailedSaid: "% was not uploaded",
  fileTooLarge: "% is too large",
  fileWrongKind: "% is not of a kind that is taken here",
  fileTooMany: "No more files are taken: at most %",
  fileFolder: "Folders are not taken; choose the files in them",
  fileOversized: "Larger than is taken here",
  fileChanged: "The file changed or cannot be read. Choose it again.",
  fileMissing: "Please choose a file",
  files: "Files",
  program: "program",
  programSaid: "This is a program. Open it only if you trust who it is from.",
  download: "Download",
  downloading: "Downloading",
  downloaded: "Saved",
  unshown: "This kind of file is not shown here.",
  pdf: "PDF",
  damaged: "The file is damaged.",
  unsupportedVersion: "A later release is needed to open this.",
  valueTooLarge: "Too large to be shown here.",
};
