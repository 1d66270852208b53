/**
 * A YAML file that is read again and again: an entry whose text is the one of the last time is not parsed anew. Cut are
 * block mappings, the file's own and those right under its keys, before lines that begin with a key at their indentation.
 *
 * By YAML's grammar (1.2.2, §8.2.2) a block mapping is a row of entries, each read by its own text and the indentation
 * alone. So where each piece is a mapping of one entry by itself, and no mark of a document stands between them, the
 * file is the mapping of them all. Where it is not cut like this, or anything is wrong, it is read as one. (As one the
 * library refuses what it is by the grammar in one case: text without quotes below an empty line and a comment further out.)
 */
import * as Result from "effect/Result"
import { type Document, isMap, isScalar, LineCounter, parseDocument } from "yaml"
import { maxFileLength } from "./GatewayConfig.ts"
import {
  keysIn,
  nameOf,
  offsetOf,
  parseYaml,
  placeAt,
  refuseNodes,
  type YamlSource,
  yamlOptions
} from "./yamlSource.ts"

/** Reads like `parseYaml`, and keeps what it has read for the next time. */
export const makeYamlReader = (): typeof parseYaml => {
  let known: ReadonlyMap<string, Entry> = new Map()
  return (text) => {
    const read = readEntries(text, known)
    if (read === null) return parseYaml(text)
    known = read.entries
    return Result.succeed(read.source)
  }
}

/** A mapping's only entry. */
interface Entry {
  readonly name: string
  readonly value: unknown
}

interface Piece {
  /** Offset in the file. */
  readonly at: number
  readonly text: string
  /** Its value's entries; empty: its value is in its own text. */
  readonly inner: Array<Piece>
}

interface Section extends Entry {
  readonly piece: Piece
  readonly inner: ReadonlyMap<string, Piece>
}

const readEntries = (text: string, known: ReadonlyMap<string, Entry>) => {
  const lines = new LineCounter()
  const pieces = text.length > maxFileLength ? null : piecesOf(text, lines)
  if (pieces === null) return null
  const entries = new Map<string, Entry>()
  const entryOf = (piece: Piece): Entry | null => {
    const entry = known.get(piece.text) ?? readEntry(piece.text)
    if (entry !== null) entries.set(piece.text, entry)
    return entry
  }
  const sections = new Map<string, Section>()
  for (const piece of pieces) {
    const entry = entryOf(piece)
    if (entry === null || sections.has(entry.name)) return null
    const inner = new Map<string, Piece>()
    const values: Record<string, unknown> = {}
    for (const each of piece.inner) {
      const of = entryOf(each)
      if (of === null || inner.has(of.name)) return null
      inner.set(of.name, each)
      values[of.name] = of.value
    }
    sections.set(entry.name, { ...entry, ...(inner.size > 0 ? { value: values } : {}), piece, inner })
  }
  return { entries, source: sourceOf(sections, lines) }
}

const sourceOf = (sections: ReadonlyMap<string, Section>, lines: LineCounter): YamlSource => {
  const documents = new Map<Piece, Document.Parsed>()
  const documentOf = (piece: Piece): Document.Parsed => {
    const document = documents.get(piece) ?? parseDocument(piece.text, yamlOptions)
    documents.set(piece, document)
    return document
  }
  const offsetAt = (path: ReadonlyArray<PropertyKey>, key: boolean): number => {
    const [first, ...rest] = path
    const section = sections.get(String(first))
    if (section === undefined) return sections.values().next().value!.piece.at
    const { inner, piece } = section
    if (inner.size === 0) return piece.at + offsetOf(documentOf(piece), path, key)
    if (rest.length === 0 && key) return piece.at
    const of = inner.get(String(rest[0])) ?? piece.inner[0]!
    return of.at + offsetOf(documentOf(of), rest, key)
  }
  return {
    value: Object.fromEntries(Array.from(sections, ([name, { value }]) => [name, value])),
    locate: (path, key = false) => placeAt(lines, offsetAt(path, key)),
    linesIn: (part) => {
      const section = sections.get(part)
      if (section === undefined) return new Map()
      const { inner, piece } = section
      const keys =
        inner.size > 0
          ? Array.from(inner, ([key, { at }]) => ({ key, at }))
          : keysIn(documentOf(piece), part).map(({ at, key }) => ({ key, at: piece.at + at }))
      return new Map(keys.map(({ at, key }) => [key, placeAt(lines, at).line] as const))
    }
  }
}

/** A mapping of one entry, right by itself; `null`: anything else. */
const readEntry = (text: string): Entry | null => {
  // A slice of a text keeps all of that: the file of today would stay for as long as one of its entries is the same.
  const own = text.split("").join("")
  try {
    const document = parseDocument(own, yamlOptions)
    if (document.errors.length + document.warnings.length > 0 || !isMap(document.contents)) return null
    if (refuseNodes(document, own, () => ({ line: 1, column: 1 })).length > 0) return null
    const [entry, another] = document.contents.items
    if (entry === undefined || another !== undefined || !isScalar(entry.key)) return null
    const name = nameOf(entry.key)
    const value: Readonly<Record<string, unknown>> = document.toJS({ maxAliasCount: 100 })
    return { name, value: value[name] }
  } catch {
    // Nested too deeply, or its aliases expand without end.
    return null
  }
}

/** Marks of a document, directives, tabs that may be taken for an indentation, and what may be the end of a line or not. */
const uncut = /^(?:---|\.\.\.|%| *\t)|\r(?!\n)/m
/** Nothing, or a comment. */
const empty = /^[ \t\r]*(?:#|$)/
/** A key, a word or in quotes, at an indentation, and what follows it. */
const keyed = /^( *)(?:[A-Za-z0-9_][^\s:#'"]*|"[^"\\]*"|'[^']*')[ \t]*:(?:[ \t]+|$|(?=\r))(.*)/

/** `null`: the file is no block mapping of such lines. */
const piecesOf = (text: string, lines: LineCounter): ReadonlyArray<Piece> | null => {
  if (uncut.test(text)) return null
  const starts: Array<{ readonly at: number; readonly isInner: boolean }> = []
  /** Indentation of the entries of a section; `null`: it has none, or its first line will tell. */
  let indent: number | null = null
  let isOpen = false
  for (let at = 0, next = 0; at < text.length; at = next) {
    lines.addNewLine(at)
    const end = text.indexOf("\n", at)
    next = end < 0 ? text.length : end + 1
    const line = text.slice(at, end < 0 ? next : end)
    if (empty.test(line)) continue
    const [, blanks, value = ""] = keyed.exec(line) ?? []
    if (blanks === "") {
      starts.push({ at, isInner: false })
      indent = null
      isOpen = empty.test(value)
      continue
    }
    if (starts.length === 0) return null
    if (isOpen) indent = blanks?.length ?? null
    isOpen = false
    if (blanks !== undefined && blanks.length === indent) starts.push({ at, isInner: true })
  }
  const pieces: Array<Piece> = []
  for (const [i, { at, isInner }] of starts.entries()) {
    const piece: Piece = { at, text: text.slice(at, starts[i + 1]?.at), inner: [] }
    if (isInner) pieces.at(-1)!.inner.push(piece)
    else pieces.push(piece)
  }
  return pieces.length === 0 ? null : pieces
}
