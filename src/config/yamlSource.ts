import * as Result from "effect/Result"
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, type Document } from "yaml"
import { maxFileLength } from "./GatewayConfig.ts"
import { type Problem, quote } from "./problem.ts"

/** The file's plain value, and where in the text its parts are. */
export interface YamlSource {
  readonly value: unknown
  /** Position of the value at `path` or, with `key`, of its key; the nearest enclosing thing when there is none. */
  readonly locate: (path: ReadonlyArray<PropertyKey>, key?: boolean) => Pick<Problem, "line" | "column">
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
  const position = (offset: number) => {
    const { line, col } = lines.linePos(Math.min(offset, text.length))
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: "1.2", schema: "core" })
    const problems = [...document.errors, ...document.warnings].slice(0, maxSyntaxProblems).map((error) => ({
      ...position(error.pos[0]),
      cause: firstSentence(error.message),
      fix: syntaxFixes[error.code] ?? "correct the YAML here; strings with special characters need quotes"
    }))
    if (problems.length > 0) return Result.fail(problems)
    const keys = refuseKeys(document, position)
    if (keys.length > 0) return Result.fail(keys)
    const locate: YamlSource["locate"] = (path, key = false) => position(offsetOf(document, path, key))
    try {
      return Result.succeed({ value: document.toJS({ maxAliasCount: 100 }), locate })
    } catch {
      const anchor = /&\w/.exec(text)
      return Result.fail([
        {
          ...position(anchor?.index ?? 0),
          cause: "aliases expand without end or refer to nothing",
          fix: "write the values out instead of using *aliases"
        }
      ])
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return Result.fail([{ line: 1, column: 1, cause: "the file is nested too deeply", fix: "is this the right file?" }])
  }
}

/** The first few: the others are mostly consequences of them. */
const maxSyntaxProblems = 3

const syntaxFixes: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: "remove or rename one of the two",
  TAB_AS_INDENT: "indent with spaces",
  MULTIPLE_DOCS: "keep one document; remove the ---",
  TAG_RESOLVE_FAILED: "remove the !tag",
  BAD_INDENT: "indent it like its neighbours",
  MISSING_CHAR: "add the missing character"
}

const firstSentence = (message: string): string => {
  const line = message.split("\n")[0]!
  return line.charAt(0).toLowerCase() + line.slice(1)
}

/** Every key must be a scalar, and none may be one that plain objects treat specially. */
const refuseKeys = (
  document: Document.Parsed,
  position: (offset: number) => Pick<Problem, "line" | "column">
): Array<Problem> => {
  const problems: Array<Problem> = []
  const walk = (node: unknown): void => {
    if (isSeq(node)) node.items.forEach(walk)
    if (!isMap(node)) return
    for (const pair of node.items) {
      const at = position(offset(pair.key) ?? offset(node) ?? 0)
      if (!isScalar(pair.key)) {
        problems.push({ ...at, cause: "a key must be a plain word", fix: "write the key as a word or in quotes" })
      } else if (pair.key.value === "__proto__" || pair.key.value === null || pair.key.value === "") {
        const shown = quote(pair.key.value ?? "")
        problems.push({ ...at, cause: `${shown} cannot be a key`, fix: "use another name" })
      }
      walk(pair.value)
    }
  }
  walk(document.contents)
  return problems
}

const offset = (node: unknown): number | undefined => (isNode(node) ? node.range?.[0] : undefined)

const offsetOf = (document: Document.Parsed, path: ReadonlyArray<PropertyKey>, key: boolean): number => {
  let node: unknown = document.contents
  let found = offset(node) ?? 0
  for (const [i, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step))
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
