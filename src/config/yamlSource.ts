import * as Result from "effect/Result"
import {
  type Document,
  type ErrorCode,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Scalar,
  type YAMLError
} from "yaml"
import { maxFileLength } from "./GatewayConfig.ts"
import { type Problem, quote } from "./problem.ts"

/** How a file of ours is read: as one of YAML 1.2. */
export const yamlOptions = {
  version: "1.2",
  schema: "core",
  // It compares each key with all before it: `refuseNodes` looks for those that are there twice.
  uniqueKeys: false,
  prettyErrors: false
} as const

type Place = Pick<Problem, "line" | "column">

/** The file's plain value, and where in the text its parts are. */
export interface YamlSource {
  readonly value: unknown
  /** Position of the value at `path` or, with `key`, of its key; the nearest enclosing thing when there is none. */
  readonly locate: (path: ReadonlyArray<PropertyKey>, key?: boolean) => Place
  /** The lines of the keys of a mapping at the top, from 1. */
  readonly linesIn: (part: string) => ReadonlyMap<string, number>
}

/**
 * Reads one YAML 1.2 document. Refuses duplicate keys, unknown tags, several documents, keys that are not plain
 * words, and aliases that expand without end.
 */
export const parseYaml = (text: string): Result.Result<YamlSource, ReadonlyArray<Problem>> => {
  if (text.length > maxFileLength) {
    return Result.fail([
      { line: 1, column: 1, cause: "the file is larger than 1 MiB", fix: "is this the right file? Split it if so" }
    ])
  }
  const lines = new LineCounter()
  const position = (offset: number) => placeAt(lines, Math.min(offset, text.length))
  try {
    const document = parseDocument(text, { ...yamlOptions, lineCounter: lines })
    const problems = [...document.errors, ...document.warnings].slice(0, maxSyntaxProblems).map((error) => ({
      ...position(startOf(text, error)),
      ...explain(text, error)
    }))
    if (problems.length > 0) return Result.fail(problems)
    const refused = refuseNodes(document, text, position)
    if (refused.length > 0) return Result.fail(refused)
    const locate: YamlSource["locate"] = (path, key = false) => position(offsetOf(document, path, key))
    const linesIn = (part: string) =>
      new Map(keysIn(document, part).map(({ at, key }) => [key, position(at).line] as const))
    try {
      return Result.succeed({ value: document.toJS({ maxAliasCount: 100 }), locate, linesIn })
    } catch {
      const anchor = /&\w/.exec(text)
      return Result.fail([
        {
          ...position(anchor?.index ?? 0),
          cause: "aliases expand without end",
          fix: "write the values out instead of using *aliases"
        }
      ])
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return Result.fail([{ line: 1, column: 1, cause: "the file is nested too deeply", fix: "is this the right file?" }])
  }
}

/** From 1. */
export const placeAt = (lines: LineCounter, offset: number): Place => {
  const { line, col } = lines.linePos(offset)
  return { line: Math.max(1, line), column: Math.max(1, col) }
}

/** The first few: the others are mostly consequences of them. */
const maxSyntaxProblems = 3

type Explanation = Pick<Problem, "cause" | "fix">

/** What is said instead of the library's words, which are for programmers. */
const syntax: Readonly<Partial<Record<ErrorCode, Explanation>>> = {
  ALIAS_PROPS: { cause: "an alias (*) cannot have an anchor or tag", fix: "quote the text if it is none" },
  BAD_DQ_ESCAPE: { cause: "a backslash in double quotes has a meaning", fix: "use single quotes, or write \\\\" },
  BAD_DIRECTIVE: { cause: "a line that begins with % is a directive", fix: "remove the line, or quote the text" },
  BAD_INDENT: {
    cause: "the indentation does not fit, or a bracket is not closed",
    fix: "indent it like its neighbours"
  },
  BAD_SCALAR_START: { cause: "text cannot begin like this without quotes", fix: "quote it" },
  BLOCK_AS_IMPLICIT_KEY: {
    cause: "a key inside of another key's value, in one line",
    fix: "quote text that has a colon, or begin a line for the inner key"
  },
  BLOCK_IN_FLOW: { cause: "a list or mapping over several lines inside of brackets", fix: "write it in brackets, too" },
  MISSING_CHAR: { cause: "a colon, comma, quote or bracket is missing", fix: "add the missing character" },
  MULTILINE_IMPLICIT_KEY: {
    cause: "a key goes over several lines",
    fix: "indent it like its neighbours, end it with :"
  },
  MULTIPLE_DOCS: { cause: "the file has several documents", fix: "keep one document; remove the ---" },
  TAB_AS_INDENT: { cause: "a tab as indentation", fix: "indent with spaces" }
}

/** Text that begins so means something else than itself. */
const indicators: Readonly<Record<string, string>> = {
  "*": "refers to an anchor",
  "&": "makes an anchor",
  "!": "is a tag",
  "@": "is reserved",
  "`": "is reserved",
  "%": "is a directive"
}

/** A place where unquoted text begins that YAML takes for something else. */
const unquoted = (text: string, at: number): Explanation => {
  const [word = text.charAt(at)] = /^[^\s,[\]{}]+/.exec(text.slice(at, at + 300)) ?? []
  const token = word.length > 1 ? word.replace(/:$/, "") : word
  return {
    cause: `${quote(token)} begins with ${token.charAt(0)}, which ${indicators[token.charAt(0)]} in YAML`,
    fix: `quote it: ${quote(token)}`
  }
}

const startOf = (text: string, { code, pos: [at] }: YAMLError): number =>
  code === "BAD_ALIAS" ? text.lastIndexOf("*", at) : at

const explain = (text: string, error: YAMLError): Explanation => {
  const at = startOf(text, error)
  if (at >= 0 && unquotable.has(error.code) && Object.hasOwn(indicators, text.charAt(at))) return unquoted(text, at)
  return (
    syntax[error.code] ?? {
      cause: "this is no YAML",
      fix: "correct it here; text with special characters needs quotes"
    }
  )
}

const unquotable: ReadonlySet<ErrorCode> = new Set(["BAD_ALIAS", "BAD_SCALAR_START", "TAG_RESOLVE_FAILED"])

/**
 * Every key must be a scalar, and none may be one that plain objects treat specially. An alias must have its anchor, and an
 * anchor a value: else it is text that somebody forgot to quote.
 */
export const refuseNodes = (
  document: Document.Parsed,
  text: string,
  position: (offset: number) => Place
): Array<Problem> => {
  const problems: Array<Problem> = []
  const anchors = new Set<string>()
  const refuseUnquoted = (at: number): void => {
    problems.push({ ...position(at), ...unquoted(text, at) })
  }
  const walk = (node: unknown): void => {
    if (isAlias(node)) {
      if (!anchors.has(node.source)) refuseUnquoted(offset(node) ?? 0)
      return
    }
    if ((isScalar(node) || isMap(node) || isSeq(node)) && node.anchor !== undefined) {
      anchors.add(node.anchor)
      const end = offset(node) ?? 0
      if (isScalar(node) && node.value === null && !node.source) refuseUnquoted(text.lastIndexOf("&", end))
    }
    if (isSeq(node)) node.items.forEach(walk)
    if (!isMap(node)) return
    const keys = new Set<string>()
    for (const { key, value } of node.items) {
      const refuse = (explanation: Explanation): void => {
        problems.push({ ...position(offset(key) ?? offset(node) ?? 0), ...explanation })
      }
      if (isAlias(key)) {
        refuseUnquoted(offset(key) ?? 0)
      } else if (!isScalar(key)) {
        refuse({ cause: "a key must be a plain word", fix: "write the key as a word or in quotes" })
      } else if (key.value === "__proto__" || key.value === null || key.value === "") {
        refuse({ cause: `${quote(key.value ?? "")} cannot be a key`, fix: "use another name" })
      } else {
        const name = nameOf(key)
        if (keys.has(name)) refuse({ cause: "the key is there twice", fix: "remove or rename one of the two" })
        keys.add(name)
      }
      walk(value)
    }
  }
  walk(document.contents)
  return problems
}

/** The name that a key has in the plain value. */
export const nameOf = (key: Scalar): string => String(key.value)

export const keysIn = (
  document: Document,
  part: string
): ReadonlyArray<{ readonly key: string; readonly at: number }> => {
  if (!isMap(document.contents)) return []
  const value = document.contents.items.find(({ key }) => isScalar(key) && nameOf(key) === part)?.value
  const map = isAlias(value) ? value.resolve(document) : value
  return isMap(map)
    ? map.items.flatMap(({ key }) => (isScalar(key) ? [{ key: nameOf(key), at: offset(key) ?? 0 }] : []))
    : []
}

const offset = (node: unknown): number | undefined => (isNode(node) ? node.range?.[0] : undefined)

/** Where the value at `path` begins in the text or, with `key`, its key; the nearest enclosing thing when there is none. */
export const offsetOf = (document: Document.Parsed, path: ReadonlyArray<PropertyKey>, key: boolean): number => {
  let node: unknown = document.contents
  let found = offset(node) ?? 0
  for (const [i, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && nameOf(item.key) === String(step))
      if (pair === undefined) return found
      const wantsKey = key && i === path.length - 1
      found = (wantsKey ? undefined : offset(pair.value)) ?? offset(pair.key) ?? found
      if (!wantsKey && isScalar(pair.value) && pair.value.value === null) found = offset(pair.key) ?? found
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(step)]
      found = offset(node) ?? found
    } else {
      return found
    }
  }
  return found
}
