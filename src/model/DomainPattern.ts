import { canonicalName, labelsOf, parentName } from "../dns/name.ts"

/**
 * Which names a DNS resource covers: a glob over labels, as the portal has it since 1.2. Inside a label `*`
 * stands for any characters and `?` for one; a label `**` stands for any number of labels. Without regard to case.
 * `*.example.com` and `**.example.com` also cover `example.com` itself.
 */

/** Why `pattern` is none, as the end of a sentence; `null` when it is fine. */
export const validate = (pattern: string): string | null => {
  const text = normalize(pattern)
  if (text === "") return "it is empty"
  if (text.length > maxLength) return `it is longer than ${maxLength} characters`
  for (const label of text.split(".")) {
    if (label === "") return "it has an empty label"
    if (label.length > maxLabel) return `a label is longer than ${maxLabel} characters`
    if (!patternLabel.test(label)) return `the label "${label}" has characters that no DNS name has`
    if (label !== "**" && label.includes("**")) return `"**" must be a label of its own, not part of "${label}"`
  }
  return null
}

/** Whether the pattern covers the name (`DomainText`, any bytes). An invalid pattern covers nothing; what is no name is covered by nothing. */
export const matches = (pattern: string, domain: string): boolean => {
  const name = readDomain(domain)
  const parts = takenApart(pattern)
  return name !== undefined && parts !== null && isOrEndsWith(name.text, parts.ending) && covers(parts, name)
}

/** Many patterns, of which a name is held against those only that end as it does. */
export class PatternIndex<A> {
  private readonly byEnding = new Map<
    string,
    Array<{ readonly parts: Parts; readonly item: A; readonly order: number }>
  >()

  constructor(items: ReadonlyArray<A>, patternOf: (item: A) => string) {
    for (const [order, item] of items.entries()) {
      const parts = takenApart(patternOf(item))
      if (parts === null) continue
      const entries = this.byEnding.get(parts.ending)
      if (entries === undefined) this.byEnding.set(parts.ending, [{ parts, item, order }])
      else entries.push({ parts, item, order })
    }
  }

  /** Those that cover the name, in the order given. */
  covering(domain: string): ReadonlyArray<A> {
    const name = readDomain(domain)
    if (name === undefined) return []
    const found = [name.text, ...domainsAbove(name.text), ""]
      .flatMap((ending) => this.byEnding.get(ending) ?? [])
      .filter(({ parts }) => covers(parts, name))
    return found.sort((a, b) => a.order - b.order).map(({ item }) => item)
  }
}

interface Parts {
  /** The literal labels at the end: every name that is covered has them, and most others do not. */
  readonly ending: string
  /** The name that `*.` in front covers, too. */
  readonly apex: string | null
  readonly labels: ReadonlyArray<string>
}

/** Patterns are asked about at each question: each is taken apart once. More than anybody has, and it begins anew. */
const patterns = new Map<string, Parts | null>()
const maxPatterns = 65_536

const takenApart = (pattern: string): Parts | null => {
  const known = patterns.get(pattern)
  if (known !== undefined) return known
  const text = normalize(pattern)
  const labels = patternLabels(text)
  const lastGlob = labels.findLastIndex((label) => /[*?]/.test(label))
  const ending = labels.slice(lastGlob + 1).join(".")
  const parts =
    validate(pattern) === null ? { ending, apex: text.startsWith("*.") ? text.slice(2) : null, labels } : null
  if (patterns.size >= maxPatterns) patterns.clear()
  patterns.set(pattern, parts)
  return parts
}

/** Of a name with the pattern's ending. */
const covers = (parts: Parts, name: Domain): boolean =>
  parts.apex === name.text || matchLabels(parts.labels, name.labels)

const domainsAbove = (name: string): ReadonlyArray<string> => {
  const above: Array<string> = []
  for (let at = parentName(name); at !== "."; at = parentName(at)) above.push(at)
  return above
}

const isOrEndsWith = (name: string, ending: string): boolean =>
  ending === "" ||
  (name.endsWith(ending) && (name.length === ending.length || name[name.length - ending.length - 1] === "."))

/** Lower case, no trailing dot; `undefined` for what is no name (RFC 1035 lengths), and for the root. */
export const canonicalDomain = (domain: string): string | undefined => readDomain(domain)?.text

