/**
 * Changes of a YAML file as cuts and insertions in its text, so that every other byte stays: comments, order, quoting,
 * indentation, line ends. Whoever uses it reads the result again and compares.
 */
import { isAlias, isMap, isNode, isScalar, isSeq, type Pair, parseDocument, type YAMLMap } from "yaml"
import { nameOf, yamlOptions } from "./yamlSource.ts"

/** The text with `key: value` as the last entry of the mapping at `path`, which is made when it is missing; `null`: by hand only. */
export const insertPair = (text: string, path: ReadonlyArray<string>, key: string, value: string): string | null => {
  const eol = text.includes("\r\n") ? "\r\n" : "\n"
  const entry = `${key}: ${value}`
  const found = find(text, path)
  if (found === null) {
    const parent = path.slice(0, -1)
    return path.length === 0 ? null : insertPair(text, parent, path.at(-1)!, `{ ${entry} }`)
  }
  const { map, pair } = found
  if (map === null) {
    if (pair === null || !isScalar(pair.value) || pair.value.value !== null || !isScalar(pair.key)) return null
    const [from, to] = pair.value.source === "" ? [0, 0] : pair.value.range!
    const at = text.indexOf(":", pair.key.range![1]) + 1
    return to > from ? splice(text, from, to, `{ ${entry} }`) : splice(text, at, at, ` { ${entry} }`)
  }
  const last = map.items.at(-1)
  if (map.flow === true) {
    if (last === undefined) {
      const [from, to] = [map.range![0] + 1, map.range![1] - 1]
      // A comment stays.
      return text.slice(from, to).trim() === ""
        ? splice(text, from, to, ` ${entry} `)
        : splice(text, from, from, ` ${entry}`)
    }
    const at = endOf(last)
    return splice(text, at, at, `, ${entry}`)
  }
  const first = map.items[0]
  if (last === undefined || first === undefined || !isNode(first.key)) return null
  const at = lineEnd(text, endOf(last))
  return splice(text, at, at, `${eol}${indentAt(text, first.key.range![0])}${entry}`)
}

/** The text without the entry at `path`; an empty mapping stays as `{}`. */
export const removePair = (text: string, path: ReadonlyArray<string>): string | null => {
  const found = find(text, path.slice(0, -1))
  if (found === null || found.map === null) return null
  const { map, pair: holder } = found
  const at = map.items.findIndex((pair) => isScalar(pair.key) && nameOf(pair.key) === path.at(-1))
  const pair = map.items[at]
  if (pair === undefined || !isNode(pair.key)) return null
  const start = pair.key.range![0]
  if (map.flow === true) {
    const next = map.items[at + 1]
    const before = map.items[at - 1]
    if (next !== undefined && isNode(next.key)) return splice(text, start, next.key.range![0], "")
    return splice(text, before === undefined ? start : endOf(before), endOf(pair), "")
  }
  const end = Math.min(text.length, lineEnd(text, endOf(pair)))
  const from = text.lastIndexOf("\n", start - 1) + 1
  const to = text.startsWith("\r\n", end) ? end + 2 : Math.min(text.length, end + 1)
  // The last line of a file without a final newline takes the newline before it along.
  const cut =
    to === end ? splice(text, Math.max(0, text.startsWith("\r", from - 2) ? from - 2 : from - 1), to, "") : null
  const rest = cut ?? splice(text, from, to, "")
  if (map.items.length > 1) return rest
  if (holder === null || !isNode(holder.key)) return null
  const colon = rest.indexOf(":", holder.key.range![1]) + 1
  return splice(rest, colon, colon, " {}")
}

const splice = (text: string, from: number, to: number, between: string): string =>
  text.slice(0, from) + between + text.slice(to)

interface Found {
  readonly map: YAMLMap | null
  /** The entry whose value is the mapping, or nothing yet; `null`: the root. */
  readonly pair: Pair | null
}

const find = (text: string, path: ReadonlyArray<string>): Found | null => {
  let pair: Pair | null = null
  let node: unknown = parseDocument(text, yamlOptions).contents
  for (const step of path) {
    if (!isMap(node)) return { map: null, pair: null }
    const next: Pair | undefined = node.items.find((item) => isScalar(item.key) && nameOf(item.key) === step)
    if (next === undefined) return null
    pair = next
    node = next.value
  }
  return { map: isMap(node) ? node : null, pair }
}

/** Where the last token of an entry ends. */
const endOf = (node: unknown): number => {
  if (typeof node === "object" && node !== null && "key" in node && "value" in node) {
    const value = endOf(node.value)
    return value > 0 ? value : endOf(node.key)
  }
  if ((isMap(node) || isSeq(node)) && node.flow !== true && node.items.length > 0) return endOf(node.items.at(-1))
  return isAlias(node) || isNode(node) ? (node.range?.[1] ?? 0) : 0
}

/** Where the line ends, before its line end. */
const lineEnd = (text: string, at: number): number => {
  const newline = text.indexOf("\n", at)
  if (newline < 0) return text.length
  return text.charAt(newline - 1) === "\r" ? newline - 1 : newline
}

const indentAt = (text: string, at: number): string => {
  const from = text.lastIndexOf("\n", at - 1) + 1
  return /^ */.exec(text.slice(from, at))![0]
}
