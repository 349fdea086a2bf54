/** Finds the files in what is dropped, picked or pasted; folders are looked through. */
// @ts-check

const WAV_NAME = /\.(wav|wave|bwf|rf64)$/i;

/**
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>} files, and of folders only those with a WAV's name
 */
export async function filesOf(transfer) {
  // The entries are gone after the first await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  const folders = entries.filter((entry) => entry?.isDirectory);
  if (!folders.length) return [...transfer.files];
  const plain = [...transfer.files].filter((_, at) => !entries[at]?.isDirectory);
  const found = await Promise.all(folders.map((entry) => inFolder(/** @type {FileSystemDirectoryEntry} */ (entry))));
  return [...plain, ...found.flat()];
}

/**
 * @param {FileSystemDirectoryEntry} folder
 * @returns {Promise<File[]>}
 */
async function inFolder(folder) {
  const reader = folder.createReader();
  /** @type {File[]} */
  const files = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return files;
    for (const entry of entries) {
      if (entry.isDirectory) files.push(...(await inFolder(/** @type {FileSystemDirectoryEntry} */ (entry))));
      else if (WAV_NAME.test(entry.name)) files.push(await fileOf(/** @type {FileSystemFileEntry} */ (entry)));
    }
  }
}

/**
 * @param {FileSystemFileEntry} entry
 * @returns {Promise<File>}
 */
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
