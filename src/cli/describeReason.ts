import type { ResolutionReason } from "../resolution/Resolver.ts"

/** One line: why a name has no (fresh) addresses. */
export const describeReason = (reason: ResolutionReason): string => {
  switch (reason._tag) {
    case "NameNotFound":
      return "the name does not exist"
    case "NoAddresses":
      return "the name has no addresses"
    case "ServerFailure":
      return `DNS server failed: ${reason.detail}`
    case "Timeout":
      return `no DNS answer within ${Math.round(reason.afterMs / 100) / 10} s`
    case "NoResolver":
      return `no DNS server: ${reason.detail}`
    case "DestinationRefused":
      return `refused by policy: ${reason.addresses.join(", ")}`
    case "Throttled":
      return `waiting: ${waitsFor[reason.budget] ?? reason.budget}`
  }
}

/** What a lookup that has not started waits for (`lookupQueue.Budget`). */
const waitsFor: Readonly<Record<string, string>> = {
  gateway_rate: "the gateway has used up its lookups per second",
  client_rate: "the client has used up its lookups per second",
  gateway_in_flight: "the gateway has too many lookups in flight",
  resolver_in_flight: "its DNS servers have too many lookups in flight",
  client_in_flight: "the client has too many lookups in flight",
  queued: "other lookups come first"
}
