import { copyWords, equal, type Words } from "../packet/address.ts"
import type { ReplyEvidence } from "./replyEvidence.ts"
import type { Translations } from "./translations.ts"

/**
 * The real address for a new session to a proxy. The mapping's i-th proxy of a family gets the (i mod n)-th of its
 * addresses of that family, in its own order (`spreadBy`), unless the evidence moves it on; the same inputs give the same choice, also in a
 * new worker. False: the mapping has no address in the proxy's family. Call `ReplyEvidence.started` when the session
 * is made and `several` holds.
 */
export const chooseAddress = (
  translations: Translations,
  evidence: ReplyEvidence,
  mapping: number,
  proxy: Readonly<Words>,
  port: number,
  now: number,
  to: Words
): boolean => {
  const addresses = translations.addresses(mapping, proxy)
  if (addresses.length === 0) return false
  const base = proxyPosition(translations, mapping, proxy) % addresses.length
  const index = evidence.choose(translations.clientOf(mapping), mapping, port, addresses, base, now)
  copyWords(addresses[index]!, to)
  return true
}

/** Whether the mapping has siblings in the family of `like`, so that evidence is worth keeping. */
export const several = (translations: Translations, mapping: number, like: Readonly<Words>): boolean =>
  translations.addresses(mapping, like).length > 1

/** Whether a session's real address is not (or no longer) one of its mapping's: its target has changed. */
export const targetDiffers = (translations: Translations, mapping: number, real: Readonly<Words>): boolean => {
  const addresses = translations.addresses(mapping, real)
  for (let i = 0; i < addresses.length; i++) {
    if (equal(addresses[i]!, real)) return false
  }
  return true
}

const proxyPosition = (translations: Translations, mapping: number, proxy: Readonly<Words>): number => {
  const proxies = translations.proxies(mapping, proxy)
  for (let i = 0; i < proxies.length; i++) {
    if (equal(proxies[i]!, proxy)) return i
  }
  return 0
}
