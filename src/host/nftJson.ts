/** Into nft's JSON (libnftables-json(5)), of which little is read. */
export const at = (value: unknown, ...keys: ReadonlyArray<string>): unknown => {
  let found = value
  for (const key of keys) found = isRecord(found) ? found[key] : undefined
  return found
}

export const textAt = (value: unknown, ...keys: ReadonlyArray<string>): string => {
  const found = at(value, ...keys)
  return typeof found === "string" ? found : ""
}

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)
