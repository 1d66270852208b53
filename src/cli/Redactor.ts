/**
 * Takes what tells who an operator and his clients are out of texts and documents: names, addresses, keys, paths. Each gets
 * another word, the same one wherever it stands, so that a reader still sees what belongs together.
 */
import { formatAddress, isIpv4, isLoopback, isUnspecified, parseAddress } from "../packet/address.ts"

export class Redactor {
  private readonly words = new Map<string, string>()
  private readonly counts = new Map<string, number>()
  /** Names by lower case; what is in here is replaced in texts, too. */
  private readonly names = new Map<string, string>()
  /** Those of them that are no words, so that texts are searched for each of them. */
  private readonly odd = new Set<string>()

  /** A name, of whatever kind. Its labels stay apart, so that `*.corp` and `a.corp` still fit: `*.n1`, `n2.n1`. */
  name(text: string): string {
    const known = this.names.get(text.toLowerCase())
    if (known !== undefined) return known
    const redacted = this.labels(text)
    this.names.set(text.toLowerCase(), redacted)
    if (!isWord.test(text) && text.length >= shortestOdd && this.odd.size < mostOdd) this.odd.add(text)
    return redacted
  }

  /** What is an address, a key, a URL or a path, or else a name; with a port and a protocol or without. */
  value(text: string): string {
    const known = this.names.get(text.toLowerCase())
    if (known !== undefined) return known
    const [, target, protocol] = /^([^/]+)(\/(?:tcp|udp|icmp))$/i.exec(text) ?? []
    if (target !== undefined) return `${this.value(target)}${protocol!}`
    const match = whole.exec(text)
    if (match !== null) return this.replace(match)
    const [, open, host, close] = /^(\[?)(.+?)(\]?:\d{1,5})$/.exec(text) ?? []
    return host === undefined ? this.name(text) : `${open!}${this.value(host)}${close!}`
  }

  /** The same for what a client has asked for, which may be any word: texts are not searched for it. */
  asked(text: string): string {
    const match = whole.exec(text)
    return match === null ? this.labels(text) : this.replace(match)
  }

  /** A text in which such things stand, and names that were given to `name` or `value` before. */
  text(text: string): string {
    let rest = text
    for (const name of this.odd) rest = rest.replaceAll(name, this.name(name))
    return rest.replaceAll(anywhere, (...match: ReadonlyArray<string | undefined>) => this.replace(match))
  }

  private replace([all, url, path, key, address]: ReadonlyArray<string | undefined>): string {
    // A long one may look like a key.
    const known = this.names.get(all!.toLowerCase())
    if (known !== undefined) return known
    if (url !== undefined) return this.url(url)
    if (path !== undefined) return this.path(path)
    if (key !== undefined) return this.word("key", key)
    return address === undefined ? this.token(all!) : this.address(address)
  }

  private address(text: string): string {
    // What stands around an address in a text may look like a part of it: "at:fd00::1: taken".
    for (const ends of [/^()(.*)()$/, /^()(.*)([:.])$/, /^(:)(.*)()$/, /^(:)(.*)([:.])$/]) {
      const [, before = "", inner = "", after = ""] = ends.exec(text) ?? []
      const [host = "", prefix] = inner.split("/")
      const words = parseAddress(host)
      if (words === undefined) continue
      if (isLoopback(words) || isUnspecified(words)) return text
      const word = this.word(isIpv4(words) ? "ipv4" : "ipv6", formatAddress(words))
      return `${before}${word}${prefix === undefined ? "" : `/${prefix}`}${after}`
    }
    return isHardware.test(text) ? this.word("mac", text.toLowerCase()) : this.token(text)
  }

  private path(text: string): string {
    return isUsual.test(text) ? text : `/${this.word("path", text)}`
  }

  /** Its path may be a secret, and so may what a server has to prove. */
  private url(text: string): string {
    const [, scheme = "", authority = "", path = ""] = /^([a-z]+:\/\/)([^/#?]*)(.*)$/i.exec(text) ?? []
    return `${scheme}${this.value(authority)}${path === "" ? "" : `/${this.word("path", path)}`}`
  }

  private token(text: string): string {
    const [, before, device, after] = isPerDevice.exec(text) ?? []
    if (device !== undefined) return `${before!}${this.names.get(device.toLowerCase()) ?? device}${after!}`
    if (isDomain.test(text) && !isSysctl.test(text)) return this.name(text)
    return text.replaceAll(/[^-.@%+*]+/g, (part) => this.names.get(part.toLowerCase()) ?? part)
  }

  private labels(text: string): string {
    return text
      .split(".")
      .map((label) => (label === "*" || label === "" ? label : this.word("n", label.toLowerCase(), "")))
      .join(".")
  }

  private word(kind: string, text: string, dash = "-"): string {
    const id = `${kind} ${text}`
    const known = this.words.get(id)
    if (known !== undefined) return known
    const number = (this.counts.get(kind) ?? 0) + 1
    this.counts.set(kind, number)
    const word = `${kind}${dash}${number}`
    this.words.set(id, word)
    return word
  }
}

const parts = [
  String.raw`([A-Za-z]{2,10}:\/\/[^\s"'<>]+)`,
  String.raw`((?<![\w./])(?:\/[^\s/"':,;()]+)+)`,
  // Base64 and hex of keys, digests and tokens; not the first label of a name.
  String.raw`([A-Za-z0-9+/_-]{32,}={0,2}(?![A-Za-z0-9+/_-]|\.\p{L}))`,
  String.raw`((?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f.]*(?:\/\d{1,3})?|\d{1,3}(?:\.\d{1,3}){3}(?:\/\d{1,2})?)`
]
const token = String.raw`[\p{L}\p{N}_*](?:[\p{L}\p{N}_.*@%+-]*[\p{L}\p{N}_])?`
const whole = new RegExp(`^(?:${parts.join("|")})$`, "u")
const anywhere = new RegExp(`${parts.join("|")}|${token}`, "gu")
const isWord = new RegExp(`^(?:${token})$`, "u")
const isDomain = /\.(?:\p{L}{2,}|xn--[\w-]+)$/u
const isHardware = /^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/i
/** A sysctl of one device, whose name may have dots and dashes in it. */
const isPerDevice = /^(net\.ipv[46]\.conf\.)(.+)(\.\w+)$/
const isSysctl = /^net\.(?:core|ipv4|ipv6|netfilter)\./

/** Paths that every gateway has, as they come; what an operator has named below them is his. */
const isUsual =
  /^\/(?:(?:dev|proc)\/[a-z0-9_./]+|etc\/(?:hosts|resolv\.conf|sallyport(?:\/sallyport\.yaml)?)|run\/sallyport(?:\/sallyport\.sock)?|var\/lib\/sallyport(?:\/(?:state\.db|lock))?)$/

/** Shorter ones that are no words tell of nobody, and would be found in every text. */
const shortestOdd = 3
const mostOdd = 1_000