interface Domain {
  /** In its canonical form. */
  readonly text: string
  /** A character for each byte. */
  readonly labels: ReadonlyArray<string>
}

/** A question's name is held against patterns again and again: the last one need not be read anew. */
let lastRead: { readonly domain: string; readonly name: Domain | undefined } | undefined

const readDomain = (domain: string): Domain | undefined => {
  if (lastRead?.domain !== domain) lastRead = { domain, name: readAnew(domain) }
  return lastRead.name
}

const readAnew = (domain: string): Domain | undefined => {
  if (!/^[!-~]+$/.test(domain) || labelsOf(domain) === null) return undefined
  const text = canonicalName(domain)
  const labels = labelsOf(text)!.map((label) => String.fromCharCode(...label))
  return labels.length === 0 ? undefined : { text, labels }
}

/** The domain that holds every name the pattern covers: what stands behind the last label with `*` or `?`; an exact name's is the one above it. */
export const domainOf = (pattern: string): string => {
  const labels = normalize(pattern).split(".")
  const last = labels.findLastIndex((label) => /[*?]/.test(label))
  return last < 0 ? parentName(normalize(pattern)) : labels.slice(last + 1).join(".") || "."
}

/** Whether the pattern is one name. */
export const isExact = (pattern: string): boolean => !/[*?]/.test(pattern)

/**
 * Orders patterns, the most specific first: read from the right, a literal comes before `?`, before `*`, before `**`, before
 * the end, and that before a further label. A total order, so that a choice among resources is always the same.
 */
export const compareSpecificity = (a: string, b: string): number => {
  const left = tokens(a)
  const right = tokens(b)
  for (let i = 0; i < left.length || i < right.length; i++) {
    const x = left[left.length - 1 - i]
    const y = right[right.length - 1 - i]
    if (x !== y) return rank(x) - rank(y) || (x! < y! ? -1 : 1)
  }
  return 0
}

const maxLength = 253
const maxLabel = 63
const patternLabel = /^[a-z0-9_*?-]+$/

const normalize = (text: string): string => {
  const lower = text.length > maxLength + 1 ? text : text.toLowerCase()
  return lower.endsWith(".") ? lower.slice(0, -1) : lower
}

/** A `**` at the end covers at least one label: `lab.**` is what lies below `lab`. */
const patternLabels = (text: string): Array<string> => {
  const labels = text.split(".").filter((label, i, all) => label !== "**" || all[i - 1] !== "**")
  return labels.at(-1) === "**" ? [...labels, "*"] : labels
}

/**
 * Matches `items` against `pattern` where `many` takes any number of items. Only the last `many` is ever retried, so the
 * work is at most pattern × items, whatever the pattern.
 */
const matchSequence = <P, I>(
  pattern: ArrayLike<P>,
  items: ArrayLike<I>,
  isMany: (part: P) => boolean,
  matchOne: (part: P, item: I) => boolean
): boolean => {
  let p = 0
  let i = 0
  let retryPattern = -1
  let retryItem = 0
  while (i < items.length) {
    const part = pattern[p]
    if (part !== undefined && isMany(part)) {
      retryPattern = p++
      retryItem = i
    } else if (part !== undefined && matchOne(part, items[i]!)) {
      p++
      i++
    } else if (retryPattern >= 0) {
      p = retryPattern + 1
      i = ++retryItem
    } else {
      return false
    }
  }
  while (p < pattern.length && isMany(pattern[p]!)) p++
  return p === pattern.length
}

const matchLabels = (pattern: ReadonlyArray<string>, labels: ReadonlyArray<string>): boolean =>
  matchSequence(pattern, labels, (label) => label === "**", matchLabel)

const matchLabel = (pattern: string, label: string): boolean =>
  matchSequence<string, string>(
    pattern,
    label,
    (c) => c === "*",
    (p, c) => p === "?" || p === c
  )

const tokens = (pattern: string): ReadonlyArray<string> => normalize(pattern).match(/\*\*|./gu) ?? []

/** `undefined`: the end. */
const rank = (token: string | undefined): number => {
  const at = ["?", "*", "**", undefined, "."].indexOf(token)
  return at < 0 ? 0 : at + 1
}
