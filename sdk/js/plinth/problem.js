/** Problems: what a plugin tells the host when it cannot do a call. */

/**
 * Why a call could not be done. Throw it where the input is at fault, so that a person can mend it; anything else that
 * is thrown counts as a defect of the plugin.
 */
export class Problem extends Error {
  /**
   * @param {string} code stable, kebab-case, documented by the plugin
   * @param {string} message for a person: names the offending value
   * @param {{ row?: number, column?: string, retryable?: boolean, cause?: unknown }} [where] row from 0
   */
  constructor(code, message, { row, column, retryable = false, cause } = {}) {
    super(String(message).toWellFormed(), cause === undefined ? undefined : { cause });
    this.name = "Problem";
    this.code = String(code).toWellFormed();
    this.retryable = Boolean(retryable);
    // The bindings take a number, not a BigInt, and null for nothing.
    this.row = row === undefined || row === null ? null : Number(row);
    this.column = column === undefined || column === null ? null : String(column).toWellFormed();
  }
}

/** ", did you mean `X`?" for the nearest of some names, or nothing where none is near. */
export function nearest(name, names) {
  let best;
  for (const candidate of names) {
    const away = distance([...name], [...candidate]);
    if (!best || away < best.away) best = { away, candidate };
  }
  const near = best && best.away <= Math.floor(Math.max([...name].length, 3) / 3);
  return near ? `, did you mean \`${best.candidate}\`?` : "";
}

/** Edits from one name to another. */
function distance(from, to) {
  const row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let i = 0; i < from.length; i++) {
    let diagonal = row[0];
    row[0] = i + 1;
    for (let j = 0; j < to.length; j++) {
      const substituted = diagonal + (from[i] === to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = Math.min(substituted, row[j] + 1, diagonal + 1);
    }
  }
  return row[to.length];
}
