/**
 * Every place below an object where something is kept: maps, sets and arrays that are not empty (of zeros and nothing), typed
 * arrays that are not zero. Found by looking, so that a table that is added is looked at, too.
 */
export const keptIn = (root: object): ReadonlyArray<string> => {
  const kept = new Set<string>()
  const seen = new Set<object>()
  const look = (value: unknown, path: string): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return
    seen.add(value)
    if (ArrayBuffer.isView(value)) {
      if (!(value instanceof DataView) && (value as Uint8Array).some((n) => n !== 0)) kept.add(path)
      return
    }
    if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return
    if (value instanceof Map || value instanceof Set) {
      if (value.size > 0) kept.add(path)
      return
    }
    if (Array.isArray(value)) {
      if (value.some((each) => each !== undefined && each !== 0 && typeof each !== "function")) kept.add(path)
      return
    }
    for (const [name, each] of Object.entries(value)) look(each, `${path}.${name}`)
  }
  look(root, "engine")
  return [...kept].toSorted()
}
