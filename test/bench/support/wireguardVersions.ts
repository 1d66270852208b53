/** What a wireguard-go binary tells of itself, and whether it is as new as it could be. */

const magic = "\u{FF} Go buildinf:"
/** Behind the magic and its flags: the Go version, then the modules; each with its length in front (Go 1.18 and later). */
const goVersionAt = 32

/** The Go version that built the binary (its bytes as Latin-1 characters), such as `go1.26.8`; `null`: it does not say. */
export const readGoVersion = (binary: string): string | null => {
  const at = binary.indexOf(magic) + goVersionAt
  const version = binary.slice(at + 1, at + 1 + binary.charCodeAt(at))
  return at >= goVersionAt && /^go1\.\d/.test(version) ? version : null
}

/** The module version in the binary, such as `v0.0.0-20260522210424-ecfc5a8d5446`; `null` where a distribution left it out. */
export const readModuleVersion = (binary: string): string | null =>
  /golang\.zx2c4\.com\/wireguard\t(v[0-9a-z.-]+)/.exec(binary)?.[1] ?? null

/** When the source is from: `YYYYMMDD`, with `hhmmss` in a module version; `null` when the version does not tell. */
const dateOf = (version: string): string | null => (/\d{14}/.exec(version) ?? /\d{8}/.exec(version))?.[0] ?? null

/** Whether the source of one version is older than that of another, by the day where one of them tells no time. */
const isOlder = (date: string, than: string): boolean => {
  const told = Math.min(date.length, than.length)
  return date.slice(0, told) < than.slice(0, told)
}

/**
 * One line when the peer that we are compared with is not known to be the newest; `null` when it is. `latest`: the newest
 * module, or `null` when that could not be looked up: then what counts is `pinned`, the newest when this was written.
 */
export const ageWarning = (version: string, pinned: string, latest: string | null): string | null => {
  const date = dateOf(version)
  const newest = latest !== null && isOlder(dateOf(pinned)!, dateOf(latest) ?? "") ? latest : pinned
  if (date === null) {
    return `wireguard-go: its binary does not tell how old it is (${version}), the newest is ${newest}: build that one with Go, or name it by WIREGUARD_GO=path`
  }
  if (isOlder(date, dateOf(newest)!)) {
    return `wireguard-go ${version} is older than ${newest}, so ratios to it flatter us: build that one with Go, or name it by WIREGUARD_GO=path`
  }
  return latest === null
    ? `wireguard-go ${version}: whether there is a newer one could not be looked up, as there is no Go toolchain or no network`
    : null
}
