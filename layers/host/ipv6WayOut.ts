/** Looks whether this host has a way out for IPv6: a route, of whatever table, and forwarding. Followed as long as it lives. */
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { waysOut } from "../../src/host/ipv6Routes.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import type { Network } from "../../src/packet/address.ts"
import { readText } from "./readText.ts"

const lookEvery = "1 second"
/** How many of these turns pass without a look where nothing has happened. */
const mostPasses = 4
/** A route that is changed is gone for a moment, and forwarding is put right when somebody has switched it off. */
const looksUntilAbsent = 3
/** Whoever has a longer table of routes is a router: it is taken to know a way to everywhere. */
const mostBytes = 65_536
/** Read into at every look, which waits for nothing: a new one each second would keep the garbage collector busy. */
const buffer = Buffer.allocUnsafeSlow(mostBytes)

/** What of the host tells. */
export interface Ipv6Host {
  /** Where its routes lead, by other devices than the gateway's own; `null`: everywhere. */
  readonly ways: () => ReadonlyArray<Network> | null
  readonly forwards: () => boolean
  /** Grows when something has happened to the host. */
  readonly happened: () => number
}

export const ipv6Host = (device: string, happened: () => number): Ipv6Host => ({
  happened,
  ways: () => readWays(device),
  forwards: () => readText("/proc/sys/net/ipv6/conf/all/forwarding") !== "0"
})

/**
 * Known when this returns, so that nobody is given an IPv6 address before it is; then followed. To be started where the
 * host is set up already: what is set up there (the device's IPv6, forwarding) is judged by whoever does it.
 */
export const followWayOut = Effect.fnUntraced(function* ({
  forwards,
  happened,
  ways: look
}: Ipv6Host): Effect.fn.Return<void, never, IpFamilies | Scope.Scope> {
  const families = yield* IpFamilies
  let absent = looksUntilAbsent - 1
  let seen = -1
  let passes = 0
  const turn = Effect.suspend(() => {
    if (families.ipv6().device !== null) return Effect.void
    const isSettled = absent === 0 || absent >= looksUntilAbsent
    if (isSettled && happened() === seen && passes++ < mostPasses) return Effect.void
    passes = 0
    seen = happened()
    const ways = look()
    const why = ways?.length === 0 ? noRoute : forwards() ? null : notForwarded
    if (why === null) {
      absent = 0
      families.setWays(ways)
      return families.found("wayOut", null)
    }
    return ++absent >= looksUntilAbsent ? families.found("wayOut", why) : Effect.void
  })
  yield* turn
  yield* Effect.forkScoped(superviseForever("IpFamilies.wayOut", Effect.andThen(Effect.sleep(lookEvery), turn)))
})

const lost = "names get no IPv6 addresses, and who sends to one is told that it is unreachable"
const noRoute = `IPv6 has no way out of this host: ${lost} (give it an IPv6 route if it should have one)`
const notForwarded = `IPv6 is not forwarded by this host: ${lost} (set net.ipv6.conf.all.forwarding=1)`

/** `null`: everywhere. */
export const readWays = (device: string): ReadonlyArray<Network> | null => {
  let file: number
  try {
    file = fs.openSync("/proc/net/ipv6_route", "r")
  } catch {
    return []
  }
  try {
    let length = 0
    while (length < mostBytes) {
      const more = fs.readSync(file, buffer, length, mostBytes - length, null)
      if (more === 0) return waysOut(buffer.toString("latin1", 0, length), device)
      length += more
    }
    return null
  } catch {
    return []
  } finally {
    fs.closeSync(file)
  }
}
