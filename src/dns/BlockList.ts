/**
 * Names that are not answered, as lists of the public write them. A line in the format of hosts(5) with an address that leads
 * nowhere (0.0.0.0, 127.0.0.1, ::, ::1) is about just these names; a line with a domain alone, `*.domain` as well, is about
 * all names below it, too; a top-level domain as `*.zip` only. `#` begins a comment.
 */
import { isLoopback, isUnspecified, parseAddress } from "../packet/address.ts"
import { parentName } from "./name.ts"

/** Names of one list; more are counted and left out. */
const maxNames = 1_000_000

export class BlockList {
  /** Lines that make no sense, and the first one's number from 1. */
  bad = 0
  firstBad = 0
  /** Names for which there was no room. */
  leftOut = 0
  private lines = 0
  private readonly exact = new Set<string>()
  private readonly below = new Set<string>()
  private readonly limit: number

  constructor(limit: number = maxNames) {
    this.limit = limit
  }

  /** Names on the list. */
  get size(): number {
    return this.exact.size + this.below.size
  }

  /** Takes whole lines in. */
  add(text: string): void {
    for (const line of text.split("\n")) {
      this.lines++
      if (!this.take(line)) {
        this.bad++
        if (this.firstBad === 0) this.firstBad = this.lines
      }
    }
  }

  /** The entry that is about the name (lower case, no trailing dot), the longest one. */
  find(domain: string): string | undefined {
    if (this.exact.has(domain)) return domain
    for (let at = domain; at !== "."; at = parentName(at)) if (this.below.has(at)) return at
    return undefined
  }

  private take(line: string): boolean {
    const [first, ...names] = line.replace(/#.*/, "").replace("\ufeff", "").trim().split(/\s+/)
    if (first === undefined || first === "") return true
    const address = parseAddress(first)
    if (address === undefined) return names.length === 0 && this.takeDomain(first)
    if (names.length === 0 || !(isUnspecified(address) || isLoopback(address))) return false
    return names.filter((name) => !isOwnName(name)).every((name) => this.note(this.exact, name))
  }

  private takeDomain(text: string): boolean {
    const domain = text.replace(/^\*?\./, "")
    // `com` by accident would take half of the world away: a whole top-level domain is written as `*.zip`.
    return (domain !== text || /\../.test(domain)) && this.note(this.below, domain)
  }

  private note(names: Set<string>, text: string): boolean {
    const dotless = text.replace(/\.$/, "")
    if (dotless.length > 253 || !hostName.test(dotless)) return false
    const name = dotless.toLowerCase()
    if (names.has(name)) return true
    if (this.size < this.limit) names.add(name)
    else this.leftOut++
    return true
  }
}

/** The text in pieces of whole lines, each of which is taken in within a few milliseconds. */
export const piecesOf = function* (text: string): Iterable<string> {
  for (let at = 0; at < text.length;) {
    const newline = text.indexOf("\n", at + pieceLength)
    const end = newline < 0 ? text.length : newline
    yield text.slice(at, end)
    at = end + 1
  }
}

const pieceLength = 1 << 16

/** The longest entry that any of the lists has about the name. */
export const blockedBy = (lists: Iterable<BlockList>, domain: string): string | undefined => {
  let longest: string | undefined
  for (const list of lists) {
    const found = list.find(domain)
    if (found !== undefined && found.length > (longest?.length ?? 0)) longest = found
  }
  return longest
}

const hostName = /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/i

/** What hosts files say of the host itself, which public lists carry along. */
const isOwnName = (name: string): boolean =>
  parseAddress(name) !== undefined ||
  /^(?:localhost(?:\.localdomain|[46])?|local|broadcasthost|ip6-(?:localhost|loopback|localnet|mcastprefix|all(?:nodes|routers|hosts)))$/i.test(
    name
  )
