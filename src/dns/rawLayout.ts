/**
 * The types whose RDATA may hold compressed names (RFC 1035 and the list of RFC 3597 §4), as a sequence of fixed
 * byte counts, names and character-strings. What follows the layout, and all of every other type, is opaque.
 */
export const rawLayout = (type: number): ReadonlyArray<number | "name" | "string"> => layouts[type] ?? opaque

const opaque: ReadonlyArray<never> = []

const layouts: Readonly<Record<number, ReadonlyArray<number | "name" | "string">>> = {
  2: ["name"], // NS
  3: ["name"], // MD
  4: ["name"], // MF
  7: ["name"], // MB
  8: ["name"], // MG
  9: ["name"], // MR
  14: ["name", "name"], // MINFO
  15: [2, "name"], // MX
  17: ["name", "name"], // RP
  18: [2, "name"], // AFSDB
  21: [2, "name"], // RT
  26: [2, "name", "name"], // PX
  33: [6, "name"], // SRV
  35: [4, "string", "string", "string", "name"], // NAPTR
  39: ["name"] // DNAME
}
