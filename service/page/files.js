/** Finds the files in what is dropped; folders are looked through. */
// @ts-check
import { title } from "./format.js";

/**
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>} files, and of folders only those with a WAV's name
 */
export async function filesOf(transfer) {
  // The entries are gone after the first await.
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  return (await Promise.all(entries.map((entry) => filesIn(entry, false)))).flat();
}

/**
 * @param {FileSystemEntry} entry
 * @param {boolean} isInFolder
 * @returns {Promise<File[]>}
 */
async function filesIn(entry, isInFolder) {
  if (entry.isFile) {
    const isWanted = !isInFolder || title(entry.name) !== entry.name;
    return isWanted ? [await new Promise((found, fail) => /** @type {FileSystemFileEntry} */ (entry).file(found, fail))] : [];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const files = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((found, fail) => reader.readEntries(found, fail));
    if (!some.length) return files;
    for (const one of some) files.push(...(await filesIn(one, true)));
  }
}
