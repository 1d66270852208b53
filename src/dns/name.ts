/**
 * Domain names (RFC 1035 §3.1, §4.1.4). As text: labels joined by dots without a trailing dot, case kept, the root
 * is `.`; a dot or backslash inside a label is `\.` or `\\`, a byte outside printable ASCII is `\DDD` (§5.1). The text
 * form is lossless.
 */
export type DomainText = string

/** Why bytes are no name. */
export type NameProblem = "NameTruncated" | "NameTooLong" | "BadLabelType" | "BadPointer"

/** Where a name ended; reused, so read it before the next call. */
export interface NameCursor {
  /** The offset after the name as it stands at its place (a pointer counts two bytes). */
  end: number
}

const headerBytes = 12
/** Of a name on the wire, lengths and root included. */
export const maxNameBytes = 255
/** Of a label, without its length. */
export const maxLabelBytes = 63
/** A name has at most 127 labels, so more jumps cannot be honest. */
const maxPointers = 127

/** Reads a name of a message. A pointer must point before the name's first byte, each further one before the last. */
export const readName = (bytes: Uint8Array, offset: number, cursor: NameCursor): DomainText | NameFailure => {
  let out = 0
  let at = offset
  let bound = offset
  let length = 0
  let jumps = 0
  let end = -1
  for (;;) {
    const head = bytes[at]
    if (head === undefined) return nameFailures.NameTruncated
    if (head === 0) {
      cursor.end = end < 0 ? at + 1 : end
      return out === 0 ? "." : String.fromCharCode(...scratch.subarray(0, out))
    }
    if (head >= 0xc0) {
      const low = bytes[at + 1]
      if (low === undefined) return nameFailures.NameTruncated
      const target = ((head & 0x3f) << 8) | low
      if (target < headerBytes || target >= bound || ++jumps > maxPointers) return nameFailures.BadPointer
      if (end < 0) end = at + 2
      bound = target
      at = target
      continue
    }
    if (head > maxLabelBytes) return nameFailures.BadLabelType
    length += head + 1
    if (length + 1 > maxNameBytes) return nameFailures.NameTooLong
    if (at + 1 + head > bytes.length) return nameFailures.NameTruncated
    if (out > 0) scratch[out++] = 0x2e
    for (let i = at + 1; i <= at + head; i++) out = writeByte(bytes[i]!, out)
    at += 1 + head
  }
}

export interface NameFailure {
  readonly problem: NameProblem
}

/** The labels' bytes of a text, without the root; `null` when it is no name that fits the limits of 63 and 255. */
export const labelsOf = (text: DomainText): ReadonlyArray<Uint8Array> | null => {
  if (text === "." || text === "") return []
  const labels: Array<Uint8Array> = []
  let length = 0
  let total = 1
  for (let i = 0; i <= text.length; i++) {
    const c = i === text.length ? 0x2e : text.charCodeAt(i)
    if (c === 0x2e) {
      // A trailing dot only says that the name is absolute.
      if (length === 0 && i === text.length) break
      if (length === 0 || length > maxLabelBytes) return null
      total += length + 1
      if (total > maxNameBytes) return null
      labels.push(label.slice(0, length))
      length = 0
    } else if (c === 0x5c) {
      const digits = /^[0-9]{3}/.exec(text.slice(i + 1, i + 4))
      const value = digits === null ? text.charCodeAt(i + 1) : Number(digits[0])
      if (!(value <= 255) || (digits === null && value > 0x7e)) return null
      label[length++] = value
      i += digits === null ? 1 : 3
    } else {
      if (c < 0x21 || c > 0x7e) return null
      label[length++] = c
    }
  }
  return labels
}

/** The bytes of the label that is read; those of one that is too long are not kept. */
const label = new Uint8Array(maxLabelBytes)

/** Lower case without trailing dot: the form of `Name.domain` and of keys. ASCII only (RFC 4343). */
export const canonicalName = (text: DomainText): DomainText => {
  if (isCanonical(text)) return text
  const lower = text.replaceAll(/[A-Z]+/g, (s) => s.toLowerCase())
  return lower.length > 1 && lower.endsWith(".") && /(^|[^\\])(\\\\)*\.$/.test(lower) ? lower.slice(0, -1) : lower
}

/** Most are: looking costs less than a pattern. */
const isCanonical = (text: DomainText): boolean => {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c >= 0x41 && c <= 0x5a) return false
  }
  return text.length <= 1 || text.charCodeAt(text.length - 1) !== 0x2e
}

export const sameName = (a: DomainText, b: DomainText): boolean => a === b || canonicalName(a) === canonicalName(b)

/** Whether `name` is `zone` or below it. */
export const isWithin = (name: DomainText, zone: DomainText): boolean => {
  const above = canonicalName(zone)
  for (let below = canonicalName(name); below !== "."; below = parentName(below)) if (below === above) return true
  return above === "."
}

/** The name one label up; the root's is the root. */
export const parentName = (text: DomainText): DomainText => {
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") i++
    else if (text[i] === "." && i + 1 < text.length) return text.slice(i + 1)
  }
  return "."
}

const nameFailures: { readonly [P in NameProblem]: NameFailure } = {
  NameTruncated: { problem: "NameTruncated" },
  NameTooLong: { problem: "NameTooLong" },
  BadLabelType: { problem: "BadLabelType" },
  BadPointer: { problem: "BadPointer" }
}

/** The text of the name that is read, flat: a string put together byte by byte is a chain of a thousand pieces. */
const scratch = new Uint8Array(maxNameBytes * 4)

/** Writes the byte's text form at `out`; returns where the next goes. */
const writeByte = (byte: number, out: number): number => {
  if (byte > 0x20 && byte < 0x7f) {
    if (byte === 0x2e || byte === 0x5c) scratch[out++] = 0x5c
    scratch[out] = byte
    return out + 1
  }
  scratch[out] = 0x5c
  scratch[out + 1] = 0x30 + Math.floor(byte / 100)
  scratch[out + 2] = 0x30 + (Math.floor(byte / 10) % 10)
  scratch[out + 3] = 0x30 + (byte % 10)
  return out + 4
}
