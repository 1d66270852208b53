/** Where in the file clients and resources are. */
export interface Places {
  readonly file: string
  /** Lines from 1, by name. */
  readonly clients: ReadonlyMap<string, number>
  readonly resources: ReadonlyMap<string, number>
}

/** ` (sallyport.yaml:12)`; empty where there is no file. */
export const placeOf = (places: Places | undefined, part: "clients" | "resources", name: string): string => {
  const line = places?.[part].get(name)
  return line === undefined ? "" : ` (${places!.file}:${line})`
}
